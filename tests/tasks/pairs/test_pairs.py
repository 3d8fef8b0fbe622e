"""`earthwords pairs`: from folders to shards, tables and lists, whole or not at all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from earthwords.data.manifests.captions import read_manifest
from tests.conftest import Command, write_raster
from tests.tasks.pairs.conftest import HEIGHT, WIDTH, contents, make, members, picture


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
