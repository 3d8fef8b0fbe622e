"""Learning to point: the losses, the batches, and a run that is interrupted."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.nn import functional as F

from earthwords.data.manifests.expressions import Described, read_referring
from earthwords.evaluation.benchmark.referring_protocol import measure, pointing
from earthwords.models.refseg.load import assemble, kept, load_refseg
from earthwords.models.refseg.model import MaskPrediction
from earthwords.refer_presets import REFER_PRESETS, ReferPreset
from earthwords.training.loop import Schedule, train
from earthwords.training.referring import (
    ReferringSettings,
    ReferringTask,
    apart,
    bce,
    contrast,
    dice,
    held_out_loss,
    pooled,
    shrink,
)
from tests.conftest import Command, write_raster
from tests.referring import micro_preset, write_bases, write_bases2, write_list


@pytest.fixture
def toy(micro: Path, monkeypatch: pytest.MonkeyPatch) -> ReferPreset:
    """The toy model under the name of a preset."""
    row = micro_preset(micro)
    monkeypatch.setitem(REFER_PRESETS, "refseg-tiny", row)
    return row


def test_losses_by_hand() -> None:
    logits = torch.tensor([2.0, -1.0, 0.5, 3.0]).view(1, 1, 2, 2)
    labels = torch.tensor([[[1, 0], [255, 0]]], dtype=torch.uint8)
    each = [math.log1p(math.exp(-2.0)), math.log1p(math.exp(-1.0)), 0.0, math.log1p(math.exp(3.0))]
    assert float(bce(logits, labels)) == pytest.approx(5 * sum(each) / 4, rel=1e-6)
    p = torch.tensor([2.0, -1.0, 3.0]).sigmoid()
    assert float(dice(logits, labels)) == pytest.approx(5 * float(1 - (2 * p[0] + 1) / (p.sum() + 2)), rel=1e-6)
    empty = torch.zeros(1, 4, 6, dtype=torch.uint8)
    assert float(dice(torch.full((1, 1, 2, 3), -30.0), empty)) < 1e-6 < 4 < float(dice(logits.abs() * 9, empty))
    fine = torch.randint(0, 2, (2, 6, 10), generator=torch.Generator().manual_seed(0))
    coarse = torch.randn(2, 1, 3, 5, generator=torch.Generator().manual_seed(1))
    up = F.interpolate(coarse, (6, 10), mode="bilinear")[:, 0]
    expected = 5 * F.binary_cross_entropy_with_logits(up, fine.float())
    torch.testing.assert_close(bce(coarse, fine), expected)


def test_what_the_second_version_adds_by_hand() -> None:
    rng = torch.Generator().manual_seed(0)
    visual = torch.randn(3, 4, 2, 3, generator=rng)
    labels = torch.zeros(3, 4, 6, dtype=torch.uint8)
    labels[:, :2, 2:4] = 1
    labels[1] = torch.where(labels[1] == 1, 1, 255)
    torch.testing.assert_close(pooled(visual, labels), F.normalize(visual[:, :, 0, 1], dim=-1))
    first, second = torch.randn(2, 3, 4, generator=rng)
    found = MaskPrediction(
        logits=visual, sparse=visual, dense=visual, iou=visual, visual=visual, queries=(first, second)
    )
    cosines = (first * second).sum(1) / first.norm(dim=1) / second.norm(dim=1)
    assert float(apart(found)) == pytest.approx(0.5 * float((cosines**2).mean()), rel=1e-5)
    logits = 7 * F.normalize(visual[:, :, 0, 1], dim=-1) @ F.normalize(second, dim=-1).T + 2
    rows = [float(-logits[i].log_softmax(0)[i] - logits[:, i].log_softmax(0)[i]) / 2 for i in range(3)]
    value = contrast(found, labels, scale=torch.tensor(7.0).log(), bias=torch.tensor(2.0))
    assert float(value) == pytest.approx(0.5 * sum(rows) / 3, rel=1e-5)


def test_the_authors_schedule() -> None:
    schedule = Schedule(steps=1000, lr=2.0, warmup=25, warmup_from=0.01, floor=0.001, span=1000)
    assert [schedule.rate(step) for step in (0, 12, 24, 25)] == pytest.approx([0.02, 1.01, 2.0, 2.0])
    assert schedule.rate(525) == pytest.approx(1.001, rel=1e-3)
    assert 2 * 0.001 < schedule.rate(999) < 2 * 0.004
    second = replace(schedule, hold=100, span=1300, floor=0.01)
    assert [second.rate(step) for step in (50, 100, 750)] == pytest.approx([2.0, 2.0, 1.01])


def test_every_sentence_gets_its_own_mask(toy: ReferPreset, tmp_path: Path) -> None:
    manifest = read_referring(write_list(tmp_path, images=3))
    model = assemble(toy)
    batch = ReferringTask(manifest, ReferringSettings(batch_size=2, expressions=3), fit=model).draw(
        np.random.default_rng(0)
    )
    assert batch.images.shape == (2, 3, 64, 64) and batch.which.tolist() == [0, 0, 0, 1, 1, 1]
    assert sorted(batch.texts[:3]) == ["both roofs", "the blue roof", "the red roof"]
    for text, label, image in zip(batch.texts, batch.labels, batch.images[batch.which], strict=True):
        red, blue = float(image[0][label > 0].mean()), float(image[2][label > 0].mean())
        assert (red > 180) == (text == "the red roof") and (blue > 180) == (text == "the blue roof")


def test_mirror_images_have_mirrored_sentences(toy: ReferPreset, tmp_path: Path) -> None:
    path = write_list(tmp_path, images=2)
    path.write_text(path.read_text().replace("the red roof", "the left roof"))
    lesson = ReferringSettings(batch_size=4, expressions=3, augmentation="mirror")
    task = ReferringTask(read_referring(path), lesson, fit=assemble(toy))
    batch = task.draw(np.random.default_rng(1))
    seen = {}
    for text, label in zip(batch.texts, batch.labels, strict=True):
        if "left" in text or "right" in text:
            seen[text] = float(label.nonzero()[:, 1].float().mean()) < 32
    assert seen == {"the left roof": True, "the right roof": False}


def test_shrinking_keeps_places(toy: ReferPreset) -> None:
    model = assemble(toy)
    masks = np.zeros((2, 128, 192), bool)
    masks[0, 64:, :48] = masks[1, :64, 144:] = True
    expected = torch.zeros(2, 64, 64, dtype=torch.uint8)
    expected[0, 32:, :16] = expected[1, :32, 48:] = 1
    assert torch.equal(shrink(masks, model), expected)


SCHEDULE = Schedule(steps=3, lr=1e-3, warmup=2, ema=0.5, weight_decay=0.05, decays_all=True, seed=3)


@pytest.mark.parametrize("kind", ["siglip", "clip", "second"])
def test_resuming_equals_an_uninterrupted_run(kind: str, micro: Path, tmp_path: Path) -> None:
    """With dropout, batch norms, mirror images, adapters and frozen weights."""
    if kind == "clip":
        row = replace(micro_preset(micro), lora_dropout=0.3, losses=("bce", "dice"))
    else:
        row = write_bases(tmp_path).faithful() if kind == "siglip" else write_bases2(tmp_path)
    manifest = read_referring(write_list(tmp_path / "list", images=4))
    lesson = ReferringSettings(batch_size=2, expressions=2, augmentation="mirror", losses=row.losses)

    def run(folder: Path, stop_at: int | None = None) -> dict[str, Tensor]:
        model = assemble(row)
        options = {"log_every": 1, "save_every": 2, "stop_at": stop_at, "kept": kept(model, row)}
        for _ in train(model, ReferringTask(manifest, lesson, fit=model), SCHEDULE, folder=folder, **options):  # type: ignore[arg-type]
            pass
        return model.state_dict()

    fresh = assemble(row)
    begun, names = fresh.state_dict(), kept(fresh, row)
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", stop_at=2)
    parts = run(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    changed = {name for name in whole if not torch.equal(whole[name], begun[name])}
    assert changed <= names and any("lora_B" in name for name in changed)
    state = torch.load(tmp_path / "whole" / "checkpoint.pt", weights_only=True)
    assert state["model"].keys() == state["average"].keys() == names


def test_the_command_learns_and_its_folder_points(
    toy: ReferPreset, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_list(tmp_path / "list", images=6)
    options = ["--steps", 55, "--batch-size", 2, "--expressions", 2, "--lr", "6e-3", "--ema", "0.9", "--quiet"]
    told = ["train", "refer", path, tmp_path / "out", *options, "--val-data", path, "--val-frequency", 55]
    done = command(*told, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["losses"]["heldout_bce"] < 1.2  # an answer without looking: 1.66
    names = set(load_file(tmp_path / "out" / "refseg.safetensors"))
    assert names == kept(assemble(toy), toy)
    model = load_refseg(str(tmp_path / "out")).model
    image, mask = read_referring(path).lines[0].load()
    with torch.no_grad():
        seen = model.encode_images(model.fit(torch.from_numpy(image).permute(2, 0, 1))[None])
        said = model.encode_texts(model.ids(["both roofs"]))
        logits = F.interpolate(model.predict(seen, said).logits, mask.shape, mode="bilinear")[0, 0]
    assert float(logits[mask > 0].mean()) > float(logits[mask == 0].mean()) + 2
    command(*told[:4], "--steps", 91, "--quiet").failed(2, "was trained with", "--no-resume")
    more = command("train", "refer", path, tmp_path / "more", "--model", tmp_path / "out", "--steps", 1, "--quiet")
    assert more.code == 0, more.err
    assert json.loads((tmp_path / "more" / "refseg.json").read_text())["preset"]["lora_rank"] == 2


def test_from_a_training_that_was_stopped_to_a_mask_on_the_map(
    toy: ReferPreset, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_list(tmp_path / "list", images=6), tmp_path / "out"
    train = ["train", "refer", path, out, "--steps", 70, "--batch-size", 2, "--expressions", 2, "--lr", "6e-3"]
    train += ["--ema", "0.9", "--save-frequency", 20, "--report-to", "tensorboard", "--quiet"]
    load, calls = Described.load, 0

    def stopping(self: Described) -> Any:
        nonlocal calls
        calls += 1
        if calls == 101:
            raise KeyboardInterrupt
        return load(self)

    monkeypatch.setattr(Described, "load", stopping)
    assert command(*train).code == 130 and not (out / "refseg.safetensors").exists()
    assert torch.load(out / "checkpoint.pt", weights_only=True)["step"] == 40
    assert command(*train).code == 0 and calls == 101 + 2 * 30
    events = EventAccumulator(str(out / "tensorboard")).Reload().Scalars("dice")
    assert events[-1].step == 70 and events[-1].value < events[0].value / 2

    told = command("evaluate", "referring", path, "--model", out, "--out", tmp_path / "measured", "--json", "--quiet")
    assert json.loads(told.out)["results"][0]["figures"]["gIoU"] > 50

    image, mask = read_referring(path).lines[2].load()
    scene = write_raster(tmp_path / "scene.tif", np.moveaxis(image, -1, 0), photometric="RGB")
    assert command("refer", scene, tmp_path / "roofs.tif", "-t", "both roofs", "--model", out, "--quiet").code == 0
    with rasterio.open(scene) as source, rasterio.open(tmp_path / "roofs.tif") as found:
        assert found.transform == source.transform and found.crs == source.crs
        marked = found.read(1) == 0
    assert (marked & (mask > 0)).sum() > 0.6 * (marked | (mask > 0)).sum()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--preset", "rsrefseg-x"], "Unknown preset 'rsrefseg-x'. Did you mean 'rsrefseg-"),
        (["--preset", "rsrefseg-b", "--offline"], "is not in the cache"),
        (["--segmenter", "x"], "trains its own segmenter"),
        (["--batch-size", 0], "--batch-size must be above 0"),
        (["--model", "folder", "--norm", "batch"], "--norm is decided by the model in folder"),
        (["--model", "nowhere"], "No referring model at nowhere"),
    ],
)
def test_wrong_words(
    toy: ReferPreset,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    options: list[object],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    path = write_list(tmp_path / "list", images=1)
    found = command("train", "refer", path, tmp_path / "out", "--steps", 1, "--quiet", *options)
    found.failed(found.code, sentence)
    assert found.code in (1, 2) and not (tmp_path / "out").exists()


def test_held_out_loss_is_the_mean_over_sentences(toy: ReferPreset, tmp_path: Path) -> None:
    manifest = read_referring(write_list(tmp_path, images=2))
    model = assemble(toy)
    rng = torch.Generator().manual_seed(4)
    with torch.inference_mode():
        for value in model.sam.mask_decoder.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=rng))
        losses = []
        for line in manifest.lines:
            image, mask = line.load()
            pixels = model.fit(torch.from_numpy(image).permute(2, 0, 1))[None]
            for one in line.expressions:
                truth = shrink(np.isin(mask, one.ids)[None], model)
                losses.append(float(bce(model(pixels, model.ids([one.text])).logits, truth)))
        assert np.std(losses) > 0.01 * np.mean(losses)
        assert held_out_loss(model, manifest) == pytest.approx(np.mean(losses), rel=1e-4)
        assert held_out_loss(model, manifest, batch=2) == pytest.approx(np.mean(losses), rel=1e-4)


def test_held_out_figures_of_a_training(toy: ReferPreset, tmp_path: Path, command: Command) -> None:
    path = write_list(tmp_path / "list", images=3)
    done = command(
        "train", "refer", path, tmp_path / "out", "--steps", 2, "--val-data", path, "--val-frequency", 1, "--json",
        "--quiet", "--batch-size", 1, "--ema", 0,
    )  # fmt: skip
    found = json.loads(done.out)["losses"]
    model, manifest = load_refseg(str(tmp_path / "out")).model, read_referring(path)
    assert found["heldout_gIoU"] == pytest.approx(100 * measure(pointing(model), manifest).scores.gIoU, abs=0.5)
    assert found["heldout_bce"] == pytest.approx(held_out_loss(model, manifest), rel=1e-3)
