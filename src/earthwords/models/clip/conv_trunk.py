"""A small convolutional stem in place of CLIP's linear patch embedding.

Each level halves the resolution with a strided 3x3 convolution and adds residual blocks (ResNet,
https://arxiv.org/abs/1512.03385); early convolutions make small transformers train well from little
data (https://arxiv.org/abs/2106.14881). Four levels give CLIP's stride of 16.
"""

from __future__ import annotations

from collections.abc import Sequence

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
