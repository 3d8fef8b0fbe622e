"""`earthwords pairs`: from folders to shards, tables and lists, whole or not at all."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import ndimage

from earthwords.data.annotations.boxes._common import How
from earthwords.data.captions import pipeline, records
from earthwords.data.manifests.captions import read_manifest
from earthwords.jobs.make_executor import make_executor
from earthwords.jobs.progress import Bar
from tests.conftest import Command, write_raster

HEIGHT, WIDTH = 48, 72


def picture(seed: int) -> Image.Image:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, 3)), (4, 4, 0))
    return Image.fromarray(np.clip(noise * 250 + 120, 0, 255).astype(np.uint8))


def make(folder: Path, seeds: dict[str, int], suffix: str = ".jpg") -> Path:
    """A YOLO set: name -> seed of the picture; each has a ship in the middle and two planes, but `empty` nothing."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for name, seed in seeds.items():
        picture(seed).save(folder / "images" / f"{name}{suffix}", quality=92)
        boxes = "" if "empty" in name else "0 0.5 0.5 0.1 0.1\n1 0.1 0.1 0.1 0.1\n1 0.9 0.1 0.1 0.1\n"
        (folder / "labels" / f"{name}.txt").write_text(boxes)
    (folder / "classes.txt").write_text("ship\nplane\n")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Nine images: two are alike, one is empty."""
    seeds = {f"i{n}": n for n in range(7)}
    return make(tmp_path / "town", {**seeds, "again": 3, "empty": 99})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard) as tar:
        found = tar.getmembers()
        assert all((m.mtime, m.uid, m.gid, m.uname, m.gname) == (0, 0, 0, "", "") for m in found)
        return {m.name: tar.extractfile(m).read() for m in found}  # type: ignore[union-attr]


def test_shards(command: Command, source: Path, tmp_path: Path) -> None:
    done = command("pairs", source, tmp_path / "out", "--shard-size", 3, "--quiet", "--json")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert (told["read"], told["kept"], told["empty"], told["duplicates"]) == (9, 7, 1, 1)
    assert told["figures"]["boxes"] == 21 and told["figures"]["captions"] == 35
    assert told["figures"]["classes"] == {"plane": {"boxes": 14, "images": 7}, "ship": {"boxes": 7, "images": 7}}
    names = {"pairs-000000.tar", "pairs-000001.tar", "pairs-000002.tar"}
    assert set(contents(tmp_path / "out")) == names | {"report.json", "report.md", "duplicates.csv", "duplicates.png"}
    assert not list(tmp_path.glob(".*"))
    found = members(tmp_path / "out" / "pairs-000001.tar")
    assert list(found) == [f"{n:09d}.{kind}" for n in (3, 4, 5) for kind in ("jpg", "json", "txt")]
    about = json.loads(found["000000003.json"])
    assert found["000000003.jpg"] == (source / "images" / f"{about['name']}.jpg").read_bytes()
    captions = found["000000003.txt"].decode().split("\n")
    assert captions == about["captions"] and len(captions) == 5
    assert re.search("(ship|vessel).* (middle|center)", captions[0])
    assert re.search("2 (air)?planes.* (edge|away)", captions[1])
    table = (tmp_path / "out" / "duplicates.csv").read_text().splitlines()
    assert len(table) == 2 and table[1].endswith(",sources,0,same")
    assert Image.open(tmp_path / "out" / "duplicates.png").width > 200


def test_a_list_that_train_clip_reads(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists" / "pairs.jsonl"
    assert command("pairs", source, out, "--quiet").code == 0
    manifest = read_manifest(out)
    assert len(manifest.examples) == 7
    assert {e.set for e in manifest.examples} == {"town"} and {len(e.captions) for e in manifest.examples} == {5}
    assert manifest.examples[0].image.shape == (HEIGHT, WIDTH, 3)
    names = {"pairs.jsonl", "pairs.report.json", "pairs.report.md", "pairs.duplicates.csv", "pairs.duplicates.png"}
    assert set(contents(out.parent)) == names


def test_tiles_in_a_list_become_files(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    assert command("pairs", source, out, "--tile-size", 40, "--no-dedup", "--quiet").code == 0
    manifest = read_manifest(out)
    assert {e.image.shape for e in manifest.examples} == {(40, 40, 3)}
    assert len(contents(tmp_path / "pairs_images")) == len(manifest.examples) > 8


def test_parquet(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.parquet"
    assert command("pairs", source, out, "--shard-size", 4, "--captions", 2, "--quiet").code == 0
    rows = pq.read_table(out).to_pylist()
    assert pq.ParquetFile(out).num_row_groups == 2
    assert [len(row["captions"]) for row in rows] == [2] * 7
    assert (rows[0]["height"], rows[0]["width"], rows[0]["classes"]) == (HEIGHT, WIDTH, ["ship", "plane", "plane"])
    assert np.allclose(rows[0]["boxes"][0], [32.4, 21.6, 39.6, 26.4])
    assert rows[0]["image"][:2] == b"\xff\xd8"


def test_from_python(source: Path, tmp_path: Path) -> None:
    import earthwords

    report = earthwords.pairs(source, tmp_path / "out", quiet=True)
    assert report.kept == 7 and report.output == tmp_path / "out"


def test_test_sets_are_left_out(command: Command, source: Path, tmp_path: Path) -> None:
    """Found although recompressed, smaller, mirrored, or in a list; without dedup the sources keep their copies."""
    test = tmp_path / "test" / "deep"
    test.mkdir(parents=True)
    picture(3).resize((60, 44), Image.Resampling.BICUBIC).save(test / "a.jpg", quality=70)
    picture(5).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(test / "b.png")
    told = json.loads(command("pairs", source, tmp_path / "x", "--against", test.parent, "--quiet", "--json").out)
    assert (told["kept"], told["in_tests"], told["duplicates"], told["read"]) == (5, 3, 0, 9)
    listed = tmp_path / "test.jsonl"
    listed.write_text('{"image": "test/deep/b.png"}\n')
    options = ["--against", test / "a.jpg", listed, "--no-turned", "--no-dedup", "--quiet", "--json"]
    told = json.loads(command("pairs", source, tmp_path / "y", *options).out)
    assert (told["kept"], told["in_tests"]) == (6, 2)
    looks = (tmp_path / "x" / "duplicates.csv").read_text()
    assert "test set" in looks and "mirrored" in looks and "deep/b" in looks


def test_several_sources_and_workers(command: Command, source: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "port", {"i1": 1, "x": 50}, ".png")
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        told = json.loads(command("pairs", source, other, out, "--workers", workers, "--quiet", "--json").out)
        assert told["figures"]["images"] == {"port": 1, "town": 7}
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")


def test_wording_depends_on_the_seed_only(command: Command, source: Path, tmp_path: Path) -> None:
    texts = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert command("pairs", source, tmp_path / f"{name}.jsonl", "--seed", seed, "--quiet").code == 0
        texts.append((tmp_path / f"{name}.jsonl").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_damaged_images(command: Command, source: Path, tmp_path: Path) -> None:
    path = sorted((source / "images").glob("*.jpg"))[2]
    path.write_bytes(path.read_bytes()[:400])
    command("pairs", source, tmp_path / "out", "--quiet").failed(1, str(path), "--on-error skip")
    assert not (tmp_path / "out").exists()
    done = command("pairs", source, tmp_path / "out", "--on-error", "skip", "--workers", 2)
    assert done.code == 0 and f"Left out: Cannot read {path}" in done.err
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert told["kept"] == 6 and len(told["damaged"]) == 1
    assert "Damaged" in (tmp_path / "out" / "report.md").read_text()


def test_a_missing_image(command: Command, source: Path, tmp_path: Path) -> None:
    (source / "images" / "i4.jpg").unlink()
    command("pairs", source, tmp_path / "out", "--quiet").failed(1, "i4.txt has no image i4", "--images FOLDER")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (["{source}"], 2, ["at least one source and the destination"]),
        (["{tmp}/nothing", "{tmp}/out"], 1, ["nothing does not exist"]),
        (["{source}/images", "{tmp}/out"], 2, ["What annotations", "--format"]),
        (["{source}", "{tmp}/out.zip"], 2, ["out.zip: the destination is a folder"]),
        (["{source}", "{source}"], 2, ["town exists; pass --overwrite"]),
        (["{source}", "{source}", "--overwrite"], 2, ["town holds other files"]),
        (["{source}", "{tmp}/out", "--threshold", "40"], 2, ["--threshold", "got 40"]),
        (["{source}", "{tmp}/out", "--captions", "0"], 2, ["--captions must be above 0"]),
        (["{source}", "{tmp}/out", "--min-visible", "2"], 2, ["--min-visible", "got 2"]),
        (["{source}", "{tmp}/out", "--format", "kitti"], 2, ["kitti"]),
        (["{source}", "{tmp}/out", "--against", "{tmp}/no"], 1, ["no does not exist"]),
        (["{source}", "{tmp}/out", "--classes", "{tmp}/no.json"], 1, ["Cannot read", "no.json"]),
        (["{source}", "{tmp}/out", "--against", "{source}"], 1, ["No image is left of 9"]),
    ],
)
def test_refusals(
    command: Command, source: Path, tmp_path: Path, words: list[str], code: int, fragments: list[str]
) -> None:
    before = set(tmp_path.rglob("*"))
    argv = [word.format(source=source, tmp=tmp_path) for word in words]
    command("pairs", *argv, "--quiet").failed(code, *fragments)
    assert {p for p in tmp_path.rglob("*") if ".journal" not in str(p)} == before


def test_overwriting(command: Command, source: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "out", tmp_path / "o.jsonl"):
        assert command("pairs", source, out, "--quiet").code == 0
        before = contents(tmp_path)
        command("pairs", source, out, "--seed", 1, "--quiet").failed(2, "exists; pass --overwrite")
        assert contents(tmp_path) == before
        assert command("pairs", source, out, "--seed", 1, "--no-dedup", "--overwrite", "--quiet").code == 0
    assert "duplicates.csv" not in contents(tmp_path / "out")
    assert not list(tmp_path.glob("*duplicates*"))


DRIVER = """
import os, signal, sys
from multiprocessing import forkserver

for name in ("_forkserver_address", "_forkserver_alive_fd", "_forkserver_pid"):  # workers of one's own
    setattr(forkserver._forkserver, name, None)

from earthwords.cli import main

left = int(sys.argv[1])
replace = os.replace

def count_event():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def count(*args):
    count_event()
    replace(*args)
    count_event()

os.replace = count
unlink = os.unlink

def unlinked(*args, **options):
    unlink(*args, **options)
    count_event()

os.unlink = unlinked
from earthwords.data.captions import pipeline as job
from earthwords.jobs.journal import Journal
save = Journal.save

def saved(*args):
    count_event()
    save(*args)
    count_event()

Journal.save = saved
job.UNIT = 4
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that kills")
@pytest.mark.parametrize(("name", "workers"), [("out", 1), ("out.jsonl", 1), ("out.parquet", 1), ("out", 2)])
def test_killed_and_started_again(source: Path, tmp_path: Path, name: str, workers: int) -> None:
    """After one part or renaming, before the next one, after two, ... until a run comes to its end."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()

    def run(folder: Path, event: int, *options: object) -> int:
        argv = ["pairs", source, folder / name, "--shard-size", "3", "--tile-size", "60", "--quiet", "--json"]
        return kill_at(event, [str(word) for word in (*argv, *options)])

    assert run(whole, 10**6) == 0
    codes = [-9]
    while codes[-1] == -9 and len(codes) < 60:
        codes.append(run(killed, 1 + len(codes), "--workers", workers))
        if codes[-1] == 2:
            codes[-1] = 0  # it was killed when all was done but the removal of the journal
    assert codes[-1] == 0 and len(codes) > (5 if workers == 1 else 4), "of two workers, what they rename is not counted"
    assert contents(killed) == contents(whole)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that kills")
def test_killed_while_it_replaces(source: Path, tmp_path: Path) -> None:
    """A folder that is replaced is there as it was, or the new one, or neither; the same command ends it."""
    argv = [str(word) for word in ("pairs", source, tmp_path / "out", "--overwrite", "--quiet")]
    assert kill_at(10**6, argv) == 0
    before = contents(tmp_path / "out")
    argv += ["--shard-size", "2"]
    assert kill_at(10**6, [*argv[:2], str(tmp_path / "new"), *argv[3:]]) == 0
    codes = []
    while not codes or codes[-1] == -9:
        codes.append(kill_at(1 + len(codes), argv))
        found = contents(tmp_path / "out")
        assert found in ({}, before, contents(tmp_path / "new"))
    assert codes[-1] == 0 and len(codes) > 5 and found == contents(tmp_path / "new")
    assert not list(tmp_path.glob(".*"))


def kill_at(event: int, argv: list[str]) -> int:
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.argv = ["driver", str(event), *argv]
    try:
        exec(DRIVER, {})
    except SystemExit as end:
        os._exit(int(end.code or 0))
    os._exit(99)


@pytest.fixture
def half(command: Command, source: Path, tmp_path: Path) -> Iterator[Path]:
    """A second source with a damaged image, which ended a run with the first one; whole again."""
    other = make(tmp_path / "port", {"x": 50})
    path = other / "images" / "x.jpg"
    good = path.read_bytes()
    path.write_bytes(good[:300])
    command("pairs", source, other, tmp_path / "out", "--quiet").failed(1, "x.jpg", "1 of 2 parts are done")
    assert (tmp_path / ".out.journal").is_dir()
    path.write_bytes(good)
    return other


def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sets whose images are looked at from now on."""
    seen: list[str] = []
    real = records.examine
    monkeypatch.setattr(records, "examine", lambda how, unit: seen.append(unit.items[0].set) or real(how, unit))
    return seen


def test_the_same_command_goes_on(
    command: Command, source: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = examined(monkeypatch)
    assert command("pairs", source, half, tmp_path / "out", "--quiet").code == 0
    assert seen == ["port"] and not (tmp_path / ".out.journal").exists()
    assert command("pairs", source, half, tmp_path / "again", "--quiet").code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seed", 5], "its seed was 0 and is 5 now"),
        (["--captions", 4], "its captions was 5 and is 4 now"),
        (["--shard-size", 7], "its shard-size was 1000 and is 7 now"),
        (["--format", "yolo"], "its format was auto and is yolo now"),
        (["--no-dedup"], "its dedup was True and is False now"),
        (["--no-turned"], "its turned was True and is False now"),
        (["--threshold", 2], "its threshold was 4 and is 2 now"),
        (["--against", "{port}"], "its against was not given and is "),
        (["--min-pixels", 2], "its min-pixels was 1 and is 2 now"),
        (["--min-visible", 0.5], "its min-visible was 0.3 and is 0.5 now"),
        (["--tile-size", 40], "its tile-size was not given and is 40 now"),
        (["--bands", "3,2,1"], "its bands was not given and is 3,2,1 now"),
        (["--classes", "{town}/classes.txt"], "its classes was not given"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_other_options_are_refused(
    command: Command, source: Path, half: Path, tmp_path: Path, options: list[object], words: str
) -> None:
    before = contents(tmp_path)
    argv = [str(word).format(port=half, town=source) for word in options]
    done = command("pairs", source, half, tmp_path / "out", *argv, "--quiet")
    done.failed(2, words, "run with what it was begun with, or begin anew with --no-resume")
    assert contents(tmp_path) == before


def test_beginning_anew(
    command: Command, source: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = examined(monkeypatch)
    assert command("pairs", source, half, tmp_path / "out", "--seed", 5, "--no-resume", "--quiet").code == 0
    assert seen == ["town", "port"] and not (tmp_path / ".out.journal").exists()
    assert command("pairs", source, half, tmp_path / "again", "--seed", 5, "--quiet").code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def test_the_way_out_of_damaged_images_loses_nothing(
    command: Command, source: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told of --on-error skip goes on with it; but what was left out is no result for those who stop."""
    image = half / "images" / "x.jpg"
    image.write_bytes(image.read_bytes()[:300])
    seen = examined(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "find_copies", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        assert command("pairs", source, half, tmp_path / "out", "--on-error", "skip", "--quiet").code == 130
    assert seen == ["port"]
    command("pairs", source, half, tmp_path / "out", "--quiet").failed(1, "x.jpg")
    done = command("pairs", source, half, tmp_path / "out", "--on-error", "skip", "--quiet", "--json")
    assert seen == ["port", "port"] and len(json.loads(done.out)["damaged"]) == 1


def test_sources_that_have_changed_are_read_again(
    command: Command, source: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "labels" / "i4.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    seen = examined(monkeypatch)
    assert command("pairs", source, half, tmp_path / "out", "--quiet").code == 0
    assert seen == ["town", "port"]
    assert command("pairs", source, half, tmp_path / "again", "--quiet").code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def test_where_nothing_is_left_nothing_stays(command: Command, source: Path, tmp_path: Path) -> None:
    command("pairs", source, tmp_path / "out", "--against", source, "--quiet").failed(1, "No image is left")
    assert not list(tmp_path.glob(".*"))
    assert command("pairs", source, tmp_path / "out", "--quiet").code == 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed another way there")
def test_dead_workers_are_replaced(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are killed after the first part; what they were at is computed again."""
    executors: list[Any] = []
    real = make_executor

    @contextmanager
    def kept(*args: Any, **options: Any) -> Iterator[Any]:
        with real(*args, **options) as executor:
            executors.append(executor)
            yield executor

    class Killing(Bar):
        def __call__(self, done: float) -> None:
            if killed is not None and not killed:
                killed.extend(executors[-1]._pool._processes)
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)

    @contextmanager
    def bar(what: str, total: int) -> Iterator[Bar]:
        yield Killing()

    monkeypatch.setattr(pipeline, "make_executor", kept)
    monkeypatch.setattr(pipeline, "UNIT", 2)
    found = []
    for workers in (1, 2):
        killed: list[int] | None = [] if workers == 2 else None
        job = pipeline.PairsRun(
            sources=(source,), dst=tmp_path / str(workers), recipe=records.CaptionOptions(how=How()), workers=workers,
            shard_size=2,
        )  # fmt: skip
        job.run(bar)
        found.append(contents(tmp_path / str(workers)))
        assert not killed or len(killed) == 2
    assert killed and found[0] == found[1] and len(executors) == 2, "one executor a run"


def test_polygons_to_training(command: Command, tmp_path: Path) -> None:
    write_raster(tmp_path / "town.tif", np.moveaxis(np.asarray(picture(1)), -1, 0), crs=None, photometric="RGB")
    corners = [[326420, 2781130], [326430, 2781130], [326430, 2781120], [326420, 2781130]]
    roof = {"type": "Polygon", "coordinates": [corners]}
    feature = {"type": "Feature", "properties": {"class": "roof"}, "geometry": roof}
    told = {"type": "FeatureCollection", "features": [feature]}
    (tmp_path / "town.geojson").write_text(json.dumps(told))
    done = command("pairs", tmp_path / "town.geojson", tmp_path / "o.jsonl", "--quiet")
    assert done.code == 0, done.err
    (only,) = read_manifest(tmp_path / "o.jsonl").examples
    assert len(only.captions) == 5 and all("a roof" in caption.lower() for caption in only.captions)
    done = command("pairs", tmp_path / "town.geojson", tmp_path / "b.jsonl", "--bands", "3,1,1", "--quiet")
    assert done.code == 0, done.err
    (other,) = read_manifest(tmp_path / "b.jsonl").examples
    for image, channels in ((only.image, [0, 1, 2]), (other.image, [2, 0, 0])):
        assert np.abs(image.astype(int) - np.asarray(picture(1))[..., channels]).mean() < 4, "but for JPEG"
    assert command("pairs", tmp_path / "town.geojson", tmp_path / "c.jsonl", "--bands", "9,1,1", "--quiet").code in (
        1,
        2,
    )
    assert not (tmp_path / "c.jsonl").exists()
