"""RISBench (https://github.com/HIT-SIRS/CroBIM): `img_rgb/`, `mask/`, `output_phrase_*.txt` with the suffixes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from earthwords.data.annotations.boxes._common import How, Item
from earthwords.data.annotations.masks import _phrases
from earthwords.data.annotations.masks._phrases import load

__all__ = ["fits", "items", "load"]


def fits(source: Path) -> bool:
    """A folder with these."""
    return _phrases.fits(source, "img_rgb", "mask")


def items(source: Path, how: How) -> Iterator[Item]:
    """An item an image and split."""
    return _phrases.items(source, how, images="img_rgb", masks="mask", suffix=".jpg", name="risbench")
