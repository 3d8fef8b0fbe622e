"""Dense features of a raster at pixel resolution."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from earthwords.errors import UsageError
from earthwords.presets import DEFAULT_PRESET, SegmentPreset, load_preset
from earthwords.tasks._progress import Bar, Talk, duration
from earthwords.tasks.segment import TINY_NOTICE, Bands, adapt_preset, creation_options, scene_spec
from earthwords.types import FeatureReport

if TYPE_CHECKING:
    from earthwords.inference.feature_job import FeatureJob
    from earthwords.inference.fitted import Fit


def upsample(
    src: str,
    dst: Path,
    *,
    method: str | None = None,
    components: int | Literal["all"] = 3,
    pca: Path | None = None,
    preset: str = DEFAULT_PRESET,
    model: str | None = None,
    features: str | None = None,
    upsampler_weights: str | None = None,
    fit: Literal["reduced", "full"] = "reduced",
    bands: Annotated[Bands | None, Parameter(name=["--bands", "-b", "--bidx"])] = None,
    gsd: float | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    nodata: float | None = None,
    stretch: str = "auto",
    tile_size: int | None = None,
    overlap: int | None = None,
    blend_mode: str | None = None,
    batch_size: int | None = None,
    memory: str = "2GiB",
    on_error: Literal["stop", "nodata"] = "stop",
    co: Annotated[Sequence[str], Parameter(show_default=False)] = (),
    device: str = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    offline: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> FeatureReport:
    """Upsample the dense features of a raster to its pixels.

    The result lies exactly on the source's pixels: same CRS, transform and shape (or the part in --bounds).

    Parameters
    ----------
    src
        Raster: a path, a URL or a /vsi path; anything GDAL reads.
    dst
        .tif: a float32 band for every component (COG, NaN where nothing was observed), and the components beside it
        (.pca.safetensors); .png: image, tokens and upsampled features in the same colours; a folder or no suffix:
        features.tif, features.pca.safetensors, preview.png and report.json.
    method
        bilinear, jbu, simfeatup, anyup, ifa, resize-conv, or featup-implicit (fits a network to every window, for
        small scenes); default: the preset's upsampler, else bilinear.
    components
        Principal components that are written, estimated from tokens of the scene; 0 or all: every channel.
    pca
        Components of another run (.pca.safetensors) instead of this scene's own, so that scenes can be compared.
    preset
        Name of a preset (see `earthwords models`) or a TOML file: weights, attention and windows.
    model
        Other CLIP weights: name, Hugging Face id, folder or checkpoint file.
    features
        Which features: penultimate (tokens that enter the last block) or an attention of the last block (vanilla,
        maskclip, sclip, gem, clearclip, naclip, segearth); default: the preset's.
    upsampler_weights
        Checkpoint of the upsampler: name or file; default: the one that belongs to method and model, if any.
    fit
        Settings of featup-implicit: reduced (for a CPU) or full (the paper's, for a GPU).
    bands
        Bands used as red, green, blue, such as 4,3,2; numbers from 1, or names.
    gsd
        Ground sample distance to work at, metres; the output keeps the source's pixels.
    bounds
        West south east north in the source's CRS: only this part.
    nodata
        Value that means "no observation", instead of the file's own.
    stretch
        auto (uint8 as it is, else 2-98 %), percentile, none, or LOW,HIGH.
    tile_size
        Side of the windows, pixels.
    overlap
        Pixels that neighbouring windows share.
    blend_mode
        Weight of a pixel where windows overlap: mean (all alike, as in the papers), linear or cosine (less towards
        the border of a window).
    batch_size
        Windows computed at once: on a CPU one a core (default: all cores), on a GPU in one call (default: 8).
    memory
        Memory to work with, beside the loaded model, such as 2GiB; a scene that needs more is refused.
    on_error
        A window that cannot be read or computed, twice: stop, or nodata (goes on; the report lists it).
    co
        GDAL creation option of the GeoTIFF, KEY=VAL; repeat for more.
    device
        auto, cpu, cuda, mps.
    overwrite
        Replace existing outputs.
    offline
        Never use the network.
    quiet
        No progress, no notices.
    """
    from earthwords.geo.geotiff import cog_options
    from earthwords.inference.account import Account
    from earthwords.inference.budget import parse_memory
    from earthwords.inference.feature_job import FeatureJob
    from earthwords.inference.feature_outputs import plan_features
    from earthwords.inference.upsampler import Upsampler, chosen_method
    from earthwords.inference.windowed import check_batch

    began, talk, dst = time.perf_counter(), Talk(quiet=quiet), Path(dst)
    row = adapt_preset(load_preset(preset), upsampler=None, blend=blend_mode, tile_size=tile_size, overlap=overlap)
    method = method or _own_method(row, model, upsampler_weights, talk)
    chosen_method(row, method)
    check_batch(batch_size)
    Account(on_error=on_error)
    count = _count(components)
    options, size = creation_options(co), parse_memory(memory)
    cog_options("float32", given=options)
    outputs = plan_features(dst, components=count is not None, overwrite=overwrite, source=str(src))
    with scene_spec(src, bands, gsd, bounds, nodata, stretch).open() as opened:
        for note in opened.notes:
            talk.say(f"Note: {note}")
        steps = _Steps()
        if row.name == DEFAULT_PRESET and model is None:
            talk.say(TINY_NOTICE)
        with talk.download(f"loading {model or row.weights}") as report:
            upsampler = Upsampler.from_preset(
                method,
                preset=row,
                model=model,
                features=features,
                upsampler_weights=upsampler_weights,
                fit=_fit(method, fit, steps),
                device=device,
                batch=batch_size,
                offline=offline,
                report=report,
            )
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
        return _run(job, steps, talk, loading_s=time.perf_counter() - began)


@dataclass(kw_only=True)
class _Steps:
    """Where the steps of a fit are told: a bar, unless nobody wants the result any more."""

    bar: Bar = field(default_factory=Bar)
    stop: Event = field(default_factory=Event)

    def tell(self, share: float) -> None:
        """A share of a window is done."""
        from earthwords.inference.pool import until

        until(self.stop, self.bar)(share)


def _fit(method: str, settings: str, steps: _Steps) -> Fit | None:
    """How a network is fitted to a window, where the method does that."""
    from earthwords.inference.upsampler import IMPLICIT
    from earthwords.training.fitting import implicit_fit

    return implicit_fit(settings, tick=steps.tell) if method == IMPLICIT else None


def _run(job: FeatureJob, steps: _Steps, talk: Talk, *, loading_s: float) -> FeatureReport:
    """The job with a bar and what there is to say."""
    from earthwords.inference.fitted import FittedUpsampler

    job.check()
    fitted = isinstance(job.upsampler.module, FittedUpsampler)
    if fitted and job.windows > 1 and not talk.quiet:
        talk.say(_estimate(job))
    with talk.bar("upsampling", job.windows, unit="windows") as bar:
        if fitted:
            steps.bar = bar
            report = job.run(loading_s=loading_s)
        else:
            report = job.run(tick=bar, loading_s=loading_s)
    for kind, path in report.outputs.items():
        talk.say(f"{kind}: {path}")
    for failure in report.failures:
        talk.say(f"Left out: {failure}")
    return report


def _estimate(job: FeatureJob) -> str:
    """What fitting a network to every window will take."""
    return (
        f"{job.upsampler.method} fits a network to each of {job.windows:,} windows: about "
        f"{duration(job.windows * job.window_seconds())}. Less for a part (--bounds), or by another --method."
    )


def _own_method(row: SegmentPreset, model: str | None, upsampler_weights: str | None, talk: Talk) -> str:
    """The preset's upsampler where it fits the model, else bilinear."""
    from earthwords.inference.upsampler import chosen_method
    from earthwords.inference.windowed import with_weights

    fitting, note = with_weights(row, model, upsampler_weights)
    if note is not None:
        talk.say(f"Note: {note}")
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
