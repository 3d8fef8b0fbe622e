"""The code of `docs/uses`, and of `docs/change.md`, runs as it is written, and finds something."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "uses"


@pytest.fixture
def run(tiny: Path) -> Any:
    def run(page: str) -> dict[str, Any]:
        """All of a page's code, in one namespace."""
        code = re.findall(r"```python\n(.*?)```", (FOLDER / f"{page}.md").read_text(encoding="utf-8"), flags=re.S)[-1]
        assert 20 <= len(code.splitlines()) <= 50
        names: dict[str, Any] = {}
        exec(compile(code, f"{page}.md", "exec"), names)
        return names

    return run


def test_pooling(run: Any) -> None:
    names = run("pooling")
    assert len(names["found"]) == names["count"] > 3
    assert names["found"].count("house") > 0.4 * names["count"]
    assert set(names["likeness"]) == set(names["words"])


def test_peaks(run: Any) -> None:
    names = run("peaks")
    scene, peaks = names["scene"], names["peaks"]
    boxes = [thing.box for thing in scene.objects if thing.title == "storage tank"]
    inside = [any(r0 <= r < r1 and c0 <= c < c1 for r0, c0, r1, c1 in boxes) for r, c in peaks.points]
    assert np.mean(inside) > 0.5 and sum(inside) > len(boxes) / 3
    assert names["places"].shape == (len(peaks), 2)
    left, bottom, right, top = scene.grid.bounds
    assert ((names["places"] > (left, bottom)) & (names["places"] < (right, top))).all()


def test_change(run: Any) -> None:
    names = run("../change")
    mask = names["pair"].mask > 0
    assert names["anything"].shape == names["built"].shape == mask.shape
    assert names["anything"][mask].mean() > 1.5 * names["anything"][~mask].mean()
    assert np.abs(names["built"][mask]).mean() > 2 * np.abs(names["built"][~mask]).mean()


def test_every_page_is_tested_and_its_pictures_are_there() -> None:
    assert {page.stem for page in FOLDER.glob("*.md")} == {"pooling", "peaks"}
    for page in (*FOLDER.glob("*.md"), FOLDER.parent / "change.md"):
        for target in re.findall(r"\]\(((?:\.\.?/|images/)[^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), target
