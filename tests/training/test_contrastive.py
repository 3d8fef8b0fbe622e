"""A small dual encoder learns words of pictures and of regions."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn import functional as F

from earthwords.data.manifests.captions import IGNORE, read_manifest
from earthwords.errors import EarthwordsError, SourceError, UsageError
from earthwords.models.clip.model import DenseMethod
from earthwords.models.weights.table import load_clip
from earthwords.tasks.train_clip import train_clip
from earthwords.training.batches import Sampler
from earthwords.training.contrastive import ContrastiveTask, Objective
from earthwords.training.initialise import start
from tests.conftest import Command

COLOURS = {"water": (20, 60, 160), "trees": (20, 110, 30), "sand": (220, 200, 150)}


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain pictures with sentences and labels, and two-coloured ones with masks; H != W."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(18):
        name = list(COLOURS)[i % 3]
        noise = rng.normal(0, 8, (70, 90, 3))
        pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"p{i}.png")
        lines.append(
            {"image": f"p{i}.png", "set": "plain", "captions": [f"only {name} here", f"much {name}"], "label": name}
        )
    table = np.array(list(COLOURS.values()))
    for i in range(9):
        mask = np.full((80, 110), i % 3, np.uint8)
        mask[:, 30 + 3 * i :] = (i + 1) % 3
        pixels = np.clip(table[mask] + rng.normal(0, 8, (80, 110, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"m{i}.png")
        mask[:5] = 77
        Image.fromarray(mask).save(folder / f"m{i}_mask.png")
        classes = {str(k): f"{name},{name} area" for k, name in enumerate(COLOURS)}
        lines.append({"image": f"m{i}.png", "set": "masks", "mask": f"m{i}_mask.png", "classes": classes})
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_manifest(listing: Path) -> None:
    manifest = read_manifest(listing)
    assert manifest.labels == {"plain": (("sand",), ("trees",), ("water",))}
    assert manifest.classes["masks"][1] == ("trees", "trees area")
    example = next(e for e in manifest.examples if e.mask is not None)
    assert example.image.shape == (80, 110, 3) and example.mask is not None
    assert (example.mask[:5] == IGNORE).all() and set(np.unique(example.mask[5:])) == {0, 1}
    assert "only sand here" in manifest.sentences and "water area" in manifest.sentences


def test_batches_are_the_generators(listing: Path) -> None:
    sampler = Sampler(read_manifest(listing), zoom=(0.5, 1.0))
    task = ContrastiveTask(sampler, Objective(batch_size=6, region_batch=4, sides=(32, 48)))
    first, again, other = (task.draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.pictures.pixels, again.pictures.pixels)
    assert first.regions is not None and again.regions is not None
    assert torch.equal(first.regions.target, again.regions.target)
    assert first.class_words == again.class_words
    assert first.pictures.pixels.shape != other.pictures.pixels.shape or not torch.equal(
        first.pictures.pixels, other.pictures.pixels
    )
    assert first.regions.target.shape[-1] * 4 == first.regions.pixels.shape[-1]


def test_training_teaches_words_and_regions(listing: Path, tmp_path: Path) -> None:
    result = train_clip(
        listing,
        tmp_path / "model",
        architecture="micro",
        steps=150,
        batch_size=12,
        region_batch=6,
        image_size=(48, 64),
        lr=3e-3,
        warmup=10,
        attention=("segearth", "vanilla"),
        device="cpu",
        quiet=True,
    )
    assert result.losses["region"] < 0.5 and result.losses["label"] < 0.3
    backbone = load_clip(str(tmp_path / "model"))
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (backbone.mean, backbone.std))
    pixels = torch.tensor(list(COLOURS.values()), dtype=torch.float32)[:, :, None, None].expand(3, 3, 64, 64) / 255
    half = torch.cat([pixels[0, :, :, :32], pixels[2, :, :, 32:]], dim=-1)[None]
    with torch.inference_mode():
        words = F.normalize(backbone.encode_text(list(COLOURS)), dim=-1)
        images = F.normalize(backbone.encode_image((pixels - mean) / std), dim=-1)
        assert (images @ words.T).argmax(dim=1).tolist() == [0, 1, 2]
        dense = F.normalize(backbone.encode_dense((half - mean) / std, DenseMethod()).values, dim=1)
        labels = torch.einsum("bdhw,cd->bchw", dense, words).argmax(dim=1)[0]
    assert (labels[:, 0] == 0).all() and (labels[:, -1] == 2).all()


def test_pictures_alone_and_regions_alone(listing: Path, tmp_path: Path) -> None:
    lines = listing.read_text().splitlines()
    for name, wanted, absent in (("pictures", '"label"', "region"), ("regions", '"mask"', "caption")):
        part = listing.with_name(f"{name}.jsonl")
        part.write_text("\n".join(line for line in lines if wanted in line))
        losses = train_clip(
            part, tmp_path / name, architecture="micro", steps=2, batch_size=4, region_batch=2, quiet=True, device="cpu"
        ).losses
        assert losses.get(absent, 0.0) == 0.0 and sum(losses.values()) > 0


def test_tensorboard_gets_the_figures_of_the_log(
    listing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"architecture": "micro", "steps": 11, "batch_size": 4, "region_batch": 0, "quiet": True, "device": "cpu"}
    train_clip(listing, tmp_path / "model", report_to="tensorboard", **options)  # type: ignore[arg-type]
    events = EventAccumulator(str(tmp_path / "model" / "tensorboard")).Reload()
    found = {(event.step, name): event.value for name in events.Tags()["scalars"] for event in events.Scalars(name)}
    with (tmp_path / "model" / "log.csv").open() as file:
        logged = {(int(row["step"]), row["name"]): float(row["value"]) for row in csv.DictReader(file)}
    assert {step for step, _ in logged} == {10, 11} and found.keys() == logged.keys()
    assert all(found[key] == pytest.approx(value, rel=1e-4) for key, value in logged.items())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"earthwords\[tensorboard\]"):
        train_clip(listing, tmp_path / "other", report_to="tensorboard", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "other").exists()


def test_training_goes_on_from_weights(listing: Path, tmp_path: Path) -> None:
    options = {"steps": 3, "batch_size": 4, "region_batch": 2, "quiet": True, "device": "cpu"}
    train_clip(listing, tmp_path / "a", architecture="micro", **options)  # type: ignore[arg-type]
    train_clip(listing, tmp_path / "b", model=str(tmp_path / "a"), lr=1e-9, **options)  # type: ignore[arg-type]
    a, b = (load_clip(str(tmp_path / n)).encode_text(["water"]) for n in "ab")
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_what_a_training_begins_from_is_told(listing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"steps": 1, "batch_size": 4, "region_batch": 2, "device": "cpu"}
    train_clip(listing, tmp_path / "a", architecture="micro", **options)  # type: ignore[arg-type]
    told = capsys.readouterr().err.splitlines()[0]
    assert told.startswith("18 pictures, 9 masks; begins from the architecture micro from scratch (--model tiny")
    train_clip(listing, tmp_path / "b", model=str(tmp_path / "a"), lora_rank=2, **options)  # type: ignore[arg-type]
    told = capsys.readouterr().err.splitlines()[0]
    assert (
        told == f"18 pictures, 9 masks; begins from the weights {tmp_path / 'a'}, low-rank additions of rank 2; on cpu."
    )


@pytest.mark.parametrize(
    ("ends_at", "options", "told"),
    [
        (3, [], "Interrupted. Nothing was kept."),
        (8, [], "Interrupted. The same command goes on from here: step 4, the last checkpoint."),
        (8, ["--no-resume"], "Interrupted. Nothing was kept."),
    ],
)
def test_what_ctrl_c_leaves_is_told(
    command: Command,
    listing: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends_at: int,
    options: list[str],
    told: str,
) -> None:
    calls, draw = [0], Sampler.draw_pictures

    def drawn(self: Sampler, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == ends_at:
            raise KeyboardInterrupt
        return draw(self, *args)

    monkeypatch.setattr(Sampler, "draw_pictures", drawn)
    small = ["--architecture", "micro", "--steps", 12, "--save-frequency", 4, "--batch-size", 4, "--region-batch", 0]
    done = command("train", "clip", listing, tmp_path / "out", *small, *options, "--device", "cpu", "--quiet")
    assert (done.code, done.err) == (130, f"earthwords: {told}\n")


def test_seeds(listing: Path) -> None:
    manifest = read_manifest(listing)
    same = [start(manifest, architecture="micro", model=None, seed=s).model.state_dict() for s in (1, 1, 2)]
    name = "visual_projection.weight"
    assert torch.equal(same[0][name], same[1][name]) and not torch.equal(same[0][name], same[2][name])


@pytest.mark.parametrize(
    ("line", "error", "sentence"),
    [
        ("{", UsageError, "not JSON lines"),
        ('{"image": "p0.png"}', UsageError, 'needs "image" and "set"'),
        ("5", UsageError, 'needs "image" and "set"'),
        ('{"image": "p0.png", "set": "a", "captions": "a road"}', UsageError, "list of sentences, got 'a road'"),
        ('{"image": "p0.png", "set": "a", "label": " , "}', UsageError, '"label" has no name'),
        ('{"image": "m0.png", "set": "a", "mask": "m0_mask.png"}', UsageError, "must name the values"),
        ('{"image": "m0.png", "set": "a", "mask": "m0_mask.png", "classes": {"300": "x"}}', UsageError, "values 0"),
        ('{"image": "gone.png", "set": "a", "label": "x"}', SourceError, "Cannot read the training image"),
        ('{"image": "p0.png", "set": "a", "mask": "m0_mask.png", "classes": {"0": "x"}}', UsageError, "its image"),
        ("", UsageError, "lists no images"),
        ('{"image": "p0.png", "set": "a"}', UsageError, "nothing to learn from"),
    ],
)
def test_bad_listings(line: str, error: type[Exception], sentence: str, listing: Path, tmp_path: Path) -> None:
    path = listing.with_name("bad.jsonl")
    path.write_text(line)
    with pytest.raises(error, match=sentence):
        train_clip(path, tmp_path / "model", architecture="micro", steps=1, quiet=True, device="cpu")
    assert not (tmp_path / "model").exists()


def test_a_set_has_one_list_of_classes(listing: Path) -> None:
    path = listing.with_name("two.jsonl")
    row = {"image": "m0.png", "set": "a", "mask": "m0_mask.png"}
    tables = ({"0": "road", "1": "water"}, {"0": "water", "1": "road"})
    path.write_text("\n".join(json.dumps({**row, "classes": table}) for table in tables))
    with pytest.raises(UsageError, match="line 2: other classes than before in the set 'a'"):
        read_manifest(path)


def test_a_label_written_in_two_ways_is_one(listing: Path) -> None:
    path = listing.with_name("labels.jsonl")
    labels = ("airport,planes", "airport, planes", "port")
    path.write_text("\n".join(json.dumps({"image": "p0.png", "set": "a", "label": label}) for label in labels))
    manifest = read_manifest(path)
    assert manifest.labels["a"] == (("airport", "planes"), ("port",))
    assert [example.label for example in manifest.examples] == [0, 0, 1]


def test_all_tensors_of_a_step_follow_the_model(listing: Path) -> None:
    """On the device `meta` (no data) as on a GPU: what stays behind on the CPU fails."""
    manifest = read_manifest(listing)
    task = ContrastiveTask(Sampler(manifest, zoom=(0.5, 1.0)), Objective(batch_size=6, region_batch=4, sides=(32,)))
    backbone = start(manifest, architecture="micro", model=None, seed=0)
    batch = task.draw(np.random.default_rng(1))
    with FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()):
        found = task.losses(backbone.to("meta"), batch)
    assert {name: loss.device.type for name, loss in found.items()} == dict.fromkeys(found, "meta")


def test_a_missing_listing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.jsonl does not exist; name a list of pictures"):
        train_clip(tmp_path / "none.jsonl", tmp_path / "model", quiet=True)


def test_bad_options(listing: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'tiny'"):
        train_clip(listing, tmp_path, architecture="tinny", quiet=True, device="cpu")
    for mix, sentence in (
        (["masks"], "not SET=WEIGHT"),
        (["mask=2"], "Unknown set of masks 'mask'. Did you mean 'masks'"),
        (["masks=-1"], "must be 0 or more, got -1"),
        (["masks=0"], "No set of masks has a share above 0"),
    ):
        with pytest.raises(UsageError, match=sentence):
            train_clip(listing, tmp_path, architecture="micro", mix=mix, quiet=True, device="cpu")
    for class_dropout in (-0.1, 1.0):
        with pytest.raises(
            UsageError, match=f"--class-dropout must be a share from 0 to below 1, got {class_dropout:g}"
        ):
            train_clip(listing, tmp_path, architecture="micro", class_dropout=class_dropout, quiet=True, device="cpu")


def test_a_pixel_fits_its_own_word_or_none(listing: Path, tmp_path: Path) -> None:
    """Where classes are now and then not asked for, the right word has a cosine above 0, others below as a rule."""
    train_clip(
        listing, tmp_path, architecture="micro", steps=240, batch_size=2, region_batch=12, image_size=(48,), lr=4e-3,
        warmup=10, class_dropout=0.4, augmentation="sensor", caption_weight=0, label_weight=0, device="cpu", quiet=True,
    )  # fmt: skip
    backbone = load_clip(str(tmp_path))
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (backbone.mean, backbone.std))
    pixels = torch.tensor(list(COLOURS.values()), dtype=torch.float32)[:, :, None, None].expand(3, 3, 48, 48) / 255
    with torch.inference_mode():
        words = F.normalize(backbone.encode_text(list(COLOURS)), dim=-1)
        dense = F.normalize(backbone.encode_dense((pixels - mean) / std, DenseMethod()).values, dim=1)
        cosines = torch.einsum("bdhw,cd->bchw", dense, words).mean(dim=(2, 3))
    own = torch.eye(3, dtype=torch.bool)
    assert cosines[own].min() > 0 > cosines[~own].mean()


def test_some_classes_are_always_asked_for(listing: Path) -> None:
    task = ContrastiveTask(
        Sampler(read_manifest(listing), zoom=(1, 1)),
        Objective(batch_size=2, region_batch=2, sides=(32,), class_dropout=0.9),
    )
    drawn = [task.draw(np.random.default_rng(i)).left_out["masks"] for i in range(40)]
    assert max(map(len, drawn)) == 2 and len({tuple(d) for d in drawn}) > 2


def test_parts_of_a_batch_give_the_loss_of_the_whole(listing: Path) -> None:
    """On a model without batch norms."""
    from tests.training.test_adapt import plain_clip

    sampler = Sampler(read_manifest(listing), zoom=(0.5, 1.0))
    found = []
    for parts in (1, 3):
        backbone = plain_clip(words=read_manifest(listing).sentences)
        task = ContrastiveTask(sampler, Objective(batch_size=7, region_batch=4, sides=(48,), accum_freq=parts))
        losses = task.losses(backbone, task.draw(np.random.default_rng(3)))
        torch.stack(list(losses.values())).sum().backward()
        found.append((losses, {name: p.grad for name, p in backbone.named_parameters()}))
    (whole, slopes), (split, others) = found
    for name, loss in whole.items():
        torch.testing.assert_close(split[name], loss)
    for name, slope in slopes.items():
        if slope is not None:
            torch.testing.assert_close(others[name], slope, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"siglip": True}, {"lora_rank": 4, "model": True}, {"lock_image": True, "lock_image_unlocked_groups": 2}],
    ids=["siglip", "lora", "locked"],
)
def test_other_ways_learn_and_go_on(listing: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    common = {"batch_size": 8, "region_batch": 0, "image_size": (48,), "lr": 5e-3, "warmup": 2, "ema": 0}
    common |= {"device": "cpu", "quiet": True, "architecture": "micro", "augmentation": "remoteclip"}
    options = dict(options)
    if options.pop("model", False):
        train_clip(listing, tmp_path / "base", steps=1, **common)  # type: ignore[arg-type]
        options["model"] = str(tmp_path / "base")
    first = train_clip(listing, tmp_path / "model", steps=2, **common, **options)  # type: ignore[arg-type]
    (tmp_path / "model" / "checkpoint.pt").unlink()
    last = train_clip(listing, tmp_path / "model", steps=60, **common, **options)  # type: ignore[arg-type]
    assert last.losses["caption"] < 0.8 * first.losses["caption"]
    again = train_clip(listing, tmp_path / "model", steps=60, **common, **options)  # type: ignore[arg-type]
    assert again.steps == 60 and load_clip(str(tmp_path / "model")).dim > 0
    with pytest.raises(UsageError, match="was trained with"):
        train_clip(listing, tmp_path / "model", steps=60, **common)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lock_text_unlocked_groups": 1}, "needs --lock-text"),
        ({"lora_rank": 2, "lock_image": True}, "freezes both towers already"),
        ({"layout": "open_clip"}, "open_clip has no place for"),
        ({"accum_freq": 0}, "--accum-freq must be above 0"),
    ],
)
def test_choices_that_contradict(listing: Path, tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(EarthwordsError, match=sentence):
        train_clip(listing, tmp_path / "model", architecture="micro", steps=1, quiet=True, device="cpu", **options)
    assert not (tmp_path / "model").exists()
