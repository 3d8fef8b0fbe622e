"""Builds the pyramid trunk on a trained `tiny`: tokens of 8 pixels instead of 16, which say the same at first.

    python recipes/tiny_pyramid.py MODEL OUT

Convolutions, blocks and text tower are MODEL's; positions are interpolated to twice as many a side; the lateral
connection begins with nothing. `earthwords train clip LIST DST --model OUT` goes on from there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from earthwords.models.clip.conv_trunk import build_trunk
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.weights.table import load_clip
from earthwords.training.initialise import store


def finer(backbone: ClipBackbone) -> ClipBackbone:
    """The same with a pyramid trunk, in place."""
    vision = backbone.model.vision_model
    config, embeddings = vision.config, vision.embeddings
    config.trunk = {**config.trunk, "kind": "pyramid"}
    config.patch_size //= 2
    torch.manual_seed(0)
    trunk = build_trunk(**config.trunk, dim=config.hidden_size)
    trunk.levels.load_state_dict(embeddings.patch_embedding.state_dict())
    embeddings.patch_embedding = trunk
    embeddings.position_embedding = _positions(embeddings.position_embedding.weight.detach())
    return backbone


def _positions(table: torch.Tensor) -> nn.Embedding:
    """`(1 + side ** 2, dim)` to `(1 + (2 side) ** 2, dim)`."""
    side = round((len(table) - 1) ** 0.5)
    square = table[1:].T.unflatten(1, (side, side))[None]
    larger = F.interpolate(square, scale_factor=2.0, mode="bilinear", align_corners=False)[0].flatten(1).T
    return nn.Embedding.from_pretrained(torch.cat([table[:1], larger]), freeze=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    store(finer(load_clip(args.model)), args.out)


if __name__ == "__main__":
    main()
