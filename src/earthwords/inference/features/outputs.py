"""From strips of features to files: a raster, its components, a picture, a report, in one pass.

All are made in hidden folders and appear when everything is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from earthwords.files.atomic import writing
from earthwords.files.output_sets import staging_all
from earthwords.files.output_tags import TAG, save_png
from earthwords.geo.geotiff import RasterWriter
from earthwords.inference.features.pca import Components
from earthwords.inference.features.strips import FeatureStrip
from earthwords.inference.windows.failures import from_the_top
from earthwords.inference.windows.outputs import of_grid, on_success, save_report, settings_of
from earthwords.reports import FeatureReport
from earthwords.types import Grid
from earthwords.viz.feature_preview import FeaturePicture

MOST_WITH_OVERVIEWS = 32
"""Bands of a raster with overviews."""
BLOCK_BYTES = 2**23
"""A tile of a raster with many bands takes about so much at most."""


@dataclass(frozen=True, kw_only=True)
class AboutFeatures:
    """What outputs tell of the features they hold."""

    source: str
    dst: Path
    grid: Grid
    """Of all outputs."""
    method: str
    dim: int
    """Channels of the features."""
    components: Components | None
    """That the strips hold, at least those of the raster; None: all channels."""
    bands: int
    """Of the raster."""
    colours: Components | None
    """Of pictures."""
    tags: Mapping[str, str]
    notes: tuple[str, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Already spent."""

    @property
    def variance(self) -> tuple[float, ...]:
        """Of the bands of the raster."""
        if self.components is None:
            return ()
        return tuple(round(share, 6) for share in self.components.first(self.bands).shares.tolist())

    @property
    def band_names(self) -> tuple[str, ...]:
        """Of the raster."""
        if self.components is None:
            return tuple(f"feature {i + 1}" for i in range(self.bands))
        return tuple(f"PC {i + 1} ({100 * share:.1f} % of variance)" for i, share in enumerate(self.variance))


def write_features(
    paths: Mapping[str, Path],
    strips: Iterable[FeatureStrip],
    *,
    about: AboutFeatures,
    creation_options: Mapping[str, str],
    overwrite: bool,
    failures: list[str],
    writing_begins: Callable[[], None] = lambda: None,
    moved: Callable[[FeatureReport], None] = lambda report: None,
) -> FeatureReport:
    """Write all of it in one pass.

    Args:
        paths: kinds `features`, `components`, `preview`, `report`, each with its path.
        strips: from top to bottom.
        failures: complete when the strips have ended.
        writing_begins: called when the strips have ended, before what is left to write is written.
        moved: called with the report when all is in its place, while a death would still make the same command begin
            again.

    Raises:
        OutputError: an output cannot be written.
    """
    began, seen = time.perf_counter(), 0
    settings = {**of_grid(about.grid), "creation-options": str(dict(creation_options)), **settings_of(about.tags)}
    with staging_all(paths, settings=settings, overwrite=overwrite, moved=lambda: moved(report)) as places:
        with ExitStack() as stack:
            sinks = _sinks(places, about, creation_options, stack)
            for strip in strips:
                seen += int(strip.valid.sum())
                for sink in sinks:
                    sink(strip)
            upsampled = time.perf_counter()
            writing_begins()
        if "components" in places and about.components is not None:
            with writing(places["components"]):
                about.components.first(about.bands).save(places["components"], about=about.tags)
        seconds = {
            **about.seconds,
            "upsampling": upsampled - began,
            "finishing": time.perf_counter() - upsampled,
        }
        seconds["total"] = sum(seconds.values())
        height, width = about.grid.shape
        report = FeatureReport(
            source=about.source,
            dst=about.dst,
            outputs=dict(paths),
            method=about.method,
            bands=about.band_names,
            variance=about.variance,
            height=height,
            width=width,
            nodata_share=round(1 - seen / (height * width), 6),
            settings=settings_of(about.tags),
            notes=about.notes,
            seconds={name: round(value, 3) for name, value in seconds.items()},
            failures=from_the_top(failures),
        )
        save_report(report, places)
    return report


Sink = Callable[[FeatureStrip], None]


def _sinks(
    places: Mapping[str, Path], about: AboutFeatures, creation_options: Mapping[str, str], stack: ExitStack
) -> list[Sink]:
    """A function for every output that takes strips; `stack` completes them, after an exception it abandons them."""
    sinks: list[Sink] = []
    if "features" in places:
        writer = stack.enter_context(
            RasterWriter(
                places["features"],
                grid=about.grid,
                count=about.bands,
                dtype="float32",
                nodata=float("nan"),
                band_names=about.band_names,
                tags={**about.tags, TAG: "features"},
                creation_options={**raster_options(about.bands), **creation_options},
                resampling="average",
            )
        )
        sinks.append(lambda strip: writer.write(strip.row, strip.values[: about.bands]))
    if "preview" in places:
        sinks.append(_picture_sink(places["preview"], about, stack))
    return sinks


def _picture_sink(path: Path, about: AboutFeatures, stack: ExitStack) -> Sink:
    colours = about.colours
    assert colours is not None
    shares = ", ".join(f"{100 * share:.0f}" for share in colours.shares.tolist())
    captions = ("image", f"tokens: {len(colours)} components ({shares} % of variance)", f"upsampled: {about.method}")
    picture = FeaturePicture(about.grid, captions)

    def sink(strip: FeatureStrip) -> None:
        assert strip.tokens is not None
        fine = torch.from_numpy(strip.values)
        fine = colours.project(fine) if about.components is None else fine[: len(colours)]
        panels = [strip.rgb, _rgb(colours, torch.from_numpy(strip.tokens)), _rgb(colours, fine)]
        picture.add(strip.row, panels, strip.valid)

    def finish() -> None:
        with writing(path):
            save_png(picture.image(), path, kind="preview")

    on_success(stack, finish)
    return sink


def _rgb(colours: Components, values: torch.Tensor) -> NDArray[np.float32]:
    """`(component, row, col)` to `(3, row, col)` in 0..1; with fewer than three components the last one is repeated."""
    stretched = colours.stretched(values).numpy()
    return stretched[[min(i, len(stretched) - 1) for i in range(3)]]


def block_side(bands: int) -> int:
    """Side of the tiles of a float32 raster: with many bands smaller than GDAL's, which hold all of them."""
    return next((side for side in (512, 256) if 4 * bands * side**2 <= BLOCK_BYTES), 128)


def raster_options(bands: int) -> dict[str, str]:
    """Creation options of a float32 raster, unless told otherwise.

    GDAL reads a scene again for every band to make overviews once it exceeds its cache, which takes hours for hundreds
    of bands; nobody looks at them all.
    """
    few = {"BLOCKSIZE": str(block_side(bands))}
    return few if bands <= MOST_WITH_OVERVIEWS else {**few, "OVERVIEWS": "NONE"}
