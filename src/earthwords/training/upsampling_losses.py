"""Losses of FeatUp's, SimFeatUp's and AnyUp's training.

Papers: https://arxiv.org/abs/2403.10516, https://arxiv.org/abs/2410.01768 and https://arxiv.org/abs/2510.12764, code:
https://github.com/mhamilton723/FeatUp, https://github.com/likyoo/SimFeatUp and https://github.com/wimmerth/anyup.
Features are `(batch, dim, h, w)`, every loss is a scalar.
"""

from __future__ import annotations

import torch
from torch import Tensor

from earthwords.kernels import scaled_difference as kernel


def reconstruction(found: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """Negative log-likelihood of `target` around `found`, up to a constant.

    Args:
        found: downsampled fine features.
        target: the backbone's features of the same view.
        scale: `(batch, 1, h, w)` standard deviation of the target, see `models.upsamplers._heads.ScaleNet`.
    """
    return ((found - target).square() / (2 * scale**2) + scale.log()).mean()


def random_projection(features: Tensor, count: int) -> Tensor:
    """`(batch, dim, count)`, unit columns for features `(batch, dim, h, w)`.

    The loss of `project(found, ...)` and `project(target, ...)` is cheaper than that of all channels; the authors
    take 30 columns, drawn anew for every view.
    """
    columns = torch.randn(*features.shape[:2], count, device=features.device, dtype=features.dtype)
    return columns / columns.square().sum(dim=1, keepdim=True).sqrt()


def project(features: Tensor, projection: Tensor) -> Tensor:
    """Features times `(batch, dim, count)`: `(batch, count, h, w)`."""
    return torch.einsum("bchw,bcd->bdhw", features, projection)


def magnitude(features: Tensor) -> Tensor:
    """`(batch, 1, h, w)`: length of every feature."""
    return features.square().sum(dim=1, keepdim=True).sqrt()


def total_variation(features: Tensor) -> Tensor:
    """Squared differences of neighbours, summed and divided by the number of values."""
    rows, cols = features.diff(dim=2).square().sum(), features.diff(dim=3).square().sum()
    return (rows + cols) / features.numel()


def sampled_crf(guidance: Tensor, features: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Pixels that are near, or near and alike, should have features alike: on pairs of sampled pixels.

    Args:
        guidance: the image, `(batch, 3, h, w)`.
        features: as large as the image.
        rows, cols: `(pixel,)` int64, the sample; the authors draw 1,000.
    """
    height, width = guidance.shape[-2:]
    place = torch.stack([rows / height, cols / width])[None]
    distance = _pairs(place)
    colour = _pairs(guidance[:, :, rows, cols])
    kernel = 10 * torch.exp(-distance / (2 * 0.1) - colour / (2 * 0.15)) + 3 * torch.exp(-distance / (2 * 0.005))
    return (_pairs(features[:, :, rows, cols]) * kernel).mean()


def _pairs(values: Tensor) -> Tensor:
    """`(batch, dim, n)` to squared distances `(batch, n, n)`, by products of what remains without the mean."""
    centred = values - values.mean(dim=2, keepdim=True)
    squares = centred.square().sum(dim=1)
    return (squares[:, :, None] + squares[:, None, :] - 2 * centred.mT @ centred).clamp(min=0)


def entropy(kernels: Tensor) -> Tensor:
    """Of kernels `(batch, *, rows, cols)` that sum to one, in nats, mean over the batch."""
    return -(kernels * kernels.clamp(min=1e-7).log()).sum(dim=(-1, -2, -3)).mean()


def scaled_difference(found: Tensor, target: Tensor) -> Tensor:
    """AnyUp's: 1 - cosine, plus the squared difference where the target's channels span 0..1, mean over positions.

    Both are scaled by the least and the largest channel of the target at that position.

    Args:
        found, target: of the same shape. Cheap as long as only `found` wants a gradient.
    """
    return kernel.scaled_difference(found, target)


def content(found: Tensor, image: Tensor) -> Tensor:
    """Mean squared error of the image as `ContentRetention` (upsamplers) sees it; SimFeatUp's weight is 0.1."""
    return (found - image).square().mean()


def scale_shift_invariant(found: Tensor, target: Tensor, valid: Tensor, *, slopes: float = 0.5) -> Tensor:
    """Error of depths after the best scale and shift of every image, with their slopes at four resolutions.

    MiDaS's loss (https://arxiv.org/abs/1907.01341), with which FeatUp's features are probed.

    Args:
        found, target: `(batch, h, w)`.
        valid: `(batch, h, w)` float, 1 where the target counts, 0 elsewhere.
        slopes: weight of the differences of neighbours.
    """
    error = (_aligned(found, target, valid) - target) * valid
    loss = _mean(error.square() / 2, valid)
    for step in (1, 2, 4, 8):
        part, counts = error[:, ::step, ::step], valid[:, ::step, ::step]
        steep = sum(
            (part.diff(dim=axis).abs() * counts.narrow(axis, 1, n - 1) * counts.narrow(axis, 0, n - 1)).sum()
            for axis, n in ((1, part.shape[1]), (2, part.shape[2]))
        )
        loss = loss + slopes * steep / counts.sum().clamp(min=1)
    return loss


def _aligned(found: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """`scale * found + shift`, the least squares solution of every image; 0 where there is none."""
    square, linear, count = ((valid * x).sum(dim=(1, 2)) for x in (found.square(), found, torch.ones_like(found)))
    product, sums = ((valid * x).sum(dim=(1, 2)) for x in (found * target, target))
    determinant = square * count - linear.square()
    inverse = torch.where(determinant == 0, 0.0, 1 / torch.where(determinant == 0, 1.0, determinant))
    scale, shift = (count * product - linear * sums) * inverse, (square * sums - linear * product) * inverse
    return scale[:, None, None] * found + shift[:, None, None]


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    return (values * valid).sum() / valid.sum().clamp(min=1)
