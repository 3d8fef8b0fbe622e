"""AnyUp: any dimension, patch, batch and shape; what it loads; what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError, WeightsError
from earthwords.kernels import window_attention
from earthwords.models.clip.model import CLIP_MEAN, CLIP_STD
from earthwords.models.upsamplers import anyup, jbu
from earthwords.models.upsamplers._imagenet import IMAGENET_MEAN, IMAGENET_STD
from tests.kernels.test_window_attention import Largest

WIDTH = 16


def random_state(width: int = WIDTH) -> dict[str, Tensor]:
    torch.manual_seed(6)
    return {k: v + 0.3 * torch.randn_like(v) for k, v in anyup.AnyUp(width).state_dict().items()}


STATE = random_state()


def inputs(dim: int, tokens: tuple[int, int], size: tuple[int, int], batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(dim)
    features = torch.randn(batch, dim, *tokens, generator=generator)
    return features, torch.randn(batch, 3, *size, generator=generator)


@pytest.mark.parametrize("patch", [14, 16, 32])
@pytest.mark.parametrize("dim", [5, 48])
def test_any_patch_batch_shape_and_dimension(patch: int, dim: int) -> None:
    size = (3 * patch, 5 * patch)
    features, image = inputs(dim, (3, 5), size)
    module = anyup.build(dim, STATE)
    with torch.inference_mode():
        out = module(features, image, size)
        alone = module(features[1:], image[1:], size)
    assert out.shape == (2, dim, *size)
    assert torch.equal(alone, out[1:])
    least, most = features.amin((2, 3), keepdim=True), features.amax((2, 3), keepdim=True)
    assert bool(((out >= least - 1e-5) & (out <= most + 1e-5)).all())


@pytest.mark.parametrize("size", [(24, 40), (48, 80), (100, 77), (5, 3)])
def test_any_output_size(size: tuple[int, int]) -> None:
    features, image = inputs(6, (3, 5), (48, 80))
    with torch.inference_mode():
        out = anyup.build(6, STATE)(features, image, size)
    assert out.shape == (2, 6, *size)
    assert float((out - F.interpolate(features, size=size, mode="bilinear")).abs().mean()) < 1.0


def test_other_values_of_the_tokens_are_mixed_alike() -> None:
    features, image = inputs(6, (3, 5), (48, 80))
    module, matrix = anyup.build(6, STATE), torch.randn(2, 6)
    values = torch.einsum("bdhw,kd->bkhw", features, matrix) + 3
    with torch.inference_mode():
        found = module.mix(features, image, (40, 70), values)
        expected = torch.einsum("bdhw,kd->bkhw", module(features, image, (40, 70)), matrix) + 3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_dense_formula_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features, image = inputs(6, (7, 9), (60, 75))
    module = anyup.build(6, STATE)
    with torch.inference_mode():
        found = module(features, image, (60, 75))
        monkeypatch.setattr(anyup, "window_attention", window_attention.reference)
        expected = module(features, image, (60, 75))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_training_and_inference_agree() -> None:
    features, image = inputs(6, (4, 6), (32, 48))
    module = anyup.build(6, STATE)
    learning = module(features, image, (32, 48))
    with torch.no_grad():
        inferring = module(features, image, (32, 48))
    torch.testing.assert_close(inferring, learning, atol=1e-5, rtol=1e-5)
    learning.square().sum().backward()
    used = {name for name, p in module.named_parameters() if p.grad is not None}
    assert used == {name for name in STATE if "out_proj" not in name}


def test_images_of_another_normalisation() -> None:
    features, pixels = inputs(6, (4, 6), (32, 48))
    pixels = pixels.sigmoid()

    def normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
        return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    plain, told = anyup.build(6, STATE), anyup.build(6, STATE)
    told.sees(CLIP_MEAN, CLIP_STD)
    with torch.inference_mode():
        expected = plain(features, normalised(IMAGENET_MEAN, IMAGENET_STD), (32, 48))
        found = told(features, normalised(CLIP_MEAN, CLIP_STD), (32, 48))
        other = plain(features, normalised(CLIP_MEAN, CLIP_STD), (32, 48))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(other, expected, atol=1e-4)


@pytest.mark.parametrize("limit", [1, 4000, 1 << 22])
def test_channels_vote_as_in_the_authors_code(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Map n of `dim * width`, kernels fastest, counts as kernel n // dim and channel n % dim."""
    monkeypatch.setattr(anyup, "VOTES", limit)
    features, _ = inputs(6, (4, 7), (1, 1))
    module = anyup.Unification(8)
    padded = F.pad(features, [2] * 4)
    for y, x in [(0, 0), (2, 3), (3, 6)]:
        patch = padded[:, :, y : y + 5, x : x + 5]
        taps = F.pad(torch.ones(4, 7), [2] * 4)[y : y + 5, x : x + 5].sum()
        maps = torch.stack([(patch[:, n // 8] * module.basis[n % 8, 0]).sum((1, 2)) / taps for n in range(48)], dim=1)
        expected = maps.reshape(2, 8, 6).softmax(dim=1).mean(dim=2)
        torch.testing.assert_close(module(features)[:, :, y, x], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_modules_of_other_dtypes(dtype: torch.dtype) -> None:
    features, image = inputs(6, (3, 4), (12, 16))
    module = anyup.build(6, STATE)
    with torch.inference_mode():
        expected = module(features, image, (12, 16))
        found = module.to(dtype)(features.to(dtype), image.to(dtype), (12, 16))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=0.3, rtol=0)


def test_memory_grows_with_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_attention, "BAND", 1 << 15)
    monkeypatch.setattr(anyup, "VOTES", 1 << 15)
    module, largest = anyup.build(6, STATE), []
    for side in (80, 160):
        features, image = inputs(6, (20, 20), (side, side), batch=1)
        with torch.inference_mode(), Largest() as seen:
            module(features, image, (side, side))
        largest.append(seen.numbers)
        assert seen.numbers <= 2 * WIDTH * side * side < side * side * 400 / 10
    assert largest[1] <= 4.2 * largest[0]


def test_the_published_width() -> None:
    state = anyup.AnyUp().state_dict()
    assert state["cross_decode.cross_attn.attention.in_proj_weight"].shape == (384, 128)
    assert state["key_features_encoder.0.basis"].shape == (128, 1, 5, 5)
    assert sum(v.numel() for v in anyup.build(512, state).parameters()) == sum(v.numel() for v in state.values())


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (None, "Upsampler 'anyup' needs trained weights; name a checkpoint with --upsampler-weights"),
        ({k: v for k, v in STATE.items() if k != "rope.freqs"}, "does not fit upsampler 'anyup'"),
        ({**STATE, "rope.freqs": torch.zeros(2, 24)}, "does not fit.*image_encoder.0.weight"),
        ({**STATE, "rope.freqs": torch.zeros(3)}, "does not fit upsampler 'anyup'"),
        ({**STATE, "extra": torch.zeros(1)}, "first names that differ: extra"),
        ({k: v for k, v in STATE.items() if k != "aggregation.0.weight"}, "differ: aggregation.0.weight"),
        (jbu.JbuStack(6).state_dict(), "does not fit upsampler 'anyup'"),
    ],
)
def test_unfitting_checkpoints(state: dict[str, Tensor] | None, sentence: str) -> None:
    with pytest.raises(WeightsError, match=sentence):
        anyup.build(6, state)


@pytest.mark.parametrize(
    ("features", "image", "size", "sentence"),
    [
        ((1, 6, 1, 4), (1, 3, 16, 64), (16, 64), "at least 2 tokens a side, got 1 x 4"),
        ((2, 6, 4, 4), (1, 3, 64, 64), (64, 64), r"as many images .*got \(2, 6, 4, 4\) and \(1, 3, 64, 64\)"),
        ((1, 6, 4, 4), (1, 4, 64, 64), (64, 64), r"images \(batch, 3, H, W\)"),
        ((6, 4, 4), (1, 3, 64, 64), (64, 64), r"features \(batch, dim, h, w\)"),
        ((1, 6, 4, 4), (1, 3, 64, 64), (0, 64), r"two positive numbers \(rows, cols\), got \(0, 64\)"),
    ],
)
def test_wrong_use(features: tuple, image: tuple, size: tuple, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        anyup.build(6, STATE)(torch.zeros(features), torch.zeros(image), size)
