"""The kernels of a joint bilateral filter: likeness times nearness, and a learned correction.

`K = R * S / sum(R * S)` with R of `range_kernel` and S a Gaussian of the distance, then
`K + correct @ gelu(mix @ [K; colour])`, two products for every pixel (FeatUp, https://arxiv.org/abs/2403.10516,
eq. 4-6; https://github.com/mhamilton723/FeatUp).

Cost: `d^2 * (D + 2 d^2) * H * W` multiply-adds for keys of D. `reference` writes D maps for each of the
`d^2` offsets and the hidden units; Triton writes the result only.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.kernels import range_kernel
from earthwords.kernels._dispatch import path
from earthwords.kernels._offsets import by_offset
from earthwords.kernels._weights import LEAST, KernelWeights
from earthwords.kernels.linear import linear

TOLERANCE = 2e-5


def reference(keys: Tensor, guidance: Tensor, weights: KernelWeights) -> Tensor:
    """The formula as it is written; see `joint_kernel`."""
    return _corrected_maps(range_kernel.reference(keys, weights.temperature, weights.radius), guidance, weights)


def joint_kernel(keys: Tensor, guidance: Tensor, weights: KernelWeights) -> Tensor:
    """A kernel for every pixel; the sum is near, not exactly, one. Not differentiable.

    Args:
        keys: `(batch, D, h, w)`, h and w > radius.
        guidance: `(batch, 3, h, w)`.

    Returns:
        `(batch, d * d, h, w)`, offsets row-major.
    """
    return path(PATHS, keys, guidance)(keys, guidance, weights)


def corrected(columns: Tensor, weights: KernelWeights) -> Tensor:
    """Dot products, colour and 1 of each pixel `(d * d + 4, pixel)` to kernels `(d * d, pixel)`, in their place."""
    kernels = columns[: len(weights.spatial)]
    kernels.copy_(kernels.mul_(weights.temperature).softmax(dim=0)).mul_(weights.spatial[:, None])
    kernels.div_(kernels.sum(dim=0).clamp_(min=LEAST))
    mix = torch.cat([weights.mix, weights.mix_bias[:, None]], dim=1)
    change = linear(weights.correct, F.gelu(linear(mix, columns.T)).T)
    return kernels.add_(change).add_(weights.correct_bias[:, None])


def _corrected_maps(ranges: Tensor, guidance: Tensor, weights: KernelWeights) -> Tensor:
    kernels = ranges * weights.spatial[:, None, None]
    kernels = kernels / kernels.sum(dim=1, keepdim=True).clamp(min=LEAST)
    hidden = F.conv2d(torch.cat([kernels, guidance], dim=1), weights.mix[:, :, None, None], weights.mix_bias)
    return kernels + F.conv2d(F.gelu(hidden), weights.correct[:, :, None, None], weights.correct_bias)


def _torch(keys: Tensor, guidance: Tensor, weights: KernelWeights) -> Tensor:
    return _corrected_maps(by_offset(keys, weights.temperature, weights.radius), guidance, weights)


def _numba(keys: Tensor, guidance: Tensor, weights: KernelWeights) -> Tensor:
    from earthwords.kernels._cpu import window_products

    padded = F.pad(keys, [weights.radius] * 4, mode="reflect").contiguous()
    columns = keys.new_empty((len(keys), len(weights.spatial) + 4, *keys.shape[-2:]))
    columns[:, -4:-1], columns[:, -1] = guidance, 1
    kernels = columns[:, :-4]
    for image, own, target in zip(padded, columns, kernels, strict=True):
        window_products(image.numpy(), image.numpy(), 0, target.numpy())
        corrected(own.flatten(1), weights)
    return kernels


def _triton(keys: Tensor, guidance: Tensor, weights: KernelWeights) -> Tensor:
    from earthwords.kernels._triton import joint_kernel

    return joint_kernel(keys, guidance, weights)


PATHS = {"numba": _numba, "triton": _triton, "torch": _torch}
