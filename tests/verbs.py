"""Every command that writes files, at toy size; and what of its files does not depend on the clock."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from earthwords.data.change.fakes import make_fake_change
from earthwords.data.segmentation.fakes import make_fake
from earthwords.models.refseg.load import assemble, store_refseg
from tests.conftest import write_raster
from tests.micro import patchwork
from tests.referring import micro_preset, write_list
from tests.scenes import write_folders, write_records

OUT = "OUT"
"""Stands for the destination in a command line."""
WORDS = ("-t", "building,roof", "-t", "road", "-t", "water", "-t", "trees")
TRAININGS = ("train clip", "train segment", "train upsampler", "train refer", "train change")
SCENE = (330, 190)
"""Rows and columns."""


def into(argv: list[str], out: object) -> list[str]:
    """The command line with a destination."""
    return [word.replace(OUT, str(out)) for word in argv]


def trainings(folder: Path, micro: Path, *, steps: int = 6, every: int = 2) -> dict[str, list[str]]:
    """Kind to argv; what it learns from is written into `folder`."""
    captions = _captions(folder / "captions")
    sentences = write_list(folder / "sentences", images=4)
    common = ["--steps", steps, "--save-frequency", every, "--device", "cpu", "--quiet"]
    small = ["--batch-size", 2, *common]
    make_fake_change("clcd", folder / "change")
    images, model = captions.parent / "?.png", _refseg(folder, micro)
    found = {
        "clip": [captions, OUT, "--architecture", "micro", "--region-batch", 2, "--image-size", 48, *small],
        "segment": [captions, OUT, "--model", micro, "--dim", 16, "--layers", 1, "--image-size", 48, *small],
        "upsampler": [images, OUT, "--backbone", micro, "--image-size", 48, "--validate-every", 3, *small],
        "refer": [sentences, OUT, "--model", model, "--expressions", 2, *small],
        "change": [folder / "change", OUT, "--model", micro, "--width", 16, "--image-size", 48, *small],
    }
    return {f"train {kind}": ["train", kind, *map(str, argv)] for kind, argv in found.items()}


def maps(folder: Path, micro: Path) -> dict[str, list[str]]:
    """The same for `segment` (a scene, many, two processes), `refer` and `upsample`."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = write_raster(folder / "scene.tif", np.moveaxis(patchwork(*SCENE), -1, 0))
    later = write_raster(folder / "later.tif", np.moveaxis(patchwork(*SCENE, seed=9), -1, 0))
    archive = folder / "archive"
    archive.mkdir()
    for i in range(3):
        write_raster(archive / f"{i}.tif", np.moveaxis(patchwork(70, 90 + 10 * i, seed=i), -1, 0))
    common = ["--device", "cpu", "--offline", "--quiet"]
    toy = ["--model", micro, "--tile-size", 64, *common]
    found = {
        "segment": ["segment", scene, OUT, *toy, *WORDS, "--probabilities", "uint8"],
        "segment many": ["segment", archive, OUT, *toy, *WORDS],
        "segment workers": ["segment", scene, OUT, *toy, *WORDS, "--workers", 2],
        "count": ["count", scene, OUT, *toy, *WORDS[:4], "--against", "water,trees", "--expect", "road=40"],
        "change": ["change", scene, later, OUT, *toy, *WORDS, "--scales", 1, "--threshold", 0.01],
        "refer": ["refer", scene, OUT, "-t", "the red roof", "-t", "both roofs", "--all", "--threshold", 0.2,
                  "--model", _refseg(folder, micro), *common],
        "upsample": ["upsample", scene, OUT, "--method", "bilinear", *toy],
    }  # fmt: skip
    return {name: list(map(str, argv)) for name, argv in found.items()}


def others(folder: Path, micro: Path) -> dict[str, list[str]]:
    """All other verbs; `search` looks into the destination of `index`."""
    pictures = write_folders(folder / "pictures", inside="")
    write_records(folder / "sets" / "captions")
    write_folders(folder / "sets" / "captions")
    masks = write_masks(folder / "masks")
    make_fake("vdd", folder / "vdd")
    (folder / "toy.toml").write_text(f'base = "tiny"\nweights = "{micro}"\ntile_size = 32\noverlap = 16\n')
    labels = np.add.outer(np.arange(70) // 20, np.arange(90) // 30).astype(np.uint8)
    write_raster(folder / "labels.tif", labels[None], nodata=5)
    write_raster(folder / "labelled.tif", np.moveaxis(patchwork(70, 90), -1, 0))
    (folder / "names.txt").write_text("water\nroad\ntrees\n")
    toy, common = ["--model", micro], ["--device", "cpu", "--offline", "--quiet"]
    found = {
        "index": ["index", pictures, OUT, *toy, *common],
        "search": ["search", "index", "water", "-o", OUT, *toy, *common],
        "classify": ["classify", pictures, "-o", f"{OUT}.csv", "-t", "water", "-t", "trees", *toy, *common],
        "evaluate scenes": ["evaluate", "scenes", "zero-shot", "knn", "retrieval", "captions", "--data",
                            folder / "sets", "--out", OUT, "--image-size", 32, *toy, *common],
        "evaluate segmentation": ["evaluate", "segmentation", "vdd", "--data", folder / "vdd", "--out", OUT,
                                  "--preset", folder / "toy.toml", *common],
        "evaluate referring": ["evaluate", "referring", write_list(folder / "told", images=2), "--out", OUT,
                               "--model", _refseg(folder, micro), *common],
        "suggest": ["suggest", folder / "labelled.tif", f"{OUT}.geojson", "-n", 3, "-t", "water", "-t", "road",
                    "--preset", folder / "toy.toml", *common],
        "assess": ["assess", folder / "labels.tif", "--draw", 60, "-o", f"{OUT}.gpkg", "--quiet"],
        "teach": ["teach", folder / "labels.tif", OUT, "--scenes", folder / "labelled.tif", "--names",
                  folder / "names.txt", "-t", "water", "--preset", folder / "toy.toml", *common],
        "pairs": ["pairs", masks, OUT, "--quiet"],
        "expressions": ["expressions", masks, f"{OUT}/list.jsonl", "--pictures", 3, "--quiet"],
        "data prepare": ["data", "prepare", "vdd", folder / "vdd", OUT, "--quiet"],
    }  # fmt: skip
    return {name: list(map(str, argv)) for name, argv in found.items()}


def contents(folder: Path) -> dict[str, bytes]:
    """All that is in a folder, hidden things included, without times and places."""
    files = {path for path in folder.rglob("*") if path.is_file()}
    empty = {path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())}
    found = {str(path.relative_to(folder)): comparable(path) for path in files}
    return found | {f"{path.relative_to(folder)}/": b"" for path in empty}


def comparable(path: Path) -> bytes:
    """The bytes of a file but for what tells the time that it took and where it lies."""
    data = path.read_bytes()
    if path.name == "times.json":
        return b""
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(data))).encode()
    if path.name == "report.html":
        return re.sub(rb"(seconds</\w+><\w+>)[\d,.]+", rb"\1", data)
    if path.name == "log.csv":
        rows = data.splitlines(keepends=True)
        return b"".join(row for row in rows if row.split(b",")[1] not in (b"cpu_seconds", b"steps_per_s"))
    if path.name == "checkpoint.pt":
        state = torch.load(path, weights_only=True)
        state.pop("spent")
        return repr(_plain(state)).encode()
    return data


def _plain(value: Any) -> Any:
    """Tensors as their values."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.tolist()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        timed = ("seconds", "outputs", "status", "dst")
        return {name: _timeless(each) for name, each in value.items() if name not in timed}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def _refseg(folder: Path, micro: Path) -> Path:
    """A referring model with random weights."""
    preset = replace(micro_preset(micro), lora_rank=0)
    store_refseg(assemble(preset, seed=1), preset, folder / "refseg")
    return folder / "refseg"


def _captions(folder: Path) -> Path:
    """A list of six pictures with captions, labels and masks."""
    folder.mkdir(parents=True)
    lines = []
    for i in range(6):
        Image.fromarray(patchwork(60, 70 + i, seed=i)).save(folder / f"{i}.png")
        Image.fromarray(np.tile(np.arange(70 + i) // 40, (60, 1)).astype(np.uint8)).save(folder / f"{i}_mask.png")
        word = ("water", "trees")[i % 2]
        lines.append({"image": f"{i}.png", "set": "plain", "captions": [f"only {word} here"], "label": word})
        classes = {"0": "water,lake", "1": "trees"}
        lines.append({"image": f"{i}.png", "set": "masks", "mask": f"{i}_mask.png", "classes": classes})
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_masks(folder: Path) -> Path:
    """A folder of three images with lakes, ships and houses, as a raster and as pictures."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(3):
        mask = np.zeros((64, 96), dtype=np.uint8)
        mask[20:44, 30:60] = 2
        mask[2:10, 4 + number : 20] = mask[50:62, 60:90] = 1
        mask[24:32, 64:74] = mask[26:34, 10:18] = 3
        rgb = np.random.default_rng(number).integers(90, 110, (64, 96, 3), dtype=np.uint8)
        rgb[mask == 1] = 240
        if number == 2:
            write_raster(folder / "images" / "2.tif", np.moveaxis(rgb, -1, 0), photometric="RGB")
        else:
            Image.fromarray(rgb).save(folder / "images" / f"{number}.jpg", quality=95)
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    (folder / "classes.json").write_text('{"1": "ship", "2": "lake", "3": "house", "4": "windmill"}')
    return folder
