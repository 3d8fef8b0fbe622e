"""What published sets of referring expressions share: sentences of people about masks of an image."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.data.annotations.boxes._common import How, Item
from earthwords.data.annotations.example import Annotated, no_boxes
from earthwords.data.annotations.instances import Expression, Ids, Marked
from earthwords.errors import UsageError

KIND = "human"
"""Of expressions that come with a set."""
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class MaskSentences:
    """Sentences about one mask."""

    texts: tuple[str, ...]
    mask: Any
    """A file, run lengths, polygons: the reader's own."""
    name: str = ""
    """Of the class; empty: not said."""


def wanted(split: str, how: How) -> bool:
    """Whether a split was asked for."""
    return how.split is None or split == how.split


def check_whole(how: How) -> None:
    """Refuse tiles: a sentence is about a whole image."""
    if how.tile is not None:
        raise UsageError("Expressions of people are about whole images; leave --tile-size out.")


def marked(
    item: Item,
    split: str,
    sentences: Sequence[MaskSentences],
    masks: Iterable[NDArray[np.bool_]],
    size: tuple[int, int],
) -> Iterator[Marked]:
    """An image with its sentences; where masks overlap, several times.

    Equal masks are one thing. A mask without a pixel makes expressions that mean nothing.
    """
    example = Annotated(name=item.name, set=item.set, image=item.image, size=size, boxes=no_boxes(), classes=())
    sheets: list[Ids] = []
    expressions: dict[int, list[Expression]] = defaultdict(list)
    classes: dict[int, dict[int, str]] = defaultdict(dict)
    placed: dict[bytes, tuple[int, int]] = {}
    for one, mask in zip(sentences, masks, strict=True):
        key = hashlib.sha256(np.packbits(mask).data).digest()
        if mask.any() and key not in placed:
            sheet = next((i for i, ids in enumerate(sheets) if not ids[mask].any()), len(sheets))
            if sheet == len(sheets):
                sheets.append(np.zeros(size, dtype=np.int32))
            number = int(sheets[sheet].max()) + 1
            sheets[sheet][mask] = number
            placed[key] = sheet, number
            classes[sheet][number] = one.name
        sheet, number = placed.get(key, (0, 0))
        meant = (number,) if number else ()
        own = (Expression(text=text, ids=meant, kind=KIND, category=one.name) for text in one.texts)
        expressions[sheet] += [e for e in own if e not in expressions[sheet]]
    for sheet in sorted(expressions):
        ids = sheets[sheet] if sheets else np.zeros(size, dtype=np.int32)
        yield Marked(
            example=example,
            ids=ids,
            classes={number: name for number, name in classes[sheet].items() if name},
            expressions=tuple(expressions[sheet]),
            split=split,
        )
