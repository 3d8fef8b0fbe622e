"""`earthwords expressions`: from masks and published sets to a list with masks, whole or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from earthwords.data.expressions import lines as list_lines
from earthwords.data.expressions.contact_sheet import choose
from earthwords.synthetic import CLASSES, render_scene
from tests.conftest import Command, write_raster

HEIGHT, WIDTH = 64, 96


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three images with a lake, ships of several sizes, and houses; one without anything."""
    folder = tmp_path / "town"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate(("a", "b", "deep", "empty")):
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        if name != "empty":
            mask[20:44, 30:60] = 2
            mask[2:10, 4 + number : 20] = mask[50:62, 60:90] = 1
            mask[24:32, 64:74] = mask[26:34, 10:18] = 3
        rgb = np.random.default_rng(number).integers(90, 110, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        rgb[mask == 1] = 240
        Image.fromarray(rgb).save(folder / "images" / f"{name}.jpg", quality=95)
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    (folder / "classes.json").write_text('{"1": "ship", "2": "lake", "3": "house", "4": "windmill"}')
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_list_with_masks(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists" / "refer.jsonl"
    done = command("expressions", source, out, "--count", 6, "--negatives", 0.3, "--quiet", "--json")
    assert (done.code, done.err) == (0, "")
    report, found = json.loads(done.out), lines(out)
    assert [line["image"] for line in found] == [f"../town/images/{name}.jpg" for name in ("a", "b", "deep")]
    assert all((out.parent / line["image"]).samefile(source / "images" / f"{line['name']}.jpg") for line in found)
    assert report["looked"] == 4 and report["images"] == {"town": 3}
    expressions = [one for line in found for one in line["expressions"]]
    empty = sum(not one["ids"] for one in expressions)
    assert report["expressions"] == len(expressions) >= 12 and report["empty"] == empty > 0
    assert report["kinds"]["absent"] == empty and sum(report["classes"].values()) == len(expressions)
    for line in found:
        with Image.open(out.parent / line["mask"]) as image:
            ids = np.asarray(image)
        assert ids.shape == (HEIGHT, WIDTH) and ids.dtype == np.uint8
        assert set(line["classes"]) == {str(i) for i in np.unique(ids) if i}
        truth = np.asarray(Image.open(source / "masks" / f"{line['name']}.png"))
        for number, name in line["classes"].items():
            assert set(np.unique(truth[ids == int(number)])) == {["ship", "lake", "house"].index(name) + 1}
        for one in line["expressions"]:
            assert all(line["classes"][str(i)] == one["class"] for i in one["ids"])
    assert set(contents(out.parent)) == {"refer.jsonl", *(f"refer_masks/{i:06d}.png" for i in range(3))}


def test_tiles_become_images(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    assert command("expressions", source, out, "--tile-size", 48, "--only", "[ab]", "--quiet").code == 0
    found = lines(out)
    assert {line["name"].partition("@")[0] for line in found} == {"a", "b"} and len(found) > 4
    for line in found:
        assert Image.open(tmp_path / line["image"]).size == Image.open(tmp_path / line["mask"]).size == (48, 48)
    assert {Path(line["image"]).stem for line in found} == {Path(line["mask"]).stem for line in found}


def test_rasters_become_images(command: Command, tmp_path: Path) -> None:
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    bands = np.stack([100 + 20 * cols, 100 + 25 * rows, 3000 - 20 * cols]).astype(np.uint16)
    (tmp_path / "sub").mkdir()
    write_raster(tmp_path / "sub" / "a.tif", bands)
    told = {"images": [{"id": 1, "file_name": "a.tif"}], "categories": [{"id": 1, "name": "tree"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [10, 12, 30, 20]}]}  # fmt: skip
    (tmp_path / "sub" / "a.json").write_text(json.dumps(told))
    assert command("expressions", tmp_path / "sub" / "a.json", tmp_path / "r.jsonl", "--quiet").code == 0
    (line,) = lines(tmp_path / "r.jsonl")
    assert Image.open(tmp_path / line["image"]).size == (WIDTH, HEIGHT) and line["image"].endswith(".jpg")
    ids = np.asarray(Image.open(tmp_path / line["mask"]))
    assert ids[12:32, 10:40].all() and ids.sum() == 600
    source = tmp_path / "sub" / "a.json"
    assert command("expressions", source, tmp_path / "b.jsonl", "--bands", "2,3,3", "--quiet").code == 0
    (other,) = lines(tmp_path / "b.jsonl")
    plain, turned = (np.asarray(Image.open(tmp_path / row["image"]), float) for row in (line, other))
    across, down = (axis.ravel() for axis in (cols, rows))
    for image, first in ((plain, across), (turned, down)):
        assert np.corrcoef(image[..., 0].ravel(), first)[0, 1] > 0.95
    command("expressions", source, tmp_path / "c.jsonl", "--bands", "2,3,9", "--quiet").failed(2, "9")


def test_pictures(command: Command, source: Path, tmp_path: Path) -> None:
    """Every kind once before any comes twice; red where things are meant."""
    out = tmp_path / "r.jsonl"
    assert command("expressions", source, out, "--pictures", 7, "--quiet").code == 0
    chosen = choose(out, 1000)
    kinds = [said["kind"] for _, said in chosen]
    assert len(set(kinds[: len(set(kinds))])) == len(set(kinds)) > 3
    assert len(kinds) == sum(len(line["expressions"]) for line in lines(out))
    with Image.open(tmp_path / "r_pictures.png") as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape[1] > 5 * 256 and pixels.shape[0] > 2 * 256
    assert (pixels == (255, 255, 0)).all(axis=2).sum() > 300, "borders are yellow"
    assert command("expressions", source, out, "--overwrite", "--quiet").code == 0
    assert not (tmp_path / "r_pictures.png").exists(), "a sheet of another list is worse than none"


def test_many_things_need_16_bits(command: Command, tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / "s" / name).mkdir(parents=True)
    mask = np.zeros((120, 160), dtype=np.uint8)
    mask[1::6, 1::6] = mask[1::6, 2::6] = mask[2::6, 1::6] = 1
    mask[60:100, 60:140] = 0
    mask[62:98, 62:138] = 2
    Image.fromarray(mask).save(tmp_path / "s" / "masks" / "a.png")
    Image.fromarray(np.zeros((120, 160, 3), dtype=np.uint8)).save(tmp_path / "s" / "images" / "a.png")
    (tmp_path / "s" / "classes.json").write_text('{"1": "car", "2": "lake"}')
    assert command("expressions", tmp_path / "s", tmp_path / "r.jsonl", "--min-pixels", 3, "--quiet").code == 0
    (line,) = lines(tmp_path / "r.jsonl")
    ids = np.asarray(Image.open(tmp_path / line["mask"]))
    assert ids.max() == len(line["classes"]) > 300
    (lake,) = (int(number) for number, name in line["classes"].items() if name == "lake")
    assert np.array_equal(ids == lake, mask == 2)


def test_the_same_bytes(command: Command, source: Path, tmp_path: Path) -> None:
    runs = (("x", []), ("y", ["--workers", 2]), ("z", ["--seed", 1]))
    for name, options in runs:
        (tmp_path / name).mkdir()
        assert command("expressions", source, tmp_path / name / "r.jsonl", "--quiet", *options).code == 0
    first, second, third = (contents(tmp_path / name) for name, _ in runs)
    assert first == second and first["r.jsonl"] != third["r.jsonl"]


def test_published_sets(command: Command, source: Path, tmp_path: Path) -> None:
    """A set in RefSegRS's layout, and one split of it."""
    (source / "classes.json").unlink()
    (source / "output_phrase_train.txt").write_text("a ships and a lake\nb the lake\n")
    (source / "output_phrase_test.txt").write_text("deep everything\nempty nothing\n")
    for path in (source / "images").iterdir():
        Image.open(path).save(path.with_suffix(".tif"))
        path.unlink()
    out = tmp_path / "r.jsonl"
    assert command("expressions", source, out, "--split", "test", "--quiet").code == 0
    found = lines(out)
    assert [(line["split"], line["name"], line["set"]) for line in found] == [
        ("test", "deep", "refsegrs"), ("test", "empty", "refsegrs")
    ]  # fmt: skip
    assert [line["expressions"] for line in found] == [
        [{"text": "everything", "ids": [1], "kind": "human"}], [{"text": "nothing", "ids": [], "kind": "human"}]
    ]  # fmt: skip
    ids = np.asarray(Image.open(tmp_path / found[0]["mask"]))
    assert np.array_equal(ids > 0, np.asarray(Image.open(source / "masks" / "deep.png")) > 0)
    assert command("expressions", source, out, "--overwrite", "--quiet").code == 0
    assert [line["split"] for line in lines(out)] == ["train", "train", "test", "test"]


def test_overwriting(command: Command, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    assert command("expressions", source, out, "--quiet").code == 0
    before = contents(tmp_path)
    command("expressions", source, out, "--seed", 1, "--quiet").failed(2, "r.jsonl exists; pass --overwrite")
    out.rename(tmp_path / "kept.jsonl")
    command("expressions", source, out, "--quiet").failed(2, "r_masks exists; pass --overwrite")
    (tmp_path / "kept.jsonl").rename(out)
    assert contents(tmp_path) == before
    (source / "masks" / "b.png").write_bytes(b"damaged")
    command("expressions", source, out, "--overwrite", "--quiet").failed(1, "b.png")
    before["town/masks/b.png"] = b"damaged"
    assert contents(tmp_path) == before and not list(tmp_path.glob(".*"))
    assert command("expressions", source, out, "--overwrite", "--only", "a", "--quiet").code == 0
    assert {name for name in contents(tmp_path) if "masks/0" in name} == {"r_masks/000000.png"}


@pytest.mark.parametrize(
    ("words", "code", "fragments"),
    [
        (["{source}"], 2, ["earthwords expressions SRC... DST.jsonl"]),
        (["{source}", "{tmp}/out"], 2, ["out: the destination is a list, such as out.jsonl"]),
        (["{source}", "{tmp}/o.jsonl", "--negatives", "1.5"], 2, ["--negatives", "got 1.5"]),
        (["{source}", "{tmp}/o.jsonl", "--pictures", "-1"], 2, ["--pictures", "got -1"]),
        (["{source}", "{tmp}/o.jsonl", "--count", "0"], 2, ["--count must be above 0"]),
        (["{source}", "{tmp}/o.jsonl", "--only", "x*"], 1, ["whose name is like 'x*'"]),
        (["{source}", "{tmp}/o.jsonl", "--only", "empty"], 1, ["Nothing can be said about any of 1 image;"]),
        (["{source}", "{tmp}/o.jsonl", "--format", "rrsisd"], 1, ["were not found", "--images"]),
        (["{source}", "{tmp}/o.jsonl", "--format", "kitti"], 2, ["kitti"]),
        (["{tmp}/nothing", "{tmp}/o.jsonl"], 1, ["nothing does not exist"]),
        (["{source}/images", "{tmp}/o.jsonl"], 2, ["--format"]),
    ],
)
def test_refusals(
    command: Command, source: Path, tmp_path: Path, words: list[str], code: int, fragments: list[str]
) -> None:
    before = set(tmp_path.rglob("*"))
    argv = [word.format(source=source, tmp=tmp_path) for word in words]
    command("expressions", *argv, "--quiet").failed(code, *fragments)
    assert set(tmp_path.rglob("*")) == before


def out(folder: Path) -> Path:
    return folder / "here" / "r.jsonl"


@pytest.fixture
def half(command: Command, source: Path, tmp_path: Path) -> Path:
    """A second source with a damaged mask, which ended a run with the first one; whole again."""
    other = shutil.copytree(source, tmp_path / "port")
    good = (other / "masks" / "b.png").read_bytes()
    (other / "masks" / "b.png").write_bytes(b"damaged")
    command("expressions", source, other, out(tmp_path), "--quiet").failed(1, "b.png", "1 of 2 parts are done")
    assert [path.name for path in out(tmp_path).parent.iterdir()] == [".r.jsonl.journal"]
    (other / "masks" / "b.png").write_bytes(good)
    return other


def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sets whose images are looked at from now on."""
    seen: list[str] = []
    real = list_lines.examine
    monkeypatch.setattr(list_lines, "examine", lambda how, unit: seen.append(unit.items[0].set) or real(how, unit))
    return seen


def same(command: Command, out: Path, *argv: object) -> bool:
    """Whether all that is beside a list is what a run makes that nobody disturbs."""
    new = out.parent.with_name("new") / out.name
    assert command("expressions", *argv, new, "--quiet").code == 0
    return contents(out.parent) == contents(new.parent)


def test_the_same_command_goes_on(
    command: Command, source: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = examined(monkeypatch)
    assert command("expressions", source, half, out(tmp_path), "--quiet").code == 0
    assert seen == ["port"] and same(command, out(tmp_path), source, half)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seed", 5], "its seed was 0 and is 5 now"),
        (["--count", 3], "its count was 8 and is 3 now"),
        (["--negatives", 0.5], "its negatives was 0.0 and is 0.5 now"),
        (["--pictures", 2], "its pictures was 0 and is 2 now"),
        (["--format", "masks"], "its format was auto and is masks now"),
        (["--only", "[ab]"], "its only was not given and is [ab] now"),
        (["--min-pixels", 20], "its min-pixels was 30 and is 20 now"),
        (["--tile-size", 40], "its tile-size was not given and is 40 now"),
        (["--bands", "3,2,1"], "its bands was not given and is 3,2,1 now"),
        (["--classes", "{town}/classes.json"], "its classes was not given"),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)
def test_other_options_are_refused(
    command: Command, source: Path, half: Path, tmp_path: Path, options: list[object], words: str
) -> None:
    before = contents(tmp_path)
    argv = [str(word).format(town=source) for word in options]
    done = command("expressions", source, half, out(tmp_path), *argv, "--quiet")
    done.failed(2, words, "run with what it was begun with, or begin anew with --no-resume")
    assert contents(tmp_path) == before


def test_beginning_anew(
    command: Command, source: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = examined(monkeypatch)
    argv = [source, half, "--seed", 5]
    assert command("expressions", *argv, out(tmp_path), "--no-resume", "--quiet").code == 0
    assert seen == ["town", "port"] and same(command, out(tmp_path), *argv)
    (half / "masks" / "b.png").write_bytes(b"damaged")
    argv = [source, half, "--overwrite", "--no-resume", "--quiet"]
    failed = command("expressions", *argv, out(tmp_path))
    failed.failed(1, "b.png")
    assert "goes on" not in failed.err and not list(out(tmp_path).parent.glob(".*"))


def test_sources_that_have_changed_are_read_again(
    command: Command, source: Path, half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "masks" / "a.png").write_bytes((source / "masks" / "empty.png").read_bytes())
    seen = examined(monkeypatch)
    assert command("expressions", source, half, out(tmp_path), "--workers", 1, "--quiet").code == 0
    assert seen == ["town", "port"] and same(command, out(tmp_path), source, half)


def test_lines_come_back_as_they_went(source: Path) -> None:
    """Text of any kind, files of any bytes, one without a tile; numbers to the last bit."""
    made = [
        list_lines.Line(
            line={"name": "ü\udcff\u2028\n", "ids": [1, 2]}, image="a\udcff.png", mask=bytes(range(256)), tile=tile,
            sizes={1: 1 / 3, 300: 0.1}, refused=refused,
        )
        for tile, refused in ((None, 0), (b"\n\n", 3), (b"", 1))
    ]  # fmt: skip
    assert list(list_lines.unpacked(list_lines.packed(made))) == made
    assert list(list_lines.unpacked(list_lines.packed([]))) == []


def test_rendered_scenes(command: Command, tmp_path: Path) -> None:
    """Cars that touch are told apart by the scene's own numbers."""
    folder = tmp_path / "scenes"
    for name in ("images", "masks", "instances"):
        (folder / name).mkdir(parents=True)
    scene = render_scene(height=128, width=160, gsd=0.4, theme="harbour", seed=3)
    for name, array in (("images", scene.image), ("masks", scene.labels), ("instances", scene.instances)):
        Image.fromarray(array.astype(np.uint16) if name == "instances" else array).save(folder / name / "a.png")
    (folder / "classes.json").write_text(json.dumps({str(i): row.names[0] for i, row in enumerate(CLASSES)}))
    assert command("expressions", folder, tmp_path / "r.jsonl", "--min-pixels", 12, "--quiet").code == 0
    (line,) = lines(tmp_path / "r.jsonl")
    ids = np.asarray(Image.open(tmp_path / line["mask"]))
    things = {CLASSES[o.label].title for o in scene.objects}
    for number, name in line["classes"].items():
        found = np.unique(scene.instances[ids == int(number)])
        assert len(found) == 1 or name not in things
    assert len(line["expressions"]) > 3


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom earthwords.cli import main\nmain(['expressions', '--help'])\n"
        "print('LOADED', *[m for m in ('torch', 'rasterio', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--negatives" in done.stdout and done.stdout.split("LOADED")[1].split() == []
