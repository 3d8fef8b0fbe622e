"""`train segment --head none`: what learns, which weights are delivered, and how their preset segments."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from torch import Tensor, nn

from earthwords.data.manifests.captions import read_manifest
from earthwords.errors import UsageError
from earthwords.evaluation.benchmark.listed import HeldOut
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.models.clip.model import DenseMethod
from earthwords.models.weights.table import load_clip
from earthwords.presets import SEGMENT_PRESETS, load_preset
from earthwords.tasks.train_segment import _fitting, train_segment
from earthwords.training import loop
from earthwords.training.heads.tuned_encoder import TunedEncoder
from earthwords.training.loop import BestWeights, Schedule, train
from tests.conftest import Command, write_raster
from tests.micro import micro_clip
from tests.training.test_adapt import plain_clip
from tests.training.test_aggregation import COLOURS, write_masks

SMALL: dict[str, Any] = {
    "head": "none", "batch_size": 4, "image_size": (64,), "class_dropout": 0.0, "device": "cpu", "quiet": True,
}  # fmt: skip
LEARNED = {"steps": 40, "lr": 1e-3, "ema": 0.5, "val_frequency": 10, "learn": "image"}


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_masks(tmp_path_factory.mktemp("masks") / "train")


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_masks(tmp_path_factory.mktemp("masks") / "other", images=3, seed=5)


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory, micro: Path) -> str:
    """The toy model by its bare words, knowing what fits none."""
    path = tmp_path_factory.mktemp("preset") / "toy.toml"
    own = {"base": "tiny", "weights": str(micro), "templates": "none", "nothing": 0.0, "overlap": 96}
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in own.items()))
    return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, listing: Path, held_out: Path, preset: str) -> Path:
    """A finished training."""
    out = tmp_path_factory.mktemp("tuned") / "out"
    train_segment(listing, out, preset=preset, val_data=held_out, **{**SMALL, **LEARNED, "batch_size": 8})
    return out


def logged(folder: Path, name: str) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]


def test_it_learns_and_the_best_weights_are_delivered(made: Path, held_out: Path) -> None:
    assert logged(made, "region")[-1] < 0.8 * logged(made, "region")[0]
    figures = logged(made, "heldout_mIoU")
    assert max(figures) > figures[-1], "else the last weights would do"
    assert len(figures) == 4 and max(figures) > logged(made, "before_mIoU")[0] + 10
    assert measured(made, held_out) == pytest.approx(max(figures), abs=0.01)


def measured(folder: Path, held_out: Path) -> float:
    segmenter = Segmenter.from_preset(str(folder), device="cpu")
    figures = HeldOut(read_manifest(held_out), segmenter.preset, most=9).figures(segmenter.encoder, x=0.0)
    return figures["x_mIoU"]


def test_segment_takes_the_folder(command: Command, made: Path, tmp_path: Path) -> None:
    """Each half of a picture has the word of its colour."""
    mask = np.zeros((90, 150), int)
    mask[:, 70:] = 1
    pixels = np.array(list(COLOURS.values()))[mask] + np.random.default_rng(3).normal(0, 6, (90, 150, 3))
    scene = write_raster(tmp_path / "scene.tif", np.moveaxis(np.clip(pixels, 1, 255).astype(np.uint8), -1, 0))
    words = ["-t", "water", "-t", "trees,forest", "--preset", made, "--tile-size", 64]
    assert command("segment", scene, tmp_path / "out", *words, "--device", "cpu", "--offline", "--quiet").code == 0
    with rasterio.open(tmp_path / "out" / "labels.tif") as file:
        labels = file.read(1)
    assert np.mean(labels == mask) > 0.9


def test_the_preset_has_what_its_base_had(made: Path, micro: Path, preset: str) -> None:
    table = tomllib.loads((made / "preset.toml").read_text())
    assert table["weights"] == "./encoder" and table["name"] == "toy-tuned"
    row, base = load_preset(str(made / "preset.toml")), load_preset(preset)
    assert replace(row, name="", weights="", note="") == replace(base, name="", weights="", note="")
    tuned, before = load_clip(str(made / "encoder")), load_clip(str(micro))
    for name, value in before.model.text_model.state_dict().items():
        assert torch.equal(value, tuned.model.text_model.state_dict()[name]), "words stay where they are"


@pytest.mark.parametrize("learn", ["lora", "image"])
def test_a_run_that_was_interrupted_ends_in_the_same_bits(
    learn: str, listing: Path, held_out: Path, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {**SMALL, "model": str(micro), "steps": 6, "save_frequency": 3, "val_data": held_out, "val_frequency": 2}
    how |= {"learn": learn, "lora_rank": 3, "lr": 1e-2, "ema": 0.0}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train_segment(listing, whole, **how)
    _stopped_at(3, monkeypatch, lambda: train_segment(listing, broken, **how))
    assert not (broken / "preset.toml").exists()
    train_segment(listing, broken, **how)
    for name in ("encoder/model.safetensors", "preset.toml"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert logged(broken, "heldout_mIoU") == logged(whole, "heldout_mIoU")
    figures = [*logged(whole, "heldout_mIoU"), logged(whole, "before_mIoU")[0]]
    assert measured(whole, held_out) == pytest.approx(max(figures), abs=0.05)
    train_segment(listing, broken, **how)  # a finished one is delivered again
    assert (broken / "encoder/model.safetensors").read_bytes() == (whole / "encoder/model.safetensors").read_bytes()
    for change, named in (
        ({"patience": 2}, "patience"),
        ({"val_frequency": 3}, "val_frequency"),
        ({"learn": "all"}, "learn"),
        ({"val_data": None}, "val_data"),
    ):
        with pytest.raises(UsageError, match=f"was trained with {named} "):
            train_segment(listing, broken, **{**how, **change})


def _stopped_at(step: int, monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]) -> None:
    keep = loop._save

    def stop(path: Path, state: dict[str, Any]) -> None:
        keep(path, state)
        if state["step"] == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_save", stop)
        with pytest.raises(KeyboardInterrupt):
            run()


def test_what_learns() -> None:
    def learning(**how: Any) -> set[str]:
        return {n.removeprefix("backbone.model.") for n in TunedEncoder(plain_clip(["a road"]), **how).learned}

    lora = learning(learn="lora", rank=2, blocks=1)
    assert lora and all(n.startswith("vision_model.encoder.layers.1.self_attn.") and "lora_" in n for n in lora)
    assert len(lora) == 4 * 2
    assert len(learning(learn="lora", rank=2, blocks=9)) == 2 * 4 * 2
    image = learning(learn="image")
    assert image == {n for n, _ in plain_clip().model.named_parameters() if n.startswith("vis")}
    assert learning(learn="all") == {n for n, _ in plain_clip().model.named_parameters()}
    assert (_fitting(micro_clip()), _fitting(plain_clip())) == ("image", "lora")


def test_batch_norms_keep_their_statistics() -> None:
    net = TunedEncoder(micro_clip(), learn="all").train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    before = [(m.running_mean.clone(), m.running_var.clone()) for m in norms]
    net.backbone.encode_dense(torch.randn(3, 3, 64, 96), DenseMethod()).values.sum().backward()
    for norm, (mean, variance) in zip(norms, before, strict=True):
        assert torch.equal(norm.running_mean, mean) and torch.equal(norm.running_var, variance)


class Line:
    """Brings a weight near 1."""

    settings: Mapping[str, str] = MappingProxyType({})

    def draw(self, rng: np.random.Generator) -> None:
        return None

    def losses(self, model: nn.Module, batch: None) -> dict[str, Tensor]:
        return {"loss": (next(model.parameters()) - 1).square().sum()}


def line(
    folder: Path, figures: dict[int, float], *, patience: int, **how: Any
) -> tuple[BestWeights, list[float], float]:
    """A training whose held-out figure at each step is given; the weights that it measured, and its last."""
    torch.manual_seed(0)
    model, seen = nn.Linear(1, 1, bias=False), []
    best = BestWeights("figure", before=5.0, patience=patience)

    def validate(model: nn.Module) -> dict[str, float]:
        seen.append(float(next(model.parameters()).detach()))
        return {"figure": figures[len(seen)]}

    for _ in train(model, Line(), Schedule(steps=8, lr=0.05, warmup=0, ema=0.0), folder=folder, validate=validate,
                   validate_every=1, best=best, **how):  # fmt: skip
        pass
    return best, seen, float(next(model.parameters()).detach())


def test_patience_ends_and_the_best_weights_come_back(tmp_path: Path) -> None:
    figures = dict(enumerate([4.0, 7.0, 6.0, 6.5, 1.0, 9.0, 9.0, 9.0], start=1))
    best, seen, last = line(tmp_path / "a", figures, patience=3)
    assert len(seen) == 5 and best.step == 2 and best.value == 7.0
    assert last == seen[1] != seen[4]
    best, seen, last = line(tmp_path / "b", figures, patience=0)
    assert len(seen) == 8 and best.step == 6 and last == seen[5]


def test_a_training_that_only_harms_gives_the_weights_it_began_with(tmp_path: Path) -> None:
    torch.manual_seed(0)
    begun = float(next(nn.Linear(1, 1, bias=False).parameters()).detach())
    best, seen, last = line(tmp_path, dict.fromkeys(range(1, 9), 4.9), patience=2)
    assert (best.step, best.value, len(seen)) == (0, 5.0, 2) and last == begun


def test_the_best_weights_and_the_patience_go_on_with_a_run(tmp_path: Path) -> None:
    first, seen, _ = line(tmp_path, {1: 4.0, 2: 7.0, 3: 6.0, 4: 6.0}, patience=3, stop_at=4)
    assert len(seen) == 4 and first.step == 2
    best, again, last = line(tmp_path, dict.fromkeys(range(1, 9), 6.9), patience=3)
    assert len(again) == 1 and (best.step, best.value) == (2, 7.0) and last == seen[1]


def test_a_training_whose_patience_ended_does_not_go_on(tmp_path: Path) -> None:
    line(tmp_path, dict.fromkeys(range(1, 9), 4.9), patience=2)
    best, seen, _ = line(tmp_path, dict.fromkeys(range(1, 9), 9.0), patience=2)
    assert seen == [] and best.is_over


def test_unchanged_weights_are_told(
    listing: Path, held_out: Path, micro: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = {**SMALL, "model": str(micro), "steps": 2, "lr": 10.0, "warmup": 0, "quiet": False, "val_data": held_out}
    done = train_segment(listing, tmp_path / "out", learn="image", **how)
    assert done.losses["best_step"] == 0
    assert "are delivered unchanged" in capsys.readouterr().err
    before, after = load_clip(str(micro)).state_dict(), load_clip(str(tmp_path / "out" / "encoder")).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_pixels_that_fit_no_word_count_as_none(held_out: Path, micro: Path) -> None:
    """`nothing` of a preset counts in held-out figures as it does in `segment`."""
    segmenter = Segmenter.from_preset(replace(SEGMENT_PRESETS["tiny"], nothing=1.0), model=None, device="cpu")
    row = replace(segmenter.preset, nothing=1.0)
    found = HeldOut(read_manifest(held_out), row, most=9).figures(segmenter.encoder, x=0.0)
    assert found["x_mIoU"] == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"learn": "lora", "head": "aggregation"}, "is for --head none"),
        ({"unlock": True}, "belong to a head"),
        ({"unlabelled": "absent"}, "belong to a head"),
        ({"lora_rank": 0}, "--lora-rank must be above 0"),
        ({"patience": -1}, "--patience"),
        ({"class_dropout": 1.0}, "--class-dropout"),
    ],
)
def test_refusals(listing: Path, micro: Path, tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        train_segment(listing, tmp_path / "out", model=str(micro), steps=1, **{**SMALL, **options})
    assert not (tmp_path / "out").exists()
