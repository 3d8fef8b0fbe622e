"""SimFeatUp: one joint bilateral stage of radius 5, applied again and again with the same weights.

Paper: https://arxiv.org/abs/2410.01768. State-dict names are those of the authors' `JBUOne`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from earthwords.models.upsamplers.jbu import Jbu, JbuStage, load_jbu


class JbuOne(Jbu):
    """SimFeatUp's `JBUOne`: radius 5, the stage `up` shared by all steps."""

    def __init__(self, dim: int, *, radius: int = 5) -> None:
        super().__init__(dim)
        self.up = JbuStage(radius)

    def stages(self, steps: int) -> list[JbuStage]:
        return [self.up] * steps


def build(dim: int, state: Mapping[str, Tensor] | None = None) -> Jbu:
    """A `JbuOne` for `dim` channels with the weights in `state` (required)."""
    return load_jbu(JbuOne(dim), state, name="simfeatup")
