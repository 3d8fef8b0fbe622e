"""What the readers share: an image to be read, how, and the table of classes."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earthwords.data.annotations.example import Annotated, Boxes, cut, no_boxes
from earthwords.data.annotations.image_io import SUFFIXES, is_image, size_of
from earthwords.errors import SourceError, UsageError, brief
from earthwords.files import plaintext
from earthwords.files import reading as files
from earthwords.types import Window

IMAGE_FOLDERS = ("images", "JPEGImages", "JPEGImages-trainval", "JPEGImages-test", "img", "imgs", "image", ".")
ANY = "*"
"""In a table of classes: whatever is not listed."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """An image whose objects are still to be read."""

    name: str
    set: str
    image: str
    note: Any = None
    """The reader's own: a file, boxes, ..."""
    window: Window | None = None


@dataclass(frozen=True, kw_only=True)
class How:
    """How annotations are read."""

    classes: Mapping[str, str] | None = None
    """What annotations say (a name, number or `#rrggbb`) -> words, commas between synonyms, empty to leave out."""
    images: str | None = None
    """Where the images are, if not where the format has them."""
    field: str | None = None
    """Column of a vector file with the class."""
    tile: int | None = None
    """Side of the windows that images are cut into."""
    visible: float = 0.3
    """Share of a box that a tile must show."""
    least: int = 1
    """Pixels of the smallest component of a mask."""
    bands: tuple[int | str, ...] | None = None
    """Of rasters, used as red, green and blue."""
    split: str | None = None
    """Of a published set of expressions; None: all of it."""

    def settings(self) -> dict[str, str]:
        """What is given, by the names of the options."""
        bands = None if self.bands is None else ",".join(map(str, self.bands))
        values = {
            "classes": self.classes, "images": self.images, "class-field": self.field, "tile-size": self.tile,
            "min-visible": self.visible, "min-pixels": self.least, "bands": bands, "split": self.split,
        }  # fmt: skip
        return {name: str(value) for name, value in values.items() if value is not None}


def read_for(items: Iterable[Item]) -> list[str]:
    """The files that images are read from, and those of their annotations, as far as a reader names them."""
    found: set[str] = set()
    for item in items:
        note = item.note[0] if isinstance(item.note, tuple) and item.note else item.note
        found |= {item.image, str(note)} if isinstance(note, (str, Path)) else {item.image}
    return sorted(found)


def identity(kind: str, items: Sequence[Item]) -> str:
    """A hash of images and their annotations, with the size and time of every file that they name.

    Args:
        kind: what else they are known by, such as their format.
    """
    digest = hashlib.sha256(kind.encode())
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):  # arrays in full
        for item in items:
            digest.update(repr(item).encode())
            notes = item.note if isinstance(item.note, tuple) else (item.note,)
            for path in (item.image, *(note for note in notes if isinstance(note, str))):
                with suppress(OSError, ValueError):  # what is no file, or none any more
                    about = os.stat(path)
                    digest.update(f"{path} {about.st_size} {about.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def renamed(name: str, how: How, *, listed: bool = False) -> str:
    """The words for a class; empty: it is left out.

    Args:
        name: in the annotation.
        listed: only classes in the table count, as for the values of masks.
    """
    table = how.classes or {}
    return table.get(name, table.get(ANY, "" if listed else name))


def annotated(item: Item, boxes: Boxes, classes: Sequence[str], how: How, *, tile: bool = True) -> Iterator[Annotated]:
    """An image, or its tiles, with the classes of its boxes renamed."""
    names = [renamed(name, how) for name in classes]
    kept = np.array([bool(name) for name in names], dtype=bool)
    whole = Annotated(
        name=item.name,
        set=item.set,
        image=item.image,
        size=size_of(item.image),
        boxes=boxes[kept] if len(boxes) else no_boxes(),
        classes=tuple(name for name in names if name),
    )
    return cut(whole, tile=how.tile if tile else None, visible=how.visible)


def read_text(path: str | Path) -> str:
    """A text file. Raises `SourceError`."""
    try:
        return plaintext.read_text(path, most=None)
    except plaintext.Unreadable as error:
        raise SourceError(f"Cannot read {path} ({error}).") from error


def read_json(path: str | Path) -> Any:
    """A JSON file. Raises `SourceError`."""
    try:
        return files.parse_json(read_text(path))
    except ValueError as error:
        raise SourceError(f"{path} is not JSON ({brief(error)}).") from error


def has_json(path: Path) -> bool:
    """Whether it is a readable `.json` file, by its name and first letter."""
    if path.suffix.lower() not in (".json", ".geojson") or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"{"


def files_of(folder: Path, *suffixes: str) -> list[Path]:
    """The files below a folder with these suffixes, sorted; hidden ones are not looked at."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )


def annotation_folder(source: Path, *names: str) -> Path:
    """The folder inside `source` that has one of the names, or `source` itself."""
    return next((source / name for name in names if (source / name).is_dir()), source)


class Images:
    """Finds the image of an annotation by its stem."""

    def __init__(self, source: Path, how: How) -> None:
        """Look in `how.images`, or in the usual folders of a source and its parent."""
        places = [source / name for name in IMAGE_FOLDERS] + [source.parent / name for name in IMAGE_FOLDERS[:-1]]
        if how.images is not None:
            places = [Path(how.images)]
        self.folder = next((p for p in places if p.is_dir() and any(map(is_image, p.iterdir()))), places[0])
        if not self.folder.is_dir():
            raise SourceError(f"No folder of images was found for {source}; name it with --images.")
        self._known = {str(p.relative_to(self.folder).with_suffix("")): p for p in files_of(self.folder, *SUFFIXES)}

    def find(self, stem: str, annotation: Path) -> str:
        """The path of an image. Raises `SourceError`."""
        found = self._known.get(stem) or self._known.get(Path(stem).name)
        if found is None:
            raise SourceError(f"{annotation} has no image {Path(stem).name} in {self.folder}; use --images FOLDER.")
        return str(found)


def set_name(source: Path) -> str:
    """The name of a source's set."""
    return source.stem if source.is_file() else source.resolve().name


def read_classes(path: str | Path) -> dict[str, str]:
    """A table of classes from a file; see docs/pairs.md.

    Text: a name a line, numbered from 0. JSON: a list, numbered from 0; an object of value, `#rrggbb` or name ->
    words; or an object with `classes` (a list) and maybe `palette` (name -> `#rrggbb`).

    Raises:
        SourceError: it cannot be read.
        UsageError: it is not such a table.
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        lines = read_text(path).splitlines()
        return {str(i): line.strip() for i, line in enumerate(lines) if line.strip()}
    found = read_json(path)
    if isinstance(found, dict) and isinstance(found.get("classes"), (list, dict)):
        palette = found.get("palette") or {}
        found = {**_numbered(found["classes"]), **{colour: name for name, colour in dict(palette).items()}}
    table = {_key(key): value for key, value in _numbered(found).items()}
    if not table or not all(isinstance(value, str) for value in table.values()):
        raise UsageError(f'{path} names no classes; write {{"0": "building,house", "1": "road"}} or a list of names.')
    return table


def _numbered(found: Any) -> dict[str, Any]:
    if isinstance(found, list):
        return {str(i): name for i, name in enumerate(found)}
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def _key(key: str) -> str:
    return key.lower() if re.fullmatch(r"#[0-9a-fA-F]{6}", key) else key
