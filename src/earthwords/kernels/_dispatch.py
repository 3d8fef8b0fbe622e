"""Which path of a kernel computes: one rule for all of them, by where the tensors are.

A CPU's float32 goes to the compiled loops, with gradients where a kernel has them, CUDA to Triton where it is
installed, everything else (float64, Apple's MPS, CUDA without Triton) to plain PyTorch. All paths are the same maths
on the same device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def path(paths: Mapping[str, Callable[..., Tensor]], *tensors: Tensor) -> Callable[..., Tensor]:
    """The function of a table `torch` and, if they exist, `numba`, `autograd`, `triton` and `onednn`."""
    return paths[next(name for name in backends(*tensors) if name in paths)]


def backends(*tensors: Tensor) -> tuple[str, ...]:
    """Names of the paths that can take the tensors, the fastest first; the last is always `torch`."""
    devices, dtypes = {t.device.type for t in tensors}, {t.dtype for t in tensors}
    if devices == {"cuda"} and dtypes <= set(TRITON_DTYPES) and has_triton() and _is_recent(tensors[0].device):
        return "triton", "torch"
    if devices == {"cpu"} and dtypes == {torch.float32}:
        if wants_gradient(*tensors):
            return "autograd", "torch"
        return ("numba", "onednn", "torch") if has_onednn() else ("numba", "torch")
    return ("torch",)


def wants_gradient(*tensors: Tensor) -> bool:
    """Whether autograd would record what is done with the tensors."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)


@cache
def has_triton() -> bool:
    """Triton comes with PyTorch for CUDA on Linux."""
    return find_spec("triton") is not None


@cache
def _is_recent(device: torch.device) -> bool:
    """Compute capability 8 and above: older ones lack the 81 KiB of shared memory that `joint_kernel` takes."""
    return torch.cuda.get_device_capability(device)[0] >= 8


@cache
def has_onednn() -> bool:
    """Whether this PyTorch holds oneDNN and the operator that its own compiler uses for linear layers."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
