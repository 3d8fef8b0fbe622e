"""How many marks a map needs when a rule of `suggest` says what to mark, and when chance does.

    python benchmarks/bench_suggest.py DATA [--sets dubai6 ...] [--rules random ...] [--seeds 5] [--plots DIR]

Real sets with known truth stand for the person who marks. One mark of every class, drawn at random, begins; then ten by
ten the rule proposes points on the map, each gets the class that the truth has there, and a linear classifier of the
tokens of `tiny` (multinomial logistic regression) is fitted anew and makes the next map. mIoU is of all pixels of the
pictures that are marked, as for somebody who maps scenes and marks in them. Dubai tile 6 is the validation tile; the
rules' constants were chosen on `dubai6`, `nyc` and `fields`; `roads` and `buildings` were looked at last.

`to reach` is from how many marks on a rule stays at or above the mIoU that chance ends with; linear between rounds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from affine import Affine
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from earthwords.geo.vectors.features import VectorFeatures
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.suggest.lattice import CellFigures
from earthwords.inference.suggest.marked import MarkedPlaces
from earthwords.inference.suggest.run import SuggestOptions, suggest_places
from earthwords.inference.suggest.select import RULES
from earthwords.inference.suggest.sources import CELL, MapRows
from earthwords.inference.suggest.tokens import tokens_at
from earthwords.types import Grid, Window
from earthwords.viz.charts import Curve, curve_plot

STEP, LAST = 10, 100
TOKEN, PIXEL = 8, 4
"""Pixels of a picture along the side of a token, and of a pixel of the map."""
TILE = 64
"""Pixels of tiles, for the rules that judge tiles."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a set lies, and which of it is used."""

    folder: str
    pattern: str
    classes: tuple[str, ...]
    every: int = 1
    most: int = 100
    binary: bool = False


SETS = {
    "dubai6": Source(
        folder="dubai_mbrsc", pattern="tile6_*", classes=("building", "land", "road", "vegetation", "water")
    ),
    "nyc": Source(folder="places/gmaps_nyc", pattern="*", classes=("other", "road", "water", "park"), every=8, most=12),
    "fields": Source(folder="places/us_fields", pattern="*", classes=("other", "field", "boundary"), every=4, most=10),
    "roads": Source(
        folder="massachusetts_roads_tiles", pattern="*", classes=("other", "road"), every=6, most=24, binary=True
    ),
    "buildings": Source(
        folder="buildings_mix", pattern="inria_*", classes=("other", "building"), every=3, most=16, binary=True
    ),
}


@dataclass(kw_only=True)
class Picture:
    """A picture with truth, and the map of it that there is now."""

    name: str
    image: np.ndarray
    """`(3, row, col)` 0..1, of the picture's pixels."""
    tokens: Tensor
    """`(dim, row, col)` of unit length."""
    truth: np.ndarray
    """`(row, col)` of the map's pixels, 255 where unknown."""
    titles: tuple[str, ...]
    probabilities: np.ndarray = field(default_factory=lambda: np.zeros(0))
    threshold: float = 0.0
    side: int = CELL // PIXEL
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        """Of the map."""
        height, width = self.truth.shape
        return Grid(height=height, width=width, transform=Affine.identity(), crs=None)

    def strips(self, tick: Any) -> Iterator[MapRows]:
        """The whole map; what has no truth cannot be marked."""
        known = np.where(self.truth == 255, np.nan, self.probabilities).astype(np.float32)
        yield MapRows(row=0, probabilities=known, rgb=None)

    def picture(self, window: Window) -> np.ndarray:
        """In the picture's own pixels."""
        rows, cols = (slice(s.start * PIXEL, s.stop * PIXEL) for s in window.slices)
        return self.image[:, rows, cols]

    def features(self, cells: CellFigures) -> np.ndarray:
        """Tokens of pixels of the map."""
        return self.at(cells.rows, cells.cols)

    def at(self, rows: Any, cols: Any) -> np.ndarray:
        """`(n, dim)`"""
        share = TOKEN // PIXEL
        found = self.tokens[:, np.asarray(rows) // share, np.asarray(cols) // share]
        return found.movedim(0, -1).numpy()


def load(data: Path, name: str, segmenter: Segmenter) -> list[Picture]:
    """The pictures of a set with their tokens."""
    about = SETS[name]
    files = sorted((data / about.folder / "images").glob(about.pattern))[:: about.every][: about.most]
    found = []
    for path in files:
        with segmenter.open(path) as scene:
            height, width = (side // TOKEN for side in scene.native.shape)
            places = np.mgrid[:height, :width].reshape(2, -1).T * TOKEN + TOKEN // 2
            tokens = tokens_at(segmenter, scene, places).reshape(height, width, -1)
            image = scene.read_rgb(Window(row=0, col=0, height=height * TOKEN, width=width * TOKEN)).data
        with Image.open(data / about.folder / "masks" / f"{path.stem}.png") as mask:
            truth = np.array(mask)
        truth = truth[..., 0] if truth.ndim == 3 else truth
        truth = (truth > 0).astype(np.uint8) if about.binary else truth.astype(np.uint8)
        half = PIXEL // 2
        truth = truth[: height * TOKEN, : width * TOKEN][half::PIXEL, half::PIXEL]
        found.append(
            Picture(
                name=path.name, image=image, tokens=torch.from_numpy(tokens).permute(2, 0, 1), truth=truth,
                titles=about.classes,
            )
        )  # fmt: skip
    middle = torch.cat([picture.tokens.flatten(1) for picture in found], dim=1).mean(dim=1)
    for picture in found:
        picture.tokens = F.normalize(picture.tokens - middle[:, None, None], dim=0)
    return found


def fit(features: np.ndarray, labels: Sequence[int], classes: int) -> tuple[Tensor, Tensor]:
    """Weights `(class, dim)` and bias of a logistic regression."""
    x, y = 10 * torch.from_numpy(features).float(), torch.tensor(labels)
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(x @ weight.T + bias, y) + 0.01 * (weight**2).sum()
        loss.backward()
        return loss

    solver.step(closure)
    return 10 * weight.detach(), bias.detach()


def map_all(pictures: Sequence[Picture], weight: Tensor, bias: Tensor) -> float:
    """Make the map of every picture; mIoU of all of them, percent."""
    classes = len(bias)
    counts = np.zeros((classes, classes), np.int64)
    for picture in pictures:
        logits = torch.einsum("kd,dhw->khw", weight, picture.tokens) + bias[:, None, None]
        large = F.interpolate(logits[None], size=picture.truth.shape, mode="bilinear", align_corners=False)[0]
        picture.probabilities = large.softmax(dim=0).numpy()
        known = picture.truth < classes
        pairs = picture.truth[known].astype(np.int64) * classes + picture.probabilities.argmax(axis=0)[known]
        counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    both = np.diag(counts)
    return float(100 * (both / (counts.sum(axis=0) + counts.sum(axis=1) - both)).mean())


def simulate(pictures: Sequence[Picture], rule: str, seed: int) -> list[float]:
    """mIoU after every round."""
    random, classes = np.random.default_rng(seed), len(pictures[0].titles)
    marks: list[tuple[int, int, int]] = []
    for label in range(classes):
        there = [i for i, picture in enumerate(pictures) if (picture.truth == label).any()]
        number = int(random.choice(there))
        rows, cols = np.nonzero(pictures[number].truth == label)
        at = int(random.integers(len(rows)))
        marks.append((number, int(rows[at]), int(cols[at])))
    scores = []
    names = {picture.name: i for i, picture in enumerate(pictures)}
    while True:
        labels = [int(pictures[i].truth[row, col]) for i, row, col in marks]
        features = np.stack([pictures[i].at(row, col) for i, row, col in marks])
        scores.append(map_all(pictures, *fit(features, labels, classes)))
        if len(marks) >= LAST:
            return scores
        options = SuggestOptions(
            n=STEP - len(marks) % STEP, rule=rule, seed=1000 * seed + len(marks), point_tiles=TILE // PIXEL
        )
        found = suggest_places({p.name: opener(p) for p in pictures}, options, marked(pictures, marks, labels))
        marks += [(names[place.source], place.row, place.col) for place in found.places]


def opener(picture: Picture) -> Callable[[], Any]:
    """What `suggest_places` opens."""

    @contextmanager
    def opened() -> Iterator[Any]:
        yield picture, lambda windows: None

    return opened


def marked(pictures: Sequence[Picture], marks: Sequence[tuple[int, int, int]], labels: Sequence[int]) -> MarkedPlaces:
    """The marks as `--marks` reads them."""
    points = np.array([shapely.Point(col + 0.5, row + 0.5) for _, row, col in marks], object)
    return MarkedPlaces(
        features=VectorFeatures(
            source="marks", kind="points", geometries=points, columns={}, crs=None, left_out=0
        ),
        classes=np.array([pictures[0].titles[label] for label in labels], object),
        sources=np.array([pictures[i].name for i, _, _ in marks], object),
    )  # fmt: skip


def needed(marks: Sequence[int], scores: Sequence[float], wanted: float) -> float | None:
    """Marks from which on a curve stays at a score or above; None: it is below in the end."""
    below = [i for i, score in enumerate(scores) if score < wanted]
    if not below:
        return float(marks[0])
    last = below[-1]
    if last + 1 == len(scores):
        return None
    share = (wanted - scores[last]) / (scores[last + 1] - scores[last])
    return marks[last] + share * (marks[last + 1] - marks[last])


def report(name: str, runs: dict[str, np.ndarray], marks: list[int], plots: Path | None) -> dict[str, Any]:
    """Print a table, draw a chart."""
    means = {rule: values.mean(axis=0) for rule, values in runs.items()}
    goal = float(means["random"][-1]) if "random" in means else float("nan")
    print(f"\n{name}: mIoU by marks, mean of {len(next(iter(runs.values())))} seeds; random at {LAST}: {goal:.1f} %")
    print(f"{'rule':18}" + "".join(f"{n:6d}" for n in marks) + f"{'spread':>8}{'to reach':>10}")
    rows = {}
    for rule, scores in means.items():
        reach = needed(marks, scores.tolist(), goal)
        spread = float(runs[rule][:, -1].std())
        told = "never" if reach is None else f"{reach:.0f}"
        print(f"{rule:18}" + "".join(f"{s:6.1f}" for s in scores) + f"{spread:8.1f}{told:>10}", flush=True)
        rows[rule] = {"miou": scores.round(2).tolist(), "spread": spread, "to_reach": reach}
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        lines = [Curve(name=rule, xs=marks, ys=scores.tolist()) for rule, scores in means.items()]
        low = int(min(s.min() for s in means.values()) // 5 * 5)
        high = int(-(-max(s.max() for s in means.values()) // 5) * 5)
        image = curve_plot(lines, f"{name}: what is marked next", "marks", "mIoU, %", limits=(low, high))
        image.save(plots / f"suggest-{name}.png", optimize=True)
    return {"marks": marks, "goal": goal, "rules": rows}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--rules", nargs="+", default=["random", *(rule for rule in RULES if rule != "random")])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plots", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    segmenter, told = Segmenter.from_preset("tiny", device="cpu"), {}
    for name in given.sets:
        pictures = load(given.data, name, segmenter)
        marks = [len(pictures[0].titles), *range(STEP, LAST + 1, STEP)]
        runs = {rule: np.array([simulate(pictures, rule, s) for s in range(given.seeds)]) for rule in given.rules}
        told[name] = report(name, runs, marks, given.plots)
    if given.json:
        given.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
