"""`change -t building` with tiny: rendered pairs whose changes are known, and pairs of LEVIR-CD and DSIFN.

    python benchmarks/bench_change.py [DATA] [--only rendered|real] [--method NAME ...] [--case NAME ...] [--pairs N]
        [--theme NAME ...] [--scales N] [--theta DEGREES ...] [--network FOLDER] [--segmenter WEIGHTS]
        [--comparer NAME] [--validation] [--scores] [--keep FOLDER] [--json FILE]

rendered  Pairs of 256 x 320 pixels of 0.5 m, three buildings built and three removed, another season, sun and sensor;
          precision, recall and F1 of the pixels that became or ceased to be building, all pairs of a case together.
          plain: on the same pixels. shifted: AFTER by 3.5 and -2.5 pixels, not taken out; aligned: with --align.
          sensor: AFTER of 0.7 m, 12 bits, blue before red. light: nothing changed but the light; darker: at 45 % of its
          brightness, too: share of the area that is called changed.
real      The same against the labels of DATA/{levir,dsifn}/{A,B,label} (of buildings to LEVIR-CD, of anything to
          DSIFN), at the default threshold.

What a method takes for granted was chosen with --validation: every second pair of DATA and seeds from 61,000. Without
it the other half and seeds from 71,000 are measured, which are for reporting.

--method   dense, learned (with --network), anychange (with --segmenter, weights of a SAM), dynamicearth-mci and
           dynamicearth-imc; those without weights of their own take --segmenter regions and --comparer clip.
--theta    angles of the methods by masks: one run with the largest gives them all, by its scores.
--scores   how often what is called changed has changed, by its score: bins of equal width, and the mean distance of
           score and share, weighted by pixels (expected calibration error).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import earthwords
from earthwords.evaluation.metrics.calibration import calibration_error, reliability
from earthwords.evaluation.metrics.change import ChangeCounts
from earthwords.geo.geotiff import RasterWriter
from earthwords.inference.change.dates.block import ChangeBlockJob
from earthwords.inference.change.mask_options import BY_MASKS
from earthwords.synthetic import render_pair
from earthwords.synthetic.scene import LABEL
from earthwords.types import Grid

WORDS = ["building,roof,house"]
THEMES = ("town", "village", "arid-suburb")
SHAPE = (256, 320)
SHIFT = (3.5, -2.5)
CASES = ("plain", "shifted", "aligned", "sensor", "light", "darker")
Image8 = NDArray[np.uint8]


@dataclass(kw_only=True)
class Counts:
    """Pixels of all pairs of a case."""

    pixels: ChangeCounts = field(default_factory=ChangeCounts)
    shifts: list[float] = field(default_factory=list)
    """Pixels by which the estimated shift is off."""
    seconds: float = 0.0
    """Of comparing, all pairs."""
    scores: list[NDArray[np.float32]] = field(default_factory=list)
    right: list[NDArray[np.bool_]] = field(default_factory=list)
    """`(pixel,)` of what was called changed: how sure, and whether it had."""

    def add(self, found: NDArray[np.bool_], truth: NDArray[np.bool_], score: NDArray[np.float32], s: float) -> None:
        self.pixels.add(found, truth)
        self.scores.append(score[found])
        self.right.append(truth[found])
        self.seconds += s

    def row(self) -> dict[str, float]:
        said, counts = self.pixels.figures(), self.pixels
        return {
            "precision": 100 * said["precision_change"],
            "recall": 100 * said["recall_change"],
            "F1": 100 * said["f1_score_change"],
            "IoU": 100 * said["iou_change"],
            "kappa": 100 * said["kappa"],
            "false": 100 * counts.fp / max(1, counts.tp + counts.fp + counts.fn + counts.tn),
            "shift off": max(self.shifts, default=0.0),
            "s a pair": self.seconds / max(1, len(self.scores)),
        }

    def told(self) -> str:
        """How often it was right, by its score."""
        score, right = np.concatenate(self.scores).astype(np.float64), np.concatenate(self.right)
        if not len(score):
            return "nothing was called changed"
        weight = np.ones(len(score))
        bins = reliability(score, right, weight, bins=20)
        parts = [f"{100 * mean:.0f}: {100 * hits:.0f} ({100 * share:.0f})" for mean, hits, share in bins]
        error = calibration_error(score, right, weight, bins=20)
        return f"score: right (share of the pixels) {'; '.join(parts)}; error {100 * error:.1f}"


def write(path: Path, image: NDArray[Any], grid: Grid) -> None:
    """`(row, col, band)`."""
    dtype = str(image.dtype)
    with RasterWriter(path, grid=grid, count=image.shape[2], dtype=dtype, overwrite=True) as writer:
        writer.write(0, np.moveaxis(image, -1, 0))


def shifted(image: Image8, shift: tuple[float, float]) -> Image8:
    """What it shows moved down and to the right by so many pixels."""
    moved = ndimage.shift(image.astype(float), (*shift, 0), order=3, mode="nearest")
    return np.rint(np.clip(moved, 0, 255)).astype(np.uint8)


def other_sensor(path: Path, image: Image8, grid: Grid) -> None:
    """Pixels of 0.7 m, blurred, 12 bits, blue first."""
    zoom = 0.5 / 0.7
    blurred = ndimage.gaussian_filter(image.astype(float), (0.8, 0.8, 0))
    coarse = ndimage.zoom(blurred, (zoom, zoom, 1), order=1, grid_mode=True, mode="nearest")
    height, width = coarse.shape[:2]
    write(path, np.rint(coarse[..., ::-1] * 11 + 200).astype(np.uint16), grid.resized(height, width))


def made(folder: Path, case: str, seed: int, theme: str) -> tuple[Path, Path, NDArray[np.bool_]]:
    """Both dates of a case, and where a building came or went."""
    still = case in ("light", "darker")
    kinds = () if still else ("buildings built", "buildings removed")
    pair = render_pair(height=SHAPE[0], width=SHAPE[1], gsd=0.5, theme=theme, seed=seed, changes=kinds)
    before, after = folder / "before.tif", folder / "after.tif"
    write(before, pair.before.image, pair.before.grid)
    image = pair.after.image
    if case in ("shifted", "aligned"):
        image = shifted(image, SHIFT)
    if case == "darker":
        image = np.rint(image * 0.45).astype(np.uint8)
    if case == "sensor":
        other_sensor(after, image, pair.after.grid)
    else:
        write(after, image, pair.after.grid)
    building = LABEL["building"]
    return before, after, (pair.before.labels == building) != (pair.after.labels == building)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a run says of a pair."""

    changed: NDArray[np.bool_]
    score: NDArray[np.float32]
    report: earthwords.ChangeReport
    place: Affine
    """Of the map in BEFORE."""

    def at(self, theta: float | None) -> NDArray[np.bool_]:
        """What would have been called changed at another, smaller angle."""
        if theta is None:
            return self.changed
        return self.changed & (self.score > (np.cos(np.radians(theta)) + 1) / 2)


@contextmanager
def listening() -> Iterator[list[NDArray[np.float32]]]:
    """Scores of the blocks that are computed meanwhile, which no file holds pixel by pixel."""
    scores: list[NDArray[np.float32]] = []
    run = ChangeBlockJob.run

    def heard(*args: Any) -> Any:
        found = run(*args)
        scores.append(found.score)
        return found

    ChangeBlockJob.run = heard  # type: ignore[method-assign]
    try:
        yield scores
    finally:
        ChangeBlockJob.run = run  # type: ignore[method-assign]


def compared(options: argparse.Namespace, method: str, dates: tuple[Path, Path], out: Path, **how: Any) -> Found:
    """A pair in one block."""
    if method in BY_MASKS:
        own = {"segmenter": options.segmenter or "regions"}
        own |= {} if method == "anychange" else {"comparer": options.comparer}
        how |= own | {"theta": max(options.theta) if options.theta else None}
    how |= {"network": options.network} if method == "learned" else {"scales": options.scales}
    with listening() as scores:
        report = earthwords.change(
            *dates, out, text=WORDS, method=method, offline=True, quiet=True, overwrite=True, **how
        )
    with rasterio.open(out / "change.tif") as file, rasterio.open(dates[0]) as first:
        labels, place = file.read(1), ~first.transform @ file.transform
    return Found(changed=(labels > 0) & (labels != 255), score=scores[0], report=report, place=place)


Tables = dict[str, Counts]


def rendered(options: argparse.Namespace, method: str, folder: Path, counts: Tables) -> None:
    """Cases, each with the name of the method."""
    for case in options.case:
        for i in range(options.pairs):
            theme = options.theme[i % len(options.theme)]
            before, after, truth = made(folder, case, (61_000 if options.validation else 71_000) + i, theme)
            out = Path(options.keep) / f"{method}-{case}-{i}" if options.keep else folder / "out"
            how = {"align": case == "aligned", "bands_after": "3,2,1" if case == "sensor" else None}
            found = compared(options, method, (before, after), out, **how)
            row, col = round(found.place.f), round(found.place.c)
            height, width = found.changed.shape
            shift = SHIFT if case in ("shifted", "aligned") else (0.0, 0.0)
            off = float(np.hypot(found.report.shift["rows"] - shift[0], found.report.shift["cols"] - shift[1]))
            counted(options, method, case, found, truth[row : row + height, col : col + width], counts, off)


def counted(
    options: argparse.Namespace, method: str, case: str, found: Found, truth: NDArray[np.bool_], counts: Tables,
    off: float = 0.0,
) -> None:  # fmt: skip
    """Add a pair to its row, or to those of all angles."""
    for theta in options.theta if method in BY_MASKS and options.theta else [None]:
        one = counts[f"{method}{'' if theta is None else f' {theta:g}'}, {case}"]
        one.add(found.at(theta), truth, found.score, found.report.seconds["comparing"])
        one.shifts.append(off)
    print(method, case, {name: round(value, 1) for name, value in one.row().items()}, flush=True)


def triplets(folder: Path, half: int) -> Iterator[tuple[Path, Path, Path]]:
    """Every second pair of a folder, with its labels."""
    for first in sorted((folder / "A").iterdir())[half::2]:
        yield first, *(next((folder / kind).glob(f"{first.stem}.*")) for kind in ("B", "label"))


def real(options: argparse.Namespace, method: str, folder: Path, counts: Tables) -> None:
    """Sets, each with the name of the method."""
    for name in ("levir", "dsifn"):
        for i, (before, after, label) in enumerate(triplets(Path(options.data) / name, int(not options.validation))):
            out = Path(options.keep) / f"{method}-{name}-{i}" if options.keep else folder / "out"
            found = compared(options, method, (before, after), out)
            with Image.open(label) as picture:
                truth = np.array(picture.convert("L")) > 0
            counted(options, method, name, found, truth, counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--only", choices=("rendered", "real"))
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--theme", nargs="+", default=list(THEMES))
    parser.add_argument("--method", nargs="+", default=["dense"])
    parser.add_argument("--scales", type=int, default=2)
    parser.add_argument("--theta", type=float, nargs="+", default=[])
    parser.add_argument("--network")
    parser.add_argument("--segmenter")
    parser.add_argument("--comparer", default="clip")
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--scores", action="store_true")
    parser.add_argument("--keep")
    parser.add_argument("--json")
    options = parser.parse_args()
    began, counts = time.perf_counter(), defaultdict(Counts)
    with tempfile.TemporaryDirectory() as place:
        for method in options.method:
            if options.only != "real":
                rendered(options, method, Path(place), counts)
            if options.only != "rendered" and options.data:
                real(options, method, Path(place), counts)
    rows = {name: count.row() for name, count in counts.items()}
    print(f"\n| | {' | '.join(next(iter(rows.values())))} |\n|---|{'---|' * len(next(iter(rows.values())))}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in row.values())} |")
    for name, count in counts.items() if options.scores else ():
        print(name, count.told())
    print(f"{time.perf_counter() - began:.0f} s")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
