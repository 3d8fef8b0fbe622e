"""What an unfinished indexing has done: the vectors of blocks of tiles, as parts of its journal."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from safetensors.numpy import load, save

from earthwords.archive.tile_table import SCHEMA
from earthwords.files.reading import parse_json
from earthwords.geo.grids.footprints import LONLAT
from earthwords.jobs.journal import Journal
from earthwords.types import VectorLayer

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
    name: str
    """In the journal."""
    tiles: int
    skipped: int
    last: bool


class IndexLog:
    """The blocks of sources in the journal of an indexing."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._records: dict[tuple[str, Stamp], dict[int, _Record]] = {}
        for name in journal:
            self._remember(name)

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
            "last": last,
        }  # fmt: skip
        name = json.dumps(about)
        self._journal.save(name, save(arrays, {"words": json.dumps(words)}))
        self._remember(name)

    def parts(self, source: str, stamp: Stamp) -> list[int]:
        """Numbers of the blocks of a source, for `part`."""
        return sorted(self._records[source, stamp])

    def part(self, source: str, stamp: Stamp, block: int) -> Part:
        """A block that is done."""
        record = self._records[source, stamp][block]
        blob = self._journal.read(record.name)
        arrays, words = load(blob), _words(blob)
        ends = np.cumsum(arrays["lengths"])
        shapes = arrays["shapes"].tobytes()
        wkb = [shapes[end - n : end] or None for end, n in zip(ends.tolist(), arrays["lengths"].tolist(), strict=True)]
        columns: dict[str, NDArray[Any]] = {name: arrays[name] for name in _NUMBERS}
        columns |= {name: np.full(record.tiles, words[name], object) for name in _WORDS}
        geometries = shapely.from_wkb(np.array(wkb, object)) if wkb else np.empty(0, object)
        layer = VectorLayer(geometries=geometries, columns={name: columns[name] for name in SCHEMA}, crs=LONLAT)
        return Part(layer=layer, vectors=arrays["vectors"])

    def _remember(self, name: str) -> None:
        about = parse_json(name)
        numbers = {key: about[key] for key in ("tiles", "skipped", "last")}
        blocks = self._records.setdefault((about["source"], Stamp(**about["stamp"])), {})
        blocks[about["block"]] = _Record(name=name, **numbers)


def _words(blob: bytes) -> dict[str, Any]:
    """https://github.com/huggingface/safetensors#format"""
    length = int.from_bytes(blob[:8], "little")
    words: dict[str, Any] = parse_json(parse_json(blob[8 : 8 + length])["__metadata__"]["words"])
    return words
