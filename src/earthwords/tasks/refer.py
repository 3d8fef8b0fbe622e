"""Pointing at things in a georeferenced raster with a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from earthwords.errors import UsageError, brief
from earthwords.geo.destinations import plan_outputs
from earthwords.geo.sources.find import inputs_of
from earthwords.inference.checks import check_mask, check_referrer
from earthwords.inference.options import check_aoi, output_options, reach, scene_spec, source_of, sources_of
from earthwords.jobs.progress import Console
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.inference.refer.referrer import Referrer, ReferrerSpec
    from earthwords.reports import BatchReport, SceneReport
else:
    SceneReport = BatchReport = object  # they load much, and a command line reads the annotations

TINY_NOTICE = (
    "Using the embedded model 'refseg-tiny', which is small and was trained briefly: it reads classes better than "
    "relations. For real work train RSRefSeg on sentences of your own (docs/train-refer.md) and give --model."
)

ARRAYS = "Referrer.from_preset().predict(array, sentences)"
"""What takes arrays."""


@opt.documented
def refer(
    src: opt.Src,
    dst: opt.Dst,
    *,
    text: opt.Sentences = (),
    sentences: Annotated[Path | None, opt.option(opt.WORDS, metavar="FILE")] = None,
    all: Annotated[bool, opt.option(opt.WORDS, negative="")] = False,
    threshold: Annotated[float, opt.option(opt.WORDS, metavar="PROBABILITY")] = 0.5,
    min_score: Annotated[float, opt.option(opt.WORDS, metavar="PROBABILITY")] = 0.0,
    preset: Annotated[str, opt.option(opt.MODEL, metavar="NAME")] = "refseg-tiny",
    model: Annotated[str | None, opt.option(opt.MODEL, metavar="PATH")] = None,
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
    overlap: Annotated[int | None, opt.option(opt.WINDOWS, metavar="PIXELS")] = None,
    probabilities: opt.Probabilities = "no",
    min_area: opt.MinArea = 0.0,
    simplify: opt.Simplify = 0.0,
    co: opt.Co = (),
    overwrite: opt.Overwrite = False,
    on_error: opt.OnError = "stop",
    device: opt.Device = "auto",
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    resume: opt.Resume = True,
    strict: opt.Strict = False,
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> SceneReport | BatchReport:
    """Point at one thing, or at all that a sentence fits: its mask, polygon and score, on the map.

    A scene is searched from fine to coarse; of every sentence the surest place is given. Several sentences share one
    look at the scene. A run that was killed goes on where it stopped when the same command is given again.

    Args:
        dst: .tif: labels, 0 for the first sentence (COG with colour table); .gpkg .geojson .fgb .parquet .shp .pmtiles:
            polygons with sentence and score; .png: picture; .html: page with a map; a folder or no suffix: labels.tif,
            polygons.gpkg, their styles (.qml), preview.png and report.json. For many scenes a folder, or a
            pattern such as maps/{stem}.gpkg.
        sentences: Text file with more sentences, one a line.
        all: All places that a sentence fits, at the finest resolution, instead of the surest.
        threshold: Probability (0..1) above which a pixel belongs to a mask.
        min_score: How sure (0..1) the model must be that the thing is there, else nothing is found: what refseg-tiny
            learned of that (0.5 is even), of other models the mean probability of the mask.
        preset: Name of a referring preset (see `earthwords models`); with --model of a checkpoint of the authors, its
            architecture.
        model: Trained weights: a folder of `train refer`, or a checkpoint of RSRefSeg's authors.
        overlap: Pixels that neighbouring views share; default: half of what the model sees.

    Returns:
        What was found and written, sentence by sentence, of many scenes what became of each; a mask of probabilities
        may overlap those of other sentences.

    Raises:
        UsageError: no sentence, a wrong option, an output exists, or `strict` and something makes the answer worth
            less.
        SourceError: the raster cannot be read, or holds no valid pixel.
        OutputError: an output cannot be written.
        WeightsError: the weights are missing or damaged.

    Example:
        >>> report = earthwords.refer("ortho.tif", "found.gpkg", text=["the white plane beside the terminal"])
        >>> report.classes[0].mean_score
    """
    console = Console(quiet=quiet)
    src = source_of(src, asset, item, offline, allow_remote_parts)
    given = _sentences(text, sentences, src, Path(dst))
    plan = partial(plan_outputs, Path(dst), probabilities=probabilities != "no")
    sources = sources_of(src, Path(dst), console, overwrite=overwrite, plan=plan, arrays=ARRAYS)
    _check(preset, model, threshold, min_score)
    check_mask(mask)
    check_aoi(aoi)
    from earthwords.inference.batch import run_many
    from earthwords.inference.execution import ExecutionOptions
    from earthwords.inference.refer.pointing import PointingOptions
    from earthwords.inference.refer.referrer import ReferrerSpec
    from earthwords.inference.refer.request import ReferRequest
    from earthwords.inference.refer.run import ReferRun, refer_scene
    from earthwords.text.vocabulary import parse_sentences

    network = reach(offline, allow_remote_parts)
    request = ReferRequest(
        vocabulary=parse_sentences(given),
        spec=scene_spec(src, bands, gsd, bounds, nodata, stretch, mask, network, ARRAYS, aoi=aoi),
        pointing=PointingOptions(every=all, threshold=threshold, min_score=min_score, on_error=on_error),
        options=output_options(probabilities, min_area, simplify, co, overwrite),
        strict=strict,
    )
    run = ReferRun(
        request=request,
        inputs=inputs_of(sources or [str(src)], lists=[str(src)], sentences=sentences, model=model, mask=mask, aoi=aoi),
        execution=ExecutionOptions(workers=workers, cluster=cluster, resume=resume, offline=offline),
    )
    spec = ReferrerSpec(preset=preset, model=model, device=device, overlap=overlap, offline=offline)

    def load() -> Referrer:
        return _load(spec, console)

    if sources is not None:
        return run_many(run, sources, Path(dst), str(src), console, load, doing="pointing")
    return refer_scene(run, load, str(src), Path(dst), console)


def _load(spec: ReferrerSpec, console: Console) -> Referrer:
    """A referrer, with a word about the default and a bar over downloads."""
    if spec.preset == "refseg-tiny" and spec.model is None:
        console.say(TINY_NOTICE)
    with console.download(f"loading {spec.model or spec.preset}"):
        return spec.load()


def _check(preset: str, model: str | None, threshold: float, min_score: float) -> None:
    """Say what is wrong before anything heavy is loaded."""
    from earthwords.inference.limits import check_threshold

    check_referrer(preset, model)
    check_threshold(threshold)
    check_threshold(min_score, name="least score")


def _sentences(text: Sequence[str], file: Path | None, src: str, dst: Path) -> list[str]:
    """What to point at, from the options and from a file.

    Raises:
        UsageError: nothing.
    """
    from earthwords.text.vocabulary import read_sentences

    if isinstance(text, str):
        raise UsageError(f'Give a list of sentences, such as text=["{brief(text)}"], not one string.')
    if not text and file is None:
        such = dst if " " in str(dst) and not Path(dst).suffix else "the white plane beside the terminal"
        raise UsageError(f'Say what to point at by -t: earthwords refer {src} found.gpkg -t "{such}".')
    return [*text, *([] if file is None else read_sentences(file))]
