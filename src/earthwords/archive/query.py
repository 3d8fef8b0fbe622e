"""What is asked of an index, and the vectors that it becomes.

Several examples are put together as in Rocchio's relevance feedback (The SMART Retrieval System, 1971, chapter 14): the
mean of those that are wanted, less a share of the mean of those that are not. Or each of them is a query of its own,
and a tile has the score of the nearest (multiple prototypes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError, unknown
from earthwords.geo.grids.georeference import Bounds

Combine = Literal["mean", "nearest"]
UNLIKE_WEIGHT = 0.2
"""Best by `benchmarks/bench_search.py --examples`, and the share that Rocchio's weights usually have."""
_LEAST = 1e-3
"""A sum of unit vectors shorter than this points nowhere."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to look for."""

    words: str | None = None
    like: tuple[Any, ...] = ()
    """Paths, addresses, or arrays `(row, col, 3)`."""
    unlike: tuple[Any, ...] = ()
    bounds: Bounds | None = None
    """Only this part of the image to be similar to, in its CRS."""
    bands: Sequence[int | str] | None = None
    """Of all images, used as red, green and blue."""
    like_geometry: Path | None = None
    """Only what lies under these polygons; of the index itself where there are no images."""
    unlike_geometry: Path | None = None
    weight: float = 0.5
    """Share of the words beside examples, 0..1."""
    unlike_weight: float = UNLIKE_WEIGHT
    """What the examples to be unlike count, 0..1."""
    combine: Combine = "mean"

    def __post_init__(self) -> None:
        if self.words is None and not self.has_positives:
            raise UsageError("Say what to search for: words, an image (--like IMAGE), or both.")
        if self.words is not None and not self.words.strip():
            raise UsageError("There are no words to search for; say something, or give an image.")
        if (self.bounds is not None or self.bands is not None) and not (self.like or self.unlike):
            raise UsageError("The bounds and bands of an image need the image: --like IMAGE.")
        if self.bounds is not None and (len(self.like) != 1 or self.like_geometry is not None):
            raise UsageError("The bounds are of one image to be similar to; give a single --like, and no polygons.")
        for name, value in (("the words", self.weight), ("what is unlike", self.unlike_weight)):
            if not 0 <= value <= 1:
                raise UsageError(f"The weight of {name} is 0 to 1, not {value:g}.")
        if self.combine not in get_args(Combine):
            raise unknown("way to combine examples", self.combine, get_args(Combine))

    @property
    def has_positives(self) -> bool:
        """Whether there are examples to be similar to."""
        return bool(self.like) or self.like_geometry is not None

    @property
    def has_negatives(self) -> bool:
        """Whether there are examples to be unlike."""
        return bool(self.unlike) or self.unlike_geometry is not None

    def facts(self) -> dict[str, Any]:
        """What a report tells of it; None: not asked for."""
        like, unlike = _named(self.like), _named(self.unlike)
        return {
            "words": self.words,
            "like": like,
            "like_geometry": None if self.like_geometry is None else str(self.like_geometry),
            "unlike": unlike,
            "unlike_geometry": None if self.unlike_geometry is None else str(self.unlike_geometry),
            "weight": self.weight if self.words is not None and self.has_positives else None,
            "unlike_weight": self.unlike_weight if self.has_negatives else None,
            "combine": self.combine if len(self.like) > 1 or self.bounds or self.like_geometry else None,
        }

    def vectors(
        self, words: NDArray[np.float32] | None, like: NDArray[np.float32], unlike: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """`(query, dim)` unit vectors; a tile has the largest of its cosines with them.

        Args:
            words: `(dim,)`, of unit length.
            like: `(n, dim)`, likewise, `n` may be 0.
            unlike: `(m, dim)`.

        Raises:
            UsageError: what is wanted and what is not are the same.
        """
        found = like.astype(np.float64) if self.combine == "nearest" or len(like) == 1 else _mean(like)
        if words is not None:
            both = self.weight * words.astype(np.float64) + (1 - self.weight) * found
            found = _unit(both) if len(found) else words[None].astype(np.float64)
        if len(unlike) and self.unlike_weight:
            found = _unit(found - self.unlike_weight * _mean(unlike))
        return np.asarray(found, np.float32)


def images_of(given: Any) -> tuple[Any, ...]:
    """One image or several: None, a path, an array, or a list of paths and arrays."""
    if given is None:
        return ()
    if isinstance(given, (list, tuple)) and all(isinstance(one, (str, Path, np.ndarray)) for one in given):
        return tuple(given)
    return (given,)


def _named(images: tuple[Any, ...]) -> str | list[str] | None:
    names = [str(image) if isinstance(image, (str, Path)) else "array" for image in images]
    return None if not names else names[0] if len(names) == 1 else names


def _mean(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """`(1, dim)` of unit length; none of none."""
    return _unit(vectors.astype(np.float64).mean(axis=0, keepdims=True)) if len(vectors) else vectors.astype(np.float64)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if (lengths < _LEAST).any():
        raise UsageError("What is wanted and what is not are the same; give other examples, or less --unlike-weight.")
    return np.asarray(vectors / lengths)
