"""One scene or many: what `segment` was asked for, applied to each."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from earthwords.errors import Caution, EarthwordsError, UsageError, brief
from earthwords.files.atomic import atomic_path, locked
from earthwords.files.output_sets import tidy
from earthwords.files.ownership import check_ours
from earthwords.files.plaintext import write_json
from earthwords.files.reading import read_json
from earthwords.geo.destinations import plan_outputs
from earthwords.geo.scene import Scene, SceneSpec
from earthwords.geo.sources.find import Sources, folder_of, gets_folders, places_of
from earthwords.geo.sources.inputs import Inputs
from earthwords.inference.cautions import Tally, enforce
from earthwords.inference.limits import check_numbers
from earthwords.inference.segment.job import ExecutionOptions, SceneJob
from earthwords.inference.segment.memory import shown
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.outputs import OutputOptions
from earthwords.jobs.executor import Executor
from earthwords.jobs.make_executor import make_executor
from earthwords.jobs.progress import Bar, Console, duration
from earthwords.presets import SegmentPreset
from earthwords.types import BatchReport, SceneReport, Vocabulary

BATCH = "batch.json"
LONG = 400
"""Windows from which on a run is estimated before it begins."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to do with every scene."""

    vocabulary: Vocabulary
    options: OutputOptions
    spec: SceneSpec
    """How to open a scene; the source is put in."""
    inputs: Inputs
    """What no output may replace."""
    execution: ExecutionOptions
    cluster: str | None = None
    threshold: float | None = None
    on_error: str = "stop"
    strict: bool = False

    def job(self, segmenter: Segmenter, opened: Scene, outputs: dict[str, Path]) -> SceneJob:
        """The work on an open scene."""
        spec = replace(self.spec, source=opened.source)
        return SceneJob(
            segmenter=segmenter,
            scene=segmenter.at_working_gsd(opened) if spec.gsd is None else opened,
            vocabulary=self.vocabulary,
            outputs=outputs,
            threshold=self.threshold,
            options=self.options,
            execution=self.execution,
            on_error=self.on_error,
            spec=spec,
            strict=self.strict,
        )

    def check(self, *, preset: SegmentPreset, batch: int | None) -> None:
        """Refuse impossible numbers before anything is opened.

        Raises:
            UsageError: a threshold, a batch or a reaction that there is not.
        """
        check_numbers(threshold=preset.threshold if self.threshold is None else self.threshold, batch=batch)
        FailurePolicy(on_error=self.on_error)

    def open(self, source: str) -> Scene:
        """A scene at its own resolution, or the one asked for."""
        return replace(self.spec, source=source).open()

    def outputs(self, dst: Path, *, folder: bool = False, anew: bool = False) -> dict[str, Path]:
        """Kind to path; see `plan_outputs`.

        Args:
            folder: `dst` is one, whatever its name.
            anew: never mind what is there.
        """
        return plan_outputs(
            dst,
            probabilities=self.options.probabilities != "no",
            overwrite=anew or self.options.overwrite,
            inputs=None if anew else self.inputs,
            folder=folder,
        )

    @contextmanager
    def executor(self, device: str) -> Iterator[Executor | None]:
        """Who computes; None: this process."""
        if self.execution.workers == 1 and self.cluster is None:
            yield None
            return
        preload = ["earthwords.inference.segment.block"]
        with make_executor(self.execution.workers, cluster=self.cluster, device=device, preload=preload) as executor:
            yield executor


def one(request: Request, load: Callable[[], Segmenter], source: str, dst: Path, console: Console) -> SceneReport:
    """Segment a single scene; whatever is wrong with it is told before the model is loaded."""
    began = time.perf_counter()
    outputs = request.outputs(dst)
    with ExitStack() as stack:
        opened = stack.enter_context(request.open(source))
        console.notes(opened.notes)
        segmenter = load()
        job = request.job(segmenter, opened, outputs)
        console.notes(job.notes)
        enforce(job.notes, strict=request.strict)
        blocks = job.blocks()
        if len(blocks) > 1 or request.cluster is not None:
            job = replace(job, executor=stack.enter_context(request.executor(str(segmenter.encoder.backbone.device))))
        total = job.windows(blocks, set(range(len(blocks))))
        if total > LONG and not console.quiet:
            console.say(_estimate(job, total))
        with console.bar("segmenting", total, unit="windows") as bar:
            report = job.run(tick=bar, skip=bar.skip, writing_begins=bar.writing, loading_s=time.perf_counter() - began)
    console.notes(report.notes)
    console.outputs(report.outputs, report.failures)
    if "ranks" in report.settings:
        console.detail(f"Energy {report.settings['energy']}: channels upsampled {report.settings['ranks']}.")
    return report


def _estimate(job: SceneJob, windows: int) -> str:
    """What a long run will take."""
    execution, blocks = job.execution, job.blocks()
    at_once = max(job.segmenter.threads, execution.workers)
    seconds = windows * job.segmenter.window_seconds(len(job.vocabulary.queries)) / at_once
    need = job.need.bytes(blocks)
    each = " a worker" if execution.workers > 1 else ""
    disk = "" if len(blocks) == 1 else f", {shown(job.journal_bytes())} of disk until it is done"
    return (
        f"{windows:,} windows in {len(blocks)} blocks: about {duration(seconds)}, at most {shown(need)} of "
        f"memory{each} beside the model{disk}."
    )


@dataclass(kw_only=True)
class _Batch:
    """Many scenes, and the file that remembers which are done."""

    request: Request
    segmenter: Segmenter
    folder: Path
    bar: Bar
    executor: Executor | None
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    scenes: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str]
    """Path to why it is no scene."""
    in_folders: bool
    """Whether the outputs of a scene are a folder."""
    tally: Tally = field(default_factory=Tally)

    def work(self, source: str, dst: Path) -> None:
        """Segment a scene, or find it done; a failure is remembered, and the others go on."""
        if self.stop.is_set():
            return
        began = time.perf_counter()
        entry: dict[str, Any] = {"source": source, "status": "failed", "reason": "", "outputs": {}, "settings": ""}
        try:
            self._segment(source, dst, entry, began)
        except EarthwordsError as error:
            if self.stop.is_set():
                return
            self._keep({**entry, "reason": str(error)}, began)
        except Exception as error:
            if self.stop.is_set():
                return
            self._keep({**entry, "reason": f"Unexpected failure ({type(error).__name__}: {brief(error)})"}, began)
        self.bar(1)

    def _segment(self, source: str, dst: Path, entry: dict[str, Any], began: float) -> None:
        with self.request.open(source) as opened:
            outputs = self.request.outputs(dst, folder=self.in_folders, anew=True)
            job = replace(self.request.job(self.segmenter, opened, outputs), executor=self.executor)
            text = json.dumps(job.settings(), sort_keys=True)
            entry["settings"] = hashlib.sha256(text.encode()).hexdigest()[:16]
            before = self.scenes.get(source, {})
            if (
                self.request.execution.resume
                and before.get("status") in ("done", "before")
                and before.get("settings") == entry["settings"]
                and all(path.exists() for path in outputs.values())
            ):
                notes = _recalled(before)
                self.tally.add(notes)
                enforce(notes, strict=self.request.strict)
                entry.update(status="before", outputs=before["outputs"], **_noted(notes))
                self._keep(entry, began)
                tidy(outputs.values())
                return
            self.request.outputs(dst, folder=self.in_folders)  # what is there may not be replaced, unless asked for

            def moved(report: SceneReport) -> None:
                entry.update(status="done", outputs={kind: str(path) for kind, path in report.outputs.items()})
                entry.update(_noted(report.notes))
                self.tally.add(report.notes)
                if report.failures:
                    entry["reason"] = f"{len(report.failures)} parts left out, see the report"
                self._keep(entry, began)

            job.run(tick=self._tick, moved=moved)

    def _keep(self, entry: dict[str, Any], began: float) -> None:
        """Remember what became of a scene."""
        entry["seconds"] = round(time.perf_counter() - began, 3)
        with self.lock:
            self.scenes[entry["source"]] = entry
            self.save()

    def _tick(self, windows: float) -> None:
        if self.stop.is_set():
            raise _Interrupted

    def save(self) -> None:
        """Write down what is done."""
        with atomic_path(self.folder / BATCH, overwrite=True) as path:
            left_out = {"left_out": self.left_out} if self.left_out else {}
            write_json(path, {"scenes": list(self.scenes.values()), **left_out})

    def recall(self) -> None:
        """Read what an earlier run has done."""
        try:
            known = read_json(self.folder / BATCH, most=None)["scenes"]
            self.scenes = {entry["source"]: entry for entry in known}
        except (OSError, ValueError, KeyError, TypeError):
            self.scenes = {}


def _noted(notes: Iterable[str]) -> dict[str, list[str]]:
    """Notes for `batch.json`, and which of them are cautions."""
    told = list(notes)
    return {"notes": told, "cautions": [note for note in told if isinstance(note, Caution)]}


def _recalled(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """What `_noted` has written."""
    cautions = entry.get("cautions", ())
    return tuple(Caution(note) if note in cautions else note for note in entry.get("notes", ()))


class _Interrupted(Exception):
    """Another scene's thread was interrupted."""


def many(
    request: Request, sources: Sources, dst: Path, root: str, console: Console, load: Callable[[], Segmenter]
) -> BatchReport:
    """Segment many scenes; those that are done already are left alone, those that fail are reported.

    Args:
        dst: a folder, which gets a folder for every scene, or a path with {stem}.
        root: what was asked for; scenes in folders below it keep their place.

    Raises:
        UsageError: two scenes would have the same outputs, `dst` is a single file, or `batch.json` is of others.
    """
    began = time.perf_counter()
    places, folder = places_of(sources, dst, root), folder_of(dst)
    replace(request.inputs, sources=()).check([folder / BATCH])
    if not request.options.overwrite:
        check_ours([folder / BATCH])
    segmenter = load()
    with ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        if not stack.enter_context(locked(folder)):
            raise UsageError(f"Another process is working on {folder}; wait for it, or choose another DST.")
        executor = stack.enter_context(request.executor(str(segmenter.encoder.backbone.device)))
        bar = stack.enter_context(console.bar("segmenting", len(sources), unit="scenes"))
        batch = _Batch(
            request=request, segmenter=segmenter, folder=folder, bar=bar, executor=executor, left_out=sources.left_out,
            in_folders=gets_folders(dst),
        )  # fmt: skip
        batch.recall()
        pool = stack.enter_context(ThreadPoolExecutor(request.execution.workers))
        futures = [pool.submit(batch.work, source, places[source]) for source in sources]
        try:
            for future in futures:
                future.result()
        except BaseException as error:
            batch.stop.set()
            if executor is not None:
                executor.close()
            pool.shutdown(wait=True, cancel_futures=True)
            done = sum(batch.scenes.get(source, {}).get("status") in ("done", "before") for source in sources)
            if request.execution.resume and done:
                error.add_note(f"The same command goes on from here: {done:,} of {len(sources):,} scenes are done.")
            raise
    scenes = tuple(batch.scenes[source] for source in sources)
    notes = batch.tally.lines(len(sources), what="scenes")
    console.notes(notes)
    return BatchReport(
        file=folder / BATCH,
        scenes=scenes,
        seconds=round(time.perf_counter() - began, 3),
        notes=notes,
        left_out=tuple(sources.left_out),
    )
