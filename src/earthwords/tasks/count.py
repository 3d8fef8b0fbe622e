"""How many things there are in a georeferenced raster, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from earthwords.geo.destinations import plan_counts
from earthwords.geo.sources.find import inputs_of
from earthwords.inference.instances.options import counting_of
from earthwords.inference.options import (
    SegmenterSpec,
    check_limits,
    counted_words,
    output_options,
    reach,
    scene_spec,
    source_of,
    sources_of,
)
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.inference.instances.report import CountReport
    from earthwords.reports import BatchReport

    Expected = Sequence[str] | Mapping[str, int]
else:
    Expected = Sequence[str]  # what the command line takes
    CountReport = BatchReport = object  # they load much, and a command line reads the annotations

Method = Literal["regions", "peaks", "instructsam"]
Shapes = Literal["polygons", "boxes", "points"]
Split = Literal["distance", "probability", "none"]


@opt.documented
def count(
    src: opt.Src,
    dst: opt.Dst,
    *,
    text: opt.Text = (),
    classes: opt.Classes = None,
    against: Annotated[str, opt.option(opt.WORDS, metavar="auto|WORDS")] = "auto",
    threshold: opt.Threshold = None,
    templates: opt.Templates = None,
    expect: Annotated[Expected, opt.option(opt.WORDS, metavar="CLASS=NUMBER", show_default=False)] = (),
    counts_from: Annotated[str | None, opt.option(opt.WORDS, metavar="URL")] = None,
    counts_model: Annotated[str | None, opt.option(opt.WORDS, metavar="NAME")] = None,
    method: Annotated[Method, opt.MODEL] = "regions",
    split: Annotated[Split, opt.MODEL] = "distance",
    distance: Annotated[float | None, opt.option(opt.MODEL, metavar="METRES")] = None,
    masks: Annotated[str | None, opt.option(opt.MODEL, metavar="NAME|ID|PATH")] = None,
    preset: opt.Preset = DEFAULT_PRESET,
    model: opt.Model = None,
    upsampler: opt.OtherUpsampler = None,
    upsampler_weights: opt.UpsamplerWeights = None,
    bands: opt.Bands = None,
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
    shapes: Annotated[Shapes | None, opt.option(opt.OUTPUTS, name="--as")] = None,
    zones: opt.Zones = None,
    min_area: Annotated[float | None, opt.option(opt.OUTPUTS, metavar="M2")] = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = "auto",
    memory: opt.Memory = "2GiB",
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    resume: opt.Resume = True,
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> CountReport | BatchReport:
    """Count the things of a raster by words, or of many rasters: where each is, and how many there are.

    A thing is counted once, however the scene is cut into blocks. A run that was killed goes on where it stopped when
    the same command is given again.

    Args:
        dst: .gpkg .geojson .fgb .parquet .shp .pmtiles: instances; .png: picture; .html: page with a map; a
            folder or no suffix: instances.gpkg, its style (.qml), preview.png and report.json. For many scenes a
            folder, or a pattern such as found/{stem}.gpkg.
        against: Words that compete with what is counted: auto (what most scenes consist of, and other things), words
            with commas between, or none.
        expect: How many there are of a class, such as ship=12 (in Python also {"ship": 12}); repeat for more classes:
            the surest are taken, as many as that.
        counts_from: Address of a server that speaks as OpenAI's do, such as http://localhost:8000/v1: a picture of the
            scene is sent to it and it says how many there are. A key is read from EARTHWORDS_API_KEY.
        counts_model: Name of the model there.
        method: regions (connected pixels of a class), peaks (of its probability, for things without a shape), or
            instructsam (masks of everything, each compared with the words).
        split: What cuts regions apart that touch: the distance to their outline, the probability, or nothing.
        distance: Least distance of peaks; default: the ground that the model sees as one.
        shapes: What the file holds: polygons, boxes or points; default: polygons, of peaks points.
        masks: Weights of SAM or SAM 2.1 for instructsam: a name, a Hugging Face id or a folder; default:
            sam2.1-hiera-large.
        min_area: Smallest region counted, m2 (pixels without a CRS); default: a tenth of what the model sees as one.

    Returns:
        The number of every class and where it was written; of many scenes what became of each.

    Raises:
        UsageError: an option is wrong, an output exists, no zone touches the scene, or `strict` and something makes the
            count worth less.
        SourceError: the raster or the zones cannot be read, or there is no valid pixel.
        OutputError: an output cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> report = earthwords.count("harbour.tif", "ships", text=["ship,boat"])
        >>> report.counts["ship"]
    """
    src = source_of(src, asset, item, offline, allow_remote_parts)
    console = Console(quiet=quiet)
    model_spec = SegmenterSpec.of(
        preset, model=model, upsampler=upsampler, upsampler_weights=upsampler_weights, templates=templates,
        tile_size=tile_size, overlap=overlap, batch=batch_size, device=device, offline=offline,
    )  # fmt: skip
    dst, row, network = Path(dst), model_spec.row, reach(offline, allow_remote_parts)
    check_limits(model_spec.threshold(threshold), batch_size, memory, workers, (), zones=zones, aoi=aoi)
    words, counted = counted_words(row, text, classes, against, mask, model=model)
    counting = counting_of(
        words, counted, expect=expect, counts_from=counts_from, counts_model=counts_model, offline=offline,
        method=method, split=split, distance=distance, min_area=min_area, shapes=shapes or "", masks=masks or "",
    )  # fmt: skip
    plan = partial(plan_counts, dst, zones=zones is not None)
    sources = sources_of(src, dst, console, overwrite=overwrite, plan=plan)
    from earthwords.inference.execution import ExecutionOptions
    from earthwords.inference.instances.request import CountRequest
    from earthwords.inference.instances.run import CountRun, count_all

    spec = scene_spec(src, bands, gsd, bounds, nodata, stretch, mask, network, row=row, aoi=aoi)
    request = CountRequest(
        vocabulary=words, spec=spec, strict=strict, options=output_options(counting.kept, 0.0, 0.0, (), overwrite),
        threshold=threshold, on_error=on_error, counting=counting, zones=None if zones is None else str(zones),
    )  # fmt: skip
    request.check(preset=row, batch=batch_size)
    inputs = inputs_of(
        sources or [str(src)], lists=[str(src)], classes=classes, mask=mask, zones=zones, aoi=aoi, masks=masks,
        **model_spec.read,
    )  # fmt: skip
    execution = ExecutionOptions.parse(memory=memory, workers=workers, cluster=cluster, resume=resume, offline=offline)
    run, load = CountRun(request=request, inputs=inputs, execution=execution), partial(model_spec.load, console)
    return count_all(run, load, str(src), sources, dst, console)
