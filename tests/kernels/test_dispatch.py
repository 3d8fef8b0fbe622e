"""Every path that this device offers equals its reference, and the right one is taken."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest
import torch
from torch import Tensor

from earthwords.inference.windows.lowrank import reduced_cosines
from earthwords.kernels import _dispatch, adaptive_conv, joint_kernel, linear, range_kernel
from earthwords.kernels.joint_kernel import KernelWeights
from earthwords.models.upsamplers.simfeatup import JbuOne

from .test_kernels import random

Inputs = Callable[[int, int, int, int, int], tuple]


def joint_weights(radius: int) -> KernelWeights:
    n = (2 * radius + 1) ** 2
    parts = {"mix": (n, n + 3), "mix_bias": (n,), "correct": (n, n), "correct_bias": (n,)}
    made = {k: 0.3 * random(*shape, seed=i).detach() for i, (k, shape) in enumerate(parts.items())}
    return KernelWeights(temperature=torch.tensor(0.7), spatial=random(n, seed=7).detach().abs(), **made)


def maps(*shape: int, seed: int) -> Tensor:
    return random(*shape, seed=seed).detach()


KERNELS: dict[ModuleType, Inputs] = {
    adaptive_conv: lambda b, c, h, w, r: (
        maps(b, c, h + 2 * r, w + 2 * r, seed=1),
        maps(b, (2 * r + 1) ** 2, h, w, seed=2),
    ),
    range_kernel: lambda b, c, h, w, r: (maps(b, c, h, w, seed=1), torch.tensor(0.7), r),
    joint_kernel: lambda b, c, h, w, r: (maps(b, c, h, w, seed=1), maps(b, 3, h, w, seed=2), joint_weights(r)),
    linear: lambda b, c, h, w, r: (maps(b, h, c, seed=1), maps(c, w, seed=2).T, None if r == 3 else maps(w, seed=3)),
}


def cases() -> list:
    names = _dispatch.backends(torch.zeros(1))
    return [
        pytest.param(module, name, id=f"{module.__name__.rsplit('.')[-1]}-{name}")
        for module in KERNELS
        for name in names
        if name in module.PATHS
    ]


@pytest.mark.parametrize(("module", "name"), cases())
@pytest.mark.parametrize("radius", [1, 3, 5])
@pytest.mark.parametrize(("batch", "channels", "height", "width"), [(1, 1, 7, 6), (2, 33, 9, 23), (3, 64, 8, 19)])
@torch.no_grad()
def test_paths_equal_the_reference(
    module: ModuleType, name: str, batch: int, channels: int, height: int, width: int, radius: int
) -> None:
    inputs = KERNELS[module](batch, channels, height, width, radius)
    expected = module.reference(*inputs)
    scale = max(1.0, float(expected.abs().max()))
    found = module.PATHS[name](*inputs)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=module.TOLERANCE * scale, rtol=0)
    torch.testing.assert_close(
        getattr(module, module.__name__.rsplit(".")[-1])(*inputs), expected, atol=1e-4, rtol=1e-4
    )


def test_who_computes() -> None:
    plain, learned = torch.zeros(2), torch.zeros(2, requires_grad=True)
    assert _dispatch.backends(plain)[0] == "numba"
    assert _dispatch.backends(plain, learned) == ("autograd", "torch")
    with torch.no_grad():
        assert _dispatch.backends(plain, learned)[0] == "numba"
    assert _dispatch.backends(plain.double()) == _dispatch.backends(plain.half()) == ("torch",)
    assert _dispatch.backends(plain.to("meta")) == ("torch",)


def test_double_precision_stays_double() -> None:
    """Another dtype takes plain PyTorch, not less exact maths."""
    source, kernels = (t.double() for t in KERNELS[adaptive_conv](2, 5, 7, 9, 3))
    found = adaptive_conv.adaptive_conv(source, kernels)
    torch.testing.assert_close(found, adaptive_conv.reference(source, kernels), atol=1e-12, rtol=0)


def window(upsampler: JbuOne, seed: int) -> Tensor:
    """Cosines of one window, computed as callers do: one thread inside."""
    torch.set_num_threads(1)
    features, image, words = maps(1, 96, 6, 8, seed=seed), maps(1, 3, 96, 128, seed=seed), maps(5, 96, seed=1)
    with torch.inference_mode():
        return reduced_cosines(upsampler, features, image, (96, 128), words)


def test_threads_change_no_bit() -> None:
    """Four threads in the compiled loops at once, each with a window of its own."""
    before = torch.get_num_threads()
    torch.manual_seed(0)
    upsampler = JbuOne(96).eval()
    try:
        alone = [window(upsampler, seed) for seed in range(8)]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda seed: window(upsampler, seed), range(8)))
    finally:
        torch.set_num_threads(before)
    assert not torch.equal(alone[0], alone[1])
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@torch.inference_mode()
def test_a_batch_changes_no_bit() -> None:
    torch.manual_seed(0)
    upsampler = JbuOne(96).eval()
    features, image, words = maps(3, 96, 6, 8, seed=1), maps(3, 3, 96, 128, seed=2), maps(5, 96, seed=3)
    batch = reduced_cosines(upsampler, features, image, (96, 128), words)
    for i in range(3):
        assert torch.equal(
            batch[i : i + 1], reduced_cosines(upsampler, features[i : i + 1], image[i : i + 1], (96, 128), words)
        )
