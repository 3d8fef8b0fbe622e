"""Opens scenes and maps one after another, with a bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from earthwords.geo.grids.georeference import Bounds
from earthwords.geo.probability_map import open_map
from earthwords.geo.scene import SceneSpec
from earthwords.inference.cautions import enforce
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.suggest.run import Open
from earthwords.inference.suggest.sources import Mapped, ModelMapped, of_map
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.jobs.job import Tick
from earthwords.jobs.progress import Bar, Console
from earthwords.types import Vocabulary

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter


def model_scenes(
    sources: Sequence[str],
    segmenter: Segmenter,
    vocabulary: Vocabulary,
    spec: SceneSpec,
    console: Console,
    *,
    threshold: float | None = None,
    strict: bool = False,
    on_bar: Callable[[], Bar] = Bar,
) -> dict[str, Open]:
    """Scenes that are mapped now.

    Args:
        spec: how each is opened.
        strict: a caution is an error.
        on_bar: gives the bar that counts scenes, of many.
    """
    request = SegmentRequest(vocabulary=vocabulary, spec=spec, threshold=threshold, strict=strict)
    own = dict(segmenter.preset.thresholds)
    least = own.get(vocabulary.titles[0], segmenter.preset.threshold) if threshold is None else threshold

    @contextmanager
    def open_one(source: str) -> Iterator[tuple[Mapped, Tick]]:
        with request.of(source).open(segmenter) as scene:
            mapped = ModelMapped(
                segmenter=segmenter, scene=scene, vocabulary=vocabulary, threshold=least, policy=FailurePolicy()
            )
            enforce(mapped.notes, strict=strict)
            if len(sources) > 1:
                yield mapped, lambda windows: None
                on_bar()(1)
                return
            with console.bar("looking", mapped.windows, unit="windows") as bar:
                yield mapped, bar

    return {source: (lambda source=source: open_one(source)) for source in sources}  # type: ignore[misc]


def map_scenes(
    paths: Sequence[str], console: Console, *, bounds: Bounds | None = None, on_bar: Callable[[], Bar] = Bar
) -> dict[str, Open]:
    """Maps that were made before, or the part of each within bounds; see `model_scenes`."""

    @contextmanager
    def open_one(path: str) -> Iterator[tuple[Mapped, Tick]]:
        with open_map(path) as opened:
            part = opened if bounds is None else opened.within(bounds)
            mapped = of_map(part)
            with mapped.scene or nullcontext():
                if len(paths) > 1:
                    yield mapped, lambda rows: None
                    on_bar()(1)
                    return
                with console.bar("looking", part.grid.height, unit="rows") as bar:
                    yield mapped, bar

    return {path: (lambda path=path: open_one(path)) for path in paths}  # type: ignore[misc]
