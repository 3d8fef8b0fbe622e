"""Open-vocabulary segmentation of a georeferenced raster."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from earthwords.geo.destinations import plan_outputs
from earthwords.geo.sources.find import inputs_of
from earthwords.inference.limits import check_joint
from earthwords.inference.options import (
    SegmenterSpec,
    check_limits,
    output_options,
    reach,
    scene_spec,
    source_of,
    sources_of,
    with_rivals,
    words_of,
)
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET, Attention
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.reports import BatchReport, SceneReport
else:
    SceneReport = BatchReport = object  # they load much, and a command line reads the annotations


@opt.documented
def segment(
    src: opt.Src,
    dst: opt.Dst,
    *,
    text: opt.Text = (),
    classes: opt.Classes = None,
    against: opt.Against = None,
    threshold: opt.Threshold = None,
    background: opt.Background = None,
    templates: opt.Templates = None,
    preset: opt.Preset = DEFAULT_PRESET,
    model: opt.Model = None,
    attention: Annotated[Attention | None, opt.MODEL] = None,
    upsampler: opt.OtherUpsampler = None,
    upsampler_weights: opt.UpsamplerWeights = None,
    energy: Annotated[float | None, opt.option(opt.MODEL, metavar="SHARE")] = None,
    joint: Annotated[bool, opt.option(opt.MODEL, negative="")] = False,
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
    blend_mode: opt.BlendMode = None,
    precision: opt.Precision = None,
    batch_size: opt.BatchSize = None,
    probabilities: opt.Probabilities = "no",
    zones: opt.Zones = None,
    stac: opt.Stac = False,
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
) -> SceneReport | BatchReport:
    """Segment a georeferenced raster by words, or many.

    Labels lie exactly on the source's pixels: same CRS, transform and shape (or the part in `bounds`). A run that was
    killed goes on where it stopped when the same command is given again.

    Args:
        dst: .tif: labels (COG with colour table); .gpkg .geojson .fgb .parquet .shp .pmtiles: polygons; .png: picture;
            .html: page with a map; a folder or no suffix: labels.tif, polygons.gpkg, their styles (.qml), preview.png
            and report.json. For many scenes a folder, or a pattern such as maps/{stem}.gpkg.
        attention: Other attention of the last block.
        energy: Share of the energy of a window's tokens that jbu and simfeatup keep; 1 is exact, 0.9999 faster.
        joint: Let all tokens of a scene decide together (ConInfer): a mixture is fitted to them first, drawn to what
            the words say of each. Without an upsampler.

    Returns:
        What was found and written, class by class; of many scenes what became of each.

    Raises:
        UsageError: an option is wrong, an output exists, or `strict` and something makes the map worth less.
        SourceError: the raster cannot be read, or holds no valid pixel.
        OutputError: an output cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> report = earthwords.segment("ortho.tif", "out", text=["building,roof,house", "road"])
        >>> report.classes[0].area_m2
    """
    src = source_of(src, asset, item, offline, allow_remote_parts)
    console = Console(quiet=quiet, verbose=verbose)
    spec = SegmenterSpec.of(
        preset, model=model, attention=attention, upsampler=upsampler, upsampler_weights=upsampler_weights,
        energy=energy, templates=templates, tile_size=tile_size, overlap=overlap, blend=blend_mode,
        precision=precision, batch=batch_size, device=device, offline=offline, maps=True,
    )  # fmt: skip
    check_joint(spec.row, joint=joint, upsampler=upsampler)
    row, network = spec.row, reach(offline, allow_remote_parts)
    check_limits(spec.threshold(threshold), batch_size, memory, workers, co, zones=zones, aoi=aoi)
    words = words_of(row, text, classes, background, model=model)
    plan = partial(plan_outputs, Path(dst), probabilities=probabilities != "no", zones=zones is not None, stac=stac)
    sources = sources_of(src, Path(dst), console, overwrite=overwrite, plan=plan)
    words = with_rivals(words, row.rivals(against), mask)
    from earthwords.inference.execution import ExecutionOptions
    from earthwords.inference.segment.request import SegmentRequest
    from earthwords.inference.segment.run import SegmentRun, segment_all

    request = SegmentRequest(
        vocabulary=words, spec=scene_spec(src, bands, gsd, bounds, nodata, stretch, mask, network, row=row, aoi=aoi),
        options=output_options(probabilities, min_area, simplify, co, overwrite), threshold=threshold,
        on_error=on_error, joint=joint, strict=strict, zones=None if zones is None else str(zones), stac=stac,
    )  # fmt: skip
    request.check(preset=row, batch=batch_size)
    inputs = inputs_of(sources or [src], lists=[src], classes=classes, mask=mask, zones=zones, aoi=aoi, **spec.read)
    execution = ExecutionOptions.parse(memory=memory, workers=workers, cluster=cluster, resume=resume, offline=offline)
    run, load = SegmentRun(request=request, inputs=inputs, execution=execution), partial(spec.load, console)
    return segment_all(run, load, str(src), sources, Path(dst), console)
