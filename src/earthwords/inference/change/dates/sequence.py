"""More than two dates: each with the next one, and a table of them all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from earthwords.errors import UsageError, number_of
from earthwords.files.atomic import atomic_path
from earthwords.files.plaintext import write_json
from earthwords.geo.destinations import CHANGES_TABLE
from earthwords.inference.cautions import enforce
from earthwords.inference.change.dates.pair import output_cautions
from earthwords.inference.change.dates.report import ChangeReport, area_text
from earthwords.inference.change.dates.run import ChangeRun, compare_dates
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.jobs.journal import check_unfinished, journal_beside, open_journal
from earthwords.jobs.progress import Console
from earthwords.waiting import waited


@dataclass(frozen=True, kw_only=True)
class SequenceReport:
    """What is different between each date and the next one."""

    file: Path
    """Where the same is written down."""
    pairs: tuple[dict[str, Any], ...]
    """What `ChangeReport` has as JSON, in order."""
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"file": str(self.file), "pairs": list(self.pairs), "seconds": self.seconds}

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        unit = self.pairs[0]["unit"]
        title = f"{number_of(len(self.pairs) + 1, 'date')}, {self.seconds:.1f} s; see {self.file}"
        rows = [
            [Path(pair["before"]).name, Path(pair["after"]).name, one["name"], *_shown(one, unit)]
            for pair in self.pairs
            for one in pair["classes"]
        ]
        return title, ("from", "to", "class", "gained", "lost", "net"), rows


def compare_all(
    run: ChangeRun, load: Callable[[], Segmenter], dates: Sequence[str], dst: Path, console: Console
) -> ChangeReport | SequenceReport:
    """Two dates, or more; see `compare_dates` and `compare_sequence`."""
    cautions = output_cautions(dates)
    console.notes(cautions)
    enforce(cautions, strict=run.request.strict)
    if len(dates) > 2:
        return compare_sequence(run, load, dates, dst, console)
    return compare_dates(run, load, dst, console)


def compare_sequence(
    run: ChangeRun, load: Callable[[], Segmenter], dates: Sequence[str], dst: Path, console: Console
) -> SequenceReport:
    """Compare dates in their order; pairs that an earlier run of the same command has done are left alone.

    Args:
        dst: a folder, which gets one for every pair, and the table.

    Raises:
        UsageError: `dst` is a file, or there is a table already; and as `compare_dates`.
    """
    began = time.perf_counter()
    if dst.suffix and not dst.is_dir():
        raise UsageError(f"{len(dates)} dates make {len(dates) - 1} maps: name a folder, not the file {dst}.")
    loaded: list[Segmenter] = []

    def once() -> Segmenter:
        if not loaded:
            loaded.append(load())
        return loaded[0]

    own = {"dates": ", ".join(dates), **run.request.spec.settings()}
    journal_folder = journal_beside(dst / CHANGES_TABLE)
    check_unfinished(journal_folder, {**own, **run.request.told()}, resume=run.execution.resume)
    settings = {**own, **run.request.settings(once())}
    pairs: list[dict[str, Any]] = []
    with open_journal(journal_folder, settings=settings, resume=run.execution.resume, unit="pairs") as journal:
        journal.total = len(dates) - 1
        for number, (before, after) in enumerate(pairwise(dates), 1):
            name = f"{number:02}-{Path(before).stem}-{Path(after).stem}"
            if name not in journal:
                console.say(f"{before} -> {after}")

                def moved(report: ChangeReport, name: str = name) -> None:
                    journal.save(name, json.dumps(report.as_json()).encode())

                compare_dates(run.of(before, after), once, dst / name, console, folder=True, moved=moved)
            pairs.append(json.loads(journal.read(name)))
        with atomic_path(dst / CHANGES_TABLE, overwrite=True) as part:
            write_json(part, {"pairs": pairs}, indent=2)
    return SequenceReport(file=dst / CHANGES_TABLE, pairs=tuple(pairs), seconds=round(waited(began), 3))


def _shown(one: dict[str, Any], unit: str) -> list[str]:
    return [area_text(one[name], unit) for name in ("gained", "lost", "net")]
