"""From marked pixels and words to a preset that has learned from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from earthwords.errors import Caution, UsageError, some_of
from earthwords.inference.teach.choice import SURE, Candidate, Choice, Lessons, candidates, choose
from earthwords.inference.teach.marked_pixels import MarkedPixels
from earthwords.inference.teach.report import TaughtClass, TriedHead
from earthwords.inference.windows.text_bank import build_text_bank
from earthwords.jobs.threads import one_core
from earthwords.models.taught import TaughtHead
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.text.competing import compete
from earthwords.text.vocabulary import more_colours, parse_classes
from earthwords.types import ClassName, Vocabulary

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter

NOT = "not "
"""Before the class that a mark is not of."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A head, and how it was chosen."""

    head: TaughtHead
    classes: tuple[TaughtClass, ...]
    tried: tuple[TriedHead, ...]
    candidate: Candidate
    temperature: float
    notes: tuple[str, ...]

    @property
    def chosen(self) -> str:
        """For tables."""
        return self.candidate.title


@dataclass(frozen=True, kw_only=True)
class NamedClasses:
    """The classes of a teaching, and what each title of the marks means."""

    vocabulary: Vocabulary
    of: dict[str, int]
    """Title to class."""
    not_of: dict[str, int]
    """Title to the class that it denies."""


def name_classes(words: Sequence[str], titles: Sequence[str], *, background: str | None = None) -> NamedClasses:
    """The classes that words and marks name together.

    A title of marks that no model can read, such as Chinese that is in no glossary, is a class all the same; `not X`
    is none. A single class gets what scenes consist of as its background, as in `segment`.

    Raises:
        UsageError: impossible words, marks of nothing but what is no class, or of what a class that is missing is not.
    """
    named = parse_classes(words) if words else None
    known: dict[str, int] = {}
    for i, c in enumerate(named.classes if named is not None else ()):
        known |= {name.casefold(): i for name in (*c.names, *c.queries, ",".join(c.names))}
    of: dict[str, int] = {}
    new: dict[str, list[str]] = {}
    for title in titles:
        key = ",".join(part.strip() for part in re.split("[,，、]", title)).casefold()
        if key in known:
            of[title] = known[key]
        elif negated(title) is None:
            new.setdefault(key, []).append(title)
    if not words and not new:
        raise UsageError("The marks name no class, only what is none: say what to look for with -t.")
    plain = {key: re.sub("[,，、]", " ", same[0]) for key, same in new.items()}
    order = sorted(new, key=lambda key: not _readable(plain[key]))
    readable = [plain[key] for key in order if _readable(plain[key])]
    of |= {title: len(words) + i for i, key in enumerate(order) for title in new[key]}
    texts = [*words, *readable]
    names = [plain[key] for key in order[len(readable) :]]
    unread_background = None if background is None or background not in names else len(texts) + names.index(background)
    found = (
        parse_classes(texts, background=background if unread_background is None else None)
        if texts
        else Vocabulary(classes=())
    )
    colours = more_colours([c.colour for c in found.classes], len(names))
    unread = tuple(ClassName(names=(name,), colour=colour) for name, colour in zip(names, colours, strict=True))
    found = replace(
        found, classes=(*found.classes, *unread),
        background=found.background if unread_background is None else unread_background,
    )  # fmt: skip
    places = {name.casefold(): i for i, c in enumerate(found.classes) for name in (*c.names, *c.queries)}
    not_of: dict[str, int] = {}
    for title in titles:
        other = None if title in of else negated(title)
        if other is not None:
            if other.casefold() not in places:
                raise UsageError(f"Marks say {title!r}, but {other!r} is no class; name it with -t.")
            not_of[title] = places[other.casefold()]
    return NamedClasses(vocabulary=compete(found), of=of, not_of=not_of)


def _readable(title: str) -> bool:
    try:
        parse_classes([title])
    except UsageError:
        return False
    return True


def negated(title: str) -> str | None:
    """The class that a mark is not of: `water` of `not water`; None: it is of one."""
    return title[len(NOT) :].strip() if title.casefold().startswith(NOT) else None


def learn(
    examples: MarkedPixels,
    segmenter: Segmenter,
    named: NamedClasses,
    *,
    head: str = "auto",
    fixed: Candidate | None = None,
    seed: int = 0,
    tick: Callable[[int], None] = lambda done: None,
) -> Learned:
    """Choose and fit a head.

    Args:
        examples: marks of at least two classes, or of one and its negation.
        head: `auto`, or one of `choice.HEADS`.
        fixed: the choice of an earlier teaching, which is not made again.

    Raises:
        UsageError: nothing to tell apart.
    """
    vocabulary = named.vocabulary
    notes: list[str] = []
    wordless = _wordless(segmenter, vocabulary)
    lessons, standard = _lessons(examples, segmenter, named, wordless, notes)
    options = [fixed] if fixed is not None else candidates(head, cues=lessons.cues is not None)
    if fixed is not None and fixed.head != "words":
        options = [Candidate(head="words"), fixed]
    with one_core():
        choice = choose(lessons, options, named=fixed is not None or head != "auto", seed=seed, tick=tick)
    kept = lessons.labels.numpy()
    taught = _head(choice, segmenter, vocabulary, standard)
    notes[:0] = _unknown(segmenter, vocabulary, wordless, kept)
    notes += _doubts(examples, vocabulary, choice, kept, head, wordless)
    return Learned(
        head=taught, classes=_rows(examples, vocabulary, choice, kept, wordless), candidate=choice.candidate,
        tried=tuple(
            TriedHead(head=t.candidate.title, miou=t.miou, accuracy=t.accuracy, better=t.surer) for t in choice.tried
        ),
        temperature=choice.temperature, notes=tuple(notes),
    )  # fmt: skip


def _wordless(segmenter: Segmenter, vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """Classes whose words the model never learned."""
    lexicon, name = segmenter.encoder.backbone.lexicon, segmenter.model_name
    found = np.zeros(len(vocabulary), bool)
    for i, c in enumerate(vocabulary.classes):
        found[i] = not all(map(_readable, c.queries))
        if lexicon is not None:
            found[i] |= all(lexicon.doubt(query, name) is not None for query in c.queries)
    return found


def _unknown(
    segmenter: Segmenter, vocabulary: Vocabulary, wordless: NDArray[np.bool_], labels: NDArray[np.int64]
) -> list[str]:
    """What is known of classes whose words were never learned: their marks, or nothing."""
    titles, marked, name = vocabulary.titles, set(labels.tolist()), segmenter.model_name
    unread = np.flatnonzero(wordless).tolist()
    notes = []
    if by_marks := [titles[k] for k in unread if k in marked]:
        those, words = ("its marks", "word") if len(by_marks) == 1 else ("their marks", "words")
        notes.append(f"Known by {those} alone: {some_of(map(repr, by_marks))}; {name} never learned the {words}.")
    if by_nothing := [titles[k] for k in unread if k not in marked]:
        shown, them = some_of(map(repr, by_nothing)), "it" if len(by_nothing) == 1 else "them"
        notes.append(
            Caution(f"Known by nothing: {shown}; {name} never learned {them}, and there are no marks: mark some.")
        )
    return notes


def labels_of(examples: MarkedPixels, named: NamedClasses) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`(n,)` class of each pixel, -1 for none; and the class that it is not of, -1 for none."""
    of, not_of = (
        np.array([table.get(title, -1) for title in examples.titles], np.int64) for table in (named.of, named.not_of)
    )
    return of[examples.title], not_of[examples.title]


def _lessons(
    examples: MarkedPixels,
    segmenter: Segmenter,
    named: NamedClasses,
    wordless: NDArray[np.bool_],
    notes: list[str],
) -> tuple[Lessons, tuple[NDArray[np.float32], NDArray[np.float32]] | None]:
    vocabulary = named.vocabulary
    words, query_class = _words(segmenter, vocabulary, wordless)
    scale = segmenter.preset.logit_scale
    labels, not_of = labels_of(examples, named)
    if (not_of >= 0).any():
        notes.append(_negatives(labels, not_of, examples, words, query_class, vocabulary))
    if len(np.unique(labels)) < 2:
        raise UsageError(_one_class(examples, vocabulary, int(labels[0]), not_of))
    standard, cues, cues_around = None, None, None
    if examples.cues is not None and examples.around_cues is not None:
        every = np.concatenate([examples.cues, examples.around_cues])
        standard = every.mean(axis=0), np.maximum(every.std(axis=0), 1e-3)
        cues, cues_around = (
            torch.from_numpy(((part - standard[0]) / standard[1]).astype(np.float32))
            for part in (examples.cues, examples.around_cues)
        )
    lessons = Lessons(
        features=torch.from_numpy(examples.features), labels=torch.from_numpy(labels), places=examples.places(),
        weights=torch.from_numpy(examples.weights()), words=words, query_class=query_class, scale=scale,
        around=torch.from_numpy(examples.around), cues=cues, cues_around=cues_around,
    )  # fmt: skip
    return lessons, standard


def _one_class(examples: MarkedPixels, vocabulary: Vocabulary, only: int, not_of: NDArray[np.int64]) -> str:
    """What to mark, where all marks are of one class."""
    said = some_of(map(repr, sorted({examples.titles[i] for i in np.unique(examples.title)})))
    lacking = set(np.unique(not_of[not_of >= 0]).tolist())
    if only == vocabulary.background:
        lacking = lacking or set(range(len(vocabulary)))
    if others := sorted(lacking - {only}):
        return f"All marks are {said}: mark some {some_of([vocabulary.titles[k] for k in others])}, too."
    name = vocabulary.titles[only]
    return f"All marks are {said}: mark something that it is not, too, as another class or as 'not {name}'."


def _words(
    segmenter: Segmenter, vocabulary: Vocabulary, wordless: NDArray[np.bool_]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors `(query, dim)` of all words, one of zeros for a class without, and the class of each."""
    backbone = segmenter.clip.backbone
    with_words = tuple(c for c, none in zip(vocabulary.classes, wordless, strict=True) if not none)
    owner = np.flatnonzero(~wordless)
    vectors = [np.zeros((int(wordless.sum()), backbone.dim), np.float32)]
    classes = [np.flatnonzero(wordless)]
    if with_words:
        bank = build_text_bank(backbone, Vocabulary(classes=with_words), segmenter.templates)
        vectors.append(bank.vectors)
        classes.append(owner[bank.query_class])
    every = np.concatenate(classes)
    order = np.argsort(every, kind="stable")
    return torch.from_numpy(np.concatenate(vectors)[order]).float(), torch.from_numpy(every[order])


def _negatives(
    labels: NDArray[np.int64],
    not_of: NDArray[np.int64],
    examples: MarkedPixels,
    words: torch.Tensor,
    query_class: torch.Tensor,
    vocabulary: Vocabulary,
) -> str:
    """Give what is not of a class to the background, else to the class whose words fit it best of the others."""
    rows = np.flatnonzero(not_of >= 0)
    if vocabulary.background is not None:
        labels[rows] = vocabulary.background
        return f"Negative marks count as {vocabulary.titles[vocabulary.background]}."
    queries = torch.from_numpy(examples.features[rows]) @ words.T
    for k in range(len(vocabulary)):
        queries[torch.from_numpy(not_of[rows] == k)[:, None] & (query_class == k)[None]] = -np.inf
    labels[rows] = query_class[queries.argmax(dim=1)].numpy()
    return "Negative marks count as the class whose words fit them best of the others."


def _head(
    choice: Choice,
    segmenter: Segmenter,
    vocabulary: Vocabulary,
    standard: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
) -> TaughtHead:
    backbone, found = segmenter.clip.backbone, choice.head
    dim = backbone.dim
    weight = (found.weight / choice.temperature).numpy().astype(np.float32)
    bias = (found.bias / choice.temperature).numpy().astype(np.float32)
    cues = weight[:, dim:] if weight.shape[1] > dim else None
    return TaughtHead(
        vocabulary=vocabulary, weight=weight[:, :dim], bias=bias, query_class=found.query_class.numpy(),
        base=tower_hash(backbone, "vision"), method=choice.candidate.title, cue_weight=cues,
        cue_mean=None if cues is None or standard is None else standard[0].astype(np.float32),
        cue_std=None if cues is None or standard is None else standard[1].astype(np.float32),
    )  # fmt: skip


def _rows(
    examples: MarkedPixels,
    vocabulary: Vocabulary,
    choice: Choice,
    labels: NDArray[np.int64],
    wordless: NDArray[np.bool_],
) -> tuple[TaughtClass, ...]:
    words = next((t for t in choice.tried if t.candidate.head == "words"), None)
    taught = next((t for t in choice.tried if t.candidate == choice.candidate), None)

    def figure(tried: object, k: int) -> float | None:
        value = float("nan") if tried is None else float(tried.iou[k])  # type: ignore[attr-defined]
        return None if np.isnan(value) else value

    return tuple(
        TaughtClass(
            name=title, marks=len(np.unique(examples.marks[labels == k])), pixels=int((labels == k).sum()),
            scenes=len(np.unique(examples.scene[labels == k])), area_share=float(choice.priors[k]),
            words_iou=None if wordless[k] else figure(words, k), taught_iou=figure(taught, k),
        )
        for k, title in enumerate(vocabulary.titles)
    )  # fmt: skip


def _doubts(
    examples: MarkedPixels, vocabulary: Vocabulary, choice: Choice, labels: NDArray[np.int64], head: str,
    wordless: NDArray[np.bool_],
) -> list[str]:  # fmt: skip
    """What the figures do not tell."""
    notes: list[str] = []
    marked = np.unique(labels)
    unchecked = [vocabulary.titles[k] for k in marked if not choice.checked[k]]
    if not choice.tried:
        notes.append(Caution(f"No class has marks in two places, so nothing could be checked{_unchecked(choice)}."))
    elif unchecked:
        notes.append(Caution(f"Marks in one place alone, so not checked: {some_of(unchecked)}."))
    read = [k for k in range(len(vocabulary)) if not wordless[k] and k != vocabulary.background]
    unmarked = [vocabulary.titles[k] for k in read if k not in marked]
    if unmarked:
        notes.append(f"Without marks, by words alone: {some_of(unmarked)}.")
    if choice.candidate.head == "words" and head == "auto" and choice.tried:
        notes.append("The marks make no head surely better than the words alone, so the words stay as they are.")
    notes += _no_better(choice)
    if choice.tried and not examples.by_scene():
        notes.append("Checked within the marked scenes alone; on other scenes it may do worse.")
    few = [vocabulary.titles[k] for k in marked if len(np.unique(examples.marks[labels == k])) < 5]
    if few and choice.tried:
        notes.append(f"Fewer than 5 marks, so the figures are rough: {some_of(few)}.")
    return notes


def _unchecked(choice: Choice) -> str:
    if choice.candidate.head == "words":
        return " and the words stay as they are; mark more of each, or name a head by --head"
    return f", and {choice.candidate.title} replaces the words; mark more of each"


def _no_better(choice: Choice) -> list[str]:
    """That a head was taken, because it was asked for or a class has no word, which is not surely better."""
    by = {t.candidate: t for t in choice.tried}
    taken = by.get(choice.candidate)
    words = next((t for t in choice.tried if t.candidate.head == "words"), None)
    if taken is None or words is None or taken is words or taken.surer is None:
        return []
    if taken.surer >= SURE and taken.miou > words.miou:
        return []
    return [
        Caution(
            f"{taken.candidate.title} is not surely better than the words alone: mIoU {taken.miou:.3f} on places left "
            f"out, that of the words {words.miou:.3f}; better in {taken.surer:.0%} of the resamples."
        )
    ]
