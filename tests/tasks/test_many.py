"""Many scenes: folders, patterns, lists; what is done stays, what fails is told, the others go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.geo.sources.find import find_sources, places_of
from tests.conftest import Command, Outcome, write_raster
from tests.micro import patchwork
from tests.tasks.conftest import BUNDLE, TEXT, labels_of, names

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
    assert not done.out, "with --quiet nothing is told of what is in files"
    assert [entry["status"] for entry in entries(out).values()] == ["done"] * 3
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
    assert other.code == 2 and "but its threshold was 0 and is 0.5 now; run with what it was done with" in other.err
    assert segment(archive, pattern, "--threshold", 0.5, "--no-resume").code == 1, "what is there is not replaced"
    assert segment(archive, tmp_path / "maps" / "{stem}-0.5.tif", "--threshold", 0.5).code == 0, "other outputs"
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
    assert again.code == 0 and not again.out
    assert sorted(statuses(tmp_path / "maps")) == ["before", "before", "before", "failed"], "what is gone stays told"


def statuses(folder: Path) -> list[str]:
    return [entry["status"] for _, entry in sorted(entries(folder).items())]


def test_a_run_that_fails_forgets_nothing_of_what_is_there(segment: Segment, archive: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "maps", archive / "b.TIF"
    assert segment(archive, out).code == 0
    whole, about = source.read_bytes(), source.stat()
    assert segment(archive, out, "--no-resume", "--threshold", 0.5).code == 1, "all outputs are there"
    source.write_bytes(whole[:500])
    assert segment(archive, out).code == 1
    assert statuses(out) == ["before", "failed", "before"]
    assert segment(archive, out, "--no-resume").code == 1 and statuses(out) == ["failed"] * 3
    source.write_bytes(whole)
    os.utime(source, ns=(about.st_atime_ns, about.st_mtime_ns))
    refused = segment(archive, out, "--threshold", 0.5)
    assert refused.code == 2 and "its threshold was 0 and is 0.5 now" in refused.err, refused.err
    assert segment(archive, out).code == 0 and statuses(out) == ["before"] * 3


DIES_WITH = """
import os, signal, sys
from earthwords.cli import main
from earthwords.jobs.journal import Journal
save, what = Journal.save, os.replace

def replace(source, target):
    if str(target).endswith(os.environ["AT"]):
        if os.environ["BY"] == "death":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(28, "No space left on device")
    what(source, target)

os.replace = replace
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed another way there")
@pytest.mark.parametrize(
    ("at", "by"),
    [
        pytest.param("b/labels.tif", "death", marks=pytest.mark.slow),
        ("b/preview.png", "death"),
        pytest.param("b/preview.png", "no", marks=pytest.mark.slow),
    ],
)
def test_what_another_command_has_replaced_is_not_taken_for_done(
    segment: Segment, archive: Path, micro: Path, tmp_path: Path, at: str, by: str
) -> None:
    """It replaced outputs of `a.tif`, and maybe half of those of `b.TIF`; then it was killed, or the disk was full."""
    out = tmp_path / "maps"
    assert segment(archive, out).code == 0
    argv = ["segment", archive, out, "--model", micro, "--tile-size", 64, "--quiet", *TEXT, "--threshold", 0.5]
    other = [sys.executable, "-c", DIES_WITH, *map(str, argv), "--overwrite"]
    subprocess.run(other, env={**os.environ, "AT": at, "BY": by}, capture_output=True)
    assert by == "no" or "its threshold was 0.5 and is 0 now" in segment(archive, out).err
    assert segment(archive, out, "--no-resume").code == 1, "all outputs are there"
    done = segment(archive, out)
    assert done.code == (2 if by == "no" else 1), done.out + done.err
    assert by == "no" or statuses(out) == ["failed", "before" if "labels" in at else "failed", "before"]
    assert segment(archive, out, "--overwrite", "--no-resume").code == 0
    for name in ("a", "b", "north/a"):
        report = json.loads((out / name / "report.json").read_text())
        assert report["settings"]["threshold"] == "0"


def test_scenes_side_by_side(segment: Segment, archive: Path, tmp_path: Path) -> None:
    assert segment(archive, tmp_path / "one").code == 0
    assert segment(archive, tmp_path / "two", "--workers", 2).code == 0
    for path in (tmp_path / "one").rglob("labels.tif"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_the_same_command_twice(segment: Segment, archive: Path, command: Command, micro: Path) -> None:
    """Maps inside the folder of scenes are no scenes, whatever kind they are of."""
    out = archive / "maps"
    assert segment(archive, out, "--probabilities", "uint8").code == 0
    before = {path: path.stat().st_mtime_ns for path in archive.rglob("*.*") if path.name != "batch.json"}
    argv = ["segment", archive, out, "--model", micro, "--tile-size", 64, *TEXT, "--probabilities", "uint8"]
    for _ in range(2):
        done = command(*argv)
        assert done.code == 0 and {entry["status"] for entry in entries(out).values()} == {"before"}
        assert "Left out 9 files that earthwords wrote, such as" in done.err
        assert {path: path.stat().st_mtime_ns for path in archive.rglob("*.*") if path.name != "batch.json"} == before
    assert len(json.loads((out / "batch.json").read_text(encoding="utf-8"))["left_out"]) == 9


def test_outputs_of_all_kinds_are_no_scenes(
    segment: Segment, command: Command, archive: Path, micro: Path, tmp_path: Path
) -> None:
    everything = find_sources(str(archive))
    model = ["--model", micro, "--quiet"]
    assert segment(archive / "a.tif", archive / "one").code == 0
    assert segment(archive / "a.tif", archive / "quick.png").code == 0
    upsampled = ["--method", "bilinear", "--tile-size", 64, *model]
    assert command("upsample", archive / "a.tif", archive / "features", *upsampled).code == 0
    assert command("index", archive, tmp_path / "index", *model, "--tile-size", 32).code == 0
    found = ["--offline", "--quiet", "--device", "cpu"]
    assert command("search", tmp_path / "index", "road", archive / "sheet.png", *found).code == 0
    told: list[str] = []
    assert find_sources(str(archive), say=told.append) == everything
    assert told == [f"Left out 6 files that earthwords wrote, such as {archive / 'features' / 'features.tif'}."]


def test_an_output_that_is_named_is_a_scene(command: Command, segment: Segment, archive: Path, micro: Path) -> None:
    assert segment(archive / "a.tif", archive / "probabilities.png").code == 0
    source = archive / "probabilities.png"
    done = command("segment", source, archive / "again.tif", "--model", micro, "--tile-size", 64, *TEXT)
    assert done.code == 0 and f"Note: {source} was written by earthwords itself." in done.err


def test_a_copy_of_an_output_is_one_still(segment: Segment, archive: Path, tmp_path: Path) -> None:
    """The tag is in the file, not in its name."""
    assert segment(archive / "a.tif", tmp_path / "labels.tif").code == 0
    (archive / "scene_c.tif").write_bytes((tmp_path / "labels.tif").read_bytes())
    assert find_sources(str(archive)) == [str(archive / name) for name in ("a.tif", "b.TIF", "north/a.tif")]


def test_scenes_of_one_name_in_many_folders(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive)
    for folder in ("p1", "p2", "p3/deep"):
        Path(folder).mkdir(parents=True)
        Path(folder, "odm.tif").write_bytes(Path("a.tif").read_bytes())
    three = ["p1/odm.tif", "p2/odm.tif", "p3/deep/odm.tif"]
    places = {three[0]: "p1/odm", three[1]: "p2/odm", three[2]: "p3/deep/odm"}
    for root, sources in (("p*/**/odm.tif", three), (str(archive / "p*" / "**"), [str(archive / s) for s in three])):
        assert find_sources(root) == sources
        found = places_of(sources, Path("maps"), root)
        assert [str(found[source]) for source in sources] == [f"maps/{place}" for place in places.values()]
    assert places_of(three, Path("maps"), "@list.txt") == {s: Path("maps", place) for s, place in places.items()}
    assert places_of(three[::-1], Path("maps"), "@list.txt") == places_of(three, Path("maps"), "@list.txt")
    assert places_of(three[:2], Path("m/{parent}_{stem}.gpkg"), "p*/odm.tif") == {
        three[0]: Path("m/p1_odm.gpkg"), three[1]: Path("m/p2_odm.gpkg"),
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"p1/odm\.tif and p2/odm\.tif would both be written to m/odm\.gpkg"):
        places_of(three[:2], Path("m/{stem}.gpkg"), "p*/odm.tif")


def test_places_stay_when_scenes_are_added(tmp_path: Path) -> None:
    """Of one stem the first kind of file has the plain name, so a quick look that comes later changes nothing."""
    folder, root = tmp_path, str(tmp_path)
    for name in ("s1.tif", "s2.tif"):
        (folder / name).touch()
    first = places_of([f"{root}/s1.tif", f"{root}/s2.tif"], Path("maps"), root)
    more = [f"{root}/{name}" for name in ("s1.jpg", "s1.TIFF", "s1.tif", "s1_jpg.png", "s2.tif", "S2.jp2")]
    places = places_of(more, Path("maps"), root)
    assert {source: places[source] for source in first} == first
    assert [str(places[source].relative_to("maps")) for source in more] == [
        "s1_jpg_2", "s1_TIFF", "s1", "s1_jpg", "s2", "S2_jp2",
    ]  # fmt: skip
    assert len({str(place).casefold() for place in places.values()}) == len(more)


def test_places_of_what_is_no_path() -> None:
    sources = [
        "https://host.org/x/a.tif?sig=1&path=/etc", "https://host.org/y/a.tif?sig=2", "/vsizip/z.zip/a.tif",
        'NETCDF:"/data/x.nc":red', 'NETCDF:"/data/x.nc":nir', "GTIFF_DIR:2:/data/p.tif", "https://host.org/../../up.tif",
    ]  # fmt: skip
    places = places_of(sources, Path("maps"), "@list.txt")
    assert len(set(places.values())) == len(sources)
    for place in places.values():
        assert ".." not in place.parts and not any(sign in str(place) for sign in ':?"&'), place
        assert place.is_relative_to("maps")
    assert places[sources[3]].name == "NETCDF_x_nc_red" and "sig" not in str(places[sources[0]])


def test_names_with_dots(segment: Segment, archive: Path, tmp_path: Path) -> None:
    (archive / "a.tif").rename(archive / "ortho.2021.v1.tif")
    assert segment(archive, tmp_path / "maps").code == 0
    assert names(tmp_path / "maps" / "ortho.2021.v1") == BUNDLE


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
def test_a_name_that_is_no_text(segment: Segment, archive: Path, tmp_path: Path) -> None:
    os.rename(archive / "a.tif", os.fsencode(archive) + b"/caf\xe9.tif")
    done = segment(archive, tmp_path / "maps")
    assert done.code == 1 and "3 scenes, 1 failed" in done.out
    (failed,) = (entry for entry in entries(tmp_path / "maps").values() if entry["status"] == "failed")
    assert "has a name that is not UTF-8 text, which GDAL cannot open" in failed["reason"]
    assert os.fsencode(failed["source"]).endswith(b"caf\xe9.tif"), "the name comes back as it was"
    assert names(tmp_path / "maps") == {"b", "north", "batch.json"}
    listed = tmp_path / "list.txt"
    listed.write_bytes(os.fsencode(archive) + b"/caf\xe9.tif\n" + os.fsencode(archive) + b"/b.TIF\n")
    again = segment(f"@{listed}", tmp_path / "again")
    assert again.code == 1 and "2 scenes, 1 failed" in again.out


def test_nothing_that_is_read_is_written_over(segment: Segment, archive: Path, tmp_path: Path) -> None:
    """Scenes, a list and a class file that lie where outputs go."""
    maps = tmp_path / "maps"
    assert segment(archive, maps).code == 0
    (maps / "a" / "labels.tif").write_bytes((archive / "b.TIF").read_bytes())
    listed = maps / "batch.json"
    listed.write_text(f"{archive / 'a.tif'}\n{maps / 'a' / 'labels.tif'}\n")
    segment(f"@{listed}", maps, "--overwrite").failed(2, f"{listed} is read as the list")
    (tmp_path / "list.txt").write_text(listed.read_text())
    before = (maps / "a" / "labels.tif").read_bytes()
    done = segment(f"@{tmp_path / 'list.txt'}", tmp_path / "maps" / "{stem}" / "labels.tif", "--overwrite")
    assert done.code == 1
    (failed,) = (entry for entry in entries(tmp_path / "maps").values() if entry["status"] == "failed")
    assert "a/labels.tif is one of the sources and would be lost" in failed["reason"]
    assert (maps / "a" / "labels.tif").read_bytes() == before


REFUSALS = [
    (["archive", "maps.tif"], "3 scenes cannot go into the one file maps.tif; name a folder, or a pattern such as"),
    (["archive", "maps/{stem}.tif"], "would both be written to maps/a.tif; name a folder as DST, or a pattern"),
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
        (
            ["--blend-mode", "max"],
            'Invalid value "max" for --blend-mode. Choose from: "mean", "linear", "cosine", "tukey".',
        ),
        (["--energy", "1.5"], "a share above 0 and up to 1, got 1.5"),
        (["--on-error", "ignore"], "Choose from"),
    ],
)
def test_numbers_that_are_wrong(
    segment: Segment, archive: Path, tmp_path: Path, options: list[str], sentence: str
) -> None:
    segment(archive / "a.tif", tmp_path / "out", *options).failed(2, sentence)
    assert names(tmp_path) == {"archive"}


MEMORY = """
import sys
from pathlib import Path
from earthwords.cli import main
from earthwords.inference import batch

work, seen = batch._Batch.work, []

def watched(self, *args):
    work(self, *args)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    seen.append(pages)

batch._Batch.work = watched
assert main(sys.argv[1:]) == 0
print("PAGES", *seen)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_does_not_grow(micro: Path, tmp_path: Path) -> None:
    """Over 32 scenes by less than 3 %, which are 20 MB."""
    (tmp_path / "scenes").mkdir()
    for i in range(40):
        write_raster(tmp_path / "scenes" / f"{i}.tif", np.moveaxis(patchwork(70, 90, seed=i), -1, 0))
    words = [part for word in ("building,roof", "road", "water") for part in ("-t", word)]
    argv = ["segment", tmp_path / "scenes", tmp_path / "out", "--model", micro, "--tile-size", 64, *words, "--offline"]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *map(str, argv), "--probabilities", "uint8", "--device", "cpu", "--quiet"],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = [int(word) for word in done.stdout.split("PAGES", 1)[1].split()]
    assert len(pages) == 40 and pages[-1] < 1.03 * pages[7], pages
