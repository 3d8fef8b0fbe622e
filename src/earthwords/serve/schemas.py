"""Bodies of requests and answers; what is not named is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_WORDS = 64
MOST_LETTERS = 200

Longitude = Annotated[float, Field(ge=-180, le=180)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Bounds = tuple[Longitude, Latitude, Longitude, Latitude]
"""West, south, east, north in degrees."""
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Word = Annotated[str, Field(min_length=1, max_length=MOST_LETTERS, pattern=PRINTABLE)]
Words = Annotated[list[Word], Field(min_length=1, max_length=MOST_WORDS)]
"""Classes, each with commas between synonyms."""
Sentence = Annotated[str, Field(min_length=1, max_length=500, pattern=PRINTABLE)]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{6,64}$")]


class Asked(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class NoteBody(BaseModel):
    """A sentence about what a result is worth."""

    kind: Literal["note", "caution"]
    text: str


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None


class TokenAsked(Asked):
    """The token that the server printed."""

    token: Annotated[str, Field(max_length=MOST_LETTERS)]


class SessionBody(BaseModel):
    """Whether the caller is known."""

    authenticated: bool


class SourceBody(BaseModel):
    """A raster of the library."""

    id: str
    name: str
    width: int
    height: int
    bands: int
    dtype: str
    crs: str | None
    georeferenced: bool
    gsd_m: float | None
    bounds: Bounds
    size_bytes: int
    day: str | None
    ready: bool
    preparing: bool
    notes: list[NoteBody]


class IndexBody(BaseModel):
    """A searchable archive."""

    id: str
    name: str


class LeftOutBody(BaseModel):
    """A file of the folder that is not served."""

    name: str
    reason: str


class SourcesBody(BaseModel):
    """The library."""

    folder: str
    workspace: str
    sources: list[SourceBody]
    left_out: list[LeftOutBody]
    indexes: list[IndexBody]
    presets: list[str]
    preset: str


class PlaceBody(BaseModel):
    """The two best classes at a place."""

    model_config = ConfigDict(populate_by_name=True)
    name: Annotated[str | None, Field(alias="class")]
    score: float
    second: str | None
    second_score: float
    lng: float
    lat: float


class ClassBody(BaseModel):
    """A class as the model reads it."""

    title: str
    queries: list[str]
    colour: str
    background: bool
    """Whether it takes the pixels that nothing else fits."""


class ClassAreas(BaseModel):
    """Area of a class by score: entry g is of the score g / 250; at threshold t it is the sum from `ceil(250 t)` on."""

    title: str
    colour: str
    areas: list[float]


class ScoreHistogram(BaseModel):
    """Areas of all classes by score."""

    unit: Literal["m2", "px"]
    classes: list[ClassAreas]
    observed: float


class FileBody(BaseModel):
    """A file of a result."""

    kind: str
    name: str
    size: int


class ResultBody(BaseModel):
    """What a job has made, or makes."""

    id: str
    job: str
    kind: str
    source: str | None
    sources: list[str]
    bounds: Bounds | None
    classes: list[dict[str, Any]]
    thresholds: dict[str, float]
    notes: list[NoteBody]
    report: dict[str, Any] | None
    files: list[FileBody]
    complete: bool
    gsd_m: float | None
