"""What a backbone does to fine features, learned: the downsamplers of FeatUp's and SimFeatUp's training.

Paper: https://arxiv.org/abs/2403.10516, code: https://github.com/mhamilton723/FeatUp. State-dict names are those of
the authors' `AttentionDownsampler` and `SimpleDownsampler`. Both look at windows of `kernel` pixels a side, `final` of
them a side, as far apart as fits; the authors' images are square, here each axis may have its own numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import UsageError

Pair = tuple[int, int]

KEPT = 0.8
"""Share of the windows whose attention looks at the features; the others take their mean."""


class AttentionDownsampler(nn.Module):
    """A mean over each window, weighted by a saliency learned from the features and by the place in the window."""

    def __init__(self, dim: int, kernel: int | Pair, final: int | Pair, *, blur: bool = True) -> None:
        super().__init__()
        self.kernel, self.final, self.blur = _pair(kernel), _pair(final), blur
        self.attention_net = nn.Sequential(nn.Dropout(0.2), nn.Linear(dim, 1))
        self.w = nn.Parameter(1 + 0.01 * torch.randn(self.kernel))
        self.b = nn.Parameter(0.01 * torch.randn(self.kernel))

    def saliency(self, features: Tensor) -> Tensor:
        """`(batch, dim, H, W)` to `(batch, 1, H, W)`."""
        scores: Tensor = self.attention_net(features.permute(0, 2, 3, 1))
        return scores.permute(0, 3, 1, 2)

    def forward(self, features: Tensor, *, keep: Tensor | None = None) -> Tensor:
        """`(batch, dim, H, W)` to `(batch, dim, *final)`.

        Args:
            features: fine features.
            keep: `(batch, *final)` bool, windows that heed the saliency. Drawn at random by default, in evaluation
                too, as in the authors' code.
        """
        if self.blur:
            features = gaussian_blur(features)
        return self.pool(features, self.saliency(features), keep=keep)

    def pool(self, values: Tensor, saliency: Tensor, *, keep: Tensor | None = None) -> Tensor:
        """The weighted means of `values` `(batch, *, H, W)`, blurred already, by `saliency` `(batch, 1, H, W)`."""
        batch = len(values)
        if keep is None:
            keep = torch.rand(batch, *self.final, device=values.device) < KEPT
        scores = _windows(saliency, self.kernel, self.final)
        scores = scores * keep.reshape(batch, 1, 1, -1) * self.w.reshape(-1, 1) + self.b.reshape(-1, 1)
        windows = _windows(values, self.kernel, self.final)
        return (windows * scores.softmax(dim=2)).sum(dim=2).unflatten(2, self.final)


class SimpleDownsampler(nn.Module):
    """A mean over each window with learned weights, the same for all windows and channels."""

    def __init__(self, kernel: int | Pair, final: int | Pair) -> None:
        super().__init__()
        self.final = _pair(final)
        self.kernel_params = nn.Parameter(torch.ones(_pair(kernel)))

    @property
    def weights(self) -> Tensor:
        """`(1, 1, *kernel)`, positive, with sum 1."""
        positive = self.kernel_params.abs()[None, None]
        return positive / positive.sum()

    def forward(self, features: Tensor) -> Tensor:
        """`(batch, dim, H, W)` to `(batch, dim, *final)`."""
        weights = self.weights
        stride = _stride(features, _pair(weights.shape[-2:]), self.final)
        out = F.conv2d(features.flatten(0, 1)[:, None], weights, stride=stride)
        return out[:, 0, : self.final[0], : self.final[1]].unflatten(0, features.shape[:2])


def gaussian_blur(x: Tensor, *, side: int = 5, sigma: float = 1.0) -> Tensor:
    """`(batch, dim, h, w)`, each channel blurred; the border is reflected."""
    axis = torch.arange(side, device=x.device, dtype=x.dtype) - side // 2
    weights = (-(axis**2) / (2 * sigma**2)).exp()
    weights = (weights / weights.sum()).expand(x.shape[1], 1, 1, side)
    padded = F.pad(x, [side // 2] * 4, mode="reflect")
    rows = F.conv2d(padded, weights, groups=x.shape[1])
    return F.conv2d(rows, weights.transpose(2, 3), groups=x.shape[1])


def _pair(size: int | Pair | torch.Size) -> Pair:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _stride(features: Tensor, kernel: Pair, final: Pair) -> Pair:
    """Steps between windows so that they span the features."""
    height, width = features.shape[-2:]
    room = height - kernel[0], width - kernel[1]
    if min(room) < 0 or any(space < n - 1 for space, n in zip(room, final, strict=True)):
        raise UsageError(
            f"{final[0]} x {final[1]} windows of {kernel[0]} x {kernel[1]} pixels do not fit into features of "
            f"{height} x {width}; use larger features, or fewer or smaller windows."
        )
    rows, cols = (max(1, space // max(1, n - 1)) for space, n in zip(room, final, strict=True))
    return rows, cols


def _windows(features: Tensor, kernel: Pair, final: Pair) -> Tensor:
    """`(batch, dim, kernel pixels, windows)`, both row-major."""
    stride = _stride(features, kernel, final)
    height, width = (k + (n - 1) * s for k, n, s in zip(kernel, final, stride, strict=True))
    columns = F.unfold(features[..., :height, :width], kernel, stride=stride)
    return columns.unflatten(1, (features.shape[1], -1))
