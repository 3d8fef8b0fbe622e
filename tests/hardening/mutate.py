"""Ways of damaging a file; each takes its bytes and a random generator."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random

EXTREMES = (0, 1, 2, 3, 7, 255, 65_535, 2**31 - 1, 2**31, 2**32 - 1)


def truncated(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def flipped(data: bytes, random: Random) -> bytes:
    """One to sixteen bits."""
    out = bytearray(data)
    for _ in range(random.choice((1, 2, 4, 16))):
        out[_place(data, random)] ^= 1 << random.randrange(8)
    return bytes(out)


def zeroed(data: bytes, random: Random) -> bytes:
    return _overwritten(data, random, lambda size: bytes(size))


def noisy(data: bytes, random: Random) -> bytes:
    return _overwritten(data, random, random.randbytes)


def doubled(data: bytes, random: Random) -> bytes:
    """A block twice, so that everything behind it moves."""
    start = _place(data, random)
    stop = min(len(data), start + random.choice((1, 4, 64, 4096)))
    return data[:stop] + data[start:]


def without(data: bytes, random: Random) -> bytes:
    """A block less."""
    start = _place(data, random)
    return data[:start] + data[start + random.choice((1, 2, 4, 64, 4096)) :]


def headed(data: bytes, random: Random) -> bytes:
    """A number within the first 128 bytes becomes an extreme one."""
    width = random.choice((1, 2, 4, 8))
    start = random.randrange(max(1, min(len(data), 128) - width))
    value = random.choice(EXTREMES) & (256**width - 1)
    return data[:start] + value.to_bytes(width, "little") + data[start + width :]


def tagged(data: bytes, random: Random) -> bytes:
    """One to three entries of a TIFF's directories lie: sizes, tiles, bits, offsets, counts."""
    entries = tiff_entries(data)
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3)) if entries else 0):
        _, start, big = random.choice(entries)
        width = 8 if big else 4
        what = random.choice(("value", "value", "value", "type", "count"))
        place = {"type": start + 2, "count": start + 4, "value": start + 4 + width}[what]
        size = 2 if what == "type" else width
        value = random.randrange(18) if what == "type" else random.choice((*EXTREMES, 150 * 171, 30_000, len(data)))
        out[place : place + size] = value.to_bytes(size, "little")
    return bytes(out)


def tiff_entries(data: bytes) -> list[tuple[int, int, bool]]:
    """`(tag, where, BigTIFF)` of all entries of all directories of a little-endian TIFF."""
    if data[:4] not in (b"II*\0", b"II+\0"):
        return []
    big = data[2] == 43
    found = []
    (at,) = struct.unpack_from("<Q" if big else "<I", data, 8 if big else 4)
    while at and at + 8 < len(data):
        (count,) = struct.unpack_from("<Q" if big else "<H", data, at)
        at += 8 if big else 2
        size = 20 if big else 12
        found += [(struct.unpack_from("<H", data, at + i * size)[0], at + i * size, big) for i in range(count)]
        (at,) = struct.unpack_from("<Q" if big else "<I", data, at + count * size)
    return found


def renumbered(data: bytes, random: Random) -> bytes:
    """A number written in text becomes another one; for JSON, TOML, XML."""
    places = [i for i, byte in enumerate(data[:100_000]) if chr(byte).isdigit()]
    if not places:
        return flipped(data, random)
    start = stop = random.choice(places)
    while chr(data[start - 1]).isdigit():
        start -= 1
    while stop < len(data) and chr(data[stop]).isdigit():
        stop += 1
    new = random.choice((b"0", b"-1", b"1e999", b"3.5", b"nan", b"null", b"[]", b'"x"', b"99999999", b"9" * 40))
    return data[:start] + new + data[stop:]


def reworded(data: bytes, random: Random) -> bytes:
    """A piece of punctuation, or a line, becomes another one."""
    lines = data.split(b"\n")
    where = random.randrange(len(lines))
    pieces = (b"", b"{}{}", b'"', b"{", b"]", b"\0", b"\xff\xfe", b"," * 50, lines[where] * 2, b"[[[[" * 5000)
    lines[where] = random.choice(pieces)
    return b"\n".join(lines)


def replaced(data: bytes, random: Random) -> bytes:
    """Something else altogether."""
    return random.choice(
        (
            b"",
            b"\0" * 4096,
            b"an ordinary sentence instead of data\n" * 200,
            b"\xff\xfe" + "water\nroad\n".encode("utf-16-le"),
            b"x" * 10_000_000,
            random.randbytes(5000),
            b"\x80\x04\x95" + random.randbytes(100),
            b"PK\x03\x04" + random.randbytes(300),
            b"II*\0\x08\0\0\0" + random.randbytes(300),
            b"\x89PNG\r\n\x1a\n" + random.randbytes(300),
            b"<VRTDataset rasterXSize='20' rasterYSize='20'/>",
            b"{" * 100_000,
            b'{"a": 1}',
        )
    )


def encoded(data: bytes, random: Random) -> bytes:
    """Text of another system: byte-order mark, CRLF, UTF-16, NUL, Latin-1."""
    return random.choice(
        (
            b"\xef\xbb\xbf" + data,
            data.replace(b"\n", b"\r\n"),
            data.decode("latin-1").encode("utf-16"),
            data[: len(data) // 2] + b"\0" + data[len(data) // 2 :],
            data + b"caf\xe9\n",
            data.replace(b"\n", b""),
        )
    )


BINARY = (truncated, flipped, zeroed, noisy, doubled, without, headed, replaced)
TEXT = (truncated, flipped, doubled, without, renumbered, renumbered, reworded, replaced, encoded)
SUFFIXES = (".tif", ".png", ".jpg", ".vrt", ".safetensors", ".pt", ".ckpt", ".zip", ".bin", ".txt", ".toml", "")


def mutation(name: str, random: Random) -> Callable[[bytes, Random], bytes]:
    """One that makes sense for a file of this name."""
    if name.endswith((".json", ".txt", ".toml", ".vrt", "index")):
        return random.choice(TEXT)
    return random.choice((*BINARY, tagged, tagged, tagged) if name.endswith(".tif") else BINARY)


def _place(data: bytes, random: Random) -> int:
    """Anywhere, but more often near the start or the end, where headers and directories are."""
    near = min(len(data), 2048)
    return random.choice(
        (random.randrange(near), random.randrange(len(data) - near, len(data)), random.randrange(len(data)))
    )


def _overwritten(data: bytes, random: Random, fill: Callable[[int], bytes]) -> bytes:
    start = _place(data, random)
    size = min(len(data) - start, random.choice((1, 4, 64, 512, 8192)))
    return data[:start] + fill(size) + data[start + size :]
