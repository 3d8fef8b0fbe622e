"""Golden cases: folders `<kind>[_suffix]` with `golden.safetensors` and `meta.json`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(os.environ.get("EARTHWORDS_GOLDEN", Path(__file__).parents[1] / "golden"))


@dataclass(frozen=True)
class Case:
    """Inputs, weights and outputs of the authors' code."""

    folder: Path

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        return load_file(self.folder / "golden.safetensors")

    @cached_property
    def meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text())["meta"]
        return meta

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below a prefix, without it."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}


def cases() -> list[Case]:
    """Every case in the golden folder."""
    return [Case(p.parent) for p in sorted(GOLDEN.glob("*/golden.safetensors"))]


def agree(found: Tensor, expected: Tensor, tolerance: float = 2e-5) -> None:
    """Absolute agreement relative to the largest of the expected values."""
    assert found.shape == expected.shape
    scale = max(1e-12, float(expected.abs().max()))
    error = float((found - expected).abs().max()) / scale
    assert error <= tolerance, f"largest error {error:.2e} > {tolerance:.0e}"


def same_labels(found: Tensor, expected: Tensor, probabilities: Tensor, margin: float = 1e-4) -> None:
    """Identical labels wherever the two largest probabilities `(class, row, col)` are apart."""
    top = probabilities.topk(2, dim=0).values
    clear = top[0] - top[1] > margin
    assert clear.float().mean() > 0.5
    assert torch.equal(found[clear], expected[clear])
