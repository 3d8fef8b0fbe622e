"""Golden cases: folders `<kind>[_suffix]` with `golden.safetensors` and `meta.json`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(os.environ.get("EARTHWORDS_GOLDEN", Path(__file__).parents[1] / "golden"))


NAMES = "names_openclip"
"""Names of published checkpoints, which `test_names` looks at."""
SHARED = "weights_of.txt"
"""In a case's folder: the case beside it that has its weights."""


@dataclass(frozen=True)
class Case:
    """Inputs, weights and outputs of the authors' code."""

    folder: Path
    compared: set[str] = field(default_factory=set, compare=False)
    """Names of what a check has read."""

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        found = load_file(self.folder / "golden.safetensors")
        shared = self.folder / SHARED
        if shared.exists():
            other = load_file(self.folder.parent / shared.read_text().strip() / "golden.safetensors")
            found |= {name: value for name, value in other.items() if name.startswith("w.")}
        return found

    @cached_property
    def meta(self) -> dict[str, Any]:
        meta: dict[str, Any] = json.loads((self.folder / "meta.json").read_text())["meta"]
        return meta

    def __getitem__(self, name: str) -> Tensor:
        self.compared.add(name)
        return self.tensors[name]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below a prefix, without it."""
        found = {k for k in self.tensors if k.startswith(prefix)}
        self.compared.update(found)
        return {k.removeprefix(prefix): self.tensors[k] for k in found}

    def agree_between(self, name: str, found: Tensor, tolerance: float = 2e-5) -> None:
        """An intermediate result `mid.NAME`, which a case may lack."""
        if f"mid.{name}" in self.tensors:
            agree(found, self[f"mid.{name}"], tolerance)

    def left(self) -> set[str]:
        """What the authors' code computed and no check has read."""
        return {name for name in self.tensors if not name.startswith(("in.", "w."))} - self.compared


def cases() -> list[Case]:
    """Every case in the golden folder; a list of names is none."""
    return [Case(path) for path in sorted(GOLDEN.iterdir()) if path.is_dir() and path.name != NAMES]


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
