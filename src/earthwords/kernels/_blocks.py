"""The inner blocks of two loops in vector registers, written as LLVM instructions; used by `_cpu`.

Compilers keep a sum in memory when its loop runs over channels, and one that runs over offsets is not made into
vectors. Here the sums of a block, a few pixels by a few vectors, stay in registers while all offsets pass; the
window's side is known when the block is compiled. Addresses are numbers of bytes, as `array.ctypes.data` gives.

numba's cache on disk watches `_cpu.py` only: change that file too when you change this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic


def _lanes() -> int:
    """16 where a register holds as many; 8 elsewhere, two registers if need be."""
    try:
        return 16 if binding.get_host_cpu_features().get("avx512f") else 8
    except RuntimeError:  # LLVM cannot ask this processor
        return 8


LANES = _lanes()
"""Floats of a vector."""
PIXELS = 4
"""Of a block of `filter_block`."""
CHANNELS = 2 * LANES
"""Of a block of `filter_block`."""

_LONG, _INT, _FLOAT = ir.IntType(64), ir.IntType(32), ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


class _Writer:
    """Vector instructions at the builder's position."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def at(self, base: Any, *steps: tuple[Any, int]) -> Any:
        """`base + sum(stride * number)`."""
        for stride, number in steps:
            base = self.builder.add(base, self.builder.mul(stride, ir.Constant(_LONG, number)))
        return base

    def load(self, address: Any, kind: Any = _VECTOR) -> Any:
        value = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        value.align = 4
        return value

    def store(self, value: Any, address: Any) -> None:
        self.builder.store(value, self.builder.inttoptr(address, _VECTOR.as_pointer())).align = 4

    def spread(self, address: Any) -> Any:
        """One number in all lanes."""
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        one = self.builder.insert_element(nothing, self.load(address, _FLOAT), ir.Constant(_INT, 0))
        return self.builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))

    def add_product(self, total: Any, a: Any, b: Any) -> Any:
        flags = ("contract",)
        return self.builder.fadd(self.builder.fmul(a, b, flags=flags), total, flags=flags)

    def sums(self, count: int, times: Any, body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """`count` vectors, zero at first, after `body(i, sums)` for i in `range(times)`; at least once."""
        builder, before = self.builder, self.builder.block
        loop, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        index, totals = builder.phi(_LONG), [builder.phi(_VECTOR) for _ in range(count)]
        later = body(index, list(totals))
        following = builder.add(index, ir.Constant(_LONG, 1))
        builder.cbranch(builder.icmp_signed("<", following, times), loop, done)
        for phi, first, again in zip([index, *totals], [0, *[[0.0] * LANES] * count], [following, *later], strict=True):
            phi.add_incoming(ir.Constant(phi.type, first), before)
            phi.add_incoming(again, loop)
        builder.position_at_end(done)
        return later


@intrinsic(prefer_literal=True)
def filter_block(typing_context, side, source, row, pixel, kernels, offset, width, out):  # type: ignore[no-untyped-def]
    """`out[x, c] = sum_ij kernels[i d + j, x] * source[i, x + j, c]` for `PIXELS` x and `CHANNELS` c.

    `row`, `pixel`, `offset` and `width` are the strides in bytes of the source's i and x, of the kernels' first axis
    and of the result's x.
    """
    if not isinstance(side, types.IntegerLiteral):
        return None

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, source, row, pixel, kernels, offset, width, out = arguments
        side, writer = signature.args[0].literal_value, _Writer(builder)
        unit = ir.Constant(_LONG, 4)

        def body(i: Any, sums: list[Any]) -> list[Any]:
            line = builder.add(source, builder.mul(i, row))
            weights = builder.add(kernels, builder.mul(writer.at(ir.Constant(_LONG, 0), (i, side)), offset))
            for column in range(side + PIXELS - 1):
                values = [writer.load(writer.at(line, (pixel, column), (unit, LANES * v))) for v in range(2)]
                for x in range(max(0, column - side + 1), min(PIXELS, column + 1)):
                    weight = writer.spread(writer.at(weights, (offset, column - x), (unit, x)))
                    for v in range(2):
                        sums[2 * x + v] = writer.add_product(sums[2 * x + v], weight, values[v])
            return sums

        for n, total in enumerate(writer.sums(2 * PIXELS, ir.Constant(_LONG, side), body)):
            writer.store(total, writer.at(out, (width, n // 2), (unit, LANES * (n % 2))))
        return context.get_dummy_value()

    return types.void(side, *[types.intp] * 7), write


@intrinsic(prefer_literal=True)
def product_block(typing_context, side, dim, depth, centre, other, offset, out):  # type: ignore[no-untyped-def]
    """`out[j, x] = sum_d centre[d, x] * other[d, x + j]` for `LANES` x and j below `side`.

    `depth`, `offset` are the strides in bytes of d and of the result's first axis.
    """
    if not isinstance(side, types.IntegerLiteral):
        return None

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, dim, depth, centre, other, offset, out = arguments
        side, writer = signature.args[0].literal_value, _Writer(builder)
        unit = ir.Constant(_LONG, 4)

        def body(d: Any, sums: list[Any]) -> list[Any]:
            step = builder.mul(d, depth)
            own, line = writer.load(builder.add(centre, step)), builder.add(other, step)
            return [writer.add_product(s, own, writer.load(writer.at(line, (unit, j)))) for j, s in enumerate(sums)]

        for j, total in enumerate(writer.sums(side, dim, body)):
            writer.store(total, writer.at(out, (offset, j)))
        return context.get_dummy_value()

    return types.void(side, *[types.intp] * 6), write
