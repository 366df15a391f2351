"""The rules for each kind of picture, photographs, and the pixels against transformers."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import encoded, noise, png
from PIL import Image, ImageCms, ImageOps

from handler.florence.image import open_image, to_pixels


def test_orientations_of_a_photograph_agree(refdata: Path) -> None:
    """One photograph, stored in four orientations each; JPEG loses two to three levels on average."""
    for kind, orientations, size in (
        ("Landscape", (1, 3, 6, 8), (1800, 1200)),
        ("Portrait", (1, 2, 5, 7), (1200, 1800)),
    ):
        pictures = [
            open_image((refdata / "images_photo" / f"{kind}_{orientation}.jpg").read_bytes()).image
            for orientation in orientations
        ]
        assert {picture.size for picture in pictures} == {size}
        # The orientation's number is printed in the middle of each.
        border = [np.asarray(picture, np.int16)[:300] for picture in pictures]
        for other in border[1:]:
            assert np.abs(other - border[0]).mean() < 4
            assert np.abs(other[:, ::-1] - border[0]).mean() > 20


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize(("format_", "options"), [("PNG", {}), ("WebP", {"lossless": True}), ("JPEG", {})])
def test_exif_orientation(format_: str, options: dict[str, Any], orientation: int) -> None:
    """All eight, and two that mean nothing, against Pillow's own reading."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise((16, 8)), format_, exif=exif, **options)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    picture = open_image(data)
    assert picture.size == ((8, 16) if orientation in (5, 6, 7, 8) else (16, 8))
    assert np.array_equal(picture.image, expected.convert("RGB"))


def test_orientation_in_xmp_alone_is_not_applied(refdata: Path) -> None:
    data = (refdata / "images_hostile" / "xmp_tags_orientation_exiftool.png").read_bytes()
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.getexif()[0x0112] != 1
        assert np.array_equal(open_image(data).image.getpixel((0, 0)), stored.convert("RGB").getpixel((0, 0)))


@pytest.mark.parametrize(
    ("image", "format_", "expected"),
    [
        (Image.new("L", (2, 2), 77), "PNG", (77, 77, 77)),
        (Image.new("1", (2, 2), 1), "PNG", (255, 255, 255)),
        (Image.new("P", (2, 2), 0), "GIF", (0, 0, 0)),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 255)), "PNG", (255, 0, 0)),
        (Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (2, 2), (0, 0, 0, 51)), "PNG", (204, 204, 204)),
        (Image.new("LA", (2, 2), (0, 51)), "PNG", (204, 204, 204)),
        (Image.new("RGBA", (2, 2), (9, 9, 9, 0)), "WebP", (255, 255, 255)),
        (Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", (255, 0, 0)),  # Pillow writes Adobe's inverted form
        (Image.new("L", (16, 16), 77), "JPEG", (77, 77, 77)),
    ],
)
def test_modes(image: Image.Image, format_: str, expected: tuple[int, int, int]) -> None:
    assert open_image(encoded(image, format_)).image.getpixel((0, 0)) == expected


def test_16_bits_are_scaled_not_clipped() -> None:
    levels = np.arange(65536, dtype=">u2").reshape(256, 256)
    expected = (np.arange(65536).reshape(256, 256) >> 8).astype(np.uint8)
    grey = b"".join(b"\0" + row.tobytes() for row in levels)
    colour = b"".join(b"\0" + np.repeat(row, 3).tobytes() for row in levels)
    for data in (png((256, 256), 16, 0, grey), png((256, 256), 16, 2, colour)):
        pixels = np.asarray(open_image(data).image)
        assert np.array_equal(pixels, np.repeat(expected[:, :, None], 3, axis=2))
    keyed = np.asarray(open_image(png((256, 256), 16, 0, grey, (b"tRNS", struct.pack(">H", 300)))).image)
    assert keyed[1, 300 - 256].tolist() == [255, 255, 255]
    assert keyed[1, 301 - 256].tolist() == [1, 1, 1]


def test_colour_keys_and_palettes_show_the_background() -> None:
    palette = (b"PLTE", bytes([255, 0, 0, 0, 0, 255]))
    rows = b"\0\0\1"
    indexed = open_image(png((2, 1), 8, 3, rows, palette, (b"tRNS", b"\0"))).image
    assert [indexed.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 255)]
    grey = open_image(png((2, 1), 8, 0, rows, (b"tRNS", b"\0\1"))).image
    assert [grey.getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), (255, 255, 255)]
    coloured = open_image(png((1, 1), 8, 2, b"\0\1\2\3", (b"tRNS", struct.pack(">HHH", 1, 2, 3)))).image
    assert coloured.getpixel((0, 0)) == (255, 255, 255)


def test_16_bits_with_transparency() -> None:
    """Colour and grey with an alpha channel of 16 bits: 0x8000 of 0xffff is half."""
    grey = b"\0" + struct.pack(">HHHH", 0, 0x8000, 0xFFFF, 0)
    colour = b"\0" + struct.pack(">HHHHHHHH", 0xFFFF, 0, 0, 0xFFFF, 0, 0, 0, 0)
    shown = open_image(png((2, 1), 16, 4, grey)).image
    assert [shown.getpixel((x, 0)) for x in (0, 1)] == [(127, 127, 127), (255, 255, 255)]
    shown = open_image(png((2, 1), 16, 6, colour)).image
    assert [shown.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WebP"])
def test_colour_profiles_are_not_applied(format_: str) -> None:
    image, options = noise((16, 16)), {"lossless": True} if format_ == "WebP" else {}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    assert len(profile) > 100
    plain = open_image(encoded(image, format_, **options)).image
    assert np.array_equal(open_image(encoded(image, format_, icc_profile=profile, **options)).image, plain)


def test_gamma_is_not_applied() -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(noise((8, 8))))
    with_gamma = png((8, 8), 8, 2, rows, (b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0"))
    assert np.array_equal(open_image(with_gamma).image, noise((8, 8)))


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WebP"])
def test_an_animation_gives_its_first_frame(format_: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    data = encoded(
        frames[0], format_, save_all=True, append_images=frames[1:], **({"lossless": True} if format_ == "WebP" else {})
    )
    with Image.open(io.BytesIO(data)) as animation:
        assert getattr(animation, "n_frames", 1) == 3
    assert open_image(data).image.getpixel((0, 0)) == (255, 0, 0)


def test_the_content_decides_not_the_name(refdata: Path) -> None:
    for name, format_ in (("hopper.png", "PNG"), ("flower.webp", "WebP"), ("dog.jpeg", "JPEG")):
        assert open_image((refdata / "images_photo" / name).read_bytes()).format == format_


@pytest.mark.parametrize("size", [768, 384, 128])
def test_pixels_equal_hugging_faces(refdata: Path, size: int) -> None:
    """Florence-2's own preprocessor configuration; the greatest difference is 0."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = json.loads((refdata / "florence2_tokenizer" / "preprocessor_config.json").read_text())
    processor = CLIPImageProcessorPil.from_dict(config | {"size": {"height": size, "width": size}})
    for name in ("Landscape_6.jpg", "dog.jpeg", "hopper.png", "flower.webp"):
        image = open_image((refdata / "images_photo" / name).read_bytes()).image
        pixels = to_pixels(image, size)
        assert pixels.dtype == np.float32
        assert np.array_equal(pixels, processor(image, return_tensors="np")["pixel_values"])


def test_pixels_of_a_white_image(refdata: Path) -> None:
    vector = json.loads((refdata / "florence2_vectors" / "transformersjs_processor.json").read_text())["pixel_values"]
    pixels = to_pixels(Image.new("RGB", (224, 224), "white"), 768)
    assert list(pixels.shape) == vector["shape"]
    assert pixels.mean() == pytest.approx(vector["mean"], abs=1e-6)
