"""PeftCD's adapters: a small residual network before every block of a frozen encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

WIDTH = 32
"""Channels inside an adapter."""


class AdaptedBlock(nn.Module):
    """A block that sees `x + GELU(W2 GELU(W1 x))`; the names are the authors'."""

    def __init__(self, block: nn.Module, dim: int, *, width: int = WIDTH) -> None:
        super().__init__()
        self.block = block
        self.prompt_learn = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, dim), nn.GELU())

    def forward(self, x: Tensor, *rest: Any, **named: Any) -> Any:
        return self.block(x + self.prompt_learn(x), *rest, **named)

    def __getattr__(self, name: str) -> Any:
        """What the block itself has, such as its attention."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)


def adapt_blocks(blocks: nn.ModuleList, *, width: int = WIDTH) -> None:
    """Put an adapter before every block of an encoder, in place; the width of the tokens is that of its first norm."""
    for i, block in enumerate(blocks):
        norm = next(module for module in block.modules() if isinstance(module, nn.LayerNorm))
        blocks[i] = AdaptedBlock(block, int(norm.normalized_shape[0]), width=width)
