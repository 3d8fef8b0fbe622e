"""Product with a matrix: `out = x @ weight.T + bias`, as fast as one thread can.

PyTorch gives float32 products on a CPU to MKL, which leaves half of an AVX-512 processor of AMD unused, and is slow
for very few outputs (words); oneDNN, which PyTorch also holds, is not.

Cost: `rows * in * out` multiply-adds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.kernels._dispatch import has_onednn, path

TOLERANCE = 2e-5


def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """PyTorch's; see `linear`."""
    return F.linear(x, weight, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`.

    Args:
        x: `(*, in)`.
        weight: `(out, in)`, need not be contiguous.
        bias: `(out,)`.

    Returns:
        `(*, out)`. Differentiable in all arguments.
    """
    tensors = (x, weight) if bias is None else (x, weight, bias)
    return path(PATHS, *tensors)(x, weight, bias)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


PATHS = {"onednn": _onednn, "torch": reference}


PRECISIONS = ("fp32", "bf16")
"""What linear layers and convolutions can be computed in: float32, or bfloat16 with sums in float32."""


def computes(precision: str, device: torch.device) -> bool:
    """Whether a device has instructions for a precision; without them it is slower, not faster."""
    if precision == "fp32":
        return True
    if device.type == "cpu":
        return has_onednn() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8


class Linear(nn.Linear):
    """`torch.nn.Linear` by way of `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def quicken(module: nn.Module) -> None:
    """Make every `torch.nn.Linear` in a module a `Linear`, in place; names and weights stay."""
    for part in module.modules():
        if type(part) is nn.Linear:
            part.__class__ = Linear


class ReducedLinear(nn.Linear):
    """`torch.nn.Linear` in bfloat16, for inference: float32 in and out, its own weights unchanged.

    The last bits of a row depend on how many rows there are: one batch size, one result.
    """

    _weight16: Tensor
    _bias16: Tensor | None

    def reduce(self) -> None:
        """Round what is multiplied."""
        weight = self.weight.detach().bfloat16()
        self._on_cpu = weight.device.type == "cpu"
        self._weight16 = torch.ops.mkldnn._reorder_linear_weight(weight) if self._on_cpu else weight
        self._bias16 = None if self.bias is None else self.bias.detach().bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        compute = _onednn if self._on_cpu else reference
        return compute(x.bfloat16(), self._weight16, self._bias16).float()


def reduce_linears(module: nn.Module) -> None:
    """Make every `torch.nn.Linear` in a module a `ReducedLinear`, in place; names and weights stay."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.__class__ = ReducedLinear
            assert isinstance(part, ReducedLinear)
            part.reduce()
