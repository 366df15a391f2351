"""Image files, good and bad, broken further in seeded ways: what a fuzzer without coverage would send."""

import random
import struct
from collections.abc import Callable, Iterator, Sequence

SIZE_LIMIT = 120_000  # bytes: larger files say nothing more, and take longer


def mutations(files: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` files, each one of `files` broken by one to three of the ways below."""
    rng = random.Random(seed)
    files = [file for file in files if 0 < len(file) <= SIZE_LIMIT]
    for _ in range(count):
        data = bytearray(rng.choice(files))
        for _ in range(rng.randint(1, 3)):
            data = rng.choice(WAYS)(data, rng, files)
        yield bytes(data)


def _flip_bits(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _flip_header(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    for _ in range(rng.randint(1, 4) if data else 0):
        data[rng.randrange(min(len(data), 64))] = rng.randrange(256)
    return data


def _extreme_number(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    """A length, a size or an offset becomes one that overflows."""
    width, sign = rng.choice(((">H", 2), ("<H", 2), (">I", 4), ("<I", 4)))
    if len(data) > 8:
        place = rng.randrange(min(len(data), 400) - 4)
        largest = (1 << (8 * sign)) - 1
        data[place : place + sign] = struct.pack(width, rng.choice((0, 1, largest, largest // 2, largest // 2 + 1)))
    return data


def _truncate(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    return data[: rng.randrange(len(data) + 1)]


def _splice(data: bytearray, rng: random.Random, files: Sequence[bytes]) -> bytearray:
    """The head of one file before the tail of another."""
    other = rng.choice(files)
    head = rng.choice((12, 30, 64, 200, len(data) // 2))
    return data[:head] + other[rng.randrange(len(other)) :]


def _repeat(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    """A stretch stands twice, or up to fifty times."""
    start = rng.randrange(len(data) + 1)
    stretch = data[start : start + rng.choice((1, 4, 16, 256, 4096))]
    return data[:start] + stretch * rng.choice((2, 2, 3, 50)) + data[start:]


def _cut_out(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 2, 4, 64, 1024)) :]


def _broken_exif(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    """A JPEG gets an EXIF segment (or a PNG or WebP stray bytes) with a wild directory of tags."""
    entries = rng.randint(0, 40)
    tags = b"".join(
        struct.pack("<HHII", rng.choice((0x0112, 0x8769, 0x8825, rng.randrange(65536))), *wild)
        for wild in ((rng.randrange(14), rng.choice((1, 2, 0xFFFFFFFF)), rng.getrandbits(32)) for _ in range(entries))
    )
    exif = b"Exif\0\0II*\0" + struct.pack("<I", rng.choice((8, 8, 8, 0, 0xFFFFFFF0)))
    exif += struct.pack("<H", rng.choice((entries, 0xFFFF))) + tags
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


Way = Callable[[bytearray, random.Random, Sequence[bytes]], bytearray]
WAYS: tuple[Way, ...] = (
    _flip_bits,
    _flip_header,
    _extreme_number,
    _truncate,
    _splice,
    _repeat,
    _cut_out,
    _broken_exif,
)
