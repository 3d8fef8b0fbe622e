"""Dense features of a raster at pixel resolution."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any, Literal

from earthwords.errors import UsageError
from earthwords.geo.sources.find import inputs_of
from earthwords.inference.checks import check_file, check_mask, check_named, check_parts, check_raster
from earthwords.inference.options import TINY_NOTICE, adapt_preset, creation_options, reach, scene_spec
from earthwords.jobs.progress import Bar, Console, duration
from earthwords.presets import DEFAULT_PRESET, SegmentPreset, load_preset
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.inference.features.implicit import Fit
    from earthwords.inference.features.job import FeatureJob
    from earthwords.types import FeatureReport
else:
    FeatureReport = object  # it loads much, and a command line reads the annotations

ARRAYS = "Upsampler.from_preset().image(array)"
"""What takes arrays."""


@opt.documented
def upsample(
    src: Annotated[str, opt.ARGUMENTS],
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
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> FeatureReport:
    """Upsample the dense features of a raster to its pixels.

    The result lies exactly on the source's pixels: same CRS, transform and shape (or the part in `bounds`).

    Args:
        src: Raster: a path, a URL or a /vsi path; anything GDAL reads.
        dst: .tif: a float32 band for every component (COG, NaN where nothing was observed), and the components beside
            it (.pca.safetensors); .png: image, tokens and upsampled features in the same colours; a folder or no
            suffix: features.tif, features.pca.safetensors, preview.png and report.json.
        method: Upsampler; featup-implicit fits a network to every window, for small scenes; default: the preset's
            upsampler, else bilinear.
        features: Which features: penultimate (tokens that enter the last block) or an attention of the last block;
            default: the preset's.
        fit: Settings of featup-implicit: reduced (for a CPU) or full (the paper's, for a GPU).
        components: Principal components that are written, estimated from tokens of the scene; 0 or all: every channel.
        pca: Components of another run (.pca.safetensors) instead of this scene's own, so that scenes can be compared.
        memory: Memory to work with, beside the loaded model, such as 2GiB; a scene that needs more is refused.

    Returns:
        What was written, with the variance that each component holds.

    Raises:
        UsageError: an option is wrong, an output exists, or the scene needs more memory than was given.
        SourceError: the raster cannot be read, or holds no valid pixel.
        OutputError: an output cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> report = earthwords.upsample("ortho.tif", "features.tif", method="jbu", components=8)
        >>> report.variance
    """
    began, console, dst, steps = time.perf_counter(), Console(quiet=quiet), Path(dst), _Steps()
    row = adapt_preset(load_preset(preset), upsampler=None, blend=blend_mode, tile_size=tile_size, overlap=overlap)
    check_parts(row, model=model, upsampler_weights=upsampler_weights)
    count, options = _count(components), creation_options(co)
    size = _check(src, dst, pca, batch_size, memory, components=count is not None, overwrite=overwrite)
    check_mask(mask)
    from earthwords.geo.destinations import plan_features
    from earthwords.geo.geotiff import cog_options
    from earthwords.inference.features.job import FeatureJob
    from earthwords.inference.features.upsampler import Upsampler
    from earthwords.inference.windows.failures import FailurePolicy
    from earthwords.models.weights.resolve import chosen_method

    chosen = chosen_method(row, method or _own_method(row, model, upsampler_weights, console))
    FailurePolicy(on_error=on_error)
    network = reach(offline, allow_remote_parts)
    cog_options("float32", given=options)
    read = inputs_of(
        [str(src)], row=row, pca=pca, preset=preset, model=model, upsampler_weights=upsampler_weights, mask=mask
    )
    outputs = plan_features(dst, components=count is not None, overwrite=overwrite, inputs=read)
    with scene_spec(src, bands, gsd, bounds, nodata, stretch, mask, network, ARRAYS).open() as opened:
        console.notes(opened.notes)
        if row.name == DEFAULT_PRESET and model is None:
            console.say(TINY_NOTICE)
        with console.download(f"loading {model or row.weights}") as report:
            upsampler = Upsampler.from_preset(
                chosen, preset=row, model=model, features=features, upsampler_weights=upsampler_weights,
                fit=_fit(chosen, fit, steps), device=device, batch=batch_size, offline=offline, report=report,
            )  # fmt: skip
        job = FeatureJob(
            upsampler=upsampler,
            scene=upsampler.at_working_gsd(opened) if gsd is None else opened,
            dst=dst,
            outputs=outputs,
            components=count,
            pca=pca,
            memory=size,
            on_error=on_error,
            creation_options=options,
            overwrite=overwrite,
            stop=steps.stop,
        )
        return _run(job, steps, console, loading_s=time.perf_counter() - began, strict=strict)


def _check(
    src: Any, dst: Path, pca: Path | None, batch: int | None, memory: str, *, components: bool, overwrite: bool
) -> int:
    """Say what is wrong before anything heavy is loaded; gives the memory, bytes."""
    from earthwords.geo.destinations import plan_features
    from earthwords.inference.limits import check_batch, parse_memory

    check_raster(str(check_named(src, what="A raster", instead=ARRAYS)))
    check_batch(batch)
    plan_features(dst, components=components, overwrite=overwrite)
    if pca is not None:
        check_file(pca, what="the components of another run (.pca.safetensors)")
    return parse_memory(memory)


@dataclass(kw_only=True)
class _Steps:
    """Where the steps of a fit are told: a bar, unless nobody wants the result any more."""

    bar: Bar = field(default_factory=Bar)
    stop: Event = field(default_factory=Event)

    def tell(self, share: float) -> None:
        """A share of a window is done."""
        from earthwords.jobs.threads import until

        until(self.stop, self.bar)(share)


def _fit(method: str, settings: str, steps: _Steps) -> Fit | None:
    """How a network is fitted to a window, where the method does that."""
    from earthwords.models.weights.resolve import IMPLICIT
    from earthwords.training.implicit_settings import implicit_fit

    return implicit_fit(settings, tick=steps.tell) if method == IMPLICIT else None


def _run(job: FeatureJob, steps: _Steps, console: Console, *, loading_s: float, strict: bool) -> FeatureReport:
    """The job with a bar and what there is to say."""
    from earthwords.inference.cautions import enforce
    from earthwords.inference.features.implicit import FittedUpsampler

    console.notes(job.notes)
    enforce(job.notes, strict=strict)
    job.check()
    fitted = isinstance(job.upsampler.module, FittedUpsampler)
    if fitted and job.windows > 1 and not console.quiet:
        console.say(_estimate(job))
    with console.bar("upsampling", job.windows, unit="windows") as bar:
        if fitted:
            steps.bar = bar
            report = job.run(writing_begins=bar.writing, loading_s=loading_s)
        else:
            report = job.run(tick=bar, writing_begins=bar.writing, loading_s=loading_s)
    console.outputs(report.outputs, report.failures)
    return report


def _estimate(job: FeatureJob) -> str:
    """What fitting a network to every window will take."""
    return (
        f"{job.upsampler.method} fits a network to each of {job.windows:,} windows: about "
        f"{duration(job.windows * job.window_seconds())}. Less for a part (--bounds), or by another --method."
    )


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
