"""What a window costs with every preset, on one core.

    python benchmarks/bench_presets.py [--preset NAME ...] [--runs 3] [--json FILE]

Weights are random, of the size of the published ones (the time does not depend on them); 5 words. `ratio` is the time
over that of the preset `clip`, which has no upsampler and CLIP's own attention.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from earthwords import plugins
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.sliding import Encoder
from earthwords.models.architectures import clip_config
from earthwords.models.clip.config import ClipConfig, TextConfig, VisionConfig
from earthwords.models.clip.model import ClipBackbone, DenseMethod, build_clip
from earthwords.presets import SEGMENT_PRESETS, SegmentPreset

LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}


def backbone(weights: str) -> ClipBackbone:
    """Random weights of the size that a name tells: ...b-32, ...b-16, ...l-14."""
    torch.manual_seed(0)
    if weights == "tiny":
        return ClipBackbone(build_clip(clip_config("tiny", vocab_size=4096)).eval())
    size, patch = weights.rsplit("-", 2)[-2:]
    vision = VisionConfig(patch_size=int(patch), **(LARGE if size == "l" else {}))
    text = TextConfig(num_hidden_layers=1)
    config = ClipConfig(vision_config=vision, text_config=text, projection_dim=768 if size == "l" else 512)
    return ClipBackbone(build_clip(config).eval())


def segmenter(row: SegmentPreset) -> Segmenter:
    """A preset with random weights."""
    made = backbone(row.weights)
    upsampler: Any = None
    if row.upsampler is not None:
        module = plugins.load("earthwords.models.upsamplers", row.upsampler, kind="upsampler")
        builders = {"simfeatup": "JbuOne", "jbu": "JbuStack", "bilinear": "Bilinear"}
        cls = getattr(module, builders[row.upsampler])
        upsampler = (cls() if row.upsampler == "bilinear" else cls(made.dim)).eval()
    method = DenseMethod(attention=row.attention, keep_residual=row.keep_residual, last_n=row.last_n)
    encoder = Encoder(backbone=made, method=method, upsampler=upsampler, cls_weight=row.cls_weight, energy=row.energy)
    return Segmenter(row, encoder, batch=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", nargs="+", choices=SEGMENT_PRESETS, default=list(SEGMENT_PRESETS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    names = ["clip", *(name for name in args.preset if name != "clip")]
    for name in names:
        preset = SEGMENT_PRESETS[name]
        made = segmenter(preset)
        seconds = min(made.window_seconds(5) for _ in range(args.runs))
        row = {"preset": name, "weights": preset.weights, "window": preset.tile_size, "ms": seconds * 1000}
        rows.append({**row, "ratio": seconds * 1000 / (rows[0]["ms"] if rows else seconds * 1000)})
        print(
            f"{name:22} {preset.weights:26} {preset.tile_size} px {row['ms']:8.1f} ms  {rows[-1]['ratio']:.2f}",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
