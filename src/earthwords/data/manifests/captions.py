"""Training examples listed in a JSON-lines file: one image a line, with captions, a label, or a mask.

    {"image": "a.jpg", "set": "aid", "captions": ["two planes ..."], "label": "airport"}
    {"image": "b.jpg", "set": "town", "mask": "b.png", "classes": {"0": "building,roof", "1": "road"}}
    {"image": "c.png", "set": "scenes", "mask": "c_mask.png", "classes": {"0": "ship"}, "rendered": true}

Paths are relative to the file. `set` names the group whose labels, or classes, belong together:
a picture is told apart from the labels of its own set only. In `classes` a mask value whose names
are empty stands for "none of the others", values with the same names are one class, and a value that is
not listed is ignored. Beside "none of the others", named values that no mask has are rivals of the named pixels.
All images of a set have the same `classes`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.errors import SourceError, UsageError, brief
from earthwords.files.plaintext import Unreadable, read_text
from earthwords.files.reading import check_file, parse_json
from earthwords.text.known_words import KnownWords, count_words

IGNORE = 255
"""Index of a pixel that no loss looks at."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One line of a manifest, with the pixels in memory."""

    image: NDArray[np.uint8]
    """`(row, col, 3)` RGB."""
    set: str
    captions: tuple[str, ...] = ()
    label: int | None = None
    """Index in `Manifest.labels[set]`."""
    mask: NDArray[np.uint8] | None = None
    """`(row, col)`: index in `Manifest.classes[set]`, or `IGNORE`."""
    rendered: bool = False
    """No real picture."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All examples and the words of their sets."""

    examples: tuple[Example, ...]
    labels: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """Set -> the synonyms of each scene label."""
    classes: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """Set -> the synonyms of each mask class; an empty tuple means "none of the others"."""

    @property
    def sentences(self) -> list[str]:
        """Every caption and every name, for a tokenizer to learn from."""
        names = [n for table in (self.labels, self.classes) for groups in table.values() for g in groups for n in g]
        return [c for e in self.examples for c in e.captions] + names

    def words(self) -> KnownWords:
        """In how many pictures each word and each name stands; of classes, where the mask has them."""
        return count_words((e.captions, self._names(e), e.rendered) for e in self.examples)

    def _names(self, example: Example) -> list[str]:
        """Of the label of an example and of the classes that its mask has."""
        found = [] if example.label is None else [self.labels[example.set][example.label]]
        if example.mask is not None:
            classes = self.classes[example.set]
            found += [classes[i] for i in np.unique(example.mask) if i < len(classes)]
        return [name for names in found for name in names]

    @property
    def digest(self) -> str:
        """Names the words and the sizes of the images, in order; the pixels are not read."""
        digest = hashlib.sha256(repr((self.labels, self.classes)).encode())
        for e in self.examples:
            digest.update(repr((e.set, e.captions, e.label, e.image.shape, e.mask is not None)).encode())
        return digest.hexdigest()[:16]


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest and all of its images into memory.

    Raises:
        SourceError: the file or an image cannot be read.
        UsageError: a line lacks a field or has one of the wrong kind, images of one set have different
            classes, or a mask does not fit its image.
    """
    path = Path(path)
    lines = _lines(path)
    labels = _labels(lines)
    classes: dict[str, tuple[tuple[str, ...], ...]] = {}
    for number, line in enumerate(lines, 1):
        if "mask" in line and classes.setdefault(str(line["set"]), _classes(line)) != _classes(line):
            raise UsageError(f"{path}, line {number}: other classes than before in the set {line['set']!r}.")
    load = cache(_pixels)
    examples = tuple(_example(path.parent, line, labels, i + 1, load) for i, line in enumerate(lines))
    return Manifest(examples=examples, labels=labels, classes=classes)


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = read_text(path, most=None)
    except Unreadable as error:
        raise SourceError(f"Cannot read the list of training images {path}: {error}.") from error
    try:
        lines = [parse_json(line) for line in text.split("\n") if line.strip()]
    except ValueError as error:
        raise UsageError(f"{path} is not JSON lines: {error}.") from error
    for number, line in enumerate(lines, 1):
        wrong = _wrong(line)
        if wrong:
            raise UsageError(f"{path}, line {number}: {wrong}.")
    if not lines:
        raise UsageError(f"{path} lists no images.")
    return lines


def _wrong(line: Any) -> str:
    """What is wrong with the fields of a line; empty if nothing is."""
    if not isinstance(line, dict) or "image" not in line or "set" not in line:
        return 'an example needs "image" and "set"'
    captions = line.get("captions", [])
    if not isinstance(captions, list) or not all(isinstance(c, str) for c in captions):
        return f'"captions" must be a list of sentences, got {captions!r}'
    if "label" in line and not _names(str(line["label"])):
        return '"label" has no name'
    if "mask" in line:
        classes = line.get("classes")
        values = set(map(str, range(256)))
        if not isinstance(classes, dict) or not classes or not classes.keys() <= values:
            return f'"classes" must name the values 0..255 of the mask, got {classes!r}'
    return ""


def _labels(lines: Sequence[dict[str, Any]]) -> dict[str, tuple[tuple[str, ...], ...]]:
    found: dict[str, dict[str, None]] = {}
    for line in lines:
        if "label" in line:
            found.setdefault(str(line["set"]), {})[str(line["label"])] = None
    return {name: tuple(dict.fromkeys(map(_names, sorted(labels)))) for name, labels in found.items()}


def _classes(line: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
    """The classes of a mask; values with the same names are one class."""
    return tuple(dict.fromkeys(_names(text) for text in line["classes"].values()))


def _names(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _example(
    folder: Path,
    line: dict[str, Any],
    labels: dict[str, tuple[tuple[str, ...], ...]],
    number: int,
    load: Callable[[Path, str | None], NDArray[np.uint8]],
) -> Example:
    image = load(folder / line["image"], "RGB")
    mask = None
    if "mask" in line:
        raw = load(folder / line["mask"], None)
        if raw.shape != image.shape[:2]:
            raise UsageError(f"Line {number}: mask {line['mask']} is {raw.shape}, its image {image.shape[:2]}.")
        table = np.full(256, IGNORE, dtype=np.uint8)
        classes = _classes(line)
        for value, text in line["classes"].items():
            table[int(value)] = classes.index(_names(text))
        mask = table[raw]
    name = str(line["set"])
    label = labels[name].index(_names(str(line["label"]))) if "label" in line else None
    return Example(
        image=image,
        set=name,
        captions=tuple(line.get("captions", ())),
        label=label,
        mask=mask,
        rendered=bool(line.get("rendered")),
    )


def _pixels(path: Path, mode: str | None) -> NDArray[np.uint8]:
    try:
        check_file(path)
        with Image.open(path) as image:
            return np.array(image.convert(mode) if mode else image, dtype=np.uint8)
    except OSError as error:
        raise SourceError(f"Cannot read the training image {path}: {brief(error)}.") from error
