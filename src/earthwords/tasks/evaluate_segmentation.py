"""`evaluate segmentation`: presets, and what they are made of, on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from earthwords.errors import UsageError
from earthwords.evaluation.outcome import RESULTS, SEGMENTATION, Evaluation, check_alone
from earthwords.files.paths import check_folder
from earthwords.geo.sources.find import check_apart
from earthwords.inference.checks import check_parts
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET, load_preset
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.data.segmentation.loader import SegmentationSet

    Names: TypeAlias = str | Sequence[str]
else:
    Names = Sequence[str]  # what the command line shows


@opt.documented
def evaluate_segmentation(
    *sets: Annotated[str, opt.ARGUMENTS],
    out: opt.ResultsFolder,
    data: Annotated[Path | None, opt.option(opt.ARGUMENTS, metavar="FOLDER")] = None,
    classes: Annotated[Path | None, opt.option(opt.ARGUMENTS, metavar="FILE")] = None,
    split: Annotated[str | None, opt.option(opt.ARGUMENTS, metavar="NAME")] = None,
    threshold: Annotated[float | None, opt.option(opt.WORDS, metavar="PROBABILITY")] = None,
    templates: opt.Templates = None,
    preset: Annotated[Names, opt.option(opt.MODEL, metavar="NAME|FILE")] = (DEFAULT_PRESET,),
    model: opt.Model = None,
    bands: opt.Bands = None,
    nodata: opt.Nodata = None,
    stretch: opt.Stretch = "auto",
    image_size: Annotated[int | None, opt.option(opt.READING, metavar="PIXELS")] = None,
    compare: Annotated[Literal["attention", "upsampler", "bias", "templates", "backbone"] | None, opt.MEASURING] = None,
    backbones: Annotated[str | None, opt.option(opt.MEASURING, metavar="NAME,...")] = None,
    most: Annotated[int | None, opt.option(opt.MEASURING, metavar="N")] = None,
    examples: Annotated[int, opt.option(opt.OUTPUTS, metavar="N")] = 3,
    batch_size: opt.BatchSize = None,
    device: opt.Device = "auto",
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    resume: opt.ResumeMeasuring = True,
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> Evaluation:
    """Measure presets on labelled images: IoU of every class, mIoU, accuracy, edges.

    Writes report.html, results.json, results.md, pictures and plots; an image that is done with the same settings is
    not computed again.

    Args:
        sets: Names of `earthwords data list`; without one: all that are in --data. Or, with --classes, labelled folders
            of your own: images and masks of the same names, in images and masks or mmsegmentation's img_dir and
            ann_dir; a mask holds the number of a class, from 0, and 255 where a pixel does not count.
        data: Folder of a set, or of several, as `earthwords data prepare` makes them.
        classes: Classes of your own folders, one a line, commas between synonyms; the first line is class 0.
        split: Folder of img_dir and ann_dir that is measured, where there are several.
        threshold: The fixed threshold (0..1), beside the one tuned for the set; default: the preset's.
        preset: Presets to measure: names or TOML files; repeat, or separate by commas.
        image_size: Longer side of an image before it is cut into windows, 0 for its own pixels; default: 448 for
            presets of papers on their sets.
        compare: Exchange this part of each preset for all there are.
        backbones: CLIP weights that --compare backbone goes through, commas between; default: those that are here.
        most: So many images of each set, evenly drawn, for a look.
        examples: Pictures of so many of the best, median and worst images.

    Returns:
        The figures of every preset on every set, and what was left out.

    Raises:
        UsageError: an unknown set or preset, a wrong option, or no data.
        SourceError: an image or its labels are missing or damaged.
        OutputError: the folder cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> found = earthwords.evaluate_segmentation("loveda", data="sets", out="results", preset="tiny")
        >>> found.entries[0].figures["tuned"]["mIoU"]
        >>> earthwords.evaluate_segmentation("my-tiles", classes="classes.txt", out="results")
    """
    check_alone(SEGMENTATION, sets)
    from earthwords.inference.limits import check_numbers

    console = Console(quiet=quiet)
    for row in map(load_preset, _split(preset)):
        check_parts(row if templates is None else replace(row, templates=templates), model=model, maps=True)
    check_numbers(threshold=threshold or 0.0, batch=batch_size)
    for name, value, least in (("most", most, 1), ("image-size", image_size, 0), ("workers", workers, 1)):
        if value is not None and value < least:
            raise UsageError(f"--{name} must be at least {least}, got {value}.")
    presets = {f"the preset {name}": name for name in _split(preset)}
    check_apart(
        out, (*RESULTS, "times.json"), {"--classes": classes, "--templates": templates, "--model": model, **presets}
    )
    measured = _own(sets, classes, split, data, console) if classes is not None else _published(sets, data, split)
    from earthwords.evaluation.benchmark.segmentation import BenchmarkOptions, segmentation
    from earthwords.inference.options import split_bands

    numbers = split_bands(bands)
    chosen = BenchmarkOptions(
        bands=None if numbers is None else tuple(numbers), nodata=nodata, stretch=stretch, threshold=threshold,
        templates=templates, model=model, image_size=image_size, compare=compare, backbones=_split(backbones or ""),
        most=most, examples=examples, batch=batch_size, device=device, workers=workers, cluster=cluster,
        resume=resume, offline=offline, strict=strict,
    )  # fmt: skip
    bench = segmentation(measured, Path(out), console, presets=_split(preset), options=chosen)
    return Evaluation(out=Path(out), entries=tuple(bench.entries), reused=bench.reused, left_out=tuple(bench.left_out),
                      notes=tuple(bench.notes))  # fmt: skip


def _published(sets: Sequence[str], data: Path | None, split: str | None) -> list[SegmentationSet]:
    """Sets that have a row."""
    folder = next((name for name in sets if Path(name).is_dir()), None)
    if data is None and folder is not None:
        raise UsageError(f"{folder} is a folder of your own: say what its classes are by --classes FILE, one a line.")
    if data is None:
        raise UsageError(f"{SEGMENTATION} needs images: give --data ROOT, a set or a folder of sets.")
    if split is not None:
        raise UsageError("--split is for folders of your own, with --classes; sets have the part that is measured.")
    check_folder(Path(data), what="a data set, or several (--data)")
    from earthwords.data.segmentation.find import find_sets

    return find_sets(Path(data), sets)


def _own(
    folders: Sequence[str], classes: Path, split: str | None, data: Path | None, console: Console
) -> list[SegmentationSet]:
    """Labelled folders of the user's own, every mask of which has been looked at."""
    from earthwords.data.segmentation.own import check_own, own_set

    if not folders or data is not None:
        raise UsageError(
            "--classes is for folders of your own: earthwords evaluate segmentation FOLDER --classes FILE."
        )
    found = [own_set(Path(folder), Path(classes), split=split) for folder in folders]
    names = [each.spec.name for each in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"Two folders are called {twice!r}; measure one at a time, or rename one.")
    for each in found:
        check_own(each, lambda what, total: console.bar(what, total, unit="images"))
    return found


def _split(names: Names) -> tuple[str, ...]:
    """Names separated by commas, or several of those."""
    texts = [names] if isinstance(names, str) else names
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())
