"""How sure a map is: accuracy and area from a sample, with confidence intervals; and the sample itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from earthwords.errors import UsageError
from earthwords.evaluation.accuracy.allocation import RARE, Allocation, SampleSpec
from earthwords.files.atomic import check_local, exists
from earthwords.geo.destinations import EDITABLE, plan_assessment
from earthwords.inference.checks import check_file, check_path, check_raster
from earthwords.inference.options import check_aoi
from earthwords.jobs.progress import Console
from earthwords.presets import load_preset
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.evaluation.accuracy.assessment import Assessment
    from earthwords.evaluation.accuracy.drawing import SampleReport
else:
    Assessment = SampleReport = object  # they load much, and a command line reads the annotations


@opt.documented
def assess(
    map: Annotated[str | Path, opt.ARGUMENTS],
    *,
    truth: Annotated[str | Path | None, opt.option(opt.ARGUMENTS, metavar="POINTS|RASTER|POLYGONS")] = None,
    out: Annotated[Path | None, opt.option(opt.ARGUMENTS, name=["--out", "-o"], metavar="PATH")] = None,
    column: Annotated[str | None, opt.option(opt.WORDS, metavar="NAME")] = None,
    classes: Annotated[Path | None, opt.option(opt.WORDS, metavar="FILE")] = None,
    aoi: opt.Aoi = None,
    truth_classes: Annotated[Path | None, opt.option(opt.WORDS, metavar="FILE")] = None,
    ignore: Annotated[Sequence[str], opt.option(opt.WORDS, metavar="CLASS", negative="", show_default=False)] = (),
    draw: Annotated[int | None, opt.option(opt.MEASURING, metavar="POINTS")] = None,
    standard_error: Annotated[float | None, opt.option(opt.MEASURING, metavar="SHARE")] = None,
    expected: Annotated[
        Sequence[str], opt.option(opt.MEASURING, metavar="[CLASS=]SHARE", negative="", show_default=False)
    ] = (),
    allocation: Annotated[Allocation, opt.MEASURING] = "olofsson",
    rare: Annotated[int, opt.option(opt.MEASURING, metavar="POINTS")] = RARE,
    seed: Annotated[int, opt.option(opt.MEASURING, metavar="N")] = 0,
    probabilities: Annotated[Path | None, opt.option(opt.MEASURING, metavar="FILE")] = None,
    calibrate: Annotated[Path | None, opt.option(opt.OUTPUTS, metavar="FILE.toml")] = None,
    preset: Annotated[str | None, opt.option(opt.MODEL, metavar="NAME|FILE")] = None,
    chips: Annotated[str | None, opt.option(opt.OUTPUTS, metavar="IMAGE")] = None,
    chip_size: Annotated[int, opt.option(opt.OUTPUTS, metavar="PIXELS")] = 128,
    overwrite: opt.Overwrite = False,
    strict: opt.Strict = False,
    quiet: opt.Quiet = False,
) -> Assessment | SampleReport:
    """Say how sure a map of classes is: accuracy and area of every class, with intervals of 95 %.

    First draw points by --draw, have a person fill in what is there, then give them as --truth. The estimators are
    those of Olofsson et al. (2014) and Stehman (2014). Any raster of classes is a map, also one of change; all is read
    from local files.

    Args:
        map: Raster of classes, such as labels.tif; or the folder that `segment` wrote.
        truth: Points with a column of classes, in any vector file and CRS; or a raster of classes, or polygons, within
            which every pixel is counted.
        out: With --truth: .json report, .csv, .png chart, or a folder for all of them; with --draw: .gpkg .geojson .fgb
            .parquet, the points.
        column: Column of the truth that holds the class; default: class, label, name, ...
        aoi: Polygons of any vector file and CRS: only what lies inside counts, or is drawn.
        classes: Names of the values of the map: a text file, one class a line from value 0, commas between synonyms; or
            JSON such as {"1": "ship,boat"}. Default: as the raster tells.
        truth_classes: The same for a raster as truth.
        ignore: Class of the truth that does not count, such as cloud; repeat for more.
        draw: Draw so many points instead, at random within each class of the map.
        standard_error: Draw as many as the overall accuracy needs for this standard error, such as 0.02.
        expected: User's accuracy to reckon with for that, 0.8 for all, or road=0.6 for a class; repeat for more.
        allocation: Points of a class: olofsson (at least --rare, the rest by area), proportional (by area), or equal.
        rare: Points that a rare class gets at least by olofsson, as far as half of all points reach.
        seed: Of points that are drawn and of the halves that are calibrated on.
        probabilities: Probabilities of the map, a band a class; default: those beside it, if any.
        calibrate: Write a preset with the scale and the thresholds that make these probabilities true.
        preset: What that preset begins from; default: the one that the map was made with.
        chips: Image to cut a picture around each drawn point from, into a folder beside the points.
        chip_size: Side of these, pixels of the image.

    Returns:
        The assessment, or what was drawn.

    Raises:
        UsageError: a wrong option, no truth that fits the map, or an output exists.
        SourceError: the map, the truth or the image cannot be read.
        OutputError: an output cannot be written.

    Example:
        >>> drawn = earthwords.assess("out/labels.tif", draw=100, out="points.gpkg")
        >>> found = earthwords.assess("out/labels.tif", truth="out/labels.tif")
        >>> found.areas
    """
    console = Console(quiet=quiet)
    drawing = draw is not None or standard_error is not None
    if drawing == (truth is not None):
        raise UsageError("Give either --truth FILE, or --draw POINTS and fill in what is there.")
    if not os.path.isdir(check_path(map, what="The map")):
        check_raster(map)
    if classes is not None:
        check_file(classes, what="a file with names of classes")
    if drawing:
        others = {"column": column, "truth-classes": truth_classes, "ignore": list(ignore) or None,
                  "probabilities": probabilities, "calibrate": calibrate, "preset": preset}  # fmt: skip
        _refuse(others, "--truth")
        spec = SampleSpec(
            points=draw, standard_error=standard_error, expected=tuple(expected), allocation=allocation, rare=rare,
            seed=seed,
        )  # fmt: skip
        place = _points_file(out, overwrite=overwrite)
        if chips is not None:
            check_raster(chips)
        if not 8 <= chip_size <= 4096:
            raise UsageError(f"--chip-size is 8 to 4,096 pixels, got {chip_size}.")
        check_aoi(aoi)
        from earthwords.evaluation.accuracy.draw_run import draw_sample

        return draw_sample(
            map, place, spec, console, classes=classes, aoi=aoi, chips=chips, side=chip_size, overwrite=overwrite,
            strict=strict,
        )  # fmt: skip
    _refuse({"expected": list(expected) or None, "chips": chips}, "--draw")
    check_raster(check_path(truth, what="The truth"))
    read = {"--classes": classes, "--truth-classes": truth_classes, "--probabilities": probabilities}
    for name, path in read.items():
        if path is not None:
            check_file(path, what=f"a file for {name}")
    check_aoi(aoi)
    if out is not None:
        plan_assessment(Path(out), reliability=False, overwrite=overwrite)
    if calibrate is not None:
        _check_preset_file(Path(calibrate), overwrite=overwrite)
    base = None if preset is None else load_preset(preset)
    from earthwords.evaluation.accuracy.run import CalibrationOptions, assess_map

    calibration = CalibrationOptions(
        probabilities=probabilities, out=calibrate, preset=preset, row=base, seed=seed, overwrite=overwrite
    )
    return assess_map(
        map, str(truth), console, column=column, classes=classes, aoi=aoi, truth_classes=truth_classes,
        ignored=tuple(ignore), calibration=calibration, out=out, overwrite=overwrite, strict=strict,
    )  # fmt: skip


def _refuse(options: Mapping[str, object], owner: str) -> None:
    """Raises `UsageError` for an option that is given and belongs to the other half of the verb."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"--{name} goes with {owner}; leave it out, or give that.")


def _points_file(out: Path | None, *, overwrite: bool) -> Path:
    """Where points go.

    Raises:
        UsageError: nowhere, to no kind of file for points, or the file exists.
    """
    if out is None:
        raise UsageError("Name the file for the points: --out points.gpkg.")
    place = Path(out)
    check_local(out)
    if place.suffix.lower() not in EDITABLE:
        raise UsageError(f"Points go into one file, {', '.join(EDITABLE)}, not to {place.name}.")
    if os.path.lexists(place) and not overwrite:
        raise exists(place)
    return place


def _check_preset_file(path: Path, *, overwrite: bool) -> None:
    check_local(path)
    if path.suffix.lower() != ".toml":
        raise UsageError(f"--calibrate writes a preset, a file that ends in .toml, not {path.name}.")
    if os.path.lexists(path) and not overwrite:
        raise exists(path)
