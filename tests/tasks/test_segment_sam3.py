"""`segment` with SAM 3: whole scenes by windows, killed and resumed, and what is refused."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

import earthwords
from earthwords.inference.windows import blocks
from earthwords.models.sam3.fusion import Fusion
from earthwords.models.sam3.load import load_sam3
from earthwords.types import Window
from tests.conftest import Command, Outcome, write_raster
from tests.micro import patchwork
from tests.sam3 import SIDE, write_sam3
from tests.tasks.conftest import BUNDLE, labels_of, names
from tests.tasks.test_interrupted import python

WORDS = ["building,house", "road", "water"]
HEIGHT, WIDTH = 89, 110


@pytest.fixture(scope="module")
def sam3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sam3(tmp_path_factory.mktemp("weights") / "sam3")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = np.moveaxis(patchwork(HEIGHT, WIDTH), -1, 0)
    return write_raster(tmp_path_factory.mktemp("scenes") / "scene.tif", image, photometric="RGB")


Map = Callable[..., Outcome]


def options(sam3: Path, *more: object, preset: str = "segearth-ov3") -> list[object]:
    words = [part for word in WORDS for part in ("-t", word)]
    return [*words, "--preset", preset, "--model", sam3, "--tile-size", SIDE, "--overlap", 16, "--quiet", *more]


def stitched(sam3: Path, scene: Path, rule: str, words: list[list[str]]) -> np.ndarray:
    """`(class, row, col)`: every window by hand, their mean, the largest of a class's prompts."""
    network, fusion = load_sam3(str(sam3)), Fusion(rule=rule, confidence=0.4)
    with rasterio.open(scene) as dataset:
        pixels = torch.from_numpy(dataset.read().astype(np.float32)) / 127.5 - 1
    every = [word for own in words for word in own]
    prompts = network.encode_prompts(every)
    total, seen = np.zeros((len(every), HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH))
    for row in (0, HEIGHT - SIDE):
        for col in (0, WIDTH - SIDE):
            rows, cols = slice(row, row + SIDE), slice(col, col + SIDE)
            looked = network.see(pixels[None, :, rows, cols])
            for i, prompt in enumerate(prompts):
                found = fusion.probabilities(network.answers(looked, prompt[None]), (SIDE, SIDE))
                total[i, rows, cols] += found[0].double().numpy()
            seen[rows, cols] += 1
    owner = np.repeat(np.arange(len(words)), [len(own) for own in words])
    mean = total / seen
    return np.stack([mean[owner == k].max(axis=0) for k in range(len(words))])


def test_windows_are_stitched_and_classes_take_their_best_prompt(
    command: Command, sam3: Path, scene: Path, tmp_path: Path
) -> None:
    done = command("segment", scene, tmp_path / "out", *options(sam3, "--probabilities", "float32"))
    assert done.code == 0, done.err
    assert names(tmp_path / "out") == BUNDLE | {"probabilities.tif"}
    expected = stitched(sam3, scene, "max", [word.split(",") for word in WORDS])
    with rasterio.open(tmp_path / "out" / "probabilities.tif") as dataset:
        found = dataset.read()
    assert found.shape == (3, HEIGHT, WIDTH)
    assert np.abs(found - expected).max() < 1e-5
    assert expected.sum(axis=0).max() > 1.05, "they are no shares of one"
    labels = labels_of(tmp_path / "out" / "labels.tif")
    best, clear = expected.argmax(axis=0), np.abs(expected.max(axis=0) - 0.3) > 1e-4
    sure = clear & (np.diff(np.sort(expected, axis=0)[-2:], axis=0)[0] > 1e-4)
    assert sure.mean() > 0.9 and len(np.unique(labels)) >= 3
    assert np.array_equal(labels[sure], np.where(expected.max(axis=0) < 0.3, 255, best)[sure])
    settings = json.loads((tmp_path / "out" / "report.json").read_text())["settings"]
    assert settings["fusion"] == "max, instances above 0.4"
    assert [part.split()[0] for part in settings["presence"].split("; ")] == ["building", "road", "water"]
    assert not {"attention", "templates", "logit_scale"} & settings.keys()


def test_a_killed_run_goes_on_to_the_same_bytes(
    command: Command, sam3: Path, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the presence of blocks that the first run has computed."""
    monkeypatch.setattr(blocks, "PIXELS", 32 * WIDTH)
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert command("segment", scene, whole, *options(sam3)).code == 0
    killed = python(KILLED, "segment", scene, out, *options(sam3), PIXELS=str(32 * WIDTH))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "labels.tif").exists()
    changed = command("segment", scene, out, *options(sam3, preset="procsam3"))
    assert changed.code == 2 and "fusion" in changed.err
    assert command("segment", scene, out, *options(sam3)).code == 0
    for name in BUNDLE - {"report.json", "polygons.gpkg"}:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    told = [json.loads((folder / "report.json").read_text()) for folder in (whole, out)]
    assert told[0]["settings"] == told[1]["settings"] and told[0]["notes"] == told[1]["notes"]
    assert names(tmp_path) == {"whole", "out"}


KILLED = """
import os, signal
from earthwords.cli import main
from earthwords.inference.windows import blocks
from earthwords.inference.segment.block_store import BlockStore

blocks.PIXELS = int(os.environ["PIXELS"])
save = BlockStore.save

def save_and_die(self, index, result):
    save(self, index, result)
    os.kill(os.getpid(), signal.SIGKILL)

BlockStore.save = save_and_die
main()
"""
if sys.platform == "win32":
    pytest.skip("signals are a POSIX thing", allow_module_level=True)


def test_workers_make_the_same_map(command: Command, sam3: Path, scene: Path, tmp_path: Path) -> None:
    """Also of procsam3, whose list adds words."""
    for name, more in (("one", []), ("two", ["--workers", 2])):
        done = command("segment", scene, tmp_path / f"{name}.tif", *options(sam3, *more, preset="procsam3"))
        assert done.code == 0, done.err
    assert np.array_equal(labels_of(tmp_path / "one.tif"), labels_of(tmp_path / "two.tif"))


def test_procsam3_asks_for_more_words(sam3: Path, scene: Path, tmp_path: Path) -> None:
    own = tmp_path / "own_exp.txt"
    own.write_text("buildings,shed\nroads,street\n")
    (tmp_path / "own.toml").write_text('base = "procsam3"\nprompts = "own_exp.txt"\ntile_size = 64\noverlap = 16\n')
    segmenter = earthwords.Segmenter.from_preset(earthwords.load_preset(str(tmp_path / "own.toml")), model=sam3)
    result = segmenter.predict(scene, WORDS, probabilities=True)
    assert result.probabilities is not None
    expected = stitched(sam3, scene, "pgrf", [["building", "house", "shed"], ["road", "street"], ["water"]])
    assert np.abs(result.probabilities - expected).max() < 1e-5
    assert "Asked for, too: building (shed); road (street)." in result.notes
    assert result.tags["EARTHWORDS_PROMPTS"].endswith("own_exp.txt")


def test_batches_do_not_change_a_window(sam3: Path) -> None:
    segmenter = earthwords.Segmenter.from_preset(earthwords.load_preset("segearth-ov3"), model=sam3)
    bank = segmenter.text_bank(segmenter._vocabulary(WORDS))
    queries = torch.from_numpy(bank.vectors)
    windows = torch.randn((3, 3, 48, SIDE), generator=torch.Generator().manual_seed(2)).clamp(-1, 1)
    windows[1] = 0
    presences: list[torch.Tensor] = []
    together = segmenter.encoder.logits(windows, queries, note=presences.append)
    alone = torch.cat([segmenter.encoder.logits(window[None], queries) for window in windows])
    assert together.shape == (3, 4, 48, SIDE)
    assert torch.allclose(together, alone, atol=5e-4), "but for rounding"
    assert len(presences) == 2 and presences[0].shape == (4,), "a window of nothing is not looked at"
    assert 0 < float(together[1].max()) < 1e-6
    assert float((together[0] - together[2]).abs().max()) > 0.01


def test_a_class_that_is_nowhere_is_told(command: Command, scene: Path, tmp_path: Path) -> None:
    """By its presence; an error with --strict, and nothing is written."""
    absent = write_sam3(tmp_path / "absent", presence=-3.0)
    done = command("segment", scene, tmp_path / "out", *options(absent))
    assert done.code == 0
    notes = json.loads((tmp_path / "out" / "report.json").read_text())["notes"]
    (told,) = [note for note in notes if "presence" in note]
    assert all(f"{title} (0." in told for title in ("building", "road", "water"))
    command("segment", scene, tmp_path / "strict", *options(absent, "--strict")).failed(2, "--strict")
    assert not (tmp_path / "strict").exists()


def test_a_single_class_needs_no_rivals(command: Command, sam3: Path, scene: Path, tmp_path: Path) -> None:
    argv = ["-t", "water", "--preset", "segearth-ov3", "--model", sam3, "--tile-size", SIDE, "--overlap", 0, "--quiet"]
    assert command("segment", scene, tmp_path / "out", *argv).code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [row["name"] for row in report["classes"]] == ["water"]
    assert report["settings"]["vocabulary"] == "water"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--attention", "sclip"], ["no attention to set"]),
        (["--upsampler", "bilinear"], ["no upsampler to set"]),
        (["--templates", "aerial"], ["no templates to set"]),
        (["--precision", "bf16"], ["no precision to set"]),
        (["--joint"], ["features of a CLIP"]),
        (["--memory", "30MiB"], ["--memory"]),
    ],
)
def test_what_does_not_go_with_it(
    command: Command, sam3: Path, scene: Path, tmp_path: Path, argv: list[str], words: list[str]
) -> None:
    command("segment", scene, tmp_path / "out", *options(sam3, *argv)).failed(2, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "verb", [["classify"], ["count", "out"], ["index", "out"], ["upsample", "out.tif"], ["change", "b.tif", "out"]]
)
def test_verbs_that_need_a_clip(command: Command, scene: Path, tmp_path: Path, verb: list[str]) -> None:
    name, *more = verb
    paths = [scene if part == "b.tif" else tmp_path / part for part in more]
    asked = [] if name in ("index", "upsample") else ["-t", "road", "-t", "water"]
    done = command(name, scene, *paths, *asked, "--preset", "segearth-ov3", "--quiet", "--offline")
    done.failed(2, "is a SAM 3", "segearth-ov")


def test_offline_without_the_weights(command: Command, scene: Path, tmp_path: Path) -> None:
    done = command("segment", scene, tmp_path / "out", "-t", "road", "--preset", "segearth-ov3", "--offline", "--quiet")
    done.failed(1, "facebook/sam3")
    assert not (tmp_path / "out").exists()


def test_the_encoder_sees_scenes_smaller_than_a_window(sam3: Path, scene: Path) -> None:
    """H and W differ: stretched to the network's square, as the authors do it."""
    segmenter = earthwords.Segmenter.from_preset(earthwords.load_preset("segearth-ov3"), model=sam3)
    with segmenter.open(scene) as opened:
        assert segmenter.plan(opened).windows == [Window(row=0, col=0, height=HEIGHT, width=WIDTH)]
    result = segmenter.predict(scene, WORDS, probabilities=True)
    network = load_sam3(str(sam3))
    with rasterio.open(scene) as dataset:
        pixels = torch.from_numpy(dataset.read().astype(np.float32))[None]
    square = torch.nn.functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True).round() / 127.5 - 1
    answers = network.answers(network.see(square), network.encode_prompts(["building", "house", "road", "water"]))
    maps = Fusion(confidence=0.4).probabilities(answers, (HEIGHT, WIDTH))
    expected = torch.stack([maps[:2].amax(dim=0), maps[2], maps[3]])
    assert result.probabilities is not None
    assert np.abs(result.probabilities - expected.numpy()).max() < 1e-5
