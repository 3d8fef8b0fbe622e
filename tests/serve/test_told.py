"""What the server tells of files that it leaves out, and of where files lie: names below the folder, no other paths."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import earthwords
from earthwords.serve.errors import without_folders
from earthwords.types import SCORE_STEPS
from tests.conftest import ROOT, write_raster
from tests.serve.conftest import PLACE

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

NOTES = ROOT / "web" / "src" / "page" / "messages" / "notes.json"


def test_files_that_are_left_out_are_told_with_the_reason(client: TestClient, folder: Path) -> None:
    (folder / "deep" / "broken.tif").write_bytes(b"II*\0 and then nothing of a TIFF")
    (folder / "text.png").write_text("no picture")
    told = {each["name"]: each["reason"] for each in client.get("/api/sources").json()["left_out"]}
    assert set(told) == {"deep/broken.tif", "text.png"}
    assert all(reason.strip() and str(folder) not in reason for reason in told.values()), told
    (folder / "text.png").unlink()
    (folder / "deep" / "broken.tif").unlink()
    write_raster(folder / "deep" / "broken.tif", np.ones((3, 8, 8), np.uint8), transform=PLACE, crs="EPSG:32632")
    answer = client.get("/api/sources").json()
    assert answer["left_out"] == [] and "deep/broken.tif" in {each["name"] for each in answer["sources"]}


def test_errors_name_files_relative_to_the_folder(client: TestClient, folder: Path) -> None:
    empty = np.zeros((3, 40, 50), np.uint8)
    write_raster(folder / "deep" / "empty.tif", empty, nodata=0, transform=PLACE, crs="EPSG:32632")
    source = next(each for each in client.get("/api/sources").json()["sources"] if each["name"] == "deep/empty.tif")
    answer = client.get(f"/api/sources/{source['id']}")
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert "deep/empty.tif" in detail and str(folder) not in detail, detail


def test_the_deeper_folder_goes_first() -> None:
    root, inner = Path("/data/root"), Path("/data/root/.earthwords")
    said = "/data/root/.earthwords/results/a/labels.tif and /data/root/b.tif, not /data/rooted/c.tif"
    assert without_folders(said, root, inner) == "results/a/labels.tif and b.tif, not /data/rooted/c.tif"


@cache
def sentences() -> str:
    """All texts in the package, where values stand a line break."""
    found = []
    for path in Path(earthwords.__file__).parent.rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        found += [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join(found)


@pytest.mark.skipif(not NOTES.is_file(), reason="web/, the sources of the page, is not beside these tests")
def test_sentences_that_the_page_says_in_other_words_are_those_of_the_package() -> None:
    """Parts of each pattern between its groups are parts of a text, so that a sentence that changes is noticed."""
    rows = json.loads(NOTES.read_text(encoding="utf-8"))
    lost = []
    for pattern, said in [*rows["page"], *rows["zh"]]:
        assert re.compile(pattern).groups >= len(set(re.findall(r"\$(\d)", said))), pattern
        for part in re.split(r"\\[()]|\((?:[^()\\]|\\.)*\)|\[[^\]]*\]\*?|[?:;.,]", pattern):
            plain = re.sub(r"\\(.)", r"\1", part).strip(" \\")
            if len(plain) > 6 and plain not in sentences():
                lost.append((pattern, plain))
    assert lost == []


def test_the_page_counts_scores_as_the_package_does() -> None:
    if not NOTES.is_file():
        pytest.skip("web/, the sources of the page, is not beside these tests")
    source = (ROOT / "web" / "src" / "page" / "map" / "scores.ts").read_text(encoding="utf-8")
    assert f"Math.ceil({SCORE_STEPS} * threshold" in source
