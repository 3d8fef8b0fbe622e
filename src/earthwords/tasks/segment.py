"""Open-vocabulary segmentation of a georeferenced raster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from earthwords.errors import UsageError
from earthwords.presets import DEFAULT_PRESET, SegmentPreset, load_preset
from earthwords.tasks._progress import Talk
from earthwords.types import SceneReport, Vocabulary

if TYPE_CHECKING:
    from earthwords.inference.segmenter import Segmenter

BUNDLE = {
    "labels": "labels.tif",
    "style": "labels.qml",
    "polygons": "polygons.gpkg",
    "polygons_style": "polygons.qml",
    "preview": "preview.png",
    "report": "report.json",
}
VECTORS = (".gpkg", ".geojson", ".fgb", ".parquet")
TINY_NOTICE = (
    "Using the embedded model 'tiny' (small, offline). For SegEarth-OV as published: --preset segearth-ov "
    "(downloads CLIP ViT-B/16, 600 MB, once)."
)


def segment(
    src: str,
    dst: Path,
    *,
    text: Annotated[Sequence[str], Parameter(name=["--text", "-t"], negative="")] = (),
    classes: Path | None = None,
    preset: str = DEFAULT_PRESET,
    model: str | None = None,
    attention: str | None = None,
    upsampler: str | None = None,
    upsampler_weights: str | None = None,
    templates: str | None = None,
    threshold: float | None = None,
    background: str | None = None,
    bands: Annotated[str | None, Parameter(name=["--bands", "-b", "--bidx"])] = None,
    gsd: float | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    nodata: float | None = None,
    stretch: str = "auto",
    tile_size: int | None = None,
    overlap: int | None = None,
    batch_size: int = 8,
    probabilities: Literal["no", "uint8", "float32"] = "no",
    min_area: float = 0.0,
    simplify: float = 0.0,
    co: Annotated[Sequence[str], Parameter(negative="")] = (),
    device: str = "auto",
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    offline: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(negative="")] = False,
) -> SceneReport:
    """Segment a georeferenced raster by words.

    Labels lie exactly on the source's pixels: same CRS, transform and shape (or the part in --bounds).

    Parameters
    ----------
    src
        Raster: a path, a URL or a /vsi path; anything GDAL reads.
    dst
        .tif: labels (COG with colour table); .gpkg .geojson .fgb .parquet: polygons; .png: picture; a folder
        or no suffix: labels.tif, polygons.gpkg, preview.png, labels.qml and report.json.
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
        Other upsampler: bilinear, jbu, simfeatup, or none.
    upsampler_weights
        Checkpoint of the upsampler: name or file.
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
    batch_size
        Windows encoded at once.
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
    from earthwords.inference.scene_job import SceneJob, SceneOptions

    talk = Talk(quiet=quiet)
    began = time.perf_counter()
    vocabulary = make_vocabulary(text, classes, background)
    changes = {"attention": attention, "templates": templates, "tile_size": tile_size, "overlap": overlap}
    row = adapt_preset(load_preset(preset), upsampler=upsampler, **changes)
    outputs = plan_outputs(Path(dst), probabilities=probabilities != "no", overwrite=overwrite)
    options = SceneOptions(
        threshold=threshold,
        probabilities=probabilities,
        min_area=min_area,
        simplify=simplify,
        creation_options=creation_options(co),
        overwrite=overwrite,
    )
    segmenter = load_segmenter(
        row, talk, model=model, weights=upsampler_weights, device=device, batch=batch_size, offline=offline
    )
    with segmenter.open(src, bands=split_bands(bands), gsd=gsd, bounds=bounds, nodata=nodata, stretch=stretch) as scene:
        for note in scene.notes:
            talk.say(f"Note: {note}")
        job = SceneJob(segmenter=segmenter, scene=scene, vocabulary=vocabulary, outputs=outputs, options=options)
        loaded = time.perf_counter() - began
        with talk.bar("segmenting", len(segmenter.plan(scene, vocabulary)), unit="windows") as tick:
            result = job.run(tick=tick, loading_s=loaded)
    for kind, path in result.outputs.items():
        talk.say(f"{kind}: {path}")
    return result


def load_segmenter(
    row: SegmentPreset,
    talk: Talk,
    *,
    model: str | None,
    weights: str | None,
    device: str,
    batch: int,
    offline: bool,
) -> Segmenter:
    """A segmenter, with a word about the default and a bar over downloads; `weights` are the upsampler's."""
    from earthwords.inference.segmenter import Segmenter

    if row.name == DEFAULT_PRESET and model is None:
        talk.say(TINY_NOTICE)
    with loading(talk, row.weights, model) as report:
        return Segmenter.from_preset(
            row,
            model=model,
            upsampler_weights=weights,
            device=device,
            batch=batch,
            offline=offline,
            report=report,
        )


def make_vocabulary(text: Sequence[str], classes: Path | None, background: str | None) -> Vocabulary:
    """The classes from options or from a file, not both."""
    from earthwords.text.vocabulary import parse_classes, read_class_file

    if text and classes is not None:
        raise UsageError("Give the words either by -t or by --classes, not both.")
    if classes is not None:
        return read_class_file(classes, background=background)
    return parse_classes(text, background=background)


def adapt_preset(row: SegmentPreset, *, upsampler: str | None, **changes: Any) -> SegmentPreset:
    """A preset with the options that were given; windows that were only resized keep half an overlap."""
    given = {key: value for key, value in changes.items() if value is not None}
    if "tile_size" in given and "overlap" not in given:
        given["overlap"] = given["tile_size"] // 2
    if upsampler is not None:
        given["upsampler"] = None if upsampler == "none" else upsampler
    return replace(row, **given)


def split_bands(bands: str | None) -> list[int | str] | None:
    """`"4,3,2"` to numbers, names stay names."""
    if bands is None:
        return None
    return [int(part) if part.strip().isdigit() else part.strip() for part in bands.split(",")]


def creation_options(pairs: Sequence[str]) -> dict[str, str]:
    """`KEY=VAL` strings as a table."""
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"Creation option {pair!r} is not KEY=VAL, such as COMPRESS=ZSTD.")
    return {key.upper(): value for key, value in (pair.split("=", 1) for pair in pairs)}


def plan_outputs(dst: Path, *, probabilities: bool, overwrite: bool) -> dict[str, Path]:
    """Kind of output to path.

    Raises:
        UsageError: unknown suffix, or a file is there already and may not be overwritten.
    """
    suffix = dst.suffix.lower()
    if dst.is_dir() or not suffix:
        kinds = {kind: dst / name for kind, name in BUNDLE.items()}
    elif suffix in (".tif", ".tiff"):
        kinds = {"labels": dst}
    elif suffix in VECTORS:
        kinds = {"polygons": dst}
    elif suffix == ".png":
        kinds = {"preview": dst}
    else:
        known = ", ".join((".tif", *VECTORS, ".png"))
        raise UsageError(f"Cannot write {dst.name}: the suffix must be one of {known}, or none for a folder.")
    if probabilities:
        bundle = "report" in kinds
        kinds["probabilities"] = dst / "probabilities.tif" if bundle else dst.with_name(f"{dst.stem}_probabilities.tif")
    there = next((path for path in kinds.values() if path.exists()), None)
    if there is not None and not overwrite:
        raise UsageError(f"{there} exists; pass --overwrite to replace it.")
    return kinds


@contextmanager
def loading(talk: Talk, weights: str, model: str | None) -> Iterator[Any]:
    """A bar while weights are downloaded; yields the function that downloads report to."""
    seen = 0
    with talk.bar(f"loading {model or weights}", 1, unit="MB") as tick:

        def report(done: int, total: int) -> None:
            nonlocal seen
            if total:
                tick((done - seen) / total)
                seen = done

        yield report
