"""Files that earthwords wrote: they say so in a tag, so that a folder of scenes does not grow maps of maps."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from earthwords.files.paths import trouble

if TYPE_CHECKING:
    from PIL import Image

TAG = "EARTHWORDS_OUTPUT"
"""What kind of output a file is: `labels`, `probabilities`, `features`, `preview`, ..."""
OWN = "was written by earthwords itself"
"""What is said of such a file."""
_PREFIX = "EARTHWORDS_"
_PNG = b"\x89PNG"
_PNG_HEAD = 8192
"""Bytes of a PNG before its pixels, where its texts are."""
_TIFFS = {b"II*\0": 8, b"MM\0*": 8, b"II+\0": 16}
"""How a TIFF begins that earthwords may have written -> the length of its header."""
_GDAL_METADATA = 42112


def wrote(path: str | Path) -> bool:
    """Whether a local file is an output of earthwords, by its tags; False for what cannot be read.

    GDAL is not asked: it takes twenty times as long, and would open what a VRT names, over a network too.
    """
    if trouble(path) is not None:
        return False
    with suppress(OSError), Path(path).open("rb") as file:
        head = file.read(_PNG_HEAD)
        if head.startswith(_PNG):
            return f"tEXt{_PREFIX}".encode() in head
        length = _TIFFS.get(head[:4])
        return length is not None and _PREFIX in _tiff_metadata(file, head[:length])
    return False


def marks_output(tags: Mapping[str, str]) -> bool:
    """Whether the tags of a file are those of an output."""
    return any(name.startswith(_PREFIX) for name in tags)


def save_png(image: Image.Image, path: str | Path, *, kind: str) -> None:
    """Write a picture as PNG with the tag."""
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text(TAG, kind)
    image.save(path, format="PNG", pnginfo=about)


def _tiff_metadata(file: BinaryIO, header: bytes) -> str:
    """What GDAL has written down beside a TIFF's own tags; empty for a damaged file."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    with suppress(OSError, ValueError, SyntaxError, TypeError, KeyError, struct.error), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tags = ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        return str(tags.get(_GDAL_METADATA, ""))
    return ""
