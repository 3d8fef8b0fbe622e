"""RefSegRS (https://github.com/zhu-xlab/rrsis): `images/ID.tif`, `masks/ID.tif`, `output_phrase_*.txt`.

What is not 0 in a mask is meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from earthwords.data.engine.outlines import _phrases
from earthwords.data.engine.outlines._phrases import load
from earthwords.data.engine.readers._common import How, Item

__all__ = ["fits", "items", "load"]


def fits(source: Path) -> bool:
    """A folder with these."""
    return _phrases.fits(source, "images", "masks")


def items(source: Path, how: How) -> Iterator[Item]:
    """An item an image and split."""
    return _phrases.items(source, how, images="images", masks="masks", suffix=".tif", name="refsegrs")
