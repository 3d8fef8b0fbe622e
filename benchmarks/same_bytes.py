"""Whether a change of the code leaves every output as it was: a hash of all that all commands write and say.

    python benchmarks/same_bytes.py --json before.json [--data FOLDER] [--only GLOB] [--keep FOLDER]
    python benchmarks/same_bytes.py --against before.json

Runs every verb as a user would, on small inputs drawn here and, with `--data`, on a few real samples, and prints
`verb/case/file hash` of each file, without times, versions and places. What is printed on the screen and the pages of
`--help` are entries too, in the groups `said` and `help`. With `--against` what differs, is missing or new is told, and
the exit code is 1 if anything is. Two runs of the same code must agree; about three minutes on a core.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import multiprocessing
import os
import re
import runpy
import shlex
import shutil
import sqlite3
import sys
import tarfile
import tempfile
import tomllib
from contextlib import closing, suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

os.environ |= {
    "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "SOURCE_DATE_EPOCH": "1700000000", "COLUMNS": "120", "LINES": "50",
    "TERM": "dumb", "NO_COLOR": "1", "TZ": "UTC",
}  # fmt: skip

import numpy as np
import pyarrow.parquet
import rasterio
import torch
from affine import Affine
from PIL import Image
from safetensors import safe_open

import earthwords

Cases = dict[str, str]
WORDS = '-t "building,roof" -t road -t water -t "trees,forest"'
VDD = ("VDD/test/src", "VDD/test/gt")
TINTS = {"BareLand": (200, 160, 110), "dense_forest": (30, 90, 40), "river": (60, 120, 190), "roof": (190, 60, 50)}


def picture(tint: tuple[int, ...], height: int, width: int, *, seed: int) -> np.ndarray:
    """`(row, col, 3)` uint8 of a tint, with blocks and noise of its own."""
    rng = np.random.default_rng([seed, *tint])
    blocks = np.kron(rng.integers(-30, 31, (-(-height // 12), -(-width // 12), 3)), np.ones((12, 12, 1), int))
    noise = rng.integers(-9, 10, (height, width, 3))
    return np.clip(np.array(tint) + blocks[:height, :width] + noise, 1, 255).astype(np.uint8)


def patches(height: int, width: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image `(row, col, 3)` of patches of all tints, and the number of the tint of every pixel, from 0."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    places = rng.integers(0, (height, width), (9, 2))
    kinds = np.argmin([(rows - r) ** 2 + (cols - c) ** 2 for r, c in places], axis=0) % len(TINTS)
    tinted = [picture(tint, height, width, seed=seed) for tint in TINTS.values()]
    return np.choose(kinds[..., None], tinted), kinds.astype(np.uint8)


def raster(path: Path, data: np.ndarray, **options: Any) -> None:
    """`(row, col, band)` as a GeoTIFF."""
    path.parent.mkdir(exist_ok=True)
    profile = {"crs": "EPSG:32640", "transform": Affine(0.5, 0, 326_417.5, 0, -0.5, 2_781_133), **options}
    height, width, count = data.shape
    with rasterio.open(path, "w", "GTiff", width, height, count, dtype=data.dtype, **profile) as dataset:
        dataset.write(np.moveaxis(data, -1, 0))


def draw(at: Path) -> None:
    """All inputs but the real ones."""
    image, kinds = patches(150, 210, seed=1)
    image[110:, :40] = 0
    raster(at / "scene.tif", image, nodata=0, photometric="RGB")
    raster(at / "quality.tif", kinds[..., None] * 3)
    for seed, name in enumerate("abc"):
        raster(at / "scenes" / f"{name}.tif", patches(70, 90 + 20 * seed, seed=10 + seed)[0], photometric="RGB")
    wide = Affine(10, 0, 512_340, 0, -10, 5_201_230)
    bands = np.dstack([image, image[..., 1] // 2 + 60]).astype(np.uint16) * 37
    raster(at / "sensor.tif", bands[:120, :170], transform=wide, crs="EPSG:32633", nodata=0)
    (at / "damaged").mkdir()
    (at / "damaged" / "cut.tif").write_bytes((at / "scene.tif").read_bytes()[:3000])
    records, table = [], "image\troof\triver\ttree\n"
    for name, tint in TINTS.items():
        (at / "photos" / name).mkdir(parents=True)
        for i in range(1, 10):
            Image.fromarray(picture(tint, 60, 84, seed=i)).save(at / "photos" / name / f"{name}_{i}.png")
            texts = [f"there are {('two', 'three', 'five')[i % 3]} roads .", f"a picture of {name} {i} ."][: 1 + i % 2]
            split = ("test", "train", "val")[i % 3]
            known = {"filename": f"{name}/{name}_{i}.png", "cls": name, "split": split, "captions": texts}
            records.append({**known, "count": (2, 3, 5)[i % 3]})
            table += f"{name}_{i}\t{int(name == 'roof')}\t{i % 2}\t{int(name == 'dense_forest')}\n"
    (at / "photos" / "made.json").write_text(json.dumps({"dataset": "made", "images": records}))
    (at / "photos" / "multilabel.txt").write_text(table)
    lines: list[dict[str, Any]] = []
    coco: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "roof"}]}
    for folder in ("masks/images", "masks/masks", "yolo/images", "yolo/labels", "boxes", *(f"vdd/{x}" for x in VDD)):
        (at / folder).mkdir(parents=True)
    for i in range(5):
        image, kinds = patches(80, 112, seed=20 + i)
        Image.fromarray(image).save(at / f"masks/images/{i}.jpg", quality=95)
        Image.fromarray(kinds).save(at / f"masks/masks/{i}.png")
        coco["images"].append({"id": i, "file_name": f"{i}.jpg", "height": 80, "width": 112})
        coco["annotations"].append({"id": i, "image_id": i, "category_id": 3, "bbox": [5 + i, 7, 30, 20]})
        shutil.copy(at / f"masks/images/{i}.jpg", at / "yolo/images")
        (at / f"yolo/labels/{i}.txt").write_text(f"0 0.3 0.4 0.{i + 1} 0.2\n1 0.7 0.6 0.2 0.3\n")
        shutil.copy(at / f"masks/images/{i}.jpg", at / f"vdd/{VDD[0]}/DJI_002{i}.JPG")
        shutil.copy(at / f"masks/masks/{i}.png", at / f"vdd/{VDD[1]}/DJI_002{i}.png")
        texts = ["a roof beside a river", "bare land"][: 1 + i % 2]
        lines.append({"image": f"masks/images/{i}.jpg", "set": "plain", "captions": texts, "label": ("a", "b")[i % 2]})
        classes = {"0": "bare land", "1": "trees,forest", "2": "river", "3": "roof"}
        mask = {"mask": f"masks/masks/{i}.png", "classes": classes}
        lines.append({"image": f"masks/images/{i}.jpg", "set": "masks", **mask})
    (at / "boxes/coco.json").write_text(json.dumps(coco))
    texts = {
        "yolo/classes.txt": "roof\nriver\n", "masks/classes.json": json.dumps(classes),
        "classes.txt": "bare land\ntrees,forest\nriver\nroof\n", "sentences.txt": "the lake\na red roof at the top\n",
        "captions.jsonl": "".join(json.dumps(line) + "\n" for line in lines),
        "small.toml": 'base = "tiny"\nupsampler = "none"\ntile_size = 64\noverlap = 32\n',
    }  # fmt: skip
    for name, text in texts.items():
        (at / name).write_text(text)


def sample(data: Path, at: Path) -> None:
    """A few real files."""
    for folder in ("dubai_mbrsc/images", "dubai_mbrsc/masks", "ucm/images"):
        (at / folder).mkdir(parents=True)
    tiles, rasters = "tile[78]_image_part_00[12]", data / "geotiff_demo"
    for kind in ("images", "masks"):
        for path in (data / "dubai_mbrsc" / kind).glob(f"{tiles}.*"):
            with Image.open(path) as whole:
                whole.crop((0, 0, 500, 360)).save(at / "dubai_mbrsc" / kind / path.name)
    (at / "dubai.json").write_text('{"0": "building,house", "2": "road", "3": "trees", "4": "water"}')
    shutil.copy(data / "dubai_mbrsc" / "classes.json", at / "dubai_mbrsc")
    shutil.copy(rasters / "naip_m_4709963_se_14_1_20180716.tif", at / "naip.tif")
    shutil.copy(rasters / "landsat_2020.tif", at / "landsat.tif")
    shutil.copy(rasters / "spacenet" / "sample_geotiff.tif", at / "spacenet.tif")
    shutil.copy(rasters / "spacenet" / "geotiff_labels.geojson", at / "spacenet.geojson")
    shutil.copytree(data / "whu_rs19_embeddings", at / "whu", ignore=shutil.ignore_patterns("README*", "remote*"))
    table = json.loads((data / "ucm_captions" / "ucm_captions.json").read_text())
    kept = [row for row in table["images"] if row["cls"] in ("beach", "forest", "harbor", "airplane")]
    table["images"] = [row for split in ("train", "test") for row in [r for r in kept if r["split"] == split][::12]]
    for row in table["images"]:
        (at / "ucm/images" / row["cls"]).mkdir(exist_ok=True)
        shutil.copy(data / "ucmerced21/images" / row["filename"], at / "ucm/images" / row["cls"])
    (at / "ucm/ucm_captions.json").write_text(json.dumps(table))


_CHANGING = re.compile(r"seconds|_per_s$|^(version|spent|time|times|began|made)$")
"""Keys of values that tell the clock or the version."""
_TIMES = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?"), "WHEN"),
    (re.compile(r"^([\w ]+: \d+%, .*|writing)\n", re.MULTILINE), ""),  # progress, told every few seconds
    (re.compile(r"\(\d[\d,.]* a second\)"), "RATE"),
    (re.compile(r"(data(\": \"|: |</\w+><\w+>))[0-9a-f]{32}"), r"\1HASH"),  # of places, too
    (re.compile(r"\b\d[\d,.]*( ?(CPU )?(seconds?|ms|min|s|h)\b|( [\w-]+)?/(s|min)\b)"), "TIME"),
    (re.compile(r"(seconds</\w+><\w+>)[\d,.]+"), r"\1TIME"),
    (re.compile(r"^.*(cpu_seconds|steps_per_s).*\n", re.MULTILINE), ""),
)


def steady(text: str, at: Path) -> str:
    """A text without times, versions and places."""
    with suppress(ValueError):  # not JSON
        text = f"{len(text.splitlines())} lines\n{json.dumps(plain(json.loads(text)))}"
    text = text.replace(str(at.resolve()), "WORK").replace(str(at), "WORK").replace(earthwords.__version__, "VERSION")
    for pattern, instead in _TIMES:
        text = pattern.sub(instead, text)
    return text


def narrow(text: str) -> str:
    """Tables on the screen whatever the width of their columns, which depends on the times in them."""
    return re.sub(r"([ ━─])\1+", r"\1", text)


class Page(HTMLParser):
    """A page whatever its white space, and the way its characters are escaped."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append(f"<{tag}{''.join(f' {name}={value!r}' for name, value in attrs)}>")

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.parts.append(" ".join(data.split()))


def plain(value: Any) -> Any:
    """What JSON or a checkpoint holds, without what changes from run to run; tensors as hashes."""
    if isinstance(value, dict):
        return {str(k): "-" if _CHANGING.search(str(k)) else plain(v) for k, v in value.items()}
    if isinstance(value, torch.Tensor):
        data = value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return [str(value.dtype), list(value.shape), short(data)]
    if isinstance(value, list) and all(isinstance(each, dict) and "status" in each for each in value):
        value = sorted(value, key=lambda each: str(each.get("source")))  # scenes of several workers, as they got done
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def content(path: Path, at: Path) -> bytes:
    """The bytes of a file, but for what may differ."""
    if path.suffix in (".json", ".md", ".csv", ".txt", ".jsonl", ".geojson", ".toml", ".log", ".vrt"):
        return steady(path.read_bytes().decode(), at).encode()  # with its line ends
    if path.suffix == ".html":
        page = Page()
        page.feed(path.read_text())
        return steady("".join(page.parts), at).encode()
    if path.suffix == ".gpkg":
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
            return steady("\n".join(base.iterdump()), at).encode()
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        return steady(f"{table.schema.to_string(truncate_metadata=False)}\n{table.to_pylist()}", at).encode()
    if path.suffix == ".tar":
        with tarfile.open(path) as shards:
            return repr([(m.name, m.mode, short(shards.extractfile(m).read())) for m in shards]).encode()  # type: ignore[union-attr]
    if path.suffix == ".pt":
        return json.dumps(plain(torch.load(path, weights_only=True))).encode()
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as tensors:  # the order of its metadata is drawn anew in each run
            held = {"metadata": tensors.metadata(), **{name: tensors.get_tensor(name) for name in [*tensors.keys()]}}
        return json.dumps(plain(held), sort_keys=True).encode()
    return path.read_bytes()


def short(data: bytes) -> str:
    """The beginning of a hash."""
    return hashlib.sha256(data).hexdigest()[:16]


def command(argv: list[str], at: Path, said: Path) -> None:
    """In a process of its own: `python -m earthwords`, its words into files."""
    os.chdir(at)
    for number, name in ((1, "stdout"), (2, "stderr")):
        with open(said / name, "wb") as stream:
            os.dup2(stream.fileno(), number)
    sys.argv = ["earthwords", *argv]
    runpy.run_module("earthwords", run_name="__main__", alter_sys=True)


def run(name: str, line: str, at: Path) -> dict[str, str]:
    """Entries of a case: the files that it wrote, what it said."""
    out, said = at / "out" / name, at / "said" / name
    for folder in (out, said):
        folder.mkdir(parents=True)
    argv = shlex.split(line.replace("OUT", f"out/{name}").replace("WORDS", WORDS))
    process = multiprocessing.get_context("fork").Process(target=command, args=(argv, at, said))
    process.start()
    process.join()
    if process.exitcode and not name.startswith("refused/"):
        last = (said / "stderr").read_text().strip().splitlines()[-1:]
        print(f"{name}: exit code {process.exitcode}; {' '.join(last)}", file=sys.stderr)
    words = {kind: steady(narrow((said / kind).read_text()), at) for kind in ("stdout", "stderr")}
    if name.startswith("help/"):
        return {name: short(words["stdout"].encode())}
    files = sorted(path for path in out.rglob("*") if path.is_file())
    entries = {f"{name}/{path.relative_to(out)}": short(content(path, at)) for path in files}
    entries |= {f"said/{name}/{kind}": short(text.encode()) for kind, text in words.items()}
    return entries | {f"said/{name}/exit": str(process.exitcode)}


def listed(*, real: bool) -> Cases:
    """All cases by name."""
    groups = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    cases = {f"{group}/{name}": line for group, rows in groups.items() for name, line in rows.items()}
    return {name: line for name, line in cases.items() if real or not name.startswith("real/")}


def chosen(cases: Cases, only: str) -> Cases:
    """The cases of a pattern, and those whose outputs they read, in an order in which they can run."""
    order: Cases = {}

    def add(name: str) -> None:
        for needed in re.findall(r"\bout/(\w+/[\w-]+)", cases[name]):
            add(needed)
        order.setdefault(name, cases[name])

    for name in cases:
        if fnmatch.fnmatch(name, only):
            add(name)
    return order


def case_of(entry: str) -> str:
    """The name of the case that an entry is of."""
    return "/".join(entry.removeprefix("said/").split("/")[:2])


def compare(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Lines about what is not the same."""
    lines = [f"differs  {name}" for name in sorted(before.keys() & after.keys()) if before[name] != after[name]]
    lines += [f"missing  {name}" for name in sorted(before.keys() - after.keys())]
    return lines + [f"new      {name}" for name in sorted(after.keys() - before.keys())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the hashes into this file")
    parser.add_argument("--against", type=Path, help="hashes of an earlier run")
    parser.add_argument("--data", type=Path, help="folder of real samples")
    parser.add_argument("--only", default="*", help="cases, such as 'segment/*'; those they need are run too")
    parser.add_argument("--keep", type=Path, help="new folder in which inputs and outputs stay, to be looked at")
    args = parser.parse_args()
    for name in earthwords.__all__:  # so that the processes of the cases need not load libraries
        getattr(earthwords, name)
    cases = chosen(listed(real=args.data is not None), args.only)
    with tempfile.TemporaryDirectory() as folder:
        at = (args.keep or Path(folder)).absolute() / "inputs"  # the name is told on contact sheets
        at.mkdir(parents=True)
        os.environ["EARTHWORDS_CACHE"] = str(at / "cache")
        draw(at)
        if args.data:
            sample(args.data, at / "real")
        for path in at.rglob("*"):
            os.utime(path, (1.7e9, 1.7e9))
        found: dict[str, str] = {}
        for name, line in cases.items():
            entries = run(name, line, at)
            print(*(f"{key}  {value}" for key, value in entries.items()), sep="\n", flush=True)
            found |= entries
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    if args.against:
        before = json.loads(args.against.read_text())
        if args.only != "*" or not args.data:
            before = {key: value for key, value in before.items() if case_of(key) in cases}
        lines = compare(before, found)
        print(*lines, f"{len(found)} entries, {len(lines)} not the same", sep="\n")
        sys.exit(bool(lines))


if __name__ == "__main__":
    main()
