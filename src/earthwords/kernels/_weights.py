"""What a step of a joint bilateral upsampler has learned."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

LEAST = 1e-7
"""Of the sum that kernels are divided by, as in FeatUp."""


@dataclass(frozen=True, kw_only=True)
class KernelWeights:
    """What a step has learned, as plain matrices."""

    temperature: Tensor
    spatial: Tensor
    """`(d * d,)`."""
    mix: Tensor
    """`(d * d, d * d + 3)`, from a kernel and a colour to the hidden units of the kernel's correction."""
    mix_bias: Tensor
    correct: Tensor
    """`(d * d, d * d)`, already scaled."""
    correct_bias: Tensor

    @property
    def radius(self) -> int:
        return math.isqrt(len(self.spatial)) // 2
