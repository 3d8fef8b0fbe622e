"""Many scenes: folders, patterns, lists; what is done stays, what fails is told, the others go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earthwords.tasks._sources import find_sources
from tests.conftest import Outcome, write_raster
from tests.micro import patchwork
from tests.tasks.conftest import BUNDLE, labels_of, names

Segment = Callable[..., Outcome]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three scenes in two folders, and files that are none."""
    root = tmp_path / "archive"
    (root / "north").mkdir(parents=True)
    for i, name in enumerate(("a.tif", "b.TIF", "north/a.tif")):
        write_raster(root / name, np.moveaxis(patchwork(70, 90 + 10 * i, seed=i), -1, 0))
    (root / "notes.txt").write_text("not a raster")
    (root / ".hidden.tif").write_text("nor this")
    return root


def entries(folder: Path) -> dict[str, dict[str, str]]:
    return {entry["source"]: entry for entry in json.loads((folder / "batch.json").read_text())["scenes"]}


def test_what_is_found(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = [str(archive / name) for name in ("a.tif", "b.TIF", "north/a.tif")]
    assert find_sources(str(archive)) == everything
    assert find_sources(str(archive / "*.tif")) == [everything[0]]
    assert find_sources(str(archive / "**" / "*.tif")) == [everything[0], everything[2]]
    (tmp_path / "list.txt").write_text(f"\ufeff# a comment\n{everything[2]}\n\n  {everything[0]}\n", encoding="utf-8")
    assert find_sources(f"@{tmp_path / 'list.txt'}") == [everything[2], everything[0]]
    assert find_sources(everything[0]) is None
    assert find_sources("https://example.org/a.tif?x=*") is None
    monkeypatch.chdir(archive / "north")
    assert find_sources("..") == ["../a.tif", "../b.TIF", "../north/a.tif"]
    monkeypatch.chdir(archive)
    Path("odd[1].tif").write_bytes(Path("a.tif").read_bytes())
    assert find_sources("odd[1].tif") is None, "a file of that name is there"


def test_a_folder_of_scenes(segment: Segment, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps"
    done = segment(archive, out)
    assert done.code == 0, done.err
    assert "3 scenes, 0 failed" in done.out
    assert names(out) == {"a", "b", "north", "batch.json"} and names(out / "north" / "a") == BUNDLE
    for name, source in (("a", "a.tif"), ("b", "b.TIF"), ("north/a", "north/a.tif")):
        assert segment(archive / source, tmp_path / "single.tif", "--overwrite").code == 0
        np.testing.assert_array_equal(labels_of(out / name / "labels.tif"), labels_of(tmp_path / "single.tif"))
    assert {entry["status"] for entry in entries(out).values()} == {"done"}


def test_what_is_done_is_left_alone(segment: Segment, archive: Path, tmp_path: Path) -> None:
    pattern = tmp_path / "maps" / "{stem}.tif"
    (archive / "north" / "a.tif").rename(archive / "north" / "c.tif")
    assert segment(archive, pattern).code == 0
    assert names(tmp_path / "maps") == {"a.tif", "b.tif", "c.tif", "batch.json"} | {
        f"{stem}.tif.aux.xml" for stem in "abc"
    }
    (tmp_path / "maps" / "b.tif").unlink()
    before = (tmp_path / "maps" / "a.tif").stat().st_mtime_ns
    assert segment(archive, pattern).code == 0
    status = {Path(source).stem: entry["status"] for source, entry in entries(tmp_path / "maps").items()}
    assert status == {"a": "before", "b": "done", "c": "before"}
    assert (tmp_path / "maps" / "a.tif").stat().st_mtime_ns == before
    other = segment(archive, pattern, "--threshold", 0.5)
    assert other.code == 1 and "exists; pass --overwrite" in other.out
    assert segment(archive, pattern, "--threshold", 0.5, "--overwrite").code == 0
    assert (tmp_path / "maps" / "a.tif").stat().st_mtime_ns != before


def test_a_broken_scene_stops_none_of_the_others(segment: Segment, archive: Path, tmp_path: Path) -> None:
    (archive / "aa.tif").write_bytes(b"II*\0 no raster")
    done = segment(archive, tmp_path / "maps")
    assert done.code == 1 and "Traceback" not in done.err
    assert "4 scenes, 1 failed" in done.out
    failed = entries(tmp_path / "maps")[str(archive / "aa.tif")]
    assert failed["status"] == "failed" and "is not a raster that GDAL can read" in failed["reason"]
    assert names(tmp_path / "maps") == {"a", "b", "north", "batch.json"}
    (archive / "aa.tif").unlink()
    again = segment(archive, tmp_path / "maps")
    assert again.code == 0 and "3 scenes, 0 failed" in again.out


def test_scenes_side_by_side(segment: Segment, archive: Path, tmp_path: Path) -> None:
    assert segment(archive, tmp_path / "one").code == 0
    assert segment(archive, tmp_path / "two", "--workers", 2).code == 0
    for path in (tmp_path / "one").rglob("labels.tif"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


REFUSALS = [
    (["archive", "maps.tif"], "3 scenes cannot go into the one file maps.tif; name a folder, or a pattern such as"),
    (["archive", "maps/{stem}.tif"], "would both be written to maps/a.tif; rename one of them"),
    (["archive/*.jp2", "maps"], "No raster was found for archive/*.jp2"),
    (["@missing.txt", "maps"], "Cannot read the list missing.txt"),
    (["@archive/a.tif", "maps"], "Cannot read the list archive/a.tif"),
]


@pytest.mark.parametrize(("argv", "sentence"), REFUSALS)
def test_what_cannot_be(
    segment: Segment, archive: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], sentence: str
) -> None:
    monkeypatch.chdir(archive.parent)
    segment(*argv).failed(2, sentence)
    assert names(archive.parent) == {"archive"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--memory", "lots"], "The memory is a size such as 2GiB or 1500MB, not 'lots'"),
        (["--memory", "1MB"], "of memory, 1 MiB were given; give more by --memory"),
        (["--workers", "0"], "At least one worker must do the work, got 0"),
        (["--blend-mode", "max"], 'Invalid value "max" for --blend-mode. Choose from: "mean", "linear", "cosine".'),
        (["--energy", "1.5"], "a share above 0 and up to 1, got 1.5"),
        (["--on-error", "ignore"], "Choose from"),
    ],
)
def test_numbers_that_are_wrong(
    segment: Segment, archive: Path, tmp_path: Path, options: list[str], sentence: str
) -> None:
    segment(archive / "a.tif", tmp_path / "out", *options).failed(2, sentence)
    assert names(tmp_path) == {"archive"}
