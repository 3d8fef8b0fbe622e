"""`evaluate scenes`: RemoteCLIP's suite and RS-TransCLIP's transduction, on images or stored embeddings."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from earthwords.errors import SourceError, UsageError, did_you_mean
from earthwords.evaluation.outcome import KINDS, METHODS, RESULTS, TASK_NAMES, Evaluation
from earthwords.files.paths import check_folder, similar
from earthwords.files.plaintext import read_text
from earthwords.files.reading import parse_json
from earthwords.geo.sources.find import check_apart
from earthwords.inference.checks import check_parts
from earthwords.jobs.progress import Console, going_on
from earthwords.presets import DEFAULT_PRESET, load_preset
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.data.classification.sets import SceneSet
    from earthwords.evaluation.results import ResultEntry
    from earthwords.evaluation.suite import Source, SuiteOptions

BENCHMARK_PROMPT = "remoteclip"
"""Of fewshot_RSVLMs: "a satellite photo of {}."."""


@opt.documented
def evaluate_scenes(
    *what: Annotated[str, opt.ARGUMENTS],
    out: opt.ResultsFolder,
    data: Annotated[Path | None, opt.option(opt.ARGUMENTS, metavar="FOLDER")] = None,
    embeddings: Annotated[Path | None, opt.option(opt.ARGUMENTS, metavar="PATH")] = None,
    templates: Annotated[str | None, opt.option(opt.WORDS, metavar="NAME|FILE")] = None,
    names: Annotated[Path | None, opt.option(opt.WORDS, metavar="FILE")] = None,
    ensemble: Annotated[Literal["raw", "normalised"], opt.WORDS] = "raw",
    numbers: Annotated[Literal["words", "digits"], opt.WORDS] = "words",
    preset: opt.Preset = DEFAULT_PRESET,
    model: Annotated[str | None, opt.option(opt.MODEL, metavar="NAME|ID|PATH")] = None,
    bands: opt.Bands = None,
    nodata: opt.Nodata = None,
    stretch: opt.Stretch = "auto",
    image_size: Annotated[int | None, opt.option(opt.READING, metavar="PIXELS")] = None,
    fit: Annotated[Literal["crop", "square"], opt.READING] = "crop",
    split: Annotated[Literal["train", "validation", "test", "all"] | None, opt.MEASURING] = None,
    probe: Annotated[Literal["logistic", "sgd"], opt.MEASURING] = "logistic",
    method: Annotated[Sequence[str], opt.several(opt.MEASURING, "NAME...", show_default=False)] = (),
    select: Annotated[Literal["validation", "test"], opt.MEASURING] = "validation",
    neighbours: Annotated[int, opt.option(opt.MEASURING, metavar="N")] = 20,
    seed: Annotated[int, opt.option(opt.MEASURING, metavar="N")] = 0,
    batch_size: Annotated[int, opt.option(opt.RUNNING, metavar="N")] = 64,
    device: opt.Device = "auto",
    resume: opt.ResumeMeasuring = True,
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Evaluation:
    """Measure a dual encoder on whole images: classification, retrieval, counting.

    Writes report.html, results.json, results.md and plots; what is done with the same settings is not computed again.

    Args:
        what: Tasks (zero-shot, transductive, linear-probe, knn, few-shot, retrieval, multi-label, counting) and names
            of data sets, in any order; without a data set: every one known in --data that a task fits.
        data: Folder of a data set, or of several: folders of images, one a class, or JSON records with sentences.
        embeddings: Folder or file of stored embeddings instead of images and a model.
        templates: Prompts around class names: a set's name or file; default: those RemoteCLIP uses for the data set.
        names: JSON file with words for classes, {"folder": "words"}.
        ensemble: Mean of the prompts' vectors as they are (raw, RemoteCLIP) or each of length 1 first (normalised).
        numbers: Counting with one ... ten, or 1 ... 10.
        model: Other CLIP weights: name, Hugging Face id, folder or checkpoint file; one of several in --embeddings.
        image_size: Side of what the model sees, pixels; default: the model's own.
        fit: crop: the shorter side is resized, the middle square kept (CLIP); square: both sides are resized.
        split: Images that are measured; default: the test split, or all where files tell no splits.
        probe: Linear probe: logistic (regression to its optimum) or sgd (RemoteCLIP's recipe).
        method: What few-shot learns with instead of a probe, one or more: prototypes, tip, tip-f, lp++, taskres,
            linear, coop, clip-lora (which needs --data and hours, or a GPU); then by the protocol of fewshot_RSVLMs (1
            to 16 shots, three draws; alone also with its prompt).
        select: What chooses settings: validation, or test as in RemoteCLIP's and Tip-Adapter-F's code (optimistic; the
            results say so).
        neighbours: k of knn.
        seed: Of validation images drawn, shots and random search.
        batch_size: Images encoded at once.

    Returns:
        Every figure, and what was left out.

    Raises:
        UsageError: an unknown task or data set, a wrong option, or a task that does not fit the only set.
        SourceError: images, records or embeddings are missing or damaged.
        OutputError: the folder cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> found = earthwords.evaluate_scenes("zero-shot", "knn", data="sets/ucmerced21", out="results")
        >>> found.entries[0].figures["top1"]
    """
    tasks, sets = _sorted_out(what)
    methods = _methods(method, tasks)
    if (data is None) == (embeddings is None):
        raise UsageError("Give either --data ROOT (images) or --embeddings FOLDER, one of them.")
    if neighbours < 1 or batch_size < 1:
        raise UsageError(f"--neighbours and --batch-size must be at least 1, got {neighbours} and {batch_size}.")
    read = {"--names": names, "--templates": templates, "--preset": preset, "--model": model}
    check_apart(out, RESULTS, read)
    row = load_preset(preset)
    if methods and templates is None and tasks == ["few-shot"]:
        templates = BENCHMARK_PROMPT
    if embeddings is None:
        check_parts(row if templates is None else replace(row, templates=templates), model=model)
    scenes = [] if data is None else _find(Path(data), sets, _names(names))
    stored = None if embeddings is None else _stored(Path(embeddings), sets, model)

    from earthwords.evaluation.suite import SuiteOptions

    console = Console(quiet=quiet)
    options = SuiteOptions(
        split=split, ensemble=ensemble, probe=probe, select=select, seed=seed, neighbours=neighbours, numbers=numbers
    )
    if stored is not None:
        return _run(stored, len(stored), _jobs(tasks, methods, options), Path(out), resume, console, strict=strict)
    from earthwords.evaluation.embed_sets import pictures
    from earthwords.inference.options import split_bands

    sources = pictures(
        scenes, console, model=model or row.weights, templates=templates, side=image_size, fit=fit,
        bands=split_bands(bands), nodata=nodata, stretch=stretch, batch=batch_size, device=device, offline=offline,
    )  # fmt: skip
    return _run(sources, len(scenes), _jobs(tasks, methods, options), Path(out), resume, console, strict=strict)


def _methods(names: Sequence[str], tasks: Sequence[str]) -> tuple[str, ...]:
    """What few-shot learns with, beside the probes."""
    for name in names:
        if name not in METHODS:
            raise UsageError(f"There is no few-shot method {name!r}. {did_you_mean(name, METHODS)}")
    if names and "few-shot" not in tasks:
        raise UsageError(f"--method says what few-shot learns with; {', '.join(tasks)} does not read it.")
    return tuple(dict.fromkeys(names))


def _jobs(tasks: Sequence[str], methods: Sequence[str], options: SuiteOptions) -> list[tuple[str, SuiteOptions]]:
    """Tasks with their options: few-shot once for every method."""
    from earthwords.evaluation.metrics.fewshot import BENCHMARK_SEEDS, BENCHMARK_SHOTS

    jobs = []
    for task in tasks:
        if task != "few-shot" or not methods:
            jobs.append((task, options))
            continue
        seed, draws = BENCHMARK_SEEDS[0], len(BENCHMARK_SEEDS)
        protocol = replace(options, shots=BENCHMARK_SHOTS, seed=seed, seeds=draws)
        jobs += [(task, replace(protocol, method=name)) for name in methods]
    return jobs


def _run(
    sources: Iterable[Source],
    count: int,
    tasks: Sequence[tuple[str, SuiteOptions]],
    folder: Path,
    resume: bool,
    console: Console,
    *,
    strict: bool,
) -> Evaluation:
    """Every task on every source, each written down when done; of several, one that does not fit is left out."""
    from earthwords import __version__
    from earthwords.evaluation.report.page import PAGE
    from earthwords.evaluation.report.write import write_plots, write_results
    from earthwords.evaluation.results import read_results
    from earthwords.inference.cautions import enforce

    kept = {entry.key: entry for entry in read_results(folder)}
    done: list[ResultEntry] = []
    left_out: list[str] = []
    notes: dict[str, None] = {}
    reused = 0
    everything = count * len(tasks)

    def going() -> str:
        return f"The same command goes on from here: {len(done)} of {everything} results." if resume and done else ""

    with going_on(going):
        for source, (task, options) in ((source, job) for source in sources for job in tasks):
            # heads know the words of the classes, as zero-shot does
            worth = _cautions(source, task if options.method is None else "zero-shot")
            notes |= dict.fromkeys(worth)
            console.notes(worth)
            enforce(worth, strict=strict)
            try:
                entry, new = _entry(source, task, options, kept if resume else {}, console)
            except UsageError as error:
                if everything == 1:
                    raise
                left_out.append(f"{task} on {source.name}: {error}")
                console.left_out(left_out[-1])
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
    return Evaluation(out=folder, entries=tuple(done), reused=reused, left_out=tuple(left_out), notes=tuple(notes))


def _cautions(source: Source, task: str) -> tuple[str, ...]:
    """What is known of the worth of a task's figures; nothing of a task that does not fit, which is told soon."""
    try:
        return source.notes(task)
    except UsageError:
        return ()


def _entry(
    source: Source, task: str, options: SuiteOptions, kept: dict[Any, ResultEntry], console: Console
) -> tuple[ResultEntry, bool]:
    """A task's result, and whether it was computed now."""
    from earthwords import __version__
    from earthwords.evaluation.results import ResultEntry
    from earthwords.evaluation.suite import TASKS

    row = TASKS[task]
    used = {name: getattr(options, name) for name in row.settings}
    model = source.model
    if options.method is not None:
        used = {**{name: value for name, value in used.items() if name != "probe"}, "method": options.method}
        model = f"{source.model}, {options.method}"
    settings = {**source.about, **{name: "default" if value is None else value for name, value in used.items()}}
    settings = json.loads(json.dumps({**settings, "data": source.fingerprint, "earthwords": __version__}))
    before = kept.get((source.name, model, task))
    if before is not None and before.settings == settings:
        return before, False
    began = time.perf_counter()
    console.say(f"{task} on {source.name} with {model}")
    draws = len(options.shots) * options.seeds if task == "few-shot" else 0
    with console.bar(task, draws, unit="probes") as tick:
        figures = row.run(source, replace(options, tick=tick))
    figures = json.loads(json.dumps(figures))
    return ResultEntry(
        task=task, dataset=source.name, model=model, settings=settings, classes=row.classes(source),
        figures=figures, seconds=round(time.perf_counter() - began, 3),
    ), True  # fmt: skip


def _sorted_out(what: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tasks, and names of data sets."""
    tasks = list(dict.fromkeys(word for word in what if word in TASK_NAMES))
    kind = next((word for word in what if word in KINDS), None)
    if kind is not None and tasks:
        raise UsageError(f"{kind} is measured apart from {tasks[0]}: earthwords evaluate {kind} --help.")
    if not tasks:
        wrong = next(iter(what), None)
        known = TASK_NAMES
        hint = f" {wrong!r} is none; {did_you_mean(wrong, known)}" if wrong else f" {did_you_mean('', known)}"
        raise UsageError(f"Name a task to measure.{hint}")
    return tasks, list(dict.fromkeys(word for word in what if word not in TASK_NAMES))


def _find(root: Path, sets: Sequence[str], names: dict[str, str]) -> list[SceneSet]:
    """The data sets named, or all there are."""
    from earthwords.data.classification.sets import find_scene_sets, is_scene_set, read_scene_set

    check_folder(root, what="a data set, or several (--data)")
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
    if not path.exists():
        raise UsageError(f"There are no embeddings at {path}. {similar(path, Path.exists)}")
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
        table = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise SourceError(f"Cannot read the class names in {path}: {error}.") from error
    if not isinstance(table, dict) or not all(isinstance(words, str) and words.strip() for words in table.values()):
        raise UsageError(f'{path} must be a JSON object such as {{"BareLand": "bare land"}}.')
    return table
