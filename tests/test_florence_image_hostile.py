"""What is no image, no allowed one, too large or damaged: refused by name, fast, and never by another error."""

import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import chunk, encoded, noise, png
from PIL import Image, ImageFile, WebPImagePlugin

from handler.florence.errors import DamagedImage, ImageError, ImageTooLarge, NotAnImage, UnsupportedFormat
from handler.florence.image import MAX_SIDE, Limits, open_image, to_pixels

# By hand, from what each file is: the format and the size as seen, or the refusal.
HOSTILE: dict[str, tuple[str, tuple[int, int]] | type[ImageError]] = {
    "12in16bit.tif": UnsupportedFormat,
    "16_bit_noise.tif": UnsupportedFormat,
    "1x1.png": ("PNG", (1, 1)),
    "940x2.png": ("PNG", (940, 2)),
    "anim_frame1.webp": ("WebP", (82, 82)),
    "app13.jpg": ("JPEG", (4, 4)),
    "background_outside_palette.gif": ("GIF", (1, 1)),
    "basi6a16.png": ("PNG", (32, 32)),
    "basn4a16.png": ("PNG", (32, 32)),
    "broken.png": DamagedImage,  # no IHDR
    "broken_exif_dpi.jpg": ("JPEG", (100, 100)),
    "comment_after_only_frame.gif": ("GIF", (1, 1)),
    "copyleft.png": ("PNG", (220, 220)),
    "crash-4fb027452e6988530aa5dabee76eecacb3b79f8a.j2k": UnsupportedFormat,
    "decompression_bomb.gif": ImageTooLarge,  # its frame reaches far beyond its screen
    "decompression_bomb.ico": UnsupportedFormat,
    "different_transparency.gif": ("GIF", (100, 100)),
    "dummy.container": NotAnImage,
    "empty_gps_ifd.jpg": ("JPEG", (10, 10)),
    "exif_gps_typeerror.jpg": ("JPEG", (800, 531)),
    "g4_orientation_6.tif": UnsupportedFormat,
    "hopper.heif": UnsupportedFormat,
    "hopper.webp": ("WebP", (128, 128)),
    "hopper_bad_exif.jpg": ("JPEG", (500, 500)),
    "hopper_gray.jpg": ("JPEG", (128, 128)),
    "hopper_orientation_2.jpg": ("JPEG", (128, 128)),
    "hopper_orientation_6.jpg": ("JPEG", (128, 128)),
    "hopper_orientation_6.webp": ("WebP", (128, 128)),
    "hopper_rle8_row_overflow.bmp": UnsupportedFormat,
    "i_trns.png": ("PNG", (64, 64)),
    "icc-after-SOF.jpg": ("JPEG", (10, 10)),
    "image01551.jpg": ("JPEG", (61, 58)),
    "image02206.jpg": ("JPEG", (65, 65)),
    "image_invalid.jpg": NotAnImage,  # one byte
    "invalid-exif.jpg": ("JPEG", (200, 200)),
    "invalid_quantization.jpg": ("JPEG", (300, 400)),
    "jpeg_ff00_header.jpg": ("JPEG", (300, 225)),
    "l_trns.png": ("PNG", (64, 64)),
    "mode_palette_alpha.png": ("PNG", (128, 64)),
    "multiple_exif.jpg": ("JPEG", (1, 1)),
    "no_palette.gif": ("GIF", (1, 1)),
    "orientation_rectangle.jpg": ("JPEG", (1, 2)),  # 2 x 1 as stored
    "p_trns_single.png": ("PNG", (64, 64)),
    "pal8rle.bmp": UnsupportedFormat,
    "pil123p.png": ("PNG", (162, 150)),
    "pil123rgba.png": ("PNG", (162, 150)),
    "png_decompression_dos.png": ("PNG", (1, 1)),  # the bomb is in its text, which is never read
    "reallybig.bmp": UnsupportedFormat,
    "rgb_trns.png": ("PNG", (64, 64)),
    "s01n3p01.png": ("PNG", (1, 1)),
    "shortfile.bmp": UnsupportedFormat,
    "sugarshack_bad_mpo_header.jpg": ("JPEG", (640, 480)),
    "tRNS_null_1x1.png": ("PNG", (1, 1)),
    "test1.arith.jpg": ("JPEG", (10, 10)),
    "thumbor_cmyk.jpg": ("JPEG", (100, 100)),
    "transparent.webp": ("WebP", (200, 150)),
    "truncated_app14.jpg": ("JPEG", (100, 100)),
    "truncated_end_chunk.png": ("PNG", (128, 128)),  # all its pixels are there
    "truncated_image.png": DamagedImage,
    "ultrahdr.jpg": DamagedImage,  # the file ends where its pixels would begin
    "unknown_compression_method.png": ("PNG", (57, 57)),  # of its colour profile, which is never read
    "x_unexpected_eof.png": DamagedImage,
    "xd0n2c08.png": DamagedImage,
    "xdtn0g01.png": DamagedImage,
    "xlfn0g04.png": NotAnImage,  # the signature's line ends were converted
    "xmp_tags_orientation_exiftool.png": ("PNG", (10, 10)),
    "xs1n0g01.png": NotAnImage,  # the signature lacks a byte
}


def test_every_hostile_file_is_served_or_refused_by_name(refdata: Path) -> None:
    files = {path.name: path for path in (refdata / "images_hostile").iterdir() if path.suffix != ".tsv"}
    assert files.keys() == HOSTILE.keys()
    for name, expected in HOSTILE.items():
        data = files[name].read_bytes()
        started = time.perf_counter()
        if isinstance(expected, tuple):
            picture = open_image(data)
            assert (picture.format, picture.size) == expected, name
            assert picture.image.mode == "RGB", name
        else:
            with pytest.raises(expected) as refusal:
                open_image(data)
            assert refusal.type is expected, name
            assert time.perf_counter() - started < 0.05, name


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.new("RGB", (4, 4)), "BMP"),
        encoded(Image.new("RGB", (4, 4)), "TIFF"),
        encoded(Image.new("RGB", (16, 16)), "ICO"),
        b"\0\0\0\x0cJXL \r\n\x87\n",
        b"\0\0\0\x20ftypavif\0\0\0\0",
        b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    ],
)
def test_other_formats_are_named(data: bytes) -> None:
    with pytest.raises(
        UnsupportedFormat, match=r"The image is (BMP|TIFF|ICO|JPEG XL|AVIF|SVG), .* JPEG, PNG, GIF, WebP"
    ):
        open_image(data)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"GIF", b"RIFF\0\0\0\0WAVEfmt ", b"<html></html>", b"BMW is a car maker"]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        open_image(data)


def jpeg_header(width: int, height: int) -> bytes:
    """A whole JPEG whose frame header claims another size."""
    data = bytearray(encoded(Image.new("RGB", (8, 8)), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_header(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + sides


BOMBS = {
    "png": png((60_000, 60_000), 8, 2, b""),
    "png of one row": png((MAX_SIDE + 1, 1), 8, 2, b""),
    "jpeg": jpeg_header(65_500, 65_500),
    "gif": b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
    "webp": webp_header(16_383, 16_383),
    "webp, lossless": b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f\0\0\0\0\0",
    "webp, lossy": b"RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\xff\x3f\xff\x3f",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_decoding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    monkeypatch.setattr(WebPImagePlugin._webp, "WebPAnimDecoder", decode)
    started = time.perf_counter()
    with pytest.raises(ImageTooLarge, match="pixels; at most"):
        open_image(BOMBS[name])
    assert time.perf_counter() - started < 0.05


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WebP"])
def test_limits(format_: str) -> None:
    data = encoded(noise((40, 20)), format_)
    exact = Limits(max_bytes=len(data), max_pixels=800, max_side=40)
    assert open_image(data, exact).size == (40, 20)
    for limits, message in (
        (Limits(max_bytes=len(data) - 1), "bytes; at most"),
        (Limits(max_pixels=799), "40 x 20 pixels; at most 799 in all"),
        (Limits(max_side=39), "39 a side"),
    ):
        with pytest.raises(ImageTooLarge, match=message):
            open_image(data, limits)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WebP"])
def test_cut_off_in_the_pixels(format_: str) -> None:
    data = encoded(noise((64, 64)), format_)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(DamagedImage):
            open_image(data[: int(len(data) * share)])


def test_a_png_may_lose_its_end_and_its_extras() -> None:
    image = noise((8, 8))
    data = encoded(image, "PNG")
    assert data.endswith(chunk(b"IEND", b""))
    for cut in range(1, 13):
        assert np.array_equal(open_image(data[:-cut]).image, image)
    for extra in ((b"acTL", b"\0\0"), (b"iCCP", b"x\0\7"), (b"zTXt", b"x\0\0" + zlib.compress(bytes(2**22)))):
        rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(image))
        assert np.array_equal(open_image(png((8, 8), 8, 2, rows, extra)).image, image)


@pytest.fixture(scope="session")
def good_files(refdata: Path) -> list[bytes]:
    folder = refdata / "images_hostile"
    names = ("hopper_orientation_6.jpg", "hopper_orientation_6.webp", "different_transparency.gif", "p_trns_single.png")
    return [(folder / name).read_bytes() for name in (*names, "thumbor_cmyk.jpg", "mode_palette_alpha.png")]


def is_served_or_refused(data: bytes) -> None:
    try:
        picture = open_image(data, Limits(max_pixels=2**20))
    except ImageError:
        return
    assert picture.image.mode == "RGB"
    assert to_pixels(picture.image, 8).shape == (1, 3, 8, 8)


@given(
    signature=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x20\0\0\0WEBPVP8X"]),
    rest=st.binary(max_size=200),
)
def test_random_bytes_raise_nothing_else(signature: bytes, rest: bytes) -> None:
    is_served_or_refused(signature + rest)


@settings(max_examples=300)
@given(data=st.data())
def test_mutations_raise_nothing_else(good_files: list[bytes], data: st.DataObject) -> None:
    mutated = bytearray(data.draw(st.sampled_from(good_files)))
    headers = st.integers(0, min(len(mutated), 400) - 1)  # where the structure is
    positions = st.lists(st.tuples(headers | st.integers(0, len(mutated) - 1), st.integers(0, 255)), max_size=8)
    for position, byte in data.draw(positions):
        mutated[position] = byte
    is_served_or_refused(bytes(mutated[: data.draw(st.just(len(mutated)) | st.integers(0, len(mutated)))]))


@settings(max_examples=300)
@given(
    size=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    depth=st.sampled_from([1, 2, 4, 8, 16]),
    colour=st.sampled_from([0, 2, 3, 4, 6]),
    interlace=st.integers(0, 1),
    rows=st.just(bytes(800)) | st.binary(max_size=400),
    transparency=st.binary(max_size=8),
    palette=st.binary(max_size=12),
    exif=st.binary(max_size=30),
)
def test_well_formed_pngs_raise_nothing_else(
    size: tuple[int, int],
    depth: int,
    colour: int,
    interlace: int,
    rows: bytes,
    transparency: bytes,
    palette: bytes,
    exif: bytes,
) -> None:
    """Chunks with true checksums and any content: what mutations, which break the checksum, do not reach."""
    extras = ((b"PLTE", palette), (b"tRNS", transparency), (b"eXIf", b"Exif\0\0II*\0\x08\0\0\0" + exif))
    is_served_or_refused(png(size, depth, colour, rows, *extras, interlace=interlace))
