"""Upsamplers at any ratio, batch and shape."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords import plugins
from earthwords.errors import UsageError, WeightsError
from earthwords.models.upsamplers import ifa, jbu, resize_conv, simfeatup

PACKAGE = "earthwords.models.upsamplers"


def random_state(module: torch.nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {k: v + 0.1 * torch.randn(v.shape, generator=generator) for k, v in module.state_dict().items()}


STATES = {
    "bilinear": None,
    "jbu": random_state(jbu.JbuStack(6)),
    "simfeatup": random_state(simfeatup.JbuOne(6)),
    "ifa": random_state(ifa.Ifa(6)),
    "resize-conv": random_state(resize_conv.ResizeConv(6)),
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("patch", [14, 16, 32])
def test_any_patch_batch_and_shape(name: str, patch: int) -> None:
    module = plugins.load(PACKAGE, name, kind="upsampler").build(6, STATES[name])
    generator = torch.Generator().manual_seed(patch)
    features = torch.randn(2, 6, 3, 4, generator=generator)
    size = (3 * patch, 4 * patch)
    image = torch.randn(2, 3, *size, generator=generator)
    with torch.inference_mode():
        out = module(features, image, size)
        alone = module(features[1:], image[1:], size)
    assert out.shape == (2, 6, *size)
    torch.testing.assert_close(alone, out[1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["ifa", "resize-conv"])
@pytest.mark.parametrize("size", [(3, 5), (7, 9), (12, 20), (31, 66), (100, 170)])
def test_learned_baselines_serve_any_size(name: str, size: tuple[int, int]) -> None:
    module = plugins.load(PACKAGE, name, kind="upsampler").build(6, STATES[name])
    assert not module.training
    with torch.inference_mode():
        out = module(torch.randn(2, 6, 3, 5), torch.randn(2, 3, 48, 80), size)
    assert out.shape == (2, 6, *size) and bool(out.isfinite().all())
    with pytest.raises(WeightsError, match=f"'{name}' needs trained weights"):
        plugins.load(PACKAGE, name, kind="upsampler").build(6)


@pytest.mark.parametrize("ratio", [1, 2, 3, 16, 20])
def test_steps_reach_the_size(ratio: int) -> None:
    steps = jbu.steps_needed((3, 5), (3 * ratio, 5 * ratio))
    assert 2**steps >= ratio and (steps == 0 or 2 ** (steps - 1) < ratio)


def test_the_guidance_matters() -> None:
    module = simfeatup.build(6, STATES["simfeatup"])
    features, image = torch.randn(1, 6, 4, 4), torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert not torch.allclose(module(features, image, (64, 64)), module(features, -image, (64, 64)), atol=1e-3)


def test_lightning_prefix_is_taken_off() -> None:
    state = {f"upsampler.{k}": v for k, v in STATES["jbu"].items()} | {"model.1.norm.weight": torch.zeros(3)}
    with torch.inference_mode():
        features, image = torch.randn(1, 6, 3, 4), torch.randn(1, 3, 48, 64)
        plain = jbu.build(6, STATES["jbu"])(features, image, (48, 64))
        torch.testing.assert_close(jbu.build(6, state)(features, image, (48, 64)), plain)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (None, "needs trained weights"),
        ({k: v for k, v in STATES["jbu"].items() if k != "up3.range_temp"}, "does not fit.*up3.range_temp"),
        ({**STATES["jbu"], "fixup_proj.1.weight": torch.zeros(7, 7, 1, 1)}, "does not fit.*fixup_proj.1.weight"),
        ({**STATES["jbu"], "extra": torch.zeros(1)}, "does not fit.*extra"),
        (STATES["simfeatup"], "does not fit"),
    ],
)
def test_unfitting_checkpoints(state: dict[str, Tensor] | None, sentence: str) -> None:
    with pytest.raises(WeightsError, match=sentence):
        jbu.build(6, state)


def test_too_few_tokens_for_the_radius() -> None:
    with pytest.raises(UsageError, match="more than 2 tokens a side, got 2 x 4"):
        simfeatup.build(6, STATES["simfeatup"])(torch.randn(1, 6, 2, 4), torch.randn(1, 3, 32, 64), (32, 64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_dtypes(dtype: torch.dtype) -> None:
    """A module moved to another dtype takes and gives that dtype, near what it gives in float32."""
    module = simfeatup.build(6, STATES["simfeatup"])
    features, image = torch.randn(2, 6, 3, 4), torch.randn(2, 3, 12, 16)
    with torch.inference_mode():
        expected = module(features, image, (12, 16))
        found = module.to(dtype)(features.to(dtype), image.to(dtype), (12, 16))
        rows = module.spread(features[0].permute(1, 2, 0).to(dtype), image[:1].to(dtype), (12, 16), then=lambda r: r)
    assert found.dtype == rows.dtype == dtype
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.float(), expected, atol=0.05 * scale, rtol=0)


@pytest.mark.parametrize("name", ["jbu", "simfeatup"])
@pytest.mark.parametrize("size", [(24, 32), (96, 128), (70, 90)])
def test_training_and_inference_agree(name: str, size: tuple[int, int]) -> None:
    """With gradients every operation is PyTorch's, without them the compiled loops work."""
    module = plugins.load(PACKAGE, name, kind="upsampler").build(6, STATES[name])
    features, image = torch.randn(2, 6, 6, 8), torch.randn(2, 3, *size)
    learning = module(features, image, size)
    with torch.no_grad():
        inferring = module(features, image, size)
    assert learning.requires_grad and not inferring.requires_grad
    torch.testing.assert_close(inferring, learning, atol=2e-5 * float(inferring.abs().max()), rtol=0)


def test_unknown_upsampler() -> None:
    with pytest.raises(UsageError, match="Unknown upsampler 'simfetup'"):
        plugins.load(PACKAGE, "simfetup", kind="upsampler")


def test_bilinear_is_torchs() -> None:
    features = torch.randn(1, 6, 4, 5)
    expected = F.interpolate(features, size=(33, 47), mode="bilinear", align_corners=False)
    assert torch.equal(
        plugins.load(PACKAGE, "bilinear", kind="upsampler").build(6)(features, features, (33, 47)), expected
    )
