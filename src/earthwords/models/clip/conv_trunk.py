"""A small convolutional stem in place of CLIP's linear patch embedding.

Each level halves the resolution with a strided 3x3 convolution and adds residual blocks (ResNet,
https://arxiv.org/abs/1512.03385); early convolutions make small transformers train well from little
data (https://arxiv.org/abs/2106.14881). Four levels give CLIP's stride of 16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(width, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm2(self.conv2(self.conv1(x))))


class ConvTrunk(nn.Sequential):
    """`(batch, 3, H, W)` to `(batch, dim, H / stride, W / stride)`, stride = 2 ** number of levels."""

    def __init__(self, *, widths: Sequence[int], depths: Sequence[int], dim: int) -> None:
        layers: list[nn.Module] = []
        for before, width, depth in zip([3, *widths], widths, depths, strict=False):
            layers += [_conv(before, width, stride=2), *(_Residual(width) for _ in range(depth))]
        super().__init__(*layers, nn.Conv2d(widths[-1], dim, 1))
        self.widths = tuple(widths)

    def with_levels(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What it gives, and the features of all levels, the finest first: `(batch, width, H / 2, W / 2)` and so on."""
        *layers, last = self
        levels: list[Tensor] = []
        x = pixels
        for layer in layers:
            x = layer(x)
            if isinstance(layer, _Residual):
                levels[-1] = x
            else:
                levels.append(x)
        return last(x), levels

    @property
    def weight(self) -> Tensor:
        """The projection's weight: transformers reads the dtype of a patch embedding from it."""
        projection = self[-1]
        assert isinstance(projection, nn.Conv2d)
        return projection.weight


class PyramidTrunk(nn.Module):
    """A `ConvTrunk` whose tokens keep the detail of its level before the last: twice as many a side.

    The last level's map is upsampled bilinearly and a lateral projection of the level before is added, as in a feature
    pyramid (https://arxiv.org/abs/1612.03144). `(batch, 3, H, W)` to `(batch, dim, H / stride, W / stride)`, stride =
    2 ** (number of levels - 1). A fresh lateral adds nothing, so that a trained `ConvTrunk` can be built upon.
    """

    def __init__(self, *, widths: Sequence[int], depths: Sequence[int], dim: int) -> None:
        super().__init__()
        self.levels = ConvTrunk(widths=widths, depths=depths, dim=dim)
        last = nn.Conv2d(widths[-2], dim, 1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.lateral = nn.Sequential(_Residual(widths[-2]), last)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.with_levels(pixels)[0]

    def with_levels(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """As of a `ConvTrunk`; the last one is that of the tokens' resolution."""
        coarse, levels = self.levels.with_levels(pixels)
        doubled = F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
        fine = self.lateral(levels[-2])
        return doubled[..., : fine.shape[-2], : fine.shape[-1]] + fine, levels[:-1]

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the levels."""
        return self.levels.widths[:-1]

    @property
    def weight(self) -> Tensor:
        """As of a `ConvTrunk`."""
        return self.levels.weight


TRUNKS: dict[str, type[ConvTrunk] | type[PyramidTrunk]] = {"levels": ConvTrunk, "pyramid": PyramidTrunk}
"""By the `kind` of a configuration; without one, `levels`."""


def build_trunk(*, widths: Sequence[int], depths: Sequence[int], dim: int, kind: str = "levels") -> nn.Module:
    """The trunk that a configuration asks for."""
    return TRUNKS[kind](widths=widths, depths=depths, dim=dim)


def trunk_stride(settings: Mapping[str, Any]) -> int:
    """Pixels a side of one of its tokens.

    Raises:
        KeyError: no such kind.
    """
    return int(2 ** (len(settings["widths"]) - (TRUNKS[settings.get("kind", "levels")] is PyramidTrunk)))
