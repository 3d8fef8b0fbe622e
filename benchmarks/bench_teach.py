"""What a few marks add to words: mIoU on pictures that were not marked, by number of marks a class.

    python benchmarks/bench_teach.py DATA [--shots 2 10 50] [--seeds 4] [--only ROW ...] [--cache DIR] [--json FILE]

Marks are single pixels, drawn evenly over the classes from the pictures of one half of a row (or of other tiles); what
is measured are pixels drawn from the other half. Columns: the words alone; a linear rule on the colours of the marks
and their ratios (of the largest `--shots`); the head that `teach` chooses; and, for what labels could do, a linear
probe on 3,000 labelled pixels and, with `--network`, a small U-Net that learns from every pixel of the marked pictures
(minutes a row). `bands` joins colour and texture, as `teach` does.
A figure is the mean over seeds, in brackets the worst seed. `--cache` keeps features between runs.

    python benchmarks/bench_teach.py --cost

instead renders a scene of 4 Mpx (`--side`), marks eleven pixels a class, and prints how long it takes to teach, to
correct by one more mark, and to map a scene (`--map-side`) by words and by what was taught, alternately.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from PIL import Image

import earthwords
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.teach.choice import Candidate, Lessons, QueryHead, candidates, choose, fit
from earthwords.inference.teach.features import features_at
from earthwords.inference.windows.cues import OF_A_BAND, Cues
from earthwords.models.fewshot.anchored import fit_anchored
from earthwords.synthetic import render_scene, vocabulary
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Window
from supervised import IGNORE, predict, train

SIDE = 768
"""Largest part of a picture, from its middle."""
AROUND = 1536
PART = 512
"""Rows that are mapped at a time."""
WORDS = ("building,roof,house", "road,street,pavement", "trees,grass,vegetation,field", "water")
CLASSES = {
    "building": ("building",), "road": ("road", "pavement"), "trees": ("trees", "grass", "cropland"),
    "water": ("water",),
}  # fmt: skip
"""Class of WORDS to what is rendered."""
GROUND = "road,street,pavement,trees,grass,vegetation,field,bare land,soil,sand,water"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Pictures to mark and pictures to measure."""

    name: str
    words: tuple[str, ...]
    classes: dict[int, int]
    """Value of a mask to class."""
    marked: Callable[[Path], list[Path]]
    measured: Callable[[Path], list[Path]]
    pixels: int = 1000
    """Of a picture."""


def _dubai(tiles: str) -> Callable[[Path], list[Path]]:
    return lambda data: [p for t in tiles for p in sorted((data / "dubai_mbrsc/images").glob(f"tile{t}_*.jpg"))]


def _every_other(folder: str, pattern: str, first: int, *, step: int = 2) -> Callable[[Path], list[Path]]:
    return lambda data: sorted((data / folder).glob(pattern))[first::step]


def _sheets(first: int) -> Callable[[Path], list[Path]]:
    """A tile of every other sheet of the Massachusetts roads."""

    def pictures(data: Path) -> list[Path]:
        paths = sorted((data / "massachusetts_roads_tiles/images").glob("*.jpg"))
        sheets = sorted({p.name.split("_")[0] for p in paths})[first::2]
        return [next(p for p in paths if p.name.startswith(sheet)) for sheet in sheets]

    return pictures


_BUILDING = {"words": ("building,roof,house", GROUND), "classes": {0: 1, 1: 0, 255: 0}}
ROWS: tuple[Row, ...] = (
    Row(
        name="Dubai, tile 6 to tiles 7 and 8", words=("building", "land", "road", "vegetation", "water"),
        classes={i: i for i in range(5)}, marked=_dubai("6"), measured=_dubai("78"),
    ),
    Row(
        name="New York, south", words=("road,street,highway", "water,river,sea", "park,green space,grass,trees",
                                       "building,roof,house,bare land,soil"),
        classes={0: 3, 1: 0, 2: 1, 3: 2}, marked=_every_other("places/gmaps_nyc/images", "val_*.jpg", 0),
        measured=_every_other("places/gmaps_nyc/images", "val_*.jpg", 1),
    ),
    *(
        Row(
            name=f"buildings, {source}", marked=_every_other("buildings_mix/images", f"{source}_*", 0),
            measured=_every_other("buildings_mix/images", f"{source}_*", 1), **_BUILDING,
        )
        for source in ("whu", "inria")
    ),
    Row(
        name="Massachusetts roads, by sheet", marked=_sheets(0), measured=_sheets(1), classes={0: 1, 1: 0, 255: 0},
        words=("road,street,highway", "building,roof,house,trees,grass,field,bare land,water"),
    ),
    Row(
        name="LoveDA, by picture", classes={i + 1: i for i in range(7)}, pixels=4000,
        words=("grass,courtyard,pavement", "building", "road", "water", "bare land", "forest,trees",
               "agriculture,cropland,field"),
        marked=_every_other("canonical_samples/mmseg_loveda/img_dir", "**/*.png", 0),
        measured=_every_other("canonical_samples/mmseg_loveda/img_dir", "**/*.png", 1),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Drawn from some pictures."""

    features: torch.Tensor
    cues: torch.Tensor
    labels: NDArray[np.int64]
    picture: NDArray[np.int64]


def mask_of(path: Path) -> Path:
    """Beside the folder of images."""
    folder, masks = next((f, m) for f, m in (("img_dir", "ann_dir"), ("images", "masks")) if f in path.parts)
    place = Path(*[masks if part == folder else part for part in path.parent.parts])
    return next(place.glob(f"{path.stem}.*"))


def looked_at(
    row: Row, paths: Sequence[Path]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]]:
    """Of each picture the middle, the class of each pixel (`IGNORE`: none), and some places `(n, 2)` that have one."""
    rng, classes = np.random.default_rng(0), np.full(256, IGNORE)
    for value, label in row.classes.items():
        classes[value] = label
    for path in paths:
        with Image.open(path) as image, Image.open(mask_of(path)) as mask:
            pixels, truth = np.array(image.convert("RGB")), classes[np.array(mask).astype(np.int64)]
        top, left = (max(0, (side - SIDE) // 2) for side in truth.shape)
        part = slice(top, top + SIDE), slice(left, left + SIDE)
        pixels, truth = pixels[part], truth[part]
        places = np.argwhere(truth != IGNORE)
        yield pixels, truth, places[rng.permutation(len(places))[: row.pixels]]


def drawn(segmenter: Segmenter, row: Row, paths: Sequence[Path], cache: Path | None) -> Pixels:
    """Features of some pixels of each picture; kept in `cache`."""
    if not paths:
        raise SystemExit(f"{row.name}: no pictures; is DATA the folder with dubai_mbrsc, places, ...?")
    kept = None if cache is None else cache / f"{row.name}-{paths[0].stem}-{len(paths)}.npz".replace(" ", "_")
    if kept is None or not kept.exists():
        found = []
        for i, (pixels, truth, places) in enumerate(looked_at(row, paths)):
            with segmenter.open(pixels) as scene, Cues(scene) as cues:
                features, beside, _ = features_at(segmenter, scene, places, cues=cues)
            found.append((features, beside, truth[tuple(places.T)], np.full(len(places), i)))
        features, beside, labels, picture = (np.concatenate(part) for part in zip(*found, strict=True))
        if kept is None:
            return Pixels(features=torch.from_numpy(features), cues=torch.from_numpy(beside), labels=labels,
                          picture=picture)  # fmt: skip
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, features=features.astype(np.float16), cues=beside, labels=labels, picture=picture)
    with np.load(kept) as table:
        features = torch.from_numpy(table["features"].astype(np.float32))
        cues = torch.from_numpy(table["cues"])
        return Pixels(features=features, cues=cues, labels=table["labels"], picture=table["picture"])


def mean_iou(said: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Percent, over the classes that occur."""
    found = []
    for k in np.unique(truth):
        union = ((said == k) | (truth == k)).sum()
        found.append(((said == k) & (truth == k)).sum() / union)
    return 100 * float(np.mean(found))


def lessons_of(segmenter: Segmenter, row: Row, pixels: Pixels, rows: NDArray[np.int64]) -> Lessons:
    """Marks at some of the pixels; what lies around are others of the same pictures."""
    bank = segmenter.text_bank(parse_classes(row.words))
    around = np.random.default_rng(9).permutation(len(pixels.labels))[:AROUND]
    mean, std = pixels.cues.mean(dim=0), pixels.cues.std(dim=0).clamp_min(1e-3)
    standard = (pixels.cues - mean) / std
    return Lessons(
        features=pixels.features[rows], labels=torch.from_numpy(pixels.labels[rows]), places=pixels.picture[rows],
        weights=torch.ones(len(rows)), words=torch.from_numpy(bank.vectors),
        query_class=torch.from_numpy(bank.query_class), scale=segmenter.preset.logit_scale,
        around=pixels.features[around], cues=standard[rows], cues_around=standard[around],
    )  # fmt: skip


def marks(pixels: Pixels, each: int, seed: int) -> NDArray[np.int64]:
    """So many pixels a class, or all there are."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [rng.permutation(np.flatnonzero(pixels.labels == k))[:each] for k in np.unique(pixels.labels)]
    )


def measure(segmenter: Segmenter, row: Row, data: Path, args: argparse.Namespace) -> dict[str, Any]:
    """A row of the table."""
    seen, test = (drawn(segmenter, row, find(data), args.cache) for find in (row.marked, row.measured))
    standard = (test.cues - seen.cues.mean(dim=0)) / seen.cues.std(dim=0).clamp_min(1e-3)
    whole = torch.cat([test.features, standard], dim=1)

    def figure(head: QueryHead) -> float:
        inputs = whole if head.weight.shape[1] > test.features.shape[1] else test.features
        return mean_iou(head.logits(inputs).argmax(dim=1).numpy(), test.labels)

    every = lessons_of(segmenter, row, seen, marks(seen, 3000 // len(row.words), 0))
    out: dict[str, Any] = {"row": row.name, "words": figure(fit(every, Candidate(head="words")))}
    out["colour"] = colour_rule(seen, test, [marks(seen, max(args.shots), seed) for seed in range(args.seeds)])
    for each in args.shots:
        found, heads = [], []
        for seed in range(args.seeds):
            lessons = lessons_of(segmenter, row, seen, marks(seen, each, seed))
            choice = choose(lessons, candidates(args.head, cues=args.bands), seed=seed)
            found.append(figure(choice.head))
            heads.append(choice.candidate.title)
        out[f"{each} marks"] = {"mean": float(np.mean(found)), "worst": min(found), "seeds": found, "heads": heads}
    out["3,000 labels"] = figure(fit(every, Candidate(head="linear")))
    if args.network:
        out["network"] = by_network(row, row.marked(data), row.measured(data))
    return out


def colour_rule(seen: Pixels, test: Pixels, draws: Sequence[NDArray[np.int64]]) -> float:
    """mIoU of a logistic regression on colours, mean over draws of marks."""
    (known, new), found = (colours(seen), colours(test)), []
    mean, std = known.mean(dim=0), known.std(dim=0)
    known, new = (known - mean) / std, (new - mean) / std
    classes = int(seen.labels.max()) + 1
    for rows in draws:
        weight, bias = fit_anchored(
            known[rows], torch.from_numpy(seen.labels[rows]), torch.zeros(classes, known.shape[1]),
            torch.arange(classes), scale=1.0, strength=1e-3,
        )  # fmt: skip
        found.append(mean_iou((new @ weight.T + bias).argmax(dim=1).numpy(), test.labels))
    return float(np.mean(found))


def colours(pixels: Pixels) -> torch.Tensor:
    """`(n, 6)`: red, green and blue, and the normalised difference of each two."""
    own = pixels.cues[:, ::OF_A_BAND]
    pairs = [(own[:, a] - own[:, b]) / (own[:, a] + own[:, b] + 1e-2) for a, b in ((0, 1), (0, 2), (1, 2))]
    return torch.cat([own, torch.stack(pairs, dim=1)], dim=1)


def by_network(row: Row, marked: Sequence[Path], measured: Sequence[Path]) -> float:
    """mIoU of a small network that learns from every pixel of the marked pictures, at the same measured pixels."""
    network = train([(pixels, truth) for pixels, truth, _ in looked_at(row, marked)], len(row.words))
    parts = [(predict(network, p)[tuple(at.T)], t[tuple(at.T)]) for p, t, at in looked_at(row, measured)]
    said, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
    return mean_iou(said, truth)


def cost(side: int, map_side: int) -> None:
    """Print the time of a first teaching, of corrections, and of maps."""
    segmenter = Segmenter.from_preset("tiny", device="cpu")
    image, table = town(side, each=11)
    first, one_more = table.iloc[:-1], table.iloc[-1:]
    whole = timed(f"first teaching, {side} px, {len(first)} marks", lambda: segmenter.teach(first, WORDS, scenes=image))
    timed("one more mark onto it", lambda: whole.teach(one_more, scenes=image))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        Image.fromarray(image).save(place / "town.tif")
        for name, some in (("first", first), ("more", table)):
            some.to_file(place / f"{name}.gpkg")
        how: dict[str, Any] = {"scenes": [str(place / "town.tif")], "text": WORDS, "device": "cpu", "quiet": True}
        earthwords.teach(place / "first.gpkg", place / "mine", **how)
        spent = time.process_time()
        again = earthwords.teach(place / "more.gpkg", place / "mine", **how, overwrite=True)
        told = f"{again.seconds:7.1f} s, of it {time.process_time() - spent:.1f} computing, {again.windows} windows"
        print(f"{'the same command, one more mark':44}{told}", flush=True)
    maps(segmenter, whole, image if map_side == side else town(map_side, each=1)[0])


def town(side: int, *, each: int) -> tuple[NDArray[np.uint8], geopandas.GeoDataFrame]:
    """A rendered scene, and so many points a class, in its pixels."""
    made = render_scene(height=side, width=side, gsd=0.5, theme="town", seed=3)
    titles, rng, points, names = vocabulary().titles, np.random.default_rng(0), [], []
    for name, parts in CLASSES.items():
        places = np.argwhere(np.isin(made.labels, [titles.index(part) for part in parts]))
        for row, col in places[rng.choice(len(places), each)] if len(places) else ():
            points.append(shapely.Point(col + 0.5, row + 0.5))
            names.append(name)
    return made.image, geopandas.GeoDataFrame({"class": names}, geometry=points)


def timed(name: str, call: Callable[[], Segmenter]) -> Segmenter:
    """Do it, and print how long it took."""
    began, spent = time.perf_counter(), time.process_time()
    found = call()
    assert found.teaching is not None
    report, seconds = found.teaching.report, time.perf_counter() - began
    told = f"{seconds:7.1f} s, of it {time.process_time() - spent:.1f} computing, {report.windows} windows"
    print(f"{name:44}{told}, {report.chosen}", flush=True)
    return found


def maps(segmenter: Segmenter, taught: Segmenter, image: NDArray[np.uint8]) -> None:
    """Maps by words and by what was taught, alternately, strip after strip; the time of the processor, all threads."""
    asked = parse_classes(WORDS)
    seconds = {"words": 0.0, "taught": 0.0}
    with segmenter.open(image) as scene:
        for row in range(0, len(image), PART):
            region = Window(row=row, col=0, height=min(PART, len(image) - row), width=image.shape[1])
            ways = (("words", segmenter), ("taught", taught))
            for name, model in ways if row // PART % 2 else ways[::-1]:
                bank = model.text_bank(asked)
                began = time.process_time()
                for _ in model.strips(scene, bank, region=region):
                    pass
                seconds[name] += time.process_time() - began
    for name, total in seconds.items():
        print(
            f"{f'map of {len(image)} px by {name}':44}{total:7.1f} s of computing, {total / seconds['words']:.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--cost", action="store_true", help="print times instead; needs no DATA")
    parser.add_argument("--side", type=int, default=2048, help="of the scene of --cost, pixels")
    parser.add_argument("--map-side", type=int, help="of the scene that --cost maps; default: --side")
    parser.add_argument("--shots", type=int, nargs="+", default=[2, 10, 50])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--head", default="auto")
    parser.add_argument("--no-bands", dest="bands", action="store_false", help="words' features alone")
    parser.add_argument("--network", action="store_true", help="a small U-Net on all pixels, too")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.cost:
        cost(args.side, args.map_side or args.side)
        return
    segmenter, rows = Segmenter.from_preset("tiny", device="cpu"), []
    if args.data is None:
        parser.error("name the folder of the data")
    columns = [f"{each} marks" for each in args.shots]
    heads = "".join(f"{c:>16}" for c in columns)
    print(f"{'':34}{'words':>8}{'colour':>8}{heads}{'3,000 labels':>14}{'network':>9}")
    for row in ROWS:
        if args.only and not any(name in row.name for name in args.only):
            continue
        found = measure(segmenter, row, args.data, args)
        rows.append(found)
        cells = "".join(f"{found[c]['mean']:9.1f} ({found[c]['worst']:4.1f})" for c in columns)
        network = f"{found['network']:9.1f}" if args.network else f"{'-':>9}"
        head = f"{row.name:34}{found['words']:8.1f}{found['colour']:8.1f}"
        print(f"{head}{cells}{found['3,000 labels']:14.1f}{network}", flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
