"""The folder that an assistant may read and write in: names become paths, or a sentence says why not."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from earthwords.errors import SourceError, UsageError, printable
from earthwords.files.paths import similar, trouble, unreadable
from earthwords.geo.sources.plain_files import plain_driver
from earthwords.serve.library import SUFFIXES

RESULTS = "results"
MOST_TEXT = 2**20
"""Bytes of a file of words."""
_VECTORS = {
    ".gpkg": b"SQLite format 3\0", ".geojson": b"{", ".json": b"{", ".fgb": b"fgb", ".parquet": b"PAR1",
    ".shp": b"\0\0\x27\x0a",
}  # fmt: skip
"""How vector files begin; other kinds may name further files."""
_PIPELINE = b"gdal_streamed_alg"
"""In JSON that GDAL takes for a program of steps, which may read other files."""


class Root:
    """A folder, and names relative to it."""

    def __init__(self, folder: Path) -> None:
        self.path = Path(os.path.realpath(folder))

    @property
    def results(self) -> Path:
        """Where outputs go that nobody named a place for."""
        return self.path / RESULTS

    def name_of(self, path: str | Path) -> str:
        """Relative to the folder."""
        return Path(path).relative_to(self.path).as_posix()

    def within(self, text: str) -> str:
        """A sentence that names files relative to the folder."""
        return text.replace(f"{self.path}{os.sep}", "").replace(str(self.path), ".")

    def existing(self, name: str) -> Path:
        """Where a name really leads.

        Raises:
            SourceError: nowhere.
            UsageError: it may lead out of the folder.
        """
        path = self.path / self._inside(name)
        real = self._real(path, name)
        if not os.path.lexists(path):
            raise SourceError(f"{name} does not exist. {similar(path, lambda beside: True)}")
        if not real.is_dir() and (why := trouble(real)) is not None:
            raise SourceError(f"{name} {why}; name a file.")
        return real

    def new(self, name: str) -> Path:
        """A place to write to.

        Raises:
            UsageError: it may lie outside of the folder, or is a link.
        """
        relative = self._inside(name)
        if any(letter in name for letter in "{}*?"):
            raise UsageError(f"{printable(name)} is no name to write to: leave out {{, }}, * and ?.")
        path = self.path / relative
        if path == self.path:
            raise UsageError("Name a place below the folder to write to, such as results/town.")
        if path.is_symlink():
            raise UsageError(f"{name} is a link; name a place of its own to write to.")
        self._real(path, name)
        return path

    def image(self, name: str) -> Path:
        """A raster that is one plain file."""
        path = self.existing(name)
        if (error := unreadable(path)) is not None:
            raise error
        plain_driver(path)
        return path

    def images(self, name: str) -> Path:
        """A raster, or a folder of them."""
        path = self.existing(name)
        return self._without_ways_out(path, name) if path.is_dir() else self.image(name)

    def vectors(self, name: str) -> Path:
        """A file of features that names no other.

        Raises:
            UsageError: it is of another kind.
        """
        path = self.existing(name)
        if path.is_dir():
            raise UsageError(f"{name} is a folder; name a file of features.")
        begin = _VECTORS.get(path.suffix.lower())
        with path.open("rb") as file:
            found = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
            names_others = begin == b"{" and _holds(file, _PIPELINE, found)
        if begin is None or not found.startswith(begin) or names_others:
            raise UsageError(f"{name} is no GeoPackage, GeoJSON, FlatGeobuf, GeoParquet or shapefile; convert it.")
        for beside in path.parent.glob(f"{glob.escape(path.stem)}.*"):
            self._real(beside, beside.name)
        return path

    def marks(self, name: str) -> Path:
        """Features, a raster of classes, or a folder of images and masks."""
        path = self.existing(name)
        if path.is_dir():
            return self._without_ways_out(path, name)
        return self.image(name) if path.suffix.lower() in SUFFIXES else self.vectors(name)

    def text(self, name: str) -> Path:
        """A file of words."""
        path = self.existing(name)
        if path.is_dir() or path.stat().st_size > MOST_TEXT:
            raise UsageError(f"{name} is no text file of at most {MOST_TEXT:,} bytes.")
        return path

    def index(self, name: str) -> Path:
        """An index of images in the folder."""
        import pyarrow.parquet as pq

        path = self._without_ways_out(self.existing(name), name)
        sources = path / "sources.parquet"
        if not sources.is_file():
            raise UsageError(f"{name} is no index; make one by the tool index.")
        try:
            listed = pq.read_table(sources, columns=["source"])["source"].to_pylist()
        except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are of these kinds
            raise SourceError(f"The index {name} is damaged; index again with overwrite.") from error
        for source in listed:
            if "://" in source or source.startswith("/vsi") or not self._has(Path(source)):
                raise UsageError(f"The index {name} is of images outside of the folder; index those in it.")
        return path

    def _inside(self, name: str) -> PurePosixPath:
        """A name that leads nowhere else by its letters alone."""
        shown = printable(name)
        if not name.strip() or "\0" in name or any(0xD800 <= ord(letter) < 0xE000 for letter in name):
            raise UsageError(f"{shown!r} is no possible name of a file.")
        if "://" in name or name.lstrip().startswith("<"):
            raise UsageError(f"{shown} is an address; only files below the folder can be named.")
        windows = PureWindowsPath(name)
        if name.startswith(("/", "~", "@", "\\")) or windows.drive:
            raise UsageError(f"{shown} is not relative to the folder; name it as list_images does.")
        parts = [part for part in (*PurePosixPath(name).parts, *windows.parts) if part != "."]
        if ".." in parts:
            raise UsageError(f"{shown} leads out of the folder; name it as list_images does.")
        if any(part.startswith(".") for part in parts):
            raise UsageError(f"{shown} is hidden; hidden files stay untouched.")
        return PurePosixPath(name)

    def _real(self, path: Path, name: str) -> Path:
        try:
            real = Path(os.path.realpath(path))
        except (OSError, ValueError) as error:
            raise UsageError(f"{printable(name)} is no possible name of a file.") from error
        if not real.is_relative_to(self.path):
            raise UsageError(f"{printable(name)} is a link that leads out of the folder; put the file itself there.")
        return real

    def _has(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(self.path)

    def _without_ways_out(self, folder: Path, name: str) -> Path:
        """A folder of which no link leads out."""
        if not folder.is_dir():
            raise UsageError(f"{name} is a file; name a folder.")
        for place, folders, files in os.walk(folder):
            folders[:] = [each for each in folders if not each.startswith(".")]  # nobody reads hidden ones
            for each in (*folders, *files):
                path = Path(place, each)
                if path.is_symlink():
                    self._real(path, self.name_of(path))
        return folder


READERS: dict[str, Callable[[Root, str], Path]] = {
    "image": Root.image,
    "images": Root.images,
    "vectors": Root.vectors,
    "marks": Root.marks,
    "text": Root.text,
    "index": Root.index,
}
"""What is read to how its name becomes a path."""


def _holds(file: BinaryIO, word: bytes, begin: bytes) -> bool:
    """Whether an open file, whose first bytes were read, holds a word."""
    rest = begin
    while True:
        if word in rest:
            return True
        more = file.read(2**20)
        if not more:
            return False
        rest = rest[-len(word) :] + more
