"""Untrusted bytes -> an upright RGB picture -> the pixels that the vision tower reads.

`open_image` tells the format by content, never by name, and lets four of Pillow's decoders run: JPEG, PNG, WebP and
GIF; of an animation (GIF, APNG, WebP) the first frame. Sizes are checked from the header before anything is decoded.
What becomes of each kind of picture:

- EXIF orientation is applied, as browsers do; one that cannot be read, or stands in XMP alone, is not.
- Transparency is shown over white, as on a page: logos and screenshots have dark strokes on nothing, and the hidden
  colour of a transparent pixel means nothing.
- 16-bit channels keep their high byte; clipping them, which is what Pillow does to grey ones, would leave white.
- CMYK is taken as inverted, which is how Adobe writes it and how browsers read it.
- Colour profiles and gamma are not applied: Florence-2 was trained without.
- A picture cut off in its pixels is refused, for an answer about its grey rest would mislead. What follows a PNG's
  pixels, or has no part in them, may be cut off or broken.

`to_pixels` gives what Hugging Face's image processor gives with Florence-2's `preprocessor_config.json`.
"""

import io
import re
import struct
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

# The four decoders are imported, and called, one by one: `Image.open` imports a further one for BMP and PPM, on meeting
# its first WebP all sixty (20 ms), and follows a JPEG's index of further pictures.
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from .errors import DamagedImage, ImageError, ImageTooLarge, NotAnImage, UnsupportedFormat

MAX_BYTES = 20 * 2**20  # a 50-megapixel photograph is 10 to 18 MB; Lambda's own limit over HTTP is 6 MB
MAX_PIXELS = 8192 * 6144  # 50 megapixels, the largest photograph a phone takes by itself: 200 MB decoded
MAX_SIDE = 65_535  # as far as JPEG and GIF go. Resizing takes 32 bytes a column: 1.6 GB for a PNG of 50 M x 1

MEAN = (0.485, 0.456, 0.406)  # of red, green and blue over ImageNet, in 0..1
STD = (0.229, 0.224, 0.225)
BACKGROUND = "white"

_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "GIF": rb"GIF8[79]a",
    "WebP": rb"RIFF....WEBP",
}
_UNSUPPORTED_SIGNATURES = {
    "AVIF": rb"....ftypavi[fs]",
    "HEIF": rb"....ftyp(?:hei[cfmsx]|hev[cmsx]|mif[12]|msf1)",
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "ICO": rb"\0\0[\1\2]\0[^\0]\0",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a",
    "Photoshop": rb"8BPS\0[\1\2]",
    "SVG": rb"\s*(?:<\?xml.{0,400}?)?<svg\b",
}
_DECODERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "WebP": WebPImageFile,
}
_ORIENTATION = 0x0112  # EXIF's tag
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Level 0..255 of each channel -> the network's input, [3, 256] float32, in the processor's own steps and precision.
_LEVELS = (np.arange(256) * (1 / 255)).astype(np.float32)
_INPUT = (_LEVELS - np.array(MEAN, np.float32)[:, None]) / np.array(STD, np.float32)[:, None]


@dataclass(frozen=True)
class Limits:
    """What is too large. A deployment with less memory sets less."""

    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS
    max_side: int = MAX_SIDE


@dataclass(frozen=True)
class Picture:
    """A decoded image: RGB, upright."""

    image: Image.Image
    format: str  # what the bytes were: JPEG, PNG, GIF or WebP

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as seen: after orientation."""
        return self.image.size


def open_image(data: bytes, limits: Limits = Limits()) -> Picture:
    """Decodes an image.

    Raises `NotAnImage`, `UnsupportedFormat`, `ImageTooLarge` or `DamagedImage`, and of what the bytes can cause nothing
    else.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(f"The image has {len(data):,} bytes; at most {limits.max_bytes:,} are allowed.")
    format_ = _detect(data)
    try:
        # Pillow warns of broken EXIF and of sizes near its own limit. The filter is narrow because another thread's
        # `catch_warnings` may leave it behind.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            if format_ in ("GIF", "WebP"):  # whose canvas Pillow allocates on opening
                _check_size(_canvas(data), limits)
            source = _DECODERS[format_](io.BytesIO(_pixel_chunks(data) if format_ == "PNG" else data))
            _check_size(source.size, limits)
            image = _to_rgb(source)
            transpose = _TRANSPOSE.get(_orientation(source.info.get("exif", b"")))
            return Picture(image.transpose(transpose) if transpose is not None else image, format_)
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"The {format_} image declares more pixels than can be decoded.") from error
    except Exception as error:  # Pillow's decoders raise whatever the bytes lead them to
        raise DamagedImage(f"The {format_} image is damaged or cut off, and cannot be read.") from error


def to_pixels(image: Image.Image, size: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """An RGB image -> `[1, 3, size, size]` float32: squashed to a square (bicubic), scaled, normalised.

    Equal to transformers' `CLIPImageProcessorPil` to the last bit. One look-up a channel takes 1.8 ms at 768 px and
    0.06 ms at 128; scaling in floats takes 7.3 and 0.18, a fused multiply-add 1.1 and 0.05, but differs by 7e-7.
    Decoding a JPEG at a smaller scale first (`draft`) would save 74 of 119 ms on 12 megapixels at 384 px, and change
    the result by up to 2 levels of 255: not done.
    """
    square = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    pixels = np.empty((1, 3, size, size), np.float32)
    for channel in range(3):
        np.take(_INPUT[channel], square[:, :, channel], out=pixels[0, channel], mode="clip")  # "raise" would buffer
    return pixels


def _detect(data: bytes) -> str:
    """The format of these bytes, by their signature. Raises `NotAnImage` or `UnsupportedFormat`."""
    head = data[:512]
    for format_, signature in _SIGNATURES.items():
        if re.match(signature, head, re.DOTALL):
            return format_
    allowed = ", ".join(_SIGNATURES)
    for format_, signature in _UNSUPPORTED_SIGNATURES.items():
        if re.match(signature, head, re.DOTALL):
            raise UnsupportedFormat(f"The image is {format_}, which is not supported; send one of {allowed}.")
    raise NotAnImage(f"The data is not an image; send one of {allowed}." if data else "The image is empty.")


def _canvas(data: bytes) -> tuple[int, int]:
    """Width and height by the header of a GIF (its logical screen) or a WebP (RFC 9649: one of three headers)."""
    kind = data[12:16]
    if data.startswith(b"GIF"):
        width, height = struct.unpack_from("<HH", data, 6)
    elif kind == b"VP8X":
        width, height = (int.from_bytes(data[i : i + 3], "little") + 1 for i in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return width, height


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels or max(size) > limits.max_side:
        raise ImageTooLarge(
            f"The image is {width:,} x {height:,} pixels; at most {limits.max_pixels:,} in all are allowed, "
            f"and {limits.max_side:,} a side."
        )


def _pixel_chunks(png: bytes) -> bytes:
    """A PNG's chunks that matter, with an end of its own.

    Text and profiles, which may be bombs or broken, are never read; an animation loses its control chunk and its
    frames, and is left with the picture that stands in their place; whatever is cut off is as if it were not there:
    the decoder notices if the pixels need it.
    """
    kept = [png[:8]]
    position = 8
    while position + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        end = position + 12 + length
        if end > len(png):
            break
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT"):
            kept.append(png[position:end])
        position = end
    return b"".join([*kept, b"\0\0\0\0IEND\xae\x42\x60\x82"])


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode that the four decoders give -> RGB, transparency over the background."""
    image.load()
    if image.mode == "I;16":
        image = _to_8_bits(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")  # which would copy 200 MB at the limit
    layer = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, BACKGROUND)
    canvas.paste(layer, mask=layer)
    return canvas


def _to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit grey -> 8-bit, with an alpha channel where one level stands for transparent."""
    levels = np.asarray(image)
    grey = Image.fromarray((levels >> 8).astype(np.uint8))
    if "transparency" not in image.info:
        return grey
    opaque = levels != image.info["transparency"]
    return Image.merge("LA", (grey, Image.fromarray(opaque.astype(np.uint8) * np.uint8(255))))


def _orientation(exif: bytes) -> int:
    """EXIF's orientation, 1 to 8; 1 (upright) where there is none or it cannot be read."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        return int(tags.get(_ORIENTATION, 1))
    except Exception:  # a picture is never refused for what describes it
        return 1
