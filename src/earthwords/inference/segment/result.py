"""A segmentation in memory that can be saved, shown and taken to geopandas."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError, printable_notes
from earthwords.geo.destinations import plan_outputs
from earthwords.geo.sources.inputs import Inputs
from earthwords.geo.vectors.vectorize import PolygonCollector, polygon_schema
from earthwords.geo.vectors.write import to_geodataframe
from earthwords.inference.cautions import is_radar
from earthwords.inference.windows.class_statistics import Figures
from earthwords.inference.windows.outputs import About, OutputOptions, write_outputs
from earthwords.inference.windows.strip import Strip
from earthwords.reports import SceneReport
from earthwords.types import Segmentation, VectorLayer, Vocabulary
from earthwords.viz.preview import PreviewBuilder

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from PIL.Image import Image
    from xarray import Dataset

    from earthwords.geo.scene import Scene

_ROWS = 512


@dataclass(frozen=True, kw_only=True, repr=False)
class SegmentationResult(Segmentation):
    """What `Segmenter.predict` gives. In a notebook it shows itself as a picture.

    Example:
        >>> result = earthwords.Segmenter.from_preset("tiny").predict("ortho.tif", ["building,roof", "road"])
        >>> result.save("map.tif")
        >>> result.save("polygons.gpkg", min_area=50)
    """

    image: NDArray[np.uint8]
    """`(row, col, 3)`: what was segmented, red, green and blue after the stretch."""
    valid: NDArray[np.bool_]
    """`(row, col)`, True where something was observed."""
    undecided: NDArray[np.bool_] | None = None
    """`(row, col)`, True where the two best classes are close, see `decide.undecided`."""
    source: str = "array"
    notes: tuple[str, ...] = ()
    """What was assumed about bands and georeference."""

    def save(
        self,
        path: str | Path,
        *,
        probabilities: str = "no",
        min_area: float = 0.0,
        simplify: float = 0.0,
        creation_options: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> SceneReport:
        """Write the same files as the command `segment`; the suffix decides.

        Args:
            path: `.tif` labels; `.gpkg .geojson .fgb .parquet .shp .pmtiles` polygons; `.png` picture;
                `.html` page with a map; a folder or no suffix: all but the page, with styles and a report.
            probabilities: also write those: `uint8` or `float32`; `predict` must have kept them.
            min_area: smallest polygon kept, m2 (pixels without a CRS).
            simplify: tolerance of outlines, metres (pixels without a CRS).
            creation_options: for GDAL's COG driver.
            overwrite: replace existing files.

        Returns:
            What was found, class by class, and where it was written.

        Raises:
            UsageError, OutputError: an unknown suffix, or a file that exists or cannot be written.
        """
        options = OutputOptions(
            probabilities=probabilities,
            min_area=min_area,
            simplify=simplify,
            creation_options=creation_options or {},
            overwrite=overwrite,
        )
        wanted = probabilities != "no"
        if wanted and self.probabilities is None:
            raise UsageError("The probabilities were not kept; call predict with probabilities=True.")
        paths = plan_outputs(Path(path), probabilities=wanted, overwrite=overwrite, inputs=Inputs([self.source]))
        shown = self.tags.get("EARTHWORDS_SOURCE", self.source)
        about = About(source=shown, grid=self.grid, vocabulary=self.vocabulary, tags=self.tags, notes=self.notes)
        return write_outputs(paths, self._strips(), about=about, options=options)

    def polygons(self, *, min_area: float = 0.0, simplify: float = 0.0) -> VectorLayer:
        """Polygons with class, label, score and area, in the CRS of the source; arguments as for `save`."""
        collector = PolygonCollector(grid=self.grid, vocabulary=self.vocabulary, min_area=min_area, simplify=simplify)
        for strip in self._strips():
            collector.add(strip.row, strip.labels, strip.score)
        layers = list(collector.finish())
        schema = {name: object if kind == "str" else kind for name, kind in polygon_schema(self.grid).items()}
        return VectorLayer(
            geometries=np.concatenate([np.zeros(0, object), *(layer.geometries for layer in layers)]),
            columns={
                name: np.concatenate([np.zeros(0, kind), *(layer.columns[name] for layer in layers)])
                for name, kind in schema.items()
            },
            crs=self.grid.crs,
        )

    def to_geodataframe(self, *, min_area: float = 0.0, simplify: float = 0.0) -> GeoDataFrame:
        """`polygons` for geopandas."""
        return to_geodataframe(self.polygons(min_area=min_area, simplify=simplify))

    def to_xarray(self) -> Dataset:
        """Labels, scores and, if `predict` kept them, probabilities `(class, y, x)` as an xarray Dataset; rioxarray
        finds CRS, transform and nodata in it.

        Raises:
            UsageError: xarray is not installed.
        """
        from earthwords.inference.segment.labelled_result import to_dataset

        return to_dataset(self)

    def plot(self, *, max_side: int = 1024) -> Image:
        """The image, the classes over it and a legend, as a PIL image: `.show()` or `.save(...)` it.

        Args:
            max_side: longest side of a panel in pixels.
        """
        preview = PreviewBuilder(self.grid, self.vocabulary, max_side=max_side)
        for strip in self._strips():
            preview.add(strip.row, strip.rgb, strip.labels, strip.valid)
        return preview.image()

    def map(self, *, height: int = 480, max_side: int = 2048) -> Any:
        """A map for a notebook: classes over the image with sliders for thresholds, and marks that come back.

        It is a widget (`anywidget`, in the extra `notebook`) that asks no server, so it works in JupyterLab, VS Code,
        Colab and behind a hub; where widgets are not shown, the picture of `plot` is.

        Args:
            height: of the map, screen pixels.
            max_side: longest side of the pictures in pixels; larger results are shown smaller.

        Returns:
            The widget: `.thresholds`, `.opacity`, `.marks` (GeoJSON in degrees) and `.clicked` follow what is done on
            the map; `.to_geodataframe()` has the marks for `teach`.

        Raises:
            UsageError: anywidget is not installed.

        Example:
            >>> shown = result.map()
            >>> shown
            >>> taught = segmenter.teach(shown.to_geodataframe(), ["water", "trees"], scenes="ortho.tif")
        """
        from earthwords.inference.segment.on_map import content_of
        from earthwords.viz.notebook import notebook_map

        return notebook_map(content_of(self, max_side=max_side), height=height)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.plot().save(buffer, format="PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        figures = Figures(self.grid, self.vocabulary)
        for strip in self._strips():
            figures.add(strip)
        found = zip(self.vocabulary.titles, figures.shares, strict=True)
        shares = ", ".join(f"{title} {share:.1%}" for title, share in found)
        return f"SegmentationResult({self.grid.height} x {self.grid.width} pixels: {shares})"

    def _strips(self) -> Iterator[Strip]:
        for row in range(0, self.grid.height, _ROWS):
            rows = slice(row, row + _ROWS)
            yield Strip(
                row=row,
                labels=self.labels[rows],
                score=self.score[rows],
                rgb=np.divide(np.moveaxis(self.image[rows], -1, 0), 255, dtype=np.float32),
                valid=self.valid[rows],
                probabilities=None if self.probabilities is None else self.probabilities[:, rows],
                undecided=None if self.undecided is None else self.undecided[rows],
            )


def gathered(
    strips: Iterable[Strip],
    *,
    scene: Scene,
    vocabulary: Vocabulary,
    tags: Mapping[str, str],
    probabilities: bool,
    notes: tuple[str, ...] = (),
) -> SegmentationResult:
    """The strips of a scene's region in memory.

    Args:
        probabilities: strips have them, and they are kept.
    """
    grid = scene.native.window(scene.region)
    result = SegmentationResult(
        labels=np.empty(grid.shape, vocabulary.label_dtype),
        score=np.empty(grid.shape, np.float32),
        probabilities=np.empty((len(vocabulary), *grid.shape), np.float32) if probabilities else None,
        image=np.empty((*grid.shape, 3), np.uint8),
        valid=np.empty(grid.shape, bool),
        grid=grid,
        vocabulary=vocabulary,
        tags=dict(tags),
        source=scene.source,
        notes=notes,
    )
    undecided = np.zeros(grid.shape, bool)
    figures = Figures(grid, vocabulary, radar=is_radar(tags))
    for strip in strips:
        figures.add(strip)
        rows = slice(strip.row, strip.row + len(strip.labels))
        if strip.undecided is not None:
            undecided[rows] = strip.undecided
        result.labels[rows], result.score[rows], result.valid[rows] = strip.labels, strip.score, strip.valid
        result.image[rows] = np.rint(np.moveaxis(strip.rgb, 0, -1) * 255)
        if result.probabilities is not None:
            result.probabilities[:, rows] = strip.probabilities
    every_note = tuple(dict.fromkeys(printable_notes((*notes, *figures.notes()))))
    return replace(result, notes=every_note, undecided=undecided if figures.undecided_share is not None else None)
