"""How many changed copies the perceptual hash finds, how fast the search is, and what is alike in real sets.

    python benchmarks/bench_dedup.py DATA [--against OTHER] [--images 300] [--hashes 100000] [--json FILE]

DATA is a folder of images. Recall: a share of copies, changed each in one way, within so many bits of their original.
The search runs on random hashes; `ratio` is against comparing all with all, measured in the same run on fewer hashes
and scaled. Pairs that are alike within DATA, within each OTHER and between them are counted by distance.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from earthwords.data.annotations.boxes import images
from earthwords.data.annotations.boxes._common import How
from earthwords.data.annotations.image_io import read_rgb
from earthwords.data.captions import perceptual_hash

THRESHOLDS = (0, 1, 2, 4, 6, 8, 10)
FEW = 10_000
"""Hashes that are compared all with all."""

Change = Callable[[Image.Image], Image.Image]


def recompressed(quality: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return change


def resized(share: float, how: Image.Resampling) -> Change:
    return lambda image: image.resize((round(image.width * share), round(image.height * share)), how)


def cropped(share: float) -> Change:
    """Without a border of so much of each side."""

    def change(image: Image.Image) -> Image.Image:
        x, y = round(image.width * share), round(image.height * share)
        return image.crop((x, y, image.width - x, image.height - y))

    return change


CHANGES: dict[str, Change] = {
    "JPEG, quality 50": recompressed(50),
    "JPEG, quality 30": recompressed(30),
    "half the size, bicubic": resized(0.5, Image.Resampling.BICUBIC),
    "3/4 of the size, Lanczos": resized(0.75, Image.Resampling.LANCZOS),
    "twice the size, bicubic": resized(2, Image.Resampling.BICUBIC),
    "brightness x 1.2": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "contrast x 1.3": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
    "grey": lambda image: image.convert("L"),
    "mirrored, JPEG 75": lambda i: recompressed(75)(i.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "turned by 90, JPEG 75": lambda i: recompressed(75)(i.transpose(Image.Transpose.ROTATE_90)),
    "border of 1 % cut off": cropped(0.01),
    "border of 2 % cut off": cropped(0.02),
    "border of 5 % cut off": cropped(0.05),
}


def hashed(pictures: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([perceptual_hash.perceptual_hash(picture)[0] for picture in pictures], dtype=np.uint64)


def hashes_of(folder: Path) -> tuple[list[str], np.ndarray]:
    paths = [item.image for item in images.items(folder, How())]
    return paths, np.array([perceptual_hash.perceptual_hash(read_rgb(path))[0] for path in paths], dtype=np.uint64)


def nearest(originals: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Bits from each copy to its original, in the best orientation."""
    return np.min([perceptual_hash.distances(perceptual_hash.oriented(originals, o), copies) for o in range(8)], axis=0)


def recall(paths: Sequence[str], count: int) -> list[dict[str, Any]]:
    chosen = np.random.default_rng(0).choice(len(paths), min(count, len(paths)), replace=False)
    pictures = [Image.fromarray(read_rgb(paths[i])) for i in chosen]
    originals = hashed([np.asarray(picture) for picture in pictures])
    rows = []
    for name, change in CHANGES.items():
        bits = nearest(originals, hashed([np.asarray(change(picture).convert("RGB")) for picture in pictures]))
        rows.append({"change": name, **{f"<={t}": round(100 * float((bits <= t).mean()), 1) for t in THRESHOLDS}})
    return rows


def alike(hashes: np.ndarray, others: np.ndarray | None = None) -> dict[str, int]:
    """Pairs within so many bits."""
    pairs = perceptual_hash.near(hashes, others, threshold=max(THRESHOLDS))
    return {f"<={t}": int((pairs.distance <= t).sum()) for t in THRESHOLDS}


def seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def search(count: int) -> list[dict[str, Any]]:
    hashes = np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)
    few = min(FEW, count)
    plain = seconds(lambda: everything(hashes[:few]))
    rows = []
    for orientations in (1, 8):
        reference = plain * orientations * (count / few) ** 2
        for threshold in (1, 4, 6):
            took = seconds(
                lambda t=threshold, o=orientations: perceptual_hash.near(hashes, threshold=t, orientations=o)
            )  # type: ignore[misc]
            ratio = round(reference / took, 1)
            rows.append({"threshold": threshold, "orientations": orientations, "s": round(took, 2), "ratio": ratio})
    return rows


def everything(hashes: np.ndarray) -> int:
    """The reference: all against all, row by row."""
    return sum(int((perceptual_hash.distances(hashes[i : i + 1], hashes) <= 1).sum()) for i in range(len(hashes)))


def name_of(folder: Path) -> str:
    """The name of a folder, or of what holds one that is called images."""
    return folder.resolve().parent.name if folder.name == "images" else folder.resolve().name


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print(f"\n{title}")
    width = max(len(str(next(iter(row.values())))) for row in rows) + 2
    print("".join(f"{name:>{width if i == 0 else 9}}" for i, name in enumerate(rows[0])))
    for row in rows:
        print("".join(f"{value!s:>{width if i == 0 else 9}}" for i, value in enumerate(row.values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--against", type=Path, nargs="*", default=[])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--hashes", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    began = time.perf_counter()
    paths, hashes = hashes_of(args.data)
    rate = round(len(paths) / (time.perf_counter() - began), 1)
    print(f"{len(paths)} images read and hashed, {rate} images/s")
    found = {"recall": recall(paths, args.images), "search": search(args.hashes)}
    found["pairs"] = [{"pairs within": name_of(args.data), **alike(hashes)}]
    for other in args.against:
        theirs = hashes_of(other)[1]
        found["pairs"] += [
            {"pairs within": name_of(other), **alike(theirs)},
            {"pairs within": f"{name_of(args.data)} and {name_of(other)}", **alike(hashes, theirs)},
        ]
    show(f"Recall of {args.images} changed copies, % within so many bits", found["recall"])
    show(f"Search among {args.hashes:,} hashes", found["search"])
    show("Pairs that are alike", found["pairs"])
    if args.json:
        args.json.write_text(json.dumps({"images_per_s": rate, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
