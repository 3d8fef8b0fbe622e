"""What marks and scenes are given as: files for the command, files or tables for Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.data.segmentation.own import image_mask_pairs
from earthwords.errors import UsageError
from earthwords.files.paths import IMAGES, is_local_path
from earthwords.geo.scene import Scene, SceneSpec
from earthwords.geo.sources.find import all_sources
from earthwords.inference.teach.collect import Labels, Opener
from earthwords.inference.teach.marks import MaskFolder, RasterLabels, VectorLabels
from earthwords.jobs.progress import Console
from earthwords.text.vocabulary import split_words

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from earthwords.inference.segment.segmenter import Segmenter


def open_labels(
    labels: Path | GeoDataFrame, *, column: str | None, names: Path | None, text: Sequence[str], seed: int,
    scenes: Sequence[Any], console: Console,
) -> tuple[Labels, list[Any]]:  # fmt: skip
    """Marks, and the scenes that they lie in.

    Args:
        labels: a vector file or its table, a raster of classes, or a folder of images and masks.
        names: file with names of the values of a raster.
        text: words, whose order names the values of masks.
        scenes: paths, folders, patterns, @FILE; in Python also what is open already.

    Raises:
        UsageError: options that do not fit the marks, or no scene.
        SourceError: the marks cannot be read.
    """
    if not isinstance(labels, Path):
        return VectorLabels(labels, column=column, seed=seed), _listed(scenes, console)
    is_set = any((labels / name).is_dir() for name in ("images", "img_dir"))
    if is_set:
        if len(scenes):
            raise UsageError(f"{labels} brings its own images; leave --scenes out.")
        pairs = image_mask_pairs(labels)
        titles = [split_words(words)[0] for words in text]
        made = MaskFolder(labels, pairs, names=names, titles=titles, seed=seed)
        return made, [str(image) for image, _ in pairs]
    if labels.is_dir() and not any(labels.iterdir()):
        raise UsageError(
            f"{labels} is an empty folder; name a file of points or polygons, a label raster, or a folder with images/ "
            "and masks/."
        )
    listed = _listed(scenes, console)
    if labels.suffix.lower() in IMAGES:
        if column is not None:
            raise UsageError(f"{labels} is a raster, which has no column {column!r}; names of its values are --names.")
        return RasterLabels(labels, names=names, titles=(), seed=seed), listed
    if names is not None:
        raise UsageError(f"--names are of the values of a raster, and {labels} is none; leave them out.")
    return VectorLabels(labels, column=column, seed=seed), listed


def _listed(scenes: Sequence[Any], console: Console) -> list[Any]:
    """Each scene; folders and patterns opened."""
    found: list[Any] = []
    for scene in scenes:
        found += all_sources([os.fspath(scene)], say=console.say) if isinstance(scene, (str, Path)) else [scene]
    if not found:
        raise UsageError("Name the rasters that the marks lie in: --scenes ortho.tif, or a folder of them.")
    return found


def scene_openers(segmenter: Segmenter, sources: Sequence[str], spec: SceneSpec) -> dict[str, Opener]:
    """By whole path or address what opens each, at the resolution of the segmenter."""

    def opened(source: str) -> Scene:
        scene = replace(spec, source=source).open()
        return segmenter.at_working_gsd(scene) if spec.gsd is None else scene

    return {whole_path(source): (lambda source=source: opened(source)) for source in sources}  # type: ignore[misc]


def openers_in_memory(segmenter: Segmenter, sources: Sequence[Any], reading: dict[str, Any]) -> dict[str, Opener]:
    """The same of anything that `Segmenter.open` takes."""
    found: dict[str, Opener] = {}
    for i, source in enumerate(sources):
        name = whole_path(str(source)) if isinstance(source, (str, Path)) else f"scene {i + 1}"
        found[name] = lambda source=source: segmenter.open(source, **reading)  # type: ignore[misc]
    return found


def whole_path(source: str) -> str:
    """An address as it is."""
    return os.path.abspath(source) if is_local_path(source) else source
