"""One training step of SimFeatUp and of FeatUp's stack: as the authors compute it, and as `train upsampler` does.

    python benchmarks/bench_upsampler_training.py [--side 128] [--steps 3] [--json FILE]

The embedded model is the teacher; crops of a rendered scene. Both ways take the same crops and views. `ratio` is the
authors' time over the other; `torch` is the factored way with gradients of plain PyTorch operations instead of the
compiled loops. One core. What differs between the ways stands in `training.upsampling.UpsamplingSettings.faithful`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from earthwords.kernels import adaptive_conv, range_kernel
from earthwords.models.upsamplers.jbu import Jbu, JbuStack
from earthwords.models.upsamplers.simfeatup import JbuOne
from earthwords.models.weights.table import load_clip
from earthwords.synthetic import render_scene
from earthwords.training.teacher import Teacher, teacher
from earthwords.training.upsampling import Student, UpsamplingSettings, UpsamplingTask

METHODS: dict[str, tuple[Callable[[int], Jbu], dict[str, float]]] = {
    "simfeatup": (JbuOne, {}),
    "jbu": (JbuStack, {"content_weight": 0.0, "crf_weight": 1e-3}),
}


@contextmanager
def plain_gradients() -> Iterator[None]:
    """Kernels under autograd by plain PyTorch."""
    kept = [(kernel, kernel.PATHS.pop("autograd")) for kernel in (adaptive_conv, range_kernel)]
    try:
        yield
    finally:
        for kernel, path in kept:
            kernel.PATHS["autograd"] = path


def seconds(source: Teacher, images: Tensor, method: str, steps: int, **choices: Any) -> float:
    """Median time of a step after one that warms up."""
    build, weights = METHODS[method]
    row = replace(UpsamplingSettings(side=choices.pop("side")), **weights, **choices)

    def crops(rng: np.random.Generator, count: int, side: int) -> Tensor:
        places = [rng.integers(n - side + 1, size=count) for n in images.shape[-2:]]
        return torch.stack([images[:, r : r + side, c : c + side] for r, c in zip(*places, strict=True)])

    task = UpsamplingTask(crops, source, row, digest="scene")
    torch.manual_seed(0)
    model = Student(build(source.dim), source, row).train()
    times = []
    for step in range(steps + 1):
        began = time.perf_counter()
        losses = task.losses(model, task.draw(np.random.default_rng(step)))
        torch.stack(list(losses.values())).sum().backward()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    source = teacher(load_clip("tiny").eval())
    scene = render_scene(height=400, width=500, gsd=0.5, theme="village", seed=3).image
    images = torch.from_numpy(scene.copy()).permute(2, 0, 1) / 255
    rows: list[dict[str, Any]] = []
    for method in METHODS:
        slow = seconds(source, images, method, 1, side=args.side, faithful=True)
        fast = seconds(source, images, method, args.steps, side=args.side)
        with plain_gradients():
            plain = seconds(source, images, method, args.steps, side=args.side)
        for name, value in (("authors", slow), ("torch", plain), ("earthwords", fast)):
            row = {"method": method, "way": name, "seconds": round(value, 2), "ratio": round(slow / value, 1)}
            rows.append(row)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
