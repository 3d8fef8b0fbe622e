"""Marked pixels of all scenes with their features: what a head is fitted on, and what a later teaching goes on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from earthwords.errors import WeightsError, brief
from earthwords.files.atomic import atomic_path, writing
from earthwords.files.reading import check_file, read_json
from earthwords.geo.vectors.connected import connected
from earthwords.inference.teach.folder import CARD, MARKS

BLOCKS = 16
"""Places into which the marks of few scenes are divided, at most."""
SCENES = 3
"""From so many scenes on, places are scenes."""
SAME = 0.5
"""Share of the marks of one of two scenes, from which on both are taken for the same ground: tiles share some marks."""
_ABSENT = "-"
"""The identity of a scene without pixels."""
_ARRAYS = (
    "features",
    "title",
    "scene",
    "pixels",
    "mark",
    "around",
    "around_scene",
    "around_pixels",
    "cues",
    "around_cues",
)


@dataclass(frozen=True, kw_only=True)
class MarkedPixels:
    """Marked pixels, and unmarked ones all over the same scenes."""

    scenes: tuple[str, ...]
    identity: tuple[str, ...]
    """Of each scene what its features depend on, as a hash; empty: they were computed from several states of it."""
    titles: tuple[str, ...]
    """What pixels are marked as, each once."""
    features: NDArray[np.float32]
    """`(n, dim)`."""
    title: NDArray[np.int64]
    """`(n,)`, of `titles`."""
    scene: NDArray[np.int64]
    """`(n,)`, of `scenes`."""
    pixels: NDArray[np.int64]
    """`(n, 2)` row and column in the scene's own grid."""
    mark: NDArray[np.int64]
    """`(n,)`: pixels of one mark have one number, in whatever scenes it lies."""
    around: NDArray[np.float32]
    """`(m, dim)` of unmarked pixels."""
    around_scene: NDArray[np.int64]
    """`(m,)`."""
    around_pixels: NDArray[np.int64]
    """`(m, 2)` row and column in the grid that is worked at."""
    cues: NDArray[np.float32] | None = None
    """`(n, cue)`, not standardised."""
    around_cues: NDArray[np.float32] | None = None
    """`(m, cue)`."""

    def __len__(self) -> int:
        return len(self.features)

    @property
    def marks(self) -> NDArray[np.int64]:
        """`(n,)`: the number of the mark, from 0."""
        found: NDArray[np.int64] = np.unique(self.mark, return_inverse=True)[1].reshape(-1)
        return found

    def weights(self) -> NDArray[np.float32]:
        """`(n,)`: every mark counts as one, however many pixels it has."""
        marks = self.marks
        return (1 / np.bincount(marks)[marks]).astype(np.float32)

    def by_scene(self) -> bool:
        """Whether places are scenes."""
        return len(np.unique(self._grounds())) >= SCENES

    def _grounds(self) -> NDArray[np.int64]:
        """`(n,)`: scenes that mostly show the same marks, such as two days of one place, are one."""
        pairs = np.unique(np.stack([self.scene, self.marks]), axis=1)
        shown = coo_array((np.ones(pairs.shape[1]), tuple(pairs))).tocsr()
        both = (shown @ shown.T).tocoo()
        one, other = both.coords
        count = shown.sum(axis=1)
        alike = both.data >= SAME * np.minimum(count[one], count[other])
        found: NDArray[np.int64] = connected(one[alike], other[alike], len(count))[1][self.scene].astype(np.int64)
        return found

    def several(self) -> int:
        """How many marks lie in scenes that are one ground."""
        pairs = np.unique(np.stack([self.marks, self.scene, self._grounds()]), axis=1)
        _, scenes = np.unique(pairs[[0, 2]], axis=1, return_counts=True)
        return int((scenes > 1).sum())

    def places(self) -> NDArray[np.int64]:
        """`(n,)`: what is left out together: scenes, or the marks of a part of one."""
        if self.by_scene():
            return self._grounds()
        marks = self.marks
        first = np.unique(marks, return_index=True)[1]
        own = self.scene == self.scene[first][marks]  # a mark lies where its first scene has it
        sums = np.stack([np.bincount(marks[own], self.pixels[own, axis]) for axis in (0, 1)], axis=1)
        middles: NDArray[np.float64] = sums / np.bincount(marks[own])[:, None]
        owner = self.scene[first]
        found = np.zeros(len(middles), np.int64)
        for scene in np.unique(owner):
            own = np.flatnonzero(owner == scene)
            found[own] = found.max() + 1 + _blocks(middles[own], most=BLOCKS)
        return found[marks]

    def part(self, kept: NDArray[np.bool_]) -> MarkedPixels:
        """Some of the marked ones."""
        arrays = {name: getattr(self, name)[kept] for name in ("features", "title", "scene", "pixels", "mark")}
        return replace(self, **arrays, cues=None if self.cues is None else self.cues[kept])

    def joined(self, later: MarkedPixels, *, same_marks: bool = False) -> MarkedPixels:
        """With those of a later teaching, which count where both mark a pixel.

        Args:
            same_marks: marks of one number are the same.
        """
        scenes = tuple(dict.fromkeys((*self.scenes, *later.scenes)))
        titles = tuple(dict.fromkeys((*self.titles, *later.titles)))
        mine, theirs = self._renamed(scenes, titles), later._renamed(scenes, titles)
        new = {(s, r, c) for s, (r, c) in zip(theirs.scene.tolist(), theirs.pixels.tolist(), strict=True)}
        pairs = zip(mine.scene.tolist(), mine.pixels.tolist(), strict=True)
        kept = np.array([(s, r, c) not in new for s, (r, c) in pairs], bool)
        first = 0 if same_marks else int(mine.mark.max(initial=-1)) + 1
        old_around = ~np.isin(mine.around_scene, theirs.around_scene)
        with_cues = mine.cues is not None and theirs.cues is not None
        with_cues = with_cues and mine.cues.shape[1] == theirs.cues.shape[1]  # type: ignore[union-attr]
        return MarkedPixels(
            scenes=scenes,
            identity=tuple(_same(mine.identity[i], theirs.identity[i]) for i in range(len(scenes))),
            titles=titles,
            features=np.concatenate([mine.features[kept], theirs.features]),
            title=np.concatenate([mine.title[kept], theirs.title]),
            scene=np.concatenate([mine.scene[kept], theirs.scene]),
            pixels=np.concatenate([mine.pixels[kept], theirs.pixels]),
            mark=np.concatenate([mine.mark[kept], theirs.mark + first]),
            around=np.concatenate([mine.around[old_around], theirs.around]),
            around_scene=np.concatenate([mine.around_scene[old_around], theirs.around_scene]),
            around_pixels=np.concatenate([mine.around_pixels[old_around], theirs.around_pixels]),
            cues=np.concatenate([mine.cues[kept], theirs.cues]) if with_cues else None,  # type: ignore[index]
            around_cues=np.concatenate([mine.around_cues[old_around], theirs.around_cues]) if with_cues else None,  # type: ignore[index]
        )

    def _renamed(self, scenes: Sequence[str], titles: Sequence[str]) -> MarkedPixels:
        scene = np.array([scenes.index(name) for name in self.scenes] or [0], np.int64)
        title = np.array([titles.index(name) for name in self.titles] or [0], np.int64)
        told = dict(zip(self.scenes, self.identity, strict=True))
        return replace(
            self, scenes=tuple(scenes), titles=tuple(titles), scene=scene[self.scene], title=title[self.title],
            around_scene=scene[self.around_scene], identity=tuple(told.get(name, _ABSENT) for name in scenes),
        )  # fmt: skip

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the numbers; what the card should tell of them."""
        from safetensors.numpy import save

        arrays = {name: getattr(self, name) for name in _ARRAYS if getattr(self, name) is not None}
        for name in ("features", "around"):
            arrays[name] = arrays[name].astype(np.float16)
        with atomic_path(folder / MARKS, overwrite=True) as part, writing(folder / MARKS):
            part.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
        return {"scenes": list(self.scenes), "identity": list(self.identity), "titles": list(self.titles)}


def read_examples(folder: Path) -> MarkedPixels:
    """Of an earlier teaching.

    Raises:
        WeightsError: there are none, or they are damaged.
    """
    from safetensors.numpy import load_file

    try:
        check_file(folder / MARKS)
        arrays = load_file(folder / MARKS)
        card: Mapping[str, Any] = read_json(folder / CARD)
        for name in ("features", "around"):
            arrays[name] = arrays[name].astype(np.float32)
        found = MarkedPixels(
            scenes=tuple(map(str, card["scenes"])), identity=tuple(map(str, card["identity"])),
            titles=tuple(map(str, card["titles"])),
            **{name: arrays[name] for name in arrays if name in _ARRAYS},
        )  # fmt: skip
        _check(found)
    except Exception as error:  # of safetensors, with bases of its own
        raise WeightsError(f"{folder} holds no marks of an earlier teaching: {brief(error)}.") from error
    return found


def known_of(folder: Path) -> MarkedPixels | None:
    """What a folder holds that is about to be taught anew, if anything: features need not be computed twice."""
    if not (folder / MARKS).is_file():
        return None
    with suppress(WeightsError):
        return read_examples(folder)
    return None


def _check(found: MarkedPixels) -> None:
    """Raises `ValueError` for numbers that do not belong together."""
    count = len(found)
    lengths = [len(getattr(found, name)) for name in ("title", "scene", "pixels", "mark")]
    around = {len(found.around), len(found.around_scene), len(found.around_pixels)}
    if set(lengths) != {count} or len(around) != 1 or found.features.ndim != 2:
        raise ValueError("its parts have different lengths")
    if len(found.identity) != len(found.scenes) or found.around_pixels.shape[1:] != (2,):
        raise ValueError("its scenes are not told apart")
    if count and not (0 <= found.title.min() <= found.title.max() < len(found.titles)):
        raise ValueError("it names classes that are not there")
    if len(found.around_scene) and not (0 <= found.around_scene.min() <= found.around_scene.max() < len(found.scenes)):
        raise ValueError("it names scenes that are not there")
    parts = [part for part in (found.features, found.around, found.cues, found.around_cues) if part is not None]
    if not all(np.isfinite(part).all() for part in parts) or found.around.shape[1:] != found.features.shape[1:]:
        raise ValueError("it holds numbers that are impossible")
    beside = (found.cues, found.around_cues)
    if any(part is None for part in beside) != all(part is None for part in beside):
        raise ValueError("bands of some pixels are missing")
    if found.cues is not None and found.around_cues is not None:
        fits = len(found.cues) == count and found.around_cues.shape == (len(found.around), found.cues.shape[1])
        if not fits:
            raise ValueError("its bands do not fit its pixels")
    if count and not (0 <= found.scene.min() <= found.scene.max() < len(found.scenes)):
        raise ValueError("it names scenes that are not there")


def _same(mine: str, theirs: str) -> str:
    """What features of both depend on."""
    if _ABSENT in (mine, theirs):
        return theirs if mine == _ABSENT else mine
    return mine if mine == theirs else ""


def _blocks(middles: NDArray[np.float64], *, most: int) -> NDArray[np.int64]:
    """Points divided in two at the median of the longer side, again and again, into at most so many parts."""
    found = np.zeros(len(middles), np.int64)
    parts = [np.arange(len(middles))]
    while len(parts) < min(most, len(middles)):
        parts.sort(key=len)
        part = parts.pop()
        spans = np.ptp(middles[part], axis=0)
        order = part[np.argsort(middles[part, int(spans.argmax())], kind="stable")]
        parts += [order[: len(order) // 2], order[len(order) // 2 :]]
    for i, part in enumerate(parts):
        found[part] = i
    return found
