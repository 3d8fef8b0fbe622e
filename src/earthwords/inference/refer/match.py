"""Where a sentence was found in a view: its probabilities, its place on other grids, and what a journal keeps of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from earthwords.files.reading import parse_json
from earthwords.inference.refer.pyramid import View
from earthwords.types import Window


@dataclass(frozen=True, kw_only=True)
class Match:
    """Where a sentence was found."""

    sentence: int
    view: View
    part: Window
    """Of the view's level grid: the pixels that `probability` tells of."""
    probability: NDArray[np.float16]
    """`(row, col)` of `part`."""
    score: float
    """Mean probability inside the mask, 0..1; 0 without one."""
    similarity: float
    """Mean sigmoid of the calibrated cosines of pixels and sentence inside the mask."""
    presence: float
    """How sure it is that the thing is in the view, 0..1: what the model learned of that, else the score; 0 without a
    mask."""

    def mask(self, threshold: float) -> NDArray[np.bool_]:
        """`(row, col)` of `part`."""
        return np.asarray(self.probability.astype(np.float32) > threshold)

    @property
    def rank(self) -> float:
        """What decides between views."""
        return float(self.score * np.sqrt(self.similarity))


@dataclass(frozen=True, kw_only=True)
class ViewMatches:
    """What was found in a view."""

    matches: tuple[Match, ...]
    failures: tuple[str, ...] = ()
    """A sentence for every part that could not be read."""

    def to_bytes(self) -> bytes:
        """As safetensors: the probabilities under their numbers, and the rest as JSON."""
        about = {"matches": [_without_array(match) for match in self.matches], "failures": self.failures}
        arrays = {str(i): np.ascontiguousarray(match.probability) for i, match in enumerate(self.matches)}
        data: bytes = save({_ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays})
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> ViewMatches:
        """What `to_bytes` made."""
        arrays = load(data)
        about = parse_json(arrays[_ABOUT].tobytes())
        matches = tuple(_match(row, arrays[str(i)]) for i, row in enumerate(about["matches"]))
        return cls(matches=matches, failures=tuple(about["failures"]))


_ABOUT = "about"


def on_grid(match: Match, shape: tuple[int, int], window: Window) -> tuple[slice, slice, NDArray[np.float32]] | None:
    """Probabilities of a match on a window of a grid of `shape` over the same ground: rows and columns of the window
    whose centres lie in the match, and the bilinear values there; None if there are none."""
    place = []
    for axis, (first, length, origin, size) in enumerate(
        (
            (window.row, window.height, match.part.row, match.part.height),
            (window.col, window.width, match.part.col, match.part.width),
        )
    ):
        scale = match.view.shape[axis] / shape[axis]
        at = (first + np.arange(length) + 0.5) * scale - origin
        inside = np.flatnonzero((at >= 0) & (at < size))
        if not len(inside):
            return None
        at = np.clip(at[inside] - 0.5, 0, size - 1)
        low = np.minimum(at.astype(np.int64), max(size - 2, 0))
        place.append(
            (slice(inside[0], inside[-1] + 1), low, np.minimum(low + 1, size - 1), (at - low).astype(np.float32))
        )
    (rows, top, bottom, down), (cols, left, right, across) = place
    values = match.probability.astype(np.float32)
    upper = values[top][:, left] * (1 - across) + values[top][:, right] * across
    lower = values[bottom][:, left] * (1 - across) + values[bottom][:, right] * across
    return rows, cols, (upper * (1 - down)[:, None] + lower * down[:, None])


def paste(
    match: Match,
    shape: tuple[int, int],
    window: Window,
    labels: NDArray[np.unsignedinteger],
    score: NDArray[np.float32],
    probabilities: NDArray[np.float32] | None,
    threshold: float,
) -> None:
    """Give the pixels of a match in a window of a grid of `shape` its label where it is the surest."""
    found = on_grid(match, shape, window)
    if found is None:
        return
    rows, cols, values = found
    if probabilities is not None:
        own = probabilities[match.sentence, rows, cols]
        np.maximum(own, values, out=own)
    better = (values > threshold) & (values > score[rows, cols])
    labels[rows, cols][better] = match.sentence
    score[rows, cols][better] = values[better]


def shared(first: Match, second: Match, threshold: float) -> float:
    """Share of the first's mask, as far as the second's view shows it, that is in the second's."""
    found = on_grid(first, second.view.shape, second.part)
    if found is None:
        return 0.0
    rows, cols, values = found
    marked = values > threshold
    return float((second.mask(threshold)[rows, cols])[marked].mean()) if marked.any() else 0.0


def box(match: Match, threshold: float) -> tuple[int, int, int, int]:
    """First and last + 1 row, column of the mask: top, left, bottom, right, in `part`."""
    inside = match.mask(threshold)
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1


def is_cut(match: Match, region: Window, threshold: float) -> bool:
    """Whether the mask reaches a border of its view beyond which the region, in pixels of that grid, goes on."""
    top, left, bottom, right = box(match, threshold)
    part = match.part
    return (
        (top == 0 and part.row > region.row)
        or (left == 0 and part.col > region.col)
        or (bottom == part.height and part.row_stop < region.row_stop)
        or (right == part.width and part.col_stop < region.col_stop)
    )


def _without_array(match: Match) -> dict[str, Any]:
    return {
        "sentence": match.sentence, "view": asdict(match.view), "part": asdict(match.part), "score": match.score,
        "similarity": match.similarity, "presence": match.presence,
    }  # fmt: skip


def _match(row: dict[str, Any], probability: NDArray[np.float16]) -> Match:
    view = row["view"]
    windows = {name: Window(**view[name]) for name in ("window", "core")}
    return Match(
        **{**row, "view": View(**{**view, "shape": tuple(view["shape"]), **windows}), "part": Window(**row["part"])},
        probability=probability,
    )
