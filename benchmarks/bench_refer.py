"""What pointing costs: an image encoded once for many sentences against once for each.

    python benchmarks/bench_refer.py [--preset rsrefseg-b] [--sentences 20] [--runs 3] [--json FILE]

Random weights in the preset's architecture (nobody publishes trained ones; time and memory are the same), one image of
the model's own size, sentences of random tokens. `look` encodes an image, `read` sentences, `point` makes masks;
`once` is one look, one reading and all masks; `each` is the time of one sentence with a look of its own, times their
number. `ratio` is each by once, in the same run. The masks must be equal. `peak_mib` is the most memory of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from earthwords.models.refseg import RefSeg
from earthwords.models.refseg_load import assemble
from earthwords.presets import REFER_PRESETS

T = TypeVar("T")


def timed(call: Callable[[], T], runs: int = 1) -> tuple[T, float]:
    """The result and the seconds of the fastest run."""
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - began)
    return found, min(seconds)


def peak_mib() -> float:
    """Most memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made_up_ids(model: RefSeg, count: int) -> torch.Tensor:
    """Token ids of sentences of twelve tokens, padded as the preset pads."""
    drawn = torch.Generator().manual_seed(1)
    config = model.words.text.config if hasattr(model.words.text, "config") else model.words.model.config.text_config
    length = int(config.max_position_embeddings) if model.options.padding == "fixed" else 12
    ids = torch.full((count, length), int(config.pad_token_id))
    ids[:, :11] = torch.randint(100, 200, (count, 11), generator=drawn)
    ids[:, 11] = int(config.eos_token_id)
    return ids


@torch.inference_mode()
def measure(preset: str, count: int, runs: int) -> dict[str, Any]:
    """The row of a preset."""
    row = REFER_PRESETS[preset]
    model = assemble(replace(row, weights=None), base=row.segmenter is None)
    weights = sum(p.numel() for p in model.parameters())
    before = peak_mib()
    drawn = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, model.side, model.side), generator=drawn).float()
    ids = made_up_ids(model, count)
    seen, look_s = timed(lambda: model.look(image), runs)
    said, read_s = timed(lambda: model.read(ids), runs)
    which = torch.zeros(count, dtype=torch.int64)
    once, point_s = timed(lambda: model.point(seen, said, which).logits, runs)
    alone, one_s = timed(lambda: model.point(model.look(image), model.read(ids[:1])).logits, runs)
    assert torch.allclose(once[:1], alone, atol=1e-3)
    together, each = look_s + read_s + point_s, count * one_s
    return {
        "preset": preset,
        "side": model.side,
        "parameters_M": round(weights / 1e6),
        "look_s": round(look_s, 2),
        f"read_{count}_s": round(read_s, 2),
        f"point_{count}_s": round(point_s, 2),
        "once_s": round(together, 2),
        "each_s": round(each, 2),
        "ratio": round(each / together, 1),
        "weights_mib": round(before),
        "peak_mib": round(peak_mib()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", nargs="+", default=["rsrefseg-b"])
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = [measure(preset, args.sentences, args.runs) for preset in args.preset]
    for row in rows:
        print(json.dumps(row))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
