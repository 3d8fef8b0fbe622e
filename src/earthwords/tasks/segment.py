"""Open-vocabulary segmentation of a georeferenced raster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter

from earthwords.errors import UsageError
from earthwords.presets import DEFAULT_PRESET, SegmentPreset, load_preset
from earthwords.tasks._progress import Talk
from earthwords.types import BatchReport, SceneReport, Vocabulary

if TYPE_CHECKING:
    from earthwords.geo.scene import SceneSpec
    from earthwords.inference.outputs import OutputOptions
    from earthwords.inference.scene_job import Manner
    from earthwords.inference.segmenter import Segmenter

    Bands: TypeAlias = str | Sequence[int | str]
else:
    Bands = str  # what the command line shows

TINY_NOTICE = (
    "Using the embedded model 'tiny' (small, offline). For SegEarth-OV as published: --preset segearth-ov "
    "(downloads CLIP ViT-B/16, 600 MB, once)."
)


def segment(
    src: str,
    dst: Path,
    *,
    text: Annotated[Sequence[str], Parameter(name=["--text", "-t"], show_default=False)] = (),
    classes: Path | None = None,
    preset: str = DEFAULT_PRESET,
    model: str | None = None,
    attention: str | None = None,
    upsampler: str | None = None,
    upsampler_weights: str | None = None,
    templates: str | None = None,
    threshold: float | None = None,
    background: str | None = None,
    bands: Annotated[Bands | None, Parameter(name=["--bands", "-b", "--bidx"])] = None,
    gsd: float | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    nodata: float | None = None,
    stretch: str = "auto",
    tile_size: int | None = None,
    overlap: int | None = None,
    blend_mode: str | None = None,
    energy: float | None = None,
    batch_size: int | None = None,
    memory: str = "2GiB",
    workers: int = 1,
    cluster: str | None = None,
    resume: bool = True,
    on_error: Literal["stop", "nodata"] = "stop",
    probabilities: Literal["no", "uint8", "float32"] = "no",
    min_area: float = 0.0,
    simplify: float = 0.0,
    co: Annotated[Sequence[str], Parameter(show_default=False)] = (),
    device: str = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    offline: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> SceneReport | BatchReport:
    """Segment a georeferenced raster by words, or many.

    Labels lie exactly on the source's pixels: same CRS, transform and shape (or the part in --bounds). A run that
    was killed goes on where it stopped when the same command is given again.

    Parameters
    ----------
    src
        Raster: a path, a URL or a /vsi path; anything GDAL reads. Or many: a folder, a quoted pattern such as
        "scenes/*.tif", or @FILE with one a line.
    dst
        .tif: labels (COG with colour table); .gpkg .geojson .fgb .parquet: polygons; .png: picture; a folder
        or no suffix: labels.tif, polygons.gpkg, their styles (.qml), preview.png and report.json. For many
        scenes a folder, or a pattern such as maps/{stem}.gpkg.
    text
        A class to look for, commas between synonyms; repeat for more classes.
    classes
        Class file of SegEarth-OV instead: one class a line.
    preset
        Name of a preset (see `earthwords models`) or a TOML file.
    model
        Other CLIP weights: name, Hugging Face id, folder or checkpoint file.
    attention
        Other attention of the last block: vanilla, maskclip, sclip, gem, clearclip, naclip, segearth.
    upsampler
        Other upsampler: bilinear, jbu, simfeatup, anyup, or none.
    upsampler_weights
        Checkpoint of the upsampler: name or file; default: the one that belongs to upsampler and model, if any.
    templates
        Prompt templates: openai80, openai7, maskclip5, aerial, photo, none, or a text file with {}.
    threshold
        Least probability (0..1) of a label; below it: background, or nodata without one.
    background
        Class that takes the pixels below the threshold; default: a class named background, if any.
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
    energy
        Share of the energy of a window's tokens that jbu and simfeatup keep; 1 is exact, 0.9999 faster.
    batch_size
        Windows encoded at once: on a CPU one a core (default: all cores), on a GPU in one call (default: 8). Changes
        no bit of the result on a CPU.
    memory
        Memory to work with, beside the loaded model, such as 2GiB; decides how the scene is cut, not the result.
    workers
        Processes that share the work, on this machine or in the cluster.
    cluster
        Address of a Ray cluster (auto, ray://HOST:PORT, or local); needs earthwords[cluster].
    resume
        Go on with an unfinished run of the same command; --no-resume begins anew.
    on_error
        A window that cannot be read or computed, twice: stop, or nodata (goes on; the report lists it).
    probabilities
        Also write probabilities.tif, a band per class: uint8 (0..250, 255 nodata) or float32.
    min_area
        Smallest polygon kept, m2 (pixels without a CRS).
    simplify
        Tolerance of simplified outlines, metres (pixels without a CRS); 0 keeps the pixel edges.
    co
        GDAL creation option of the GeoTIFFs, KEY=VAL; repeat for more.
    device
        auto, cpu, cuda, mps.
    overwrite
        Replace existing outputs.
    offline
        Never use the network.
    quiet
        No progress, no notices.
    """
    from earthwords.tasks._scenes import Request, many, one
    from earthwords.tasks._sources import find_sources

    talk = Talk(quiet=quiet)
    changes = {"attention": attention, "templates": templates, "tile_size": tile_size, "overlap": overlap}
    row = adapt_preset(load_preset(preset), upsampler=upsampler, blend=blend_mode, energy=energy, **changes)
    request = Request(
        vocabulary=make_vocabulary(text, classes, background),
        options=_outputs(probabilities, min_area, simplify, co, overwrite),
        spec=scene_spec(src, bands, gsd, bounds, nodata, stretch),
        manner=_manner(memory, workers, cluster, resume, offline),
        cluster=cluster,
        threshold=threshold,
        on_error=on_error,
    )
    request.check(preset=row, batch=batch_size)

    def load() -> Segmenter:
        return load_segmenter(
            row, talk, model=model, weights=upsampler_weights, device=device, batch=batch_size, offline=offline
        )

    sources = find_sources(str(src))
    if sources is not None:
        return many(request, sources, Path(dst), str(src), talk, load)
    return one(request, load, str(src), Path(dst), talk)


def scene_spec(src: Any, bands: Bands | None, gsd: Any, bounds: Any, nodata: Any, stretch: str) -> SceneSpec:
    """How a scene is opened, from options of those names."""
    from earthwords.geo.scene import SceneSpec

    numbers = split_bands(bands)
    chosen = None if numbers is None else tuple(numbers)
    return SceneSpec(source=str(src), bands=chosen, gsd=gsd, bounds=bounds, nodata=nodata, stretch=stretch)


def _outputs(probabilities: str, min_area: float, simplify: float, co: Sequence[str], overwrite: bool) -> OutputOptions:
    from earthwords.inference.outputs import OutputOptions

    return OutputOptions(
        probabilities=probabilities,
        min_area=min_area,
        simplify=simplify,
        creation_options=creation_options(co),
        overwrite=overwrite,
    )


def _manner(memory: str, workers: int, cluster: str | None, resume: bool, offline: bool) -> Manner:
    from earthwords.inference.budget import parse_memory
    from earthwords.inference.scene_job import Manner

    if workers < 1:
        raise UsageError(f"At least one worker must do the work, got {workers}.")
    size = parse_memory(memory)
    return Manner(memory=size, workers=workers, shared=cluster in (None, "local"), resume=resume, offline=offline)


def load_segmenter(
    row: SegmentPreset,
    talk: Talk,
    *,
    model: str | None,
    weights: str | None,
    device: str,
    batch: int | None,
    offline: bool,
) -> Segmenter:
    """A segmenter, with a word about the default and a bar over downloads; `weights` are the upsampler's."""
    from earthwords.inference.segmenter import Segmenter

    if row.name == DEFAULT_PRESET and model is None:
        talk.say(TINY_NOTICE)
    with talk.download(f"loading {model or row.weights}") as report:
        segmenter = Segmenter.from_preset(
            row,
            model=model,
            upsampler_weights=weights,
            device=device,
            batch=batch,
            offline=offline,
            report=report,
        )
    for note in segmenter.notes:
        talk.say(f"Note: {note}")
    return segmenter


def make_vocabulary(text: Sequence[str], classes: Path | None, background: str | None) -> Vocabulary:
    """The classes from options or from a file, not both."""
    from earthwords.text.vocabulary import parse_classes, read_class_file

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


def split_bands(bands: Bands | None) -> list[int | str] | None:
    """`"4,3,2"` to numbers, names stay names; a list as it is."""
    if bands is None or not isinstance(bands, str):
        return None if bands is None else list(bands)
    return [int(part) if part.strip().isdigit() else part.strip() for part in bands.split(",")]


def creation_options(pairs: Sequence[str]) -> dict[str, str]:
    """`KEY=VAL` strings as a table."""
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"Creation option {pair!r} is not KEY=VAL, such as COMPRESS=ZSTD.")
    return {key.upper(): value for key, value in (pair.split("=", 1) for pair in pairs)}
