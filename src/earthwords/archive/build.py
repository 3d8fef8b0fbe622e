"""An archive of any size into an index: tiles, vectors, one commit."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from earthwords import __version__
from earthwords.archive.build_log import IndexLog, Stamp
from earthwords.archive.embedder import Embedder, tiles_notes
from earthwords.archive.storage import AS_THE_FILE, COMMIT, NEXT, IndexedSource, Stored, commit, move
from earthwords.archive.tiles import Block, Done, Tile, TileOptions, read_tile
from earthwords.errors import EarthwordsError, OutputError, SourceError, UsageError, number_of, printable, unknown
from earthwords.files.atomic import check_local, locked, parents_made_for, writing
from earthwords.files.ownership import check_ours
from earthwords.geo.masks import split_mask
from earthwords.geo.scene import Scene, SceneSpec
from earthwords.geo.vectors.aoi import OutsideError
from earthwords.inference.cautions import Tally, enforce
from earthwords.inference.limits import ABOUT, WORK
from earthwords.jobs.job import Tick
from earthwords.jobs.journal import open_journal
from earthwords.jobs.threads import ahead
from earthwords.reports import IndexReport
from earthwords.types import Raster, Window
from earthwords.waiting import waited

BLOCK = 1024
"""Tiles that are remembered at once."""
AHEAD = 8
"""Tiles that are read before they are needed."""
ON_ERROR = ("stop", "skip")


@dataclass(kw_only=True)
class IndexJob:
    """What to make of an archive."""

    embedder: Embedder
    folder: Path
    sources: Sequence[str]
    """Paths and addresses."""
    tiling: TileOptions
    spec: SceneSpec
    """How to open a source; the source is put in, its `gsd` only where there is a CRS."""
    prune: bool = False
    """Leave out sources of the index that are not there any more."""
    overwrite: bool = False
    """Begin anew, whatever is there."""
    resume: bool = True
    """Go on with an unfinished run, and leave one behind to go on with."""
    on_error: str = "stop"
    """What a source that cannot be read does: `stop`, or `skip` to go on without it."""
    strict: bool = False
    """A source whose resolution or colours the model never learned is one that cannot be read."""
    failures: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    """Sources that the area of interest does not touch."""
    _notes: Tally = field(default_factory=Tally)
    _notes_before: tuple[str, ...] = ()
    """About sources that were indexed before."""

    def __post_init__(self) -> None:
        if self.on_error not in ON_ERROR:
            raise unknown("reaction to errors", self.on_error, ON_ERROR)

    def settings(self) -> dict[str, str]:
        """What vectors depend on."""
        known = self.embedder.preset.gsd
        own = "the source's" if known is None else f"the source's, at least {known[0]:g}"
        spec, tiling = self.spec, self.tiling
        return {
            "weights": self.embedder.weights_hash,
            "tile_size": str(tiling.size),
            "overlap": str(tiling.overlap),
            "min_valid": f"{tiling.min_valid:g}",
            "gsd": own if spec.gsd is None else f"{spec.gsd:g}",
            "bands": AS_THE_FILE if spec.bands is None else ",".join(map(str, spec.bands)),
            "nodata": AS_THE_FILE if spec.nodata is None else f"{spec.nodata:g}",
            "stretch": spec.stretch,
            **({} if spec.mask is None else _mask_settings(spec.mask)),
            **({} if spec.aoi is None else {"aoi": str(spec.aoi)}),
        }

    def run(self, *, tick: Tick = lambda sources: None) -> IndexReport:
        """Embed what is new or has changed, and commit.

        Args:
            tick: called with the sources done since the last call, also parts of one.

        Raises:
            UsageError: the index was made with something else, or another process works on it.
            SourceError: a source cannot be read, and may not be skipped.
            OutputError: the disk is full or not writable.
        """
        began = time.perf_counter()
        with _held(self.folder), ExitStack() as stack:
            old = self._old(stack)
            logs: list[IndexLog] = []
            todo: dict[str, Stamp] = {}
            journal = stack.enter_context(
                open_journal(
                    self.folder / WORK, settings=self.settings(), resume=self.resume and not self.overwrite,
                    of=self.folder, unit="sources",
                    done=lambda _: sum(log.count(*source) is not None for log in logs for source in todo.items()),
                )
            )  # fmt: skip
            log = IndexLog(journal)
            logs.append(log)
            before = {} if old is None else old.entries()
            wanted = {source: Stamp.of(source) for source in sorted(set(self.sources))}
            todo |= {s: stamp for s, stamp in wanted.items() if s not in before or before[s].stamp != stamp}
            journal.total = len(todo)
            tick(len(wanted) - len(todo))
            if old is not None:
                self._look_back(old, [e for s, e in before.items() if s in wanted and s not in todo])
            made = self._embed(todo, log, tick)
            beside = self._beside(entries=len(before))
            gone = {s for s in before if s not in wanted and _vanished(s)}
            entries = {s: e for s, e in before.items() if s not in todo and not (self.prune and s in gone)}
            for source, stamp in todo.items():
                counts = log.count(source, stamp)
                if counts is not None:
                    entries[source] = IndexedSource(
                        source=source, stamp=stamp, first=0, tiles=counts[0], skipped=counts[1]
                    )
            listed = [entries[source] for source in sorted(entries)]
            if old is None or listed != [before[source] for source in sorted(before)]:
                commit(self.folder, listed, log=log, old=old, about=self._about())
            new = set(entries) & set(todo)
            return IndexReport(
                index=self.folder,
                sources=len(entries),
                tiles=sum(entry.tiles for entry in listed),
                skipped=sum(entry.skipped for entry in listed),
                added=len(new - set(before)),
                changed=len(new & set(before)),
                kept=len(entries) - len(new),
                vanished=tuple(sorted(gone)),
                pruned=self.prune,
                failures=tuple(self.failures),
                embedded=made,
                notes=self._notes.lines(len(todo), what="sources") + self._notes_before + beside,
                seconds=round(waited(began), 3),
            )

    def _look_back(self, old: Stored, entries: Sequence[IndexedSource]) -> None:
        """Say of sources that are indexed already what is known of the resolution at which they were seen."""
        rows = np.array(sorted(entry.first for entry in entries if entry.tiles), np.int64)
        if len(rows):
            sizes = old.tiles.rows(rows).columns["gsd"]
            self._notes_before = tiles_notes(self.embedder, sizes, what="sources indexed before")
            enforce(self._notes_before, strict=self.strict)

    def _beside(self, *, entries: int) -> tuple[str, ...]:
        """What to say of sources that the area of interest does not touch.

        Raises:
            UsageError: they are all that there is.
        """
        if self.spec.aoi is None or not self.outside:
            return ()
        count, every = len(self.outside), len(set(self.sources))
        if count == every and not entries:
            raise UsageError(
                f"No polygon of {self.spec.aoi.name} lies in any of {number_of(every, 'source')}, such as "
                f"{self.outside[0]}; is it of another place?"
            )
        return (f"{number_of(count, 'source')} beside the polygons of {self.spec.aoi.name} left out.",)

    def _about(self) -> dict[str, Any]:
        preset = self.embedder.preset
        return {
            "earthwords": __version__,
            "preset": preset.name,
            "model": preset.weights,
            "templates": preset.templates,
            "side": self.embedder.side,
            "dim": self.embedder.dim,
            "dtype": "float16",
            "settings": self.settings(),
        }

    def _old(self, stack: ExitStack) -> Stored | None:
        """The index that is there, if it may be added to."""
        if (self.folder / COMMIT).exists():
            move(self.folder)
        if self.overwrite or not (self.folder / "index.json").exists():
            return None
        old = stack.enter_context(closing(Stored(self.folder)))
        _check_same(self.folder, old.settings, self.settings())
        return old

    def _embed(self, todo: Mapping[str, Stamp], log: IndexLog, tick: Tick) -> int:
        """Vectors of everything that the log has not; how many were made."""
        made = 0
        steps = ahead(self._tiles(todo, log), depth=AHEAD)
        with closing(steps):
            for step, vector in self.embedder.encoded(steps, lambda step: getattr(step, "raster", None)):
                if isinstance(step, Done):
                    self.failures += [] if step.failure is None else [step.failure]
                else:
                    block = step.block
                    block.add(step, vector)
                    made += vector is not None
                    if step.final:
                        about: dict[str, Any] = {"source": block.source, "stamp": block.stamp, "block": block.number}
                        log.add(block.part(self.embedder.dim), **about, skipped=block.skipped, last=block.last)
                tick(step.share)
        return made

    def _tiles(self, todo: Mapping[str, Stamp], log: IndexLog) -> Iterator[Tile | Done]:
        for source, stamp in todo.items():
            left = 1.0
            if log.count(source, stamp) is not None:
                yield Done(share=left)
                continue
            try:
                with self._open(source) as scene:
                    notes = (*scene.notes, *self.embedder.scene_notes(scene))
                    enforce(notes, strict=self.strict)
                    self._notes.add(notes)
                    for step in self._tiles_of(scene, source, stamp, log):
                        left -= step.share
                        yield step
            except OutsideError:
                self.outside.append(source)
                yield Done(share=left)
            except EarthwordsError as error:
                words = str(error) if printable(source) in printable(str(error)) else f"{source}: {error}"
                if self.on_error == "stop":
                    kind = UsageError if isinstance(error, UsageError) else SourceError
                    raise kind(f"{words.rstrip('.')}. To go on without it: --on-error skip.") from error
                yield Done(share=left, failure=words)

    def _open(self, source: str) -> Scene:
        scene = replace(self.spec, source=source, gsd=None).open()
        try:
            return self.embedder.at_tile_gsd(scene, self.spec.gsd)
        except BaseException:
            scene.close()
            raise

    def _tiles_of(self, scene: Scene, source: str, stamp: Stamp, log: IndexLog) -> Iterator[Tile | Done]:
        rows, cols, (height, width) = self.tiling.axes(scene.grid.shape)
        total = len(rows) * len(cols)
        date = scene.date()
        for number, start in enumerate(range(0, total, BLOCK)):
            stop = min(start + BLOCK, total)
            if log.has(source, stamp, number):
                yield Done(share=(stop - start) / total)
                continue
            facts: dict[str, Any] = {"source": source, "stamp": stamp, "scene": scene, "date": date}
            block = Block(number=number, last=stop == total, **facts)
            for i in range(start, stop):
                window = Window(row=rows[i // len(cols)], col=cols[i % len(cols)], height=height, width=width)
                raster, valid = self._looked_at(scene, window)
                place = {"window": window, "raster": raster}
                yield Tile(block=block, valid=valid, share=1 / total, final=i == stop - 1, **place)  # type: ignore[arg-type]

    def _looked_at(self, scene: Scene, window: Window) -> tuple[Raster | None, float]:
        """The pixels of a tile, None for too few, and how much of it is valid and inside the area of interest."""
        least = max(self.tiling.min_valid, 1e-12)
        inside = None if scene.aoi is None else scene.aoi.inside(window, scene.grid.shape)
        if inside is not None and inside.mean() < least:
            return None, 0.0
        raster = read_tile(scene, window)
        valid = float((raster.valid if inside is None else raster.valid & inside).mean())
        return (raster if valid >= least else None), valid


def _vanished(source: str) -> bool:
    return "://" not in source and not source.startswith("/vsi") and not os.path.exists(source)


def _check_same(folder: Path, was: Mapping[str, str], now: Mapping[str, str]) -> None:
    for name in {**now, **was}:
        before, after = was.get(name, "none"), now.get(name, "none")
        if before != after:
            raise UsageError(
                f"The index in {folder} was made with {name} {before}, now it is {after}; use the same, name "
                "another folder, or begin anew with --overwrite."
            )


def _mask_settings(mask: str) -> dict[str, str]:
    """The mask, and of a file its state."""
    stamp = Stamp.of(split_mask(mask)[0])
    return {"mask": mask} | ({} if stamp.size < 0 else {"mask file": f"{stamp.size} bytes, changed {stamp.mtime_ns}"})


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Make the folder and hold its lock; a folder in which nothing was done goes away again.

    Raises:
        UsageError: it holds something else, or another process works there.
        OutputError: it cannot be made or written to.
    """
    check_local(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the index.")
    ours = {ABOUT, WORK, NEXT, COMMIT}
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).exists() for name in ours):
        raise UsageError(f"{folder} holds other things than an index; name a new folder.")
    check_ours([folder / ABOUT])
    with parents_made_for(folder / "index.json"):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"The folder {folder} is not writable; choose another one.")
        with locked(folder) as free:
            if not free:
                raise UsageError(f"Another process is working on {folder}; wait for it, or choose another INDEX.")
            shutil.rmtree(folder / NEXT, ignore_errors=True)  # of a process that was killed
            yield
