"""Referring expressions: a trained model against masks that only know the class.

    python benchmarks/bench_referring.py LIST.jsonl ... [--model FOLDER] [--most 200] [--scenes] [--alone]

LISTs are those of `recipes/refer_data.py`, at most `--most` images of each, evenly drawn. Baselines know the class of
what is meant, which the model must read: all pixels that `segment` (preset `tiny`) gives the class, the largest
8-connected part of them, or one of the parts at random. Each answers "nothing" where there is no such pixel. gIoU, cIoU
and Pr@0.5 in percent, of the expressions that mean something (an absent thing has no class of its own to be told);
`ratio` is the model's gIoU by that of all pixels. With `--scenes` the model also answers as `refer` does, by views of
all resolutions, for images that are larger than it sees. `--alone` leaves the baselines and `ratio` out, `--json FILE`
writes the rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.data.annotations.instances import Expression
from earthwords.data.manifests.expressions import ReferringManifest, read_referring
from earthwords.evaluation.benchmark.referring_protocol import Predict, measure, pointing
from earthwords.inference.refer.referrer import THRESHOLD, Referrer
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.models.refseg.load import load_refseg
from earthwords.text.vocabulary import parse_classes

AROUND = ("building", "road", "vegetation", "bare land", "water")
"""What else may be there, where a list has one class only."""
Choose = Callable[[NDArray[np.bool_]], NDArray[np.bool_]]


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest part."""
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    return mask if count < 2 else parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def at_random(rng: np.random.Generator) -> Choose:
    """One part, each as likely."""

    def choose(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
        return mask if count < 2 else parts == 1 + rng.integers(count)

    return choose


def by_class(segmenter: Segmenter, names: Sequence[str], choose: Choose) -> Predict:
    """Answers from the map of classes; a map is made once an image."""
    vocabulary = parse_classes(list(names))
    last: dict[str, Any] = {}

    def predict(image: NDArray[np.uint8], expressions: Sequence[Expression]) -> list[NDArray[np.bool_]]:
        if last.get("image") is not image:
            last.update(image=image, labels=segmenter.predict(image, vocabulary).labels)
        return [choose(last["labels"] == names.index(one.category)) for one in expressions]

    return predict


def by_views(referrer: Referrer) -> Predict:
    """Answers as `earthwords refer` gives them; to what means all of a class with `--all`."""

    def predict(image: NDArray[np.uint8], expressions: Sequence[Expression]) -> list[NDArray[np.bool_]]:
        masks: dict[tuple[str, bool], NDArray[np.bool_]] = {}
        asked = [(one.text, one.kind == "all") for one in expressions]
        for every in (False, True):
            texts = list(dict.fromkeys(text for text, whole in asked if whole == every))
            if texts:
                found = referrer.predict(image, texts, every=every, probabilities=True).probabilities
                assert found is not None
                shares = (np.asarray(share, np.float32) for share in found)
                masks |= {(t, every): np.nan_to_num(p) > THRESHOLD for t, p in zip(texts, shares, strict=True)}
        return [masks[key] for key in asked]

    return predict


def part_of(manifest: ReferringManifest, most: int) -> ReferringManifest:
    """Some images, with the expressions that mean something and tell their class."""
    lines = manifest.lines[:: max(1, -(-len(manifest.lines) // most))]
    told = (replace(row, expressions=tuple(e for e in row.expressions if e.ids and e.category)) for row in lines)
    return ReferringManifest(lines=tuple(row for row in told if row.expressions))


def rows_of(path: Path, models: dict[str, Predict], segmenter: Segmenter | None, most: int) -> list[dict[str, Any]]:
    """The table of a list; without a segmenter of the models alone."""
    manifest = part_of(read_referring(path), most)
    names = list(dict.fromkeys(e.category for row in manifest.lines for e in row.expressions))
    names += [name for name in AROUND if name not in names] if len(names) == 1 else []
    answers: dict[str, Predict] = {}
    if segmenter is not None:
        answers["all of the class (segment)"] = by_class(segmenter, names, lambda mask: mask)
        answers["largest part"] = by_class(segmenter, names, largest)
        answers["a part at random"] = by_class(segmenter, names, at_random(np.random.default_rng(0)))
    rows: list[dict[str, Any]] = []
    for name, predict in (answers | models).items():
        found = measure(predict, manifest).as_json()
        figures = {key: round(found[key], 1) for key in ("gIoU", "cIoU", "Pr@0.5")}
        rows.append({"list": path.stem, "answer": name, "expressions": found["samples"], **figures})
        if segmenter is not None:
            rows[-1]["ratio"] = round(rows[-1]["gIoU"] / max(rows[0]["gIoU"], 1e-9), 2)
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists", type=Path, nargs="+")
    parser.add_argument("--model", default="refseg-tiny")
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--scenes", action="store_true")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    loaded = load_refseg(args.model)
    models = {"model": pointing(loaded.model)}
    if args.scenes:
        models["model by views (refer)"] = by_views(Referrer(loaded.model, loaded.preset))
        models["the surest view always"] = by_views(Referrer(loaded.model, loaded.preset, wide=lambda sentence: False))
    segmenter = None if args.alone else Segmenter.from_preset("tiny")
    rows = [row for path in args.lists for row in rows_of(path, models, segmenter, args.most)]
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
