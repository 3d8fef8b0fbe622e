"""The picture of `docs/teach.md`: maps of rendered scenes by words alone and by ten marks a class beside them.

    python benchmarks/teach_pictures.py [--out docs/images/teach.png] [--model NAME]

A landscape is cut into four scenes. The marks lie in three, drawn at random in each class; the fourth is shown.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.transform import from_origin

from earthwords.inference.segment.segmenter import Segmenter
from earthwords.synthetic import CLASSES, render_scene
from earthwords.text.vocabulary import split_words
from feature_picture import Panel, sheet

HEIGHT, WIDTH, MARKS = 320, 448, 10
CRS, NODATA = "EPSG:32631", 255


@dataclass(frozen=True, kw_only=True)
class Example:
    """A theme, and what is asked of it."""

    theme: str
    gsd: float
    seed: int
    words: dict[str, tuple[str, ...]]
    """Words of a class, and the rendered classes that it stands for; others are not measured."""

    def quarters(self) -> list[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """Pixels `(row, col, 3)` and class `(row, col)`, -1 for none."""
        scene = render_scene(height=2 * HEIGHT, width=2 * WIDTH, gsd=self.gsd, theme=self.theme, seed=self.seed)
        truth = np.full(scene.labels.shape, -1, np.int64)
        for i, titles in enumerate(self.words.values()):
            truth[np.isin(scene.labels, [k for k, c in enumerate(CLASSES) if c.title in titles])] = i
        parts = [(slice(r, r + HEIGHT), slice(c, c + WIDTH)) for r in (0, HEIGHT) for c in (0, WIDTH)]
        return [(scene.image[part], truth[part]) for part in parts]

    def colours(self, labels: NDArray[np.int64]) -> NDArray[np.uint8]:
        """`(row, col, 3)`."""
        table = [next(c.colour for c in CLASSES if c.title == titles[0]) for titles in self.words.values()]
        return np.array([*table, (245, 245, 245)], np.uint8)[labels]


_LAND = ("grass", "cropland", "bare land")
EXAMPLES = (
    Example(theme="flood", gsd=1.0, seed=90_002, words={
        "water,flood": ("water",),
        "building,road,trees,grass,field,bare land": ("building", "road", "pavement", "trees", *_LAND),
    }),
    Example(theme="greenhouses", gsd=1.0, seed=90_000, words={
        "greenhouse": ("greenhouse",), "building": ("building",), "road": ("road", "pavement"), "trees": ("trees",),
        "grass,field,bare land": _LAND,
    }),
)  # fmt: skip


def marked(
    quarters: list[tuple[NDArray[np.uint8], NDArray[np.int64]]], words: list[str], folder: Path
) -> tuple[list[str], geopandas.GeoDataFrame]:
    """Scenes beside each other, as files, and points with a class; every class as often, if there is so much of it."""
    rng, paths, rows = np.random.default_rng(0), [], []
    for number, (image, _) in enumerate(quarters):
        paths.append(str(folder / f"{number}.tif"))
        place = from_origin(number * 2 * WIDTH, HEIGHT, 1, 1)
        how = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": CRS, "transform": place}
        with rasterio.open(paths[-1], "w", height=HEIGHT, width=WIDTH, **how) as file:
            file.write(np.moveaxis(image, -1, 0))
    for i, text in enumerate(words):
        places = [(n, *at) for n, (_, truth) in enumerate(quarters) for at in np.argwhere(truth == i).tolist()]
        for number, row, col in (places[j] for j in rng.permutation(len(places))[:MARKS]):
            point = shapely.Point(number * 2 * WIDTH + col + 0.5, HEIGHT - row - 0.5)
            rows.append({"class": split_words(text)[0], "geometry": point})
    return paths, geopandas.GeoDataFrame(rows, crs=CRS)


def mean_iou(said: NDArray[np.integer], truth: NDArray[np.int64]) -> float:
    """Percent, over the classes that occur, where the truth is known."""
    known = truth >= 0
    pairs = [((said == k) & known, truth == k) for k in np.unique(truth[known])]
    return 100 * float(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))


def line(segmenter: Segmenter, example: Example) -> list[Panel]:
    """Image, words alone, marks, truth."""
    words, quarters = list(example.words), example.quarters()
    with tempfile.TemporaryDirectory() as folder:
        scenes, table = marked(quarters[:3], words, Path(folder))
        taught = segmenter.teach(table, words, scenes=scenes, gsd=1.0)
    image, truth = quarters[3]
    panels = [(image, f"{example.theme}, rendered, {example.gsd:g} m")]
    for model in (segmenter, taught):
        said = model.predict(image, words).labels.astype(np.int64)
        said[said == NODATA] = -1
        panels.append((example.colours(said), f"mIoU {mean_iou(said, truth):.1f}"))
    print(example.theme, *(under for _, under in panels[1:]), taught.teaching.report.chosen, flush=True)
    return [*panels, (example.colours(truth), "")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images/teach.png"))
    parser.add_argument("--model")
    args = parser.parse_args()
    segmenter = Segmenter.from_preset("tiny", model=args.model, device="cpu")
    rows = [line(segmenter, example) for example in EXAMPLES]
    sheet(["image", "words alone", f"{MARKS} marks a class beside", "truth"], rows, args.out, panel=300)


if __name__ == "__main__":
    main()
