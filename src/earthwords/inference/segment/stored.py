"""A map that `segment --probabilities` wrote, decided again with other thresholds, without the model.

At the thresholds of the run the labels are those of the run. At others they follow from the stored probabilities: to
the bit from float32; from uint8 a pixel whose probability is within 1/500 of the threshold may fall on the other side.
Which class is the most probable, and where no word fits, stays as the run has decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError, UsageError
from earthwords.geo.label_rows import LabelRows
from earthwords.geo.probability_map import ProbabilityMap, open_map
from earthwords.geo.scene import Scene
from earthwords.inference.segment.postprocess import MARGIN
from earthwords.inference.windows.strip import Strip
from earthwords.text.vocabulary import BACKGROUND_WORDS
from earthwords.types import SCORE_STEPS, ClassName, Grid, Vocabulary, Window

_PIXELS = 2**21


@dataclass(frozen=True, kw_only=True)
class TopTwo:
    """The two most probable classes of pixels, `(row, col)` each."""

    top: NDArray[np.int64]
    """The class that a pixel belongs to if its score reaches the threshold; -1: none was observed, or none fits."""
    score: NDArray[np.float32]
    """Its probability."""
    best: NDArray[np.float32]
    """The largest probability, which reports call the score; another than `score` where no word fits."""
    second: NDArray[np.int64]
    """The runner-up; -1: there is none."""
    second_score: NDArray[np.float32]
    valid: NDArray[np.bool_]
    """Whether something was observed."""
    labels: NDArray[np.int64]
    """As the run decided."""


class StoredMap:
    """An open map; a context manager. Make one with `open_stored`."""

    def __init__(self, map: ProbabilityMap, labels: LabelRows, vocabulary: Vocabulary) -> None:
        self.map = map
        self.vocabulary = vocabulary
        self._labels = labels
        self._stack = ExitStack()

    @property
    def grid(self) -> Grid:
        """Of the map."""
        return self.map.grid

    @property
    def tags(self) -> dict[str, str]:
        """`EARTHWORDS_...`: how the map was made."""
        return self.map.tags

    @property
    def thresholds(self) -> NDArray[np.float32]:
        """`(class,)` of the run."""
        return thresholds_of(self.tags.get("EARTHWORDS_THRESHOLD", ""), self.vocabulary)

    @property
    def rows_at_once(self) -> int:
        """That fit into little memory."""
        return max(1, _PIXELS // (self.grid.width * max(1, len(self.vocabulary) // 4)))

    def rows(self, row: int, height: int) -> TopTwo:
        """Consecutive full-width rows.

        Raises:
            SourceError: a file is damaged there.
        """
        probabilities, labels = self.map.rows(row, height), self._labels.rows(row, height)
        return top_two(probabilities, labels, self.vocabulary, self.thresholds, rounded=self.map.is_rounded)

    def pixel(self, row: int, col: int) -> TopTwo:
        """A single pixel, as arrays `(1, 1)`."""
        values, label = self.map.pixel(row, col), self._labels.pixel(row, col)
        return top_two(
            values[:, None, None], np.array([[label]]), self.vocabulary, self.thresholds, rounded=self.map.is_rounded
        )

    def strips(self, thresholds: Mapping[str, float], scene: Scene | None = None) -> Iterator[Strip]:
        """The map decided again.

        Args:
            thresholds: title of a class to its least probability; of others that of the run.
            scene: for the picture, on the grid of the map; grey without it.

        Raises:
            UsageError: a title that is none.
        """
        unknown = [title for title in thresholds if title not in self.vocabulary.titles]
        if unknown:
            raise UsageError(f"{unknown[0]!r} is no class of this map; it has {', '.join(self.vocabulary.titles)}.")
        own = self.thresholds
        levels = np.array(
            [np.float32(thresholds.get(t, own[i])) for i, t in enumerate(self.vocabulary.titles)], np.float32
        )
        for row in range(0, self.grid.height, self.rows_at_once):
            height = min(self.rows_at_once, self.grid.height - row)
            rows = self.rows(row, height)
            yield self._strip(row, rows, levels, own, scene)

    def _strip(
        self, row: int, rows: TopTwo, levels: NDArray[np.float32], own: NDArray[np.float32], scene: Scene | None
    ) -> Strip:
        words = self.vocabulary
        below = words.nodata if words.background is None else words.background
        found = rows.top >= 0
        top = np.where(found, rows.top, 0)
        reached = rows.score >= levels[top]
        as_before = levels == own
        reached = np.where(as_before[top], rows.labels == top, reached)
        labels = np.where(found & reached, top, below)
        labels = np.where(rows.valid, labels, words.nodata).astype(words.label_dtype)
        total = rows.score + rows.second_score
        close = (rows.second >= 0) & rows.valid & (rows.score - rows.second_score < MARGIN * total)
        if scene is None:
            rgb = np.full((3, *labels.shape), 0.9, np.float32)
        else:
            region = scene.region
            window = Window(row=region.row + row, col=region.col, height=len(labels), width=labels.shape[1])
            rgb = scene.read_rgb(window).data.astype(np.float32)
        score = np.where(rows.valid, rows.best, np.float32(0))
        return Strip(row=row, labels=labels, score=score, rgb=rgb, valid=rows.valid, undecided=close)

    def __enter__(self) -> StoredMap:
        self._stack.enter_context(self.map)
        self._stack.enter_context(self._labels)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def open_stored(folder: Path) -> StoredMap:
    """The map in a folder of `segment`.

    Raises:
        SourceError: it has no probabilities, or they are not of the labels beside them.
    """
    map = open_map(str(folder / "probabilities.tif"))
    labels = LabelRows(folder / "labels.tif")
    if labels.shape != map.grid.shape:
        raise SourceError(f"The probabilities in {folder.name} are not of the labels beside them.")
    vocabulary = vocabulary_of(map.tags.get("EARTHWORDS_VOCABULARY", ""), map.titles, labels.colours())
    return StoredMap(map, labels, vocabulary)


def top_two(
    probabilities: NDArray[np.float32],
    labels: NDArray[Any],
    vocabulary: Vocabulary,
    thresholds: NDArray[np.float32],
    *,
    rounded: bool,
) -> TopTwo:
    """The two best classes of pixels.

    Args:
        probabilities: `(class, row, col)`, NaN where nothing was observed.
        labels: `(row, col)` of the run: they say which of equal probabilities is the larger one, and where no word
            fits although one is probable enough.
        thresholds: `(class,)` of the run.
        rounded: probabilities are in steps of 1/250.
    """
    valid = ~np.isnan(probabilities[0])
    seen = np.nan_to_num(probabilities)
    order = seen.argmax(axis=0)
    best = np.take_along_axis(seen, order[None], axis=0)[0]
    named = labels.astype(np.int64)
    classes, background = len(vocabulary), vocabulary.background
    inside = np.where(named < classes, named, 0)
    said = (named < classes) & (named != -1 if background is None else named != background)
    top = np.where(said, inside, order)
    sure = best > thresholds[order] + 0.501 / SCORE_STEPS if rounded else best >= thresholds[order]
    below = ~said & sure  # probable enough, and yet no label: no word fits
    unfit = below & (order != (-1 if background is None else background))
    top = np.where(unfit, -1 if background is None else background, top)
    top = np.where(valid, top, -1)
    at = np.maximum(top, 0)
    score = np.where(top >= 0, np.take_along_axis(seen, at[None], axis=0)[0], 0).astype(np.float32)
    if classes == 1:
        second, second_score = np.full(top.shape, -1), np.zeros_like(score)
    else:
        others = seen.copy()
        np.put_along_axis(others, at[None], -1.0, axis=0)
        second = others.argmax(axis=0)
        second_score = np.take_along_axis(others, second[None], axis=0)[0].astype(np.float32)
        second = np.where(valid, second, -1)
    return TopTwo(
        top=top, score=score, best=np.where(valid, best, 0).astype(np.float32), second=second,
        second_score=np.where(valid, second_score, 0).astype(np.float32), valid=valid, labels=named,
    )  # fmt: skip


def score_planes(rows: TopTwo) -> NDArray[np.uint8]:
    """`(3, row, col)`: top class + 1 (0: nothing), its score, the runner-up's, in steps of 1/250."""
    score = np.rint(rows.score * SCORE_STEPS)
    second = np.minimum(np.rint(rows.second_score * SCORE_STEPS), score)
    planes = np.stack([rows.top + 1, score, second])
    return np.where(rows.top >= 0, planes, 0).astype(np.uint8)


def thresholds_of(text: str, vocabulary: Vocabulary) -> NDArray[np.float32]:
    """`(class,)` least probabilities, from the tag `EARTHWORDS_THRESHOLD`: `0.3; road 0.5`."""
    first, *own = [part.strip() for part in text.split(";")] or [""]
    least = _number(first)
    levels = {title: _number(number) for title, _, number in (part.rpartition(" ") for part in own)}
    return np.array([levels.get(title, least) for title in vocabulary.titles], np.float32)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def vocabulary_of(described: str, titles: tuple[str, ...], colours: Mapping[int, tuple[int, int, int]]) -> Vocabulary:
    """The classes of a map from what its files tell.

    Args:
        described: the tag `EARTHWORDS_VOCABULARY`.
        titles: of the bands.
        colours: label to colour.
    """
    texts = described.split("; ") if described else []
    if len(texts) != len(titles):
        texts = list(titles)
    classes = []
    for label, (text, title) in enumerate(zip(texts, titles, strict=True)):
        head, _, read = text.partition(" (")
        names = tuple(head.split(",")) if head.split(",")[0] == title else (title,)
        read_as = tuple(read.removesuffix(")").split(",")) if read else ()
        classes.append(ClassName(names=names, colour=colours.get(label, (128, 128, 128)), read_as=read_as))
    found = Vocabulary(classes=tuple(classes))
    background = next(
        (i for i, c in enumerate(classes) if BACKGROUND_WORDS & {*map(str.lower, c.queries), c.title}), None
    )
    return replace(found, background=background)
