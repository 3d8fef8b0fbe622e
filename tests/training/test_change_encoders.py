"""Networks for change over SAM 2, DINO, DINOv2 and DINOv3: levels, what learns, from training to a map."""

# ruff: noqa: F811  (fixtures of another file are arguments here)

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from torch import Tensor, nn
from transformers import Sam2Config, Sam2Model

from earthwords.data.change.fakes import make_fake_change
from earthwords.errors import UsageError, WeightsError
from earthwords.models.change.card import WEIGHTS_FILE
from earthwords.models.change.encoders import encoder_hash, load_encoder
from earthwords.models.change.folder import load_network, make_network, store_network
from earthwords.models.change.network import TUNINGS, ChangeNetwork, ChangeSettings
from earthwords.models.change.windows import change_probability
from earthwords.models.sam.author_names2 import TRUNKS
from earthwords.models.weights.checkpoint import read_state
from earthwords.training.heads.change import ChangeTask
from tests import published
from tests.conftest import Command
from tests.micro import patchwork
from tests.referring import _SAM2
from tests.tasks.test_change import WORDS, after, before  # noqa: F401, fixtures
from tests.training.test_change import shaken

CPU = torch.device("cpu")
KINDS: dict[str, Callable[[Path], Any]] = {
    "sam2": published.write_sam2,
    "dino": lambda folder: published.write_dino(folder, layers=4),
    "dinov2": lambda folder: published.write_dino(folder, second=True, layers=5),
    "dinov3": published.write_dinov3,
}
STEP = {"sam2": 32, "dino": 16, "dinov2": 14, "dinov3": 16}
"""Pixels that a side is a multiple of."""
Written = tuple[Path, Any]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def written(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Folder of an encoder as it lies on the hub, and transformers' model of it."""
    torch.manual_seed(9)
    folder = tmp_path_factory.mktemp("encoders") / kind
    return folder, KINDS[kind](folder)


@torch.inference_mode()
def expected_levels(kind: str, model: Any, pixels: Tensor) -> list[Tensor]:
    """By transformers' record of all states."""
    if kind == "sam2":
        states = model.vision_encoder.backbone(pixels, output_hidden_states=True).hidden_states
        ends = np.cumsum(_SAM2["vision_config"]["backbone_config"]["blocks_per_stage"])  # type: ignore[index]
        first = len(states) - ends[-1] - 1  # whether what enters the first block is among them
        return [states[first + end].permute(0, 3, 1, 2) for end in ends]
    known = {"interpolate_pos_encoding": True} if kind == "dino" else {}
    told = model(pixel_values=pixels, output_hidden_states=True, **known).hidden_states
    ends = {"dino": (1, 2, 3, 4), "dinov2": (1, 2, 4, 5), "dinov3": (1, 2, 3, 4)}[kind]
    norm = model.norm if kind == "dinov3" else model.layernorm
    rows, cols = (side // STEP[kind] for side in pixels.shape[-2:])
    return [norm(told[end])[:, -rows * cols :].mT.unflatten(2, (rows, cols)) for end in ends]


def test_levels_are_what_transformers_records(kind: str, written: Written) -> None:
    folder, model = written
    found = load_encoder(str(folder), offline=True)
    assert found.patch == STEP[kind]
    pixels = torch.randn(2, 3, 2 * STEP[kind], 4 * STEP[kind], generator=torch.Generator().manual_seed(3))
    if kind == "dino":  # positions are sampled otherwise at other sizes (tests of DINO)
        pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        levels = found.encode_levels(pixels)
    expected = expected_levels(kind, model.eval(), pixels)
    assert [level.shape[1] for level in levels] == list(found.level_widths) and len(levels) == 4
    if kind == "sam2":
        assert [level.shape for level in levels] == [(2, 16 * 2**i, 16 >> i, 32 >> i) for i in range(4)]
    for own, theirs in zip(levels, expected, strict=True):
        torch.testing.assert_close(own, theirs, atol=1e-5, rtol=1e-5)
        assert (own[0] - own[1]).abs().max() > 1e-3


@pytest.mark.parametrize("tuning", TUNINGS)
def test_a_network_comes_back_from_its_folder(tuning: str, kind: str, written: Written, tmp_path: Path) -> None:
    folder, _ = written
    encoder = load_encoder(str(folder), offline=True)
    base = encoder_hash(encoder)
    network = shaken(make_network(ChangeSettings(tuning=tuning, width=8), encoder, seed=2))
    store_network(network, tmp_path / "net", encoder=str(folder), base=base, threshold=0.35, notes={})
    back, threshold = load_network(tmp_path / "net", device=CPU, offline=True)
    dates = torch.rand(2, 2, 3, 2 * STEP[kind], 4 * STEP[kind])
    with torch.inference_mode():
        logits, same = network(*dates), back(*dates)
    assert threshold == 0.35 and all(torch.equal(a, b) for a, b in zip(logits, same, strict=True))
    assert logits[0].shape == (2, 2, 2 * STEP[kind], 4 * STEP[kind]) and logits[0][:, 0].std() > 0
    stored = {name for name in read_state(tmp_path / "net" / WEIGHTS_FILE) if name.startswith("backbone.")}
    assert bool(stored) is (tuning != "frozen")
    card = json.loads((tmp_path / "net" / "change.json").read_text())
    (tmp_path / "net" / "change.json").write_text(json.dumps({**card, "base": "0" * 24}))
    with pytest.raises(WeightsError, match="was trained on other weights"):
        load_network(tmp_path / "net", device=CPU, offline=True)


def test_every_block_has_what_learns(kind: str, written: Written) -> None:
    """Low-rank additions and vectors beside queries, keys and values of each block, an adapter before each."""
    folder, _ = written
    layers = {"sam2": 1, "dino": 3, "dinov2": 3, "dinov3": 3}[kind]
    for tuning, tensors in {"lora": 2 * layers, "ia3": layers, "adapter": 4}.items():
        encoder = load_encoder(str(folder), offline=True)
        count = len(encoder.blocks)  # type: ignore[union-attr]
        network = make_network(ChangeSettings(tuning=tuning, width=8), encoder)
        learning = [p for n, p in network.named_parameters() if p.requires_grad and n.startswith("backbone.")]
        assert len(learning) == count * tensors
        network.train()
        first, second = network(*torch.rand(2, 2, 3, 2 * STEP[kind], 3 * STEP[kind]))
        (first.square().mean() + second.square().mean()).backward()
        assert all(p.grad is not None for p in learning)
        assert sum(bool(p.grad.any()) for p in learning if p.grad is not None) >= len(learning) // 2  # B begins at 0


def test_an_encoder_is_the_same_while_something_learns(kind: str, written: Written) -> None:
    """No positions at random, as DINOv3 has them in its own training."""
    network = make_network(ChangeSettings(tuning="frozen", width=8), load_encoder(str(written[0]), offline=True))
    pixels = torch.rand(2, 3, 2 * STEP[kind], 3 * STEP[kind])
    still, moving = (network.train(mode).backbone.encode_levels(pixels) for mode in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(still, moving, strict=True))


def test_images_of_any_size(kind: str, written: Written) -> None:
    """Smaller than a window, and no whole patches."""
    network = shaken(make_network(ChangeSettings(tuning="frozen", width=8), load_encoder(str(written[0]))))
    with torch.inference_mode():
        for height, width in ((70, 131), (9, 33)):
            dates = patchwork(height, width), patchwork(height, width, seed=2)
            likely = change_probability(network, *dates, tile=64, step=32)
            assert likely.shape == (height, width) and np.isfinite(likely).all()


def test_colours_of_a_folder(tmp_path: Path) -> None:
    published.write_dinov3(tmp_path / "sat")
    assert load_encoder(str(tmp_path / "sat")).mean == (0.43, 0.411, 0.296)
    told = tmp_path / "sat" / "preprocessor_config.json"
    told.write_text('{"image_mean": [0.1, 0.2], "image_std": [1, 1]}')
    with pytest.raises(WeightsError, match="mean and deviation of three colours"):
        load_encoder(str(tmp_path / "sat"))
    told.unlink()
    assert load_encoder(str(tmp_path / "sat")).mean == (0.485, 0.456, 0.406)


def test_the_authors_file_of_sam2(tmp_path: Path) -> None:
    """Of the size `tiny`, whose blocks the file does not tell."""
    backbone = {
        **_SAM2["vision_config"]["backbone_config"],  # type: ignore[index]
        "hidden_size": 96, "blocks_per_stage": [1, 2, 7, 2], "embed_dim_per_stage": [96, 192, 384, 768],
        "window_size_per_stage": list(TRUNKS[0].windows), "global_attention_blocks": list(TRUNKS[0].whole),
    }  # fmt: skip
    vision = {**_SAM2["vision_config"], "backbone_config": backbone, "backbone_channel_list": [768, 384, 192, 96]}  # type: ignore[dict-item]
    model = Sam2Model(Sam2Config(**{**_SAM2, "vision_config": vision})).eval()
    nn.init.normal_(model.vision_encoder.backbone.pos_embed)
    nn.init.normal_(model.vision_encoder.backbone.pos_embed_window)
    published.write_sam2_of_authors(tmp_path / "sam2_hiera_tiny.pt", model)
    pixels = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        levels = load_encoder(str(tmp_path / "sam2_hiera_tiny.pt")).encode_levels(pixels)
        expected = model.vision_encoder.backbone(pixels).intermediate_hidden_states
    for own, theirs in zip(levels, expected, strict=True):
        assert torch.equal(own, theirs.permute(0, 3, 1, 2)) and own.std() > 1e-3


def trained(folder: Path, pairs: Path, encoder: Path, command: Command, *more: object) -> None:
    how = [
        "--steps",
        4,
        "--batch-size",
        2,
        "--width",
        8,
        "--val-frequency",
        4,
        "--save-frequency",
        2,
        "--device",
        "cpu",
    ]
    done = command("train", "change", pairs, folder, "--model", encoder, *how, "--offline", "--quiet", *more)
    assert done.code == 0, done.err


def test_from_pairs_to_a_map(
    kind: str, written: Written, micro: Path, command: Command, before: Path, after: Path, tmp_path: Path
) -> None:
    """The encoder has no words: those of the map are of a CLIP."""
    make_fake_change("folders", tmp_path / "set")
    make_fake_change("folders", tmp_path / "held", size=(64, 88))
    trained(tmp_path / "net", tmp_path / "set", written[0], command, "--val-data", tmp_path / "held")
    card = json.loads((tmp_path / "net" / "change.json").read_text())
    assert (card["encoder"], card["licence"], card["words"]) == (str(written[0]), "yours", False)
    assert card["held_out"]["pairs"] > 0
    how = ["--model", micro, "--device", "cpu", "--offline", "--quiet", "--json", "--network", tmp_path / "net"]
    done = command("change", before, after, tmp_path / "out.tif", *WORDS, *how, "--tile-size", 64, "--threshold", 0)
    assert done.code == 0 and json.loads(done.out)["changed_share"] == 1, done.err
    with rasterio.open(tmp_path / "out.tif") as made, rasterio.open(before) as source:
        assert made.shape == source.shape and made.tags()["EARTHWORDS_METHOD"] == "learned"
    if kind == "sam2":
        done = command("evaluate", "change", tmp_path / "held", *WORDS, "-o", tmp_path / "results", *how)
        assert done.code == 0 and json.loads(done.out)["results"][0]["task"] == "change", done.err


@pytest.mark.parametrize("kind", ["sam2", "dinov2"])
def test_a_run_that_was_interrupted_ends_in_the_same_bits(
    kind: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout beside the encoder's layers included."""
    torch.manual_seed(9)
    KINDS[kind](tmp_path / "encoder")
    make_fake_change("folders", tmp_path / "set")
    trained(tmp_path / "whole", tmp_path / "set", tmp_path / "encoder", command)
    losses, asked = ChangeTask.losses, list[int]()

    def stop(self: ChangeTask, model: ChangeNetwork, batch: Any) -> Any:
        asked.append(1)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return losses(self, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(ChangeTask, "losses", stop)
        argv = ["--steps", 4, "--batch-size", 2, "--width", 8, "--val-frequency", 4, "--save-frequency", 2]
        told = ["--model", tmp_path / "encoder", *argv, "--device", "cpu", "--offline", "--quiet"]
        assert command("train", "change", tmp_path / "set", tmp_path / "parts", *told).code != 0
    assert not (tmp_path / "parts" / WEIGHTS_FILE).exists()
    trained(tmp_path / "parts", tmp_path / "set", tmp_path / "encoder", command)
    first, second = (read_state(tmp_path / name / WEIGHTS_FILE) for name in ("whole", "parts"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_what_no_network_stands_on(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_fake_change("folders", tmp_path / "set")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def refused(code: int, model: str | Path, words: str, *more: object) -> None:
        told = ["--model", model, "--device", "cpu", "--offline", "--quiet", *more]
        command("train", "change", tmp_path / "set", tmp_path / "net", *told).failed(code, words)
        assert not (tmp_path / "net").exists()

    refused(2, "sam-vit-b", "does not stand on sam-vit-b: take a CLIP, a SAM 2.1")
    refused(2, "naf-release", "does not stand on naf-release")
    refused(1, "sam2.1-hiera-tiny", "sam2.1-hiera-tiny (facebook/sam2.1-hiera-tiny on Hugging Face) is not")
    refused(1, "dinov2-vit-b-14", "dinov2-vit-b-14 (facebook/dinov2-base on Hugging Face) is not")
    published.write_sam(tmp_path / "sam")
    refused(1, tmp_path / "sam", "is a SAM of the first kind")
    published.write_sam2(tmp_path / "sam2")
    refused(2, tmp_path / "sam2", "whole patches of 32 pixels, got 80", "--image-size", 80)
    published.write_dino(tmp_path / "short", second=True)
    refused(2, tmp_path / "short", "has 2 levels, too few")
    with pytest.raises((UsageError, WeightsError), match="no-such"):
        load_encoder(str(tmp_path / "no-such"))
