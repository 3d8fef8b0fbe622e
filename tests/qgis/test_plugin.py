"""The plugin in QGIS without a window: every algorithm on a rendered scene, with the embedded model."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
from rasterio.warp import transform_bounds

from earthwords.synthetic import render_pair
from earthwords.tasks.doctor import Diagnosis
from tests.conftest import ROOT, write_raster

PROCESS = Path("/usr/bin/qgis_process.bin")
"""Debian's `qgis_process` passes an option to this that it does not know."""
SESSION = Path(__file__).with_name("session.py")
WORDS = "building,roof\nwater;trees\ngrass"
TITLES = ["building", "water", "trees", "grass"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROCESS.exists(), reason="no QGIS here: `make test-qgis` installs it as root on Debian"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of QGIS without a window and with a home of its own; the command is the one of these sources."""
    folder = tmp_path_factory.mktemp("qgis")
    (folder / "run").mkdir(mode=0o700)
    command = folder / "earthwords"
    source = shlex.quote(str(ROOT / "src"))
    command.write_text(
        f"#!/bin/sh\n"
        f'test -z "$PYTHONPATH$PYTHONHOME$GDAL_DATA$PROJ_LIB$PROJ_DATA$LD_LIBRARY_PATH" || exit 9\n'
        f'PYTHONPATH={source} OMP_NUM_THREADS=1 exec {shlex.quote(sys.executable)} -m earthwords "$@"\n'
    )
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "QT_", "GDAL", "PROJ"))}
    return {
        **kept, "QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(folder / "run"), "HOME": str(folder),
        "QGIS_PLUGINPATH": str(ROOT / "qgis"), "EARTHWORDS_COMMAND": str(command), "PROJ_LIB": "/usr/share/proj",
        "GDAL_DATA": "/usr/share/gdal", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip


def session(environment: dict[str, str], folder: Path, jobs: dict[str, Any]) -> dict[str, Any]:
    """What came of jobs, see session.py."""
    given, found = folder / "jobs.json", folder / "results.json"
    given.write_text(json.dumps(jobs))
    argv = ["/usr/bin/python3", str(SESSION), str(ROOT / "qgis"), str(given), str(found)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(found.read_text()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """Two dates of 160 x 224 pixels in a folder of their own, and a large scene."""
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "archive").mkdir()
    pair = render_pair(height=160, width=224, gsd=0.5, theme="town", seed=3, changes=("buildings built",))
    for name, scene in (("before", pair.before), ("after", pair.after)):
        grid, data = scene.grid, np.moveaxis(scene.image, -1, 0)
        placed = {"crs": grid.crs, "transform": grid.transform, "photometric": "RGB"}
        write_raster(folder / "archive" / f"{name}.tif", data, **placed)
    write_raster(folder / "large.tif", np.tile(data, (1, 7, 6)), **placed)
    return folder


@pytest.fixture(scope="module")
def jobs(folder: Path) -> dict[str, Any]:
    """Name to algorithm and parameters."""
    scene = str(folder / "archive" / "after.tif")
    with rasterio.open(scene) as dataset:
        west, south, east, north = dataset.bounds
        part = transform_bounds(dataset.crs, "EPSG:4326", west + 20, south + 16, east - 36, north - 8)
        crs = dataset.crs.to_string()
    extent = f"{part[0]},{part[2]},{part[1]},{part[3]} [EPSG:4326]"
    places = {"built": [(20, 20), (50, 40), (90, 70)], "green": [(30, 60), (70, 20), (105, 75)]}
    marks = [[kind, west + x, north - y] for kind, found in places.items() for x, y in found]
    found: dict[str, Any] = {
        "segment": {"INPUT": scene, "WORDS": WORDS, "EXTENT": extent, "EXTRA": "--batch-size 1"},
        "refer": {"INPUT": scene, "WORDS": "the road; a building", "ALL": True},
        "change": {"BEFORE": str(folder / "archive" / "before.tif"), "AFTER": scene, "WORDS": "building,roof,house"},
        "count": {"INPUT": scene, "WORDS": "building,house", "AS": 2},
        "teach": {"LABELS": {"points": marks, "crs": crs}, "COLUMN": "kind", "SCENES": [scene], "WORDS": "built;green"},
        "index": {"INPUT": str(folder / "archive")},
        "search": {"INDEX": str(folder / "index"), "WORDS": "buildings", "TOP": 2, "EXTENT": extent},
    }
    found = {name: {"algorithm": f"earthwords:{name}", "parameters": each} for name, each in found.items()}
    for name, job in found.items():
        job["parameters"]["OUTPUT"] = str(folder / (name if name != "search" else "places.gpkg"))
    segment = {"WORDS": WORDS, "OUTPUT": str(folder / "none")}
    odd = {
        "taught": {"INPUT": scene, "WORDS": "", "TAUGHT": str(folder / "teach"), "OUTPUT": str(folder / "taught.v1")},
        "no words": {**segment, "INPUT": scene, "WORDS": " ; "},
        "memory": {**segment, "INPUT": {"copy": scene}},
        "description": {**segment, "INPUT": {"source": vrt_of(scene)}},
        "elsewhere": {**segment, "INPUT": scene, "EXTENT": "0,1,0,1 [EPSG:4326]"},
        "wrong": {**segment, "INPUT": scene, "PRESET": "tinny"},
        "there": {**segment, "INPUT": scene, "OUTPUT": str(folder / "segment")},
        "cancelled": {"INPUT": str(folder / "large.tif"), "WORDS": WORDS, "OUTPUT": str(folder / "cancelled")},
        "missing": {**segment, "INPUT": scene},
    }
    found["doctor"] = {"algorithm": "earthwords:doctor", "parameters": {}}
    found |= {name: {"algorithm": "earthwords:segment", "parameters": each} for name, each in odd.items()}
    found["cancelled"]["cancels"] = True
    found["doctor"]["environment"] = {"EARTHWORDS_COMMAND": str(well(folder))}
    found["missing"]["environment"] = {"EARTHWORDS_COMMAND": str(folder / "nowhere")}
    return found


def well(folder: Path) -> Path:
    """A command that says of itself that it is well, as `doctor` does (tests/tasks/test_doctor.py)."""
    said = Diagnosis(checks=(), version="9.8", verbs=("segment",), devices=("cpu",), presets={}).as_json()
    path = folder / "well"
    path.write_text(f"#!/bin/sh\necho {shlex.quote(json.dumps(said))}\n")
    path.chmod(0o755)
    return path


def vrt_of(path: str) -> str:
    """A virtual raster as a text without a file."""
    with rasterio.open(path) as dataset:
        return (
            f'<VRTDataset rasterXSize="{dataset.width}" rasterYSize="{dataset.height}"><VRTRasterBand dataType="Byte" '
            f'band="1"><SimpleSource><SourceFilename>{path}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
            "</VRTRasterBand></VRTDataset>"
        )


def check_segment(done: dict[str, Any], folder: Path) -> None:
    found = done["segment"]
    assert found["ok"], found
    out = folder / "segment"
    assert found["results"] == {
        "OUTPUT": str(out), "LABELS": str(out / "labels.tif"), "POLYGONS": str(out / "polygons.gpkg"),
        "REPORT": str(out / "report.json"),
    }  # fmt: skip
    with rasterio.open(folder / "archive" / "after.tif") as source, rasterio.open(out / "labels.tif") as labels:
        wanted = np.add(source.bounds, (20, 16, -36, -8))
        assert np.abs(np.array(labels.bounds) - wanted).max() < 2, "the extent was in degrees"
        assert labels.crs == source.crs and labels.res == source.res and labels.shape != source.shape
    report = json.loads((out / "report.json").read_text())
    assert [row["name"] for row in report["classes"]][:4] == TITLES
    assert found["loaded"]["labels"]["renderer"] == "paletted"
    assert found["loaded"]["labels"]["name"] == "after: labels"
    assert set(TITLES) <= set(found["loaded"]["labels"]["labels"])
    assert found["loaded"]["polygons"]["renderer"] == "categorizedSymbol"
    assert max(found["percents"]) == 100 and any("segmenting: " in text for text in found["texts"])
    assert set(report["notes"]) <= {*found["info"], *found["warnings"]}


def check_map(done: dict[str, Any], name: str, raster: str | None, vector: str) -> None:
    found = done[name]
    assert found["ok"], found
    results = found["results"]
    assert pyogrio.read_info(results[vector])["crs"] == done["crs"]
    if raster is not None:
        with rasterio.open(results[raster]) as dataset:
            assert dataset.shape == (160, 224)
    assert {each["path"] for each in found["loaded"].values()} == {results[each] for each in (raster, vector) if each}
    assert {each["renderer"] for each in found["loaded"].values()} <= {"paletted", "categorizedSymbol"}


def check_options(done: dict[str, Any]) -> None:
    assert pyogrio.read_info(done["count"]["results"]["INSTANCES"])["geometry_type"] == "Point"
    referred = json.loads(Path(done["refer"]["results"]["REPORT"]).read_text())
    assert [row["name"] for row in referred["classes"]] == ["the road", "a building"]


def check_taught(done: dict[str, Any], folder: Path) -> None:
    assert done["teach"]["ok"] and (folder / "teach" / "preset.toml").exists(), done["teach"]
    assert done["taught"]["ok"], done["taught"]
    report = json.loads((folder / "taught.v1" / "report.json").read_text())
    assert {"built", "green"} <= {row["name"] for row in report["classes"]}


def check_index(done: dict[str, Any], folder: Path) -> None:
    assert done["index"]["ok"] and done["search"]["ok"], (done["index"], done["search"])
    places = pyogrio.read_info(folder / "places.gpkg")
    assert places["features"] == 2 and {"score", "source"} <= set(places["fields"])


def check_doctor(done: dict[str, Any]) -> None:
    assert done["doctor"]["ok"], done["doctor"]
    assert done["doctor"]["results"]["FOUND"].startswith("All is well: earthwords 9.8, cpu (")


REFUSED = {
    "no words": "Say what to look for",
    "memory": "lies in the memory of QGIS: save it as a GeoTIFF first",
    "description": "is a description without a file: save it",
    "elsewhere": "The extent does not touch layer",
    "wrong": "Did you mean 'tiny'?",
    "there": "--overwrite",
    "missing": "There is no command earthwords at",
}
"""Job to what is said of it."""


def check_refused(done: dict[str, Any], folder: Path, name: str, sentence: str) -> None:
    found = done[name]
    why = found.get("refused") or found.get("error") or " ".join([*found["warnings"], *found["info"]])
    if name == "missing":
        assert found["can"][0] is False
        why = found["can"][1]
    assert sentence in why, found
    assert "Traceback" not in why and not (folder / "none").exists()


def check_cancelled(done: dict[str, Any], folder: Path) -> None:
    found = done["cancelled"]
    assert "error" not in found and found["results"] == {} and found["info"][-1] == "Cancelled."
    out = folder / "cancelled"
    assert not out.exists() or not [path for path in out.iterdir() if not path.name.startswith(".")]


def test_every_algorithm(environment: dict[str, str], folder: Path, jobs: dict[str, Any]) -> None:
    """One test, so that QGIS starts once, whatever number of processes share the tests."""
    done = session(environment, folder, jobs)
    with rasterio.open(folder / "archive" / "after.tif") as dataset:
        done["crs"] = dataset.crs.to_string()
    check_segment(done, folder)
    check_map(done, "refer", "LABELS", "POLYGONS")
    check_map(done, "change", "CHANGE", "POLYGONS")
    check_map(done, "count", None, "INSTANCES")
    check_options(done)
    check_taught(done, folder)
    check_index(done, folder)
    check_doctor(done)
    for name, sentence in REFUSED.items():
        check_refused(done, folder, name, sentence)
    check_cancelled(done, folder)


def test_without_a_session(environment: dict[str, str]) -> None:
    """As QGIS itself finds the plugin."""
    subprocess.run([PROCESS, "plugins", "enable", "earthwords_qgis"], env=environment, capture_output=True, check=True)
    told = subprocess.run([PROCESS, "list"], env=environment, capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"earthwords:(\w+)", told))
    assert names == {"segment", "refer", "change", "count", "teach", "index", "search", "doctor"}
