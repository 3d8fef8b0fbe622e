"""The decoder of PeftCD over blocks of one vision transformer: levels of one resolution, weighed, then sharpened.

https://github.com/dyzy41/PeftCD, `SSBiFPNDecoder`; names of parameters are the authors'. Their branch of details, which
no forward pass of theirs calls, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DILATIONS = (1, 2, 4, 8)


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, corners of pixels aligned."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _block(width: int, *, dilation: int = 1) -> nn.Sequential:
    """A depthwise 3x3 and a pointwise convolution, each with batch norm and GELU."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width, bias=False),
        nn.BatchNorm2d(width), nn.GELU(),
        nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.GELU(),
    )  # fmt: skip


class _Fusion(nn.Module):
    """Levels of one resolution to a sum whose weights each pixel chooses."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(own, width, 1, bias=False), nn.BatchNorm2d(width), nn.GELU()) for own in widths
        )
        self.score = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in widths)
        self.post = _block(width)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        size = levels[0].shape[-2], levels[0].shape[-1]
        found = [resized(layer(level), size) for layer, level in zip(self.proj, levels, strict=True)]
        scores = torch.stack([layer(x).sigmoid() for layer, x in zip(self.score, found, strict=True)])
        return self.post((torch.stack(found) * scores.softmax(dim=0)).sum(dim=0))


class _Context(nn.Module):
    """Neighbourhoods of several sizes (ASPP, https://arxiv.org/abs/1706.05587, with depthwise convolutions)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_block(width, dilation=d) for d in DILATIONS)
        inner = len(DILATIONS) * width
        self.proj = nn.Sequential(nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(torch.cat([branch(x) for branch in self.branches], dim=1))


class FusionDecoder(nn.Module):
    """Levels of one resolution to logits of two classes, unchanged and changed."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.fuse = _Fusion(widths, width)
        self.context = _Context(width)
        self.refine1, self.refine2, self.refine3 = _block(width), _block(width), _block(width)
        self.head = nn.Sequential(_block(width), nn.Conv2d(width, 2, 1))

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """
        Args:
            levels: of one resolution, in the order of the blocks.
            size: rows and columns of the logits; the authors' are 16 times those of the levels.
        """
        x = self.context(self.fuse(levels))
        x = self.refine1(_doubled(x))
        x = self.refine2(_doubled(x))
        x = _doubled(self.refine3(x))
        return self.head(resized(x, size))


def _doubled(x: Tensor) -> Tensor:
    return resized(x, (2 * x.shape[-2], 2 * x.shape[-1]))
