"""AnyUp's windowed attention against the dense formula with a mask: time and memory.

    python benchmarks/bench_anyup.py [--size 448] [--patch 16] [--dim 512] [--runs 2] [--threads N] [--system]
        [--json FILE]

Random weights of the published width (the time does not depend on them), one image of SIZE x SIZE pixels, features of
SIZE / PATCH tokens a side. The rows: the attention alone, and the whole upsampler, which has its encoders besides; each
with `window_attention.by_windows` and with `window_attention.reference`.

Every row is a process of its own, whose allocator keeps what was freed (MALLOC_MMAP_MAX_ 0, MALLOC_TRIM_THRESHOLD_
of 64 GiB): else most of a dense row's time is the kernel's, which clears the same pages again and again. `--system`
leaves the allocator as it is. `seconds` and `cpu` are the least of the runs, by the clock and of the processor,
`peak_mib` the process's peak (VmHWM), `over_mib` the same over what it held before the first run: libraries, weights
and inputs. `faster`, `of_cpu` and `memory` compare with the dense row of the same run; `difference` is the largest of
two outputs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from earthwords.kernels import window_attention
from earthwords.models.upsamplers import anyup

PATHS = {"dense": window_attention.reference, "windows": window_attention.by_windows}
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**36)}
WHAT = ("attention", "upsampler")


def job(what: str, path: str, size: int, patch: int, dim: int) -> Callable[[], Tensor]:
    """What is measured, with its inputs made."""
    torch.manual_seed(0)
    side = size // patch
    if what == "attention":
        queries = torch.randn(1, size, size, anyup.HEADS, anyup.WIDTH // anyup.HEADS)
        keys = torch.randn(1, side, side, anyup.HEADS, anyup.WIDTH // anyup.HEADS)
        values = torch.randn(1, side, side, dim)
        return lambda: PATHS[path](queries, keys, values, anyup.RATIO)
    anyup.window_attention = PATHS[path]
    module = anyup.AnyUp().eval()
    features, image = torch.randn(1, dim, side, side), torch.randn(1, 3, size, size)
    return lambda: module(features, image, (size, size)).permute(0, 2, 3, 1)


def memory(field: str) -> float:
    """MiB of this process: `VmRSS` now, `VmHWM` at the most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


@torch.inference_mode()
def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One row, in this process; the output is compared with the file of another row, or becomes it."""
    torch.set_num_threads(args.threads)
    run = job(args.what, args.path, args.size, args.patch, args.dim)
    before, seconds, cpus = memory("VmRSS"), [], []
    for _ in range(args.runs):
        out = None  # what the last run gave is not part of the next one's memory
        began, cpu = time.perf_counter(), time.process_time()
        out = run()
        seconds.append(time.perf_counter() - began)
        cpus.append(time.process_time() - cpu)
    assert out is not None
    row = {"seconds": min(seconds), "cpu": min(cpus), "peak_mib": memory("VmHWM"), "over_mib": memory("VmHWM") - before}
    found = out[0].contiguous().numpy()
    if args.output.exists():
        other = np.load(args.output, mmap_mode="r")
        row["difference"] = max(float(np.abs(a - b).max()) for a, b in zip(found, other, strict=True))
    else:
        np.save(args.output, found)
    return row


def compare(what: str, options: list[str], env: dict[str, str]) -> list[dict[str, Any]]:
    """The dense row and the row of the windows."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for path in PATHS:
            command = [sys.executable, __file__, *options, "--what", what, "--path", path]
            done = subprocess.run(
                [*command, "--output", f"{folder}/out.npy"], stdout=subprocess.PIPE, check=True, env=env
            )
            row = {"what": what, "path": path, **json.loads(done.stdout)}
            dense = rows[0] if rows else row
            row["faster"] = dense["seconds"] / row["seconds"]
            row["of_cpu"] = row["cpu"] / dense["cpu"]
            row["memory"] = row["peak_mib"] / dense["peak_mib"]
            row["memory_over"] = row["over_mib"] / dense["over_mib"]
            rows.append(row)
            print("  ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--patch", type=int, default=16)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="a window is computed by one core")
    parser.add_argument("--system", action="store_true", help="the allocator as it is")
    parser.add_argument("--json", type=Path)
    for name, kind in (("--what", str), ("--path", str), ("--output", Path)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.what:
        print(json.dumps(measure(args)))
        return
    names = ("size", "patch", "dim", "runs", "threads")
    options = [part for name in names for part in (f"--{name}", str(getattr(args, name)))]
    env = dict(os.environ) if args.system else {**os.environ, **KEEP}
    rows = [row for what in WHAT for row in compare(what, options, env)]
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
