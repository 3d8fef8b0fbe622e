"""The rasters below the root of the data: what there is, where each lies, and how it is shown."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import Caution, EarthwordsError, SourceError, brief
from earthwords.files.output_tags import wrote
from earthwords.files.paths import trouble
from earthwords.serve.errors import LOG, Problem, not_found, without_folders

if TYPE_CHECKING:
    from earthwords.geo.scene import Scene
    from earthwords.geo.sources.served import RasterFacts
    from earthwords.geo.stretch import Stretch
    from earthwords.types import Window

SUFFIXES = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg")
"""What is taken from the folder; a VRT names other files, so it is none of them."""
WORKSPACE = ".earthwords"
MOST_SOURCES = 5_000
MOST_DEPTH = 12
SMALL = 2048
"""A raster of at most so many pixels a side needs no overviews."""
_LOOKS = 256
"""Stretches that are remembered."""


@dataclass(frozen=True, kw_only=True)
class ServedRaster:
    """A raster of the library."""

    id: str
    path: Path
    """As it is below the root; `real` is where links lead."""
    real: Path
    name: str
    """Relative to the root."""
    size_bytes: int
    stamp: str
    """Changes with the file."""
    facts: RasterFacts
    prepared: Path | None = None
    """The copy with overviews, once it is made."""
    preparing: bool = False

    @property
    def ready(self) -> bool:
        """Whether tiles of all zooms are quick."""
        return self.prepared is not None or self.facts.smallest <= SMALL


@dataclass(frozen=True, kw_only=True)
class Look:
    """How the values of a raster become a picture: the product's own bands and stretch."""

    numbers: tuple[int, ...]
    """Of red, green and blue, from 1."""
    stretch: Stretch
    through_palette: bool
    day: str | None
    notes: tuple[str, ...]


class Library:
    """The rasters below a root; may be asked by several threads."""

    def __init__(self, root: Path, workspace: Path) -> None:
        """
        Args:
            root: an existing folder; what links inside it lead out of it to is not served.
            workspace: where copies with overviews lie.
        """
        self.root = Path(os.path.realpath(root))
        self.workspace = workspace
        self.preparing: set[str] = set()
        """Ids of sources whose overviews are being made."""
        self._known: dict[str, ServedRaster] = {}
        self._refused: dict[tuple[str, str | None], str] = {}
        """Name and stamp to why it is not served."""
        self._left_out: dict[str, str] = {}
        self._looks: OrderedDict[tuple[str, str], Look] = OrderedDict()
        self._lock = threading.Lock()

    def all(self) -> list[ServedRaster]:
        """Every raster, by name; those that cannot be opened are left out."""
        found, left_out = {}, {}
        for path in self._files():
            raster, name = self._at(path), path.relative_to(self.root).as_posix()
            if raster is not None:
                found[raster.id] = raster
            elif (why := self._refused.get((name, _stamp(path)))) is not None:
                left_out[name] = why
        with self._lock:
            self._known, self._left_out = found, left_out
        return sorted((self._now(raster) for raster in found.values()), key=lambda raster: raster.name)

    def refused(self) -> dict[str, str]:
        """Names of files that `all` has left out last, and why."""
        with self._lock:
            return dict(self._left_out)

    def get(self, id: str) -> ServedRaster:
        """A raster as it is now.

        Raises:
            Problem: there is none (any more), or it lies outside of the root.
        """
        with self._lock:
            known = self._known.get(id)
        if known is None:
            self.all()
            with self._lock:
                known = self._known.get(id)
        raster = None if known is None else self._at(known.path, known)
        if raster is None:
            raise not_found("source", id)
        with self._lock:
            self._known[id] = raster
        return self._now(raster)

    def path_of(self, id: str) -> Path:
        """The file of a source, checked to lie below the root."""
        return self.get(id).real

    def look(self, raster: ServedRaster) -> Look:
        """How it becomes a picture; found once from the whole raster, as `segment` does.

        Raises:
            SourceError: it shows nothing, or is damaged.
        """
        key = (raster.id, raster.stamp)
        with self._lock:
            if key in self._looks:
                self._looks.move_to_end(key)
                return self._looks[key]
        with self.scene(raster) as scene:
            found = Look(
                numbers=scene.choice.numbers,
                stretch=scene.stretch,
                through_palette=scene.choice.through_palette,
                day=scene.date(),
                notes=scene.notes,
            )
        with self._lock:
            self._looks[key] = found
            while len(self._looks) > _LOOKS:
                self._looks.popitem(last=False)
        return found

    def scene(self, raster: ServedRaster) -> Scene:
        """The raster, open as the product opens it; close it."""
        from earthwords.geo.scene import open_scene
        from earthwords.geo.sources.served import open_served

        with open_served(raster.real):
            pass  # a plain file, whatever the environment says
        return open_scene(str(raster.real), offline=True)

    def window(self, raster: ServedRaster, bounds: Sequence[float]) -> Window:
        """The pixels that bounds in degrees touch.

        Raises:
            UsageError: they touch none.
        """
        from earthwords.geo.sources.served import window_of_lonlat

        west, south, east, north = bounds
        return window_of_lonlat(raster.facts.placed, (west, south, east, north))

    def jailed(self, path: Path) -> Path:
        """Where a path really leads.

        Raises:
            Problem: outside of the root.
        """
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self.root):
            raise Problem(403, "That file lies outside of the folder that is served.")
        return real

    def about(self, raster: ServedRaster) -> dict[str, Any]:
        """What the API tells of a source."""
        from earthwords.geo.sources.served import NOWHERE

        facts = raster.facts
        notes: tuple[str, ...] = facts.notes
        day = None
        with self._lock:
            look = self._looks.get((raster.id, raster.stamp))
        if look is not None:
            notes, day = (*look.notes, *(text for text in notes if text is NOWHERE)), look.day
        gsd = facts.grid.gsd_m if facts.georeferenced else None
        return {
            "id": raster.id,
            "name": raster.name,
            "width": facts.grid.width,
            "height": facts.grid.height,
            "bands": facts.bands,
            "dtype": facts.dtype,
            "crs": facts.crs,
            "georeferenced": facts.georeferenced,
            "gsd_m": gsd,
            "bounds": list(facts.bounds),
            "size_bytes": raster.size_bytes,
            "day": day,
            "ready": raster.ready,
            "preparing": raster.preparing,
            "notes": [note(text) for text in notes],
        }

    def copy_of(self, raster: ServedRaster) -> Path:
        """Where the copy with overviews of a raster belongs."""
        return self.workspace / "overviews" / f"{raster.id}-{raster.stamp}.tif"

    def _now(self, raster: ServedRaster) -> ServedRaster:
        """With what has become of its overviews."""
        copy = self.copy_of(raster)
        return replace(raster, prepared=copy if copy.exists() else None, preparing=raster.id in self.preparing)

    def _files(self) -> Iterator[Path]:
        """Files with a raster's suffix below the root, links that lead out of it left out."""
        count = 0
        for place, folders, names in os.walk(self.root):
            depth = len(Path(place).relative_to(self.root).parts)
            hidden = [name for name in folders if name.startswith(".")]
            folders[:] = [] if depth >= MOST_DEPTH else sorted(name for name in folders if name not in hidden)
            for name in sorted(names):
                path = Path(place, name)
                if name.startswith(".") or path.suffix.lower() not in SUFFIXES:
                    continue
                if Path(os.path.realpath(path)).is_relative_to(self.root):
                    count += 1
                    yield path
                if count >= MOST_SOURCES:
                    return

    def _at(self, path: Path, known: ServedRaster | None = None) -> ServedRaster | None:
        """The raster of a file; None if it is none that is served."""
        from earthwords.geo.sources.served import facts_of

        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self.root) or trouble(real) is not None:
            return None
        name = path.relative_to(self.root).as_posix()
        stamp = _stamp(real)
        if stamp is None:
            return None
        id = hashlib.blake2s(name.encode("utf-8", "surrogateescape"), digest_size=9).hexdigest()
        with self._lock:
            known = known or self._known.get(id)
        if known is not None and (known.stamp, known.real) == (stamp, real):
            return known
        if (name, stamp) in self._refused:
            return None
        try:
            if wrote(real):
                raise SourceError("It was written by earthwords itself.")
            facts = facts_of(real)
        except EarthwordsError as error:
            self._refused[(name, stamp)] = without_folders(str(error), self.root, self.workspace)
            return None
        except Exception as error:  # one file must not hide the others
            LOG.warning("%s is left out (%s).", name, brief(f"{type(error).__name__}: {error}"))
            self._refused[(name, stamp)] = "It cannot be described; see the server's log."
            return None
        return ServedRaster(id=id, path=path, real=real, name=name, size_bytes=_size(stamp), stamp=stamp, facts=facts)


def _stamp(path: Path) -> str | None:
    """Changes with a file: when it was written, and its bytes; None: there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return f"{about.st_mtime_ns:x}-{about.st_size:x}"


def _size(stamp: str) -> int:
    return int(stamp.rpartition("-")[2], 16)


def note(text: str) -> dict[str, str]:
    """A sentence, and whether it is a caution."""
    return {"kind": "caution" if isinstance(text, Caution) else "note", "text": str(text)}
