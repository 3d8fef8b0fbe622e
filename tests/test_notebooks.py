"""The notebooks of the documentation run from top to bottom, and hold no outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"


def executed(name: str) -> dict[str, Any]:
    """What the cells of a notebook leave behind."""
    found: dict[str, Any] = {}
    for number, cell in enumerate(json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            assert not cell["outputs"] and cell["execution_count"] is None, "outputs are not kept in the repository"
            exec(compile("".join(cell["source"]), f"{name}, cell {number}", "exec"), found)
    return found


def test_teach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = executed("teach.ipynb")
    means = found["compared"].mean()
    assert means["marks"] > means["words"]
    assert (tmp_path / "my-greenhouses/preset.toml").is_file() and (tmp_path / "notebook-map/labels.tif").is_file()
    assert found["by_marks"]._repr_png_() and len(found["next_marks"]) == 5


def test_first_map(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("anywidget", reason="the map of a notebook needs anywidget")
    monkeypatch.chdir(tmp_path)
    found = executed("first-map.ipynb")
    assert found["shown"].thresholds["building"] == 0.2
    observed = found["result"].valid.sum()
    assert 0 < found["areas"].sum() <= observed, "square metres of pixels of a metre"
    assert (tmp_path / "town-map/polygons.gpkg").is_file()


def test_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = executed("change.ipynb")
    assert len(found["changes"]) > 0 and set(found["changes"].columns) >= {"from", "to", "area_m2"}
    assert (tmp_path / "greener/change.tif").is_file()


def test_each_has_its_test() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"teach.ipynb", "first-map.ipynb", "change.ipynb"}
