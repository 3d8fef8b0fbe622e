"""The whole way from sources to a result, in parts that survive a kill.

Beside the destination lies a hidden folder, the journal: its parts are what was found out about 64 images each, `out/`
has what is written already. The same command goes on with it and comes to the same bytes; at the end all moves to its
place.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords import __version__
from earthwords.data.annotations.boxes._common import identity, read_for
from earthwords.data.captions import records, shards
from earthwords.data.captions.duplicates import Copies, DuplicateSearch, ImageHashes, find_copies, list_copies
from earthwords.data.captions.records import READERS, CaptionOptions, CaptionTask
from earthwords.data.captions.statistics import CaptionTally, PairsReport
from earthwords.errors import OutputError, SourceError, UsageError
from earthwords.files.atomic import check_no_others, check_output, discard, exists, remove_dead, writing
from earthwords.files.plaintext import read_text, write_json
from earthwords.files.reading import parse_json
from earthwords.geo.sources.inputs import Inputs
from earthwords.jobs.executor import Executor
from earthwords.jobs.job import Tick
from earthwords.jobs.journal import Journal, journal_beside, open_journal
from earthwords.jobs.make_executor import make_executor
from earthwords.jobs.resume import compute_missing, done_among
from earthwords.plugins import load, names

UNIT = 64
"""Images a worker examines at once, and a part of the journal holds."""
REPORT = "report.json"
PLAN = "plan.txt"
_TILE = re.compile(r"\d{9}\.jpg")
_OURS = re.compile(r"pairs-\d{6}\.tar|report\.(json|md)|duplicates\.(csv|png)")


@dataclass(frozen=True, kw_only=True)
class PairsRun:
    """What to make of which sources."""

    sources: tuple[Path, ...]
    dst: Path
    recipe: CaptionOptions
    format: str = "auto"
    tests: tuple[Path, ...] = ()
    search: DuplicateSearch = field(default_factory=DuplicateSearch)
    shard_size: int = 1000
    workers: int = 1
    cluster: str | None = None
    """Address of a Ray cluster, whose machines find sources and destination under the same names."""
    resume: bool = True
    overwrite: bool = False
    read: Mapping[str, Path | None] = field(default_factory=dict)
    """Option to another file that is read."""

    def run(self, bar: Callable[[str, int], Any]) -> PairsReport:
        """Do it.

        Args:
            bar: `bar(what, total)` is a context with a function that takes the units done.

        Raises:
            UsageError: the destination exists or is none, a format is unknown.
            SourceError: something cannot be read.
            OutputError: the disk is full.
        """
        began = time.perf_counter()
        sink = shards.sink_of(self.dst)
        self._check_destination()
        units = self._units()
        self._check_inputs(units)
        order = [identity(f"{unit.format}, {unit.test}", unit.items) for unit in units]
        parts = dict(zip(order, units, strict=True))
        folder, settings, done = journal_beside(self.dst), self._settings(), done_among(parts)
        with (
            open_journal(folder, settings=settings, resume=self.resume, of=self.dst, done=done) as journal,
            make_executor(self.workers, cluster=self.cluster, preload=[records.__name__, shards.__name__]) as executor,
        ):
            journal.total = len(parts)
            again = [] if self.recipe.on_error == "skip" else _damaged(journal, parts)
            with bar("reading", len(parts)) as tick:
                compute_missing(
                    journal, executor, partial(records.examine, self.recipe), parts, bar=tick, again=again, place=_place
                )
            finds = ImageHashes.read((_records(journal, [name]) for name in order), units)
            copies = find_copies(finds, self.search)
            kept = finds.wanted & ~copies.dropped
            if not kept.any():
                journal.discard()  # another run would come to the same end
                raise SourceError(_nothing_left(finds, copies))
            out = self._out(journal.folder, kept, order)
            with bar("writing", int(kept.sum())) as tick, writing(self.dst):
                tally = self._write(sink, out, zip(kept, _records(journal, order), strict=True), executor, tick)
            report = self._report(finds, copies, kept, tally, time.perf_counter() - began)
            with writing(self.dst):
                self._write_reports(out, report, copies, _records(journal, order))
                self._commit(out)
        return report

    def _check_destination(self) -> None:
        """Refuse what must not be written over."""
        remove_dead(self.dst)
        journal = journal_beside(self.dst)
        if self.dst.exists() and _is_committed(journal):
            discard(journal)
        if self.dst.is_dir():
            found = [path.name for path in self.dst.iterdir()]
            if found and not self.overwrite:
                raise exists(self.dst)
            if found and REPORT not in found:
                raise UsageError(f"{self.dst} holds other files; choose another folder.")
            check_no_others(self.dst, _OURS)
            return
        check_output(self.dst, overwrite=self.overwrite)
        for folder in self._folders():
            check_no_others(folder, _TILE)
        there = next((path for path in (*self._beside(), *self._folders()) if path.exists()), None)
        if there is not None and not self.overwrite and not (journal / PLAN).exists():
            raise exists(there)

    def _beside(self) -> list[Path]:
        """Files that are written beside a single one."""
        names = (REPORT, "report.md", "duplicates.csv", "duplicates.png")
        return [self.dst.with_name(self._side(name)) for name in names] if self.dst.suffix else []

    def _folders(self) -> list[Path]:
        """Folders that are there and will be replaced with all that is in them."""
        name = shards.images_folder(self.dst) if self.dst.suffix == ".jsonl" else self.dst.name
        return [folder for folder in (self.dst.with_name(name),) if folder.is_dir()]

    def _check_inputs(self, units: Sequence[CaptionTask]) -> None:
        """Refuse to replace anything that is read."""
        sources = [str(path) for path in (*self.sources, *self.tests)]
        read = read_for(item for unit in units for item in unit.items)
        inputs = Inputs(listed=[*sources, *read], others={f"--{name}": path for name, path in self.read.items()})
        inputs.check([self.dst, *self._beside()], folders=self._folders())

    def _units(self) -> list[CaptionTask]:
        """All images, in order: sources, then test sets."""
        units = []
        for source, test in [(s, False) for s in self.sources] + [(t, True) for t in self.tests]:
            if not source.exists():
                raise SourceError(f"{source} does not exist; check the path.")
            name = "images" if test else self.format if self.format != "auto" else detect(source)
            items = tuple(load(READERS, name, kind="format").items(source, self.recipe.how))
            if not items:
                raise SourceError(f"No images{'' if test else ' with annotations'} were found in {source}.")
            starts = range(0, len(items), UNIT)
            units += [CaptionTask(format=name, items=items[start : start + UNIT], test=test) for start in starts]
        return units

    def _settings(self) -> dict[str, str]:
        """What the result depends on, by the names of the options.

        Not `--on-error`: what could be read is the same, so that whoever is told of it goes on with it.
        """
        values = {
            "source": ", ".join(map(str, self.sources)), "format": self.format,
            "against": ", ".join(map(str, self.tests)), "dedup": self.search.within, "threshold": self.search.threshold,
            "turned": self.search.orientations > 1, "shard-size": self.shard_size, "captions": self.recipe.captions,
            "seed": self.recipe.seed, "version": __version__,
        }  # fmt: skip
        return self.recipe.how.settings() | {name: str(value) for name, value in values.items() if value != ""}

    def _settings_shown(self) -> dict[str, Any]:
        """For the report."""
        how = {key: value for key, value in asdict(self.recipe.how).items() if value is not None}
        return {
            "sources": [str(s) for s in self.sources],
            "format": self.format,
            "tests": [str(t) for t in self.tests],
            **asdict(self.search),
            "shard_size": self.shard_size,
            "captions": self.recipe.captions,
            "seed": self.recipe.seed,
            "on_error": self.recipe.on_error,
            **how,
        }

    def _out(self, journal: Path, kept: NDArray[np.bool_], order: Sequence[str]) -> Path:
        """Where results are written first; what belongs to other results goes."""
        out, plan = journal / "out", journal / PLAN
        with writing(self.dst):
            digest = hashlib.sha256(np.packbits(kept).tobytes() + "".join(order).encode()).hexdigest()
            if not plan.exists() or read_text(plan) != digest:
                shutil.rmtree(out, ignore_errors=True)
                plan.write_text(digest, encoding="utf-8")
            out.mkdir(exist_ok=True)
        return out

    def _write(
        self,
        sink: shards.Sink,
        out: Path,
        found: Iterable[tuple[np.bool_, shards.Record]],
        executor: Executor,
        tick: Tick,
    ) -> CaptionTally:
        """Write what is kept of all that was found, and count it."""
        tally = CaptionTally()

        def batches() -> Iterator[shards.Batch]:
            batch: list[shards.Record] = []
            first = 0
            for keep, record in found:
                if keep:
                    tally.add(record)
                    batch.append(record)
                if len(batch) == self.shard_size:
                    yield first, batch
                    first, batch = first + len(batch), []
            if batch:
                yield first, batch

        options = shards.Options(dst=self.dst, executor=executor, rows=self.shard_size)
        for written in sink(out, batches(), options):
            tick(written)
        return tally

    def _report(
        self, finds: ImageHashes, copies: Copies, kept: NDArray[np.bool_], tally: CaptionTally, seconds: float
    ) -> PairsReport:
        return PairsReport(
            output=self.dst,
            read=int((~finds.tests).sum()),
            kept=int(kept.sum()),
            empty=int((~finds.tests & ~finds.wanted & ~finds.bad).sum()),
            damaged=tuple(finds.errors),
            duplicates=int((copies.dropped & ~copies.by_test).sum()),
            in_tests=int((copies.dropped & copies.by_test).sum()),
            settings=self._settings_shown(),
            figures=tally.figures(),
            seconds=round(seconds, 2),
        )

    def _write_reports(self, out: Path, report: PairsReport, copies: Copies, found: Iterable[shards.Record]) -> None:
        """Write the report, in which there is no clock, so that equal input makes equal bytes, and the duplicates."""
        timeless = {key: value for key, value in report.as_json().items() if key not in ("seconds", "output")}
        write_json(out / self._side(REPORT), timeless)
        (out / self._side("report.md")).write_text(report.markdown(), encoding="utf-8")
        if copies.dropped.any():
            list_copies(
                copies, found, table=out / self._side("duplicates.csv"), sheet=out / self._side("duplicates.png")
            )

    def _side(self, name: str) -> str:
        """The name of a file beside the result: inside a folder as it is."""
        return name if self.dst.suffix == "" or self.dst.is_dir() else f"{self.dst.stem}.{name}"

    def _commit(self, out: Path) -> None:
        """Move everything to its place, the result itself last."""
        if shards.sink_of(self.dst) is shards.write_shards:
            if self.dst.exists():  # at once: half of a folder would be one of other files
                shutil.rmtree(out.with_name("old"), ignore_errors=True)
                os.replace(self.dst, out.with_name("old"))
            os.replace(out, self.dst)
            return
        for old in ("duplicates.csv", "duplicates.png"):
            self.dst.with_name(self._side(old)).unlink(missing_ok=True)
        for path in sorted(out.iterdir(), key=lambda path: path.name == self.dst.name):
            target = self.dst.with_name(path.name)
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(path, target)
        if not self.dst.exists():
            raise OutputError(f"{self.dst} was not written.")


def detect(source: Path) -> str:
    """The format of a source. Raises `UsageError` if none fits."""
    for name in names(READERS):
        if load(READERS, name, kind="format").fits(source):
            return name
    known = ", ".join(name for name in names(READERS) if name != "images")
    raise UsageError(f"What annotations {source} has was not found out; say it with --format ({known}).")


def _nothing_left(finds: ImageHashes, copies: Copies) -> str:
    total, bad = int((~finds.tests).sum()), len(finds.errors)
    gone = int(copies.dropped.sum())
    return f"No image is left of {total:,}: {gone:,} duplicates, {bad:,} damaged, the others have no objects."


def _is_committed(journal: Path) -> bool:
    """Whether a run was killed when all was in its place."""
    out = journal / "out"
    return (journal / PLAN).exists() and not (out.is_dir() and any(out.iterdir()))


def _records(journal: Journal, order: Iterable[str]) -> Iterator[shards.Record]:
    """What was found out, part after part."""
    for name in order:
        yield from map(parse_json, journal.read(name).splitlines())


def _damaged(journal: Journal, parts: Iterable[str]) -> list[str]:
    """Parts of an earlier run in which damaged images were left out."""
    return [name for name in parts if name in journal and any("error" in found for found in _records(journal, [name]))]


def _place(unit: CaptionTask) -> str:
    return unit.items[0].image
