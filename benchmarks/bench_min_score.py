"""What `refer --min-score` refuses of what is absent, and keeps of what is there.

    python benchmarks/bench_min_score.py LIST.jsonl ... [--model FOLDER] [--most 200] [--json FILE]

LISTs are those of `recipes/refer_data.py`, at most `--most` images of each, evenly drawn, each one view. For each least
score: `refused`, percent of the sentences that mean nothing in their image and get no mask, and, of these, of the ones
whose class is not there at all (`no such class`); `kept`, percent of the others that get one. `mean` is that of refused
and kept; the least score with the best one comes last. Then what else the same output says of a sentence's presence
(`STATISTICS`), over all lists: `area under ROC`, how often a thing that is there has more of it than one that is not,
of each list and their mean, and the one value that refuses and keeps best (the lesser of both is greatest), chosen on
all images and, as `halves`, on each half of them for the other one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from earthwords.data.manifests.expressions import read_referring
from earthwords.models.refseg.load import Loaded, load_refseg

LEAST = (0.0, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9)


RIVALS = (
    "building", "road", "trees", "grass", "bare land", "water", "field", "cars", "airport", "swimming pool",
    "tennis court", "plane", "ship",
)  # fmt: skip
"""Asked beside a sentence, as "the ...", for `margin`."""
SUREST = 1024
"""Pixels."""
STATISTICS = {
    "presence": "what --min-score looks at",
    "score": "mean probability inside the mask",
    "share": "share of the image inside the mask",
    "surest": f"mean probability of the {SUREST:,} surest pixels",
    "activation": "greatest scaled cosine of a place and the sentence",
    "margin": "the same, above the greatest of rival sentences there",
}


@torch.inference_mode()
def answers(loaded: Loaded, path: Path, most: int) -> Iterator[dict[str, float | bool]]:
    """Of each sentence whether it means something in its image (`present`), whether its class is there (`class`), the
    number of the image, and the statistics of its mask."""
    model, lines = loaded.model, read_referring(path).lines
    told = path.read_text().splitlines()
    rivals = model.encode_texts(model.ids([f"the {name}" for name in RIVALS]))
    for number, line in enumerate(lines[:: max(1, -(-len(lines) // most))]):
        classes = set(json.loads(told[line.line - 1])["classes"].values())
        image, _ = line.load()
        features = model.encode_images(model.fit(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))[None])
        texts = model.encode_texts(model.ids([one.text for one in line.expressions]))
        prediction = model.predict(features, texts, torch.zeros(len(line.expressions), dtype=torch.int64))
        found = model.restore(prediction.logits, image.shape[:2])[:, 0].sigmoid()
        places = replace(prediction, visual=features.visual)
        similarity, beside = model.similarity(prediction, texts), model.similarity(places, rivals)
        large = model.restore(similarity[:, None], image.shape[:2])[:, 0]
        for one, values, lit, wide in zip(line.expressions, found, similarity, large, strict=True):
            inside = values > 0.5
            score = float(values[inside].mean()) if inside.any() else 0.0
            yield {
                "present": bool(one.ids),
                "class": one.category in classes,
                "image": number,
                "presence": loaded.presence(wide.flatten()) if score and loaded.presence else score,
                "score": score,
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


Pairs = Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Of each list a statistic of what is there, and of what is not."""


def pairs(lists: Sequence[Sequence[dict[str, float | bool]]], name: str) -> Pairs:
    """A statistic of each list."""
    return [(values(found, name, True), values(found, name, False)) for found in lists]


def at(step: float, lists: Pairs) -> tuple[float, float]:
    """Percent that a least value refuses of what is not there, and keeps of what is: means of the lists."""
    refused = np.mean([(absent <= step).mean() for _, absent in lists])
    return 100 * float(refused), 100 * float(np.mean([(there > step).mean() for there, _ in lists]))


def best(lists: Pairs) -> float:
    """The value with which the lesser of refused and kept is greatest."""
    steps = np.unique(np.concatenate([value for pair in lists for value in pair]))
    return float(max(steps, key=lambda step: min(at(step, lists))))


def separation(name: str, lists: Sequence[Sequence[dict[str, float | bool]]]) -> str:
    """A line: how well a statistic tells what is there from what is not."""
    split = [[[one for one in found if one["image"] % 2 == odd] for found in lists] for odd in (0, 1)]
    whole, *halves = (pairs(part, name) for part in (lists, *split))
    areas = [area_under_roc(*pair) for pair in whole]
    others = np.mean([at(best(one), other) for one, other in (halves, halves[::-1])], axis=0)
    step = best(whole)
    told = "at {:6.3f} refused {:3.0f} kept {:3.0f}; halves {:3.0f} {:3.0f}".format(step, *at(step, whole), *others)
    return f"{name:<11}" + "".join(f"{area:7.2f}" for area in (*areas, np.mean(areas))) + f"   {told}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, nargs="+")
    parser.add_argument("--model", default="refseg-tiny")
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    loaded = load_refseg(args.model)
    rows, lists = [], []
    for path in args.lists:
        found = list(answers(loaded, path, args.most))
        present, score, known = (np.array([one[name] for one in found]) for name in ("present", "presence", "class"))
        lists.append(found)
        nowhere = ~present & ~known
        print(f"{path.stem}: {present.sum()} sentences mean something, {(~present).sum()} nothing")
        for least in LEAST:
            refused, kept = 100 * (score[~present] <= least).mean(), 100 * (score[present] > least).mean()
            bare = f"no such class {(score[nowhere] <= least).sum():3} of {nowhere.sum():3}"
            row = {"list": path.stem, "least": least, "refused": round(refused, 1), "kept": round(kept, 1)}
            rows.append({**row, "mean": round((refused + kept) / 2, 1)})
            print(
                f"  {least:4.2f}  refused {refused:5.1f} ({bare})  kept {kept:5.1f}  mean {(refused + kept) / 2:5.1f}",
                flush=True,
            )
        most = max((row for row in rows if row["list"] == path.stem), key=lambda row: row["mean"])
        print(f"  best: {most['least']:g}")
    print("mean of lists (no such class: of all their sentences)")
    for least in LEAST:
        refused, kept = at(least, pairs(lists, "presence"))
        nowhere = [one["presence"] <= least for found in lists for one in found if not (one["present"] or one["class"])]
        bare = f"no such class {100 * np.mean(nowhere):3.0f} % of {len(nowhere)}"
        print(f"  {least:4.2f}  refused {refused:5.1f} ({bare})  kept {kept:5.1f}")
    print(f"{'area under ROC':<11}" + "".join(f" {path.stem}" for path in args.lists) + " mean")
    for name in STATISTICS:
        print(separation(name, lists))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
