"""The residual block in strips equals the formula."""

from __future__ import annotations

import pytest
import torch

from earthwords.kernels import residual

from .test_kernels import random


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


def test_gradients_and_other_dtypes_take_the_formula() -> None:
    first, second = half(16, 1), half(16, 5)
    x = random(1, 16, 4, 5, seed=9)
    assert residual.residual_block(x, first, second).requires_grad
    doubled = [
        residual.Half(groups=8, scale=h.scale.double(), shift=h.shift.double(), mix=h.mix.double())
        for h in (first, second)
    ]
    found = residual.residual_block(x.detach().double(), *doubled)
    torch.testing.assert_close(found.float(), residual.reference(x.detach(), first, second))
