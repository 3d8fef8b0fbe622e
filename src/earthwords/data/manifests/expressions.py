"""Images with objects that sentences point at, listed in a JSON-lines file: one image a line.

    {"image": "a.jpg", "mask": "a.png", "expressions": [{"text": "the white plane", "id": 3},
                                                        {"text": "both planes", "ids": [3, 4]}]}

Paths are relative to the file. A mask holds the number of an object at each of its pixels, 0 where there is none, in 8
or 16 bits; of one bit, it is object 1. `"ids": []` says that nothing in the image is meant. An expression may tell its
"kind" and "class", for figures; other keys are ignored.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.data.annotations.instances import Expression
from earthwords.errors import SourceError, UsageError, brief
from earthwords.files.plaintext import Unreadable, read_text
from earthwords.files.reading import check_file, parse_json

_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
_SIDES = {
    "left": "right", "leftmost": "rightmost", "leftward": "rightward", "left-hand": "right-hand",
    "west": "east", "western": "eastern", "westernmost": "easternmost",
    "northwest": "northeast", "southwest": "southeast", "northwestern": "northeastern",
    "southwestern": "southeastern",
}  # fmt: skip
_HEIGHTS = {
    "top": "bottom", "topmost": "bottommost", "upper": "lower", "uppermost": "lowermost", "above": "below",
    "north": "south", "northern": "southern", "northernmost": "southernmost", "northwest": "southwest",
    "northeast": "southeast", "northwestern": "southwestern", "northeastern": "southeastern",
}  # fmt: skip
_MIRRORED = {axis: {**words, **{b: a for a, b in words.items()}} for axis, words in ((1, _SIDES), (0, _HEIGHTS))}
_WORD = re.compile(r"[A-Za-z]+(?:-hand)?")


@dataclass(frozen=True, kw_only=True)
class Described:
    """One line: an image and what is said about it."""

    image: Path
    mask: Path
    expressions: tuple[Expression, ...]
    line: int
    """In the file, from 1."""

    def load(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Pixels `(row, col, 3)` RGB and object numbers `(row, col)`.

        Raises:
            SourceError: a file cannot be read.
            UsageError: they differ in size, or an expression names an object that is not there.
        """
        image = np.array(_read(self.image).convert("RGB"), dtype=np.uint8)
        raw = _read(self.mask)
        if raw.mode not in _MODES:
            raise UsageError(f"The mask {self.mask} holds colours ({raw.mode}); it must hold numbers of objects.")
        mask = np.asarray(raw).astype(np.int32)
        if mask.shape != image.shape[:2]:
            raise UsageError(f"Line {self.line}: the mask is {mask.shape}, its image {image.shape[:2]}.")
        there = set(np.unique(mask).tolist())
        for expression in self.expressions:
            absent = [i for i in expression.ids if i not in there]
            if absent:
                raise UsageError(f"Line {self.line}: {expression.text!r} means object {absent[0]}, not in {self.mask}.")
        return image, mask


@dataclass(frozen=True, kw_only=True)
class ReferringManifest:
    """All lines of a file; pixels stay in their files."""

    lines: tuple[Described, ...]

    @property
    def expressions(self) -> int:
        """How many sentences there are."""
        return sum(len(line.expressions) for line in self.lines)

    @property
    def digest(self) -> str:
        """Names the files, sentences and objects, in order; the pixels are not read."""
        digest = hashlib.sha256()
        for line in self.lines:
            sentences = [(e.text, e.ids) for e in line.expressions]
            digest.update(repr((line.image.name, line.mask.name, sentences)).encode())
        return digest.hexdigest()[:16]


def read_referring(path: str | Path) -> ReferringManifest:
    """Read the list; images are opened when they are needed.

    Raises:
        SourceError: the file cannot be read.
        UsageError: a line lacks a field or has one of the wrong kind.
    """
    path = Path(path)
    try:
        text = read_text(path, most=None)
    except Unreadable as error:
        raise SourceError(f"Cannot read the list of described images {path}: {error}.") from error
    lines = []
    for number, row in enumerate(text.split("\n"), 1):
        if row.strip():
            lines.append(_line(path, number, row))
    if not lines:
        raise UsageError(f"{path} lists no images.")
    return ReferringManifest(lines=tuple(lines))


def mirrored(text: str, *, axis: int) -> str:
    """A sentence about the mirrored image: sides change for `axis` 1, top and bottom for `axis` 0; English only."""
    table = _MIRRORED[axis]

    def swap(found: re.Match[str]) -> str:
        word = found[0]
        other = table.get(word.lower())
        if other is None:
            return word
        return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

    return _WORD.sub(swap, text)


def _line(path: Path, number: int, row: str) -> Described:
    where = f"{path}, line {number}"
    try:
        line = parse_json(row)
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {brief(error)}.") from error
    if not isinstance(line, dict) or not all(isinstance(line.get(key), str) for key in ("image", "mask")):
        raise UsageError(f'{where}: a described image needs "image" and "mask", paths relative to the file.')
    listed = line.get("expressions")
    if not isinstance(listed, list) or not listed:
        raise UsageError(f'{where}: "expressions" must be a list of sentences with their objects.')
    expressions = tuple(_expression(where, one) for one in listed)
    folder = path.parent
    return Described(image=folder / line["image"], mask=folder / line["mask"], expressions=expressions, line=number)


def _expression(where: str, one: Any) -> Expression:
    if not isinstance(one, dict) or not isinstance(one.get("text"), str) or not one["text"].strip():
        raise UsageError(f'{where}: an expression needs a "text", got {brief(repr(one), most=100)}.')
    ids = one["ids"] if "ids" in one else [one["id"]] if "id" in one else None
    whole = isinstance(ids, list) and all(isinstance(i, int) and not isinstance(i, bool) and i > 0 for i in ids)
    if not isinstance(ids, list) or not whole:
        raise UsageError(
            f'{where}: {brief(one["text"], most=60)!r} needs "id", a number above 0 in the mask, or "ids", several.'
        )
    kind, category = (str(one.get(key) or "") for key in ("kind", "class"))
    return Expression(text=one["text"].strip(), ids=tuple(ids), kind=kind, category=category)


def _read(path: Path) -> Image.Image:
    try:
        check_file(path)
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceError(f"Cannot read {path}: {brief(error)}.") from error
