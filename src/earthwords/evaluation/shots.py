"""Classes of images from words and examples, and whether examples help: some are left out in turn and classified."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os.path import realpath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from torch import Tensor

from earthwords.archive.embed_job import EmbedJob
from earthwords.data.classification.shots import ShotFolder
from earthwords.errors import UsageError, number_of
from earthwords.evaluation.metrics.transductive import GAMMAS, neighbour_graph, transduce, word_probabilities
from earthwords.evaluation.metrics.zeroshot import unit
from earthwords.evaluation.outcome import ShotsReport
from earthwords.evaluation.tuned import TUNED, Classifier, Shots, Towers
from earthwords.models.fewshot import HEADS
from earthwords.models.fewshot.linear_head import shot_set
from earthwords.types import TextBank

Array = NDArray[Any]
PARTS, TRANSDUCTIVE_PARTS, TUNED_PARTS = 10, 4, 3
"""Parts at most that examples are left out in."""
SEED = 0


@dataclass(frozen=True, kw_only=True)
class KnownImages:
    """Vectors of images whose class is known, and words."""

    vectors: Array
    """`(example, dim)` unit vectors."""
    labels: NDArray[np.int64]
    """`(example,)`."""
    titles: tuple[str, ...]
    words: Array
    """`(class, dim)` unit vectors; of classes without words zeros."""
    worded: int
    """The first so many classes have words."""
    cosines: Callable[[Array], Array]
    """Vectors `(n, dim)` to cosines with the words `(n, class)`, -inf without words."""
    scale: float
    """Of the model's cosines."""
    method: str
    """A name of `models.fewshot.HEADS` or of `evaluation.tuned.TUNED`."""
    folder: str = ""
    sources: tuple[str, ...] = ()
    """Where they came from."""
    towers: Towers | None = None
    """Of a method that trains them."""
    names: tuple[str, ...] = ()
    """A word for each class, which it reads."""

    @property
    def parts(self) -> int:
        """Parts at most that examples are left out in."""
        return PARTS if self.towers is None else TUNED_PARTS

    @property
    def counts(self) -> NDArray[np.int64]:
        """`(class,)` number of examples."""
        return np.bincount(self.labels, minlength=len(self.titles))

    def fit(self, rows: Array) -> Classifier:
        """What learned from some of the examples: vectors `(n, dim)` and files to logits `(n, class)`.

        Every class counts the same: how many examples somebody found says nothing of how many images there are.
        """
        if self.towers is not None:
            some = [self.sources[i] for i in rows]
            own = Shots(paths=some, vectors=self.vectors[rows], labels=self.labels[rows], names=self.names)
            return TUNED[self.method](self.towers, own, seed=SEED)
        known = torch.arange(len(self.titles)) < self.worded
        labels = torch.from_numpy(self.labels[rows])
        weights = 1 / torch.bincount(labels).float()[labels]
        shots = shot_set(
            _tensor(self.vectors[rows]), labels, _tensor(self.words), has_words=known, weights=weights
        )  # fmt: skip
        head = HEADS[self.method](shots, scale=self.scale, seed=SEED)
        return lambda vectors, paths: np.asarray(head.logits(_tensor(vectors)).double().numpy())

    def by_words(self, vectors: Array) -> Array:
        """Probabilities `(n, class)` of the words alone."""
        return word_probabilities(self.cosines(vectors), self.scale)

    def leaks(self, images: Array, sources: Sequence[str]) -> tuple[str, ...]:
        """A sentence if images to classify are among the examples: the same file, or the same vector."""
        there = {realpath(path) for path in self.sources}
        same = [realpath(path) in there for path in sources]
        for i in range(len(images)):
            same[i] = same[i] or bool((self.vectors @ images[i]).max() > 1 - 1e-6)
        found, of = sum(same), number_of(len(sources), "image")
        told = f"{found} of the {of} to classify {'is' if found == 1 else 'are'} among the examples"
        return (f"{told}: how these are classified tells nothing about others.",) if found else ()

    def right(self, rows: Array, scores: Array) -> float:
        """Percent of examples whose own class has the highest score `(row, class)`."""
        return 100 * float((scores.argmax(axis=1) == self.labels[rows]).mean())


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def parts(labels: NDArray[np.integer], most: int) -> list[NDArray[np.int64]]:
    """Rows to leave out in turn: every class spread over the parts; of a class with one example none is left out."""
    rng = np.random.default_rng(SEED)
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    count = min(most, max(map(len, members)))
    if count < 2:
        return []
    made: list[list[int]] = [[] for _ in range(count)]
    for rows in members:
        for place, row in enumerate(rows if len(rows) > 1 else []):
            made[place % count].append(int(row))
    return [np.array(sorted(rows), np.int64) for rows in made if rows]


def left_out(
    known: KnownImages, most: int, classify: Callable[[Array, Array], Array]
) -> Iterator[tuple[NDArray[np.int64], Array]]:
    """Rows that were left out and their scores, part by part; `classify` gets the others and these rows."""
    for rows in parts(known.labels, most):
        yield rows, classify(np.setdiff1d(np.arange(len(known.labels)), rows), rows)


def classify_with_shots(images: Array, known: KnownImages, sources: Sequence[str] = ()) -> tuple[Array, ShotsReport]:
    """Probabilities `(image, class)`, by examples and words, or by words alone where examples do not help.

    Args:
        images: `(image, dim)` unit vectors.
        sources: their files, for a method that trains the towers.
    """

    def classify(others: Array, rows: Array) -> Array:
        return known.fit(others)(known.vectors[rows], [known.sources[i] for i in rows])

    judged = list(left_out(known, known.parts, classify))
    report = _report(known, judged, known.method, baseline=known.by_words(known.vectors), baseline_name="words alone")
    if not report.helps:
        return known.by_words(images), report
    softer = temperature([(known.labels[rows], logits) for rows, logits in judged])
    return softmax(known.fit(np.arange(len(known.labels)))(images, sources) / softer, axis=1), report


def temperature(judged: Sequence[tuple[NDArray[np.int64], Array]]) -> float:
    """What logits `(n, class)` of examples that were left out must be divided by to be probabilities; at least 1.

    A head that knows few examples is surer than it is right.
    """
    if not judged:
        return 1.0
    labels, logits = (np.concatenate(part) for part in zip(*judged, strict=True))

    def loss(power: float) -> float:
        return -float(log_softmax(logits / 10**power, axis=1)[np.arange(len(labels)), labels].mean())

    return float(10 ** minimize_scalar(loss, bounds=(0, 2), method="bounded").x)


def transduce_with_shots(images: Array, known: KnownImages) -> tuple[Array, ShotsReport]:
    """As `classify_with_shots`, of all images together (RS-TransCLIP's few-shot extension)."""
    everything, count = np.concatenate([images, known.vectors]), len(images)
    graph = neighbour_graph(everything)
    examples = np.arange(len(known.labels))

    def together(rows: Array, gamma: float) -> Array:
        """Of everything, with these examples' classes known."""
        told = np.full(len(everything), -1)
        told[count + rows] = known.labels[rows]
        words = known.worded == len(known.titles)
        opinion = known.by_words(everything) if words else softmax(known.fit(rows)(everything, ()), axis=1)
        return transduce(everything, opinion, known=told, gamma=gamma, graph=graph).assignment

    def with_others(gamma: float) -> Callable[[Array, Array], Array]:
        return lambda others, rows: together(others, gamma)[count + rows]

    tried = {gamma: list(left_out(known, TRANSDUCTIVE_PARTS, with_others(gamma))) for gamma in GAMMAS}
    right = {gamma: sum(known.right(rows, scores) * len(rows) for rows, scores in tried[gamma]) for gamma in GAMMAS}
    gamma = max(GAMMAS, key=lambda each: right[each]) if tried[GAMMAS[0]] else GAMMAS[1]
    plain: Array | None = None
    if known.worded == len(known.titles):
        plain = transduce(everything, known.by_words(everything), graph=graph).assignment
    report = _report(
        known, tried[gamma], f"RS-TransCLIP, gamma {gamma:g}", baseline=None if plain is None else plain[count:],
        baseline_name="all images together by words",
    )  # fmt: skip
    scores = together(examples, gamma) if report.helps or plain is None else plain
    return scores[:count], report


def _report(
    known: KnownImages,
    judged: list[tuple[NDArray[np.int64], Array]],
    method: str,
    *,
    baseline: Array | None,
    baseline_name: str,
) -> ShotsReport:
    """Whether examples help: more of those left out are right than by the baseline's scores `(example, class)`.

    A class that has no word is never found without them, so that then they are used in any case.
    """
    counts = {title: int(count) for title, count in zip(known.titles, known.counts, strict=True)}
    words = shots = None
    rows = np.concatenate([rows for rows, _ in judged]) if judged else np.empty(0, np.int64)
    if judged:
        shots = known.right(rows, np.concatenate([scores for _, scores in judged]))
        words = None if baseline is None else known.right(rows, baseline[rows])
    needed = known.worded < len(known.titles)
    helps = needed or shots is None or words is None or shots > words
    return ShotsReport(
        folder=known.folder, examples=counts, method=method, without=tuple(known.titles[known.worded :]),
        parts=len(judged), left_out=len(rows), words_accuracy=words, shots_accuracy=shots, baseline=baseline_name,
        helps=helps,
    )  # fmt: skip


def embed_examples(
    shots: ShotFolder, job: EmbedJob, bank: TextBank, *, cosines: Callable[[Array], Array], method: str, prompt: str
) -> tuple[KnownImages, tuple[str, ...]]:
    """Examples as vectors, and why some were left out.

    Args:
        bank: vectors of the words of the first classes; a class with several has their mean.
        cosines: see `KnownImages`.
        prompt: with `{}` for a class.

    Raises:
        SourceError: none can be read.
        UsageError: none of a class can be read.
    """
    paths = list(map(str, shots.paths))
    vectors, kept, failures = job.run(paths, tick=lambda done: None, say=lambda sentence: None)
    labels = shots.labels[[paths.index(path) for path in kept]]
    for label, title in enumerate(shots.titles):
        if label not in labels:
            raise UsageError(f"No example of {title!r} in {shots.folder} can be read.")
    words = np.zeros((len(shots.titles), vectors.shape[1]), np.float32)
    np.add.at(words, bank.query_class, bank.vectors)
    words[: shots.worded] = unit(words[: shots.worded])
    towers = Towers(backbone=job.backbone, preprocess=job.encode.preprocess, prompt=prompt, batch=job.batch)
    return KnownImages(
        towers=towers if method in TUNED else None, names=tuple(c.queries[0] for c in shots.vocabulary.classes),
        vectors=vectors, labels=labels, titles=shots.titles, words=words, worded=shots.worded, cosines=cosines,
        scale=job.backbone.logit_scale, method=method, folder=str(shots.folder), sources=tuple(kept),
    ), failures  # fmt: skip
