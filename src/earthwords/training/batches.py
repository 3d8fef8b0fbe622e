"""What one step of contrastive training sees: pictures with sentences and labels, and regions with classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from earthwords.data.manifests.captions import IGNORE, Example, Manifest
from earthwords.errors import UsageError, unknown
from earthwords.training import augment

PLACES = 400
"""Positions remembered for every class of a mask, as centres of crops."""
CELL = 4
"""Pixels a side of one target cell of a region."""


@dataclass(frozen=True, kw_only=True)
class PictureBatch:
    """Whole pictures. A picture may have a sentence, a label, or both."""

    pixels: Tensor
    """`(batch, 3, side, side)`, 0..1."""
    sentences: tuple[str | None, ...]
    labels: dict[str, tuple[list[int], list[int]]]
    """Set -> positions in the batch, and the label of each."""


@dataclass(frozen=True, kw_only=True)
class RegionBatch:
    """Crops with a class for every cell."""

    pixels: Tensor
    """`(batch, 3, side, side)`, 0..1."""
    target: Tensor
    """`(batch, side / CELL, side / CELL)` int64."""
    sets: dict[str, list[int]]
    """Set -> positions in the batch."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How whole pictures are varied; all take one of the eight orientations of a square."""

    cover: tuple[float, float]
    """Least and largest share of the shorter side that is seen."""
    sensor: bool
    """Another gain, gamma, colour, haze, blur and noise for each."""
    strong: bool = False
    """Of pictures and regions: colours of one another too, wider ranges, coarser optics, JPEG."""


AUGMENTATIONS = {
    "sensor": Augmentation(cover=(0.5, 1.0), sensor=True),
    "strong": Augmentation(cover=(0.4, 1.0), sensor=True, strong=True),
    "remoteclip": Augmentation(cover=(0.9**0.5, 1.0), sensor=False),
}
"""`remoteclip`: RemoteCLIP's crops of 0.9 to 1 of the area (those of its code base; https://arxiv.org/abs/2306.11029
says no numbers), flips and quarter turns."""


class Sampler:
    """Draws batches from a manifest; the same random generator gives the same batch."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        zoom: tuple[float, float],
        mix: dict[str, float] | None = None,
        augmentation: str = "sensor",
    ) -> None:
        if augmentation not in AUGMENTATIONS:
            raise unknown("augmentation", augmentation, AUGMENTATIONS)
        self.augmentation = AUGMENTATIONS[augmentation]
        self.manifest = manifest
        self.zoom = zoom
        self.pictures = [e for e in manifest.examples if e.captions or e.label is not None]
        self.masked: dict[str, list[Example]] = {}
        for example in manifest.examples:
            if example.mask is not None:
                self.masked.setdefault(example.set, []).append(example)
        self.places = {name: _places(examples) for name, examples in self.masked.items()}
        self.share = _shares(list(self.masked), mix or {})
        self.settings = {"zoom": str(tuple(zoom)), "mix": str(sorted((mix or {}).items())), "data": manifest.digest}
        self.settings["augmentation"] = augmentation
        self.weights = {name: _class_weights(manifest, name, examples) for name, examples in self.masked.items()}

    def draw_pictures(self, rng: np.random.Generator, count: int, side: int) -> PictureBatch:
        """Random pictures, cropped and varied as `augmentation` says, in one of eight orientations."""
        if count == 0:
            return PictureBatch(pixels=torch.zeros(0, 3, side, side), sentences=(), labels={})
        chosen = [self.pictures[i] for i in rng.choice(len(self.pictures), count, replace=len(self.pictures) < count)]
        views = torch.stack([_view(e, side, rng, self.augmentation.cover) for e in chosen])
        labels: dict[str, tuple[list[int], list[int]]] = {}
        for i, example in enumerate(chosen):
            if example.label is not None:
                places, values = labels.setdefault(example.set, ([], []))
                places.append(i)
                values.append(example.label)
        return PictureBatch(
            pixels=self._sensed(views, rng) if self.augmentation.sensor else views,
            sentences=tuple(str(rng.choice(e.captions)) if e.captions else None for e in chosen),
            labels=labels,
        )

    def draw_regions(self, rng: np.random.Generator, count: int, side: int) -> RegionBatch:
        """Random crops of masked images, each centred near a pixel of a class drawn uniformly from its set."""
        names = list(self.masked)
        pixels, targets = [], []
        sets: dict[str, list[int]] = {}
        for i in range(count):
            name = names[rng.choice(len(names), p=self.share)]
            example, centre = self._place(name, rng)
            crop = augment.random_crop_at(centre, example.image.shape[:2], side, rng, zoom=self.zoom)
            assert example.mask is not None
            pixels.append(augment.take(example.image, crop, side))
            targets.append(augment.take_mask(example.mask, crop, side, step=CELL))
            sets.setdefault(name, []).append(i)
        return RegionBatch(pixels=self._sensed(torch.stack(pixels), rng), target=torch.stack(targets), sets=sets)

    def _sensed(self, pixels: Tensor, rng: np.random.Generator) -> Tensor:
        if self.augmentation.strong:
            pixels = augment.random_compression(augment.random_style(pixels, rng), rng)
        return augment.random_sensor(pixels, rng)

    def _place(self, name: str, rng: np.random.Generator) -> tuple[Example, tuple[float, float]]:
        by_class = self.places[name]
        found = by_class[rng.integers(len(by_class))]
        index, points = found[rng.integers(len(found))]
        row, col = points[rng.integers(len(points))]
        return self.masked[name][index], (float(row), float(col))


def _shares(names: list[str], mix: Mapping[str, float]) -> np.ndarray:
    """`(set,)` how often each set is drawn."""
    for name, weight in mix.items():
        if name not in names:
            raise unknown("set of masks", name, names)
        if not (math.isfinite(weight) and weight >= 0):
            raise UsageError(f"The share of the set {name!r} must be 0 or more, got {weight:g}.")
    share = np.array([mix.get(name, 1.0) for name in names])
    if len(share) and share.sum() == 0:
        raise UsageError("No set of masks has a share above 0; pass a region batch of 0 to train on pictures alone.")
    return share / share.sum() if len(share) else share


def _view(example: Example, side: int, rng: np.random.Generator, cover: tuple[float, float]) -> Tensor:
    height, width = example.image.shape[:2]
    crop = augment.random_view((height, width), side, rng, cover=cover)
    return augment.take(example.image, crop, side)


def _places(examples: Sequence[Example]) -> list[list[tuple[int, np.ndarray]]]:
    """For every class that occurs: the images that show it, with some of its pixels `(k, 2)`."""
    rng = np.random.default_rng(0)
    found: dict[int, list[tuple[int, np.ndarray]]] = {}
    for index, example in enumerate(examples):
        assert example.mask is not None
        for value in np.unique(example.mask):
            if value != IGNORE:
                flat = np.flatnonzero(example.mask == value)
                flat = rng.choice(flat, min(PLACES, len(flat)), replace=False)
                rows, cols = np.unravel_index(flat, example.mask.shape)
                found.setdefault(int(value), []).append((index, np.stack([rows, cols], axis=1)))
    if not found:
        raise UsageError(f"The masks of the set {examples[0].set!r} hold no class; all of their values are ignored.")
    return [found[value] for value in sorted(found)]


def _class_weights(manifest: Manifest, name: str, examples: Sequence[Example]) -> Tensor:
    """`(class,)`: inverse square root of the class's share of pixels, mean 1."""
    counts = np.zeros(len(manifest.classes[name]))
    for example in examples:
        assert example.mask is not None
        counts += np.bincount(example.mask.ravel(), minlength=256)[: len(counts)]
    weights = np.where(counts > 0, (counts.sum() / np.maximum(counts, 1)) ** 0.5, 0)
    return torch.from_numpy((weights / weights[weights > 0].mean()).astype(np.float32))
