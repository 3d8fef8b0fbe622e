"""Measure a model: RemoteCLIP's suite and RS-TransCLIP's transduction on images or stored embeddings, sentences that
point, and segmentation of the published sets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter

from earthwords.errors import SourceError, UsageError, did_you_mean
from earthwords.presets import DEFAULT_PRESET, load_preset
from earthwords.tasks._pointing import TASK
from earthwords.tasks._progress import Talk

if TYPE_CHECKING:
    from earthwords.data.scene_sets import SceneSet
    from earthwords.evaluation.report import Entry
    from earthwords.evaluation.suite import Options, Source

    Names: TypeAlias = str | Sequence[str]
else:
    Names = Sequence[str]  # what the command line shows

SEGMENTATION = "segmentation"
TASK_NAMES = ("zero-shot", "transductive", "linear-probe", "knn", "few-shot", "retrieval", "multi-label", "counting")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured."""

    out: Path
    entries: tuple[Entry, ...]
    """Of the tasks asked for, in their order."""
    reused: int
    """How many were found done."""
    left_out: tuple[str, ...]
    """Why a task was not measured on a set, where several were asked for."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        results = [asdict(entry) for entry in self.entries]
        return {"out": str(self.out), "results": results, "reused": self.reused, "left_out": list(self.left_out)}

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        rows = []
        for entry in self.entries:
            told = "; ".join(f"{name} {value}" for name, value in entry.headline())
            rows.append([entry.dataset, entry.model, entry.task, told])
        reused = f" ({self.reused} found done)" if self.reused else ""
        return f"{len(rows)} results{reused}: {self.out}", ["data set", "model", "task", "figures"], rows


def evaluate(
    *what: str,
    out: Path,
    data: Path | None = None,
    embeddings: Path | None = None,
    preset: Annotated[Names, Parameter(show_default=False)] = (DEFAULT_PRESET,),
    model: str | None = None,
    split: Literal["train", "validation", "test", "all"] | None = None,
    templates: str | None = None,
    names: Path | None = None,
    ensemble: Literal["raw", "normalised"] = "raw",
    image_size: int | None = None,
    fit: Literal["crop", "square"] = "crop",
    bands: Annotated[str | None, Parameter(name=["--bands", "-b"])] = None,
    stretch: str = "auto",
    probe: Literal["logistic", "sgd"] = "logistic",
    select: Literal["validation", "test"] = "validation",
    neighbours: int = 20,
    numbers: Literal["words", "digits"] = "words",
    seed: int = 0,
    threshold: float | None = None,
    compare: Literal["attention", "upsampler", "bias", "templates", "backbone"] | None = None,
    backbones: str | None = None,
    most: int | None = None,
    examples: int = 3,
    workers: int = 1,
    cluster: str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    resume: bool = True,
    offline: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> Evaluation:
    """Measure a model on tasks and data sets, such as `evaluate zero-shot knn ucmerced21 --data ROOT --out DIR`.

    Writes report.html, results.json, results.md and plots; what is done with the same settings is not computed again.

    Parameters
    ----------
    what
        Tasks (zero-shot, transductive, linear-probe, knn, few-shot, retrieval, multi-label, counting) and names of data
        sets, in any order; without a data set: every one known in --data that a task fits. Or segmentation and sets of
        `earthwords data list`, without one: all in --data. Or referring and lists of described images (.jsonl), for a
        --preset or --model of `refer`.
    out
        Folder of report.html, results.json, results.md and the plots.
    data
        Folder of a data set, or of several: folders of images, one a class, or JSON records with sentences.
    embeddings
        Folder or file of stored embeddings instead of images and a model.
    preset
        Preset whose CLIP is measured, by default tiny; for segmentation the preset itself, repeat or separate by
        commas for several.
    model
        Other CLIP weights: name, Hugging Face id, folder or checkpoint file; one of several in --embeddings.
    split
        Images that are measured; by default the test split, or all where files tell no splits.
    templates
        Prompts around class names: a set's name or file; by default those RemoteCLIP uses for the data set.
    names
        JSON file with words for classes, {"folder": "words"}.
    ensemble
        Mean of the prompts' vectors as they are (raw, RemoteCLIP) or each of length 1 first (normalised).
    image_size
        Side of what the model sees, pixels; by default the model's own. For segmentation the longer side of an image
        before it is cut into windows, 0 for its own pixels; by default 448 for presets of papers on their sets.
    fit
        crop: the shorter side is resized, the middle square kept (CLIP); square: both sides are resized.
    bands
        Bands used as red, green, blue, such as 4,3,2.
    stretch
        auto (uint8 as it is, else 2-98 %), percentile, none, or LOW,HIGH.
    probe
        Linear probe: logistic (regression to its optimum) or sgd (RemoteCLIP's recipe).
    select
        What chooses a probe's settings: validation, or test as in RemoteCLIP's code (optimistic; the results say so).
    neighbours
        k of knn.
    numbers
        Counting with one ... ten, or 1 ... 10.
    seed
        Of validation images drawn, shots and random search.
    threshold
        Segmentation: the fixed threshold (0..1), beside the one tuned for the set; by default the preset's.
    compare
        Segmentation: exchange this part of each preset for all there are.
    backbones
        CLIP weights that --compare backbone goes through, commas between; by default those that are here.
    most
        Segmentation: so many images of each set, evenly drawn, for a look.
    examples
        Segmentation: pictures of so many of the best, median and worst images.
    workers
        Segmentation: processes that share the images, on this machine or in the cluster.
    cluster
        Segmentation: address of a Ray cluster (auto, ray://HOST:PORT, or local); needs earthwords[cluster].
    batch_size
        Images encoded at once (64); for segmentation windows, see `segment`.
    device
        auto, cpu, cuda, mps.
    resume
        Keep what is done; --no-resume computes everything again.
    offline
        Never use the network.
    quiet
        No progress, no notices.
    """
    presets = _split(preset)
    if SEGMENTATION in what:
        return _segmentation(
            what, out, Talk(quiet=quiet), data, presets, embeddings=embeddings, threshold=threshold,
            templates=templates, model=model, image_size=image_size, bands=bands, stretch=stretch, compare=compare,
            backbones=_split(backbones or ""), most=most, examples=examples, batch=batch_size, device=device,
            workers=workers, cluster=cluster, resume=resume, offline=offline,
        )  # fmt: skip
    others = {"threshold": threshold, "compare": compare, "backbones": backbones, "most": most, "cluster": cluster}
    foreign = next((name for name, value in others.items() if value is not None), "workers" if workers != 1 else None)
    if foreign is not None:
        raise UsageError(f"--{foreign} is for {SEGMENTATION}: earthwords evaluate {SEGMENTATION} SET --data ROOT.")
    if len(presets) != 1:
        raise UsageError(f"{len(presets)} presets were given; only {SEGMENTATION} takes several.")
    batch_size = 64 if batch_size is None else batch_size
    if TASK in what:
        return _referring(
            what, out, talk=Talk(quiet=quiet), preset=presets[0], model=model, batch=batch_size, device=device,
            offline=offline, resume=resume,
        )  # fmt: skip
    tasks, sets = _sorted_out(what)
    if (data is None) == (embeddings is None):
        raise UsageError("Give either --data ROOT (images) or --embeddings FOLDER, one of them.")
    if neighbours < 1 or batch_size < 1:
        raise UsageError(f"--neighbours and --batch-size must be at least 1, got {neighbours} and {batch_size}.")
    scenes = [] if data is None else _find(Path(data), sets, _names(names))
    stored = None if embeddings is None else _stored(Path(embeddings), sets, model)

    from earthwords.evaluation.suite import Options

    talk = Talk(quiet=quiet)
    options = Options(
        split=split, ensemble=ensemble, probe=probe, select=select, seed=seed, neighbours=neighbours, numbers=numbers
    )
    if stored is not None:
        return _run(stored, len(stored), tasks, options, Path(out), resume, talk)
    from earthwords.tasks._pictures import pictures
    from earthwords.tasks.segment import split_bands

    sources = pictures(
        scenes, talk, model=model or load_preset(presets[0]).weights, templates=templates, side=image_size, fit=fit,
        bands=split_bands(bands), stretch=stretch, batch=batch_size, device=device, offline=offline,
    )  # fmt: skip
    return _run(sources, len(scenes), tasks, options, Path(out), resume, talk)


def _referring(what: Sequence[str], out: Path, *, preset: str, **options: Any) -> Evaluation:
    """`evaluate referring LIST...`: it is measured on lists, alone."""
    from earthwords.tasks._pointing import referring

    lists = [word for word in what if word != TASK]
    other = next((word for word in lists if word in TASK_NAMES), None)
    if other is not None:
        raise UsageError(f"{TASK} is measured on lists of described images, {other} on data sets: ask for one of them.")
    preset = "refseg-tiny" if preset == DEFAULT_PRESET else preset
    entries, reused = referring(lists, Path(out), preset=preset, **options)
    return Evaluation(out=Path(out), entries=entries, reused=reused, left_out=())


def _segmentation(
    what: Sequence[str],
    out: Path,
    talk: Talk,
    data: Path | None,
    presets: Sequence[str],
    *,
    embeddings: Path | None,
    bands: str | None,
    **options: Any,
) -> Evaluation:
    """`evaluate segmentation SET...`: presets on sets, alone."""
    sets = [word for word in what if word != SEGMENTATION]
    other = next((word for word in sets if word in (*TASK_NAMES, TASK)), None)
    if other is not None:
        raise UsageError(f"{SEGMENTATION} is measured on sets of its own, apart from {other}: ask for one of them.")
    if data is None or embeddings is not None:
        raise UsageError(f"{SEGMENTATION} needs images: give --data ROOT, a set or a folder of sets.")
    from earthwords.tasks._segmentation import Options, segmentation
    from earthwords.tasks.segment import split_bands

    numbers = split_bands(bands)
    chosen = Options(bands=None if numbers is None else tuple(numbers), **options)
    bench = segmentation(sets, Path(out), talk, data=Path(data), presets=presets, options=chosen)
    return Evaluation(out=Path(out), entries=tuple(bench.entries), reused=bench.reused, left_out=tuple(bench.left_out))


def _split(names: Names) -> tuple[str, ...]:
    """Names separated by commas, or several of those."""
    texts = [names] if isinstance(names, str) else names
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


def _run(
    sources: Iterable[Source],
    count: int,
    tasks: Sequence[str],
    options: Options,
    folder: Path,
    resume: bool,
    talk: Talk,
) -> Evaluation:
    """Every task on every source, each written down when done; of several, one that does not fit is left out."""
    from earthwords import __version__
    from earthwords.evaluation.page import PAGE
    from earthwords.evaluation.report import read_results, write_plots, write_results

    kept = {entry.key: entry for entry in read_results(folder)}
    done: list[Entry] = []
    left_out: list[str] = []
    reused = 0
    for source, task in ((source, task) for source in sources for task in tasks):
        try:
            entry, new = _entry(source, task, options, kept if resume else {}, talk)
        except UsageError as error:
            if count * len(tasks) == 1:
                raise
            left_out.append(f"{task} on {source.name}: {error}")
            talk.say(f"Left out: {left_out[-1]}")
            continue
        done.append(entry)
        reused += not new
        kept[entry.key] = entry
        if new:
            write_plots(folder, entry)
            write_results(folder, list(kept.values()), version=__version__)
    if not done:
        raise UsageError(left_out[0])
    if not (folder / PAGE).exists():
        write_results(folder, list(kept.values()), version=__version__)
    return Evaluation(out=folder, entries=tuple(done), reused=reused, left_out=tuple(left_out))


def _entry(source: Source, task: str, options: Options, kept: dict[Any, Entry], talk: Talk) -> tuple[Entry, bool]:
    """A task's result, and whether it was computed now."""
    from dataclasses import replace

    from earthwords import __version__
    from earthwords.evaluation.report import Entry
    from earthwords.evaluation.suite import TASKS

    row = TASKS[task]
    used = {name: getattr(options, name) for name in row.settings}
    settings = {**source.about, **{name: "default" if value is None else value for name, value in used.items()}}
    settings = json.loads(json.dumps({**settings, "data": source.fingerprint, "earthwords": __version__}))
    before = kept.get((source.name, source.model, task))
    if before is not None and before.settings == settings:
        return before, False
    began = time.perf_counter()
    talk.say(f"{task} on {source.name} with {source.model}")
    draws = len(options.shots) * options.seeds if task == "few-shot" else 0
    with talk.bar(task, draws, unit="probes") as tick:
        figures = row.run(source, replace(options, tick=tick))
    figures = json.loads(json.dumps(figures))
    return Entry(
        task=task, dataset=source.name, model=source.model, settings=settings, classes=row.classes(source),
        figures=figures, seconds=round(time.perf_counter() - began, 3),
    ), True  # fmt: skip


def _sorted_out(what: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tasks, and names of data sets."""
    tasks = list(dict.fromkeys(word for word in what if word in TASK_NAMES))
    if not tasks:
        wrong = next(iter(what), None)
        known = (*TASK_NAMES, TASK, SEGMENTATION)
        told = f" {wrong!r} is none; {did_you_mean(wrong, known)}" if wrong else f" {did_you_mean('', known)}"
        raise UsageError(f"Name a task to measure.{told}")
    return tasks, list(dict.fromkeys(word for word in what if word not in TASK_NAMES))


def _find(root: Path, sets: Sequence[str], names: dict[str, str]) -> list[SceneSet]:
    """The data sets named, or all there are."""
    from earthwords.data.scene_sets import find_scene_sets, is_scene_set, read_scene_set

    if not root.is_dir():
        raise UsageError(f"There is no folder {root}; --data is a data set, or a folder of data sets.")
    for name in sets:
        if not (root / name).is_dir():
            there = [each.name for each in sorted(root.iterdir()) if is_scene_set(each)]
            hint = did_you_mean(name, [*TASK_NAMES, *there])
            raise UsageError(f"{name!r} is no task, and no data set in {root}. {hint}")
    found = [root / name for name in sets] or find_scene_sets(root)
    if not found:
        raise UsageError(f"{root} holds no data set: folders of images, one a class, or a JSON of records.")
    return [read_scene_set(folder, names=names) for folder in found]


def _stored(path: Path, sets: Sequence[str], model: str | None) -> Sequence[Source]:
    """Stored embeddings, of all models or the one named."""
    from earthwords.evaluation.embeddings import read_stored

    if sets:
        hint = did_you_mean(sets[0], TASK_NAMES)
        raise UsageError(f"{sets[0]!r} is no task. {hint} (--embeddings names the data set itself.)")
    found = read_stored(path)
    chosen = [each for each in found if model in (None, each.model)]
    if not chosen:
        raise UsageError(f"There is no {model!r} in {path}. {did_you_mean(str(model), [each.model for each in found])}")
    return chosen


def _names(path: Path | None) -> dict[str, str]:
    """Words for the folders of classes."""
    if path is None:
        return {}
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"Cannot read the class names in {path}: {error}.") from error
    if not isinstance(table, dict) or not all(isinstance(words, str) and words.strip() for words in table.values()):
        raise UsageError(f'{path} must be a JSON object such as {{"BareLand": "bare land"}}.')
    return table
