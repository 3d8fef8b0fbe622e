"""Windows in parallel, one core each, against threads inside a batch: time and bits.

    python benchmarks/bench_windows.py [--preset tiny] [--model FOLDER] [--windows 48] [--json FILE]

`batch` gives all cores to batches of 8 windows, `alone` one core to every window, as `segment` does on a CPU. `ratio`
is milliseconds a window over those of `batch`; `equal` whether the logits are those of one window on one core, to
the bit.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.inference.segment.segmenter import Segmenter
from earthwords.jobs.threads import Pool, one_core


def least(function: Callable[[], Tensor], runs: int = 3) -> tuple[float, Tensor]:
    """Least seconds of some runs after a first one, and the result."""
    result, seconds = function(), []
    for _ in range(runs):
        began = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--model")
    parser.add_argument("--windows", type=int, default=48)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    segmenter = Segmenter.from_preset(args.preset, model=args.model, device="cpu")
    encoder, tile, count = segmenter.encoder, segmenter.preset.tile_size, args.windows
    torch.manual_seed(0)
    pixels = torch.randn(count, 3, tile, tile)
    words = F.normalize(torch.randn(10, encoder.backbone.dim), dim=1)
    cores = torch.get_num_threads()

    def one_by_one() -> Tensor:
        with one_core():
            return torch.cat([encoder.logits(pixels[i : i + 1], words) for i in range(count)])

    def in_threads() -> Tensor:
        with Pool(cores) as pool:
            return torch.cat(list(pool.ordered(lambda i: encoder.logits(pixels[i : i + 1], words), range(count))))

    ways: dict[str, Callable[[], Tensor]] = {
        f"batch, {cores} cores": lambda: torch.cat([encoder.logits(part, words) for part in pixels.split(8)]),
        f"alone, {cores} cores": in_threads,
        "alone, 1 core": one_by_one,
    }
    truth = one_by_one()
    rows = []
    for name, way in ways.items():
        seconds, logits = least(way)
        reference = rows[0]["ms"] if rows else seconds / count * 1000
        row = {"way": name, "ms": seconds / count * 1000, "ratio": seconds / count * 1000 / reference}
        rows.append({**row, "equal": torch.equal(logits, truth)})
        print(f"{name:18} {row['ms']:7.1f} ms a window  ratio {row['ratio']:.2f}  equal {rows[-1]['equal']}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
