"""Upsamplers with small random weights, as modules and as checkpoint files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from earthwords import plugins
from earthwords.models.upsamplers import ifa, jbu, resize_conv, simfeatup
from earthwords.models.upsamplers.anyup import AnyUp
from earthwords.models.upsamplers.naf import Naf

LEARNED = {
    "jbu": jbu.JbuStack,
    "simfeatup": simfeatup.JbuOne,
    "ifa": ifa.Ifa,
    "resize-conv": resize_conv.ResizeConv,
    "anyup": lambda dim: AnyUp(16),
    "naf": lambda dim: Naf(32),
}
FEED_FORWARD = ("bilinear", *LEARNED)


def random_state(method: str, dim: int) -> dict[str, Tensor] | None:
    """None of the weights is without effect; None for a method that has none."""
    if method not in LEARNED:
        return None
    torch.manual_seed(11)
    state: dict[str, Tensor] = LEARNED[method](dim).state_dict()
    return {k: v + 0.2 * torch.randn_like(v) if v.is_floating_point() else v for k, v in state.items()}


def random_upsampler(method: str, dim: int) -> nn.Module:
    """For features of `dim` channels."""
    module: nn.Module = plugins.load("earthwords.models.upsamplers", method, kind="upsampler").build(
        dim, random_state(method, dim)
    )
    return module.eval()


def write_upsampler(folder: Path, method: str, dim: int) -> Path:
    """A checkpoint for `--upsampler-weights`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{method}-{dim}.pt"
    torch.save(random_state(method, dim), path)
    return path
