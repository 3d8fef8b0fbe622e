"""Fine features beyond segmentation: pooling, peaks, change; every upsampler, measured on real data.

    python benchmarks/bench_uses.py DATA [--only pooling|peaks|change] [--json FILE] [--quick]
        [--model NAME] [--weights METHOD=FILE ...]

pooling  `scenes`: UC Merced test (210 images, 21 classes; every second image), class names as words, percent right: the
         class token, means of dense features, and means weighted by their likeness to each word. `regions`: pieces of
         one class in crops of Dubai tiles 7 and 8, 100 pixels or more: the mean feature of the piece against the five
         class names, percent right; `small`: pieces under 4 tokens; `classes`: mean over classes; the reference
         is the class token of the piece's box.
peaks    F1 of peaks of a word's probability, a thing found when a peak lies in its box, second peaks false. `rendered`:
         scenes with known things, the least probability chosen on other scenes; `error`: |found - true| over true.
         `NEON`: 61 trees of OSBS_029, boxes drawn by hand, at the best least probability: optimistic, for all alike.
         The reference is a map that knows nothing, smooth noise with peaks as far apart.
change   AUC and best F1 (one threshold for all pairs, chosen on them) of pixels: 1 - cosine of the two images'
         features; `centred`: after the mean of each image is taken away; `word`: difference of the probability of
         "building". The reference is the distance of colours, each band scaled by its image.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.metrics import precision_recall_curve, roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from earthwords.inference.features.peaks import find_peaks
from earthwords.models.clip.words import encode_words
from earthwords.presets import TINY
from earthwords.synthetic import render_pair, render_scene
from earthwords.text.templates import TEMPLATES
from heldout import DUBAI, UCM
from upsampled import SIDE, Bench, add_options, dubai, load, pixels, read

Row = dict[str, float]
Table = dict[str, Row]
LEAST = 100
"""Pixels of a piece."""
FEW_TOKENS = 4


def unit_words(bench: Bench, words: Sequence[str]) -> Tensor:
    """`(word, dim)`."""
    return encode_words(bench.backbone, words, TEMPLATES["aerial"])


# pooling


def scenes(bench: Bench, data: Path, names: Sequence[str], step: int) -> Table:
    """Pictures as a whole."""
    listed = json.loads((data / "ucm_captions/ucm_captions.json").read_text())["images"]
    records = [r for r in listed if r["split"] == "test"][::step]
    classes = sorted({r["cls"] for r in records})
    words = unit_words(bench, [UCM.get(c, c) for c in classes])
    right: dict[str, list[bool]] = defaultdict(list)
    for record in records:
        with Image.open(data / "ucmerced21/images" / record["filename"]) as picture:
            image = pixels(np.array(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
        label = classes.index(record["cls"])
        whole = bench.backbone.encode_image(bench.teacher.normalise(image[None]))[0]
        right["class token, mean"].append(int((words @ whole).argmax()) == label)
        for name, found in bench.features(image, names):
            right[f"{name}, mean"].append(int((words @ found.mean(dim=(1, 2))).argmax()) == label)
            right[f"{name}, weighted"].append(int(weighted(found, words).argmax()) == label)
    rows: Table = defaultdict(dict)
    for key, values in right.items():
        name, how = key.split(", ")
        rows[name][f"scenes {how}"] = 100 * float(np.mean(values))
    return rows


def weighted(found: Tensor, words: Tensor) -> Tensor:
    """`(word,)`: mean cosine of pixels `(dim, H, W)`, each weighted by exp(scale * cosine)."""
    cosines = words @ F.normalize(found.flatten(1), dim=0)
    return ((TINY.logit_scale * cosines).softmax(dim=1) * cosines).sum(dim=1)


def regions(bench: Bench, data: Path, names: Sequence[str], step: int) -> Table:
    """Pieces of one class."""
    words = unit_words(bench, DUBAI)
    sizes, labels, said = [], [], defaultdict(list)
    for crop in list(dubai(data, "78", side=SIDE, most=2))[::step]:
        image = pixels(crop.image)
        pieces = list(pieces_of(crop.truth))
        sizes += [int(inside.sum()) for _, inside in pieces]
        labels += [label for label, _ in pieces]
        for _, inside in pieces:
            box = boxed(image, inside)
            whole = bench.backbone.encode_image(bench.teacher.normalise(box[None]))[0]
            said["class token"].append(int((words @ whole).argmax()))
        for name, found in bench.features(image, names):
            said[name] += [
                int((words @ found[:, torch.from_numpy(inside)].mean(dim=1)).argmax()) for _, inside in pieces
            ]
    truth, small = np.array(labels), np.array(sizes) < FEW_TOKENS * bench.teacher.patch**2
    print(f"{len(truth)} pieces, {small.sum()} of them small")
    rows = {}
    for name, values in said.items():
        right = np.array(values) == truth
        rows[name] = {
            "regions": 100 * right.mean(),
            "small": 100 * right[small].mean(),
            "classes": 100 * np.mean([right[truth == c].mean() for c in np.unique(truth)]),
        }
    return rows


def pieces_of(truth: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Class and mask of the connected pieces of a label map."""
    for label in range(len(DUBAI)):
        numbered, count = ndimage.label(truth == label)
        for i in range(1, count + 1):
            inside = numbered == i
            if inside.sum() >= LEAST:
                yield label, inside


def boxed(image: Tensor, inside: NDArray[np.bool_], *, side: int = 128) -> Tensor:
    """The piece's box, resized to a square."""
    ((rows, cols),) = ndimage.find_objects(inside.astype(int))
    return F.interpolate(image[None, :, rows, cols], size=(side, side), mode="bicubic", align_corners=False)[0].clamp(
        0, 1
    )


# peaks

WORDS = (
    "building", "road", "water", "trees", "grass", "bare land",
    "storage tank", "ship", "plane", "swimming pool", "car",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Instances:
    """What is counted where."""

    word: str
    theme: str
    metres: float
    """No two things are nearer than this."""


COUNTED = (
    Instances(word="building", theme="village", metres=6),
    Instances(word="storage tank", theme="storage-tanks", metres=8),
    Instances(word="plane", theme="airport", metres=10),
    Instances(word="swimming pool", theme="arid-suburb", metres=4),
)
GSD = 0.5
TUNING, TESTING = 60_000, 70_000
"""Seeds; the embedded model was trained on scenes of other ones."""
LEVELS = np.linspace(0.05, 0.95, 19)
Boxes = NDArray[np.float64]


def probability(bench: Bench, found: Tensor, words: Tensor, index: int) -> NDArray[np.float32]:
    """`(H, W)`: of a word among words."""
    cosines = torch.einsum("dhw,qd->qhw", F.normalize(found, dim=0), words)
    return (TINY.logit_scale * cosines).softmax(dim=0)[index].numpy()


def matched(points: NDArray[np.int64], boxes: Boxes) -> int:
    """How many boxes `(box, 4)` of row, col, row, col get a point of their own, the highest points first."""
    free, hits = np.ones(len(boxes), bool), 0
    for row, col in points + 0.5:
        inside = free & (boxes[:, 0] <= row) & (row <= boxes[:, 2]) & (boxes[:, 1] <= col) & (col <= boxes[:, 3])
        if inside.any():
            free[int(inside.argmax())] = False
            hits += 1
    return hits


def counts(maps: Sequence[tuple[NDArray[np.float32], Boxes]], distance: float) -> NDArray[np.float64]:
    """`(level, 3)`: hits, points and things of maps, for every least score."""
    total = np.zeros((len(LEVELS), 3))
    for scores, boxes in maps:
        peaks = find_peaks(scores, distance=distance, least=float(LEVELS[0]))
        for i, level in enumerate(LEVELS):
            points = peaks.points[peaks.scores >= level]
            total[i] += matched(points, boxes), len(points), len(boxes)
    return total


def f1(total: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2 * total[..., 0] / np.maximum(total[..., 1] + total[..., 2], 1)


def chance(shape: tuple[int, ...], distance: float, seed: int) -> NDArray[np.float32]:
    """A map that knows nothing: smooth noise, spread evenly over 0..1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), distance / 2)
    return (noise.ravel().argsort().argsort() / noise.size).reshape(shape).astype(np.float32)


def rendered_things(bench: Bench, names: Sequence[str], each: int) -> Table:
    """Counting in scenes with known things."""
    words = unit_words(bench, WORDS)
    rows: Table = defaultdict(dict)
    for kind in COUNTED:
        both = []
        for first in (TUNING, TESTING):
            maps = defaultdict(list)
            for seed in range(first, first + each):
                scene = render_scene(height=SIDE, width=2 * SIDE, gsd=GSD, theme=kind.theme, seed=seed)
                boxes = np.array([o.box for o in scene.objects if o.title == kind.word], float).reshape(-1, 4)
                maps["chance"].append((chance(scene.labels.shape, kind.metres / GSD, seed), boxes))
                for name, found in bench.features(pixels(scene.image), names):
                    maps[name].append((probability(bench, found, words, WORDS.index(kind.word)), boxes))
            both.append({name: counts(values, kind.metres / GSD) for name, values in maps.items()})
        tuned, tested = both
        print(f"{kind.word}: {tested[names[0]][0, 2]:.0f} in {each} scenes")
        for name in tuned:
            level = int(f1(tuned[name]).argmax())
            _, found_count, true_count = tested[name][level]
            rows[name][kind.word] = 100 * float(f1(tested[name][level]))
            rows[name][f"{kind.word} error"] = abs(found_count - true_count) / max(true_count, 1)
    return rows


def neon(bench: Bench, data: Path, names: Sequence[str]) -> Table:
    """Trees with boxes by hand."""
    folder = data / "geotiff_demo/trees"
    with (folder / "OSBS_029.csv").open() as file:
        boxes = np.array([[float(r[k]) for k in ("ymin", "xmin", "ymax", "xmax")] for r in csv.DictReader(file)])
    words, image = unit_words(bench, WORDS), pixels(read(folder / "OSBS_029.tif"))
    rows: Table = defaultdict(dict)
    for gsd, side in ((0.1, 400), (0.2, 208)):
        scale = side / 400
        seen = F.interpolate(image[None], size=(side, side), mode="area" if scale < 1 else "nearest")[0]
        maps = {"chance": chance((side, side), 1.5 / gsd, 0)}
        for name, found in bench.features(seen, names):
            maps[name] = probability(bench, found, words, WORDS.index("trees"))
        for name, scores in maps.items():
            total = counts([(scores, boxes * scale)], distance=1.5 / gsd)
            rows[name][f"NEON {gsd} m"] = 100 * float(f1(total).max())
    return rows


# change


def pairs(data: Path, folder: str) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]]:
    """Before, after and where they differ."""
    for path in sorted((data / "change_samples" / folder / "A").glob("*.png")):
        truth = read(path.parents[1] / "label" / path.name, mode="L") > 0
        yield read(path), read(path.parents[1] / "B" / path.name), truth


def rendered_pairs(count: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]]:
    """The same of scenes with known changes."""
    themes = ("village", "storage-tanks", "harbour", "forest")
    for i in range(count):
        pair = render_pair(height=256, width=256, gsd=GSD, theme=themes[i % len(themes)], seed=TESTING + i)
        yield pair.before.image, pair.after.image, pair.mask > 0


def changed(first: Tensor, second: Tensor) -> NDArray[np.float32]:
    """`(H, W)`: 1 - cosine of features `(dim, H, W)`."""
    return (1 - F.cosine_similarity(first, second, dim=0)).numpy()


def centred(features: Tensor) -> Tensor:
    return features - features.mean(dim=(1, 2), keepdim=True)


def colour_distance(first: Tensor, second: Tensor) -> NDArray[np.float32]:
    """`(H, W)`: of images, each band with mean 0 and deviation 1."""
    a, b = ((x - x.mean(dim=(1, 2), keepdim=True)) / x.std(dim=(1, 2), keepdim=True) for x in (first, second))
    return (a - b).norm(dim=0).numpy()


def change(bench: Bench, triplets: Sequence, names: Sequence[str], title: str) -> Table:
    """AUC and F1 of a set of pairs."""
    words = unit_words(bench, WORDS)
    maps: dict[tuple[str, str], list[NDArray[np.float32]]] = defaultdict(list)
    truth = np.concatenate([mask.ravel() for _, _, mask in triplets])
    for before, after, _ in triplets:
        first, second = pixels(before), pixels(after)
        maps["colours", ""].append(colour_distance(first, second))
        old = bench.features(first, names)
        for (name, a), (_, b) in zip(old, bench.features(second, names), strict=True):
            maps[name, ""].append(changed(a, b))
            maps[name, " centred"].append(changed(centred(a), centred(b)))
            maps[name, " word"].append(np.abs(probability(bench, a, words, 0) - probability(bench, b, words, 0)))
    rows: Table = defaultdict(dict)
    for (name, how), values in maps.items():
        scores = np.concatenate([value.ravel() for value in values])
        rows[name][f"{title}{how} AUC"] = 100 * float(roc_auc_score(truth, scores))
        precision, recall, _ = precision_recall_curve(truth, scores)
        rows[name][f"{title}{how} F1"] = 100 * float((2 * precision * recall / (precision + recall + 1e-9)).max())
    print(f"{title}: {len(triplets)} pairs, {100 * truth.mean():.1f} % of the pixels changed")
    return rows


def show(title: str, parts: Sequence[Table]) -> Table:
    """Print and merge tables with the same rows."""
    rows: Table = defaultdict(dict)
    for part in parts:
        for name, row in part.items():
            rows[name] |= row
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    print(f"\n{title}")
    for key in columns:
        shape = ".2f" if "error" in key else ".1f"
        cells = "".join(f"{name + ' ' + format(row[key], shape):<24}" for name, row in rows.items() if key in row)
        print(f"  {key:<22}{cells}".rstrip(), flush=True)
    return rows


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--only", choices=("pooling", "peaks", "change"))
    args = parser.parse_args()
    bench, began, quick = load(args), time.perf_counter(), args.quick
    names = [name for name in bench.modules if name != "bicubic"]
    smooth = [name for name in names if name != "nearest"]  # whose tokens are plateaus, full of peaks
    parts: dict[str, Callable[[], list[Table]]] = {
        "pooling": lambda: [
            scenes(bench, args.data, names, 20 if quick else 2),
            regions(bench, args.data, names, 6 if quick else 1),
        ],
        "peaks": lambda: [rendered_things(bench, smooth, 1 if quick else 6), neon(bench, args.data, smooth)],
        "change": lambda: (
            [
                change(bench, list(pairs(args.data, folder))[:: 5 if quick else 1], names, title)
                for folder, title in (("levir", "LEVIR-CD"), ("dsifn", "DSIFN"))
            ]
            + [change(bench, list(rendered_pairs(2 if quick else 8)), names, "rendered")]
        ),
    }
    tables = {title: show(title, run()) for title, run in parts.items() if args.only in (None, title)}
    print(f"{time.perf_counter() - began:.0f} s in all")
    if args.json:
        args.json.write_text(json.dumps(tables, indent=2) + "\n")


if __name__ == "__main__":
    main()
