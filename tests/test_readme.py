"""What the READMEs say to type can be typed, and does what they say."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import geopandas
import numpy as np
import pytest
from shapely import Point

from earthwords.cli.app import app
from earthwords.synthetic import render_scene
from tests.conftest import CRS, ROOT, TRANSFORM, Command, write_raster

PAGES = ["README.md", "README.zh-CN.md"]
PROGRAM = ".venv/bin/earthwords "


def blocks(page: str) -> list[list[str]]:
    """The indented blocks of a page, line by line, and those behind ```shell or ```bash."""
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = re.findall(r"^```(?:sh|shell|bash)\n(.*?)^```", text, flags=re.M | re.S)
    plain = re.findall(r"(?:^ {4}\S.*\n)+", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), flags=re.M)
    return [[line.strip() for line in block.splitlines()] for block in (*plain, *fenced)]


def python(page: str) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S))


@pytest.fixture
def ortho(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rendered `ortho.tif` in the current folder."""
    monkeypatch.chdir(tmp_path)
    scene = render_scene(height=96, width=140, gsd=0.5, theme="town", seed=3)
    data = np.moveaxis(scene.image, -1, 0)
    path = write_raster(tmp_path / "ortho.tif", data, photometric="RGB", transform=TRANSFORM)
    shutil.copy(path, tmp_path / "2019.tif")
    write_raster(tmp_path / "2024.tif", np.roll(data, 9, axis=2), photometric="RGB", transform=TRANSFORM)
    (tmp_path / "scenes").mkdir()
    shutil.copy(path, tmp_path / "scenes")
    points = [Point(TRANSFORM @ (col + 0.5, row + 0.5)) for row, col in ((10, 20), (80, 30), (40, 100), (70, 130))]
    marks = geopandas.GeoDataFrame({"class": ["water", "water", "trees", "trees"]}, geometry=points, crs=CRS)
    marks.to_file(tmp_path / "marks.gpkg")
    return path


@pytest.mark.parametrize("page", PAGES)
def test_two_commands_come_first(page: str) -> None:
    assert blocks(page)[0] == ["make demo", "make test"]
    assert blocks(page)[1][0].startswith(f"{PROGRAM}segment ortho.tif out -t")


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("goal", ["demo", "test"])
def test_the_two_commands_set_up_and_do_it(goal: str, tmp_path: Path) -> None:
    argv = ["make", "--dry-run", "--always-make", goal, f"VENV={tmp_path / 'venv'}"]
    told = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    steps = [line for line in told.splitlines() if "venv" in line]
    assert "-m venv" in steps[0] and "pip install" in steps[1]
    assert ("earthwords demo" if goal == "demo" else "-m pytest") in steps[-1]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_runs(tiny: Path, ortho: Path, command: Command, page: str) -> None:
    typed = [line for block in blocks(page) for line in block if not line.startswith("make ")]
    assert len(typed) >= 2
    for line in typed:
        assert line.startswith(PROGRAM), f"what is {line!r}?"
        done = command(*shlex.split(line.removeprefix(PROGRAM)), "--quiet")
        assert done.code == 0, f"{line}: {done.err}"
    told = set(re.findall(r"`(\w+\.\w+)`", (ROOT / page).read_text(encoding="utf-8").split("| `report.json`")[0]))
    made = {path.name for path in Path("out").iterdir()}
    assert {"labels.tif", "polygons.gpkg", "preview.png", "labels.qml", "polygons.qml"} <= told <= made | {"README.md"}


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_the_page_runs(tiny: Path, ortho: Path, page: str) -> None:
    exec(compile(python(page), page, "exec"), {})
    assert (Path("out") / "labels.tif").exists()


def typed_commands() -> list[tuple[str, str]]:
    """Every command line in a block of any page, with its page; what is optional is given."""
    found = []
    for path in sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / page for page in PAGES)]):
        for block in re.findall(r"(?:^ {4}\S.*\n)+", path.read_text(encoding="utf-8"), flags=re.M):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.strip().removeprefix(".venv/bin/")
                if line.startswith("earthwords ") and " VERB " not in line:
                    found.append((path.name, line.partition(" # ")[0].removeprefix("earthwords ")))
    return found


@pytest.mark.parametrize(("page", "line"), typed_commands())
def test_commands_in_the_docs_are_understood(page: str, line: str) -> None:
    words = shlex.split(re.sub(r"\.\.\.|[\[\]]", " ", line), comments=True)
    words = [word for word in words if word not in ("--json", "--debug")]
    app.parse_args(words)


def test_there_are_commands_in_the_docs() -> None:
    assert len(typed_commands()) > 40
