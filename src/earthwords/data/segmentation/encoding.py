"""From label files to classes and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.data.segmentation.spec import IGNORED, Encoding
from earthwords.errors import SourceError

Labels = NDArray[np.uint8]

LOSSY = (".jpg", ".jpeg", ".webp")
_ONE_BAND = ("L", "P", "1", "I", "I;16", "I;16B")
_BLOCK = 512
"""Rows of colours that are looked up at a time."""
_SHOWN = 5


def read_labels(path: Path, encoding: Encoding) -> Labels:
    """`(row, col)` classes of a label file, `IGNORED` where a pixel does not count.

    Raises:
        SourceError: missing, damaged, or with a value or colour that means nothing.
    """
    return decode(read_values(path, encoding), encoding, path)


def read_values(path: Path, encoding: Encoding) -> NDArray[Any]:
    """`(row, col)` values or palette indices, or `(row, col, 3)` colours, whichever the encoding reads.

    Raises:
        SourceError: missing, damaged, or of bands that cannot be labels.
    """
    from earthwords.data.annotations.image_io import opened  # a set is found without GDAL

    with opened(str(path)) as image:
        if encoding.at_least is not None:
            return np.asarray(image if image.mode in ("I", "I;16", "I;16B") else image.convert("L"))
        if image.mode in _ONE_BAND and (encoding.values or image.mode != "P"):
            return np.asarray(image).astype(np.uint8) if image.mode == "1" else np.asarray(image)
        if encoding.colours and image.mode in ("RGB", "RGBA", "P"):
            return np.asarray(image.convert("RGB"))
        mode = image.mode
    wanted = " or ".join(("one band",) * bool(encoding.values) + ("three bands of colours",) * bool(encoding.colours))
    raise SourceError(f"{path} is an image of mode {mode}; labels of this set have {wanted}.")


def decode(values: NDArray[Any], encoding: Encoding, path: Path) -> Labels:
    """Classes `(row, col)` of what `read_values` returned.

    Raises:
        SourceError: a value or colour means nothing; a mask from 0 to 255 holds only 0 and 1.
    """
    if encoding.at_least is not None:
        return _threshold(values, encoding.at_least, path)
    if values.ndim == 3:
        known, classes = _table({_code(rgb): index for rgb, index in encoding.colours.items()})
        blocks = (values[row : row + _BLOCK].astype(np.int32) @ (1 << 16, 1 << 8, 1) for row in _rows(values))
    elif encoding.values:
        known, classes = _table({IGNORED: IGNORED, **encoding.values})
        blocks = (values[row : row + _BLOCK].astype(np.int64) for row in _rows(values))
    else:
        raise SourceError(f"{path} has one band; labels of this set are colours.")
    return np.concatenate([_look_up(block, known, classes, encoding, path, values.ndim == 3) for block in blocks])


def write_labels(path: Path, labels: Labels, encoding: Encoding) -> None:
    """Write classes `(row, col)` as a grey PNG or TIFF of the values that an encoding gives them."""
    table = np.zeros(256, dtype=np.uint8)
    for value, index in sorted(encoding.values.items(), reverse=True):
        table[index] = value  # of several values for a class the smallest
    if IGNORED not in encoding.values.values():
        table[IGNORED] = IGNORED
    Image.fromarray(table[labels]).save(path)


def is_same(first: Encoding, second: Encoding) -> bool:
    """Whether values mean the same in both, so that files of one band need not be written again."""
    return bool(first.values) and first.values == second.values and first.at_least is None


def _threshold(values: NDArray[Any], at_least: int, path: Path) -> Labels:
    found = (values >= at_least).astype(np.uint8)
    if at_least > 1 and path.suffix.lower() not in LOSSY and values.size and values.max() == 1:
        raise SourceError(
            f"{path} holds only 0 and 1 where masks from 0 to 255 are expected; it seems to be converted already."
        )
    return found


def _look_up(
    block: NDArray[Any],
    known: NDArray[np.int64],
    classes: Labels,
    encoding: Encoding,
    path: Path,
    colours: bool,
) -> Labels:
    place = np.searchsorted(known, block).clip(max=len(known) - 1)
    hit = known[place] == block
    out: Labels = classes[place]
    if not hit.all():
        if encoding.otherwise is None:
            raise SourceError(f"{path} holds {_strange(block[~hit], colours)}, which no class of this set has.")
        out[~hit] = encoding.otherwise
    return out


def _strange(codes: NDArray[Any], colours: bool) -> str:
    """The values that are not known, a few of them."""
    found, counts = np.unique(codes, return_counts=True)
    shown = [f"#{int(v):06x}" if colours else str(int(v)) for v in found[np.argsort(-counts)][:_SHOWN]]
    what = ("colour" if colours else "value") + "s" * (len(found) > 1)
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return f"the {what} {', '.join(shown)}{more} ({counts.sum():,} pixels)"


def _table(of: dict[int, int]) -> tuple[NDArray[np.int64], Labels]:
    known = np.array(sorted(of), dtype=np.int64)
    return known, np.array([of[int(value)] for value in known], dtype=np.uint8)


def _code(rgb: tuple[int, int, int]) -> int:
    return (rgb[0] << 16) | (rgb[1] << 8) | rgb[2]


def _rows(values: NDArray[Any]) -> Iterator[int]:
    return iter(range(0, max(1, len(values)), _BLOCK))
