"""What is different between two dates, or more, by words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from earthwords.errors import UsageError
from earthwords.geo.sources.find import inputs_of
from earthwords.inference.change.dates.words import check_can_change
from earthwords.inference.change.mask_options import MaskOptions, clicks_of
from earthwords.inference.checks import (
    check_named,
    check_positive,
    check_raster,
    check_replaceable,
    sources_and_dst,
)
from earthwords.inference.options import (
    SegmenterSpec,
    check_limits,
    output_options,
    reach,
    scene_spec,
    sources_in,
    with_rivals,
    words_of,
)
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.inference.change.dates.report import ChangeReport
    from earthwords.inference.change.dates.sequence import SequenceReport
else:
    ChangeReport = SequenceReport = object  # it loads much, and a command line reads the annotations

USAGE = "earthwords change BEFORE AFTER DST -t WORDS."
Method = Literal["dense", "learned", "anychange", "dynamicearth-mci", "dynamicearth-imc"]
"""Those of `inference.change.methods`."""


@opt.documented
def change(
    *dates_and_dst: Annotated[str | Path, opt.option(opt.ARGUMENTS, name="BEFORE AFTER... DST")],
    out: opt.Out = None,
    text: opt.Text = (),
    classes: opt.Classes = None,
    against: opt.Against = None,
    threshold: Annotated[float | None, opt.option(opt.WORDS, metavar="SCORE")] = None,
    background: Annotated[str | None, opt.option(opt.WORDS, metavar="WORD")] = None,
    templates: opt.Templates = None,
    method: Annotated[Method | None, opt.MODEL] = None,
    network: Annotated[Path | None, opt.option(opt.MODEL, metavar="DIR")] = None,
    segmenter: Annotated[str | None, opt.option(opt.MODEL, metavar="WEIGHTS|regions")] = None,
    comparer: Annotated[str | None, opt.option(opt.MODEL, metavar="clip|dino|dinov2|WEIGHTS")] = None,
    theta: Annotated[float | Literal["auto"] | None, opt.option(opt.MODEL, metavar="DEGREES|auto")] = None,
    click: Annotated[tuple[str, ...], opt.option(opt.MODEL, metavar="X,Y")] = (),
    instances: Annotated[bool, opt.MODEL] = True,
    preset: opt.Preset = DEFAULT_PRESET,
    model: opt.Model = None,
    upsampler: opt.OtherUpsampler = None,
    upsampler_weights: opt.UpsamplerWeights = None,
    scales: Annotated[int, opt.option(opt.MODEL, metavar="N")] = 2,
    align: Annotated[bool, opt.option(opt.READING, negative="")] = False,
    search: Annotated[float, opt.option(opt.READING, metavar="PIXELS")] = 64.0,
    match_histogram: Annotated[bool, opt.option(opt.READING, negative="")] = False,
    bands: opt.Bands = None,
    bands_after: Annotated[opt.Rgb | None, opt.option(opt.READING, metavar="R,G,B")] = None,
    gsd: opt.Gsd = None,
    bounds: opt.Bounds = None,
    aoi: opt.Aoi = None,
    asset: opt.Asset = None,
    item: opt.Item = None,
    nodata: opt.Nodata = None,
    mask: opt.Mask = None,
    stretch: opt.Stretch = "auto",
    allow_remote_parts: opt.AllowRemoteParts = False,
    on_error: opt.OnError = "stop",
    tile_size: opt.TileSize = None,
    overlap: opt.Overlap = None,
    batch_size: opt.BatchSize = None,
    min_area: opt.MinArea = 0.0,
    simplify: opt.Simplify = 0.0,
    co: opt.Co = (),
    overwrite: opt.Overwrite = False,
    device: opt.Device = "auto",
    memory: opt.Memory = "2GiB",
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    resume: opt.Resume = True,
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
    verbose: opt.Verbose = False,
) -> ChangeReport | SequenceReport:
    """Compare two dates by words: from which class to which, where and how much.

    The dates may have other CRSs, extents and pixels: the result lies on the pixels of BEFORE, where both dates show
    something. A run that was killed goes on where it stopped when the same command is given again.

    Args:
        dates_and_dst: BEFORE and AFTER, rasters by path, URL or /vsi path, and last DST. DST: .tif: map of changes
            (COG with colour table); .gpkg .geojson .fgb .parquet .shp .pmtiles: polygons; .png: picture; .html: page
            with a map; a folder or no suffix: change.tif, changes.gpkg, their styles (.qml), preview.png and
            report.json. More than two dates are compared each with the next one, into a folder of DST for each pair,
            with a table changes.json.
        threshold: Least score (0..1) of a changed pixel; default: the method's.
        background: Class that takes what fits no other; default: a class named background, if any.
        method: How the dates are compared: dense (the difference of what the words say of every pixel; default),
            learned (by --network), or mask by mask: anychange (SAM's masks that changed in SAM's features),
            dynamicearth-mci (masks whose features turned and that words call something else), dynamicearth-imc (things
            that one of the dates lacks).
        network: Folder of `train change`: where something changed is what it learned, from what to what the words say.
        segmenter: Who draws the masks: weights of SAM or SAM 2.1 (sam-vit-b), or regions, which need none: connected
            regions of what the words say.
        comparer: What masks are compared by: clip (the preset's own), dino, dinov2 (default), or weights of one.
        theta: Angle that decides; a mask changed if its features turned by more than 180 - DEGREES. Default: 145, with
            clip 160. auto: Otsu's threshold of the change of all pixels, one for both dates.
        click: anychange: a place on a thing of AFTER, in BEFORE's CRS (pixels without one); only things like it are
            compared. X,Y,before for one of BEFORE; repeat for more.
        instances: dynamicearth-mci keeps masks only of a class that was asked for at their own date; --no-instances for
            classes without single things, such as grass.
        scales: Resolutions at which the words are asked, each twice as fine as the one before and four times as slow,
            none finer than what the model learned. The methods by masks ask once.
        align: Take the shift of AFTER against BEFORE out, which is estimated and told in any case.
        search: Largest shift that is believed, pixels of BEFORE.
        match_histogram: Give AFTER the histogram of BEFORE, band by band.
        bands_after: Bands of AFTER, if they are others than those of BEFORE; as --bands.

    Returns:
        What changed, class by class, and what was written.

    Raises:
        UsageError: an option is wrong, a single class has nothing to change into, an output exists, both dates are the
            same file, or `strict` and something makes the map worth less.
        SourceError: a raster cannot be read, or the dates have no ground in common.
        OutputError: an output cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> report = earthwords.change("2019.tif", "2024.tif", "out", text=["building,roof,house"])
        >>> report.classes[0].gained
    """
    named = sources_in(dates_and_dst, asset, item, offline, allow_remote_parts)
    (dates, dst), console = _named(named, out, overwrite=overwrite), Console(quiet=quiet, verbose=verbose)
    model_spec = SegmenterSpec.of(
        preset, model=model, upsampler=upsampler, upsampler_weights=upsampler_weights, templates=templates,
        tile_size=tile_size, overlap=overlap, batch=batch_size, device=device, offline=offline,
    )  # fmt: skip
    check_limits(0.5 if threshold is None else threshold, batch_size, memory, workers, co, aoi=aoi)
    check_positive(search=search, scales=scales)
    row, method = model_spec.row, _method(method, network)
    by_masks = _masks(method, click, segmenter=segmenter, comparer=comparer, theta=theta, instances=instances)
    words = check_can_change(with_rivals(words_of(row, text, classes, background, model=model), against, mask))
    from earthwords.inference.change.dates.request import ChangeRequest
    from earthwords.inference.change.dates.run import ChangeRun
    from earthwords.inference.change.dates.sequence import compare_all
    from earthwords.inference.execution import ExecutionOptions

    how, seen = (gsd, bounds, nodata, stretch, mask, reach(offline, allow_remote_parts)), bands_after or bands
    request = ChangeRequest(
        spec=scene_spec(dates[0], bands, *how, row=row, aoi=aoi), vocabulary=words, method=method, threshold=threshold,
        after=scene_spec(dates[1], seen, None, None, *how[2:], row=row), by_masks=by_masks, align=align, scales=scales,
        match_histogram=match_histogram, search=search, network=None if network is None else str(network),
        options=output_options("no", min_area, simplify, co, overwrite), on_error=on_error, strict=strict,
    )  # fmt: skip
    inputs = inputs_of(dates, classes=classes, mask=mask, aoi=aoi, **model_spec.read)
    execution = ExecutionOptions.parse(memory=memory, workers=workers, cluster=cluster, resume=resume, offline=offline)
    run, load = ChangeRun(request=request, inputs=inputs, execution=execution), partial(model_spec.load, console)
    return compare_all(run, load, dates, dst, console)


def _masks(method: Method, click: Sequence[str], **parts: Any) -> MaskOptions:
    """How masks are made and compared, if `method` does that."""
    return MaskOptions(clicks=clicks_of(click), **parts).checked(method)


def _method(method: Method | None, network: Path | None) -> Method:
    """The method that is asked for; a network asks for its own.

    Raises:
        UsageError: the two do not fit together, or the network is none.
    """
    if network is None:
        if method == "learned":
            raise UsageError("The method learned needs --network FOLDER, which `train change` makes.")
        return method or "dense"
    if method not in (None, "learned"):
        raise UsageError(f"--network is for the method learned, not for {method}.")
    from earthwords.models.change.card import CARD

    if not (network / CARD).is_file():
        raise UsageError(f"{network} is not a network of `train change`: it has no {CARD}.")
    return "learned"


def _named(dates_and_dst: Sequence[str | Path], out: Path | None, *, overwrite: bool) -> tuple[list[str], Path]:
    """The dates and the destination, if all of them can be."""
    for path in dates_and_dst:
        check_named(path, what="A raster", instead="Segmenter.from_preset().predict(array, words)")
    dates, dst = sources_and_dst(dates_and_dst, out, usage=USAGE)
    if len(dates) < 2:
        raise UsageError(f"Name two dates and the destination: {USAGE}")
    for date in dates:
        check_raster(date)
    from earthwords.geo.destinations import CHANGES_TABLE, plan_changes

    if len(dates) == 2:
        plan_changes(dst, overwrite=overwrite)
    else:
        check_replaceable(dst / CHANGES_TABLE, overwrite=overwrite)
    return dates, dst
