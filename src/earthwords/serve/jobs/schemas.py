"""Bodies of requests for jobs, and of answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from earthwords.serve.schemas import Asked, Bounds, Key, NoteBody, Sentence, Words

Kind = Literal["segment", "change", "count", "refer", "teach", "index", "prepare"]


class JobArguments(Asked):
    """What a job works on; each kind takes some of these."""

    source: Key | None = None
    sources: Annotated[list[Key], Field(max_length=1000)] | None = None
    words: Words | None = None
    sentences: Annotated[list[Sentence], Field(max_length=64)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    taught: Key | None = None
    bounds: Bounds | None = None
    align: bool | None = None
    min_area: Annotated[float, Field(ge=0, le=1e12)] | None = None
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")] | None = None
    """Of an index."""


class JobAsked(Asked):
    """A job."""

    kind: Kind
    arguments: JobArguments


class JobProgress(Asked):
    """How far it is."""

    what: str | None = None
    done: float | None = None
    total: float | None = None
    unit: str | None = None
    rate: float | None = None
    left_s: float | None = None


class JobBody(Asked):
    """A job as it is now."""

    id: str
    kind: str
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    arguments: dict[str, Any]
    created: str
    started: str | None
    finished: str | None
    progress: JobProgress | None
    notes: list[NoteBody]
    error: str | None
    result: str | None
    attempts: int
    label: str


class JobsBody(Asked):
    """Jobs, the newest first."""

    jobs: list[JobBody]
