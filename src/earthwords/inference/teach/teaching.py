"""A teaching: what was learned from which marks, as a preset in memory or in a folder, and how one goes on from it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earthwords.errors import Caution, UsageError, WeightsError, brief
from earthwords.files.output_sets import staging_all
from earthwords.files.plaintext import write_json
from earthwords.files.reading import read_json
from earthwords.inference.cautions import enforce
from earthwords.inference.teach.choice import HEADS, Candidate, candidates
from earthwords.inference.teach.collect import Collected
from earthwords.inference.teach.folder import CARD, FILES, MARKS, NUMBERS, REPORT
from earthwords.inference.teach.learn import Learned, learn, name_classes
from earthwords.inference.teach.marked_pixels import MarkedPixels, read_examples
from earthwords.inference.teach.marks import Marks
from earthwords.inference.teach.report import TeachReport
from earthwords.jobs.progress import Console
from earthwords.models.taught import load_taught, store_taught
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.presets import PRESET_FILE, SegmentPreset, as_toml
from earthwords.waiting import waited

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter


@dataclass(frozen=True, kw_only=True)
class TeachRequest:
    """What to learn; nothing here says from which scenes."""

    words: Sequence[str] = ()
    background: str | None = None
    head: str = "auto"
    seed: int = 0
    strict: bool = False
    bands: tuple[int | str, ...] | None = None
    gsd: float | None = None
    nodata: float | None = None
    stretch: str = "auto"
    """How the scenes are read, for the preset."""


@dataclass(frozen=True, kw_only=True)
class ByWords:
    """What a preset says of its words alone, which holds again where the words stay."""

    nothing: float | None
    sum_to_one: bool
    thresholds: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, row: SegmentPreset) -> ByWords:
        return cls(nothing=row.nothing, sum_to_one=row.sum_to_one, thresholds=row.thresholds)


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A teaching to go on from."""

    pixels: MarkedPixels
    words: tuple[str, ...]
    background: str | None
    choice: Candidate | None
    """None: the words stayed, so heads are tried anew."""
    by_words: ByWords

    def without(self, marks: Mapping[str, Marks]) -> Earlier:
        """Without the pixels that are marked anew, learned from or not; `marks` by scene."""
        kept, known = np.ones(len(self.pixels), bool), self.pixels.scenes
        for name, part in marks.items():
            if name in known:
                own = np.flatnonzero(self.pixels.scene == known.index(name))
                kept[own[part.covers(self.pixels.pixels[own])]] = False
        return replace(self, pixels=self.pixels.part(kept))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Teaching:
    """What marks have taught a segmenter, with the marks. `save` makes a preset of it."""

    report: TeachReport
    row: SegmentPreset
    """The preset, but for where it lies."""
    learned: Learned
    examples: MarkedPixels
    words: tuple[str, ...]
    background: str | None
    by_words: ByWords

    def __repr__(self) -> str:
        return f"Teaching({len(np.unique(self.examples.marks))} marks, {self.report.chosen})"

    def earlier(self) -> Earlier:
        """To go on from."""
        choice = None if self.learned.candidate.head == "words" else self.learned.candidate
        return Earlier(
            pixels=self.examples, words=self.words, background=self.background, choice=choice, by_words=self.by_words
        )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> TeachReport:
        """Write the preset, which `segment --preset FOLDER` and `Segmenter.from_preset` take.

        Raises:
            OutputError, UsageError: the folder cannot be written, or holds a teaching already.
        """
        folder = Path(folder)
        row, report = self.row, replace(self.report, folder=folder)
        own = replace(
            row, name=folder.name or row.name, taught=".", weights=_from_anywhere(row.weights),
            templates=_from_anywhere(row.templates),
            upsampler_weights=None if row.upsampler_weights is None else _from_anywhere(row.upsampler_weights),
        )  # fmt: skip
        targets = {name: folder / name for name in FILES}
        with staging_all(targets, settings={"made by": "teach"}, overwrite=overwrite) as places:
            holding = {name: place.parent for name, place in places.items()}
            told = self.examples.save(holding[MARKS])
            told |= {
                "words": list(self.words),
                "background_word": self.background,
                "candidate": dict(vars(self.learned.candidate)),
                "temperature": self.learned.temperature,
                "by_words": vars(self.by_words),
            }
            store_taught(self.learned.head, holding[CARD], notes=told)
            os.replace(holding[CARD] / NUMBERS, places[NUMBERS])
            places[PRESET_FILE].write_text("# Made by `earthwords teach`.\n" + as_toml(own), encoding="utf-8")
            write_json(places[REPORT], report.as_json(), indent=2)
        return report


def teaching_of(
    segmenter: Segmenter, found: Collected, request: TeachRequest, console: Console, *, began: float,
    before: Earlier | None = None, by_words: ByWords | None = None,
) -> Teaching:  # fmt: skip
    """Learn from marks.

    Args:
        began: `time.perf_counter()` at the start.
        before: an earlier teaching, whose marks count too.
        by_words: what holds where the words stay, if not what the segmenter's preset says.

    Raises:
        UsageError: nothing to tell apart, or a caution and `request.strict`.
    """
    words, fixed, background, notes = list(request.words), None, request.background, list(found.notes)
    examples, by_words = found.examples, by_words or ByWords.of(segmenter.preset)
    if before is not None:
        before, by_words = before.without(found.marks), before.by_words
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
        try:
            learned = learn(examples, segmenter, named, head=request.head, fixed=fixed, seed=request.seed, tick=bar)
        except UsageError as error:  # such as a single class, because what was marked as several was left out
            raise UsageError(" ".join([str(error), *(n for n in found.notes if isinstance(n, Caution))])) from error
    every = (*notes, *learned.notes)
    console.notes(every)
    enforce(every, strict=request.strict)
    report = TeachReport(
        folder=None, chosen=learned.chosen,
        left_out="scenes left out" if examples.by_scene() else "marked places left out",
        classes=learned.classes, tried=learned.tried, temperature=learned.temperature, notes=every,
        windows=found.computed, seconds=round(waited(began), 2),
    )  # fmt: skip
    return Teaching(
        report=report, row=_row(segmenter.preset, learned, request, by_words), learned=learned, examples=examples,
        words=tuple(words), background=background, by_words=by_words,
    )  # fmt: skip


def _row(row: SegmentPreset, learned: Learned, request: TeachRequest, by_words: ByWords) -> SegmentPreset:
    stayed = learned.candidate.head == "words"
    own = by_words if stayed else ByWords(nothing=None, sum_to_one=True, thresholds=())
    return replace(
        row, taught=None, taught_bands=request.bands, taught_gsd=request.gsd, taught_nodata=request.nodata,
        taught_stretch=None if request.stretch == "auto" else request.stretch,
        note=f"taught by marks: {learned.chosen}", **vars(own),
    )  # fmt: skip


def read_earlier(folder: Path, segmenter: Segmenter) -> Earlier:
    """What an earlier teaching knew.

    Raises:
        WeightsError: it is none, is damaged, or was made with other weights.
    """
    head, pixels = load_taught(folder), read_examples(folder)
    if head.base != tower_hash(segmenter.clip.backbone, "vision"):
        raise WeightsError(f"{folder} was taught with other weights than {segmenter.model_name}; teach anew.")
    try:
        card = read_json(folder / CARD)
        choice, by_words = _candidate(card["candidate"]), _by_words(card["by_words"])
        words, background = tuple(str(text) for text in list(card["words"])), card["background_word"]
        if choice.head not in HEADS or not choice.strength >= 0 or pixels.features.shape[1] != head.weight.shape[1]:
            raise ValueError("its choice is impossible")
        background = None if background is None else str(background)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{folder / CARD} is not what `teach` writes ({brief(error)}); teach anew.") from error
    return Earlier(
        pixels=pixels, words=words, background=background, choice=None if choice.head == "words" else choice,
        by_words=by_words,
    )  # fmt: skip


def by_words_of(folder: Path) -> ByWords:
    """What held before a teaching.

    Raises:
        WeightsError: it is none.
    """
    try:
        return _by_words(read_json(folder / CARD)["by_words"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder / CARD} is not what `teach` writes ({brief(error)}); teach anew.") from error


def _candidate(told: Mapping[str, Any]) -> Candidate:
    return Candidate(
        head=str(told["head"]), strength=float(told["strength"]), cues=told["cues"] is True, prior=told["prior"] is True
    )


def _by_words(told: Mapping[str, Any]) -> ByWords:
    nothing = told["nothing"]
    return ByWords(
        nothing=None if nothing is None else float(nothing), sum_to_one=told["sum_to_one"] is True,
        thresholds=tuple((str(title), float(level)) for title, level in told["thresholds"]),
    )  # fmt: skip


def _from_anywhere(name: str) -> str:
    """A path that holds in any folder; a name as it is."""
    return os.path.abspath(name) if os.path.sep in name and os.path.exists(name) else name
