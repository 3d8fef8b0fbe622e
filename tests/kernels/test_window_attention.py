"""Windowed attention: the fast path is the dense formula, and never as large."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from earthwords.kernels import window_attention as kernel

from .test_kernels import agree, random

CASES = [
    # batch, (H, W), (h, w), heads, dim, channels, ratio
    (1, (56, 56), (7, 7), 4, 8, 24, 0.1),
    (2, (28, 32), (7, 6), 4, 8, 10, 0.1),
    (3, (33, 17), (5, 3), 2, 4, 5, 0.1),
    (2, (45, 61), (6, 11), 2, 4, 7, 0.23),
    (1, (9, 64), (30, 30), 1, 4, 3, 0.03),
    (2, (13, 40), (6, 8), 2, 4, 3, 0.0),
    (2, (13, 40), (6, 8), 2, 4, 3, 0.7),
    (1, (5, 4), (7, 9), 1, 4, 3, 0.1),
    (2, (1, 1), (1, 2), 1, 4, 3, 0.1),
]


def inputs(batch: int, size: tuple[int, int], tokens: tuple[int, int], heads: int, dim: int, channels: int) -> Any:
    return (
        random(batch, *size, heads, dim, seed=1),
        random(batch, *tokens, heads, dim, seed=2),
        random(batch, *tokens, channels, seed=3),
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("band", [1, 3000, 1 << 21])
def test_equals_the_dense_formula(case: tuple, band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "BAND", band)
    *shape, ratio = case
    tensors = inputs(*shape)
    found = kernel.window_attention(*tensors, ratio)
    expected = kernel.reference(*tensors, ratio)
    agree(found, expected, list(tensors), kernel.TOLERANCE)
    with torch.inference_mode():  # another product on CPUs
        inferred = kernel.window_attention(*(t.detach() for t in tensors), ratio)
    torch.testing.assert_close(inferred, expected.detach(), atol=kernel.TOLERANCE, rtol=kernel.TOLERANCE)


@pytest.mark.parametrize(("size", "tokens"), [(56, 7), (60, 8), (18, 6), (5, 9), (1, 4), (448, 28)])
@pytest.mark.parametrize("ratio", [0.03, 0.1, 0.5])
def test_windows(size: int, tokens: int, ratio: float) -> None:
    """By the rule in words, away from where rounding decides; every pixel sees a token."""
    seen = kernel.visible(size, tokens, ratio)
    for i in range(size):
        centre = (i + 0.5) / size
        first, stop = (min(max(u, 0), 1) * tokens for u in (centre - ratio, centre + ratio))
        if min(abs(u - round(u)) for u in (first, stop)) > 1e-4 or (first, stop) == (0, tokens):
            assert seen[i].nonzero().flatten().tolist() == list(range(math.floor(first), math.ceil(stop)))
    assert seen.any(dim=1).all()


def test_rows_are_not_columns() -> None:
    """One head and equal keys: the mean of the window's values, taken from the right rows and columns."""
    values = torch.arange(6 * 8.0).view(1, 6, 8, 1)
    queries, keys = torch.zeros(1, 12, 24, 1, 2), torch.zeros(1, 6, 8, 1, 2)
    out = kernel.window_attention(queries, keys, values, 0.1)[0, :, :, 0]
    rows, cols = kernel.visible(12, 6, 0.1), kernel.visible(24, 8, 0.1)
    for y, x in [(0, 0), (3, 20), (11, 4)]:
        assert out[y, x] == pytest.approx(float(values[0, rows[y]][:, cols[x]].mean()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype: torch.dtype) -> None:
    tensors = [t.detach() for t in inputs(2, (28, 32), (7, 6), 4, 8, 10)]
    found = kernel.window_attention(*(t.to(dtype) for t in tensors), 0.1)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), kernel.reference(*tensors, 0.1), atol=0.03, rtol=0.03)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that an operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(value, Tensor):
                self.numbers = max(self.numbers, value.untyped_storage().nbytes() // value.element_size())
        return out


def test_no_tensor_of_pixels_by_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor is the output, or a band; both grow with the pixels."""
    monkeypatch.setattr(kernel, "BAND", 1 << 14)
    largest = []
    for side in (96, 192):
        tensors = [t.detach() for t in inputs(1, (side, side), (24, 32), 2, 4, 6)]
        pixels, tokens = side * side, 24 * 32
        with Largest() as seen:
            kernel.window_attention(*tensors, 0.1)
        assert seen.numbers <= 16 * pixels < pixels * tokens / 40
        with Largest() as dense:
            kernel.reference(*tensors, 0.1)
        assert dense.numbers >= 2 * pixels * tokens
        largest.append(seen.numbers)
    assert largest[1] <= 4 * largest[0]
