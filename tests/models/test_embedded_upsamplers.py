"""The upsamplers that come with `tiny`: they load, are small, and put borders where the image has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from earthwords.inference.features.upsampler import Upsampler
from earthwords.models.weights.table import WEIGHTS, fetch, upsampler_weights_for

METHODS = ("simfeatup", "jbu", "anyup")


@pytest.mark.parametrize("method", METHODS)
def test_they_come_with_the_package(tiny: Path, method: str) -> None:
    name = upsampler_weights_for(method, "tiny")
    assert name == f"tiny-{method}"
    path = fetch(WEIGHTS[name], offline=True)
    assert path.stat().st_size < 2_000_000
    with safe_open(path, "pt") as file:
        assert file.metadata()["method"] == method and file.metadata()["teachers"] == "tiny:segearth"
        assert all(file.get_tensor(key).isfinite().all() for key in file.keys())  # noqa: SIM118


@torch.inference_mode()
def test_simfeatup_finds_the_border_of_a_pond(tiny: Path) -> None:
    """A disc of water on grass, far from multiples of 16 pixels: pixels are on the side that the image says."""
    y, x = np.mgrid[:96, :128]
    inside = (y - 45) ** 2 + (x - 70) ** 2 < 27**2
    image = np.where(inside[..., None], (30, 70, 110), (96, 128, 60)) + np.random.default_rng(0).normal(
        0, 4, (96, 128, 3)
    )
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    wrong = {}
    for method in ("bilinear", "simfeatup"):
        up = Upsampler.from_preset(method, device="cpu")
        seen = up.image(pixels)
        fine = torch.nn.functional.normalize(up.upsample(up.features(seen), seen)[0], dim=0)
        water, grass = fine[:, 45, 70], fine[:, 4, 4]
        nearer = (torch.einsum("chw,c->hw", fine, water) > torch.einsum("chw,c->hw", fine, grass)).numpy()
        wrong[method] = float((nearer != inside).mean())
    assert wrong["simfeatup"] < 0.8 * wrong["bilinear"], wrong
