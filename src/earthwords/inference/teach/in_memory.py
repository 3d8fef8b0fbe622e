"""Teaching and suggesting in Python: `Segmenter.teach`, `Segmenter.suggest`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import UsageError
from earthwords.geo.bands import as_items
from earthwords.inference.teach.choice import HEADS
from earthwords.inference.teach.collect import Labels, Opener, collect
from earthwords.inference.teach.opening import open_labels, openers_in_memory, whole_path
from earthwords.inference.teach.teaching import Earlier, Teaching, TeachRequest, read_earlier, teaching_of
from earthwords.inference.windows.kept import KeptWindows
from earthwords.jobs.progress import Console

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter
    from earthwords.inference.segment.view import SceneView

READING = ("bands", "gsd", "nodata", "stretch", "mask", "transform", "crs", "aoi")
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
    began = time.perf_counter()
    _check(segmenter, words, head=head, seed=seed)
    check_reading(reading)
    labels = Path(labels) if isinstance(labels, (str, Path)) else labels
    found, sources = open_labels(
        labels, column=column, names=None if names is None else Path(names), text=words, seed=seed,
        scenes=listed(scenes), console=Console(quiet=True),
    )  # fmt: skip
    request = _request(segmenter, reading, words=words, background=background, head=head, seed=seed, strict=strict)
    return _taught(segmenter, openers_in_memory(segmenter, sources, reading), found, request, None, began)


def teach_on_view(
    segmenter: Segmenter,
    view: SceneView,
    labels: Any,
    words: Sequence[str],
    *,
    column: str | None,
    background: str | None,
    head: str,
    seed: int,
    strict: bool,
) -> Teaching:
    """See `SceneView.teach`."""
    began = time.perf_counter()
    _check(segmenter, words, head=head, seed=seed)
    labels = Path(labels) if isinstance(labels, (str, Path)) else labels
    scene = view.scene
    found, _ = open_labels(
        labels, column=column, names=None, text=words, seed=seed, scenes=[scene], console=Console(quiet=True)
    )
    request = _request(segmenter, view.reading, words=words, background=background, head=head, seed=seed, strict=strict)
    return _taught(segmenter, {whole_path(scene.source): view.opened}, found, request, view.kept(segmenter), began)


def _check(segmenter: Segmenter, words: Sequence[str], *, head: str, seed: int) -> None:
    """Refuse what cannot be learned so.

    Raises:
        UsageError: what.
    """
    if segmenter.clip.head is not None:
        raise UsageError(f"The preset {segmenter.preset.name} has a head, which marks cannot teach.")
    if head not in ("auto", *HEADS):
        raise UsageError(f"There is no head {head!r}; there are: auto, {', '.join(HEADS)}.")
    if seed < 0:
        raise UsageError(f"The seed must be 0 or more, got {seed}.")
    if isinstance(words, str):
        raise UsageError(f"`words` is a list, one string a class; got {words!r}.")


def _request(segmenter: Segmenter, reading: dict[str, Any], **how: Any) -> TeachRequest:
    """What to learn, from scenes that are read so."""
    bands, nodata, stretch = segmenter.preset.reading(
        bands=reading.get("bands"), nodata=reading.get("nodata"), stretch=str(reading.get("stretch", "auto"))
    )
    return TeachRequest(
        bands=None if bands is None else tuple(as_items(bands)), gsd=reading.get("gsd", segmenter.preset.taught_gsd),
        nodata=nodata, stretch=stretch, **how,
    )  # fmt: skip


def _taught(
    segmenter: Segmenter, openers: dict[str, Opener], labels: Labels, request: TeachRequest, kept: KeptWindows | None,
    began: float,
) -> Teaching:  # fmt: skip
    console, before = Console(quiet=True), earlier_of(segmenter)
    known = None if before is None else before.pixels
    collected = collect(segmenter, openers, labels, console, seed=request.seed, known=known, kept=kept)
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
