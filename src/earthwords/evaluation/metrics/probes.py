"""Linear probes: a linear classifier on frozen embeddings.

`logistic` finds the optimum of the regularised cross-entropy with L-BFGS; `sgd` is RemoteCLIP's recipe
(https://arxiv.org/abs/2306.11029; settings as in its codebase, https://github.com/ChenDelong1999/ITRA): momentum SGD,
cosine annealing, settings by random search. Settings are chosen on validation images; the authors' choice by
the test images themselves is there under `select="test"`, and results say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from earthwords.errors import UsageError, unknown
from earthwords.models.fewshot.linear_probe import logistic_regression

Array = NDArray[Any]

DECAYS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
"""Weight decays that `logistic` chooses from, strongest first."""
RATES = tuple(base * step for base in (1e-1, 1e-2) for step in range(1, 9))
SGD_DECAYS = tuple(base * step for base in (1e-5, 1e-6, 1e-7, 1e-8, 1e-9) for step in range(1, 9))
"""The grid that `sgd` draws from."""
DRAWS = 5
"""Settings that `sgd` tries."""
EPOCHS, BATCH, MOMENTUM, FIRST_SPREAD = 1000, 10_000, 0.9, 0.01
SELECT = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class LabelledVectors:
    """Images whose classes are known."""

    vectors: Array
    """`(image, dim)` unit vectors."""
    labels: NDArray[np.int64]
    """`(image,)`."""

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, index: NDArray[np.integer]) -> LabelledVectors:
        """Some of them."""
        return LabelledVectors(vectors=self.vectors[index], labels=self.labels[index])

    def with_also(self, others: LabelledVectors) -> LabelledVectors:
        """These and others."""
        return LabelledVectors(
            vectors=np.concatenate([self.vectors, others.vectors]), labels=np.concatenate([self.labels, others.labels])
        )


@dataclass(frozen=True, kw_only=True)
class LinearClassifier:
    """A linear classifier."""

    weight: Array
    """`(class, dim)`."""
    bias: Array
    """`(class,)`."""

    def __call__(self, vectors: Array) -> Array:
        """Logits `(image, class)`."""
        return vectors @ self.weight.T + self.bias

    def accuracy(self, known: LabelledVectors) -> float:
        """Percent."""
        return 100 * float((self(known.vectors).argmax(axis=1) == known.labels).mean())


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A fitted classifier and how its settings came about."""

    model: LinearClassifier
    settings: dict[str, float]
    selected_on: str
    """`validation` or `test`."""
    tried: tuple[dict[str, float], ...]
    """The settings that were compared, each with its `accuracy` on those images in percent."""

    def as_json(self) -> dict[str, Any]:
        """Plain values, without the weights."""
        return {key: value for key, value in asdict(self).items() if key != "model"}


def logistic(
    train: LabelledVectors, *, classes: int, weight_decay: float, start: LinearClassifier | None = None
) -> LinearClassifier:
    """`logistic_regression`, from `start` on."""
    first = None if start is None else np.column_stack([start.weight, start.bias])
    weight, bias = logistic_regression(
        train.vectors, train.labels, classes=classes, weight_decay=weight_decay, start=first
    )
    return LinearClassifier(weight=weight, bias=bias)


def sgd(
    train: LabelledVectors,
    *,
    classes: int,
    lr: float,
    weight_decay: float,
    epochs: int = EPOCHS,
    seed: int = 0,
    watch: Callable[[LinearClassifier], None] = lambda model: None,
) -> LinearClassifier:
    """Momentum SGD on cross-entropy, rate falling to 0 along a cosine; `watch` sees the model after every epoch."""
    drawn = torch.Generator().manual_seed(seed)
    x = torch.from_numpy(np.ascontiguousarray(train.vectors, dtype=np.float32))
    y = torch.from_numpy(np.asarray(train.labels, np.int64))
    weight = (FIRST_SPREAD * torch.randn(classes, x.shape[1], generator=drawn)).requires_grad_()
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], lr=lr, momentum=MOMENTUM, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)

    def model() -> LinearClassifier:
        return LinearClassifier(weight=weight.detach().numpy().copy(), bias=bias.detach().numpy().copy())

    for _ in range(epochs):
        order = torch.randperm(len(x), generator=drawn) if len(x) > BATCH else torch.arange(len(x))
        for rows in order.split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(F.linear(x[rows], weight, bias), y[rows]).backward()
            optimizer.step()
        schedule.step()
        watch(model())
    return model()


def probe_logistic(
    train: LabelledVectors,
    selection: LabelledVectors,
    *,
    classes: int,
    seed: int = 0,
    select: str = "validation",
    refit: bool = True,
) -> Probe:
    """The weight decay of `DECAYS` that does best on `selection`; of equal ones the strongest."""
    tried, models = [], []
    model: LinearClassifier | None = None
    for decay in DECAYS:
        model = logistic(train, classes=classes, weight_decay=decay, start=model)
        models.append(model)
        tried.append({"weight_decay": decay, "accuracy": model.accuracy(selection)})
    best = int(np.argmax([entry["accuracy"] for entry in tried]))
    final, decay = models[best], tried[best]["weight_decay"]
    if refit and select == "validation":
        final = logistic(train.with_also(selection), classes=classes, weight_decay=decay, start=final)
    return Probe(model=final, settings={"weight_decay": decay}, selected_on=select, tried=tuple(tried))


def probe_sgd(
    train: LabelledVectors,
    selection: LabelledVectors,
    *,
    classes: int,
    seed: int = 0,
    select: str = "validation",
    refit: bool = True,
    epochs: int = EPOCHS,
) -> Probe:
    """The best of `DRAWS` random settings on `selection`; with `select="test"` also its best epoch, as the authors."""
    rng = np.random.default_rng(seed)
    tried, models = [], []
    for _ in range(DRAWS):
        lr, decay = float(rng.choice(RATES)), float(rng.choice(SGD_DECAYS))
        best = _Best(selection)
        watch = best if select == "test" else lambda model: None
        last = sgd(train, classes=classes, lr=lr, weight_decay=decay, epochs=epochs, seed=seed, watch=watch)
        model = best.model if best.model is not None else last
        models.append(model)
        epoch = {"epoch": float(best.epoch)} if select == "test" else {}
        tried.append({"lr": lr, "weight_decay": decay, **epoch, "accuracy": model.accuracy(selection)})
    place = int(np.argmax([entry["accuracy"] for entry in tried]))
    settings = {name: value for name, value in tried[place].items() if name != "accuracy"}
    final = models[place]
    if refit and select == "validation":
        lr, decay = settings["lr"], settings["weight_decay"]
        final = sgd(train.with_also(selection), classes=classes, lr=lr, weight_decay=decay, epochs=epochs, seed=seed)
    return Probe(model=final, settings=settings, selected_on=select, tried=tuple(tried))


class _Best:
    """Remembers the model of the epoch that does best."""

    def __init__(self, selection: LabelledVectors) -> None:
        self.selection, self.epoch, self.epochs_done, self.right = selection, 0, 0, -1.0
        self.model: LinearClassifier | None = None

    def __call__(self, model: LinearClassifier) -> None:
        self.epochs_done += 1
        right = model.accuracy(self.selection)
        if right > self.right:
            self.right, self.model, self.epoch = right, model, self.epochs_done


PROBES: dict[str, Callable[..., Probe]] = {"logistic": probe_logistic, "sgd": probe_sgd}


def linear_probe(
    train: LabelledVectors,
    validation: LabelledVectors | None,
    test: LabelledVectors,
    *,
    classes: int,
    method: str = "logistic",
    select: str = "validation",
    seed: int = 0,
    refit: bool = True,
) -> Probe:
    """Fit a probe by a name of `PROBES`, settings chosen on `validation` (then it is fitted to both), or on `test`.

    Raises:
        UsageError: an unknown name, or no image to learn from or to choose with.
    """
    if method not in PROBES:
        raise unknown("probe", method, PROBES)
    if select not in SELECT:
        raise unknown("images to select with", select, SELECT)
    selection = test if select == "test" else validation
    for what, known in (("train", train), (select, selection)):
        if known is None or not len(known):
            raise UsageError(f"A linear probe needs {what} images, and there are none.")
    return PROBES[method](train, selection, classes=classes, seed=seed, select=select, refit=refit)


def cut(
    labels: NDArray[np.integer], share: float, *, seed: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the first `share` of every class and of its rest, each ascending.

    As in RemoteCLIP's codebase (80 %), but in the order given, or shuffled with `seed`. A class of two images or more
    has at least one on either side.
    """
    first: list[NDArray[np.int64]] = []
    rest: list[NDArray[np.int64]] = []
    rng = None if seed is None else np.random.default_rng(seed)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if rng is not None:
            members = rng.permutation(members)
        count = int(share * len(members) + 1e-9)
        count = len(members) if len(members) < 2 else min(max(count, 1), len(members) - 1)
        first.append(members[:count])
        rest.append(members[count:])
    return _joined(first), _joined(rest)


def _joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)
