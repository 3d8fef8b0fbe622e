"""RSRefSeg on a CPU: peak memory, and one image for many sentences against one run a sentence.

    python benchmarks/bench_refer.py [--preset rsrefseg-b] [--sentences 20] [--repeat 2] [--threads N] [--json FILE]

Random weights (the time does not depend on them), one image at the preset's size; rsrefseg-b needs 6 GiB. `once`
encodes the image and then answers all sentences; `anew` encodes it again for each, measured on `--repeat` sentences and
multiplied. `ratio` is anew / once; `difference` the largest of the logits of both ways.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from earthwords.models.refseg.load import assemble, refer_preset
from earthwords.models.refseg.model import RefSeg


def memory(field: str) -> float:
    """MiB of this process: `VmRSS` now, `VmHWM` at the most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def token_ids(model: RefSeg, sentences: int) -> torch.Tensor:
    """Ids of as many sentences of six words, padded as the preset says."""
    if getattr(model.words, "tokenize", None) is None and hasattr(model.words, "pad"):
        rng = torch.Generator().manual_seed(0)
        ids = torch.full((sentences, 64), int(model.words.pad or 0))
        ids[:, :6] = torch.randint(3, 30_000, (sentences, 6), generator=rng)
        return ids
    return model.ids([f"the white building {i} left of it" for i in range(sentences)])


@torch.inference_mode()
def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The row."""
    model = assemble(refer_preset(args.preset), base=False).eval()
    ids, held = token_ids(model, args.sentences), memory("VmRSS")
    image = torch.rand(1, 3, model.side, model.side, generator=torch.Generator().manual_seed(1)) * 255
    model(image, ids[:1])  # warm
    began = time.perf_counter()
    seen = model.encode_images(image)
    look = time.perf_counter() - began
    first = torch.zeros(1, dtype=torch.int64)
    together = [model.predict(seen, model.encode_texts(row[None]), first).logits for row in ids]
    once = time.perf_counter() - began
    began = time.perf_counter()
    apart = [model(image, row[None]).logits for row in ids[: args.repeat]]
    anew = (time.perf_counter() - began) / args.repeat * args.sentences
    difference = max(float((a - b).abs().max()) for a, b in zip(apart, together, strict=False))
    return {
        "preset": args.preset,
        "side": model.side,
        "million_parameters": round(sum(p.numel() for p in model.parameters()) / 1e6, 1),
        "look_s": round(look, 2),
        "sentences": args.sentences,
        "once_s": round(once, 2),
        "anew_s": round(anew, 2),
        "ratio": round(anew / once, 2),
        "difference": difference,
        "weights_mib": round(held),
        "peak_mib": round(memory("VmHWM")),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="rsrefseg-b")
    parser.add_argument("--sentences", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    row = measure(args)
    width = max(map(len, row))
    for name, value in row.items():
        print(f"{name:<{width}}  {value}")
    if args.json:
        args.json.write_text(json.dumps([row], indent=2) + "\n")


if __name__ == "__main__":
    main()
