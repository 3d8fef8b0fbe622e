"""NAF against its own formula in plain PyTorch: processor time of one thread, and memory.

    python benchmarks/bench_naf.py [--size 224] [--patch 16] [--dim 512] [--words 6] [--runs 3] [--json FILE]

Random weights of the published width (the time does not depend on them), one image of SIZE x SIZE pixels, features of
SIZE / PATCH tokens a side. The rows, timed in turn, medians: `encoder` (image to queries), `attention` (all channels),
`upsampler` (both, all channels), `words` (cosines with WORDS words). `plain`: convolutions and norms of whole maps, 81
keys and values gathered for every pixel, all channels; `difference` is the largest of two results. `mib` is what the
process held at the most over what it held before, first of our `words` and `upsampler`, then of the plain ones.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.inference.windows.lowrank import reduced_cosines
from earthwords.kernels.neighbourhood import attention
from earthwords.models.upsamplers import naf

Job = Callable[[], Tensor]


def jobs(size: int, patch: int, dim: int, words: int) -> dict[str, tuple[Job, Job]]:
    """Ours and the plain one of every row."""
    torch.manual_seed(0)
    module, side = naf.Naf().eval(), size // patch
    features, image = torch.randn(1, dim, side, side), torch.randn(1, 3, size, size)
    queries, whole = F.normalize(torch.randn(words, dim), dim=1), (size, size)
    encoders = (module.image_encoder.encoder, module.image_encoder.sem_encoder)

    def plain_queries() -> Tensor:
        return module.image_encoder.rope(naf._both(encoders, image))

    def plain_attention(asked: Tensor) -> Tensor:
        keys = naf._means(asked, (side, side))
        parts = (module._split(x) for x in (asked, keys, features.permute(0, 2, 3, 1)))
        return attention.reference(*parts, naf.WINDOW).flatten(3).permute(0, 3, 1, 2)

    def plain_words() -> Tensor:
        return torch.einsum("bdhw,qd->bqhw", F.normalize(plain_attention(plain_queries()), dim=1), queries)

    asked = module.queries(image, whole)
    parts = [module._split(x) for x in (asked, naf._means(asked, (side, side)), features.permute(0, 2, 3, 1))]
    return {
        "words": (lambda: reduced_cosines(module, features, image, whole, queries), plain_words),
        "upsampler": (lambda: module(features, image, whole), lambda: plain_attention(plain_queries())),
        "encoder": (lambda: module.queries(image, whole), plain_queries),
        "attention": (
            lambda: attention.neighbourhood_attention(*parts, naf.WINDOW).flatten(3).permute(0, 3, 1, 2),
            lambda: plain_attention(asked),
        ),
    }


def held() -> float:
    """MiB that this process has held at the most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@torch.inference_mode()
def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows."""
    made, rows, before = jobs(args.size, args.patch, args.dim, args.words), [], held()
    memory: dict[str, tuple[float, float]] = {}
    for kind in (0, 1):  # ours first: the most that was ever held does not fall again
        for name in ("words", "upsampler"):
            made[name][kind]()
            memory[name] = (*memory.get(name, ()), held() - before)  # type: ignore[assignment]
    for name, both in made.items():
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(args.runs):
            found = []
            for run, spent in zip(both, seconds, strict=True):
                began = time.process_time()
                found.append(run())
                spent.append(time.process_time() - began)
        ours, plain = map(median, seconds)
        row = {"what": name, "seconds": ours, "plain": plain, "ratio": ours / plain}
        row["difference"] = float((found[0] - found[1]).abs().max())
        if name in memory:
            row["mib"], row["plain_mib"] = memory[name]
        rows.append(row)
        print("  ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("size", 224), ("patch", 16), ("dim", 512), ("words", 6), ("runs", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(args)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
