"""The residual block in strips equals the formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from earthwords.kernels import residual

from .test_kernels import agree, random


def half(width: int, seed: int) -> residual.Half:
    scale, shift, mix = (random(*s, seed=seed + i).detach() for i, s in enumerate([(width,), (width,), (width, width)]))
    return residual.Half(groups=8, scale=1 + 0.3 * scale, shift=0.3 * shift, mix=mix * width**-0.5)


@pytest.mark.parametrize(("batch", "width", "height", "cols"), [(2, 16, 7, 9), (1, 128, 60, 50), (3, 24, 1, 2)])
@pytest.mark.parametrize("strip", [1, 777, 2048])
def test_strips(batch: int, width: int, height: int, cols: int, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual, "STRIP", min(strip, height * cols - 1))
    first, second = half(width, 1), half(width, 5)
    x = 2 * random(batch, width, height, cols, seed=9).detach() + random(1, width, 1, 1, seed=8).detach()
    kept = x.clone()
    with torch.inference_mode():
        found = residual.residual_block(x, first, second)
    expected = residual.reference(x, first, second)
    torch.testing.assert_close(found, expected, atol=residual.TOLERANCE, rtol=residual.TOLERANCE)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("batch", "width", "height", "cols"), [(1, 16, 7, 9), (2, 24, 5, 3)])
def test_gradients_that_compute_again(batch: int, width: int, height: int, cols: int, dtype: torch.dtype) -> None:
    x = random(batch, width, height, cols, seed=9).detach().to(dtype).requires_grad_()
    halves = [
        residual.Half(groups=8, **{n: getattr(h, n).to(dtype).requires_grad_() for n in ("scale", "shift", "mix")})
        for h in (half(width, 1), half(width, 5))
    ]
    inputs = [x, *(getattr(h, n) for h in halves for n in ("scale", "shift", "mix"))]
    tolerance = residual.TOLERANCE if dtype == torch.float32 else 1e-10
    found = residual.residual_block(x, *halves)
    assert "Mixed" in str(found.grad_fn.next_functions)  # type: ignore[union-attr]
    weight = random(*found.shape, seed=3).detach().to(dtype)
    expected = residual.reference(x, *halves)
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    pairs = zip(*(torch.autograd.grad(y, inputs, weight) for y in (found, expected)), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, atol=20 * tolerance, rtol=tolerance)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_mix_is_a_convolution(batch: int) -> None:
    x, mix = random(batch, 3, 6, 5, seed=9), residual.Mix(3, 8)
    found, expected = mix(x), torch.nn.functional.conv2d(x, mix.weight)
    agree(found, expected, [x, mix.weight], residual.TOLERANCE)
    assert torch.equal(mix(x.detach()), found) and list(mix.state_dict()) == ["weight"]
    with torch.no_grad():
        torch.testing.assert_close(mix(x), expected)


def test_only_what_is_kept_for_the_gradients() -> None:
    """Two maps a block; the formula keeps six."""

    def kept(block: Any) -> int:
        first, second, numbers = half(16, 1), half(16, 5), {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: numbers.setdefault(t.untyped_storage().data_ptr(), t) is None or t, lambda t: t
        ):
            block(random(1, 16, 20, 30, seed=9) * 1, first, second)
        return sum(t.numel() >= 16 * 600 for t in numbers.values())

    assert kept(residual.residual_block) == 2 < kept(residual.reference)


def test_other_dtypes_take_the_formula() -> None:
    first, second = half(16, 1), half(16, 5)
    x = random(1, 16, 4, 5, seed=9)
    doubled = [
        residual.Half(groups=8, scale=h.scale.double(), shift=h.shift.double(), mix=h.mix.double())
        for h in (first, second)
    ]
    found = residual.residual_block(x.detach().double(), *doubled)
    torch.testing.assert_close(found.float(), residual.reference(x.detach(), first, second))
