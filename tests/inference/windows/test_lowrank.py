"""Words compared with fewer channels give what words compared with all channels give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.inference.windows.lowrank import reduced_cosines
from earthwords.models.upsamplers.bilinear import Bilinear
from earthwords.models.upsamplers.jbu import JbuStack
from earthwords.models.upsamplers.simfeatup import JbuOne

UPSAMPLERS = {"jbu": JbuStack, "simfeatup": JbuOne, "bilinear": lambda dim: Bilinear()}


def module(name: str, dim: int) -> nn.Module:
    """An upsampler with random weights, none of them without effect."""
    torch.manual_seed(7)
    made = UPSAMPLERS[name](dim).eval()
    with torch.no_grad():
        for key, value in made.named_parameters():
            if key.endswith("range_temp"):
                value.fill_(0.4)
            elif key.endswith("sigma_spatial"):
                value.fill_(0.8)
            elif value.ndim == 1:
                value.normal_(0, 0.3)
    return made


def inputs(dim: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Features of 6 x 8 tokens, images, words; the two windows differ."""
    torch.manual_seed(dim)
    return torch.randn(2, dim, 6, 8), torch.randn(2, 3, *size), F.normalize(torch.randn(5, dim), dim=-1)


@torch.inference_mode()
def expected(upsampler: nn.Module, features: Tensor, image: Tensor, size: tuple[int, int], words: Tensor) -> Tensor:
    return torch.einsum("bdhw,qd->bqhw", F.normalize(upsampler(features, image, size), dim=1), words)


@pytest.mark.parametrize("name", UPSAMPLERS)
@pytest.mark.parametrize("dim", [24, 96], ids=["more tokens than channels", "fewer tokens than channels"])
@pytest.mark.parametrize("size", [(96, 128), (84, 112), (192, 256)], ids=["patch 16", "patch 14", "patch 32"])
@torch.inference_mode()
def test_exact(name: str, dim: int, size: tuple[int, int]) -> None:
    upsampler, (features, image, words) = module(name, dim), inputs(dim, size)
    found = reduced_cosines(upsampler, features, image, size, words)
    torch.testing.assert_close(found, expected(upsampler, features, image, size, words), atol=2e-6, rtol=1e-5)


@torch.inference_mode()
def test_a_window_does_not_depend_on_the_others() -> None:
    upsampler, (features, image, words) = module("simfeatup", 96), inputs(96, (96, 128))
    both = reduced_cosines(upsampler, features, image, (96, 128), words)
    second = reduced_cosines(upsampler, features[1:], image[1:], (96, 128), words)
    assert torch.equal(both[1:], second)


@torch.inference_mode()
def test_ranks_are_told_where_not_everything_is_kept() -> None:
    upsampler, (features, image, words) = module("jbu", 96), inputs(96, (96, 128))
    told: list[int] = []
    reduced_cosines(upsampler, features, image, (96, 128), words, note=told.append)
    assert told == []
    for energy in (0.5, 0.9):
        reduced_cosines(upsampler, features, image, (96, 128), words, energy=energy, note=told.append)
    assert len(told) == 4 and max(told[:2]) < min(told[2:]) <= 48


@torch.inference_mode()
def test_less_energy_less_exact() -> None:
    """Tokens of a smooth spectrum: the error grows as energy is given up, and stays near what was given up."""
    dim = 96
    upsampler, (features, image, words) = module("jbu", dim), inputs(dim, (96, 128))
    scale = torch.exp(-torch.arange(dim) / 4.0)
    features = torch.einsum("bdhw,de->behw", features, torch.diag(scale) @ torch.linalg.qr(torch.randn(dim, dim)).Q)
    truth = expected(upsampler, features, image, (96, 128), words)
    errors = [
        float((reduced_cosines(upsampler, features, image, (96, 128), words, energy=e) - truth).abs().mean())
        for e in (1.0, 0.9999, 0.99, 0.9)
    ]
    assert errors[0] < 1e-6 < errors[1] < errors[2] < errors[3]
    assert errors[1] < 0.01 and errors[3] < 0.4


@torch.inference_mode()
def test_tokens_that_are_all_the_same() -> None:
    """Rank one, as over water without waves: no direction of the basis may be made of noise."""
    upsampler, (features, image, words) = module("simfeatup", 96), inputs(96, (96, 128))
    features = features[:, :, :1, :1].expand_as(features).contiguous()
    truth = expected(upsampler, features, image, (96, 128), words)
    for energy in (1.0, 0.999):
        found = reduced_cosines(upsampler, features, image, (96, 128), words, energy=energy)
        torch.testing.assert_close(found, truth, atol=5e-6, rtol=1e-5)
