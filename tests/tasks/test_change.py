"""The command `change`: two dates on one grid, what is written, what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import Resampling, reproject, transform_bounds

from earthwords.errors import SourceError
from earthwords.inference.change import methods
from earthwords.inference.change.dates.windows import ChangeMethod, Comparison, PairWindow
from earthwords.inference.change.learned import _named
from tests.conftest import CRS, TRANSFORM, Command
from tests.micro import patchwork

HEIGHT, WIDTH = 120, 170
WORDS = ("-t", "building,roof", "-t", "water", "-t", "trees")
Make = Callable[..., Path]


@pytest.fixture
def before(make_scene: Make) -> Path:
    return make_scene(np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0), name="before.tif")


@pytest.fixture
def after(make_scene: Make) -> Path:
    """The same ground with another part in the middle."""
    image = patchwork(HEIGHT, WIDTH)
    image[40:80, 60:110] = patchwork(40, 50, seed=8)
    return make_scene(np.moveaxis(image, -1, 0), name="after.tif")


class ByColour(ChangeMethod):
    """A method whose answers are known: class by the brightest band, and everything else of the windows checked."""

    asked: ClassVar[list[Any]] = []
    sides: ClassVar[tuple[int, ...]] = (1024, 64)

    def margin(self, zoom: float) -> int:
        return 16

    def held(self, classes: int, scales: int) -> int:
        return 50_000

    def __call__(self, pair: PairWindow) -> Comparison:
        self.asked.append(pair.window)
        first, second = (rgb.argmax(axis=0) for rgb in pair.rgb)
        score = np.where(first != second, 0.75, 0).astype(np.float32)
        return Comparison(before=first, after=second, score=score, seen=pair.valid)


@pytest.fixture
def change(micro: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`change(before, after, *options)`: report and folder, by the method `ByColour`."""
    monkeypatch.setitem(methods.METHODS, "dense", lambda options: ByColour())
    monkeypatch.setattr(ByColour, "asked", [])

    def run(*dates: Path, options: tuple[object, ...] = ()) -> tuple[dict[str, Any], Path]:
        out = tmp_path / "out"
        common = ["--model", micro, "--tile-size", 64, "--device", "cpu", "--offline", "--json"]
        done = command("change", *dates, out, *WORDS, *common, *options)
        assert done.code == 0, done.err
        return json.loads(done.out), out

    return run


def brightest(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read().argmax(axis=0)


def test_from_class_to_class(change: Callable[..., Any], before: Path, after: Path) -> None:
    report, out = change(before, after)
    assert {path.name for path in out.iterdir()} >= {
        "change.tif", "change.qml", "changes.gpkg", "changes.qml", "preview.png", "report.json",
    }  # fmt: skip
    titles, first, second = ("building", "water", "trees"), brightest(before), brightest(after)
    with rasterio.open(out / "change.tif") as made, rasterio.open(before) as source:
        labels = made.read(1)
        assert (made.crs, made.transform, made.shape) == (source.crs, source.transform, source.shape)
        names = made.tags()
    assert names["EARTHWORDS_METHOD"] == "dense" and "after.tif" in names["EARTHWORDS_AFTER_SOURCE"]
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    expected = np.zeros(first.shape, int)
    for label, (i, j) in enumerate(pairs, 1):
        expected[(first == i) & (second == j)] = label
    assert np.array_equal(labels, expected)
    matrix = np.array([[((first == i) & (second == j)).sum() for j in range(3)] for i in range(3)]) * 0.25 / 1e4
    assert np.allclose(report["matrix"], matrix, rtol=1e-3, atol=1e-6)
    for i, row in enumerate(report["classes"]):
        assert row["name"] == titles[i]
        assert row["gained"] == pytest.approx(matrix[:, i].sum() - matrix[i, i], rel=1e-3)
        assert row["lost"] == pytest.approx(matrix[i].sum() - matrix[i, i], rel=1e-3)
        assert row["net"] == pytest.approx(row["after"] - row["before"], abs=1e-6)
    assert report["changed_share"] == pytest.approx((first != second).mean(), abs=1e-6)
    polygons = geopandas.read_file(out / "changes.gpkg")
    assert polygons.crs == CRS and set(polygons) >= {"from", "to", "class", "score", "area_m2"}
    assert (polygons["class"] == polygons["from"] + " -> " + polygons["to"]).all()
    assert (polygons["score"] == 0.75).all()
    assert polygons["area_m2"].sum() == pytest.approx((first != second).sum() * 0.25, rel=1e-3)
    told = sum(row["polygons_gained"] for row in report["classes"])
    assert len(polygons) == told == sum(row["polygons_lost"] for row in report["classes"])


def test_another_crs_extent_and_size_of_pixels(change: Callable[..., Any], before: Path, make_scene: Make) -> None:
    """AFTER covers the right part of BEFORE and more, in the neighbouring zone, with a hole."""
    ground = (TRANSFORM.c + 40, TRANSFORM.f - 70, TRANSFORM.c + 120, TRANSFORM.f + 10)
    with rasterio.open(before) as source:
        data = source.read()
    bounds = transform_bounds(CRS, "EPSG:32639", *ground)
    transform = rasterio.transform.from_bounds(*bounds, 310, 300)
    warped = np.zeros((3, 300, 310), np.uint8)
    how = {"src_transform": TRANSFORM, "src_crs": CRS, "dst_transform": transform, "dst_crs": "EPSG:32639"}
    reproject(data, warped, **how, resampling=Resampling.cubic)
    warped[:, 120:160, 60:140] = 0
    after = make_scene(warped, name="after.tif", crs="EPSG:32639", transform=transform, nodata=0)
    report, out = change(before, after)
    with rasterio.open(out / "change.tif") as made, rasterio.open(before) as source:
        left, top = ~source.transform @ (made.transform.c, made.transform.f)
        assert (round(left), round(top)) == (left, top) and made.crs == source.crs and left >= 60
        labels = made.read(1)
        assert made.shape == (HEIGHT, WIDTH - left) and made.nodata == 255
    assert 0.02 < (labels == 255).mean() < 0.4 and report["nodata_share"] == pytest.approx(
        (labels == 255).mean(), abs=1e-6
    )
    assert (labels[labels != 255] > 0).mean() < 0.1
    assert any("another CRS" in note for note in report["notes"])
    assert any("Both dates cover" in note for note in report["notes"])


def test_blocks_with_margins_and_less_memory(
    change: Callable[..., Any], refused: Callable[..., None], before: Path, after: Path
) -> None:
    refused(before, after, 2, "needs ", "500 MiB were given; give more by --memory", more=("--memory", "500MiB"))
    _, out = change(before, after)
    with rasterio.open(out / "change.tif") as made:
        whole = made.read(1)
    ByColour.asked.clear()
    _, out = change(before, after, options=("--overwrite", "--memory", "1GiB"))
    with rasterio.open(out / "change.tif") as made:
        assert np.array_equal(made.read(1), whole)
    assert len(ByColour.asked) == 6
    assert (ByColour.asked[1].row, ByColour.asked[1].col) == (0, 48)
    assert (ByColour.asked[4].row, ByColour.asked[4].height, ByColour.asked[4].width) == (48, 72, 96)


@pytest.mark.parametrize("align", [False, True])
def test_the_shift_is_told_and_taken_out(
    change: Callable[..., Any], before: Path, make_scene: Make, align: bool
) -> None:
    data = np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0)
    after = make_scene(np.roll(data, (4, -7), (1, 2)), name="after.tif")
    report, out = change(before, after, options=("--align",) if align else ())
    shift = report["shift"]
    assert abs(shift["rows"] - 4) < 0.1 and abs(shift["cols"] + 7) < 0.1 and shift["sure"]
    assert shift["metres"] == pytest.approx(np.hypot(4, 7) * 0.5, abs=0.05) and shift["taken_out"] is align
    (note,) = [note for note in report["notes"] if "is shifted by" in note]
    assert "4.0 px down, 7.0 px left" in note and ("--align" in note) is not align
    with rasterio.open(out / "change.tif") as made:
        labels = made.read(1)
        less = np.subtract((HEIGHT, WIDTH), made.shape)  # a last row that is covered by half a pixel may stay
        assert (np.abs(less - (4, 7)) <= 1).all() if align else not less.any()
    assert bool(((labels > 0) & (labels < 255)).mean() < 0.1) is align


@pytest.mark.parametrize("align", [False, True])
def test_no_shift_and_one_to_the_side(
    change: Callable[..., Any], before: Path, after: Path, make_scene: Make, align: bool
) -> None:
    how = ("--overwrite", *(("--align",) if align else ()))
    report, _ = change(before, after, options=how)
    assert "The dates lie on each other within 0.1 px." in report["notes"], report["notes"]
    data = np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0)
    aside = make_scene(np.roll(data, 5, 2), name="aside.tif")
    report, _ = change(before, aside, options=how)
    (note,) = [note for note in report["notes"] if "is shifted by" in note]
    assert note.startswith("The second date is shifted by 5.0 px (2.5 m): 5.0 px right; "), note


def test_notes_about_one_date_name_it(change: Callable[..., Any], before: Path, make_scene: Make) -> None:
    data = np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0)
    after = make_scene(data[::-1], name="after.tif")
    report, _ = change(before, after, options=("--bands", "1,2,3", "--bands-after", "3,2,1"))
    told = [note for note in report["notes"] if "chosen as red, green, blue" in note]
    assert told == [
        f"{before}: Bands 1,2,3 chosen as red, green, blue (as asked).",
        f"{after}: Bands 3,2,1 chosen as red, green, blue (as asked).",
    ]
    report, _ = change(before, after, options=("--bands", "1,2,3", "--overwrite"))
    told = [note for note in report["notes"] if "chosen as" in note]
    assert told == ["Both dates: Bands 1,2,3 chosen as red, green, blue (as asked)."]


def test_the_histogram_is_matched(change: Callable[..., Any], before: Path, make_scene: Make) -> None:
    data = np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0).astype(float)
    other = np.stack([data[0] * 0.3, data[1] * 0.9, data[2] * 0.5 + 90])
    after = make_scene(other.astype(np.uint8), name="after.tif")
    plain, _ = change(before, after)
    matched, _ = change(before, after, options=("--match-histogram", "--overwrite"))
    assert plain["changed_share"] > 0.3 and matched["changed_share"] < 0.03


def test_nothing_in_pixels(change: Callable[..., Any], make_scene: Make) -> None:
    """Without a CRS areas are pixels, and both lie on each other by their pixels."""
    bare = {"crs": None, "transform": Affine.identity()}
    data = np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0)
    first = make_scene(data, name="a.tif", **bare)
    second = make_scene(np.roll(data, 1, axis=0)[:, :100, :90], name="b.tif", **bare)
    report, out = change(first, second)
    assert report["unit"] == "px" and np.sum(report["matrix"]) == 100 * 90
    assert "area_px" in geopandas.read_file(out / "changes.gpkg")
    assert report["shift"]["metres"] is None


@pytest.fixture
def refused(micro: Path, command: Command, tmp_path: Path) -> Callable[..., None]:
    def run(first: Path, second: Path, code: int, *fragments: str, more: tuple[str, ...] = ()) -> None:
        out = tmp_path / "out"
        done = command("change", first, second, out, *WORDS, "--model", micro, "--offline", "--quiet", *more)
        done.failed(code, *fragments)
        assert not out.exists() and not list(tmp_path.glob(".*"))

    return run


def test_no_common_ground(refused: Callable[..., None], before: Path, make_scene: Make) -> None:
    data = np.moveaxis(patchwork(60, 70), -1, 0)
    far = make_scene(data, name="far.tif", transform=TRANSFORM @ Affine.translation(900, 0))
    refused(before, far, 1, "far.tif has no ground in common with", "before.tif")
    beside = make_scene(data, name="beside.tif", transform=TRANSFORM @ Affine.translation(WIDTH - 1, 0), nodata=0)
    refused(before, beside, 2, "do not touch", more=("--bounds", "0", "0", "1", "1"))


def test_one_without_a_crs(refused: Callable[..., None], before: Path, make_scene: Make) -> None:
    bare = make_scene(np.moveaxis(patchwork(60, 70), -1, 0), name="bare.tif", crs=None)
    for first, second in ((before, bare), (bare, before)):
        refused(first, second, 1, "bare.tif has no CRS and", "before.tif has one")


def test_the_same_twice(refused: Callable[..., None], before: Path, tmp_path: Path) -> None:
    link = tmp_path / "sources" / "link.tif"
    link.symlink_to(before)
    refused(before, link, 2, "BEFORE and AFTER are both", "name two dates")


def test_a_destination_that_is_a_date(
    refused: Callable[..., None], before: Path, after: Path, command: Command
) -> None:
    kept = after.read_bytes()
    done = command("change", before, after, after, *WORDS, "--overwrite", "--quiet")
    done.failed(2, "after.tif is one of the sources and would be lost")
    assert after.read_bytes() == kept


def test_a_date_that_is_a_map_is_told_before_the_work(
    change: Callable[..., Any], refused: Callable[..., None], before: Path, after: Path, tmp_path: Path
) -> None:
    _, made = change(before, after)
    labels = shutil.copy(made / "change.tif", tmp_path / "map.tif")
    shutil.rmtree(made)
    for first, second in ((before, labels), (labels, before)):
        more = ("--strict", "--bounds", "0", "0", "1", "1")  # which touch neither, and are not looked at any more
        refused(first, second, 2, "map.tif was written by earthwords itself: it is a result", "--strict", more=more)
    report, _ = change(before, labels)
    assert sum("was written by earthwords itself" in note for note in report["notes"]) == 1


def test_dates_that_are_swapped_and_a_grey_one(
    change: Callable[..., Any], before: Path, after: Path, make_scene: Make
) -> None:
    for path, day in ((before, "2024:05:01 00:00:00"), (after, "2019:05:01 00:00:00")):
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(TIFFTAG_DATETIME=day)
    report, _ = change(before, after)
    assert any("of 2019-05-01" in note and "swapped?" in note for note in report["notes"])
    grey = make_scene(patchwork(HEIGHT, WIDTH)[None, ..., 0], name="grey.tif")
    report, _ = change(before, grey, options=("--overwrite",))
    assert any("grey.tif is grey and" in note for note in report["notes"])


def test_what_a_map_may_not_be_worth(change: Callable[..., Any], before: Path, make_scene: Make) -> None:
    """Other light, another season, other ground."""
    with rasterio.open(before, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2019:12:20 10:00:00")
    other = np.moveaxis(patchwork(HEIGHT, WIDTH, seed=31), -1, 0) // 3
    after = make_scene(other, name="after.tif")
    with rasterio.open(after, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2020:02:20 10:00:00")
    report, _ = change(before, after)
    share = (brightest(before) != other.argmax(axis=0)).mean()
    assert report["changed_share"] == pytest.approx(share, abs=1e-6) and share > 0.5
    for told in (f"{share:.0%} of what both dates show changed", "the second date has 33% of the first one's bright",
                 "about 61 days apart within the year"):  # fmt: skip
        assert any(told in note for note in report["notes"]), (told, report["notes"])
    assert "no probability" in report["score"]
    _, again = change(before, before.with_name("after.tif"), options=("--match-histogram", "--overwrite"))
    assert "Light or sensor" not in (again / "report.json").read_text()


def test_a_shift_that_is_too_large(change: Callable[..., Any], before: Path, make_scene: Make) -> None:
    data = np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0)
    after = make_scene(np.roll(data, (0, 25), (1, 2)), name="after.tif")
    report, _ = change(before, after, options=("--align", "--search", 20))
    (note,) = [note for note in report["notes"] if "beyond the 20 px" in note]
    assert "25.0 px (12.5 m)" in note and not report["shift"]["taken_out"]


def test_the_method_itself_runs(micro: Path, command: Command, before: Path, after: Path, tmp_path: Path) -> None:
    """`dense` with a toy model, at two resolutions: whatever it says, it is whole."""
    out = tmp_path / "changes.gpkg"
    how = ["--model", micro, "--tile-size", 64, "--device", "cpu", "--offline", "--quiet"]
    done = command("change", before, after, out, *WORDS, *how, "--json", "--threshold", 0.01)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert np.sum(report["matrix"]) == pytest.approx(HEIGHT * WIDTH * 0.25 / 1e4, rel=1e-3)
    assert len(geopandas.read_file(out)) == sum(row["polygons_gained"] for row in report["classes"])


def test_small_changes_are_shown(
    micro: Path, command: Command, before: Path, after: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(methods.METHODS, "dense", lambda options: ByColour())
    done = command("change", before, after, tmp_path / "o", *WORDS, "--model", micro, "--offline", "--tile-size", 64)
    assert done.code == 0 and " m2" in done.out and "0.00" not in done.out, done.out


@pytest.mark.parametrize("method", ["dense", "anychange", "dynamicearth-mci", "dynamicearth-imc"])
def test_a_single_class_without_others(method: str, before: Path, after: Path, tmp_path: Path) -> None:
    """Before torch is loaded."""
    code = (
        "import sys, earthwords\ntry:\n"
        f"    earthwords.change({str(before)!r}, {str(after)!r}, 'out', text=['building'], against='none', "
        f"method={method!r})\n"
        "except earthwords.EarthwordsError as error:\n    print(type(error).__name__, error)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    first, second = done.stdout.splitlines()
    assert first == (
        "UsageError One class, building, has nothing to change into: add --against auto, or name more classes."
    )
    assert second == "False" and not (tmp_path / "out").exists()


def test_what_becomes_what_of_each_connected_change() -> None:
    first, second = np.full((2, 3, 20, 30), 0.05, np.float32)
    changed = np.zeros((20, 30), bool)
    changed[2:8, 3:9] = changed[12:18, 20:29] = changed[19, 0] = True
    first[0], second[0] = 0.5, 0.6  # class 0 everywhere, likelier on the second date
    first[1, 2:8, 3:9] = 0.9
    second[2, 12:18, 20:29] = 0.4  # below class 0, which it cannot stay
    old, new = _named(first, second, changed, 20)
    assert set(zip(old[2:8, 3:9].flat, new[2:8, 3:9].flat, strict=True)) == {(1, 0)}
    assert set(zip(old[12:18, 20:29].flat, new[12:18, 20:29].flat, strict=True)) == {(0, 2)}
    still = ~changed | (np.arange(20) == 19)[:, None]  # a single pixel is no change
    assert (old[still] == new[still]).all() and (old[still] == 0).all()


def test_a_python_call(micro: Path, before: Path, after: Path, tmp_path: Path) -> None:
    import earthwords

    text = ["building", "water"]
    report = earthwords.change(before, after, tmp_path / "a.tif", text=text, model=str(micro), tile_size=64, quiet=True)
    assert report.classes[0].name == "building" and report.outputs == {"labels": tmp_path / "a.tif"}


class Stopping(ByColour):
    """Fails in the second block."""

    def __call__(self, pair: PairWindow) -> Comparison:
        if len(self.asked) == 1:
            raise SourceError("The second block is damaged.")
        return super().__call__(pair)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--threshold", 0.2), "its threshold was the method's and is 0.2 now"),
        (("--match-histogram",), "its match-histogram was no and is yes now"),
        (("--search", 3), "its search was 64 and is 3 now"),
    ],
)
def test_other_options_on_resume_are_named(
    micro: Path, command: Command, before: Path, make_scene: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    option: tuple[object, ...], told: str,
) -> None:  # fmt: skip
    """Also where they change what is found of the dates and what both cover."""
    after = make_scene(np.roll(np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0), (4, -7), (1, 2)), name="after.tif")
    monkeypatch.setattr(ByColour, "sides", (64,))
    monkeypatch.setattr(ByColour, "asked", [])
    model = Path(shutil.copytree(micro, tmp_path / "model"))
    how = (*WORDS, "--model", model, "--tile-size", 64, "--device", "cpu", "--offline", "--quiet", "--align")
    dates = (before, after, tmp_path / "out")
    monkeypatch.setitem(methods.METHODS, "dense", lambda options: Stopping())
    command("change", *dates, *how).failed(1, "The second block is damaged.")
    monkeypatch.setitem(methods.METHODS, "dense", lambda options: ByColour())
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])  # which tells whether it was loaded
    command("change", *dates, *how, *option).failed(2, told, "--no-resume")
    weights.write_bytes(whole)
    assert command("change", *dates, *how).code == 0


@pytest.fixture
def dates(before: Path, after: Path, make_scene: Make) -> list[Path]:
    third = make_scene(np.moveaxis(patchwork(HEIGHT, WIDTH, seed=12), -1, 0), name="third.tif")
    return [before, after, third]


def test_more_than_two_dates(change: Callable[..., Any], dates: list[Path]) -> None:
    report, out = change(*dates)
    names = ["01-before-after", "02-after-third"]
    assert {path.name for path in out.iterdir()} == {*names, "changes.json"}
    for (first, second), name, told in zip(((0, 1), (1, 2)), names, report["pairs"], strict=True):
        with rasterio.open(out / name / "change.tif") as made:
            differ = made.read(1) > 0
        assert np.array_equal(differ, brightest(dates[first]) != brightest(dates[second]))
        assert told["changed_share"] == pytest.approx(differ.mean(), abs=1e-6)
    assert json.loads((out / "changes.json").read_text())["pairs"] == report["pairs"]


def test_the_coarser_date_decides_unless_told(change: Callable[..., Any], before: Path, make_scene: Make) -> None:
    coarse = np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0)[:, ::2, ::2]
    after = make_scene(coarse, name="after.tif", transform=TRANSFORM @ Affine.scale(2))
    for options, worked in (((), "worked at 1 m"), (("--gsd", 0.5, "--overwrite"), "worked at 0.5 m")):
        report, _ = change(before, after, options=options)
        assert any(worked in note for note in report["notes"]), report["notes"]
        assert np.sum(report["matrix"]) == pytest.approx(HEIGHT * WIDTH * 0.25 / 1e4, rel=1e-2)
