"""Open-vocabulary segmentation of a georeferenced raster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from earthwords.errors import UsageError
from earthwords.inference.checks import check_mask, check_parts, check_raster
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET, Attention, SegmentPreset, load_preset
from earthwords.tasks import _options as opt
from earthwords.tasks._arrays import check_named

if TYPE_CHECKING:
    from earthwords.geo.scene import SceneSpec
    from earthwords.geo.sources.find import Sources
    from earthwords.geo.sources.network import Network
    from earthwords.inference.segment.segmenter import Segmenter
    from earthwords.inference.windows.outputs import OutputOptions
    from earthwords.types import BatchReport, SceneReport, Vocabulary
else:
    SceneReport = BatchReport = object  # they load much, and a command line reads the annotations

TINY_NOTICE = (
    "Using the embedded model 'tiny' (small, offline). For SegEarth-OV as published: --preset segearth-ov "
    "(downloads CLIP ViT-B/16, 600 MB, once)."
)

ARRAYS = "Segmenter.from_preset().predict(array, words)"
"""What takes arrays."""


@opt.documented
def segment(
    src: Annotated[str, opt.ARGUMENTS],
    dst: opt.Dst,
    *,
    text: opt.Text = (),
    classes: opt.Classes = None,
    against: opt.Against = None,
    threshold: opt.Threshold = None,
    background: Annotated[str | None, opt.option(opt.WORDS, metavar="WORD")] = None,
    templates: opt.Templates = None,
    preset: opt.Preset = DEFAULT_PRESET,
    model: opt.Model = None,
    attention: Annotated[Attention | None, opt.MODEL] = None,
    upsampler: Annotated[opt.Upsampler | None, opt.MODEL] = None,
    upsampler_weights: opt.UpsamplerWeights = None,
    energy: Annotated[float | None, opt.option(opt.MODEL, metavar="SHARE")] = None,
    bands: opt.Bands = None,
    gsd: opt.Gsd = None,
    bounds: opt.Bounds = None,
    nodata: opt.Nodata = None,
    mask: opt.Mask = None,
    stretch: opt.Stretch = "auto",
    allow_remote_parts: opt.AllowRemoteParts = False,
    on_error: opt.OnError = "stop",
    tile_size: opt.TileSize = None,
    overlap: opt.Overlap = None,
    blend_mode: opt.BlendMode = None,
    batch_size: opt.BatchSize = None,
    probabilities: opt.Probabilities = "no",
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
        src: Raster: a path, a URL or a /vsi path; anything GDAL reads. Or many: a folder, a quoted pattern such as
            "scenes/*.tif", or @FILE with one a line.
        dst: .tif: labels (COG with colour table); .gpkg .geojson .fgb .parquet: polygons; .png: picture; a folder
            or no suffix: labels.tif, polygons.gpkg, their styles (.qml), preview.png and report.json. For many
            scenes a folder, or a pattern such as maps/{stem}.gpkg.
        background: Class that takes the pixels below the threshold; default: a class named background, if any.
        attention: Other attention of the last block.
        upsampler: Other upsampler.
        energy: Share of the energy of a window's tokens that jbu and simfeatup keep; 1 is exact, 0.9999 faster.

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
    check_raster(src)
    console = Console(quiet=quiet, verbose=verbose)
    changes = {"attention": attention, "templates": templates, "tile_size": tile_size, "overlap": overlap}
    row = adapt_preset(load_preset(preset), upsampler=upsampler, blend=blend_mode, energy=energy, **changes)
    check_parts(row, model=model, upsampler_weights=upsampler_weights)
    check_limits(row.threshold if threshold is None else threshold, batch_size, memory, workers, co)
    words, network = make_vocabulary(text, classes, background), reach(offline, allow_remote_parts)
    sources = sources_of(src, Path(dst), console, probabilities=probabilities, overwrite=overwrite)
    words = _with_rivals(words, against, mask)
    from earthwords.geo.sources.find import inputs_of
    from earthwords.inference.batch import run_many
    from earthwords.inference.execution import ExecutionOptions
    from earthwords.inference.segment.request import SegmentRequest
    from earthwords.inference.segment.run import SegmentRun, segment_scene

    request = SegmentRequest(
        vocabulary=words,
        spec=scene_spec(src, bands, gsd, bounds, nodata, stretch, mask, network),
        options=_outputs(probabilities, min_area, simplify, co, overwrite),
        threshold=threshold,
        on_error=on_error,
        strict=strict,
    )
    request.check(preset=row, batch=batch_size)
    inputs = inputs_of(
        sources or [str(src)], row=row, lists=[str(src)], classes=classes, preset=preset, model=model,
        upsampler_weights=upsampler_weights, templates=templates, mask=mask,
    )  # fmt: skip
    execution = ExecutionOptions.parse(memory=memory, workers=workers, cluster=cluster, resume=resume, offline=offline)
    run = SegmentRun(request=request, inputs=inputs, execution=execution)

    def load() -> Segmenter:
        return load_segmenter(
            row, console, model=model, weights=upsampler_weights, device=device, batch=batch_size, offline=offline
        )

    if sources is not None:
        return run_many(run, sources, Path(dst), str(src), console, load, doing="segmenting")
    return segment_scene(run, load, str(src), Path(dst), console)


def reach(offline: bool, allow_remote_parts: bool) -> Network:
    """What may be reached, from options of those names."""
    from earthwords.geo.sources.network import Network

    return Network.allowed(offline=offline, allow_remote_parts=allow_remote_parts)


def scene_spec(
    src: Any,
    bands: opt.Bands,
    gsd: Any,
    bounds: Any,
    nodata: Any,
    stretch: str,
    mask: Any,
    network: Network,
    arrays: str = ARRAYS,
) -> SceneSpec:
    """How a scene is opened, from options of those names; `arrays` is the call that takes arrays instead."""
    from earthwords.geo.scene import SceneSpec

    check_named(src, what="A raster", instead=arrays)
    numbers = split_bands(bands)
    chosen = None if numbers is None else tuple(numbers)
    hidden = None if mask is None else str(check_named(mask, what="A mask", instead=arrays))
    where: dict[str, Any] = {"bands": chosen, "gsd": gsd, "bounds": bounds, "nodata": nodata, "stretch": stretch}
    return SceneSpec(source=str(src), **where, mask=hidden, **network.as_options())


def _outputs(probabilities: str, min_area: float, simplify: float, co: Sequence[str], overwrite: bool) -> OutputOptions:
    from earthwords.inference.windows.outputs import OutputOptions

    return OutputOptions(
        probabilities=probabilities,
        min_area=min_area,
        simplify=simplify,
        creation_options=creation_options(co),
        overwrite=overwrite,
    )


def _with_rivals(words: Vocabulary, against: opt.Against, mask: Any) -> Vocabulary:
    """The vocabulary with what competes; looks at the mask, too, as the last thing before anything heavy is loaded."""
    from earthwords.text.competing import compete

    check_mask(mask)
    return compete(words, against)


def sources_of(src: Any, dst: Path, console: Console, *, probabilities: str, overwrite: bool) -> Sources | None:
    """What SRC means, see `find_sources`; of a single one, DST is looked at too.

    Raises:
        UsageError, SourceError, OutputError: what is wrong, before anything heavy is loaded.
    """
    from earthwords.files.ownership import check_ours
    from earthwords.geo.destinations import plan_outputs
    from earthwords.geo.sources.find import find_sources, folder_of

    sources = find_sources(str(check_named(src, what="A raster", instead=ARRAYS)), say=console.say)
    if sources is not None and not overwrite:
        check_ours([folder_of(dst) / "batch.json"])
    if sources is None:
        check_raster(str(src))
        plan_outputs(dst, probabilities=probabilities != "no", overwrite=overwrite)
    return sources


def check_limits(threshold: float, batch: int | None, memory: str, workers: int, co: Sequence[str]) -> None:
    """Raises `UsageError` for numbers that cannot be, before anything heavy is loaded."""
    from earthwords.inference.limits import check_numbers, parse_memory

    check_numbers(threshold=threshold, batch=batch)
    parse_memory(memory)
    check_workers(workers)
    creation_options(co)


def check_workers(workers: int) -> None:
    """Raises `UsageError` for none."""
    if workers < 1:
        raise UsageError(f"At least one worker must do the work, got {workers}.")


def load_segmenter(
    row: SegmentPreset,
    console: Console,
    *,
    model: str | None,
    weights: str | None,
    device: str,
    batch: int | None,
    offline: bool,
) -> Segmenter:
    """A segmenter, with a word about the default and a bar over downloads; `weights` are the upsampler's."""
    from earthwords.inference.segment.segmenter import Segmenter

    if row.name == DEFAULT_PRESET and model is None:
        console.say(TINY_NOTICE)
    with console.download(f"loading {model or row.weights}") as report:
        segmenter = Segmenter.from_preset(
            row,
            model=model,
            upsampler_weights=weights,
            device=device,
            batch=batch,
            offline=offline,
            report=report,
        )
    console.notes(segmenter.notes)
    return segmenter


def make_vocabulary(text: Sequence[str], classes: Path | None, background: str | None) -> Vocabulary:
    """The classes from options or from a file, not both."""
    from earthwords.text.vocabulary import parse_classes, read_class_file

    if classes is not None and not isinstance(classes, (str, Path)):
        raise UsageError("`classes` is a file of classes (--classes); words are given by `text`.")
    if text and classes is not None:
        raise UsageError("Give the words either by -t or by --classes, not both.")
    if classes is not None:
        return read_class_file(classes, background=background)
    return parse_classes(text, background=background)


def adapt_preset(row: SegmentPreset, *, upsampler: str | None, **changes: Any) -> SegmentPreset:
    """A preset with the options that were given.

    Windows that were only resized overlap by half; another upsampler does not inherit the weights.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    if "tile_size" in given and "overlap" not in given:
        given["overlap"] = given["tile_size"] // 2
    if upsampler is not None and upsampler != row.upsampler:
        given |= {"upsampler": None if upsampler == "none" else upsampler, "upsampler_weights": None}
    return replace(row, **given)


def split_bands(bands: opt.Bands) -> list[int | str] | None:
    """`"4,3,2"` to numbers, names stay names; a list as it is."""
    from earthwords.geo.bands import as_items

    return None if bands is None else list(as_items(bands))


def creation_options(pairs: Sequence[str]) -> dict[str, str]:
    """`KEY=VAL` strings as a table."""
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"Creation option {pair!r} is not KEY=VAL, such as COMPRESS=ZSTD.")
    return {key.upper(): value for key, value in (pair.split("=", 1) for pair in pairs)}
