"""Bodies of requests for views, and of answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from earthwords.serve.schemas import Asked, Bounds, ClassBody, Key, NoteBody, ScoreHistogram, Sentence, Word, Words

MOST_SIDE = 1024
"""Pixels of a view."""
MOST_MARKS = 5_000
FewWords = Annotated[list[Word], Field(max_length=64)]
Against = Literal["auto", "none"] | FewWords


class Collection(Asked):
    """A GeoJSON FeatureCollection of marks, `properties.class` in each."""

    type: Literal["FeatureCollection"]
    features: Annotated[list[dict[str, Any]], Field(max_length=MOST_MARKS)]


class PartAsked(Asked):
    """A part of a source."""

    source: Key
    bounds: Bounds
    max_side: Annotated[int, Field(ge=32, le=MOST_SIDE)] = 448
    """Pixels a side; a larger part is shrunk to it."""

    @model_validator(mode="after")
    def _not_empty(self) -> PartAsked:
        west, south, east, north = self.bounds
        if not (west < east and south < north):
            raise ValueError("west must be less than east, and south less than north")
        return self


class ViewAsked(PartAsked):
    """A map of a part."""

    words: FewWords = Field(default_factory=list)
    """Classes, each with commas between synonyms; may be left out where marks have taught some."""
    fast: bool = False
    """A coarse map at once."""
    taught: Key | None = None
    against: Against = "auto"
    """Words that compete as background."""


class TeachAsked(PartAsked):
    """Marks to learn from."""

    words: FewWords = Field(default_factory=list)
    marks: Collection
    onto: Key | None = None
    """A teaching to go on from."""


class ReferAsked(PartAsked):
    """A sentence."""

    sentence: Sentence
    all: bool = False
    """All places that it fits."""
    max_side: Annotated[int, Field(ge=32, le=MOST_SIDE)] = MOST_SIDE


class CountAsked(PartAsked):
    """Things to count."""

    words: Words


class SuggestAsked(PartAsked):
    """Where to mark next."""

    words: FewWords = Field(default_factory=list)
    taught: Key | None = None
    n: Annotated[int, Field(ge=1, le=200)] = 10
    marks: Collection | None = None
    """What is marked already."""


class PlaceAsked(Asked):
    """A place in a source."""

    source: Key
    lng: Annotated[float, Field(ge=-180, le=180)]
    lat: Annotated[float, Field(ge=-90, le=90)]


class SimilarAsked(Asked):
    """What to look for in an archive."""

    index: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    words: Sentence | None = None
    point: PlaceAsked | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 20


class SaveAsked(Asked):
    """Keep a teaching as a preset."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]


class ViewExportAsked(Asked):
    """A view as a file."""

    format: Literal["png", "geojson", "gpkg", "geotiff"]
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """By title of a class; others keep theirs."""
    min_area: Annotated[float, Field(ge=0, le=1e12)] = 0.0
    simplify: Annotated[float, Field(ge=0, le=1e6)] = 0.0


class ViewBody(Asked):
    """A map of a part."""

    id: str
    source: str
    fast: bool
    taught: str | None
    bounds: Bounds
    corners: list[list[float]]
    """Of the score picture: upper left, upper right, lower right, lower left."""
    width: int
    height: int
    gsd_m: float | None
    classes: list[ClassBody]
    thresholds: dict[str, float]
    scores_url: str
    histogram: ScoreHistogram
    notes: list[NoteBody]
    seconds: float
    cached: bool


class CollectionBody(Asked):
    """Features in degrees."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: list[dict[str, Any]]
    notes: list[NoteBody]


class CountBody(CollectionBody):
    """Things as points."""

    counts: dict[str, int]


class TaughtRow(Asked):
    """A class that was taught."""

    name: Annotated[str, Field(alias="class")]
    marks: int
    words_iou: float | None
    taught_iou: float | None


class TeachReportBody(Asked):
    """How well it does on marks that were left out."""

    method: str
    rows: list[TaughtRow]
    notes: list[NoteBody]


class TeachBody(Asked):
    """What marks have taught."""

    taught: str
    view: ViewBody
    report: TeachReportBody


class SavedBody(Asked):
    """A preset that `--preset` takes."""

    name: str
    folder: str
