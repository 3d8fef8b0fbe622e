"""FeatUp's implicit upsampling of one image with the embedded model: time, and views that were not fitted.

    python benchmarks/bench_implicit.py [--seed 0] [--views 16] [--json FILE]

A rendered scene of 224 x 224 pixels, the settings `REDUCED`. Held-out views of the fine features are compared with what
the backbone says of the same views: mean squared error and cosine. `bilinear` enlarges the image's own tokens, and like
`fitted` averages views over patches; `fitted, downsampler` takes the downsampler that was learned with the fit. `ratio`
is the error over that of bilinear.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.models.clip.model import DenseMethod
from earthwords.models.weights.table import load_clip
from earthwords.synthetic import render_scene
from earthwords.training.implicit import REDUCED, EncodedViews, fit, views_of


def averaged(fine: Tensor, views: EncodedViews, tokens: tuple[int, int]) -> Tensor:
    """Views of fine features, averaged over patches."""
    seen = torch.cat([jitter.shrunk(REDUCED.shrink)(fine) for jitter in views.jitters])
    return F.adaptive_avg_pool2d(seen, tokens)


def agreement(found: Tensor, views: EncodedViews) -> tuple[float, float]:
    """Error and cosine."""
    error = (found - views.features).square().mean()
    return float(error), float(F.cosine_similarity(found, views.features, dim=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--views", type=int, default=16)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    backbone, method = load_clip("tiny").eval(), DenseMethod(attention="segearth")
    scene = torch.from_numpy(render_scene(height=224, width=224, gsd=0.5, theme="village", seed=3).image.copy())
    mean, std = (torch.tensor(values)[:, None, None] for values in (backbone.mean, backbone.std))
    image = ((scene.permute(2, 0, 1) / 255 - mean) / std)[None]

    @torch.no_grad()
    def features_of(views: Tensor) -> Tensor:
        values: Tensor = backbone.encode_dense(views, method).values
        return values

    held = list(views_of(image, features_of, REDUCED, count=args.views, seed=args.seed + 1000))
    views = EncodedViews(
        jitters=tuple(jitter for part in held for jitter in part.jitters),
        features=torch.cat([part.features for part in held]),
    )
    began = time.perf_counter()
    fitted = fit(features_of, image, settings=REDUCED, seed=args.seed)
    seconds = time.perf_counter() - began
    own = features_of(image)
    tokens = (own.shape[-2], own.shape[-1])
    fine = fitted.features()
    rows: list[dict[str, Any]] = []
    large = F.interpolate(own, size=fine.shape[-2:], mode="bilinear", align_corners=False)
    for name, found in (
        ("bilinear", averaged(large, views, tokens)),
        ("fitted", averaged(fine, views, tokens)),
        ("fitted, downsampler", fitted.of_views(views)),
    ):
        error, cosine = agreement(found, views)
        row = {"features": name, "error": round(error, 3), "cosine": round(cosine, 4)}
        rows.append({**row, "ratio": round(error / (rows[0]["error"] if rows else error), 2)})
    rows[-1]["seconds"] = round(seconds, 1)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
