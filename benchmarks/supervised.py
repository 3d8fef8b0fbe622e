"""A small network that learns from every labelled pixel of some pictures: what marks are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

STEPS, BATCH, CROP, LR = 300, 4, 128, 2e-3
WIDTHS = (16, 32, 64)
IGNORE = -1

Picture = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""`(row, col, 3)`, and the class of each pixel, `IGNORE` for none."""


class SmallUNet(nn.Module):
    """Three levels of two convolutions (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        ins = (3, *WIDTHS[:-1])
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip(ins, WIDTHS, strict=True))
        self.up = nn.ModuleList(_twice(a + b, a) for a, b in pairwise(WIDTHS))
        self.out = nn.Conv2d(WIDTHS[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels `(batch, 3, row, col)` to logits `(batch, class, row, col)`; sides are multiples of 4."""
        kept: list[Tensor] = []
        for level in self.down:
            x = level(x if not kept else F.max_pool2d(x, 2))
            kept.append(x)
        for level, beside in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            x = level(torch.cat([beside, F.interpolate(x, scale_factor=2.0)], dim=1))
        return self.out(x)


def _twice(ins: int, outs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a in (ins, outs):
        layers += [nn.Conv2d(a, outs, 3, padding=1, bias=False), nn.BatchNorm2d(outs), nn.ReLU()]
    return nn.Sequential(*layers)


def train(pictures: Sequence[Picture], classes: int, *, seed: int = 0) -> SmallUNet:
    """Random crops, turned and mirrored, in random brightness."""
    torch.manual_seed(seed)
    rng, network = np.random.default_rng(seed), SmallUNet(classes).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    for _ in range(STEPS):
        views = [_crop(*pictures[int(rng.integers(len(pictures)))], rng) for _ in range(BATCH)]
        pixels, labels = (torch.from_numpy(np.stack(part)) for part in zip(*views, strict=True))
        loss = F.cross_entropy(network(_scaled(pixels)), labels, ignore_index=IGNORE)
        if torch.isfinite(loss):  # no pixel of a batch may have a class
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return network.eval()


def _crop(image: NDArray[np.uint8], labels: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    side = min(CROP, *(length // 4 * 4 for length in labels.shape))
    top, left = (int(rng.integers(length - side + 1)) for length in labels.shape)
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    part = slice(top, top + side), slice(left, left + side)
    image, labels = (np.rot90(each[part], turns) for each in (image, labels))
    image, labels = (each[:, ::-1] if mirrored else each for each in (image, labels))
    bright = np.clip(image * rng.uniform(0.8, 1.25), 0, 255).astype(np.uint8)
    return bright, np.ascontiguousarray(labels)


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def predict(network: SmallUNet, image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """`(row, col)`."""
    tall, wide = image.shape[:2]
    padded = np.pad(image, ((0, -tall % 4), (0, -wide % 4), (0, 0)), mode="edge")
    logits: Tensor = network(_scaled(torch.from_numpy(padded)[None]))
    found: NDArray[np.int64] = logits[0].argmax(dim=0).numpy()
    return found[:tall, :wide]
