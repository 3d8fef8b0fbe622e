"""What SAM 3 says of a prompt, made one probability a pixel: the rules of SegEarth-OV3 and ProC-SAM3.

SegEarth-OV3 (https://arxiv.org/abs/2512.08730) takes the larger of the semantic map and the best instance, times the
presence. ProC-SAM3 lets the instances raise the semantic map only as far as both agree and the prompt is present.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError, unknown

EDGE = 1e-4
"""What is left to 0 and 1 of ProC-SAM3's probabilities."""
CHUNK = 8
"""Masks that are enlarged at a time."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """SAM 3's output for a window, prompt by prompt; all of it logits."""

    semantic: Tensor
    """`(prompt, h, w)`: where the prompt holds."""
    masks: Tensor
    """`(prompt, query, h, w)`: things that may be one."""
    logits: Tensor
    """`(prompt, query)`: whether they are."""
    presence: Tensor
    """`(prompt,)`: whether there is one at all."""


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """A rule, and the authors' switches of it."""

    rule: str = "max"
    """One of `RULES`."""
    confidence: float = 0.5
    """Instances that are not more probable are left out."""
    semantic: bool = True
    instances: bool = True
    presence: bool = True
    """Whether the map is multiplied with the presence; instances carry it already."""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown("fusion", self.rule, RULES)
        if not 0 <= self.confidence <= 1:
            raise UsageError(f"The confidence of instances is between 0 and 1, got {self.confidence:g}.")

    def probabilities(self, answers: Answers, size: tuple[int, int]) -> Tensor:
        """`(prompt, *size)`: every prompt by itself, nothing sums to one."""
        presence = answers.presence.sigmoid()
        scores = answers.logits.sigmoid() * presence[:, None]
        return torch.stack(
            [
                self._of_prompt(answers.semantic[i], answers.masks[i], scores[i], presence[i], size)
                for i in range(len(presence))
            ]
        )

    def _of_prompt(
        self, semantic: Tensor, masks: Tensor, scores: Tensor, presence: Tensor, size: tuple[int, int]
    ) -> Tensor:
        none = semantic.new_zeros(size)
        ground = _enlarged(semantic[None], size)[0] if self.semantic else none
        best = self._best_instance(masks, scores, none) if self.instances else none
        fused = RULES[self.rule](ground, torch.maximum(ground, best), presence * scores.max())
        return fused * presence if self.presence else fused

    def _best_instance(self, masks: Tensor, scores: Tensor, none: Tensor) -> Tensor:
        """The largest `score * mask` of a pixel; masks are enlarged before they are probabilities, as the authors do
        it."""
        kept = (scores > self.confidence).nonzero()[:, 0]
        best = none
        for part in (kept[i : i + CHUNK] for i in range(0, len(kept), CHUNK)):
            found = _enlarged(masks[part], (none.shape[0], none.shape[1])) * scores[part, None, None]
            best = torch.maximum(best, found.amax(dim=0))
        return best


def larger(ground: Tensor, either: Tensor, agreed: Tensor) -> Tensor:
    """SegEarth-OV3: semantic map or instance, whatever is larger."""
    return either


def gated(ground: Tensor, either: Tensor, agreed: Tensor) -> Tensor:
    """ProC-SAM3 (`pgrf`): from the semantic map `ground` towards the larger of it and the instances, `either`.

    Args:
        agreed: presence times the probability of the surest instance, kept or not.
    """
    gate = agreed.clamp(0, 1) * (1 - (ground - either).abs()).clamp(0, 1)
    return (ground + gate * (either - ground).clamp(min=0)).clamp(EDGE, 1 - EDGE)


RULES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"max": larger, "pgrf": gated}
"""Of `Fusion`: from the semantic map, the larger of it and the best instance, and how sure both are, to one map."""


def _enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Probabilities `(mask, *size)` of logits `(mask, h, w)`."""
    return F.interpolate(logits[:, None], size=size, mode="bilinear", align_corners=False)[:, 0].sigmoid()
