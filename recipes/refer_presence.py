"""Fits how `refseg-tiny` tells that a thing is there (`models/refseg/presence.py`), on the places it learned from.

    python recipes/refer_presence.py LIST.jsonl ... [--model FOLDER] [--most 40] [--half VALUE] [--write]

LISTs are those of `refer_data.py` for single places of the training, at most `--most` images of each, evenly drawn. A
logistic regression on the greatest and the mean scaled cosine of a view and a sentence, of the sentences that get a
mask; what is there and what is not count alike, and so do the lists. `--half VALUE` moves the bias so that what was
VALUE is 0.5: the value that serves validation places best (`benchmarks/bench_min_score.py`), for on what a model has
learned from it is surer. `--write` puts the numbers into FOLDER's card.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from earthwords.data.manifests.expressions import read_referring
from earthwords.models.refseg.load import CARD, load_refseg
from earthwords.models.refseg.model import RefSeg

PLACES = 4
"""Decimals."""


@torch.inference_mode()
def seen(model: RefSeg, path: Path, most: int) -> Iterator[tuple[float, float, bool]]:
    """Greatest and mean scaled cosine of each sentence that gets a mask, and whether it means something there."""
    lines = read_referring(path).lines
    for line in lines[:: max(1, -(-len(lines) // most))]:
        pixels = torch.from_numpy(np.ascontiguousarray(line.load()[0])).permute(2, 0, 1)
        texts = model.encode_texts(model.ids([one.text for one in line.expressions]))
        which = torch.zeros(len(line.expressions), dtype=torch.int64)
        prediction = model.predict(model.encode_images(model.fit(pixels)[None]), texts, which)
        both = (prediction.logits, model.similarity(prediction, texts)[:, None])
        logits, lit = (model.restore(values, pixels.shape[1:]).flatten(1) for values in both)
        for one, marked, values in zip(line.expressions, (logits > 0).any(dim=1), lit, strict=True):
            if marked:
                yield float(values.max()), float(values.mean()), bool(one.ids)


def fitted(numbers: NDArray[np.float64], present: NDArray[np.bool_], weight: NDArray[np.float64]) -> dict[str, float]:
    """Weights and bias of a logistic regression of `present` on `(sentence, 2)` numbers."""
    sign = np.where(present, 1.0, -1.0)
    inputs = np.column_stack([numbers, np.ones(len(numbers))])

    def loss(chosen: NDArray[np.float64]) -> float:
        return float((weight * np.logaddexp(0, -sign * (inputs @ chosen))).sum())

    found = minimize(loss, np.zeros(3), method="BFGS").x
    return {name: round(float(value), PLACES) for name, value in zip(("peak", "mean", "bias"), found, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, nargs="+")
    parser.add_argument("--model", default="refseg-tiny")
    parser.add_argument("--most", type=int, default=40)
    parser.add_argument("--half", type=float, default=0.5)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    model, rows, weights = load_refseg(args.model).model, [], []
    for path in args.lists:
        found = list(seen(model, path, args.most))
        there = sum(present for *_, present in found)
        print(f"{path.stem}: {there} sentences mean something, {len(found) - there} nothing", flush=True)
        if 0 < there < len(found):
            rows += found
            weights += [1 / there if present else 1 / (len(found) - there) for *_, present in found]
    table = np.array(rows, np.float64)
    told = fitted(table[:, :2], table[:, 2] > 0, np.array(weights) / sum(weights))
    told["bias"] = round(told["bias"] - math.log(args.half / (1 - args.half)), PLACES)
    print(json.dumps(told))
    if args.write:
        card = Path(args.model) / CARD
        card.write_text(json.dumps({**json.loads(card.read_text()), "presence": told}, indent=2) + "\n")


if __name__ == "__main__":
    main()
