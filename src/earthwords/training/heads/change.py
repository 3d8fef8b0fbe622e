"""Training of a network for change on pairs of images with masks, over an encoder of which a little learns.

PeftCD (https://arxiv.org/abs/2509.09572, https://github.com/dyzy41/PeftCD): cross-entropy from both branches, a rate
that falls with the third power. Of our own: half of the crops show a change where there is one, dates change places,
and each date gets a sensor of its own.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earthwords.data.manifests.captions import IGNORE
from earthwords.models.change.network import ChangeNetwork
from earthwords.training import augment
from earthwords.training.heads.aggregation import normalised
from earthwords.training.loop import Schedule

CACHE = 1 << 30
"""Bytes of decoded pairs that are kept."""
SHOWS_CHANGE = 0.5
"""Share of the crops around a pixel that changed."""
POWER = 3

Pixels = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"""Before and after `(row, col, 3)`, and the change `(row, col)`: 0, 1 or `IGNORE`."""


class Pair(Protocol):
    """A pair that can be read."""

    @property
    def name(self) -> str: ...

    def read(self) -> Pixels:
        """Both images and the mask."""


@dataclass(frozen=True, kw_only=True)
class CubicSchedule(Schedule):
    """The authors': a linear rise, then `(1 - progress)^3`, never below a share `floor` of the rate, so that warm-up
    begins there too."""

    weight_decay: float = 1e-4
    decays_all: bool = True
    beta2: float = 0.999
    floor: float = 0.1

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        if step < self.warmup:
            return self.lr * max(self.floor, step / self.warmup)
        progress = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.lr * max(self.floor, (1 - progress) ** POWER)


@dataclass(frozen=True, kw_only=True)
class ChangeObjective:
    """What a step draws and how it counts."""

    batch_size: int = 8
    side: int = 128
    """Of the crops, pixels."""
    zoom: tuple[float, float] = (0.75, 1.5)
    """Least and largest number of source pixels a training pixel."""
    coral: float = 0.0
    """Weight of the distance between the covariances of both dates' coarsest features (the authors' variant for other
    places has 0.1)."""


@dataclass(frozen=True, kw_only=True)
class ChangeBatch:
    """Crops `(crop, 3, side, side)` in 0..1 of both dates, and the change `(crop, side, side)` int64."""

    before: Tensor
    after: Tensor
    target: Tensor


def change_loss(first: Tensor, second: Tensor, target: Tensor) -> Tensor:
    """Mean of the cross-entropies of both branches, logits `(image, 2, H, W)`; 0 where no pixel counts."""
    if not (target != IGNORE).any():
        return (first.sum() + second.sum()) * 0
    return (
        F.cross_entropy(first, target, ignore_index=IGNORE) + F.cross_entropy(second, target, ignore_index=IGNORE)
    ) / 2


def coral_loss(first: Tensor, second: Tensor) -> Tensor:
    """Squared distance of the covariances of two maps `(image, channel, H, W)` over all their pixels, by 4 channels^2
    (https://arxiv.org/abs/1607.01719)."""
    covariances = [x.transpose(0, 1).flatten(1).float().cov() for x in (first, second)]
    return (covariances[0] - covariances[1]).square().sum() / (4 * first.shape[1] ** 2)


class ChangeTask:
    """Draws the batch of a step and computes its loss."""

    def __init__(
        self, pairs: Sequence[Pair], objective: ChangeObjective, *, settings: Mapping[str, str], cache: int = CACHE
    ) -> None:
        """`settings`: what else a resumed run must have in common with the one that began."""
        self.objective = objective
        self._pairs = list(pairs)
        self._read = _cached([pair.read for pair in pairs], cache)
        listed = hashlib.sha256("\n".join(pair.name for pair in pairs).encode()).hexdigest()[:12]
        options = {name: str(value) for name, value in asdict(objective).items()}
        self.settings: Mapping[str, str] = {**options, "pairs": f"{len(self._pairs)} ({listed})", **settings}

    def draw(self, rng: np.random.Generator) -> ChangeBatch:
        """The batch that this random generator stands for."""
        before, after, targets = [], [], []
        for _ in range(self.objective.batch_size):
            first, second, change = self._read(int(rng.integers(len(self._pairs))))
            crop = self._crop(change, rng)
            images = [augment.take(image, crop, self.objective.side) for image in (first, second)]
            if rng.random() < 0.5:
                images.reverse()
            before.append(images[0])
            after.append(images[1])
            targets.append(augment.take_mask(change, crop, self.objective.side, step=1))
        seen = augment.random_sensor(torch.stack([*before, *after]), rng)
        return ChangeBatch(before=seen[: len(before)], after=seen[len(before) :], target=torch.stack(targets))

    def losses(self, model: ChangeNetwork, batch: ChangeBatch) -> dict[str, Tensor]:
        """Cross-entropy, and the distance of covariances if it is asked for."""
        before, after = (normalised(pixels, model.backbone) for pixels in (batch.before, batch.after))
        levels = model.levels(before, after)
        first, second = model.decide(*levels, size=(before.shape[-2], before.shape[-1]))
        found = {"ce": change_loss(first.float(), second.float(), batch.target.to(first.device))}
        if self.objective.coral:
            found["coral"] = self.objective.coral * coral_loss(levels[0][-1], levels[1][-1])
        return found

    def _crop(self, change: NDArray[np.uint8], rng: np.random.Generator) -> augment.Crop:
        """Around a change half of the time, anywhere else; turned and mirrored."""
        height, width = change.shape
        changed = np.flatnonzero(change == 1)
        around = len(changed) > 0 and rng.random() < SHOWS_CHANGE
        row, col = divmod(int(rng.choice(changed)), width) if around else rng.uniform(0, (height, width))
        return augment.random_crop_at((row, col), (height, width), self.objective.side, rng, zoom=self.objective.zoom)


def _cached(reads: Sequence[Callable[[], Pixels]], most: int) -> Callable[[int], Pixels]:
    """Reads by number; what was read last is kept, up to `most` bytes."""
    kept: OrderedDict[int, Pixels] = OrderedDict()

    def read(number: int) -> Pixels:
        if number not in kept:
            kept[number] = reads[number]()
            while sum(a.nbytes for pair in kept.values() for a in pair) > most and len(kept) > 1:
                kept.popitem(last=False)
        kept.move_to_end(number)
        return kept[number]

    return read
