"""Every kernel, every path that this device offers, against its plain reference in the same run.

    python benchmarks/bench_kernels.py [--device cuda] [--side 224] [--channels 224] [--runs 5] [--json FILE]

Sizes are those of SimFeatUp's last step (radius 5) on a window of `side` pixels. `adaptive_conv.reference` unfolds all
channels at once, so it gets 32 of them and `channels` says so: its time is scaled to the others'. On a CPU one thread;
on CUDA the time is that between two events, and `bandwidth` the bytes that must be read and written over the time,
as a share of what a plain copy reaches in the same run. `ratio` is the time over the reference's, `error` the greatest
difference from it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from earthwords.kernels import adaptive_conv, blend, joint_kernel, linear, range_kernel
from earthwords.kernels._dispatch import backends
from earthwords.kernels.joint_kernel import KernelWeights

RADIUS, KEY_DIM, WORDS = 5, 32, 5
OFFSETS = (2 * RADIUS + 1) ** 2
FEW = 32
"""Channels that the reference convolution unfolds."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A kernel and its inputs."""

    module: ModuleType
    inputs: tuple[Any, ...]
    reduced: tuple[Any, ...] | None = None
    """Inputs with fewer channels, for a reference that could not hold all."""

    @property
    def name(self) -> str:
        return self.module.__name__.rsplit(".")[-1]

    @property
    def scale(self) -> float:
        return self.inputs[0].shape[1] / self.reduced[0].shape[1] if self.reduced else 1.0


def cases(side: int, channels: int, device: str) -> list[Case]:
    torch.manual_seed(0)

    def maps(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device)

    weights = KernelWeights(
        temperature=torch.tensor(1.0, device=device),
        spatial=maps(OFFSETS).abs(),
        mix=0.1 * maps(OFFSETS, OFFSETS + 3),
        mix_bias=maps(OFFSETS),
        correct=0.01 * maps(OFFSETS, OFFSETS),
        correct_bias=maps(OFFSETS),
    )
    keys, guidance = 0.3 * maps(1, KEY_DIM, side, side), maps(1, 3, side, side)
    source, kernels = maps(1, channels, side + 2 * RADIUS, side + 2 * RADIUS), maps(1, OFFSETS, side, side) / OFFSETS
    weight = blend.window_weights("cosine", (side, side), device=device)
    sums = maps(WORDS, 2 * side, 2 * side), maps(2 * side, 2 * side)
    return [
        Case(module=range_kernel, inputs=(keys, weights.temperature, RADIUS)),
        Case(module=joint_kernel, inputs=(keys, guidance, weights)),
        Case(module=adaptive_conv, inputs=(source, kernels), reduced=(source[:, :FEW], kernels)),
        Case(module=linear, inputs=(weights.mix, maps(OFFSETS + 3, 9 * side).T)),
        Case(module=blend, inputs=(*sums, maps(WORDS, side, side), weight, side // 3, side // 2)),
    ]


def seconds(function: Callable[[], Any], device: str, runs: int) -> float:
    """Least time of some runs after one that compiles and warms up."""
    function()
    times = []
    for _ in range(runs):
        if device == "cuda":
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            function()
            last.record()
            torch.cuda.synchronize()
            times.append(first.elapsed_time(last) / 1000)
        else:
            began = time.perf_counter()
            function()
            times.append(time.perf_counter() - began)
    return min(times)


def copy_rate(device: str, runs: int) -> float:
    """Bytes a second that a plain copy reads and writes."""
    source = torch.empty(2**26, device=device)
    target = torch.empty_like(source)
    return 8 * source.numel() / seconds(lambda: target.copy_(source), device, runs)


def outcome(function: Callable[..., Any], case: Case, inputs: tuple[Any, ...]) -> list[Tensor]:
    """What a path gives; a blend, which works in place, gives both sums."""
    if case.module is not blend:
        return [function(*inputs)]
    own = [t.clone() for t in inputs[:2]]
    function(*own, *inputs[2:])
    return own


def moved(case: Case) -> int:
    """Bytes of the inputs read once and of the result written once."""
    tensors = [t for t in case.inputs if isinstance(t, Tensor)]
    if case.module is blend:
        logits = case.inputs[2]
        return logits.element_size() * (3 * logits.numel() + 3 * logits[0].numel())
    return sum(t.nbytes for t in [*tensors, *outcome(case.module.PATHS["torch"], case, case.inputs)])


def rows_of(case: Case, device: str, runs: int, peak: float | None) -> list[dict[str, Any]]:
    reduced = case.reduced or case.inputs
    expected = outcome(case.module.reference, case, reduced)
    slow = case.scale * seconds(lambda: outcome(case.module.reference, case, reduced), device, max(1, runs // 2))
    rows = [{"kernel": case.name, "path": "reference", "ms": 1e3 * slow, "ratio": 1.0, "error": 0.0}]
    for name in (n for n in backends(case.inputs[0]) if n in case.module.PATHS):
        function = case.module.PATHS[name]
        took = seconds(lambda f=function: outcome(f, case, case.inputs), device, runs)
        pairs = zip(outcome(function, case, reduced), expected, strict=True)
        error = max(float((a - b).abs().max()) for a, b in pairs)
        rows.append({"kernel": case.name, "path": name, "ms": 1e3 * took, "ratio": took / slow, "error": error})
    for row in rows:
        row["bandwidth"] = None if peak is None else moved(case) / (row["ms"] / 1e3) / peak
    return rows


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--channels", type=int, default=224)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    peak = copy_rate(args.device, args.runs) if args.device == "cuda" else None
    print(f"{'kernel':<15}{'path':<11}{'ms':>10}{'ratio':>9}{'error':>10}" + (f"{'bandwidth':>11}" if peak else ""))
    rows: list[dict[str, Any]] = []
    for case in cases(args.side, args.channels, args.device):
        for row in rows_of(case, args.device, args.runs, peak):
            share = f"{100 * row['bandwidth']:>10.0f}%" if peak else ""
            numbers = f"{row['ms']:>10.4g}{row['ratio']:>9.3f}{row['error']:>10.1e}"
            print(f"{row['kernel']:<15}{row['path']:<11}{numbers}{share}", flush=True)
            rows.append(row)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
