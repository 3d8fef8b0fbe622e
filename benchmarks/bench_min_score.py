"""What `refer --min-score` refuses of what is absent, and keeps of what is there.

    python benchmarks/bench_min_score.py LIST.jsonl ... [--model FOLDER] [--most 200] [--json FILE]

LISTs are those of `recipes/refer_data.py`, at most `--most` images of each, evenly drawn. A score is the mean
probability inside a mask, of the pixels above a half. For each least score: `refused`, percent of the sentences that
mean nothing in their image and get no mask; `kept`, percent of the others that get one. `mean` is that of
both; the least score with the best one comes last. Then what else the same output says of a sentence's presence
(`STATISTICS`), over all lists: `area under ROC`, how often a thing that is there has more of it than one that is not,
of each list and their mean, and the one value that refuses and keeps best (the lesser of both is greatest).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from earthwords.data.manifests.expressions import read_referring
from earthwords.models.refseg.load import load_refseg
from earthwords.models.refseg.model import RefSeg

LEAST = (0.0, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)


RIVALS = (
    "building", "road", "trees", "grass", "bare land", "water", "field", "cars", "airport", "swimming pool",
    "tennis court", "plane", "ship",
)  # fmt: skip
"""Asked beside a sentence, as "the ...", for `margin`."""
SUREST = 1024
"""Pixels."""
STATISTICS = {
    "score": "mean probability inside the mask",
    "share": "share of the image inside the mask",
    "surest": f"mean probability of the {SUREST:,} surest pixels",
    "activation": "greatest scaled cosine of a place and the sentence",
    "margin": "the same, above the greatest of rival sentences there",
}


@torch.inference_mode()
def answers(model: RefSeg, path: Path, most: int) -> Iterator[dict[str, float | bool]]:
    """Of each sentence whether it means something in its image (`present`), and the statistics of its mask."""
    lines = read_referring(path).lines
    rivals = model.encode_texts(model.ids([f"the {name}" for name in RIVALS]))
    for line in lines[:: max(1, -(-len(lines) // most))]:
        image, _ = line.load()
        features = model.encode_images(model.fit(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))[None])
        texts = model.encode_texts(model.ids([one.text for one in line.expressions]))
        prediction = model.predict(features, texts, torch.zeros(len(line.expressions), dtype=torch.int64))
        found = model.restore(prediction.logits, image.shape[:2])[:, 0].sigmoid()
        beside = model.similarity(model.predict(features, rivals, torch.zeros(len(RIVALS), dtype=torch.int64)), rivals)
        for one, values, lit in zip(line.expressions, found, model.similarity(prediction, texts), strict=True):
            inside = values > 0.5
            yield {
                "present": bool(one.ids),
                "score": float(values[inside].mean()) if inside.any() else 0.0,
                "share": float(inside.float().mean()),
                "surest": float(values.flatten().topk(min(SUREST, values.numel())).values.mean()),
                "activation": float(lit.max()),
                "margin": float((lit - beside.amax(dim=0)).max()),
            }


def values(found: Sequence[dict[str, float | bool]], name: str, present: bool) -> NDArray[np.float64]:
    """A statistic of the sentences that mean something, or of the others."""
    return np.array([one[name] for one in found if one["present"] is present], np.float64)


def area_under_roc(there: NDArray[np.float64], absent: NDArray[np.float64]) -> float:
    """How often a value of the first is greater than one of the second; a tie is half of it."""
    return float((there[:, None] > absent).mean() + (there[:, None] == absent).mean() / 2)


def separation(name: str, lists: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> str:
    """A line: how well a statistic tells what is there (first of each pair) from what is not."""
    areas = [area_under_roc(*pair) for pair in lists]
    steps = np.unique(np.concatenate([value for pair in lists for value in pair]))
    kept = np.mean([[(there > step).mean() for step in steps] for there, _ in lists], axis=0)
    refused = np.mean([[(absent <= step).mean() for step in steps] for _, absent in lists], axis=0)
    best = int(np.argmax(np.minimum(kept, refused)))
    told = f"at {steps[best]:6.3f} refused {100 * refused[best]:3.0f} kept {100 * kept[best]:3.0f}"
    return f"{name:<11}" + "".join(f"{area:7.2f}" for area in (*areas, np.mean(areas))) + f"   {told}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, nargs="+")
    parser.add_argument("--model", default="refseg-tiny")
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = load_refseg(args.model).model
    rows, lists = [], []
    for path in args.lists:
        found = list(answers(model, path, args.most))
        present, score = (np.array([one[name] for one in found]) for name in ("present", "score"))
        lists.append(found)
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
    print(f"{'area under ROC':<11}" + "".join(f" {path.stem}" for path in args.lists) + " mean")
    for name in STATISTICS:
        print(separation(name, [(values(found, name, True), values(found, name, False)) for found in lists]))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
