"""The decoder of GSNet and RSKT-Seg: two stages of twice the resolution, guided by features of the towers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CHANNELS_A_GROUP = 16


class FusionUp(nn.Module):
    """Twice the resolution; guides are put beside the map of every class."""

    def __init__(self, inputs: int, outputs: int, guides: Sequence[int]) -> None:
        """`guides`: channels of each; the first one takes its place among the map's own."""
        super().__init__()
        own = inputs - guides[0]
        self.up = nn.ConvTranspose2d(inputs, own, 2, 2)
        self.conv = nn.ModuleDict({"double_conv": _double_conv(own + sum(guides), outputs)})

    def forward(self, x: Tensor, guides: Sequence[Tensor]) -> Tensor:
        """`x` is `(image, class, channel, row, col)`; guides are `(image, channel, 2 row, 2 col)`."""
        classes = x.shape[1]
        maps = [self.up(x.flatten(0, 1)), *(guide.repeat_interleave(classes, dim=0) for guide in guides)]
        return self.conv["double_conv"](torch.cat(maps, dim=1)).unflatten(0, (-1, classes))


def projection(inputs: int, outputs: int) -> nn.Sequential:
    """Of a guide."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.ReLU())


def _double_conv(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        norm = nn.GroupNorm(max(1, outputs // CHANNELS_A_GROUP), outputs)
        layers += [nn.Conv2d(before, outputs, 3, 1, 1, bias=False), norm, nn.ReLU()]
    return nn.Sequential(*layers)
