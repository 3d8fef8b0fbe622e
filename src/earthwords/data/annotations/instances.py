"""The nouns of referring expressions: an image with the masks of its things, and one with sentences about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.data.annotations.example import Annotated, Boxes, area
from earthwords.text.phrases import mass_word

Ids = NDArray[np.int32]
"""`(row, col)`: number of the thing at a pixel, from 1; 0 where there is none."""

EIGHT = np.ones((3, 3), dtype=bool)
FAINT = 4
"""A component of a mask with less than `least / FAINT` pixels is dust: nobody would take it for a thing."""
SLIVER = 8
"""A thing that the image's border cuts off is meant only if so many times `least` of it are seen."""
PATCH = 4
"""What cannot be counted, such as grass, is meant only from so many times `least` on."""
THIN, SOLID = 4, 0.2
"""From so many times `least` on, a thing with fewer pixels than this share away from its border is a line or a frame,
not a thing that is meant."""
COVERED = 0.7
"""A thing of which others hide more than the rest of this share cannot be meant."""


@dataclass(frozen=True, kw_only=True)
class Instances:
    """An image, or a window of one, with the masks of its things."""

    example: Annotated
    """Where the pixels are; its `boxes` are not used, its `classes[i]` is the class of thing `i + 1`."""
    ids: Ids
    vague: NDArray[np.bool_]
    """`(n,)` things that are too small, too much hidden or cut off, to be meant; others may be mistaken for them."""
    dust: Mapping[str, int] = field(default_factory=dict)
    """Class -> pixels that belong to no thing because their component is tiny."""
    known: tuple[str, ...] = ()
    """All classes that would be there if they were in the image; what is not known cannot be said to be absent."""
    solid: bool = True
    """False: masks are boxes, whose pixels do not tell a colour."""

    @property
    def classes(self) -> tuple[str, ...]:
        """`(n,)` class of each thing, commas between synonyms."""
        return self.example.classes


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A sentence and the things that it means."""

    text: str
    ids: tuple[int, ...]
    """Numbers of the things that are meant, as the mask has them; none: nothing in the image is."""
    kind: str = ""
    """What tells the things apart, such as `largest` or `colour+place`; `human` in published sets; empty: not said."""
    category: str = ""
    """Class of what is meant, as the annotations have it; empty: not said."""


@dataclass(frozen=True, kw_only=True)
class Marked:
    """An image with sentences about its things."""

    example: Annotated
    ids: Ids
    classes: Mapping[int, str]
    """Number of a thing -> its class."""
    expressions: tuple[Expression, ...]
    split: str = ""
    """Of a published set: train, val or test."""
    refused: int = 0
    """Expressions that the check did not let pass."""


def from_classes(
    example: Annotated, mask: NDArray[np.int64], names: Sequence[str], *, least: int, apart: Ids | None = None
) -> Instances:
    """Things of a class mask: its 8-connected components (M2B's), or what has numbers of its own.

    Args:
        example: the image; its classes are left aside.
        mask: `(row, col)` index in `names`, 0 for no class; -1 where nothing is known.
        names: class of each index; that of 0 is not used.
        least: pixels of the smallest thing that can be meant.
        apart: `(row, col)` numbers of things that are told apart although they touch; 0 where there is none.
    """
    ids = np.zeros(mask.shape, dtype=np.int32)
    classes: list[str] = []
    dust: dict[str, int] = {}
    for index in range(1, len(names)):
        here = mask == index
        if not here.any():
            continue
        labels, count = _split(here, apart)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        kept = sizes >= max(1.0, least / FAINT)
        kept[0] = False
        dust[names[index]] = int(sizes[1:][~kept[1:]].sum())
        rank = np.where(kept, np.cumsum(kept) + len(classes), 0)
        ids[here] = rank[labels[here]]
        classes += [names[index]] * int(kept.sum())
    known = () if (mask < 0).mean() > _UNKNOWN else tuple(names[1:])
    return _things(example, ids, classes, least=least, dust=dust, known=known)


_UNKNOWN = 0.01
"""Where more than this share of an image is unlabelled, nothing is said to be absent."""


def _split(here: NDArray[np.bool_], apart: Ids | None) -> tuple[Ids, int]:
    """Components of a class, and above them, what has numbers of its own."""
    if apart is None:
        labels, count = ndimage.label(here, structure=EIGHT)
        return labels, count
    own = here & (apart > 0)
    labels, count = ndimage.label(here & ~own, structure=EIGHT)
    _, ranks = np.unique(apart[own], return_inverse=True)
    labels[own] = count + 1 + ranks
    return labels, count + int(ranks.max(initial=-1)) + 1


def from_boxes(example: Annotated, *, least: int, known: Sequence[str] = ()) -> Instances:
    """Boxes as masks: smaller ones over larger ones; `known` are the classes of the whole set."""
    height, width = example.size
    edges = np.clip(np.rint(example.boxes), 0, (width, height) * 2).astype(np.int64)
    ids = np.zeros(example.size, dtype=np.int32)
    for i in np.argsort(-area(example.boxes), kind="stable"):
        left, top, right, bottom = edges[i]
        ids[top:bottom, left:right] = i + 1
    return painted(example, ids, whole=area(edges.astype(float)), least=least, known=known, solid=False)


def painted(
    example: Annotated, ids: Ids, *, whole: NDArray[np.float64], least: int, known: Sequence[str], solid: bool
) -> Instances:
    """Things of masks painted one over the other; `whole` `(n,)` is how many pixels each had before others came.

    `ids` are numbered anew in their place.
    """
    sizes = _sizes(ids, len(whole))
    seen = sizes > 0
    rank = np.concatenate([[0], np.where(seen, np.cumsum(seen), 0)]).astype(np.int32)
    for rows in _strips(ids.shape):
        ids[rows] = rank[ids[rows]]
    classes = [name for name, there in zip(example.classes, seen, strict=True) if there]
    hidden = sizes[seen] < COVERED * whole[seen]
    return _things(example, ids, classes, least=least, known=tuple(known), solid=solid, hidden=hidden)


def _things(
    example: Annotated,
    ids: Ids,
    classes: Sequence[str],
    *,
    least: int,
    known: tuple[str, ...],
    dust: Mapping[str, int] | None = None,
    solid: bool = True,
    hidden: NDArray[np.bool_] | None = None,
) -> Instances:
    boxes = _around(ids, len(classes))
    named = Annotated(
        name=example.name,
        set=example.set,
        image=example.image,
        size=example.size,
        boxes=boxes,
        classes=tuple(classes),
        window=example.window,
    )
    vague = _vague(ids, named, least)
    vague = vague if hidden is None else vague | hidden
    return Instances(example=named, ids=ids, vague=vague, dust=dust or {}, known=known, solid=solid)


def _vague(ids: Ids, named: Annotated, least: int) -> NDArray[np.bool_]:
    """`(n,)` what nobody would point at: too small, cut off, or thin."""
    count, (height, width), boxes = len(named.classes), ids.shape, named.boxes
    sizes = _sizes(ids, count)
    cut_off = (boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2:] >= (width, height)).any(axis=1)
    patches = np.array([bool(mass_word(name)) for name in named.classes], dtype=bool)
    needed = least * np.where(cut_off, SLIVER, np.where(patches, PATCH, 1))
    kept = np.zeros(count, dtype=np.int64)
    for strip in _strips((height - 2, width)):
        near = ids[strip.start : strip.stop + 2]
        inner = near[1:-1, 1:-1]
        alone = [inner != near[rows, cols] for rows, cols in _AROUND]
        kept += np.bincount(inner[~np.logical_or.reduce(alone)], minlength=count + 1)[1:]
    return np.asarray((sizes < needed) | ((sizes >= THIN * least) & (kept < SOLID * sizes)))


def _sizes(ids: Ids, count: int) -> NDArray[np.int64]:
    """`(n,)` pixels of each thing."""
    sizes = np.zeros(count, dtype=np.int64)
    for rows in _strips(ids.shape):
        sizes += np.bincount(ids[rows].ravel(), minlength=count + 1)[1:]
    return sizes


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of an image, so many that what is computed of them stays small."""
    step = max(1, _STRIP // max(1, shape[1]))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


_STRIP = 2**20
"""Pixels that are looked at at once."""
_MIDDLE = slice(1, -1)
_AROUND = (
    (slice(0, -2), _MIDDLE), (slice(2, None), _MIDDLE), (_MIDDLE, slice(0, -2)), (_MIDDLE, slice(2, None))
)  # fmt: skip
"""The four neighbours of the pixels that are not at the border of an image."""


def _around(ids: Ids, count: int) -> Boxes:
    found = [(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(ids, max_label=count)] if count else []
    return np.array(found, dtype=np.float64).reshape(-1, 4)
