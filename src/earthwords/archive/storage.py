"""The files of an index, how they are read, and how all of them change at once.

    vectors.npy      (tile, dim) float16, unit vectors
    codes.npy        (tile, dim) int8, the same for the first pass of a search
    bounds.npy       (2, tile) float32: scale and slack of the codes
    tiles.parquet    a row a tile, GeoParquet
    sources.parquet  a row a source: path, size, time, first tile, tiles
    index.json       what it was made with

New files are made in a hidden folder, which is then renamed: from that moment the index is the new one, and whoever
comes next moves what a killed process has not moved. Who opens an index while this happens begins again, so that all of
its files are of one generation.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib.format import open_memmap, write_array_header_1_0
from numpy.typing import NDArray

from earthwords.archive.build_log import IndexLog, Part, Stamp
from earthwords.archive.nearest import Vectors
from earthwords.archive.tile_table import TileTable, tile_writer
from earthwords.errors import OutputError, SourceError, UsageError, brief
from earthwords.files.atomic import locked, writing
from earthwords.files.ownership import is_ours
from earthwords.files.reading import check_file, read_json
from earthwords.inference.limits import ABOUT, no_index
from earthwords.kernels.codes import encode

FORMAT = 1
FILES = ("vectors.npy", "codes.npy", "bounds.npy", "tiles.parquet", "sources.parquet", ABOUT)
"""The last one moves last."""
NEXT, COMMIT = ".next", ".commit"
AS_THE_FILE = "as the file says"
"""A setting that was not given."""
PATIENCE_S = 10.0
"""How long a reader waits for another process that moves files."""
ATTEMPTS = 10
"""Times that a reader begins again because the index was changed meanwhile."""

_SOURCES = pa.schema(
    [
        ("source", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("first", pa.int64()),
        ("tiles", pa.int64()),
        ("skipped", pa.int64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class IndexedSource:
    """A source of an index."""

    source: str
    stamp: Stamp
    first: int
    """Number of its first tile."""
    tiles: int
    skipped: int
    """Tiles with too few valid pixels."""


class Stored:
    """An index on disk, open; its vectors are mapped, not read."""

    about: dict[str, Any]
    vectors: Vectors
    tiles: TileTable

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            UsageError: there is no index, or one of another version.
            SourceError: it is damaged.
            OutputError: another process changes it all the time.
        """
        self.folder = folder
        for _ in range(ATTEMPTS):
            settle(folder)
            before = _generation(folder)
            with ExitStack() as stack:
                try:
                    self._open(stack)
                except (UsageError, SourceError):
                    if _generation(folder) == before:
                        raise
                if _generation(folder) == before:
                    self._files = stack.pop_all()
                    return
        raise OutputError(f"Another process keeps changing the index {folder}; try again later.")

    def _open(self, stack: ExitStack) -> None:
        """All files, of whatever generation they are."""
        folder = self.folder
        self.about = _read_about(folder)
        try:
            for name in (*FILES[:3], "tiles.parquet", "sources.parquet"):
                check_file(folder / name)
            mapped = [open_memmap(folder / name, mode="r") for name in FILES[:3]]
            self.vectors = Vectors(values=mapped[0], codes=mapped[1], bounds=mapped[2])
            self.tiles = stack.enter_context(closing(TileTable(folder / "tiles.parquet")))
            self._sources = stack.enter_context(pq.ParquetFile(folder / "sources.parquet"))
            dim, count = self.about["dim"], self.about["tiles"]
        except (OSError, ValueError, KeyError, EOFError, pa.ArrowException) as error:
            raise _damaged(folder, brief(error)) from error
        shapes = tuple(array.shape for array in mapped)
        if shapes != ((count, dim), (count, dim), (2, count)) or len(self.tiles) != count:
            raise _damaged(folder, "its files differ")
        kinds = tuple(array.dtype.kind for array in mapped)
        if kinds != ("f", "i", "f") or not np.isfinite(mapped[2]).all():
            raise _damaged(folder, "its vectors are no finite numbers")

    @property
    def settings(self) -> dict[str, str]:
        """What its vectors depend on."""
        settings: dict[str, str] = self.about["settings"]
        return settings

    def entries(self) -> dict[str, IndexedSource]:
        """Source to what is known of it."""
        try:
            table = self._sources.read().to_pydict()
        except (OSError, pa.ArrowException) as error:
            raise _damaged(self.folder, brief(error)) from error
        rows = (dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True))
        return {
            row["source"]: IndexedSource(stamp=Stamp(size=row.pop("size"), mtime_ns=row.pop("mtime_ns")), **row)
            for row in rows
        }

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()


def opening(settings: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of `open_scene` for the sources of an index with these settings."""
    bands, nodata = settings["bands"], settings["nodata"]
    return {
        "bands": None if bands == AS_THE_FILE else [int(b) if b.isdigit() else b for b in bands.split(",")],
        "nodata": None if nodata == AS_THE_FILE else float(nodata),
        "stretch": settings["stretch"],
        "mask": settings.get("mask"),
    }


def _damaged(folder: Path, why: str) -> SourceError:
    if not is_ours(folder / ABOUT):
        return SourceError(f"{folder / ABOUT} is not of an index that earthwords made ({why}); name another folder.")
    return SourceError(f"The index {folder} is damaged ({why}); index again with --overwrite.")


def _read_about(folder: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = read_json(folder / ABOUT)
        found = about["format"]
    except FileNotFoundError:
        raise no_index(folder) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, brief(error)) from error
    if found != FORMAT:
        raise UsageError(f"The index {folder} has format {found}, this earthwords reads {FORMAT}; index again.")
    return about


def _generation(folder: Path) -> tuple[Any, ...]:
    """What changes when any file of an index is replaced, and while they are."""
    found: list[Any] = []
    for name in (*FILES, COMMIT):
        try:
            about = os.stat(folder / name)
        except OSError:
            found.append(None)
        else:
            found.append((about.st_ino, about.st_size, about.st_mtime_ns))
    return tuple(found)


def settle(folder: Path) -> None:
    """Finish what a killed process has left half moved; wait for a living one.

    Raises:
        OutputError: the files cannot be moved here.
    """
    until = time.monotonic() + PATIENCE_S
    while (folder / COMMIT).exists():
        with locked(folder) as free:
            if free:
                move(folder)
                return
        if time.monotonic() > until:
            raise OutputError(f"Another process is changing the index {folder}; wait for it.")
        time.sleep(0.05)


def move(folder: Path) -> None:
    """Move the new files to their places; the caller holds the lock."""
    ready = folder / COMMIT
    with writing(folder):
        for name in FILES:
            if (ready / name).exists():
                os.replace(ready / name, folder / name)
        shutil.rmtree(ready, ignore_errors=True)


def commit(
    folder: Path, entries: Iterable[IndexedSource], *, log: IndexLog, old: Stored | None, about: Mapping[str, Any]
) -> int:
    """Make the index consist of `entries`, in their order; those that the log has not are taken from `old`.

    The caller holds the lock. Returns the number of tiles; `IndexedSource.first` of the entries is not looked at.
    """
    before = {} if old is None else old.entries()
    listed = list(entries)
    total = sum(entry.tiles for entry in listed)
    staged = folder / NEXT
    with writing(folder):
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        with ExitStack() as stack:
            vectors = _ArrayWriter(stack, staged / FILES[0], (total, about["dim"]), np.float16)
            codes = _ArrayWriter(stack, staged / FILES[1], (total, about["dim"]), np.int8)
            tiles = stack.enter_context(tile_writer(staged / "tiles.parquet"))
            bounds: list[NDArray[np.float32]] = [np.empty((2, 0), np.float32)]
            for entry in listed:
                for part in _parts(entry, log, old, before):
                    code, scale, slack = encode(part.vectors)
                    vectors.write(part.vectors)
                    codes.write(code)
                    bounds.append(np.stack([scale, slack]))
                    tiles.write(part.layer)
            np.save(staged / FILES[2], np.concatenate(bounds, axis=1))
        pq.write_table(_source_table(listed), staged / "sources.parquet")
        text = json.dumps({"format": FORMAT, **about, "tiles": total, "sources": len(listed)}, indent=1)
        (staged / ABOUT).write_text(text + "\n", encoding="utf-8")
        for name in FILES:
            with (staged / name).open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(staged, folder / COMMIT)
    move(folder)
    return total


def _parts(
    entry: IndexedSource, log: IndexLog, old: Stored | None, before: Mapping[str, IndexedSource]
) -> Iterator[Part]:
    if log.count(entry.source, entry.stamp) is not None:
        for block in log.parts(entry.source, entry.stamp):
            yield log.part(entry.source, entry.stamp, block)
        return
    assert old is not None
    row = before[entry.source].first
    for layer in old.tiles.span(row, entry.tiles):
        yield Part(layer=layer, vectors=np.array(old.vectors.values[row : row + len(layer)]))
        row += len(layer)


def _source_table(entries: list[IndexedSource]) -> pa.Table:
    first = np.cumsum([0, *(entry.tiles for entry in entries)])[:-1]
    columns = {
        "source": [entry.source for entry in entries],
        "size": [entry.stamp.size for entry in entries],
        "mtime_ns": [entry.stamp.mtime_ns for entry in entries],
        "first": first.tolist(),
        "tiles": [entry.tiles for entry in entries],
        "skipped": [entry.skipped for entry in entries],
    }
    return pa.table(columns, schema=_SOURCES)


class _ArrayWriter:
    """An `.npy` file written row by row."""

    def __init__(self, stack: ExitStack, path: Path, shape: tuple[int, int], dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.file = stack.enter_context(path.open("wb"))
        about = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        write_array_header_1_0(self.file, about)

    def write(self, rows: NDArray[Any]) -> None:
        self.file.write(np.ascontiguousarray(rows, self.dtype).data)
