"""What each method's training consists of: the model, the task and the held-out figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from earthwords.data.manifests.crops import Crops
from earthwords.errors import UsageError, unknown
from earthwords.geo.sources.network import Network
from earthwords.models.upsamplers import naf
from earthwords.models.upsamplers.anyup import GROUPS, WIDTH, AnyUp
from earthwords.models.upsamplers.jbu import Jbu, JbuStack
from earthwords.models.upsamplers.simfeatup import JbuOne
from earthwords.training.loop import TrainingTask, Validate
from earthwords.training.teacher import Teacher
from earthwords.training.upsamplers.anyup import AnyUpSettings, AnyUpTask
from earthwords.training.upsamplers.naf import TOKENS, NafSettings, NafTask
from earthwords.training.upsampling import Student, UpsamplingSettings, UpsamplingTask


@dataclass(frozen=True, kw_only=True)
class CropOptions:
    """How images become tensors."""

    bands: Sequence[int | str] | None = None
    gsd: float | None = None
    nodata: float | None = None
    stretch: str = "auto"
    network: Network = Network.NAMED
    """What may be reached to read them."""
    device: str | torch.device = "cpu"

    def crops(self, sources: Sequence[str]) -> tuple[Callable[[np.random.Generator, int, int], Tensor], str]:
        """`(rng, count, side)` to `(count, 3, side, side)`, and a digest of the sources."""
        how: dict[str, Any] = {"nodata": self.nodata, "stretch": self.stretch, "network": self.network}
        crops = Crops(sources, bands=self.bands, gsd=self.gsd, **how)
        return lambda rng, count, side: torch.from_numpy(crops(rng, count, side)).to(self.device), crops.digest


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What users choose; None: as the method's authors did."""

    batch: int = 4
    side: int | None = None
    width: int | None = None
    faithful: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training to be run by `training.loop.train`."""

    model: nn.Module
    """What is trained: the upsampler and what it needs only while it learns."""
    upsampler: nn.Module
    """The part that is kept."""
    task: TrainingTask
    measure: Callable[[Any, list[Any]], dict[str, float]]
    """Held-out figures of a model on batches."""
    draw_batch: Callable[[np.random.Generator], Any]
    """Draws a batch of held-out images."""

    def validate(self, seed: int, batches: int) -> Validate:
        """The held-out figures, on the same batches every time."""
        drawn: list[Any] = []

        def figures(model: Any) -> dict[str, float]:
            if not drawn:
                drawn.extend(self.draw_batch(np.random.default_rng((seed, 1, i))) for i in range(batches))
            return self.measure(model, drawn)

        return figures


def make_recipe(
    method: str,
    teachers: Sequence[Teacher],
    reading: CropOptions,
    learned: Sequence[str],
    kept: Sequence[str],
    choices: Overrides,
) -> Recipe:
    """The training of a method of `RECIPES` on the images `learned`, examined on `kept`.

    Raises:
        UsageError: unknown method, or sides and patches that do not fit.
    """
    if method not in RECIPES:
        raise unknown("method of training", method, RECIPES)
    return RECIPES[method](teachers, reading, learned, kept, choices)


def _check_alone(teachers: Sequence[Teacher]) -> None:
    """Raises `UsageError` for several."""
    if len(teachers) != 1:
        raise UsageError(f"This method learns from one backbone, got {len(teachers)}; anyup takes several.")


def _jbu(build: Callable[[int], Jbu], **weights: float) -> Callable[..., Recipe]:
    """SimFeatUp's or FeatUp's training."""

    def recipe(
        teachers: Sequence[Teacher],
        reading: CropOptions,
        learned: Sequence[str],
        kept: Sequence[str],
        choices: Overrides,
    ) -> Recipe:
        _check_alone(teachers)
        row = UpsamplingSettings(batch=choices.batch, side=choices.side or 224, faithful=choices.faithful, **weights)  # type: ignore[arg-type]
        (images, digest), (others, _) = reading.crops(learned), reading.crops(kept)
        task = UpsamplingTask(images, teachers[0], row, digest=digest)
        upsampler = build(teachers[0].dim)
        return Recipe(
            model=Student(upsampler, teachers[0], row).to(reading.device),
            upsampler=upsampler,
            task=task,
            measure=task.held_out,
            draw_batch=UpsamplingTask(others, teachers[0], row, digest="").draw,
        )

    return recipe


def _anyup(
    teachers: Sequence[Teacher],
    reading: CropOptions,
    learned: Sequence[str],
    kept: Sequence[str],
    choices: Overrides,
) -> Recipe:
    """AnyUp's training; crops are half as large as the images they lie in."""
    side = choices.side or AnyUpSettings.side
    if side % 2:
        raise UsageError(f"AnyUp's training takes crops of half an image's side, which must be even, got {side}.")
    row = AnyUpSettings(side=side, crop=side // 2, batch=choices.batch)
    (images, digest), (others, _) = reading.crops(learned), reading.crops(kept)
    task = AnyUpTask(images, teachers, row)
    task.settings["images"] = digest
    width = choices.width or WIDTH
    if width % GROUPS:
        raise UsageError(f"The width of AnyUp is a multiple of {GROUPS}, got {width}.")
    upsampler = AnyUp(width)

    def measure(model: Any, batches: list[Any]) -> dict[str, float]:
        figures = [task.heldout(model, batch) for batch in batches]
        means = {name: sum(row[name] for row in figures) / len(figures) for name in figures[0]}
        return {"heldout": means["crop"], "heldout_bilinear": means["bilinear"]}

    return Recipe(
        model=upsampler.to(reading.device),
        upsampler=upsampler,
        task=task,
        measure=measure,
        draw_batch=AnyUpTask(others, teachers, row).draw,
    )


def _naf(
    teachers: Sequence[Teacher],
    reading: CropOptions,
    learned: Sequence[str],
    kept: Sequence[str],
    choices: Overrides,
) -> Recipe:
    """NAF's training; images are as large as gives the authors' number of tokens."""
    _check_alone(teachers)
    row = NafSettings(batch=choices.batch, side=choices.side or TOKENS * teachers[0].patch)
    width = choices.width or naf.WIDTH
    if width % (2 * naf.GROUPS):
        raise UsageError(f"The width of NAF is a multiple of {2 * naf.GROUPS}, got {width}.")
    (images, digest), (others, _) = reading.crops(learned), reading.crops(kept)
    task = NafTask(images, teachers[0], row, digest=digest)
    upsampler = naf.Naf(width)
    return Recipe(
        model=upsampler.to(reading.device),
        upsampler=upsampler,
        task=task,
        measure=task.held_out,
        draw_batch=NafTask(others, teachers[0], row, digest="").draw,
    )


RECIPES: dict[str, Callable[..., Recipe]] = {
    "simfeatup": _jbu(JbuOne),
    "jbu": _jbu(JbuStack, content_weight=0.0, crf_weight=1e-3),
    "anyup": _anyup,
    "naf": _naf,
}
