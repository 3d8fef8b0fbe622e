"""Many scenes, in turn or side by side: what is done is remembered, those that fail stop none of the others."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from earthwords.errors import Caution, EarthwordsError, brief
from earthwords.files.atomic import atomic_path
from earthwords.files.output_sets import check_same, half_set, tidy
from earthwords.files.ownership import check_ours
from earthwords.files.plaintext import write_json
from earthwords.files.reading import parse_json, read_json
from earthwords.geo.sources.find import Sources, folder_of, gets_folders, places_of
from earthwords.inference.cautions import Tally, enforce
from earthwords.inference.scene_run import SceneRun
from earthwords.jobs.executor import Executor
from earthwords.jobs.journal import Journal, check_unfinished, journal_beside, open_journal
from earthwords.jobs.progress import Bar, Console
from earthwords.jobs.thread_map import thread_map
from earthwords.reports import BatchReport
from earthwords.waiting import waited

BATCH = "batch.json"
Model = TypeVar("Model")


class SceneReportLike(Protocol):
    """What became of a scene."""

    @property
    def outputs(self) -> Mapping[str, Path]:
        """Kind to path."""

    @property
    def notes(self) -> Sequence[str]:
        """What is known of the worth of the result."""

    @property
    def failures(self) -> Sequence[str]:
        """What was left out."""


@dataclass(kw_only=True)
class _Batch:
    """Many scenes, and the journal that remembers which are done."""

    run: SceneRun[Any, Any]
    model: Any
    journal: Journal
    bar: Bar
    executor: Executor | None
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    scenes: dict[str, dict[str, Any]]
    """Source to what became of it."""
    in_folders: bool
    """Whether the outputs of a scene are a folder."""
    tally: Tally = field(default_factory=Tally)

    def work(self, source: str, dst: Path) -> None:
        """Do a scene, or find it done; a failure is remembered, and the others go on."""
        if self.stop.is_set():
            return
        began = time.perf_counter()
        entry: dict[str, Any] = {"source": source, "status": "failed", "reason": "", "outputs": {}, "settings": ""}
        try:
            self._do(source, dst, entry, began)
        except EarthwordsError as error:
            if self.stop.is_set():
                return
            self._failed(entry, str(error), began)
        except Exception as error:
            if self.stop.is_set():
                return
            self._failed(entry, f"Unexpected failure ({type(error).__name__}: {brief(error)})", began)
        self.bar(1)

    def _do(self, source: str, dst: Path, entry: dict[str, Any], began: float) -> None:
        with self.run.open(source) as opened:
            outputs = self.run.outputs(dst, folder=self.in_folders, anew=True)
            job = self.run.job(self.model, opened, outputs, self.executor)
            text = json.dumps(job.settings(), sort_keys=True)
            entry["settings"] = hashlib.sha256(text.encode()).hexdigest()[:16]
            before = _made(self.scenes.get(source, {}))
            if (
                self.run.execution.resume
                and before.get("settings") == entry["settings"]
                and _ends(before.get("outputs", {})) == _ends(outputs)
                and _is_whole(outputs.values())
            ):
                notes = _recalled(before)
                self.tally.add(notes)
                enforce(notes, strict=self.run.request.strict)
                entry.update(status="before", outputs=before["outputs"], **_noted(notes))
                self._keep(entry, began)
                tidy(outputs.values())
                return
            self.run.outputs(dst, folder=self.in_folders)  # what is there may not be replaced, unless asked for

            def moved(report: SceneReportLike) -> None:
                entry.update(status="done", outputs={kind: str(path) for kind, path in report.outputs.items()})
                entry.update(_noted(report.notes))
                self.tally.add(report.notes)
                if report.failures:
                    entry["reason"] = f"{len(report.failures)} parts left out, see the report"
                self._keep(entry, began)

            job.run(tick=self._tick, moved=moved)

    def _failed(self, entry: dict[str, Any], reason: str, began: float) -> None:
        """Remember why, and what an earlier run has made: its outputs are there still."""
        made = _made(self.scenes.get(entry["source"], {}))
        self._keep({**entry, "reason": reason, **({"earlier": made} if made else {})}, began)

    def _keep(self, entry: dict[str, Any], began: float) -> None:
        """Remember what became of a scene."""
        entry["seconds"] = round(time.perf_counter() - began, 3)
        with self.lock:
            self.scenes[entry["source"]] = entry
            self.journal.save(entry["source"], json.dumps(entry).encode())

    def _tick(self, units: float) -> None:
        if self.stop.is_set():
            raise _Interrupted

    def done(self, sources: Iterable[str]) -> int:
        """How many of the sources are done."""
        return sum(self.scenes.get(source, {}).get("status") in _DONE for source in sources)


_DONE = ("done", "before")


def _made(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is known of the outputs of a scene: its entry, or the one before the runs that failed; empty if nothing."""
    made: Mapping[str, Any] = entry if entry.get("status") in _DONE else entry.get("earlier", {})
    return made


def _is_whole(outputs: Collection[Path]) -> bool:
    """Whether all are there, and of one run: one that died while its outputs moved may have replaced some."""
    owned = set(map(half_set(outputs).owns, outputs))
    return len(owned) == 1 and all(path.exists() for path in outputs)


def _kept(journal: Journal) -> dict[str, dict[str, Any]]:
    """Source to what became of it."""
    return {name: parse_json(journal.read(name)) for name in journal}


def _ends(outputs: Mapping[str, str | Path]) -> dict[str, tuple[str, ...]]:
    """Kind to file and folder: a command may name the same place from elsewhere."""
    return {kind: Path(path).parts[-2:] for kind, path in outputs.items()}


def _noted(notes: Iterable[str]) -> dict[str, list[str]]:
    """Notes for `batch.json`, and which of them are cautions."""
    listed = list(notes)
    return {"notes": listed, "cautions": [note for note in listed if isinstance(note, Caution)]}


def _recalled(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """What `_noted` has written."""
    cautions = entry.get("cautions", ())
    return tuple(Caution(note) if note in cautions else note for note in entry.get("notes", ()))


class _Interrupted(Exception):
    """Another scene's thread was interrupted."""


def run_many(
    run: SceneRun[Any, Model],
    sources: Sources,
    dst: Path,
    root: str,
    console: Console,
    load: Callable[[], Model],
    *,
    doing: str,
) -> BatchReport:
    """Do the same with many scenes; those that are done already are left alone, those that fail are reported.

    What became of each is written into `batch.json` when the run ends, however it ends.

    Args:
        dst: a folder, which gets a folder for every scene, or a path with {stem}.
        root: what was asked for; scenes in folders below it keep their place.
        doing: what the bar says, such as `segmenting`.

    Raises:
        UsageError: two scenes would have the same outputs, `dst` is a single file, `batch.json` is of others, or the
            scenes there were done with other settings.
    """
    began = time.perf_counter()
    places, folder = places_of(sources, dst, root), folder_of(dst)
    replace(run.inputs, sources=()).check([folder / BATCH])
    if not run.request.replaces:
        check_ours([folder / BATCH])
    told = {**run.request.spec.settings(), **run.request.told()}
    check_unfinished(journal_beside(folder / BATCH), told, resume=run.execution.resume)
    model = load()
    settings, resume = run.settings(model), run.execution.resume
    known = _read(folder / BATCH)
    if resume and not run.request.replaces and _again(run, known["scenes"], places, in_folders=gets_folders(dst)):
        check_same(folder, known["settings"] or settings, settings, what="A finished run lies", advice=_ADVICE)
    with ExitStack() as stack:
        batches: list[_Batch] = []
        journal = stack.enter_context(
            open_journal(
                journal_beside(folder / BATCH), settings=settings, resume=resume, unit="scenes",
                done=lambda journal: batches[0].done(sources) if batches else 0,
                forgotten=lambda journal: known["scenes"].update(_kept(journal)),
            )
        )  # fmt: skip
        journal.total = len(sources)
        executor = stack.enter_context(run.executor(model))
        bar = stack.enter_context(console.bar(doing, len(sources), unit="scenes"))
        scenes = known["scenes"] | _kept(journal)
        batch = _Batch(
            run=run, model=model, journal=journal, bar=bar, executor=executor, scenes=scenes,
            in_folders=gets_folders(dst),
        )  # fmt: skip
        batches.append(batch)

        def stop() -> None:
            batch.stop.set()
            if executor is not None:
                executor.close()

        try:
            thread_map(
                lambda source: batch.work(source, places[source]), sources, threads=run.execution.workers, stop=stop
            )
        finally:
            listed = [
                batch.scenes[source] for source in dict.fromkeys([*sources, *batch.scenes]) if source in batch.scenes
            ]
            of_this = any(batch.scenes.get(source, {}).get("status") in _DONE for source in sources)
            told = settings if of_this or not known["settings"] else known["settings"]
            _write(folder / BATCH, listed, told, sources.left_out)
    notes = batch.tally.lines(len(sources), what="scenes")
    console.notes(notes)
    return BatchReport(
        file=folder / BATCH,
        scenes=tuple(batch.scenes[source] for source in sources),
        seconds=round(waited(began), 3),
        notes=notes,
        left_out=tuple(sources.left_out),
    )


_ADVICE = "run with what it was done with, choose another DST, or replace its outputs by --overwrite"


def _again(
    run: SceneRun[Any, Any], scenes: Mapping[str, Mapping[str, Any]], places: Mapping[str, Path], *, in_folders: bool
) -> bool:
    """Whether an output of an earlier run is one of this run, too."""
    return any(
        path.exists() and path.parts[-2:] in _ends(_made(scenes[source]).get("outputs", {})).values()
        for source in places.keys() & scenes.keys()
        for path in run.outputs(places[source], folder=in_folders, anew=True).values()
    )


def _read(path: Path) -> dict[str, Any]:
    """`scenes` (source to entry) and `settings` of an earlier run's `batch.json`; empty where there is none."""
    try:
        found = read_json(path, most=None)
        settings = {str(name): str(value) for name, value in found.get("settings", {}).items()}
        return {"scenes": {entry["source"]: entry for entry in found["scenes"]}, "settings": settings}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {"scenes": {}, "settings": {}}


def _write(
    path: Path, scenes: Sequence[Mapping[str, Any]], settings: Mapping[str, str], left_out: Mapping[str, str]
) -> None:
    if not scenes:
        return
    more = {"left_out": dict(left_out)} if left_out else {}
    with atomic_path(path, overwrite=True) as part:
        write_json(part, {"settings": dict(settings), "scenes": list(scenes), **more})
