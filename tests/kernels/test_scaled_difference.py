"""AnyUp's loss: the formula, position by position; gradients; what is kept."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from earthwords.kernels import scaled_difference as kernel

from .test_kernels import agree, random

SHAPES = [(2, 7, 5, 6), (1, 40, 3, 11), (3, 2, 4, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strip", [1, 100, 1 << 18])
def test_equals_the_formula(shape: tuple[int, ...], strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "STRIP", strip)
    found, target = random(*shape, seed=1), random(*shape, seed=2).detach() + 0.5
    agree(
        kernel.scaled_difference(found, target)[None], kernel.reference(found, target)[None], [found], kernel.TOLERANCE
    )


def test_gradients_in_double_precision() -> None:
    found, target = random(2, 7, 5, 6, seed=1).double().detach().requires_grad_(), random(2, 7, 5, 6, seed=2).double()
    target = target.detach()
    assert torch.autograd.gradcheck(lambda x: kernel.fused(x, target), [found])
    fast, plain = kernel.scaled_difference(found, target), kernel.reference(found, target)
    pairs = [torch.autograd.grad(3 * loss, found)[0] for loss in (fast, plain)]
    torch.testing.assert_close(*pairs, atol=1e-12, rtol=1e-10)


def test_by_hand() -> None:
    """Cosine of flattened vectors, and both scaled by the least and the largest number of the target."""
    found, target = (random(2, 7, 3, 4, seed=s).detach() for s in (1, 2))
    total = 0.0
    for f, t in zip(found.permute(0, 2, 3, 1).reshape(-1, 7), target.permute(0, 2, 3, 1).reshape(-1, 7), strict=True):
        scaled = [(x - t.min()) / (t.max() - t.min() + 1e-6) for x in (f, t)]
        total += float(1 - f @ t / (f.norm() * t.norm()) + (scaled[0] - scaled[1]).square().mean())
    assert float(kernel.scaled_difference(found, target)) == pytest.approx(total / 24, rel=1e-5)


def test_a_target_that_learns_too() -> None:
    found, target = random(1, 5, 2, 3, seed=1), random(1, 5, 2, 3, seed=2)
    agree(
        kernel.scaled_difference(found, target)[None],
        kernel.reference(found, target)[None],
        [found, target],
        kernel.TOLERANCE,
    )


def test_half_precision_is_computed_in_single() -> None:
    found, target = (random(1, 5, 2, 3, seed=s).detach().bfloat16() for s in (1, 2))
    loss = kernel.scaled_difference(found.requires_grad_(), target)
    assert loss.dtype == torch.float32
    loss.backward()
    assert found.grad is not None and found.grad.dtype == torch.bfloat16
    assert float(kernel.scaled_difference(target, target)) < 1e-6
    zero = torch.zeros(1, 5, 2, 3, requires_grad=True)
    kernel.scaled_difference(zero, F.normalize(target.float(), dim=1)).backward()
    assert zero.grad is not None and bool(zero.grad.isfinite().all())
