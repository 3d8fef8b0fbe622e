"""Triton's kernels equal the plain formulas: odd sizes, batches, dtypes, gradients.

Where there is no GPU the kernels run in Triton's interpreter on CPU tensors: `make test-triton`.
"""

from __future__ import annotations

import os

import pytest
import torch

from earthwords.kernels import adaptive_conv, blend, joint_kernel, range_kernel
from earthwords.kernels.joint_kernel import KernelWeights

from .test_kernels import agree, random

pytest.importorskip("triton", reason="Triton is not installed; make test-triton installs it")
if not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"):
    pytest.skip("no GPU, and TRITON_INTERPRET=1 is not set; run make test-triton", allow_module_level=True)

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
SHAPES = [(1, 1, 6, 7), (2, 5, 9, 14), (2, 19, 13, 7)]
HALF = {torch.float16: 2e-3, torch.bfloat16: 2e-2}


def on_device(*shape: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    return (scale * random(*shape, seed=seed).detach()).to(DEVICE).requires_grad_()


@pytest.mark.parametrize("side", [3, 11])
@pytest.mark.parametrize(("batch", "channels", "height", "width"), SHAPES)
def test_adaptive_conv(batch: int, channels: int, height: int, width: int, side: int) -> None:
    source = on_device(batch, channels, height + side - 1, width + side - 1, seed=1)
    kernels = on_device(batch, side * side, height, width, seed=2)
    found = adaptive_conv.PATHS["triton"](source, kernels)
    agree(found, adaptive_conv.reference(source, kernels), [source, kernels], adaptive_conv.TOLERANCE)


@pytest.mark.parametrize("radius", [1, 3, 5])
@pytest.mark.parametrize(("batch", "dim", "height", "width"), SHAPES)
def test_range_kernel(batch: int, dim: int, height: int, width: int, radius: int) -> None:
    keys = on_device(batch, dim, height, width, seed=3)
    temperature = torch.tensor(0.7, device=DEVICE, requires_grad=True)
    found = range_kernel.PATHS["triton"](keys, temperature, radius)
    agree(found, range_kernel.reference(keys, temperature, radius), [keys, temperature], range_kernel.TOLERANCE)


def weights(radius: int) -> KernelWeights:
    n = (2 * radius + 1) ** 2
    parts = {"mix": (n, n + 3), "mix_bias": (n,), "correct": (n, n), "correct_bias": (n,)}
    made = {k: on_device(*shape, seed=i, scale=0.3) for i, (k, shape) in enumerate(parts.items())}
    spatial = on_device(n, seed=7).detach().abs()
    return KernelWeights(temperature=torch.tensor(0.7, device=DEVICE), spatial=spatial, **made)


@pytest.mark.parametrize("radius", [1, 3, 5])
@pytest.mark.parametrize(("batch", "dim", "height", "width"), SHAPES)
@torch.no_grad()
def test_joint_kernel(batch: int, dim: int, height: int, width: int, radius: int) -> None:
    keys, guidance = on_device(batch, dim, height, width, seed=3), on_device(batch, 3, height, width, seed=4)
    expected = joint_kernel.reference(keys, guidance, weights(radius))
    found = joint_kernel.PATHS["triton"](keys, guidance, weights(radius))
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, atol=joint_kernel.TOLERANCE * scale, rtol=0)


@pytest.mark.parametrize("dtype", HALF)
@torch.no_grad()
def test_half_precision_sums_in_float32(dtype: torch.dtype) -> None:
    """As near to float32 as rounding the inputs and the result allows."""
    source, kernels = on_device(2, 5, 15, 20, seed=1).to(dtype), on_device(2, 49, 9, 14, seed=2).to(dtype)
    keys, temperature = on_device(2, 5, 9, 14, seed=3).to(dtype), torch.tensor(0.5, device=DEVICE, dtype=dtype)
    pairs = [
        (adaptive_conv.PATHS["triton"](source, kernels), adaptive_conv.reference(source.float(), kernels.float())),
        (range_kernel.PATHS["triton"](keys, temperature, 3), range_kernel.reference(keys.float(), temperature, 3)),
    ]
    for found, expected in pairs:
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, atol=HALF[dtype], rtol=HALF[dtype])


@pytest.mark.parametrize("mode", blend.MODES)
@torch.no_grad()
def test_add_window(mode: str) -> None:
    weight = blend.window_weights(mode, (5, 8), device=DEVICE)
    sums = [(on_device(3, 11, 17, seed=5).detach(), on_device(11, 17, seed=6).detach()) for _ in range(2)]
    logits = on_device(3, 5, 8, seed=7)
    blend.PATHS["triton"](*sums[0], logits, weight, 4, 9)
    blend.reference(*sums[1], logits, weight, 4, 9)
    for found, expected in zip(*sums, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
