"""A head learns words of regions over a frozen encoder, and its folder segments."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

from earthwords import Segmenter
from earthwords.data.manifests.captions import IGNORE, read_manifest
from earthwords.errors import UsageError, WeightsError
from earthwords.evaluation.benchmark.listed import HeldOut
from earthwords.inference.segment.segmenter import class_maxima
from earthwords.models.aggregation.head import HeadSettings, load_head, make_head, store_head
from earthwords.models.aggregation.model import aggregation_loss
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.clip.words import encode_words
from earthwords.models.weights.table import load_clip
from earthwords.presets import SegmentPreset, load_preset
from earthwords.tasks.train_segment import train_segment
from earthwords.text.templates import TEMPLATES
from earthwords.training.augment import random_sensor
from earthwords.training.batches import Sampler
from earthwords.training.heads.aggregation import (
    AggregationTask,
    HeadedEncoder,
    HeadObjective,
    normalised,
    places,
    renumbered,
)
from earthwords.training.initialise import store
from tests.conftest import Command, write_raster
from tests.micro import micro_clip, write_micro

COLOURS = {"water": (10, 20, 220), "trees": (20, 200, 20), "road": (230, 90, 60)}
SMALL: dict[str, Any] = {"dim": 16, "layers": 1, "batch_size": 4, "image_size": (64,), "device": "cpu", "quiet": True}


def write_masks(folder: Path, *, images: int = 6, seed: int = 0) -> Path:
    """Two-coloured pictures, H != W: water and trees named, sand none of them, five rows that nobody labelled."""
    folder.mkdir(parents=True)
    rng, lines = np.random.default_rng(seed), []
    table = np.array(list(COLOURS.values()))
    for i in range(images):
        mask = np.full((80, 110), i % 3, np.uint8)
        mask[:, 30 + 5 * i :] = (i + 1) % 3
        pixels = np.clip(table[mask] + rng.normal(0, 8, (80, 110, 3)), 0, 255).astype(np.uint8)
        mask[:5] = 77
        Image.fromarray(pixels).save(folder / f"{i}.png")
        Image.fromarray(mask).save(folder / f"{i}_mask.png")
        classes = {"0": "water", "2": "", "1": "trees,forest"}
        lines.append({"image": f"{i}.png", "set": "toy", "mask": f"{i}_mask.png", "classes": classes})
    (folder / "list.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "list.jsonl"


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_masks(tmp_path_factory.mktemp("masks") / "train")


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder, its projection fitted so that a token points to the word of its colour."""
    backbone = micro_clip()
    rng = np.random.default_rng(1)
    labels = torch.from_numpy(rng.integers(0, 3, (60, 2, 2))).repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    pixels = torch.tensor(list(COLOURS.values()))[labels].permute(0, 3, 1, 2) / 255
    pixels = pixels.repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)
    given: list[torch.Tensor] = []
    hook = backbone.model.visual_projection.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    with torch.no_grad():
        backbone.encode_dense(normalised(random_sensor(pixels, rng), backbone), DenseMethod())
        hook.remove()
        words = encode_words(backbone, list(COLOURS), TEMPLATES["aerial"])
        found = torch.linalg.lstsq(given[0][:, 1:].flatten(0, 1), (words - words.mean(dim=0))[labels.flatten()])
        backbone.model.visual_projection.weight.copy_(found.solution.T)
    folder = tmp_path_factory.mktemp("aligned") / "clip"
    store(backbone, folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, listing: Path, aligned: Path) -> Path:
    """A finished training."""
    out = tmp_path_factory.mktemp("trained") / "head"
    how = {"model": str(aligned), "val_data": listing, "steps": 100, "warmup": 5, "lr": 5e-3, "ema": 0.9, "dim": 32}
    train_segment(listing, out, **{**SMALL, **how})
    return out


def logged(folder: Path, name: str) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]


def test_the_loss_falls_and_held_out_figures_are_told(made: Path) -> None:
    losses = logged(made, "bce")
    assert len(losses) == 10 and np.mean(losses[-3:]) < 0.7 * losses[0]
    figures = {name: logged(made, name)[-1] for name in ("heldout_mIoU", "best_word_mIoU", "before_mIoU")}
    assert figures["heldout_mIoU"] > figures["before_mIoU"] + 10
    assert logged(made, "heldout_mIoU_toy")[-1] == figures["heldout_mIoU"]


def test_what_no_mask_has_may_stand_where_nothing_is_known(tmp_path: Path) -> None:
    """Of a set that knows roofs alone: the other pixels say nothing of water, the roofs say that they are none."""
    write_masks(tmp_path / "roofs")
    listing = tmp_path / "roofs/list.jsonl"
    classes = {"0": "", "1": "roof", "2": "", "201": "water"}
    lines = [{**json.loads(line), "classes": classes} for line in listing.read_text().splitlines()]
    listing.write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = AggregationTask(
        Sampler(read_manifest(listing), zoom=(1.0, 1.0)), HeadObjective(batch_size=3, sides=(64,)), micro_clip(),
        TEMPLATES["none"], settings={},
    )  # fmt: skip
    batch = task.draw(np.random.default_rng(0))
    target = renumbered(batch.regions.target, batch.classes["toy"])
    assert batch.words["toy"] == ["roof", "water"]
    logits = torch.zeros(3, 2, *target.shape[1:], requires_grad=True)
    aggregation_loss(logits, target, ignored=IGNORE, left_out=True, rivals=batch.rivals["toy"]).backward()
    assert logits.grad is not None
    taught = logits.grad != 0
    roofs, rest = target == 0, target == -1
    assert roofs.any() and rest.any()
    assert torch.equal(taught[:, 0], roofs | rest)
    assert torch.equal(taught[:, 1], roofs)


def test_a_run_that_was_interrupted_ends_in_the_same_bits(
    made: Path, listing: Path, micro: Path, tmp_path: Path
) -> None:
    from earthwords.training import loop

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    how = {"model": str(micro), "steps": 6, "save_frequency": 2, **SMALL}
    train_segment(listing, whole, **how)
    saves: list[int] = []
    keep = loop._save

    def stop(path: Path, state: dict[str, Any]) -> None:
        keep(path, state)
        saves.append(state["step"])
        if state["step"] == 4:
            raise KeyboardInterrupt

    loop._save = stop
    try:
        with pytest.raises(KeyboardInterrupt):
            train_segment(listing, broken, **how)
    finally:
        loop._save = keep
    assert saves == [2, 4] and not (broken / "preset.toml").exists()
    train_segment(listing, broken, **how)
    assert (broken / "head.safetensors").read_bytes() == (whole / "head.safetensors").read_bytes()
    for change, named in (({"dim": 32}, "dim"), ({"unlabelled": "absent"}, "unlabelled"), ({"unlock": True}, "slow")):
        with pytest.raises(UsageError, match=f"was trained with {named} "):
            train_segment(listing, broken, **{**how, **change})


def test_what_stays_frozen_stays_as_it_is(listing: Path, micro: Path, tmp_path: Path) -> None:
    """Only q, v and positions of the image tower learn when it is unlocked, and the preset names their folder."""
    out = tmp_path / "open"
    train_segment(listing, out, model=str(micro), unlock=True, encoder_lr=1.0, steps=3, warmup=0, **SMALL)
    before, after = load_clip(str(micro)).state_dict(), load_clip(str(out / "encoder")).state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all("vision_model" in name and any(p in name for p in ("q_proj", "v_proj", "position")) for name in changed)
    assert any("q_proj" in name for name in changed) and any("position_embedding" in name for name in changed)
    assert tomllib.loads((out / "preset.toml").read_text())["weights"] == "./encoder"
    Segmenter.from_preset(str(out / "preset.toml"), device="cpu")
    assert not (out / "encoder" / "head.json").exists()
    train_segment(listing, out, model=str(micro), unlock=True, encoder_lr=1.0, steps=3, warmup=0, **SMALL)  # again


def test_the_encoder_learns_at_its_share_of_the_rate(micro: Path) -> None:
    from earthwords.training.loop import Schedule, _groups

    net = HeadedEncoder(load_clip(str(micro)), make_head(_settings(), load_clip(str(micro))), unlock=True)
    groups = _groups(net, Schedule(steps=1, slow="backbone.", slow_share=0.01))
    slow = {id(p) for group in groups if group["share"] == 0.01 for p in group["params"]}
    assert slow == {id(p) for name, p in net.named_parameters() if p.requires_grad and name.startswith("backbone.")}
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in net.parameters())


def picture(height: int, width: int) -> np.ndarray:
    """Three columns of colours."""
    rng = np.random.default_rng(5)
    which = np.broadcast_to(np.arange(width) * 3 // width, (height, width))
    return np.clip(np.array(list(COLOURS.values()))[which] + rng.normal(0, 8, (height, width, 3)), 1, 255).astype(
        np.uint8
    )


def test_segment_takes_the_folder(command: Command, made: Path, tmp_path: Path) -> None:
    """Through the command, also by several workers: a threshold takes labels away and changes no other."""
    scene = write_raster(tmp_path / "scene.tif", np.moveaxis(picture(150, 290), -1, 0))
    words = ["-t", "water", "-t", "trees,forest", "--preset", made / "preset.toml", "--tile-size", 96]
    common = ["--device", "cpu", "--offline", "--quiet"]
    assert command("segment", scene, tmp_path / "out", *words, *common).code == 0
    with rasterio.open(tmp_path / "out" / "labels.tif") as file:
        labels = file.read(1)
        assert file.tags()["EARTHWORDS_HEAD"] == str(made)
    assert set(np.unique(labels)) == {0, 1, 255}
    again = tmp_path / "again"
    assert command("segment", scene, again, *words, "--threshold", 0, "--workers", 2, *common).code == 0
    with rasterio.open(again / "labels.tif") as file:
        whole = file.read(1)
    assert set(np.unique(whole)) == {0, 1}
    assert np.array_equal(whole[labels != 255], labels[labels != 255])


def test_a_map_is_what_the_head_says(made: Path) -> None:
    """Of a single window: pixels filled up to whole patches, sigmoids enlarged, the best synonym, the best class."""
    segmenter = Segmenter.from_preset(str(made / "preset.toml"), device="cpu")
    image, words = picture(90, 150), ["water", "trees,forest"]
    found = segmenter.predict(image, words, probabilities=True)
    backbone, head = segmenter.encoder.backbone, segmenter.encoder.head
    assert head is not None and found.probabilities is not None
    with torch.no_grad():
        pixels = normalised(torch.from_numpy(image).permute(2, 0, 1)[None] / 255, backbone)
        padded = torch.nn.functional.pad(pixels, (5, 5, 3, 3))
        vectors = encode_words(backbone, ["water", "trees", "forest"], TEMPLATES["aerial"]).clone()
        fine = head(head.see(backbone, padded), vectors).sigmoid()
        fine = torch.nn.functional.interpolate(fine, size=(96, 160), mode="bilinear")[0, :, 3:93, 5:155].numpy()
    expected = np.stack([fine[0], fine[1:].max(axis=0)])
    assert np.allclose(found.probabilities, expected, atol=1e-5)
    labels = np.where(expected.max(axis=0) < 0.5, 255, expected.argmax(axis=0))
    clear = (np.abs(expected[0] - expected[1]) > 1e-4) & (np.abs(expected.max(axis=0) - 0.5) > 1e-4)
    assert np.array_equal(found.labels[clear], labels[clear])


def test_probabilities_are_of_each_word_by_itself(made: Path) -> None:
    segmenter = Segmenter.from_preset(str(made / "preset.toml"), device="cpu")
    image = np.full((70, 90, 3), COLOURS["road"], np.uint8)
    result = segmenter.predict(image, ["water", "trees"], probabilities=True, threshold=0.0)
    assert result.probabilities is not None
    total = result.probabilities.sum(axis=0)
    assert 0 < total.mean() < 0.8
    both = class_maxima(torch.tensor([[[0.2]], [[0.7]], [[0.4]]]), torch.tensor([0, 1, 1]))
    assert both.flatten().tolist() == pytest.approx([0.2, 0.7])


def test_a_head_is_refused_where_it_does_not_belong(made: Path, micro: Path, tmp_path: Path) -> None:
    row = load_preset(str(made / "preset.toml"))
    other = write_micro(tmp_path / "other", seed=7)
    for change, said in (
        ({"weights": str(other)}, "was trained on other weights than"),
        ({"attention": "clearclip"}, "was trained on features of attention 'segearth', not 'clearclip'"),
        ({"head": str(micro)}, "is not a head of `train segment`"),
    ):
        with pytest.raises(WeightsError, match=said):
            Segmenter.from_preset(_with(row, **change), device="cpu")
    for change, said in (
        ({"upsampler": "bilinear"}, "takes the place of an upsampler; leave bilinear out"),
        ({"cls_weight": -0.3}, "last_n 1, no residual, cls_weight 0"),
        ({"last_n": 2}, "last_n 1"),
    ):
        with pytest.raises(UsageError, match=said):
            Segmenter.from_preset(_with(row, **change), device="cpu")
    with pytest.raises(UsageError, match=r"The head .* belongs to the weights .*; with others take another preset"):
        Segmenter.from_preset(row, model="tiny", device="cpu")


def test_a_damaged_head_is_refused(made: Path, aligned: Path, tmp_path: Path) -> None:
    backbone = load_clip(str(aligned))
    for change in ({"dim": 10**9}, {"dim": "x"}, {"aggregator": "other"}, {"more": 1}, {"decoder": [8]}, {"dim": 20}):
        card = json.loads((made / "head.json").read_text())
        card["settings"] |= change
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "head.json").write_text(json.dumps(card))
        (folder / "head.safetensors").write_bytes((made / "head.safetensors").read_bytes())
        with pytest.raises(WeightsError, match="is not a head"):
            load_head(folder, backbone)
    card = json.loads((made / "head.json").read_text())
    card["settings"]["layers"] = 3
    (folder / "head.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=r"does not fit .*; first names that differ: aggregation\.layers"):
        load_head(folder, backbone)
    card["settings"]["layers"] = 1
    (folder / "head.json").write_text(json.dumps(card))
    (folder / "head.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no head\.safetensors .* did not finish"):
        load_head(folder, backbone)


@pytest.mark.parametrize("aggregator", ["rskt-seg", "gsnet"])
def test_a_head_comes_back_as_it_was_stored(aggregator: str, micro: Path, tmp_path: Path) -> None:
    backbone = load_clip(str(micro)).eval()
    head = make_head(_settings(aggregator=aggregator, rotations=4), backbone, seed=3).eval()
    store_head(head, tmp_path / "head", backbone, notes={"steps": 2})
    loaded = load_head(tmp_path / "head", backbone)
    torch.manual_seed(0)
    pixels, words = torch.randn(2, 3, 48, 80), torch.nn.functional.normalize(torch.randn(5, backbone.dim), dim=1)
    with torch.no_grad():
        expected = head.probabilities(backbone, pixels, words)
        assert torch.equal(loaded.probabilities(backbone, pixels, words), expected)
    assert expected.shape == (2, 5, 12, 20)
    assert (
        make_head(_settings(), backbone, seed=3).state_dict().keys() == loaded.state_dict().keys()
        or aggregator == "gsnet"
    )


def test_guides_are_what_the_tower_sees_on_the_way(micro: Path) -> None:
    """Features are those of `encode_dense`; of a trunk guides are its levels, of a ViT tokens that blocks give."""
    backbone = load_clip(str(micro)).eval()
    pixels = torch.randn(2, 3, 48, 80, generator=torch.Generator().manual_seed(1))
    method = DenseMethod(attention="sclip")
    with torch.no_grad():
        features, (fine, finer) = backbone.encode_guided(pixels, method)
        assert torch.allclose(features.values, backbone.encode_dense(pixels, method).values, atol=1e-6)
        first, second, third, *_ = backbone.model.vision_model.embeddings.patch_embedding
        assert torch.equal(finer, second(first(pixels))) and torch.equal(fine, third(finer))
    assert (fine.shape[1], finer.shape[1]) == backbone.guide_widths
    assert fine.shape[-2:] == (6, 10) and finer.shape[-2:] == (12, 20)
    with pytest.raises(UsageError, match="not by 'gem'"):
        backbone.encode_guided(pixels, DenseMethod(attention="gem"))


def test_a_plain_vit_is_lifted() -> None:
    backbone = _vit()
    pixels = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    states: list[torch.Tensor] = []
    layers = backbone.model.vision_model.encoder.layers
    hooks = [layers[i].register_forward_hook(lambda module, given, out: states.append(out)) for i in (1, 3)]
    head = make_head(_settings(), backbone)
    states.clear()
    with torch.no_grad():
        _, guides = backbone.encode_guided(pixels, DenseMethod())
        for guide, state in zip(guides, states, strict=True):
            assert torch.equal(guide.flatten(2).transpose(1, 2), state[:, 1:])
        words = torch.randn(3, backbone.dim)
        assert head.probabilities(backbone, pixels, words).shape == (1, 3, 16, 32)
    for hook in hooks:
        hook.remove()


def test_none_of_the_others_is_a_negative_and_unlabelled_is_nothing(listing: Path, micro: Path) -> None:
    assert places([("a",), (), ("b", "c")]).tolist() == [0, -1, 1]
    target = renumbered(torch.tensor([[0, 1, 2, IGNORE]]), places([("a",), (), ("b", "c")]))
    assert target.tolist() == [[0, -1, 1, IGNORE]]
    sampler = Sampler(read_manifest(listing), zoom=(0.5, 1.0))
    backbone = load_clip(str(micro))
    task = AggregationTask(sampler, HeadObjective(batch_size=6, sides=(64,)), backbone, ["{}"], settings={})
    batches = [task.draw(np.random.default_rng(i)) for i in (0, 0, 1)]
    assert torch.equal(batches[0].regions.pixels, batches[1].regions.pixels)
    assert not torch.equal(batches[0].regions.pixels, batches[2].regions.pixels)
    drawn = {tuple(task.draw(np.random.default_rng(i)).words["toy"]) for i in range(20)}
    assert drawn == {("water", "trees"), ("water", "forest")}


def test_held_out_pixels_of_none_count_against_who_takes_them(listing: Path, micro: Path, tmp_path: Path) -> None:
    """An encoder that says water everywhere: its IoU is its share of all labelled pixels; trees have 0. A rival, here
    in every other column, takes pixels and has no IoU of its own."""
    manifest = read_manifest(listing)
    row = SegmentPreset(name="toy", weights=str(micro), templates="aerial")
    held_out = HeldOut(manifest, row, most=99)

    class Always:
        head, backbone, sea = True, load_clip(str(micro)).eval(), False

        def logits(self, windows: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
            found = torch.full((len(windows), len(words), *windows.shape[-2:]), 0.1)
            found[:, int(self.sea)] = 0.4
            found[:, 0, :, ::2] += 0.3 * self.sea
            return found

    figures = held_out.figures(Always(), low=0.0, half=0.5)  # type: ignore[arg-type]
    masks = np.stack([e.mask for e in manifest.examples if e.mask is not None])
    share = 100 * np.mean(masks[masks != IGNORE] == 0)
    assert figures["low_mIoU_toy"] == pytest.approx(share / 2) == figures["low_mIoU"]
    assert figures["half_mIoU"] == 0
    lines = [json.loads(line) for line in listing.read_text().splitlines()]
    for line in lines:
        line["classes"] = {"201": "sea", "0": "water", "2": "", "1": "trees,forest"}
        line |= {name: str(listing.parent / line[name]) for name in ("image", "mask")}
    rivals = tmp_path / "rivals.jsonl"
    rivals.write_text("".join(json.dumps(line) + "\n" for line in lines))
    held_out = HeldOut(read_manifest(rivals), row, most=99)
    Always.sea = True
    water, said = masks == 0, np.arange(masks.shape[-1]) % 2 == 1
    iou = 100 * (water & said).sum() / ((water | said) & (masks != IGNORE)).sum()
    assert held_out.figures(Always(), low=0.0)["low_mIoU"] == pytest.approx(iou / 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_size": (60,)}, "--image-size must be whole patches of 16 pixels, got 60"),
        ({"dim": 20}, "A head of 20 channels"),
        ({"preset": "gem"}, "not by 'gem'"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(
    change: dict[str, Any], said: str, listing: Path, micro: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        train_segment(listing, tmp_path / "out", **{"model": str(micro), "steps": 1, **SMALL, **change})


def test_lists_without_anything_to_learn_are_refused(micro: Path, made: Path, listing: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    Image.new("L", (20, 20)).save(tmp_path / "m.png")
    plain = {"image": "a.png", "set": "a", "captions": ["a roof"]}
    nameless = {"image": "a.png", "set": "a", "mask": "m.png", "classes": {"0": ""}}
    for line, said in ((plain, "lists no masks"), (nameless, "no class of the set 'a' has a name")):
        (tmp_path / "list.jsonl").write_text(json.dumps(line))
        with pytest.raises(UsageError, match=said):
            train_segment(tmp_path / "list.jsonl", tmp_path / "out", model=str(micro), steps=1, **SMALL)
    with pytest.raises(UsageError, match="has a head already"):
        train_segment(listing, tmp_path / "out", preset=str(made / "preset.toml"), steps=1, **SMALL)


def _settings(**changes: Any) -> HeadSettings:
    sizes: dict[str, Any] = {"dim": 16, "layers": 1, "decoder": (8, 8), "projected": (4, 2), "heads": 2, "window": 2}
    return HeadSettings(**{"aggregator": "rskt-seg", **sizes, **changes})


def _with(row: SegmentPreset, **changes: Any) -> SegmentPreset:
    from dataclasses import replace

    return replace(row, **changes)


def _vit() -> ClipBackbone:
    from earthwords.models.clip.config import from_json
    from earthwords.models.clip.model import build_clip

    tower = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "hidden_act": "gelu"}
    vision = {**tower, "num_hidden_layers": 6, "patch_size": 8, "image_size": 32, "projection_dim": 12}
    text = {**tower, "num_hidden_layers": 1, "vocab_size": 10, "projection_dim": 12}
    torch.manual_seed(0)
    model = build_clip(from_json({"vision_config": vision, "text_config": text, "projection_dim": 12}))
    return ClipBackbone(model, tokenizer=micro_clip().tokenizer, weights_id="vit")
