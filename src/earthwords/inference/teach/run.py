"""A teaching from marks and scenes to a folder that is a preset."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import Caution, UsageError, WeightsError, brief, number_of
from earthwords.files.output_sets import staging_all
from earthwords.files.paths import is_local_path
from earthwords.files.plaintext import write_json
from earthwords.files.reading import read_json
from earthwords.geo.scene import Scene, SceneSpec
from earthwords.inference.cautions import enforce
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.teach.choice import HEADS, Candidate, candidates
from earthwords.inference.teach.features import features_at, windows_of
from earthwords.inference.teach.folder import CARD, FILES, MARKS, NUMBERS, REPORT
from earthwords.inference.teach.learn import Learned, learn, name_classes
from earthwords.inference.teach.marked_pixels import MarkedPixels, read_examples
from earthwords.inference.teach.marks import Marks
from earthwords.inference.teach.report import TeachReport
from earthwords.inference.windows.cues import Cues
from earthwords.jobs.progress import Console
from earthwords.models.taught import load_taught, store_taught
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.presets import PRESET_FILE, as_toml

AROUND_WINDOWS, AROUND_PIXELS = 24, 64
"""Windows of all scenes together, and pixels of each, that tell how common the classes are."""


class Labels(Protocol):
    """Marks that may lie in any scene."""

    def on(self, scene: Scene) -> Marks:
        """Those of a scene."""

    def finish(self, scenes: int) -> list[str]:
        """What to say when all scenes were seen."""


@dataclass(frozen=True, kw_only=True)
class TeachRequest:
    """What to learn; nothing here says from which scenes."""

    words: Sequence[str] = ()
    background: str | None = None
    head: str = "auto"
    seed: int = 0
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A scene with marks, before anything is computed."""

    source: str
    marks: Marks
    around: NDArray[np.int64]
    windows: int


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A teaching to go on from."""

    pixels: MarkedPixels
    words: tuple[str, ...]
    background: str | None
    choice: Candidate | None
    """None: the words stayed, so heads are tried anew."""


def collect(
    segmenter: Segmenter, sources: Sequence[str], spec: SceneSpec, labels: Labels, console: Console, *, seed: int = 0,
    before: Earlier | None = None,
) -> tuple[MarkedPixels, list[str], Earlier | None]:  # fmt: skip
    """The features of all marked pixels, and of some around them.

    Args:
        sources: paths or addresses of scenes.
        spec: how each is opened.
        before: an earlier teaching.

    Returns:
        They; what to say about them; and the earlier teaching without the pixels that these marks cover.

    Raises:
        UsageError: no mark lies in a scene.
        SourceError: a scene cannot be read.
    """
    rng, notes = np.random.default_rng(seed), []
    parts: list[_Part] = []
    for source in sources:
        with _opened(segmenter, spec, source) as scene:
            notes += [*scene.notes, *segmenter.scene_notes(scene)]
            marks = labels.on(scene)
            if len(marks):
                parts.append(_Part(source=source, marks=marks, around=np.zeros((0, 2), np.int64), windows=0))
    notes += labels.finish(len(sources))
    if not parts:
        raise UsageError("No mark is left to learn from: all pixels are marked as several classes.")
    if before is not None:
        before = _uncovered(before, parts)
    each = max(1, AROUND_WINDOWS // max(1, len(parts)))
    for i, part in enumerate(parts):
        with _opened(segmenter, spec, part.source) as scene:
            around = _around(segmenter, scene, each, rng)
            pixels = np.concatenate([working(part.marks.pixels, scene), around])
            parts[i] = replace(part, around=around, windows=windows_of(segmenter, scene, pixels))
    found = []
    with console.bar("reading marks", sum(part.windows for part in parts), unit="windows") as bar:
        for part in parts:
            with _opened(segmenter, spec, part.source) as scene:
                found.append(_examples(segmenter, scene, part, bar))
    lost = sum(len(part.marks) for part in parts) - sum(map(len, found))
    if lost:
        notes.append(f"{number_of(lost, 'marked pixel')} where nothing was observed left out.")
    if len({part.cues.shape[1] for part in found if part.cues is not None}) > 1:
        notes.append("The scenes have different numbers of bands, so their bands are not learned from.")
    whole = found[0]
    for more in found[1:]:
        whole = whole.joined(more)
    if not len(whole):
        raise UsageError("All marks lie where the scenes hold no observation (nodata); mark what can be seen.")
    return whole, list(dict.fromkeys(notes)), before


def _uncovered(before: Earlier, parts: Sequence[_Part]) -> Earlier:
    """Without the pixels that are marked anew, learned from or not."""
    kept, known = np.ones(len(before.pixels), bool), before.pixels.scenes
    for part in parts:
        name = _whole_path(part.source)
        if name in known:
            own = np.flatnonzero(before.pixels.scene == known.index(name))
            kept[own[part.marks.covers(before.pixels.pixels[own])]] = False
    return replace(before, pixels=before.pixels.part(kept))


def _whole_path(source: str) -> str:
    return os.path.abspath(source) if is_local_path(source) else source


def _opened(segmenter: Segmenter, spec: SceneSpec, source: str) -> Scene:
    scene = replace(spec, source=source).open()
    return segmenter.at_working_gsd(scene) if spec.gsd is None else scene


def working(pixels: NDArray[np.int64], scene: Scene) -> NDArray[np.int64]:
    """Pixels `(n, 2)` of the scene's own grid in the grid that is worked at."""
    shares = np.array(scene.grid.shape) / np.array(scene.native.shape)
    found: NDArray[np.int64] = np.minimum(np.floor((pixels + 0.5) * shares), np.array(scene.grid.shape) - 1).astype(int)
    return found


def _around(segmenter: Segmenter, scene: Scene, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Pixels `(n, 2)` of the working grid near the middles of some windows."""
    plan = segmenter.plan(scene)
    found = []
    for _ in range(min(count, len(plan))):
        row, col = (int(rng.choice(starts)) for starts in (plan.rows, plan.cols))
        half = max(1, plan.stride // 2)
        middle = np.array([row + plan.size[0] // 2, col + plan.size[1] // 2])
        found.append(middle + rng.integers(-half, half, size=(AROUND_PIXELS, 2)))
    pixels = np.concatenate(found)
    kept: NDArray[np.int64] = pixels[(pixels >= 0).all(axis=1) & (pixels < scene.grid.shape).all(axis=1)]
    return kept


def _examples(segmenter: Segmenter, scene: Scene, part: _Part, tick: Any) -> MarkedPixels:
    marks, count = part.marks, len(part.marks)
    places = np.concatenate([working(marks.pixels, scene), part.around])
    with Cues(scene) as cues:
        features, beside, observed = features_at(segmenter, scene, places, cues=cues, tick=tick)
    titles = tuple(sorted(set(marks.titles.tolist())))
    kept, around = observed[:count], observed[count:]
    return MarkedPixels(
        scenes=(_whole_path(part.source),), titles=titles, features=features[:count][kept],
        title=np.array([titles.index(t) for t in marks.titles], np.int64)[kept],
        scene=np.zeros(int(kept.sum()), np.int64), pixels=marks.pixels[kept], mark=marks.mark[kept],
        around=features[count:][around], around_scene=np.zeros(int(around.sum()), np.int64),
        cues=beside[:count][kept], around_cues=beside[count:][around],
    )  # fmt: skip


def read_earlier(folder: Path, segmenter: Segmenter) -> Earlier:
    """What an earlier teaching knew.

    Raises:
        WeightsError: it is none, is damaged, or was made with other weights.
    """
    head, pixels = load_taught(folder), read_examples(folder)
    if head.base != tower_hash(segmenter.encoder.backbone, "vision"):
        raise WeightsError(f"{folder} was taught with other weights than {segmenter.model_name}; teach anew.")
    try:
        card = read_json(folder / CARD)
        told = card["candidate"]
        choice = Candidate(
            head=str(told["head"]),
            strength=float(told["strength"]),
            cues=told["cues"] is True,
            prior=told["prior"] is True,
        )
        words, background = tuple(str(text) for text in list(card["words"])), card["background_word"]
        if choice.head not in HEADS or not choice.strength >= 0 or pixels.features.shape[1] != head.weight.shape[1]:
            raise ValueError("its choice is impossible")
        background = None if background is None else str(background)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{folder / CARD} is not what `teach` writes ({brief(error)}); teach anew.") from error
    return Earlier(
        pixels=pixels, words=words, background=background, choice=None if choice.head == "words" else choice
    )  # fmt: skip


def teach_folder(
    segmenter: Segmenter, examples: MarkedPixels, folder: Path, request: TeachRequest, console: Console, *,
    notes: Sequence[str], began: float, overwrite: bool, before: Earlier | None = None,
) -> TeachReport:  # fmt: skip
    """Learn, and write the folder.

    Args:
        notes: what was said so far.
        began: `time.perf_counter()` at the start.

    Raises:
        UsageError: nothing to tell apart; the folder is there; or a caution and `request.strict`.
    """
    words, fixed, background, notes = list(request.words), None, request.background, list(notes)
    if before is not None:
        words += [text for text in before.words if text not in words]
        background = background or before.background
        examples = before.pixels.joined(examples)
        fixed = before.choice if request.head == "auto" else None
        if examples.cues is None and before.pixels.cues is not None:
            notes.append(Caution("These scenes have other bands than the earlier ones, so bands are not learned from."))
            fixed = None if fixed is not None and fixed.cues else fixed
    named = name_classes(words, examples.titles, background=background)
    heads = 2 if fixed is not None else len(candidates(request.head, cues=examples.cues is not None))
    with console.bar("choosing a head", heads, unit="heads") as bar:
        learned = learn(examples, segmenter, named, head=request.head, fixed=fixed, seed=request.seed, tick=bar)
    every = (*notes, *learned.notes)
    console.notes(every)
    enforce(every, strict=request.strict)
    report = TeachReport(
        folder=folder, chosen=learned.chosen,
        left_out="scenes left out" if examples.by_scene() else "marked places left out",
        classes=learned.classes, tried=learned.tried, temperature=learned.temperature, notes=every,
        seconds=round(time.perf_counter() - began, 2),
    )  # fmt: skip
    _write(segmenter, examples, learned, words, background, folder, report, overwrite=overwrite)
    return report


def _write(
    segmenter: Segmenter, examples: MarkedPixels, learned: Learned, words: Sequence[str], background: str | None,
    folder: Path, report: TeachReport, *, overwrite: bool,
) -> None:  # fmt: skip
    row = segmenter.preset
    kept = learned.head.method == "words"
    own = replace(
        row, name=folder.name or row.name, taught=".", nothing=row.nothing if kept else None,
        sum_to_one=row.sum_to_one if kept else True, thresholds=(),
        weights=_from_anywhere(row.weights), templates=_from_anywhere(row.templates),
        upsampler_weights=None if row.upsampler_weights is None else _from_anywhere(row.upsampler_weights),
        note=f"taught by marks: {learned.chosen}",
    )  # fmt: skip
    targets = {name: folder / name for name in FILES}
    with staging_all(targets, settings={"made by": "teach"}, overwrite=overwrite) as places:
        holding = {name: place.parent for name, place in places.items()}
        told = examples.save(holding[MARKS])
        told |= {
            "words": list(words),
            "background_word": background,
            "candidate": _plain(learned),
            "temperature": learned.temperature,
        }
        store_taught(learned.head, holding[CARD], notes=told)
        os.replace(holding[CARD] / NUMBERS, places[NUMBERS])
        places[PRESET_FILE].write_text("# Made by `earthwords teach`.\n" + as_toml(own), encoding="utf-8")
        write_json(places[REPORT], report.as_json(), indent=2)


def _plain(learned: Learned) -> dict[str, Any]:
    """The choice, for a later teaching."""
    return dict(vars(learned.candidate))


def _from_anywhere(name: str) -> str:
    """A path that holds in any folder; a name as it is."""
    return os.path.abspath(name) if os.path.sep in name and os.path.exists(name) else name
