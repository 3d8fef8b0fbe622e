"""RRSIS-D (https://github.com/Lsan2401/RMSIN): `rrsisd/refs(unc).p`, `rrsisd/instances.json`, masks as run lengths,
`images/rrsisd/JPEGImages/`; or JSON lines that RSRefSeg made of it, such as `datainfo/rrsisd_val.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from earthwords.data.annotations.boxes._common import How, Item
from earthwords.data.annotations.masks import _refs
from earthwords.data.annotations.masks._refs import load

__all__ = ["fits", "items", "load"]

_LISTS = "rrsisd"
_IMAGES = "images/rrsisd/JPEGImages"


def fits(source: Path) -> bool:
    """A folder with `rrsisd/refs...`, that folder itself, or the JSON lines."""
    return _refs.is_lines(source) or (_refs.list_of(_root(source) / _LISTS) is not None)


def items(source: Path, how: How) -> Iterator[Item]:
    """An item an image and split."""
    if source.is_file():
        places = [folder / _IMAGES for folder in source.parents[:3]]
        yield from _refs.line_items(source, _refs.images_at(how, *places), how)
    else:
        root = _root(source)
        yield from _refs.items(root / _LISTS, _refs.images_at(how, root / _IMAGES), how)


def _root(source: Path) -> Path:
    """The folder with lists and images."""
    return source.parent if source.name == _LISTS and not (source / _LISTS).is_dir() else source
