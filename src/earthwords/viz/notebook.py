"""A map in a notebook: image, classes with sliders, marks that come back. anywidget carries it, no server is asked."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from earthwords.errors import UsageError

BUNDLE = Path(__file__).parent / "widget"
OPACITY = 0.6


@dataclass(frozen=True, kw_only=True)
class MapContent:
    """What a map in a notebook shows."""

    image: bytes
    """PNG in EPSG:3857."""
    scores: bytes
    """PNG in EPSG:3857: class + 1 (0: nothing observed), its score 0..250, that of the runner-up."""
    corners: Sequence[Sequence[float]]
    """Longitude and latitude of upper left, upper right, lower right, lower left."""
    classes: Sequence[tuple[str, tuple[int, int, int]]]
    """Titles and colours."""
    thresholds: Mapping[str, float]
    notes: Sequence[str]
    preview: Callable[[], bytes]
    """PNG for whoever cannot show the map."""
    to_crs: Callable[[Any], Any]
    """A GeoDataFrame in degrees to the coordinates of the scene."""


def notebook_map(content: MapContent, *, height: int) -> Any:
    """A widget.

    Raises:
        UsageError: anywidget is not installed.
    """
    return _widget_class()(content, height)


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + bytes(colour).hex()


@cache
def _widget_class() -> type[Any]:
    try:
        import anywidget
        import traitlets
    except ImportError:
        raise UsageError('The map of a notebook needs anywidget; run pip install "earthwords[notebook]".') from None

    class NotebookMap(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
        """The map of a result.

        `thresholds` and `opacity` follow the sliders, and move them; `marks` is a GeoJSON FeatureCollection of what was
        drawn, in degrees; `clicked` is the last place that was clicked, with class and score. All can be observed:
        `shown.observe(lambda change: print(change.new), "clicked")`.
        """

        _esm = BUNDLE / "widget.js"
        _css = BUNDLE / "widget.css"
        image = traitlets.Bytes().tag(sync=True)
        scores = traitlets.Bytes().tag(sync=True)
        corners = traitlets.List().tag(sync=True)
        classes = traitlets.List().tag(sync=True)
        thresholds = traitlets.Dict().tag(sync=True)
        opacity = traitlets.Float(OPACITY, min=0, max=1).tag(sync=True)
        marks = traitlets.Dict({"type": "FeatureCollection", "features": []}).tag(sync=True)
        clicked = traitlets.Dict(None, allow_none=True).tag(sync=True)
        notes = traitlets.List().tag(sync=True)
        height = traitlets.Int(480).tag(sync=True)

        def __init__(self, content: MapContent, height: int) -> None:
            super().__init__(
                image=content.image,
                scores=content.scores,
                corners=[list(corner) for corner in content.corners],
                classes=[{"title": title, "colour": _hex(colour)} for title, colour in content.classes],
                thresholds=dict(content.thresholds),
                notes=list(content.notes),
                height=height,
            )
            self._content = content

        def to_geodataframe(self) -> Any:
            """The marks, with a column `class`, in the coordinates of the scene: what `teach` takes."""
            import geopandas

            features = self.marks["features"]
            if not features:
                return geopandas.GeoDataFrame({"class": []}, geometry=[], crs="EPSG:4326")
            return self._content.to_crs(
                geopandas.GeoDataFrame.from_features(features, crs="EPSG:4326")[["class", "geometry"]]
            )

        def _repr_mimebundle_(self, **options: Any) -> Any:
            """The widget, and a picture for whoever has none."""
            made = super()._repr_mimebundle_(**options)
            data, about = made if isinstance(made, tuple) else (made or {}, {})
            picture = base64.b64encode(self._content.preview()).decode("ascii")
            return {**data, "image/png": picture}, about

    return NotebookMap
