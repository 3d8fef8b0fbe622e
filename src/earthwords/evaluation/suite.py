"""The tasks of `evaluate`: each takes a source of embeddings and options, and returns figures.

Protocols of RemoteCLIP (https://arxiv.org/abs/2306.11029) and RS-TransCLIP (https://arxiv.org/abs/2409.00698).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError
from earthwords.evaluation.metrics import counting, fewshot, knn
from earthwords.evaluation.metrics.multilabel import rank
from earthwords.evaluation.metrics.probes import LabelledVectors, cut, linear_probe
from earthwords.evaluation.metrics.retrieval import RANKS, recalls
from earthwords.evaluation.metrics.transductive import SCALE, transduce, word_probabilities
from earthwords.evaluation.metrics.zeroshot import ensemble, measure
from earthwords.evaluation.tuned import TUNED, Shots, Towers
from earthwords.text.vocabulary import in_english

SHARE = 0.8
"""Of every class that is learned from where no file tells; and of these, what is not kept for validation."""
CURVE = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)
"""Ranks of the recall curve."""

Index = NDArray[np.int64]


class Source(Protocol):
    """One model's embeddings of one data set."""

    @property
    def name(self) -> str:
        """Of the data set."""

    @property
    def model(self) -> str:
        """Of the model."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The words for each class."""

    @property
    def size(self) -> int:
        """Number of images."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything the embeddings and their labels depend on."""

    @property
    def about(self) -> dict[str, Any]:
        """How the embeddings came about, for the report."""

    def notes(self, task: str) -> tuple[str, ...]:
        """What is known of the worth of a task's figures."""

    @property
    def labels(self) -> Index | None:
        """`(image,)`."""

    @property
    def parts(self) -> dict[str, Index]:
        """Images of `train`, `validation`, `test`, as far as files tell."""

    @property
    def counts(self) -> Index | None:
        """`(image,)` numbers of objects, 0 where that is not told."""

    @property
    def tags(self) -> NDArray[np.bool_] | None:
        """`(image, label)` which of several labels images have."""

    @property
    def tag_names(self) -> tuple[str, ...]:
        """The words for each of them."""

    def embed(self, index: Index) -> NDArray[np.float32]:
        """`(index, dim)` unit vectors of some images."""

    def towers(self, method: str) -> Towers:
        """What a method that trains them begins from.

        Raises:
            UsageError: there are vectors alone.
        """

    def paths(self, index: Index) -> list[Path]:
        """The files of some images, of a source with towers."""

    def prompts(self) -> NDArray[np.float32]:
        """`(template, class, dim)`."""

    def tag_prompts(self) -> NDArray[np.float32]:
        """`(template, label, dim)`, of several labels an image."""

    def captions(self, index: Index) -> tuple[NDArray[np.float32], Index]:
        """`(text, dim)` unit vectors of these images' sentences, and the place in `index` of the image of each."""

    def numbers(self, index: Index, style: str) -> NDArray[np.float32]:
        """`(index, 10)` similarities of images to their sentences with one ... ten."""


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """How to measure; each task reads what concerns it."""

    split: str | None = None
    """`train`, `validation`, `test`, `all`; None: test where files tell it, else all."""
    ensemble: str = "raw"
    """A name of `zeroshot.ENSEMBLES`."""
    probe: str = "logistic"
    """A name of `probes.PROBES`."""
    select: str = "validation"
    """What chooses a probe's settings."""
    seed: int = 0
    shots: Sequence[int] = fewshot.SHOTS
    seeds: int = fewshot.SEEDS
    """Draws of each number of shots."""
    method: str | None = None
    """A head of `models.fewshot.HEADS` for few-shot, by the protocol of fewshot_RSVLMs; None: a probe."""
    neighbours: int = knn.NEIGHBOURS
    numbers: str = "words"
    """A name of `counting.STYLES`."""
    tick: Callable[[float], None] = field(default=lambda done: None, repr=False)


@dataclass(frozen=True, kw_only=True)
class SuiteTask:
    """A row of `TASKS`."""

    run: Callable[[Source, SuiteOptions], dict[str, Any]]
    settings: tuple[str, ...]
    """The options it depends on."""
    headline: tuple[str, ...]
    """The figures a table shows."""
    classes: Callable[[Source], tuple[str, ...]] = lambda source: source.classes
    """What its figures of classes are about."""


def zero_shot(source: Source, options: SuiteOptions) -> dict[str, Any]:
    """The nearest class of words."""
    index, which = measured(source, options)
    scores = source.embed(index) @ ensemble(source.prompts(), options.ensemble).T
    return {"images": which, **measure(scores, labels_of(source)[index]).as_json()}


def transductive(source: Source, options: SuiteOptions) -> dict[str, Any]:
    """Words, corrected by all images together."""
    index, which = measured(source, options)
    images, labels = source.embed(index), labels_of(source)[index]
    cosines = images @ ensemble(source.prompts(), options.ensemble).T
    found = measure(transduce(images, word_probabilities(cosines, SCALE)).assignment, labels)
    return {"images": which, "zero_shot_top1": measure(cosines, labels).top1, **found.as_json()}


def linear(source: Source, options: SuiteOptions) -> dict[str, Any]:
    """A linear classifier on the vectors."""
    train, validation, test, which = thirds(source, options)
    classes = len(source.classes)
    probe = linear_probe(
        train, validation, test, classes=classes, method=options.probe, select=options.select, seed=options.seed
    )
    found = measure(probe.model(test.vectors), test.labels)
    return {"images": which, **found.as_json(), **probe.as_json(), **_choice(options)}


def nearest(source: Source, options: SuiteOptions) -> dict[str, Any]:
    """The vote of the nearest training images, validation images among them."""
    train, validation, test, which = thirds(source, replace(options, select="validation"))
    known = train.with_also(validation)
    scores = knn.vote(test.vectors, known.vectors, known.labels, classes=len(source.classes), k=options.neighbours)
    found = measure(scores, test.labels)
    return {"images": which, "k": options.neighbours, "temperature": knn.TEMPERATURE, **found.as_json()}


def few_shot(source: Source, options: SuiteOptions) -> dict[str, Any]:
    """Linear probes on some images a class, or a head of `models.fewshot`."""
    if options.method is not None:
        return few_shot_head(source, options)
    train, validation, test, which = thirds(source, options)
    rows = fewshot.few_shot(
        train, validation, test, classes=len(source.classes), shots=options.shots, method=options.probe,
        seeds=range(options.seed, options.seed + options.seeds), select=options.select, tick=options.tick,
    )  # fmt: skip
    means = {f"{row['shots']}-shot": row["mean"] for row in rows}
    return {"images": which, **means, "shots": rows, "selected_on": options.select, **_choice(options)}


def few_shot_head(source: Source, options: SuiteOptions) -> dict[str, Any]:
    """A head that learns from words and some images a class."""
    method = options.method or ""
    if method in TUNED:
        return few_shot_tuned(source, options)
    *cuts, which = benchmark_cuts(source, options)
    train, validation, test = (labelled(source, index) for index in cuts)
    words = ensemble(source.prompts(), "normalised")
    # TaskRes moves the mean of the vectors as they come, and these are longer than 1
    start = source.prompts().mean(axis=0) if method == "taskres" else words
    rows = fewshot.few_shot_head(
        train, validation, test, words=start, method=method, shots=options.shots,
        seeds=range(options.seed, options.seed + options.seeds), select=options.select, tick=options.tick,
    )  # fmt: skip
    means = {f"{row['shots']}-shot": row["mean"] for row in rows}
    chosen = {"chosen": fewshot.CHOSEN[method], "selected_on": options.select}
    if options.select == "test":
        chosen |= {
            "selected_on": "test (the epoch), validation (alpha, beta)",
            "warning": f"the epoch of {method} was selected on the test images, as its authors do: optimistic",
        }
    return {
        "images": which, "zero_shot_top1": measure(test.vectors @ words.T, test.labels).top1, **means, "shots": rows,
        "seen": "whole images, no random crops", **chosen,
    }  # fmt: skip


def few_shot_tuned(source: Source, options: SuiteOptions) -> dict[str, Any]:
    """What trains the towers, or vectors that go through them, by some images a class."""
    method = options.method or ""
    if options.select == "test":
        raise UsageError(f"The authors of {method} choose on no test images, so there is nothing to repeat.")
    towers, (train, _, test, which) = source.towers(method), benchmark_cuts(source, options)
    seen, labels, known = labelled(source, test), labels_of(source), source.embed(train)
    fewshot.check_all_shown(labels[train], len(source.classes))
    words, names = ensemble(source.prompts(), "normalised"), [in_english(name) for name in source.classes]

    def measured(some: LabelledVectors, selection: LabelledVectors | None, seed: int) -> float:
        rows = some.vectors[:, 0].astype(np.int64)
        shots = Shots(paths=source.paths(train[rows]), vectors=known[rows], labels=some.labels, names=names)
        classify = TUNED[method](towers, shots, seed=seed, tick=options.tick)
        scores = classify(seen.vectors, source.paths(test))
        return 100 * float((scores.argmax(axis=1) == seen.labels).mean())

    numbered = LabelledVectors(vectors=np.arange(len(train))[:, None], labels=labels[train])
    rows = fewshot.curve(
        numbered, None, measured, classes=len(names), shots=options.shots,
        seeds=range(options.seed, options.seed + options.seeds),
    )  # fmt: skip
    crops = "whole images, no random crops" if method == "coop" else "random crops; whole images are measured"
    return {
        "images": which, "zero_shot_top1": measure(seen.vectors @ words.T, seen.labels).top1,
        **{f"{row['shots']}-shot": row["mean"] for row in rows}, "shots": rows, "seen": crops,
        "chosen": fewshot.CHOSEN[method], "selected_on": options.select,
    }  # fmt: skip


def labelled(source: Source, index: Index) -> LabelledVectors:
    """Vectors of some images, and their classes."""
    return LabelledVectors(vectors=source.embed(index), labels=labels_of(source)[index])


def benchmark_cuts(source: Source, options: SuiteOptions) -> tuple[Index, Index, Index, str]:
    """As `cuts`, but what files do not tell is cut as the benchmark does: half, a quarter, a quarter."""
    if "test" in source.parts or options.split is not None:
        return cuts(source, replace(options, select="validation"))
    train, validation, test = fewshot.benchmark_cut(labels_of(source))
    sizes = f"{len(train):,} train, {len(validation):,} validation"
    return train, validation, test, f"a quarter of every class, {len(test):,} ({sizes})"


def retrieval(source: Source, options: SuiteOptions) -> dict[str, Any]:
    """Sentences by image and images by sentence."""
    index, which = measured(source, options)
    texts, owner = source.captions(index)
    described, owner = np.unique(owner, return_inverse=True)  # an image without a sentence cannot be found by one
    if not len(described):
        raise UsageError(f"{source.name} has no sentences for these images ({which}).")
    index = index[described]
    images = source.embed(index)
    curve = recalls(images, texts, owner, ranks=CURVE)
    return {
        "images": f"{which}; {len(index):,} with {len(texts):,} sentences",
        **recalls(images, texts, owner, ranks=RANKS),
        "curve": {"ranks": CURVE, **{way: [curve[f"{way}_r{k}"] for k in CURVE] for way in ("i2t", "t2i")}},
    }


def count(source: Source, options: SuiteOptions) -> dict[str, Any]:
    """Numbers in sentences."""
    index, which = measured(source, options)
    counts = source.counts
    index = index[:0] if counts is None else index[counts[index] > 0]
    if counts is None or not len(index):
        raise UsageError(f"{source.name} tells no counts for these images ({which}).")
    figures = counting.counting_scores(source.numbers(index, options.numbers), counts[index])
    return {"images": f"{which}; {len(index):,} with a count", **figures}


def multi_label(source: Source, options: SuiteOptions) -> dict[str, Any]:
    """Words of labels, several of which an image may have."""
    if source.tags is None:
        raise UsageError(f"{source.name} does not tell several labels an image.")
    index, which = measured(source, options)
    scores = source.embed(index) @ ensemble(source.tag_prompts(), options.ensemble).T
    return {"images": which, **rank(scores, source.tags[index]).as_json()}


TASKS: dict[str, SuiteTask] = {
    "zero-shot": SuiteTask(run=zero_shot, settings=("split", "ensemble"), headline=("top1", "top5", "mean_per_class")),
    "transductive": SuiteTask(
        run=transductive, settings=("split", "ensemble"), headline=("zero_shot_top1", "top1", "mean_per_class")
    ),
    "linear-probe": SuiteTask(
        run=linear, settings=("split", "probe", "select", "seed"), headline=("top1", "mean_per_class")
    ),
    "knn": SuiteTask(run=nearest, settings=("split", "seed", "neighbours"), headline=("top1", "mean_per_class")),
    "few-shot": SuiteTask(
        run=few_shot,
        settings=("split", "probe", "select", "seed", "shots", "seeds"),
        headline=("zero_shot_top1", *(f"{shots}-shot" for shots in fewshot.SHOTS)),
    ),
    "retrieval": SuiteTask(
        run=retrieval,
        settings=("split",),
        headline=(*(f"{way}_r{k}" for way in ("i2t", "t2i") for k in RANKS), "mean_recall"),
    ),
    "multi-label": SuiteTask(
        run=multi_label,
        settings=("split", "ensemble"),
        headline=("mAP", "guessed_mAP"),
        classes=lambda source: source.tag_names,
    ),
    "counting": SuiteTask(run=count, settings=("split", "numbers"), headline=("top1", "top3", "mean_absolute_error")),
}


def labels_of(source: Source) -> Index:
    """The labels; an error for a set without classes."""
    if source.labels is None:
        raise UsageError(f"{source.name} tells no classes of its images, so they cannot be classified.")
    return source.labels


def measured(source: Source, options: SuiteOptions) -> tuple[Index, str]:
    """The images that are measured, and a word about them."""
    parts = source.parts
    split = options.split or ("test" if "test" in parts else "all")
    if split == "all":
        return np.arange(source.size), f"all {source.size:,}"
    if split not in parts:
        there = ", ".join(parts) or "none"
        raise UsageError(f"{source.name} has no split {split!r} (there is: {there}); use --split all.")
    return parts[split], f"{split} split, {len(parts[split]):,}"


def thirds(source: Source, options: SuiteOptions) -> tuple[LabelledVectors, LabelledVectors, LabelledVectors, str]:
    """`cuts`, as vectors."""
    *found, which = cuts(source, options)
    learned, chosen, tested = (labelled(source, index) for index in found)
    return learned, chosen, tested, which


def cuts(source: Source, options: SuiteOptions) -> tuple[Index, Index, Index, str]:
    """Images to learn from, to choose with and to measure, and a word about them.

    What files do not tell is cut: the last 20 % of every class for the test, 20 % at random of what is learned from
    for validation; where the test images choose, these are learned from as well.
    """
    labels, parts = labels_of(source), source.parts
    split = options.split or "test"
    if split not in ("test", "validation"):
        raise UsageError(f"Probes are measured on images they have not learned from: --split test, not {split}.")
    train = parts.get("train")
    if split in parts:
        test, which = parts[split], f"{split} split"
        train = np.setdiff1d(np.arange(len(labels)), test) if train is None else train
    elif split == "test":
        rest = np.arange(len(labels)) if train is None else train
        first, last = cut(labels[rest], SHARE)
        train, test, which = rest[first], rest[last], f"last {1 - SHARE:.0%} of every class"
    else:
        raise UsageError(f"{source.name} has no validation split; leave --split out.")
    validation = parts.get("validation") if split == "test" else None
    if validation is None:
        first, last = cut(labels[train], SHARE, seed=options.seed)
        train, validation = train[first], train[last]
    train = np.setdiff1d(train, np.concatenate([validation, test]))
    if options.select == "test":
        train = np.concatenate([train, validation])
    sizes = (
        f"{len(train):,} train, {len(validation):,} validation" if options.select != "test" else f"{len(train):,} train"
    )
    return train, validation, test, f"{which}, {len(test):,} ({sizes})"


def _choice(options: SuiteOptions) -> dict[str, str]:
    """A sentence for the report where settings were chosen by the images that are measured."""
    if options.select == "test":
        return {"warning": "settings selected on the test images, as in the paper: optimistic"}
    return {}
