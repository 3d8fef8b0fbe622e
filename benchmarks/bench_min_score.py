"""What `refer --min-score` refuses of what is absent, and keeps of what is there.

    python benchmarks/bench_min_score.py LIST.jsonl ... [--model FOLDER] [--most 200] [--json FILE]

LISTs are those of `recipes/refer_data.py`, at most `--most` images of each, evenly drawn. A score is the mean
probability inside a mask, of the pixels above a half. For each least score: `refused`, percent of the sentences that
mean nothing in their image and get no mask; `kept`, percent of the others that get one. `mean` is that of
both; the least score with the best one comes last.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from earthwords.data.manifests.expressions import read_referring
from earthwords.models.refseg.load import load_refseg
from earthwords.models.refseg.model import RefSeg

LEAST = (0.0, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)


@torch.inference_mode()
def scores(model: RefSeg, path: Path, most: int) -> Iterator[tuple[bool, float]]:
    """Whether a sentence means something in its image, and the score of its mask, 0 without one."""
    lines = read_referring(path).lines
    for line in lines[:: max(1, -(-len(lines) // most))]:
        image, _ = line.load()
        features = model.encode_images(model.fit(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))[None])
        texts = model.encode_texts(model.ids([one.text for one in line.expressions]))
        which = torch.zeros(len(line.expressions), dtype=torch.int64)
        found = model.restore(model.predict(features, texts, which).logits, image.shape[:2])[:, 0].sigmoid()
        for one, values in zip(line.expressions, found, strict=True):
            inside = values > 0.5
            yield bool(one.ids), float(values[inside].mean()) if inside.any() else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, nargs="+")
    parser.add_argument("--model", default="refseg-tiny")
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = load_refseg(args.model).model
    rows = []
    for path in args.lists:
        present, score = (np.array(column) for column in zip(*scores(model, path, args.most), strict=True))
        print(f"{path.stem}: {present.sum()} sentences mean something, {(~present).sum()} nothing")
        for least in LEAST:
            refused, kept = 100 * (score[~present] <= least).mean(), 100 * (score[present] > least).mean()
            row = {"list": path.stem, "least": least, "refused": round(refused, 1), "kept": round(kept, 1)}
            rows.append({**row, "mean": round((refused + kept) / 2, 1)})
            print(
                f"  {least:4.2f}  refused {refused:5.1f}  kept {kept:5.1f}  mean {(refused + kept) / 2:5.1f}",
                flush=True,
            )
        best = max((row for row in rows if row["list"] == path.stem), key=lambda row: row["mean"])
        print(f"  best: {best['least']:g}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
