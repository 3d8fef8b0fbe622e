"""Teaching and suggesting in Python: `Segmenter.teach`, `Segmenter.suggest`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import UsageError
from earthwords.geo.bands import as_items
from earthwords.inference.teach.choice import HEADS
from earthwords.inference.teach.collect import collect
from earthwords.inference.teach.opening import open_labels, openers_in_memory
from earthwords.inference.teach.teaching import Earlier, Teaching, TeachRequest, read_earlier, teaching_of
from earthwords.jobs.progress import Console

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter

READING = ("bands", "gsd", "nodata", "stretch", "mask", "transform", "crs")
"""Of the arguments of `open_scene` those that say how whole scenes are read."""


def teach_in_memory(
    segmenter: Segmenter,
    labels: Any,
    words: Sequence[str],
    *,
    scenes: Any,
    column: str | None,
    names: str | Path | None,
    background: str | None,
    head: str,
    seed: int,
    strict: bool,
    reading: dict[str, Any],
) -> Teaching:
    """See `Segmenter.teach`."""
    began, console = time.perf_counter(), Console(quiet=True)
    if segmenter.encoder.head is not None:
        raise UsageError(f"The preset {segmenter.preset.name} has a head, which marks cannot teach.")
    if head not in ("auto", *HEADS):
        raise UsageError(f"There is no head {head!r}; there are: auto, {', '.join(HEADS)}.")
    if seed < 0:
        raise UsageError(f"The seed must be 0 or more, got {seed}.")
    if isinstance(words, str):
        raise UsageError(f"`words` is a list, one string a class; got {words!r}.")
    check_reading(reading)
    labels = Path(labels) if isinstance(labels, (str, Path)) else labels
    found, sources = open_labels(
        labels, column=column, names=None if names is None else Path(names), text=words, seed=seed,
        scenes=listed(scenes), console=console,
    )  # fmt: skip
    before = earlier_of(segmenter)
    bands, nodata, stretch = segmenter.preset.reading(
        bands=reading.get("bands"), nodata=reading.get("nodata"), stretch=str(reading.get("stretch", "auto"))
    )
    request = TeachRequest(
        words=words, background=background, head=head, seed=seed, strict=strict,
        bands=None if bands is None else tuple(as_items(bands)), gsd=reading.get("gsd", segmenter.preset.taught_gsd),
        nodata=nodata, stretch=stretch,
    )  # fmt: skip
    openers = openers_in_memory(segmenter, sources, reading)
    known = None if before is None else before.pixels
    collected = collect(segmenter, openers, found, console, seed=seed, known=known)
    return teaching_of(segmenter, collected, request, console, began=began, before=before)


def earlier_of(segmenter: Segmenter) -> Earlier | None:
    """What a segmenter was taught, in memory or from a folder."""
    if segmenter.teaching is not None:
        return segmenter.teaching.earlier()
    return None if segmenter.preset.taught is None else read_earlier(Path(segmenter.preset.taught), segmenter)


def check_reading(reading: dict[str, Any]) -> None:
    """Refuse what is no way to read a scene.

    Raises:
        UsageError: which name, and what there is.
    """
    for name in reading:
        if name not in READING:
            raise UsageError(f"Scenes are not read with {name!r}; there are: {', '.join(READING)}.")


def listed(scenes: Any) -> list[Any]:
    """Some scenes, or the one."""
    return list(scenes) if isinstance(scenes, (list, tuple)) else [scenes]
