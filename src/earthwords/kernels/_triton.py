"""The same formulas for CUDA, in Triton: sums in float32 whatever the inputs are, nothing of `d^2 * D` maps.

Checked under Triton's interpreter (`TRITON_INTERPRET=1`, CPU tensors) and compiled for compute capability 8.0 and 9.0;
untested on a GPU. A program takes some neighbouring pixels of an image and goes through the offsets, or holds a number
for each. Formulas as in the file of each kernel.
"""
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import math
from typing import Any

import torch
import triton  # type: ignore
import triton.language as tl  # type: ignore
from torch import Tensor
from torch.nn import functional as F

from earthwords.kernels._offsets import by_offset
from earthwords.kernels._weights import LEAST, KernelWeights

LANES = 128
"""Pixels of a program that adds up one number a pixel and channel."""
CHANNELS = 16
"""Channels of such a program."""
COLUMNS = 32
"""Pixels of a program that holds all offsets of a pixel."""


@triton.jit
def _conv(source, kernels, out, channels, height, width, SIDE: tl.constexpr, C: tl.constexpr, P: tl.constexpr):
    """`out[c, p] = sum_ij kernels[i d + j, p] * source[c, p + (i, j)]`."""
    p = tl.program_id(0) * P + tl.arange(0, P)
    c = tl.program_id(1) * C + tl.arange(0, C)[:, None]
    image = tl.program_id(2).to(tl.int64)
    y, x, inside = p // width, p % width, p < height * width
    cols = width + SIDE - 1
    plane = (height + SIDE - 1) * cols
    source += (image * channels + c) * plane + (y * cols + x)[None, :]
    kernels += image * SIDE * SIDE * height * width + p
    mask = inside[None, :] & (c < channels)
    total = tl.zeros((C, P), tl.float32)
    for k in range(SIDE * SIDE):
        weight = tl.load(kernels + k * height * width, mask=inside, other=0.0).to(tl.float32)
        value = tl.load(source + k // SIDE * cols + k % SIDE, mask=mask, other=0.0).to(tl.float32)
        total += weight[None, :] * value
    tl.store(out + (image * channels + c) * (height * width) + p[None, :], total, mask=mask)


@triton.jit
def _conv_to_source(grad, kernels, out, channels, height, width, SIDE: tl.constexpr, C: tl.constexpr, P: tl.constexpr):
    """`out[c, q] = sum_ij kernels[i d + j, q - (i, j)] * grad[c, q - (i, j)]` for pixels q of the padded source."""
    q = tl.program_id(0) * P + tl.arange(0, P)
    c = tl.program_id(1) * C + tl.arange(0, C)[:, None]
    image = tl.program_id(2).to(tl.int64)
    cols = width + SIDE - 1
    plane = (height + SIDE - 1) * cols
    grad += (image * channels + c) * (height * width)
    kernels += image * SIDE * SIDE * height * width
    total = tl.zeros((C, P), tl.float32)
    for k in range(SIDE * SIDE):
        y, x = q // cols - k // SIDE, q % cols - k % SIDE
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        place = y * width + x
        weight = tl.load(kernels + k * height * width + place, mask=inside, other=0.0).to(tl.float32)
        mask = inside[None, :] & (c < channels)
        total += weight[None, :] * tl.load(grad + place[None, :], mask=mask, other=0.0).to(tl.float32)
    tl.store(out + (image * channels + c) * plane + q[None, :], total, mask=(q < plane)[None, :] & (c < channels))


@triton.jit
def _conv_to_kernels(grad, source, out, channels, height, width, SIDE: tl.constexpr, C: tl.constexpr, P: tl.constexpr):
    """`out[i d + j, p] = sum_c grad[c, p] * source[c, p + (i, j)]`."""
    p = tl.program_id(0) * P + tl.arange(0, P)
    k = tl.program_id(1)
    image = tl.program_id(2).to(tl.int64)
    y, x, inside = p // width, p % width, p < height * width
    cols = width + SIDE - 1
    plane = (height + SIDE - 1) * cols
    total = tl.zeros((P,), tl.float32)
    for first in range(0, channels, C):
        c = first + tl.arange(0, C)[:, None]
        mask = inside[None, :] & (c < channels)
        slope = tl.load(grad + (image * channels + c) * (height * width) + p[None, :], mask=mask, other=0.0)
        place = ((y + k // SIDE) * cols + x + k % SIDE)[None, :]
        value = tl.load(source + (image * channels + c) * plane + place, mask=mask, other=0.0)
        total += tl.sum(slope.to(tl.float32) * value.to(tl.float32), axis=0)
    tl.store(out + (image * SIDE * SIDE + k) * height * width + p, total, mask=inside)


class AdaptiveConv(torch.autograd.Function):
    """`adaptive_conv.adaptive_conv` with both gradients."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, kernels: Tensor) -> Tensor:
        source, kernels = source.contiguous(), kernels.contiguous()
        ctx.save_for_backward(source, kernels)
        batch, channels = source.shape[:2]
        offsets, height, width = kernels.shape[1:]
        out = source.new_empty((batch, channels, height, width))
        grid = (triton.cdiv(height * width, LANES), triton.cdiv(channels, CHANNELS), batch)
        _conv[grid](source, kernels, out, channels, height, width, math.isqrt(offsets), CHANNELS, LANES)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        source, kernels = ctx.saved_tensors
        grad = grad.contiguous()
        (batch, channels, rows, cols), (offsets, height, width) = source.shape, kernels.shape[1:]
        sizes = (channels, height, width, math.isqrt(offsets), CHANNELS, LANES)
        to_source = to_kernels = None
        if ctx.needs_input_grad[0]:
            to_source = torch.empty_like(source)
            grid = (triton.cdiv(rows * cols, LANES), triton.cdiv(channels, CHANNELS), batch)
            _conv_to_source[grid](grad, kernels, to_source, *sizes)
        if ctx.needs_input_grad[1]:
            to_kernels = torch.empty_like(kernels)
            _conv_to_kernels[(triton.cdiv(height * width, LANES), offsets, batch)](grad, source, to_kernels, *sizes)
        return to_source, to_kernels


@triton.jit
def _likeness(keys, temperature, p, inside, dim, height, width, SIDE: tl.constexpr, K: tl.constexpr):
    """`(pixel, offset)`: the softmax over the window; `keys` is one padded image, offsets beyond the last get 0."""
    k = tl.arange(0, K)[None, :]
    cols = width + SIDE - 1
    plane = (height + SIDE - 1) * cols
    corner = (p // width * cols + p % width)[:, None]
    real = k < SIDE * SIDE
    mask = inside[:, None] & real
    total = tl.zeros((p.shape[0], K), tl.float32)
    for d in range(dim):
        centre = tl.load(keys + d * plane + corner + SIDE // 2 * (cols + 1), mask=inside[:, None], other=0.0)
        other = tl.load(keys + d * plane + corner + k // SIDE * cols + k % SIDE, mask=mask, other=0.0)
        total += centre.to(tl.float32) * other.to(tl.float32)
    logits = tl.where(real, total * tl.load(temperature).to(tl.float32), float("-inf"))
    powers = tl.exp(logits - tl.max(logits, axis=1)[:, None])
    return powers / tl.sum(powers, axis=1)[:, None]


@triton.jit
def _range(keys, temperature, out, dim, height, width, SIDE: tl.constexpr, K: tl.constexpr, P: tl.constexpr):
    """`range_kernel.range_kernel` of padded keys."""
    p = tl.program_id(0) * P + tl.arange(0, P)
    image = tl.program_id(1).to(tl.int64)
    inside = p < height * width
    keys += image * dim * (height + SIDE - 1) * (width + SIDE - 1)
    kernels = _likeness(keys, temperature, p, inside, dim, height, width, SIDE, K)
    k = tl.arange(0, K)[None, :]
    place = out + (image * SIDE * SIDE + k) * height * width + p[:, None]
    tl.store(place, kernels, mask=inside[:, None] & (k < SIDE * SIDE))


@triton.jit
def _joint(
    keys, temperature, spatial, guidance, mix, colours, bias, correct, correct_bias, out,
    dim, height, width, LEAST: tl.constexpr, SIDE: tl.constexpr, K: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """`joint_kernel.joint_kernel` of padded keys; matrices `(in, out)`, padded with zeros to K."""
    p = tl.program_id(0) * P + tl.arange(0, P)
    image = tl.program_id(1).to(tl.int64)
    inside = p < height * width
    keys += image * dim * (height + SIDE - 1) * (width + SIDE - 1)
    column = tl.arange(0, K)
    k = column[None, :]
    kernels = _likeness(keys, temperature, p, inside, dim, height, width, SIDE, K) * tl.load(spatial + k)
    kernels = kernels / tl.maximum(tl.sum(kernels, axis=1), LEAST)[:, None]
    square = column[:, None] * K + k
    hidden = tl.dot(kernels, tl.load(mix + square), input_precision="ieee") + tl.load(bias + k)
    for i in range(3):
        colour = tl.load(guidance + (image * 3 + i) * height * width + p, mask=inside, other=0.0)
        hidden += colour.to(tl.float32)[:, None] * tl.load(colours + i * K + k)
    hidden = 0.5 * hidden * (1.0 + tl.erf(hidden * 0.7071067811865476))
    change = tl.dot(hidden, tl.load(correct + square), input_precision="ieee") + tl.load(correct_bias + k)
    place = out + (image * SIDE * SIDE + k) * height * width + p[:, None]
    tl.store(place, kernels + change, mask=inside[:, None] & (k < SIDE * SIDE))


class RangeKernel(torch.autograd.Function):
    """`range_kernel.range_kernel`; the gradients are PyTorch's, of the plain formula computed again."""

    @staticmethod
    def forward(ctx: Any, keys: Tensor, temperature: Tensor, radius: int) -> Tensor:
        ctx.save_for_backward(keys, temperature)
        ctx.radius = radius
        batch, dim, height, width = keys.shape
        side = 2 * radius + 1
        out = keys.new_empty((batch, side * side, height, width))
        grid = (triton.cdiv(height * width, COLUMNS), batch)
        _range[grid](_padded(keys, radius), temperature, out, dim, height, width, side, _power(side), COLUMNS)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        own = [t.detach().requires_grad_() for t in ctx.saved_tensors]
        with torch.enable_grad():
            out = by_offset(own[0], own[1], ctx.radius)
        to_keys, to_temperature = torch.autograd.grad(out, own, grad)
        return to_keys, to_temperature, None


def joint_kernel(keys: Tensor, guidance: Tensor, weights: KernelWeights) -> Tensor:
    """See `joint_kernel.joint_kernel`."""
    batch, dim, height, width = keys.shape
    offsets, side = len(weights.spatial), 2 * weights.radius + 1
    size = _power(side)

    def filled(values: Tensor, rows: int | None = None) -> Tensor:
        """float32, zeros after the last column, and row."""
        lower = 0 if rows is None else rows - len(values)
        padding = (0, size - values.shape[-1], 0, lower)
        return F.pad(values.detach().float(), padding[: 2 * values.ndim]).contiguous()

    mix = weights.mix.T
    out = keys.new_empty((batch, offsets, height, width))
    _joint[(triton.cdiv(height * width, COLUMNS), batch)](
        _padded(keys, weights.radius), weights.temperature, filled(weights.spatial), guidance.contiguous(),
        filled(mix[:offsets], size), filled(mix[offsets:], 3), filled(weights.mix_bias),
        filled(weights.correct.T, size), filled(weights.correct_bias), out,
        dim, height, width, LEAST, side, size, COLUMNS,
    )  # fmt: skip
    return out


@triton.jit
def _add(total, seen, logits, weight, row, col, height, width, rows, cols, WEIGHTED: tl.constexpr, P: tl.constexpr):
    """`blend.add_window` for P pixels of a window and one query; the first one's programs count them too."""
    p = tl.program_id(0) * P + tl.arange(0, P)
    q = tl.program_id(1).to(tl.int64)
    inside = p < height * width
    place = (row + p // width) * cols + col + p % width
    count = tl.full((P,), 1.0, tl.float32)
    if WEIGHTED:
        count = tl.load(weight + p, mask=inside, other=0.0)
    first = p < tl.where(q == 0, height * width, 0)
    tl.store(seen + place, tl.load(seen + place, mask=first, other=0.0) + count, mask=first)
    there = total + q * rows * cols + place
    value = tl.load(logits + q * height * width + p, mask=inside, other=0.0).to(tl.float32)
    tl.store(there, tl.load(there, mask=inside, other=0.0) + value * count, mask=inside)


def add_window(total: Tensor, seen: Tensor, logits: Tensor, weight: Tensor | None, row: int, col: int) -> None:
    """See `blend.add_window`; the sums must be contiguous."""
    (queries, height, width), (rows, cols) = logits.shape, seen.shape
    if not (total.is_contiguous() and seen.is_contiguous()):
        raise ValueError("The sums of a blend must be contiguous.")
    counts = seen if weight is None else weight.to(seen).contiguous()
    sizes = (row, col, height, width, rows, cols, weight is not None, LANES)
    _add[(triton.cdiv(height * width, LANES), queries)](total, seen, logits.contiguous(), counts, *sizes)


def _padded(keys: Tensor, radius: int) -> Tensor:
    return F.pad(keys, [radius] * 4, mode="reflect").contiguous()


def _power(side: int) -> int:
    """The power of 2 that holds all offsets, at least what `tl.dot` takes."""
    size: int = max(16, triton.next_power_of_2(side * side))
    return size
