"""NAF from a training to a map and to features: windows large enough, refused where not, the same bytes anyhow."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

from tests.conftest import Command
from tests.micro import patchwork

from .conftest import TEXT, labels_of


def test_trained_then_used(command: Command, micro: Path, scene_file: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for seed in range(2):
        Image.fromarray(patchwork(60, 70, seed=seed)).save(tmp_path / "images" / f"{seed}.png")
    small = ("--steps", 2, "--batch-size", 1, "--validate-every", 1, "--width", 16, "--image-size", 288, "--quiet")
    done = command(
        "train",
        "upsampler",
        tmp_path / "images",
        tmp_path / "naf",
        "--method",
        "naf",
        "--backbone",
        micro,
        *small,
        "--json",
    )
    assert done.code == 0, done.err
    assert {"reconstruction", "heldout", "heldout_bilinear"} <= json.loads(done.out)["losses"].keys()
    rows = [row for row in csv.DictReader((tmp_path / "naf" / "log.csv").open()) if row["name"] == "reconstruction"]
    assert [row["step"] for row in rows][-1] == "2"

    model = ("--model", micro, "--quiet", "--upsampler-weights", tmp_path / "naf")
    for name, more in (("a", ("--batch-size", 1)), ("b", ("--batch-size", 3, "--workers", 2))):
        options = (*model, "--upsampler", "naf", "--tile-size", 144, "--overlap", 80, *TEXT, *more)
        done = command("segment", scene_file, tmp_path / f"{name}.tif", *options)
        assert done.code == 0, done.err
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert len(np.unique(labels_of(tmp_path / "a.tif"))) > 2
    done = command("segment", scene_file, tmp_path / "c.tif", *model, "--upsampler", "naf", "--tile-size", 112, *TEXT)
    assert done.code == 2 and not (tmp_path / "c.tif").exists()
    assert "naf needs 9 tokens of 16 pixels a side, and windows here have 7 x 7: --tile-size 144 or more" in done.err
    done = command("upsample", scene_file, tmp_path / "f.tif", *model, "--method", "naf", "--tile-size", 144)
    assert done.code == 0, done.err
    with rasterio.open(tmp_path / "f.tif") as found:
        assert found.shape == (130, 190) and float(np.nanstd(found.read())) > 0
