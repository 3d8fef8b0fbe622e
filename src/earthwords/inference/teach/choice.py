"""Which head to take: by marks that it was not taught with, weighed by how much of the ground each class covers.

People mark rare things as often as common ones, so the accuracy on marks says little about a map: a head that finds
every road and calls half of the fields road looks good on marks. How common the classes are is estimated from what a
head says on unmarked pixels and from how it errs on held-out marks (Lipton et al. 2018, black box shift estimation,
https://arxiv.org/abs/1802.03916), and the intersection over union that a map would have follows from both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthwords.models.fewshot import LINEAR
from earthwords.models.fewshot.anchored import class_logits, fit_anchored
from earthwords.models.fewshot.linear_head import shot_set

FOLDS = 5
STRENGTHS = (16.0, 4.0, 1.0, 0.25, 0.06, 0.015)
HEADS = ("words", "anchored", *LINEAR)
AUTO = ("words", "anchored")
"""Tried unless one is named."""
RESAMPLES = 100
EVEN = 0.3
"""How far estimated shares are drawn towards equal ones: where a head confuses two classes, nothing tells how much of
the ground is which."""
_MOST_AT_ONCE = 2**22
"""Numbers of the tables of resamples."""
SURE = 0.8
"""Share of resamples of the held-out places in which a head must beat the words alone."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A way to learn from marks."""

    head: str
    """One of `HEADS`."""
    strength: float = 0.0
    """Of the pull towards the words, for `anchored`."""
    cues: bool = False
    """Bands, colour and texture are joined."""
    prior: bool = False
    """Logits are shifted by how common the classes are."""

    @property
    def title(self) -> str:
        """For tables."""
        strength = f" {self.strength:g}" if self.head == "anchored" else ""
        return f"{self.head}{strength}{' + bands' if self.cues else ''}{' + area shares' if self.prior else ''}"


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """Marked pixels and what surrounds them."""

    features: Tensor
    """`(n, dim)`."""
    labels: Tensor
    """`(n,)`."""
    places: NDArray[np.int64]
    """`(n,)`: pixels of one place are left out together."""
    weights: Tensor
    """`(n,)`."""
    words: Tensor
    """`(query, dim)`: all words of all classes; zeros for a class without a word."""
    query_class: Tensor
    """`(query,)`."""
    scale: float
    """Of cosines."""
    around: Tensor
    """`(m, dim)` features of unmarked pixels all over the scenes."""
    cues: Tensor | None = None
    """`(n, cue)` standardised, and `(m, cue)` of `around`."""
    cues_around: Tensor | None = None

    @property
    def classes(self) -> int:
        return int(self.query_class.max()) + 1

    def have_words(self) -> Tensor:
        """Whether each marked class has a word."""
        return self.class_words()[torch.unique(self.labels)].abs().sum(dim=1) > 0

    def class_words(self) -> Tensor:
        """`(class, dim)`: the mean of each class's words, of unit length; zeros without a word."""
        sums = torch.zeros(self.classes, self.words.shape[1]).index_add_(0, self.query_class, self.words)
        return torch.nn.functional.normalize(sums, dim=1)


@dataclass(frozen=True, kw_only=True)
class QueryHead:
    """Logits of words, of which the greatest is the class's."""

    weight: Tensor
    """`(query, dim)`, or with columns of cues behind."""
    bias: Tensor
    """`(query,)`."""
    query_class: Tensor
    """`(query,)`."""

    def logits(self, features: Tensor) -> Tensor:
        """`(n, class)` of features `(n, dim)`."""
        queries = torch.nn.functional.linear(features, self.weight, self.bias)
        return class_logits(queries, self.query_class, int(self.query_class.max()) + 1)

    def moved(self, shift: Tensor) -> QueryHead:
        """With so much added to the logits of each class."""
        return replace(self, bias=self.bias + shift[self.query_class])


@dataclass(frozen=True, kw_only=True)
class Tried:
    """How a candidate did on places that it had not seen."""

    candidate: Candidate
    iou: NDArray[np.float64]
    """`(class,)` that a map would have, 0..1."""
    accuracy: float
    """Mean over the classes of the share of held-out marks that are right."""
    surer: float | None = None
    """Share of resamples in which it beats the words."""

    @property
    def miou(self) -> float:
        return float(np.nanmean(self.iou))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was taken, and why."""

    candidate: Candidate
    head: QueryHead
    """In the preset's logits; of `words` the words themselves."""
    temperature: float
    """Logits of the head are divided by it: then held-out probabilities are as often right as they say."""
    priors: NDArray[np.float64]
    """`(class,)` share of the ground, estimated."""
    tried: tuple[Tried, ...] = field(default_factory=tuple)
    checked: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    """`(class,)`: classes with marks in more than one place, the others could not be checked."""


def fit(lessons: Lessons, candidate: Candidate, rows: NDArray[np.bool_] | None = None) -> QueryHead:
    """A head of all classes; those without marks among `rows` keep their words."""
    part = torch.arange(len(lessons.labels)) if rows is None else torch.from_numpy(np.flatnonzero(rows))
    labels, weights, inputs = lessons.labels[part], lessons.weights[part], lessons.features[part]
    words = lessons.words
    if candidate.cues and lessons.cues is not None:
        inputs = torch.cat([inputs, lessons.cues[part]], dim=1)
        words = torch.nn.functional.pad(words, (0, lessons.cues.shape[1]))
    present = torch.unique(labels)
    if candidate.head == "words" or len(present) < 2:
        bias = torch.zeros(len(words))
        return QueryHead(weight=lessons.scale * words, bias=bias, query_class=lessons.query_class)
    if candidate.head == "anchored":
        weight, bias = fit_anchored(
            inputs, labels, words, lessons.query_class, scale=lessons.scale, strength=candidate.strength,
            weights=weights,
        )  # fmt: skip
        return QueryHead(weight=weight, bias=bias, query_class=lessons.query_class)
    return _published(lessons, candidate, inputs, labels, weights)


def _published(lessons: Lessons, candidate: Candidate, inputs: Tensor, labels: Tensor, weights: Tensor) -> QueryHead:
    """A head of a vector a class; classes without marks keep the mean of their words."""
    present = torch.unique(labels)
    place = torch.full((lessons.classes,), -1)
    place[present] = torch.arange(len(present))
    words = lessons.class_words()
    rows = place[labels]
    balanced = weights / torch.bincount(rows).float()[rows]
    known = words[present].abs().sum(dim=1) > 0
    head = LINEAR[candidate.head](shot_set(inputs, rows, words[present], has_words=known, weights=balanced))
    weight, bias = lessons.scale * words, torch.zeros(lessons.classes)
    weight[present], bias[present] = head.weight, head.bias
    return QueryHead(weight=weight, bias=bias, query_class=torch.arange(lessons.classes))


def logits_of(lessons: Lessons, head: QueryHead, *, around: bool = False) -> Tensor:
    """`(n, class)` of the marks, or of what surrounds them."""
    features = lessons.around if around else lessons.features
    cues = lessons.cues_around if around else lessons.cues
    if head.weight.shape[1] > features.shape[1] and cues is not None:
        features = torch.cat([features, cues], dim=1)
    return head.logits(features)


def candidates(head: str, *, cues: bool) -> list[Candidate]:
    """What is tried: all of `AUTO`, or the words and one head; each with and without what is not the words'."""
    names = AUTO if head == "auto" else tuple(dict.fromkeys(("words", head)))
    found = []
    for name in names:
        strengths = STRENGTHS if name == "anchored" else (0.0,)
        joined = (False, True) if cues and name == "anchored" else (False,)
        priors = (False,) if name == "words" else (False, True)
        found += [Candidate(head=name, strength=s, cues=c, prior=p) for c in joined for s in strengths for p in priors]
    return found


def choose(
    lessons: Lessons, options: Sequence[Candidate], *, named: bool = False, seed: int = 0,
    tick: Callable[[int], None] = lambda done: None,
) -> Choice:  # fmt: skip
    """Try candidates on places left out in turn, and fit the best one on everything.

    The words alone stay unless another head beats them in 80 % of the resamples of the places. They cannot stay where
    a marked class has none.

    Args:
        named: the head was asked for, so the words do not stay in its stead.
        tick: told 1 after each candidate.
    """
    folds = folds_of(lessons, seed=seed)
    checked = _checked(lessons, folds)
    fits: dict[Candidate, tuple[Tensor, QueryHead]] = {}
    for candidate in options:
        base = Candidate(head=candidate.head, strength=candidate.strength, cues=candidate.cues)
        if base not in fits:
            fits[base] = _held_out(lessons, base, folds), fit(lessons, base)
        tick(1)
    rows = checked[lessons.labels.numpy()]
    judge = _judge(lessons, fits, rows)
    even = np.full(lessons.classes, 1 / lessons.classes)
    priors = even if judge is None else judge.shares(lessons, rows)
    shift = torch.from_numpy(np.log(np.clip(priors, 1e-3, 1) * lessons.classes)).float()
    logits = {c: _of(fits, c)[0] + (shift if c.prior else 0) for c in options}
    tried = _compare(lessons, logits, rows, judge, seed=seed)
    best = _best(tried, options, words_may_stay=not named and bool(lessons.have_words().all()))
    held, head = _of(fits, best)
    if best.prior:
        held, head = held + shift, head.moved(shift)
    temperature = 1.0 if best.head == "words" or not rows.any() else _temperature(held[rows], lessons, rows)
    return Choice(
        candidate=best, head=head, temperature=temperature, priors=priors, tried=tried, checked=checked
    )  # fmt: skip


def _of(fits: dict[Candidate, tuple[Tensor, QueryHead]], candidate: Candidate) -> tuple[Tensor, QueryHead]:
    return fits[Candidate(head=candidate.head, strength=candidate.strength, cues=candidate.cues)]


def folds_of(lessons: Lessons, *, seed: int) -> NDArray[np.int64]:
    """`(n,)`: the part of the places, up to `FOLDS`, that a pixel is left out with."""
    names = np.unique(lessons.places)
    order = np.random.default_rng(seed).permutation(len(names))
    part = dict(zip(names[order].tolist(), np.arange(len(names)) % min(FOLDS, len(names)), strict=True))
    return np.array([part[place] for place in lessons.places.tolist()], np.int64)


def _checked(lessons: Lessons, folds: NDArray[np.int64]) -> NDArray[np.bool_]:
    labels = lessons.labels.numpy()
    return np.array([len(np.unique(folds[labels == k])) > 1 for k in range(lessons.classes)], bool)


def _held_out(lessons: Lessons, candidate: Candidate, folds: NDArray[np.int64]) -> Tensor:
    """`(n, class)` logits, each of a head that was not taught with its place."""
    found = torch.zeros(len(lessons.labels), lessons.classes)
    for part in np.unique(folds):
        out = folds == part
        head = fit(lessons, candidate, ~out)
        found[torch.from_numpy(out)] = logits_of(lessons, head)[torch.from_numpy(out)]
    return found


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """The head that is right most often, which tells how common the classes are."""

    held: NDArray[np.int64]
    """`(n,)` what it says of held-out marks."""
    around: NDArray[np.float64]
    """`(class,)` shares of what it says of unmarked pixels."""

    def shares(
        self, lessons: Lessons, rows: NDArray[np.bool_], times: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """`(class,)` of the ground; `(..., class)` where places are drawn `times` `(..., place)`."""
        return area_shares(_confusion(lessons, self.held, rows, times), self.around)


def _judge(lessons: Lessons, fits: dict[Candidate, tuple[Tensor, QueryHead]], rows: NDArray[np.bool_]) -> _Judge | None:
    if not rows.any() or not len(lessons.around):
        return None
    held, head = max(fits.values(), key=lambda pair: _balanced_accuracy(lessons, pair[0], rows))
    said = logits_of(lessons, head, around=True).argmax(dim=1).numpy()
    around = np.bincount(said, minlength=lessons.classes) / len(said)
    return _Judge(held=held.argmax(dim=1).numpy(), around=around)


def area_shares(confusion: NDArray[np.float64], said: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shares of the classes under which a head that errs like this says what it says.

    Args:
        confusion: `(..., true, said)`, rows sum to 1.
        said: `(class,)` shares that the head gives.

    Returns:
        `(..., class)`, of greatest likelihood (by expectation maximisation), none of them 0.
    """
    count = len(said)
    shares = np.full(confusion.shape[:-1], 1 / count)
    for _ in range(100):
        right = said / np.maximum((shares[..., None, :] @ confusion)[..., 0, :], 1e-12)
        shares = shares * (confusion @ right[..., None])[..., 0]
        shares /= shares.sum(axis=-1, keepdims=True)
    return (1 - EVEN) * shares + EVEN / count


def _confusion(
    lessons: Lessons, said: NDArray[np.int64], rows: NDArray[np.bool_], times: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """`(..., true, said)` shares of the held-out marks, with one more mark a class that says all classes alike.

    Args:
        times: `(..., place)` how often each place counts, in the order of their numbers; None: once.
    """
    count, names = lessons.classes, np.unique(lessons.places)
    weight = lessons.weights.numpy().astype(np.float64) * rows
    table = np.zeros((len(names), count, count))
    np.add.at(table, (np.searchsorted(names, lessons.places), lessons.labels.numpy(), said), weight)
    drawn = np.ones(len(names)) if times is None else times
    table = np.tensordot(drawn, table, axes=1)
    found: NDArray[np.float64] = (table + 1 / count) / (table.sum(axis=-1, keepdims=True) + 1)
    return found


def map_iou(confusion: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(..., class)` intersection over union of a map where classes are so common and a head errs like this."""
    joint = shares[..., None] * confusion
    right = np.diagonal(joint, axis1=-2, axis2=-1)
    found: NDArray[np.float64] = right / (joint.sum(axis=-2) + shares - right)
    return found


def _balanced_accuracy(lessons: Lessons, logits: Tensor, rows: NDArray[np.bool_]) -> float:
    confusion = _confusion(lessons, logits.argmax(dim=1).numpy(), rows)
    marked = np.unique(lessons.labels.numpy()[rows])
    return float(np.diag(confusion)[marked].mean())


def _compare(
    lessons: Lessons, logits: dict[Candidate, Tensor], rows: NDArray[np.bool_], judge: _Judge | None, *, seed: int
) -> tuple[Tried, ...]:
    """Every candidate on the held-out marks, and how often it beats the words when the places are drawn anew."""
    if not rows.any():
        return ()
    said = {candidate: values.argmax(dim=1).numpy() for candidate, values in logits.items()}
    marked = np.unique(lessons.labels.numpy()[rows])
    figures = _figures(lessons, said, rows, judge, seed=seed)
    words = next((c for c in logits if c.head == "words"), None)
    found = []
    for candidate, values in logits.items():
        surer = None
        if words is not None and candidate is not words:
            mine, before = (figures[each][1:, marked].mean(axis=1) for each in (candidate, words))
            surer = float((mine > before).mean())
        iou = np.full(lessons.classes, np.nan)
        iou[marked] = figures[candidate][0, marked]
        accuracy = _balanced_accuracy(lessons, values, rows)
        found.append(Tried(candidate=candidate, iou=iou, accuracy=accuracy, surer=surer))
    return tuple(found)


def _figures(
    lessons: Lessons, said: dict[Candidate, NDArray[np.int64]], rows: NDArray[np.bool_], judge: _Judge | None, *,
    seed: int,
) -> dict[Candidate, NDArray[np.float64]]:  # fmt: skip
    """`(1 + resample, class)` IoU that each would have: of all places, then of places drawn with replacement."""
    places = len(np.unique(lessons.places))
    rng = np.random.default_rng(seed)
    drawn = (np.bincount(rng.integers(places, size=places), minlength=places) for _ in range(RESAMPLES))
    times = np.stack([np.ones(places), *drawn])
    even, parts = np.full(lessons.classes, 1 / lessons.classes), []
    for some in np.array_split(times, 1 + len(times) * lessons.classes**2 // _MOST_AT_ONCE):
        shares = np.broadcast_to(even, (len(some), len(even))) if judge is None else judge.shares(lessons, rows, some)
        parts.append([map_iou(_confusion(lessons, each, rows, some), shares) for each in said.values()])
    return {candidate: np.concatenate(part) for candidate, part in zip(said, zip(*parts, strict=True), strict=True)}


def _best(tried: Sequence[Tried], options: Sequence[Candidate], *, words_may_stay: bool) -> Candidate:
    """The best one that surely beats the words, else the words, if they may stay.

    Where nothing could be tried, the words too; else a middle way.
    """
    words = next((c for c in options if c.head == "words"), None)
    learned = [c for c in options if c is not words]
    if words is not None and (words_may_stay or not learned):
        before = next((t for t in tried if t.candidate == words), None)
        sure = [t for t in tried if before and t.surer is not None and t.surer >= SURE and t.miou > before.miou]
        return max(sure, key=lambda t: t.miou).candidate if sure else words
    if not tried:
        return next((c for c in learned if c.strength == STRENGTHS[1]), learned[0])
    return max((t for t in tried if t.candidate in learned), key=lambda t: t.miou).candidate


def _temperature(logits: Tensor, lessons: Lessons, rows: NDArray[np.bool_]) -> float:
    """Of 33 temperatures the one with the least class-balanced log loss on held-out marks."""
    labels = lessons.labels[torch.from_numpy(rows)]
    counts = torch.bincount(labels, minlength=lessons.classes).float()
    weight = 1 / counts[labels]
    losses = {
        t: float((weight * torch.nn.functional.cross_entropy(logits / t, labels, reduction="none")).sum())
        for t in np.geomspace(0.25, 16, 33).tolist()
    }
    return float(min(losses, key=lambda temperature: losses[temperature]))
