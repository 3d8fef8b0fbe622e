"""`earthwords index`: what is written, runs that add, change, are killed or refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from torch.nn import functional as F

import earthwords
from earthwords.archive import build, storage
from earthwords.archive.storage import FILES, Stored
from earthwords.errors import EarthwordsError, OutputError, UsageError
from earthwords.jobs.journal import PARTS, Journal
from earthwords.models.weights.table import load_clip
from tests.conftest import Command, Outcome, write_raster
from tests.micro import patchwork, write_micro
from tests.special import KINDS, make, within
from tests.tasks.conftest import names

IndexCommand = Callable[..., Outcome]


@pytest.fixture
def index(command: Command, micro: Path) -> IndexCommand:
    """`index(archive..., folder, options...)` with the toy model and tiles of 64 pixels."""

    def run(*words: object, model: object = micro) -> Outcome:
        return command("index", *words, "--model", model, "--device", "cpu", "--offline")

    return run


@pytest.fixture
def archive(tmp_path: Path, image: np.ndarray) -> Path:
    """A scene with holes, a picture without CRS, and one in a folder below."""
    folder = tmp_path / "archive"
    (folder / "below").mkdir(parents=True)
    write_raster(folder / "scene.tif", np.moveaxis(image, -1, 0), nodata=0, photometric="RGB")
    Image.fromarray(patchwork(70, 90, seed=7)).save(folder / "below" / "plain.png")
    Image.fromarray(patchwork(50, 64, seed=8)).save(folder / "small.png")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_written(index: IndexCommand, archive: Path, tmp_path: Path, image: np.ndarray, micro: Path) -> None:
    with rasterio.open(archive / "scene.tif", "r+") as dataset:
        dataset.update_tags(TIFFTAG_DATETIME="2018:07:16 12:00:00")
    done = index(archive, tmp_path / "new" / "index", "--overlap", 10)
    assert done.code == 0, done.err
    assert "3 sources" in done.out and "tiles without enough" in done.out
    assert names(tmp_path / "new" / "index") == set(FILES)
    vectors = np.load(tmp_path / "new" / "index" / "vectors.npy", mmap_mode="r")
    tiles = geopandas.read_parquet(tmp_path / "new" / "index" / "tiles.parquet")
    assert vectors.dtype == np.float16 and vectors.shape == (len(tiles), 16) and tiles.crs.to_epsg() == 4326
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(float), axis=1), 1, atol=2e-3)
    assert [Path(s).name for s in dict.fromkeys(tiles.source)] == ["plain.png", "scene.tif", "small.png"]
    plain = tiles[tiles.source.str.endswith(".png")]
    assert plain.geometry.isna().all() and plain.gsd.isna().all() and plain["crs"].isna().all()
    assert plain[["row", "col", "height", "width"]].values.tolist() == [[0, 0, 70, 90], [0, 0, 50, 64]]
    scene = tiles[tiles.source.str.endswith(".tif")]
    assert set(scene["crs"]) == {"EPSG:32640"} and set(scene["date"]) == {"2018-07-16"}
    np.testing.assert_allclose(scene.gsd, 0.5, rtol=0.01)
    backbone = load_clip(str(micro))
    projected = scene.to_crs(32640)
    valid = image.any(axis=2)
    for n in range(len(scene)):
        row, col, height, width = scene[["row", "col", "height", "width"]].iloc[n]
        part = np.s_[row : row + height, col : col + width]
        assert scene.valid.iloc[n] == pytest.approx(valid[part].mean()) and scene.valid.iloc[n] >= 0.5
        left, top = 326_417.5 + 0.5 * col, 2_781_133.0 - 0.5 * row
        np.testing.assert_allclose(projected.geometry.iloc[n].bounds, (left, top - 32, left + 32, top), atol=1e-3)
        mean, std = (torch.tensor(v)[:, None, None] for v in (backbone.mean, backbone.std))
        pixels = (torch.from_numpy(image[part]).permute(2, 0, 1) / 255 - mean) / std
        with torch.inference_mode():
            vector = F.normalize(backbone.encode_image((pixels * torch.from_numpy(valid[part]))[None]), dim=-1)[0]
        np.testing.assert_allclose(vectors[scene.index[n]], vector, atol=1e-3)
    about = json.loads((tmp_path / "new" / "index" / "index.json").read_text())
    assert about["tiles"] == len(tiles) and about["settings"]["tile_size"] == "64" and about["sources"] == 3


def test_tiles_without_enough_pixels_are_left_out(index: IndexCommand, archive: Path, tmp_path: Path) -> None:
    counts = []
    for i, share in enumerate((0, 1)):
        assert index(archive / "scene.tif", tmp_path / str(i), "--tile-size", 16, "--min-valid", share).code == 0
        counts.append(len(np.load(tmp_path / str(i) / "vectors.npy")))
    assert counts[0] > counts[1] > 0
    assert counts[0] < 9 * 12  # the corner of 30 x 45 pixels holds whole tiles


def test_runs_that_add_change_and_prune(index: IndexCommand, archive: Path, tmp_path: Path) -> None:
    out, fresh = tmp_path / "index", tmp_path / "fresh"
    (archive / "small.png").rename(tmp_path / "small.png")
    assert index(archive, out).code == 0
    before = contents(out)
    done = index(archive, out)
    assert done.code == 0 and contents(out) == before and "kept" in done.out
    (tmp_path / "small.png").rename(archive / "small.png")
    Image.fromarray(patchwork(60, 80, seed=9)).save(archive / "below" / "plain.png")
    assert index(archive, out).code == 0
    assert index(archive, fresh).code == 0
    assert contents(out) == contents(fresh) != before
    (archive / "scene.tif").unlink()
    report = earthwords.index(archive, out, model=json.loads(contents(out)["index.json"])["model"], quiet=True)
    assert [Path(s).name for s in report.vanished] == ["scene.tif"] and (report.sources, report.embedded) == (3, 0)
    assert contents(out) == contents(fresh)
    assert index(archive, out, "--prune").code == 0
    assert index(archive, fresh, "--overwrite").code == 0
    assert contents(out) == contents(fresh) and len(contents(out)) == len(FILES)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_runs_give_the_same_bytes(
    index: IndexCommand, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before and after any record, renaming and removing."""
    monkeypatch.setattr(build, "BLOCK", 3)
    assert index(archive, tmp_path / "whole", "--tile-size", 32).code == 0
    out, kills = tmp_path / "index", 0
    for event in (3, 6, 8, 1, 2, 3, 5, 7, 9, 1000):
        pid = os.fork()
        if pid == 0:
            left = [event]

            def counted(function: Callable[..., object], left: list[int] = left) -> Callable[..., object]:
                def call(*args: object, **options: object) -> object:
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return function(*args, **options)

                return call

            Journal.save = counted(Journal.save)  # type: ignore[method-assign]
            os.replace = counted(os.replace)  # type: ignore[assignment]
            shutil.rmtree = counted(shutil.rmtree)  # type: ignore[assignment]
            os._exit(index(archive, out, "--tile-size", 32).code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        if event % 3 == 0 and (out / ".work" / PARTS).exists():
            with (out / ".work" / PARTS).open("ab") as file:
                file.write(b"half a record")
        if code == 0:
            assert contents(out) == contents(tmp_path / "whole")
            shutil.rmtree(out)
    assert kills > 5 and code == 0


@pytest.mark.parametrize("moved", range(len(FILES)))
def test_a_reader_finishes_a_commit(index: IndexCommand, archive: Path, tmp_path: Path, moved: int) -> None:
    assert index(archive / "small.png", tmp_path / "old").code == 0
    assert index(archive, tmp_path / "new").code == 0
    wanted = contents(tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "old" / storage.COMMIT)
    for name in FILES[:moved]:
        os.replace(tmp_path / "old" / storage.COMMIT / name, tmp_path / "old" / name)
    Stored(tmp_path / "old").close()
    assert contents(tmp_path / "old") == wanted


@pytest.mark.parametrize("opened", range(1, 5))
def test_a_reader_sees_one_generation(
    index: IndexCommand, archive: Path, tmp_path: Path, opened: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever file it is at when the index changes; the number of tiles does not tell."""
    first, second = archive / "small.png", archive / "another.png"
    Image.fromarray(patchwork(50, 64, seed=9)).save(second)
    for source in (first, second):
        assert index(source, tmp_path / source.stem).code == 0
    left = [opened]

    def changing(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                first.unlink()
                assert index(second, tmp_path / "small", "--prune").code == 0
            return function(*args, **options)

        return call

    monkeypatch.setattr(storage, "open_memmap", changing(storage.open_memmap))
    monkeypatch.setattr(storage, "TileTable", changing(storage.TileTable))
    stored, wanted = Stored(tmp_path / "small"), Stored(tmp_path / "another")
    np.testing.assert_array_equal(stored.vectors.values, wanted.vectors.values)
    assert stored.tiles.rows(np.array([0])).columns["source"].tolist() == [str(second)] == list(stored.entries())
    assert left[0] < 0, "it has begun again"
    shutil.rmtree(tmp_path / "small")
    assert list(stored.entries()) == [str(second)], "everything is open"


def test_an_index_that_changes_all_the_time(
    index: IndexCommand, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "index"
    assert index(archive, out).code == 0
    read = storage._read_about

    def touched(folder: Path) -> dict[str, object]:
        os.utime(out / "codes.npy")
        return read(folder)

    monkeypatch.setattr(storage, "_read_about", touched)
    with pytest.raises(OutputError, match=f"Another process keeps changing the index {out}"):
        Stored(out)


def test_what_a_dead_commit_prepared_goes(index: IndexCommand, archive: Path, tmp_path: Path) -> None:
    """Also where nothing is new."""
    assert index(archive, tmp_path / "index").code == 0
    (tmp_path / "index" / storage.NEXT).mkdir()
    (tmp_path / "index" / storage.NEXT / "vectors.npy").write_bytes(b"half")
    assert index(archive, tmp_path / "index").code == 0
    assert names(tmp_path / "index") == set(FILES)


def test_another_model_or_setting_is_refused(index: IndexCommand, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    assert index(archive, out).code == 0
    before = contents(out)
    index(archive, out, "--tile-size", 32).failed(2, "was made with tile_size 64, now it is 32", "--overwrite")
    index(archive, out, "--bands", "3,2,1").failed(2, "bands as the file says, now it is 3,2,1")
    other = write_micro(tmp_path / "other", seed=36)
    index(archive, out, model=other).failed(2, "was made with weights")
    assert contents(out) == before
    assert index(archive, out, "--overwrite", model=other).code == 0


def test_sources_that_cannot_be_read(index: IndexCommand, archive: Path, tmp_path: Path) -> None:
    (archive / "a.tif").write_bytes(b"no raster")
    out = tmp_path / "new" / "index"
    index(archive, out).failed(1, "a.tif", "is not a raster", "--on-error skip")
    assert names(tmp_path) == {"archive"}
    (archive / "a.tif").rename(archive / "z.tif")
    index(archive, out).failed(1, "z.tif", "The same command goes on from here: ", "of 4 sources are done.")
    assert names(out) == {".work"}
    index(archive, out, "--tile-size", 32).failed(2, "An unfinished run lies in", "its tile_size was 64 and is 32 now")
    index(archive, out, "--tile-size", 32, "--no-resume").failed(1, "z.tif")
    assert names(out) == set(), "what may not be resumed leaves nothing"
    index(archive, out).failed(1, "of 4 sources are done.")
    done = index(archive, out, "--on-error", "skip")
    assert done.code == 1 and "failed" in done.out and names(out) == set(FILES)
    (archive / "z.tif").unlink()
    assert index(archive, tmp_path / "fresh").code == 0
    assert contents(out) == contents(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--tile-size", 4], 2, "Tiles of 4 pixels"),
        (["--overlap", 64], 2, "Tiles of 64 pixels with an overlap of 64 are impossible"),
        (["--min-valid", 2], 2, "share of valid pixels is 0 to 1"),
        (["--batch-size", 0], 2, "At least one window"),
        (["--on-error", "go"], 2, "on-error"),
        (["--preset", "tinny"], 2, "Did you mean 'tiny'?"),
        (["--bands", "1,2,9"], 2, "9"),
    ],
)
def test_refusals(
    index: IndexCommand, archive: Path, tmp_path: Path, options: list[object], code: int, sentence: str
) -> None:
    index(archive, tmp_path / "new" / "index", *options).failed(code, sentence)
    assert names(tmp_path) == {"archive"}


def test_places_that_are_no_index(index: IndexCommand, archive: Path, tmp_path: Path) -> None:
    index(archive, archive).failed(2, "holds other things than an index")
    index(archive, archive / "scene.tif").failed(2, "is a file; name a folder")
    index(archive, "s3://a/b").failed(2, "is not a local path")
    index(tmp_path / "missing", tmp_path / "index").failed(1, "does not exist")
    index(archive).failed(2, "earthwords index ARCHIVE... INDEX")
    (tmp_path / "empty").mkdir()
    index(tmp_path / "empty", tmp_path / "index").failed(2, "No raster was found")
    with pytest.raises(UsageError, match="There is no index in"):
        earthwords.Index.open(tmp_path / "empty")
    assert names(tmp_path) == {"archive", "empty"}


@pytest.mark.parametrize("file", ["vectors.npy", "bounds.npy"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_vectors_that_are_no_numbers(
    index: IndexCommand, archive: Path, command: Command, tmp_path: Path, file: str, number: float
) -> None:
    assert index(archive, tmp_path / "index").code == 0
    values = np.load(tmp_path / "index" / file)
    values[:, 1] = number
    np.save(tmp_path / "index" / file, values)
    argv = ["search", tmp_path / "index", "road", tmp_path / "out", "--quiet", "--offline"]
    command(*argv).failed(1, "finite", "index again with --overwrite")
    assert not (tmp_path / "out").exists()


def test_a_damaged_index(index: IndexCommand, archive: Path, command: Command, tmp_path: Path) -> None:
    assert index(archive, tmp_path / "index").code == 0
    for name in FILES:
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(tmp_path / "index", tmp_path / "bad")
        with (tmp_path / "bad" / name).open("rb+") as file:
            file.truncate(20)
        command("search", tmp_path / "bad", "road", "--quiet").failed(1, "is damaged", "--overwrite")
        index(archive, tmp_path / "bad").failed(1, "is damaged")


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_an_index_that_are_none(kind: str, index: IndexCommand, archive: Path, tmp_path: Path) -> None:
    """A pipe in the place of one of them is not waited for."""
    assert index(archive / "small.png", tmp_path / "made").code == 0
    for name in FILES:
        folder = Path(shutil.copytree(tmp_path / "made", tmp_path / kind / name))
        (folder / name).unlink()
        make(kind, folder / name)
        with pytest.raises(EarthwordsError) as error:
            within(30, lambda folder=folder: Stored(folder).close())
        assert "\n" not in str(error.value) and len(str(error.value)) < 500
