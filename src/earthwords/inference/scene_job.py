"""One pass over a scene that feeds every output: labels, probabilities, polygons, picture, figures.

All outputs are made in a hidden folder and appear when everything is done: a run that fails or is interrupted
leaves nothing behind.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.geo.area import PixelAreas
from earthwords.geo.geotiff import RasterWriter
from earthwords.geo.outputs import staging_all
from earthwords.geo.picture import PreviewBuilder
from earthwords.geo.scene import Scene
from earthwords.geo.styles import write_polygons_qml, write_qml
from earthwords.geo.vectorize import PolygonCollector, polygon_schema
from earthwords.geo.vectors import VectorWriter
from earthwords.inference.segmenter import Segmenter, Strip
from earthwords.types import ClassReport, Grid, SceneReport, VectorLayer, Vocabulary

UINT8_STEPS = 250
"""A probability of 1 in a uint8 raster; 255 is nodata."""


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """How a scene is decided on and written."""

    threshold: float | None = None
    """Least probability of a label; None: the preset's."""
    probabilities: str = "no"
    """`no`, `uint8` or `float32`."""
    min_area: float = 0.0
    """Smallest polygon kept, m2 (pixels without a CRS)."""
    simplify: float = 0.0
    """Tolerance of outlines, metres (pixels without a CRS)."""
    creation_options: Mapping[str, str] = field(default_factory=dict)
    """For GDAL's COG driver."""
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class SceneJob:
    """What to make of a scene."""

    segmenter: Segmenter
    scene: Scene
    vocabulary: Vocabulary
    outputs: Mapping[str, Path]
    """Kinds `labels`, `polygons`, `preview`, `style`, `polygons_style`, `probabilities`, `report`, each with its
    path."""
    options: SceneOptions = SceneOptions()

    @property
    def grid(self) -> Grid:
        """Of all outputs: the region asked for, in the source's own pixels."""
        return self.scene.native.window(self.scene.region)

    def run(self, *, tick: Callable[[int], None] = lambda windows: None, loading_s: float = 0.0) -> SceneReport:
        """Do it.

        Args:
            tick: called with the number of windows done.
            loading_s: time already spent, for the report.

        Raises:
            OutputError: an output cannot be written.
            SourceError: the scene is damaged.
        """
        began = time.perf_counter()
        with staging_all(self.outputs, overwrite=self.options.overwrite) as places:
            figures = _Figures(self.grid, self.vocabulary)
            with ExitStack() as stack:
                sinks = [figures.add, *self._sinks(stack, places, figures)]
                for strip in self._strips(tick):
                    for sink in sinks:
                        sink(strip)
                segmented = time.perf_counter()
            done = time.perf_counter()
            seconds = {
                "loading": loading_s,
                "segmenting": segmented - began,
                "finishing": done - segmented,
                "total": loading_s + done - began,
            }
            report = self._report(figures, {name: round(value, 3) for name, value in seconds.items()})
            if "report" in places:
                text = json.dumps(report.as_json(), indent=2, ensure_ascii=False)
                places["report"].write_text(text + "\n", encoding="utf-8")
        return report

    def _strips(self, tick: Callable[[int], None]) -> Iterator[Strip]:
        wanted = self.options.probabilities != "no"
        strips = self.segmenter.strips
        return strips(self.scene, self.vocabulary, threshold=self.options.threshold, probabilities=wanted, tick=tick)

    def _sinks(self, stack: ExitStack, places: Mapping[str, Path], figures: _Figures) -> list[Sink]:
        """A function for every output that takes strips; `stack` completes the outputs."""
        sinks: list[Sink] = []
        if "style" in places:
            write_qml(places["style"], self.vocabulary)
        if "polygons_style" in places:
            write_polygons_qml(places["polygons_style"], self.vocabulary)
        if "preview" in places:
            preview = PreviewBuilder(self.grid, self.vocabulary)
            stack.callback(lambda: preview.image().save(places["preview"]))
            sinks.append(lambda strip: preview.add(strip.row, strip.rgb, strip.labels, strip.valid))
        if "labels" in places:
            labels = stack.enter_context(self._labels_writer(places["labels"]))
            sinks.append(lambda strip: labels.write(strip.row, strip.labels))
        if "probabilities" in places:
            writer = stack.enter_context(self._probabilities_writer(places["probabilities"]))
            sinks.append(
                lambda strip: writer.write(strip.row, _packed(strip.probabilities, self.options.probabilities))
            )
        if "polygons" in places:
            sinks.append(self._polygon_sink(stack, places["polygons"], figures))
        return sinks

    def _labels_writer(self, path: Path) -> RasterWriter:
        return RasterWriter(
            path,
            grid=self.grid,
            dtype=self.vocabulary.label_dtype,
            nodata=self.vocabulary.nodata,
            colours=[c.colour for c in self.vocabulary.classes],
            categories=self.vocabulary.titles,
            band_names=["class"],
            tags=self._tags,
            creation_options=self.options.creation_options,
            resampling="mode",
        )

    def _probabilities_writer(self, path: Path) -> RasterWriter:
        as_bytes = self.options.probabilities == "uint8"
        scale = {"EARTHWORDS_SCALE": f"probability = value / {UINT8_STEPS}"} if as_bytes else {}
        return RasterWriter(
            path,
            grid=self.grid,
            count=len(self.vocabulary),
            dtype="uint8" if as_bytes else "float32",
            nodata=255 if as_bytes else float("nan"),
            band_names=self.vocabulary.titles,
            tags={**self._tags, **scale},
            creation_options=self.options.creation_options,
            resampling="average",
        )

    def _polygon_sink(self, stack: ExitStack, path: Path, figures: _Figures) -> Sink:
        writer = stack.enter_context(VectorWriter(path, crs=self.grid.crs, schema=polygon_schema(self.grid)))
        collector = PolygonCollector(
            grid=self.grid, vocabulary=self.vocabulary, min_area=self.options.min_area, simplify=self.options.simplify
        )

        def write(layers: Iterator[VectorLayer]) -> None:
            for layer in layers:
                writer.write(layer)
                figures.count_polygons(layer)

        def sink(strip: Strip) -> None:
            collector.add(strip.row, strip.labels, strip.score)
            write(collector.drain())

        stack.push(lambda kind, error, trace: write(collector.finish()) if kind is None else None)
        return sink

    @property
    def _tags(self) -> dict[str, str]:
        return {**self.scene.tags(), **self.segmenter.tags(self.vocabulary), **self._own_settings}

    @property
    def _own_settings(self) -> dict[str, str]:
        least = self.segmenter.preset.threshold if self.options.threshold is None else self.options.threshold
        return {"EARTHWORDS_THRESHOLD": f"{least:g}"}

    def _report(self, figures: _Figures, seconds: dict[str, float]) -> SceneReport:
        settings = {key.removeprefix("EARTHWORDS_").lower(): value for key, value in self._tags.items()}
        settings |= {"min_area": f"{self.options.min_area:g}", "simplify": f"{self.options.simplify:g}"}
        return SceneReport(
            source=self.scene.source,
            outputs=dict(self.outputs),
            classes=figures.classes(polygons="polygons" in self.outputs),
            nodata_share=figures.nodata_share,
            settings=settings,
            notes=self.scene.notes,
            seconds=seconds,
        )


Sink = Callable[[Strip], None]


class _Figures:
    """Pixels, area and mean score of every class."""

    def __init__(self, grid: Grid, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._pixel_areas = PixelAreas(grid) if grid.crs is not None else None
        count = len(vocabulary)
        self._pixels = np.zeros(count, np.int64)
        self._score, self._area = np.zeros(count), np.zeros(count)
        self._polygons = np.zeros(count, np.int64)
        self._all = grid.height * grid.width

    def add(self, strip: Strip) -> None:
        """Count a strip."""
        count = len(self.vocabulary)
        known = strip.labels < count
        labels = strip.labels[known].astype(np.int64)
        self._pixels += np.bincount(labels, minlength=count)
        self._score += np.bincount(labels, strip.score[known], minlength=count)
        if self._pixel_areas is not None:
            areas = self._pixel_areas.block(strip.row, len(strip.labels))
            area = np.broadcast_to(areas, strip.labels.shape)[known]
            self._area += np.bincount(labels, area, minlength=count)

    def count_polygons(self, layer: VectorLayer) -> None:
        """Count polygons by class."""
        self._polygons += np.bincount(layer.columns["label"], minlength=len(self.vocabulary))

    @property
    def nodata_share(self) -> float:
        """Pixels without a label, of all."""
        return round(1 - float(self._pixels.sum()) / self._all, 6)

    def classes(self, *, polygons: bool) -> tuple[ClassReport, ...]:
        """The table."""
        seen = max(1, int(self._pixels.sum()))
        return tuple(
            ClassReport(
                label=i,
                name=title,
                pixels=int(self._pixels[i]),
                share=round(float(self._pixels[i]) / seen, 6),
                area_m2=None if self._pixel_areas is None else round(float(self._area[i]), 2),
                mean_score=round(float(self._score[i] / self._pixels[i]), 4) if self._pixels[i] else None,
                polygons=int(self._polygons[i]) if polygons else None,
            )
            for i, title in enumerate(self.vocabulary.titles)
        )


def _packed(probabilities: NDArray[np.float32] | None, kind: str) -> NDArray[Any]:
    """`(class, row, col)` as it is written."""
    assert probabilities is not None
    if kind == "float32":
        return probabilities
    return np.where(np.isnan(probabilities), 255, np.rint(probabilities * UINT8_STEPS)).astype(np.uint8)
