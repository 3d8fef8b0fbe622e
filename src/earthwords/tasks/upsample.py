"""Dense features of a raster at pixel resolution, or of many."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from earthwords.errors import UsageError
from earthwords.geo.destinations import plan_features
from earthwords.geo.sources.find import inputs_of
from earthwords.inference.checks import check_file, check_mask, check_parts
from earthwords.inference.options import (
    adapt_preset,
    check_aoi,
    check_workers,
    creation_options,
    loading,
    reach,
    scene_spec,
    source_of,
    sources_of,
)
from earthwords.jobs.progress import Console
from earthwords.presets import DEFAULT_PRESET, SegmentPreset, load_preset
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.inference.features.implicit import Fit
    from earthwords.inference.features.upsampler import Upsampler
    from earthwords.reports import BatchReport, FeatureReport
else:
    FeatureReport = BatchReport = object  # they load much, and a command line reads the annotations

ARRAYS = "Upsampler.from_preset().image(array)"
"""What takes arrays."""


@opt.documented
def upsample(
    src: opt.Src,
    dst: opt.Dst,
    *,
    method: Annotated[opt.Method | None, opt.MODEL] = None,
    preset: opt.Preset = DEFAULT_PRESET,
    model: opt.Model = None,
    features: Annotated[opt.Features | None, opt.MODEL] = None,
    upsampler_weights: opt.UpsamplerWeights = None,
    fit: Annotated[Literal["reduced", "full"], opt.MODEL] = "reduced",
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
    tile_size: opt.TileSize = None,
    overlap: opt.Overlap = None,
    blend_mode: opt.BlendMode = None,
    batch_size: opt.BatchSize = None,
    components: Annotated[int | Literal["all"], opt.option(opt.OUTPUTS, metavar="N|all", show_choices=False)] = 3,
    pca: Annotated[Path | None, opt.option(opt.OUTPUTS, metavar="FILE")] = None,
    co: opt.Co = (),
    overwrite: opt.Overwrite = False,
    on_error: opt.OnError = "stop",
    device: opt.Device = "auto",
    memory: Annotated[str, opt.option(opt.RUNNING, metavar="SIZE")] = "2GiB",
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    resume: opt.Resume = True,
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> FeatureReport | BatchReport:
    """Upsample the dense features of a raster to its pixels, or of many.

    The result lies exactly on the source's pixels: same CRS, transform and shape (or the part in `bounds`). A run that
    was killed goes on where it stopped when the same command is given again.

    Args:
        dst: .tif: a float32 band for every component (COG, NaN where nothing was observed), and the components beside
            it (.pca.safetensors); .png: image, tokens and upsampled features in the same colours; a folder or no
            suffix: features.tif, features.pca.safetensors, preview.png and report.json. For many scenes a folder, or a
            pattern such as features/{stem}.tif.
        method: Upsampler; featup-implicit fits a network to every window, for small scenes; default: the preset's
            upsampler, else bilinear.
        features: Which features: penultimate (tokens that enter the last block) or an attention of the last block;
            default: the preset's.
        fit: Settings of featup-implicit: reduced (for a CPU) or full (the paper's, for a GPU).
        components: Principal components that are written, estimated from tokens of the scene; 0 or all: every channel.
        pca: Components of another run (.pca.safetensors) instead of each scene's own, so that scenes can be compared.
        memory: Memory to work with, beside the loaded model, such as 2GiB; a scene that needs more is refused.

    Returns:
        What was written, with the variance that each component holds; of many scenes what became of each.

    Raises:
        UsageError: an option is wrong, an output exists, or the scene needs more memory than was given.
        SourceError: the raster cannot be read, or holds no valid pixel.
        OutputError: an output cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> report = earthwords.upsample("ortho.tif", "features.tif", method="jbu", components=8)
        >>> report.variance
    """
    src = source_of(src, asset, item, offline, allow_remote_parts)
    console, dst = Console(quiet=quiet), Path(dst)
    row = adapt_preset(load_preset(preset), upsampler=None, blend=blend_mode, tile_size=tile_size, overlap=overlap)
    check_parts(row, model=model, upsampler_weights=upsampler_weights)
    count, options = _count(components), creation_options(co)
    plan = partial(plan_features, dst, components=count is not None)
    sources = sources_of(src, dst, console, overwrite=overwrite, plan=plan, arrays=ARRAYS)
    _check(pca, batch_size, memory, workers)
    check_mask(mask)
    check_aoi(aoi)
    from earthwords.geo.geotiff import cog_options
    from earthwords.inference.batch import run_many
    from earthwords.inference.execution import ExecutionOptions
    from earthwords.inference.features.request import FeatureRequest
    from earthwords.inference.features.run import FeatureRun, upsample_scene
    from earthwords.inference.windows.failures import FailurePolicy
    from earthwords.models.weights.resolve import chosen_method

    chosen = chosen_method(row, method or _own_method(row, model, upsampler_weights, console))
    FailurePolicy(on_error=on_error)
    cog_options("float32", given=options)
    network = reach(offline, allow_remote_parts)
    request = FeatureRequest(
        spec=scene_spec(src, bands, gsd, bounds, nodata, stretch, mask, network, ARRAYS, aoi=aoi),
        components=count, pca=pca, creation_options=options, overwrite=overwrite, on_error=on_error, strict=strict,
    )  # fmt: skip
    inputs = inputs_of(
        sources or [str(src)], row=row, lists=[str(src)], pca=pca, preset=preset, model=model,
        upsampler_weights=upsampler_weights, mask=mask, aoi=aoi,
    )  # fmt: skip
    execution = ExecutionOptions.parse(memory=memory, workers=workers, cluster=cluster, resume=resume, offline=offline)
    run = FeatureRun(request=request, inputs=inputs, execution=execution)

    load = partial(
        _load, chosen, console, preset=row, model=model, features=features, upsampler_weights=upsampler_weights,
        fit=_fit(chosen, fit), device=device, batch=batch_size, offline=offline,
    )  # fmt: skip
    if sources is not None:
        return run_many(run, sources, dst, str(src), console, load, doing="upsampling")
    return upsample_scene(run, load, str(src), dst, console)


def _check(pca: Path | None, batch: int | None, memory: str, workers: int) -> None:
    """Say what is wrong before anything heavy is loaded."""
    from earthwords.inference.limits import check_batch, parse_memory

    check_batch(batch)
    if pca is not None:
        check_file(pca, what="the components of another run (.pca.safetensors)")
    parse_memory(memory)
    check_workers(workers)


def _load(method: str, console: Console, *, preset: SegmentPreset, model: str | None, **options: Any) -> Upsampler:
    """An upsampler, with a word about the default and a bar over downloads."""
    from earthwords.inference.features.upsampler import Upsampler

    with loading(preset, model, console) as report:
        return Upsampler.from_preset(method, preset=preset, model=model, report=report, **options)


def _fit(method: str, settings: str) -> Fit | None:
    """How a network is fitted to a window, where the method does that."""
    from earthwords.models.weights.resolve import IMPLICIT
    from earthwords.training.implicit_settings import implicit_fit

    return implicit_fit(settings) if method == IMPLICIT else None


def _own_method(row: SegmentPreset, model: str | None, upsampler_weights: str | None, console: Console) -> str:
    """The preset's upsampler where it fits the model, else bilinear."""
    from earthwords.models.weights.resolve import chosen_method, with_weights

    fitting, note = with_weights(row, model, upsampler_weights)
    if note is not None:
        console.notes([note])
    return chosen_method(fitting, None)


def _count(components: int | str) -> int | None:
    """How many components; None: all channels.

    Raises:
        UsageError: fewer than none.
    """
    if components in (0, "all"):
        return None
    if not isinstance(components, int) or components < 0:
        raise UsageError(f"The components are a number, or all, not {components!r}.")
    return components
