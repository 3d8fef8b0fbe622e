"""A joint bilateral x2 step on channels-last features, a band of rows at a time.

The kernels of a band are made, corrected, used and forgotten while they are in the processor's cache, so
nothing of `d^2 * H * W` numbers is ever written to memory (FeatUp, https://arxiv.org/abs/2403.10516, eq. 4-6).

The reference is `models.upsamplers.jbu.JbuStage.forward`.

Cost: `d^2 * (C + D + 2 d^2) * H * W` multiply-adds for C channels and keys of D.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.kernels._weights import KernelWeights
from earthwords.kernels.joint_kernel import corrected

TOLERANCE = 2e-5
BAND_NUMBERS = 2**18
"""Numbers of a band's kernels: 1 MiB, half of a core's cache."""

Then = Callable[[Tensor], Tensor]


def bilateral_double(
    source: Tensor, keys: Tensor, guidance: Tensor, weights: KernelWeights, *, then: Then = lambda rows: rows
) -> Tensor:
    """Enlarge by 2 (bicubic), filter with kernels made from the guidance, and reduce, on a CPU.

    Args:
        source: `(h, w, c)` float32.
        keys: `(D, 2h, 2w)`.
        guidance: `(3, 2h, 2w)`.
        then: what becomes of a band `(rows, 2w, c)` of the result; it must not keep its argument.

    Returns:
        `(2h, 2w, *)`, whatever `then` makes of it.
    """
    from earthwords.kernels._cpu import double, filter_rows, spaced, window_products

    offsets = len(weights.spatial)
    radius = weights.radius
    height, width = guidance.shape[1:]
    channels = source.shape[-1]
    large = np.empty((height + 2 * radius, width + 2 * radius, spaced(channels)), np.float32)
    double(source.contiguous().numpy(), _cubic(), large, radius)
    padded = F.pad(keys[None], [radius] * 4, mode="reflect")[0].contiguous().numpy()
    band = max(1, BAND_NUMBERS // (offsets * width))
    products = torch.empty((offsets + 4) * band * width)
    filtered = torch.empty(band, width, channels)
    out = None
    for first in range(0, height, band):
        rows = min(band, height - first)
        here = products[: (offsets + 4) * rows * width].view(offsets + 4, rows, width)
        window_products(padded, padded, first, here[:offsets].numpy())
        here[offsets:-1], here[-1] = guidance[:, first : first + rows], 1
        kernels = corrected(here.flatten(1), weights)
        filter_rows(
            large[first : first + rows + 2 * radius],
            kernels.view(offsets, rows, width).numpy(),
            filtered[:rows].numpy(),
        )
        part = then(filtered[:rows])
        if out is None:
            out = part.new_empty((height, *part.shape[1:]))
        out[first : first + rows] = part
    assert out is not None
    return out


def _cubic(a: float = -0.75) -> np.ndarray:
    """`(2, 4)`: the four weights of even and of odd pixels."""

    def weight(x: float) -> float:
        x = abs(x)
        return (a + 2) * x**3 - (a + 3) * x**2 + 1 if x <= 1 else a * (x**3 - 5 * x**2 + 8 * x - 4)

    return np.array([[weight(t + 1 - i) for i in range(4)] for t in (0.75, 0.25)], np.float32)
