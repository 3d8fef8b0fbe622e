"""Features of the marked pixels of scenes and of some around them; what is known from before is not computed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import Caution, UsageError, number_of
from earthwords.geo.scene import Scene
from earthwords.geo.vectors.aoi import AoiOnGrid, OutsideError
from earthwords.inference.teach.features import features_at, whole_plan, windows_of
from earthwords.inference.teach.marked_pixels import MarkedPixels
from earthwords.inference.teach.marks import Marks
from earthwords.inference.windows.cues import Cues
from earthwords.inference.windows.kept import KeptWindows
from earthwords.inference.windows.sliding import WindowPlan
from earthwords.jobs.progress import Console

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter

AROUND_WINDOWS, AROUND_PIXELS = 24, 64
"""Windows of all scenes together, and pixels of each, that tell how common the classes are."""
_NOT_OF_FEATURES = frozenset(
    {
        "name",
        "logit_scale",
        "sum_to_one",
        "nothing",
        "threshold",
        "thresholds",
        "note",
    }
)
Opener = Callable[[], AbstractContextManager[Scene]]


class Labels(Protocol):
    """Marks that may lie in any scene."""

    def on(self, scene: Scene) -> Marks:
        """Those of a scene."""

    def finish(self, scenes: int) -> list[str]:
        """What to say when all scenes were seen."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What was marked, and what is to be said about it."""

    examples: MarkedPixels
    notes: tuple[str, ...]
    marks: dict[str, Marks]
    """By scene."""
    computed: int
    """Windows."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A scene with marks, before anything is computed."""

    source: str
    open: Opener
    marks: Marks
    shapes: tuple[tuple[int, int], tuple[int, int]]
    """Of the scene's own grid, and of the one that is worked at."""
    plan: WindowPlan
    """Of all windows of the scene."""
    around: WindowPlan
    """Of those near the middles of which is looked how common the classes are."""
    identity: str
    aoi: AoiOnGrid | None


@dataclass(frozen=True, kw_only=True)
class _Known:
    """Features of pixels of a scene's working grid."""

    width: int
    places: NDArray[np.int64]
    """`(n,)` ascending numbers of pixels, row by row."""
    features: NDArray[np.float32]
    cues: NDArray[np.float32]

    def at(self, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
        """`(n,)`: which of them each pixel is; -1: none."""
        wanted = pixels[:, 0] * self.width + pixels[:, 1]
        if not len(self.places):
            return np.full(len(wanted), -1, np.int64)
        found = np.minimum(np.searchsorted(self.places, wanted), len(self.places) - 1)
        return np.where(self.places[found] == wanted, found, -1)


@dataclass(kw_only=True)
class _Outside:
    """What an area of interest leaves out."""

    name: str = ""
    scenes: int = 0
    pixels: int = 0
    sentence: str = ""

    @contextmanager
    def seen(self) -> Iterator[None]:
        """Count a scene that it does not touch, instead of failing."""
        try:
            yield
        except OutsideError as error:
            self.scenes, self.sentence = self.scenes + 1, str(error)

    def without(self, marks: Marks, scene: Scene) -> Marks:
        """The marks inside."""
        if scene.aoi is None or not len(marks):
            return marks
        self.name, inside = scene.aoi.aoi.name, scene.aoi.holds(marks.pixels)
        self.pixels += int((~inside).sum())
        return marks.part(inside)

    def notes(self, scenes: int, *, learned: bool) -> list[str]:
        """What to say.

        Raises:
            UsageError: nothing is left.
        """
        if scenes == self.scenes:
            raise UsageError(self.sentence)
        if self.pixels and not learned:
            raise UsageError(f"No mark lies within {self.name}; look at both on a map.")
        told = [f"{number_of(self.scenes, 'scene')} beside the area of interest left out."] if self.scenes else []
        return told + (
            [f"{number_of(self.pixels, 'marked pixel')} outside of {self.name} left out."] if self.pixels else []
        )


def collect(
    segmenter: Segmenter,
    scenes: Mapping[str, Opener],
    labels: Labels,
    console: Console,
    *,
    seed: int = 0,
    known: MarkedPixels | None = None,
    kept: KeptWindows | None = None,
) -> Collected:
    """The features of all marked pixels, and of some around them.

    Args:
        scenes: name to what opens it, at the resolution of the segmenter.
        known: of an earlier teaching: pixels of the same files, read alike, are taken from there.
        kept: what is known of windows, if there is but one scene; how common the classes are is then looked for in its
            region alone.

    Raises:
        UsageError: no mark lies in a scene.
        SourceError: a scene cannot be read.
    """
    notes: list[str] = []
    outside = _Outside()
    parts: list[_Part] = []
    for source, opener in scenes.items():
        with outside.seen(), opener() as scene:
            notes += [*scene.notes, *segmenter.scene_notes(scene)]
            marks = outside.without(labels.on(scene), scene)
            if len(marks):
                shapes = scene.native.shape, scene.grid.shape
                parts.append(
                    _Part(source=source, open=opener, marks=marks, shapes=shapes, plan=whole_plan(segmenter, scene),
                          around=segmenter.plan(scene), identity=_identity(segmenter, scene), aoi=scene.aoi)
                )  # fmt: skip
    notes += [*outside.notes(len(scenes), learned=bool(parts)), *labels.finish(len(scenes))]
    if not parts:
        overlaps = " ".join(note for note in notes if isinstance(note, Caution))
        raise UsageError(f"No mark is left to learn from: all pixels are marked as several classes. {overlaps}")
    each = max(1, AROUND_WINDOWS // len(parts))
    places = [(working(part.marks.pixels, *part.shapes), _around(part, each, seed)) for part in parts]
    tables = [_known(known, part) for part in parts]
    lacking = [_lacking(table, np.concatenate(pair)) for table, pair in zip(tables, places, strict=True)]
    windows = sum(windows_of(part.plan, pixels) for part, pixels in zip(parts, lacking, strict=True))
    found = []
    with console.bar("reading marks", windows, unit="windows") as bar:
        for part, pair, table in zip(parts, places, tables, strict=True):
            found.append(_examples(segmenter, part, *pair, table, bar, kept))
    lost = sum(len(part.marks) for part in parts) - sum(map(len, found))
    if lost:
        notes.append(f"{number_of(lost, 'marked pixel')} where nothing was observed left out.")
    if len({part.cues.shape[1] for part in found if part.cues is not None}) > 1:
        notes.append("The scenes have different numbers of bands, so their bands are not learned from.")
    whole = found[0]
    for more in found[1:]:
        whole = whole.joined(more, same_marks=True)
    if not len(whole):
        raise UsageError("All marks lie where the scenes hold no observation (nodata); mark what can be seen.")
    if several := whole.several():
        those = number_of(several, "mark")
        notes.append(
            f"{those} in several scenes of the same ground, which are left out together where heads are judged."
        )
    marks_of = {part.source: part.marks for part in parts}
    return Collected(examples=whole, notes=tuple(dict.fromkeys(notes)), marks=marks_of, computed=windows)


def working(pixels: NDArray[np.int64], native: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.int64]:
    """Pixels `(n, 2)` of a scene's own grid of one shape in the grid of another that is worked at."""
    shares = np.array(grid) / np.array(native)
    found: NDArray[np.int64] = np.minimum(np.floor((pixels + 0.5) * shares), np.array(grid) - 1).astype(np.int64)
    return found


def _identity(segmenter: Segmenter, scene: Scene) -> str:
    """What a pixel's feature depends on, as a hash; empty for a scene that nothing tells from another."""
    files = scene.identity()
    if len(files) <= 2:  # neither a file nor an address: an array
        return ""
    row = {
        name: str(value)
        for name, value in vars(segmenter.preset).items()
        if name not in _NOT_OF_FEATURES and not name.startswith("taught")
    }
    tags = {name: text for name, text in scene.tags().items() if name != "EARTHWORDS_AOI"}
    told = {**files, **tags, **row, "weights": segmenter.weights_hash, "device": segmenter.arithmetic}
    told["grid"] = str(scene.grid.shape)
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def _around(part: _Part, count: int, seed: int) -> NDArray[np.int64]:
    """Pixels `(n, 2)` of the working grid near the middles of some windows: more windows keep those of fewer.

    Of an area of interest those inside; of one that is too narrow for that, those around it.
    """
    plan = part.around
    rng = np.random.default_rng([seed, *plan.shape])
    found = []
    for _ in range(min(count, len(plan))):
        row, col = (int(rng.choice(starts)) for starts in (plan.rows, plan.cols))
        half = max(1, plan.stride // 2)
        middle = np.array([row + plan.size[0] // 2, col + plan.size[1] // 2])
        found.append(middle + rng.integers(-half, half, size=(AROUND_PIXELS, 2)))
    pixels = np.concatenate(found)
    kept: NDArray[np.int64] = pixels[(pixels >= 0).all(axis=1) & (pixels < plan.shape).all(axis=1)]
    inside = np.ones(len(kept), bool) if part.aoi is None else part.aoi.holds(kept, plan.shape)
    return kept[inside] if inside.any() else kept


def _known(known: MarkedPixels | None, part: _Part) -> _Known | None:
    """What an earlier teaching knows of a scene."""
    if known is None or known.cues is None or known.around_cues is None or not part.identity:
        return None
    if part.identity not in known.identity:
        return None
    number = known.identity.index(part.identity)
    own, beside = known.scene == number, known.around_scene == number
    pixels = np.concatenate([working(known.pixels[own], *part.shapes), known.around_pixels[beside]])
    width = part.shapes[1][1]
    places, first = np.unique(pixels[:, 0] * width + pixels[:, 1], return_index=True)
    return _Known(
        width=width, places=places, features=np.concatenate([known.features[own], known.around[beside]])[first],
        cues=np.concatenate([known.cues[own], known.around_cues[beside]])[first],
    )  # fmt: skip


def _lacking(table: _Known | None, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    return pixels if table is None else pixels[table.at(pixels) < 0]


def _examples(
    segmenter: Segmenter, part: _Part, marked: NDArray[np.int64], around: NDArray[np.int64], table: _Known | None,
    tick: Any, kept: KeptWindows | None,
) -> MarkedPixels:  # fmt: skip
    pixels, count, marks = np.concatenate([marked, around]), len(marked), part.marks
    features, beside, observed = _features(segmenter, part, pixels, table, tick, kept)
    titles = tuple(sorted(set(marks.titles.tolist())))
    own, seen = observed[:count], observed[count:]
    return MarkedPixels(
        scenes=(part.source,), identity=(part.identity,), titles=titles, features=features[:count][own],
        title=np.array([titles.index(t) for t in marks.titles], np.int64)[own],
        scene=np.zeros(int(own.sum()), np.int64), pixels=marks.pixels[own], mark=marks.mark[own],
        around=features[count:][seen], around_scene=np.zeros(int(seen.sum()), np.int64), around_pixels=around[seen],
        cues=beside[:count][own], around_cues=beside[count:][seen],
    )  # fmt: skip


def _features(
    segmenter: Segmenter,
    part: _Part,
    pixels: NDArray[np.int64],
    table: _Known | None,
    tick: Any,
    kept: KeptWindows | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """As `features_at`, to the precision of what is kept; known ones from the table."""
    at = np.full(len(pixels), -1, np.int64) if table is None else table.at(pixels)
    new = at < 0
    if table is not None and not new.any():
        return table.features[at], table.cues[at], ~new
    with part.open() as scene, Cues(scene) as cues:
        found, beside, seen = features_at(segmenter, scene, pixels[new], cues=cues, tick=tick, kept=kept)
    found = found.astype(np.float16).astype(np.float32)
    if table is None:
        return found, beside, seen
    features, every, observed = table.features[at], table.cues[at], ~new
    features[new], every[new], observed[new] = found, beside, seen
    return features, every, observed
