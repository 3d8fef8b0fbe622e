"""The pictures of `docs/uses`: rendered scenes, and trees of a NEON plot (public domain).

    python benchmarks/use_pictures.py DATA [--out docs/images] [--model NAME] [--weights METHOD=FILE ...]

One column for bilinear and one for every upsampler with weights.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from bench_uses import WORDS, Boxes, changed, f1, matched, probability, unit_words
from earthwords.inference.features.peaks import Peaks, find_peaks
from earthwords.synthetic import CLASSES, render_pair, render_scene
from feature_picture import Panel, sheet
from upsampled import Bench, add_options, load, pixels, read

LEAST = 100
"""Pixels of a piece."""
KNOWN = ("building", "road", "water", "trees", "grass")
RAMP = np.array([(20, 22, 40), (60, 40, 110), (160, 50, 110), (240, 110, 60), (255, 225, 120), (255, 255, 235)], float)
"""Of maps, from 0 to 1."""
FOUND, MISSED, TRUE = (120, 255, 120), (255, 90, 90), (255, 235, 90)


def painted(values: NDArray[np.floating], most: float = 1.0) -> NDArray[np.uint8]:
    """`(row, col)` in 0..most as colours."""
    place = np.clip(values / most, 0, 1) * (len(RAMP) - 1)
    return np.stack([np.interp(place, np.arange(len(RAMP)), band) for band in RAMP.T], axis=-1).astype(np.uint8)


def pooling(bench: Bench, names: list[str], path: Path) -> None:
    """Pieces in the colour of the word they are nearest to."""
    words = unit_words(bench, KNOWN)
    labels = [next(i for i, c in enumerate(CLASSES) if c.title == word) for word in KNOWN]
    rows = []
    for theme, seed in (("town", 70_000), ("river", 70_003)):
        scene = render_scene(height=256, width=320, gsd=0.5, theme=theme, seed=seed)
        pieces = np.zeros(scene.labels.shape, int)
        for label in labels:
            numbered, _ = ndimage.label(scene.labels == label)
            pieces += np.where(numbered > 0, numbered + pieces.max(), 0)
        wanted = [i for i in range(1, pieces.max() + 1) if (pieces == i).sum() >= LEAST]
        truth = {i: labels.index(int(scene.labels[pieces == i][0])) for i in wanted}
        line: list[Panel] = [(scene.image, f"{theme}, rendered"), (filled(pieces, truth), f"{len(wanted)} pieces")]
        for _, found in bench.features(pixels(scene.image), names):
            said = {i: int((words @ found[:, torch.from_numpy(pieces == i)].mean(dim=1)).argmax()) for i in wanted}
            right = sum(said[i] == truth[i] for i in wanted)
            line.append((filled(pieces, said), f"{right} right"))
        rows.append(line)
    sheet(["image", "truth", *names], rows, path, panel=width_of(2 + len(names), 300))


def filled(pieces: NDArray[np.integer], words: dict[int, int]) -> NDArray[np.uint8]:
    """Pieces in the colours of their words."""
    out = np.full((*pieces.shape, 3), 245, np.uint8)
    for piece, word in words.items():
        out[pieces == piece] = next(c.colour for c in CLASSES if c.title == KNOWN[word])
    return out


def peaks(bench: Bench, data: Path, names: list[str], path: Path) -> None:
    """Boxes of the truth, then maps with peaks."""
    scene = render_scene(height=224, width=320, gsd=0.5, theme="storage-tanks", seed=70_001)
    tanks = np.array([o.box for o in scene.objects if o.title == "storage tank"], float)
    folder = data / "geotiff_demo/trees"
    plot = read(folder / "OSBS_029.tif")[:280]
    with (folder / "OSBS_029.csv").open() as file:
        trees = np.array([[float(r[k]) for k in ("ymin", "xmin", "ymax", "xmax")] for r in csv.DictReader(file)])
    trees = trees[trees[:, 0] < 270]
    rows = []
    for title, image, boxes, word, distance in (
        ("storage tanks, rendered", scene.image, tanks, "storage tank", 16.0),
        ("trees, NEON, 0.1 m", plot[: len(plot) // 16 * 16], trees, "trees", 15.0),
    ):
        line: list[Panel] = [(boxed(image, boxes), f"{title}: {len(boxes)}")]
        for _, found in bench.features(pixels(image), names):
            scores = probability(bench, found, unit_words(bench, WORDS), WORDS.index(word))
            best = best_peaks(scores, boxes, distance)
            under = f"{len(best)} peaks, {matched(best.points, boxes)} right; brightest {scores.max():.2f}"
            line.append((dotted(painted(scores, scores.max()), best, boxes), under))
        rows.append(line)
    sheet(["truth", *names], rows, path, panel=width_of(1 + len(names), 400))


def best_peaks(scores: NDArray[np.float32], boxes: Boxes, distance: float) -> Peaks:
    """With the least score that has the best F1."""
    tried = [find_peaks(scores, distance=distance, least=least) for least in np.linspace(0.05, 0.95, 19)]
    return max(tried, key=lambda p: f1(np.array([matched(p.points, boxes), len(p), len(boxes)], float)))


def boxed(image: NDArray[np.uint8], boxes: Boxes) -> NDArray[np.uint8]:
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for top, left, bottom, right in boxes:
        pen.rectangle((left, top, right - 1, bottom - 1), outline=TRUE)
    return np.array(picture)


def dotted(image: NDArray[np.uint8], peaks: Peaks, boxes: Boxes) -> NDArray[np.uint8]:
    """Peaks in a box of their own green, others red."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    before = 0
    for i, (row, col) in enumerate(peaks.points):
        now = matched(peaks.points[: i + 1], boxes)
        pen.ellipse((col - 3, row - 3, col + 3, row + 3), fill=FOUND if now > before else MISSED, outline="black")
        before = now
    return np.array(picture)


def change(bench: Bench, names: list[str], path: Path) -> None:
    """Two days, the true change, the maps."""
    words = unit_words(bench, WORDS)
    rows: list[list[Panel]] = []
    for theme, seed in (("town", 70_000), ("forest", 70_000)):
        pair = render_pair(height=224, width=320, gsd=0.5, theme=theme, seed=seed)
        mask = painted(pair.mask.astype(float))
        old = bench.features(pixels(pair.before.image), names)
        both = [(a, b) for (_, a), (_, b) in zip(old, bench.features(pixels(pair.after.image), names), strict=True)]
        days: list[Panel] = [(pair.before.image, f"{theme}, rendered"), (pair.after.image, ""), (mask, "labels differ")]
        rows.append([*days, *((painted(changed(a, b), 0.6), "1 - cosine") for a, b in both)])
        said = [[probability(bench, found, words, 0) for found in days] for days in both]
        blank: Panel = (np.full_like(pair.after.image, 255), "")
        rows.append([blank] * 3 + [(painted(np.abs(b - a)), '"building"') for a, b in said])
    sheet(["before", "after", "truth", *names], rows, path, panel=width_of(3 + len(names), 300))


def width_of(columns: int, most: int) -> int:
    """Of a panel, so that the picture fits a page."""
    return min(most, 1500 // columns)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    bench = load(args)
    names = [name for name in bench.modules if name not in ("nearest", "bicubic")]
    pooling(bench, names, args.out / "uses-pooling.png")
    peaks(bench, args.data, names, args.out / "uses-peaks.png")
    change(bench, names, args.out / "uses-change.png")


if __name__ == "__main__":
    main()
