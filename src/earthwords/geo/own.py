"""Files that earthwords wrote: they say so in a tag, so that a folder of scenes does not grow maps of maps."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import rasterio
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from earthwords.paths import trouble, utf8_name

TAG = "EARTHWORDS_OUTPUT"
"""What kind of output a file is: `labels`, `probabilities`, `features`, `preview`, ..."""
OWN = "was written by earthwords itself"
"""What is said of such a file."""
_PREFIX = "EARTHWORDS_"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a TIFF begins. Nothing else is opened by GDAL: a VRT could open others, over a network too."""
_PNG = b"\x89PNG"
_HEAD = 8192
"""Bytes of a PNG before its pixels, where its texts are."""


def wrote(path: str | Path) -> bool:
    """Whether a local file is an output of earthwords, by its tags; False for what cannot be read."""
    if trouble(path) is not None:
        return False
    with suppress(RasterioError, CPLE_BaseError, OSError, UnicodeError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
        if head.startswith(_PNG):
            return f"tEXt{_PREFIX}".encode() in head
        if head.startswith(_TIFF):
            with rasterio.open(utf8_name(path), driver="GTiff") as dataset:
                return tells(dataset.tags())
    return False


def tells(tags: Mapping[str, str]) -> bool:
    """Whether the tags of a file are those of an output."""
    return any(name.startswith(_PREFIX) for name in tags)


def save_png(image: Image.Image, path: str | Path, *, kind: str) -> None:
    """Write a picture as PNG with the tag."""
    about = PngInfo()
    about.add_text(TAG, kind)
    image.save(path, format="PNG", pnginfo=about)
