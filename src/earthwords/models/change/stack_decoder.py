"""The decoder of PeftCD over an encoder of several resolutions: residual stacks from the coarsest level to the finest.

https://github.com/dyzy41/PeftCD, `SAM2CD`; names of parameters are the authors'.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.models.change.fusion_decoder import resized


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution of one width, and what went in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.residual_function = nn.Sequential(
            nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual_function(x) + x)


class _Stack(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(_Bottleneck(width), _Bottleneck(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class FeaturePyramid(nn.Module):
    """Levels of any widths to levels of one (https://arxiv.org/abs/1612.03144), as mmsegmentation computes it."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(own, width, 1) for own in widths)
        self.output = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in widths)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """`(image, width, row, col)` each, the finest first."""
        found = [layer(level) for layer, level in zip(self.lateral, levels, strict=True)]
        for i in range(len(found) - 1, 0, -1):
            size = found[i - 1].shape[-2], found[i - 1].shape[-1]
            found[i - 1] = found[i - 1] + F.interpolate(found[i], size=size, mode="nearest")
        return [layer(level) for layer, level in zip(self.output, found, strict=True)]


class StackDecoder(nn.Module):
    """Four levels of one width to logits of two classes, unchanged and changed, at the pixels of the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.decode_layersA = nn.ModuleDict({str(i): _Stack(width) for i in (1, 2, 3, 4)})
        self.decode_conv = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.conv_seg = nn.Conv2d(width, 2, 1)

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """
        Args:
            levels: four, the finest first.
            size: rows and columns of the logits.
        """
        x = self.decode_layersA["4"](levels[3])
        for i in (3, 2, 1):
            x = self.decode_layersA[str(i)](resized(x, _size(levels[i - 1])) + levels[i - 1])
        x = self.decode_conv(resized(x, (2 * x.shape[-2], 2 * x.shape[-1])))
        return self.conv_seg(resized(x, size))


def _size(level: Tensor) -> tuple[int, int]:
    return level.shape[-2], level.shape[-1]
