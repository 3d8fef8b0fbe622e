"""What to mark next, in Python: `Segmenter.suggest`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import UsageError, unknown
from earthwords.files.paths import is_local_path
from earthwords.inference.cautions import enforce
from earthwords.inference.suggest.marked import MarkSet, PixelMarks, read_marked
from earthwords.inference.suggest.result import Suggestions
from earthwords.inference.suggest.run import Open, SuggestOptions, suggest_places
from earthwords.inference.suggest.select import RULES
from earthwords.inference.suggest.sources import Mapped, ModelMapped
from earthwords.inference.teach.in_memory import check_reading, earlier_of, listed
from earthwords.inference.teach.opening import openers_in_memory
from earthwords.inference.teach.teaching import Earlier
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.jobs.job import Tick
from earthwords.types import Vocabulary

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter


def suggest_in_memory(
    segmenter: Segmenter,
    n: int,
    *,
    scenes: Any,
    vocabulary: Vocabulary,
    rule: str,
    tiles: int | None,
    marks: Any,
    seed: int,
    strict: bool,
    reading: dict[str, Any],
) -> Suggestions:
    """See `Segmenter.suggest`."""
    if rule not in RULES:
        raise unknown("rule", rule, RULES)
    check_reading(reading)
    before = None if scenes is not None and marks is not None else earlier_of(segmenter)
    sources = listed(scenes) if scenes is not None else _taught_on(segmenter, before)
    marked: MarkSet | None = None if before is None else PixelMarks(before.pixels)
    if marks is not None:
        marked = read_marked(marks)
    own = dict(segmenter.preset.thresholds)
    least = own.get(vocabulary.titles[0], segmenter.preset.threshold)
    openers = openers_in_memory(segmenter, sources, reading)

    @contextmanager
    def opened(name: str) -> Iterator[tuple[Mapped, Tick]]:
        with openers[name]() as scene:
            mapped = ModelMapped(
                segmenter=segmenter, scene=scene, vocabulary=vocabulary, threshold=least, policy=FailurePolicy(),
                named=name,
            )  # fmt: skip
            enforce(mapped.notes, strict=strict)
            yield mapped, lambda windows: None

    places: dict[str, Open] = {name: (lambda name=name: opened(name)) for name in openers}  # type: ignore[misc]
    return suggest_places(places, SuggestOptions(n=n, rule=rule, tiles=tiles, seed=seed), marked)


def _taught_on(segmenter: Segmenter, before: Earlier | None) -> list[Any]:
    """The scenes that marks were put in, of files alone."""
    known = (
        []
        if before is None
        else [name for name in before.pixels.scenes if not is_local_path(name) or Path(name).is_file()]
    )
    if not known:
        raise UsageError(f"Name scenes: {segmenter.preset.name} knows none that marks were put in.")
    return known
