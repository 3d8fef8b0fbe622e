"""What an unfinished indexing has done: records at the end of a file, so that a killed run loses a block at most."""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from earthwords.archive.table import SCHEMA
from earthwords.errors import SourceError
from earthwords.files.atomic import writing
from earthwords.files.reading import parse_json
from earthwords.geo.grids.footprints import LONLAT
from earthwords.types import VectorLayer

_HEAD = struct.Struct("<QI")
_NUMBERS = tuple(name for name, kind in SCHEMA.items() if kind != "str")
_WORDS = tuple(name for name, kind in SCHEMA.items() if kind == "str")


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What tells whether a source is still the same; -1 where nobody knows, as of a URL."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, source: str) -> Stamp:
        """Of a path or an address."""
        try:
            found = os.stat(source)
        except (OSError, ValueError):
            return cls(size=-1, mtime_ns=-1)
        return cls(size=found.st_size, mtime_ns=found.st_mtime_ns)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some tiles of a source, in their order."""

    layer: VectorLayer
    """Columns of `SCHEMA`; source, crs and date are the same in all rows."""
    vectors: NDArray[np.float16]
    """`(n, dim)`."""


@dataclass(frozen=True, kw_only=True)
class _Record:
    offset: int
    length: int
    tiles: int
    skipped: int
    last: bool


class IndexLog:
    """An open log, see the module; one process at a time, which the caller sees to."""

    def __init__(self, path: Path, settings: dict[str, str]) -> None:
        """Go on with the log at `path`, or begin one."""
        self.path = path
        self.settings = settings
        self._records: dict[tuple[str, Stamp], dict[int, _Record]] = {}
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
            end = self._recall()
            self._file.truncate(end)
            if not end:
                self._append(save({}, {"settings": json.dumps(settings)}))

    def __len__(self) -> int:
        return sum(len(blocks) for blocks in self._records.values())

    def has(self, source: str, stamp: Stamp, block: int) -> bool:
        """Whether a block of a source as it is now is done."""
        return block in self._records.get((source, stamp), {})

    def count(self, source: str, stamp: Stamp) -> tuple[int, int] | None:
        """Tiles and tiles that were skipped of a source; None unless all of it is done."""
        blocks = self._records.get((source, stamp), {})
        if not blocks or not blocks[max(blocks)].last or len(blocks) != max(blocks) + 1:
            return None
        return sum(b.tiles for b in blocks.values()), sum(b.skipped for b in blocks.values())

    def add(self, part: Part, *, source: str, stamp: Stamp, block: int, skipped: int, last: bool) -> None:
        """Remember a block; `last` if the source has no other."""
        layer, words = part.layer, {}
        for name in _WORDS:
            words[name] = layer.columns[name][0] if len(layer) else None
        shapes = [b"" if wkb is None else wkb for wkb in shapely.to_wkb(layer.geometries)]
        arrays = {name: np.ascontiguousarray(layer.columns[name]) for name in _NUMBERS} | {
            "vectors": part.vectors,
            "shapes": np.frombuffer(b"".join(shapes), np.uint8),
            "lengths": np.array([len(wkb) for wkb in shapes], np.int64),
        }
        about = {
            "source": source, "stamp": vars(stamp), "block": block, "tiles": len(layer), "skipped": skipped,
            "last": last, "words": words,
        }  # fmt: skip
        with writing(self.path):
            offset, length = self._append(save(arrays, {"about": json.dumps(about)}))
        self._remember(about, offset, length)

    def parts(self, source: str, stamp: Stamp) -> list[int]:
        """Numbers of the blocks of a source, for `part`."""
        return sorted(self._records[source, stamp])

    def part(self, source: str, stamp: Stamp, block: int) -> Part:
        """A block that is done."""
        record = self._records[source, stamp][block]
        self._file.seek(record.offset)
        blob = self._file.read(record.length)
        arrays, words = load(blob), _about(blob)["words"]
        ends = np.cumsum(arrays["lengths"])
        shapes = arrays["shapes"].tobytes()
        wkb = [shapes[end - n : end] or None for end, n in zip(ends.tolist(), arrays["lengths"].tolist(), strict=True)]
        columns: dict[str, NDArray[Any]] = {name: arrays[name] for name in _NUMBERS}
        columns |= {name: np.full(record.tiles, words[name], object) for name in _WORDS}
        geometries = shapely.from_wkb(np.array(wkb, object)) if wkb else np.empty(0, object)
        layer = VectorLayer(geometries=geometries, columns={name: columns[name] for name in SCHEMA}, crs=LONLAT)
        return Part(layer=layer, vectors=arrays["vectors"])

    def close(self) -> None:
        """Let go of the file, which stays."""
        self._file.close()

    def _append(self, blob: bytes) -> tuple[int, int]:
        """Offset and length of a record that was written whole, or not at all."""
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(_HEAD.pack(len(blob), zlib.crc32(blob)) + blob)
            self._file.flush()
        except OSError:
            self._file.truncate(start)
            raise
        return start + _HEAD.size, len(blob)

    def _recall(self) -> int:
        """Read what is there; the end of the last whole record."""
        self._file.seek(0)
        end, first = 0, True
        while len(head := self._file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            if length > os.fstat(self._file.fileno()).st_size - end or zlib.crc32(blob := self._file.read(length)) != (
                checksum
            ):
                break
            try:
                if first:
                    self.settings = parse_json(_metadata(blob)["settings"])
                else:
                    self._remember(_about(blob), end + _HEAD.size, length)
            except (SafetensorError, ValueError, KeyError) as error:
                raise SourceError(f"{self.path} is no log of an index; remove it and index again.") from error
            first = False
            end += _HEAD.size + length
        return end

    def _remember(self, about: dict[str, Any], offset: int, length: int) -> None:
        numbers = {name: about[name] for name in ("tiles", "skipped", "last")}
        blocks = self._records.setdefault((about["source"], Stamp(**about["stamp"])), {})
        blocks[about["block"]] = _Record(offset=offset, length=length, **numbers)


def _about(blob: bytes) -> dict[str, Any]:
    about: dict[str, Any] = parse_json(_metadata(blob)["about"])
    return about


def _metadata(blob: bytes) -> dict[str, str]:
    """https://github.com/huggingface/safetensors#format"""
    length = int.from_bytes(blob[:8], "little")
    metadata: dict[str, str] = parse_json(blob[8 : 8 + length])["__metadata__"]
    return metadata
