"""RefSegRS (https://github.com/zhu-xlab/rrsis): `images/ID.tif`, `masks/ID.tif`, `output_phrase_*.txt`.

What is not 0 in a mask is meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from earthwords.data.annotations.boxes._common import How, Item
from earthwords.data.annotations.masks import _phrases
from earthwords.data.annotations.masks._phrases import load

__all__ = ["fits", "items", "load"]


def fits(source: Path) -> bool:
    """A folder with these."""
    return _phrases.fits(source, "images", "masks")


def items(source: Path, how: How) -> Iterator[Item]:
    """An item an image and split."""
    return _phrases.items(source, how, images="images", masks="masks", suffix=".tif", name="refsegrs")
