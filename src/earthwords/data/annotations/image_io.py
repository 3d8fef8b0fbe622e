"""Pixels of the images that pairs are made of: pictures by PIL, rasters as scenes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.data.annotations.example import Annotated
from earthwords.errors import SourceError, brief
from earthwords.files.paths import PICTURES, trouble
from earthwords.files.reading import read_bytes
from earthwords.geo.scene import Scene, open_scene
from earthwords.geo.sources.gdal_dataset import raster_shape
from earthwords.types import Raster, Window

RASTERS = (".tif", ".tiff", ".vrt", ".jp2", ".img")
"""Read through GDAL: any bands and types, stretched to 8 bit as `segment` does."""
SUFFIXES = (*PICTURES, *RASTERS)
JPEG_QUALITY = 95
"""Of images that are not JPEG files already."""


def is_image(path: Path) -> bool:
    """Whether a file name is that of an image."""
    return path.suffix.lower() in SUFFIXES


def is_raster(path: str) -> bool:
    """Whether it is read through GDAL."""
    return path.lower().endswith(RASTERS)


def size_of(path: str) -> tuple[int, int]:
    """Height and width, from the header.

    Raises:
        SourceError: missing or not an image.
    """
    if is_raster(path):
        return raster_shape(path)
    with opened(path) as image:
        return image.height, image.width


def read_rgb(path: str, window: Window | None = None, bands: tuple[int | str, ...] | None = None) -> NDArray[np.uint8]:
    """`(row, col, 3)` of an image or a window of it.

    Raises:
        SourceError: missing or damaged.
    """
    source = _scene(path, bands) if is_raster(path) else _picture(path)
    if isinstance(source, Scene):
        height, width = source.native.shape
        return _bytes(source.read(window or Window(row=0, col=0, height=height, width=width)))
    if window is not None:
        source = source.crop((window.col, window.row, window.col_stop, window.row_stop))
    return np.asarray(source if source.mode == "RGB" else source.convert("RGB"))


def jpeg(example: Annotated) -> bytes:
    """The image as a JPEG file: the file itself where it is one, so that nothing is compressed twice.

    Raises:
        SourceError: missing or damaged.
    """
    if example.window is None and example.image.lower().endswith((".jpg", ".jpeg")):
        with opened(example.image) as image:
            if image.format == "JPEG" and image.mode in ("RGB", "L"):
                return read_bytes(example.image)
    buffer = io.BytesIO()
    Image.fromarray(read_rgb(example.image, example.window, example.bands)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


@contextmanager
def opened(path: str) -> Iterator[Image.Image]:
    """A picture; whatever PIL says about it inside the block becomes a `SourceError`."""
    if (why := trouble(path)) is not None:
        raise SourceError(f"{path} {why}; check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceError(f"Cannot read {path} ({brief(error)}); copy or download it again.") from error


def _bytes(raster: Raster) -> NDArray[np.uint8]:
    """`(row, col, 3)` of 0..1 `(3, row, col)`."""
    return np.ascontiguousarray(np.moveaxis(np.rint(raster.data * 255).astype(np.uint8), 0, -1))


@lru_cache(maxsize=1)
def _picture(path: str) -> Image.Image | Scene:
    with opened(path) as image:
        if not image.mode.startswith(("I", "F")):
            image.load()
            return image
    return _scene(path, None)  # 16 bit and more, which PIL would cut off


@lru_cache(maxsize=1)
def _scene(path: str, bands: tuple[int | str, ...] | None) -> Scene:
    return open_scene(path, bands=bands, offline=True)
