"""The main verbs where the locale is not UTF-8: names and words of any language, in files, outputs and tables."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_raster
from tests.micro import patchwork

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="names are UTF-8 there whatever the locale")

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
DRIVER = """
import json, sys
from earthwords.cli import main
for argv in json.loads(sys.argv[1]):
    print("CODE", main(argv), flush=True)
"""


def test_the_verbs_in_an_ascii_locale(micro: Path, tmp_path: Path) -> None:
    """One process runs them all, as the command line would begin it."""
    folder = tmp_path / "北京"
    (folder / "scenes").mkdir(parents=True)
    for i, name in enumerate(("café.tif", "水库.tif")):
        write_raster(folder / "scenes" / name, np.moveaxis(patchwork(70, 90, seed=i), -1, 0))
    (folder / "類.txt").write_text("水,river\n道路\n", encoding="utf-8")
    (folder / "句.txt").write_text("左邊的房子\n", encoding="utf-8")
    (folder / "list.txt").write_text(f"{folder}/scenes/水库.tif\n", encoding="utf-8")
    model, quiet = ["--model", str(micro)], ["--quiet"]
    scene, scenes = str(folder / "scenes" / "水库.tif"), str(folder / "scenes")
    window = [*model, "--tile-size", "64"]
    runs = [
        ["segment", scenes, str(folder / "图"), "--classes", str(folder / "類.txt"), *window],
        ["segment", f"@{folder / 'list.txt'}", str(folder / "listed"), "-t", "水", "-t", "路", *window, "--json"],
        ["upsample", scene, str(folder / "特征"), "--method", "bilinear", *window],
        ["index", scenes, str(folder / "索引"), *model],
        ["search", str(folder / "索引"), "水", str(folder / "结果"), "--offline"],
        ["classify", scenes, "-t", "水", "-t", "道路", *model, "-o", str(folder / "类.csv")],
        ["segment", str(folder / "scenes" / "沒有.tif"), str(folder / "x"), "-t", "水", *quiet],
    ]
    environment = {**os.environ, **ASCII, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", DRIVER, json.dumps(runs)], env=environment, capture_output=True,
        check=False, timeout=300,
    )  # fmt: skip
    out, err = done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
    assert "Traceback" not in err and "Unexpected" not in err, err
    assert [line for line in out.splitlines() if line.startswith("CODE")] == ["CODE 0"] * 6 + ["CODE 1"], out + err
    assert "沒有.tif does not exist" in err
    batch = (folder / "图" / "batch.json").read_text(encoding="utf-8")
    assert "水库.tif" in batch and json.loads(batch)["scenes"][1]["status"] == "done"
    assert (folder / "图" / "水库" / "labels.tif").exists() and (folder / "特征" / "features.tif").exists()
    with (folder / "类.csv").open(encoding="utf-8", newline="") as file:
        assert {Path(row["source"]).name for row in csv.DictReader(file)} == {"café.tif", "水库.tif"}
    assert "水库.tif" in (folder / "结果" / "results.csv").read_text(encoding="utf-8")


def test_the_command_begins_again_in_utf8(micro: Path, scene_file: Path, tmp_path: Path) -> None:
    """Words and names on the command line itself, through the script and through `python -m`."""
    (tmp_path / "地图").mkdir()
    shutil.copy(scene_file, tmp_path / "有.tif")
    script = Path(sys.executable).with_name("earthwords")
    starts = [[sys.executable, "-m", "earthwords"], *([[str(script)]] if script.exists() else [])]
    environment = {**os.environ, **ASCII, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for start in starts:
        argv = [*start, "segment", "没有.tif", str(tmp_path / "地图"), "-t", "水"]
        done = subprocess.run(argv, env=environment, capture_output=True, check=False, timeout=200, cwd=tmp_path)
        assert done.returncode == 1 and done.stderr.decode("utf-8").startswith("earthwords: 没有.tif does not exist")
    argv = [*starts[0], "segment", "有.tif", "地图", "-t", "水", "-t", "路", "--model", str(micro), "--tile-size", "64"]
    done = subprocess.run(argv, env=environment, capture_output=True, check=False, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "地图" / "report.json").read_text(encoding="utf-8"))
    assert report["source"] == "有.tif" and [row["name"] for row in report["classes"]] == ["水", "路"]


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_python_in_an_ascii_locale(scene_file: Path, tmp_path: Path) -> None:
    """Without the command line names are bytes that Python did not decode; GDAL takes them all the same."""
    shutil.copy(scene_file, tmp_path / "水.tif")
    code = (
        "import os, sys\nfrom earthwords.geo.scene import open_scene\nfrom earthwords.geo.geotiff import RasterWriter\n"
        "name = next(n for n in os.listdir('.') if n.endswith('.tif'))\n"
        "assert not name.isascii() and sys.getfilesystemencoding() == 'ascii'\n"
        "with open_scene(name) as scene:\n"
        "    grid = scene.native\n"
        "with RasterWriter('out' + name, grid=grid, dtype='uint8') as writer:\n"
        "    import numpy; writer.write(0, numpy.ones(grid.shape, 'uint8'))\n"
    )
    environment = {**os.environ, **ASCII, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    assert (tmp_path / "out水.tif").exists()
