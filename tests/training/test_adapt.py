"""What learns: locked towers stay, LoRA merges into the same function, open_clip's names go there and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from earthwords.errors import UsageError, WeightsError
from earthwords.models.clip.config import from_json
from earthwords.models.clip.convert import to_openai
from earthwords.models.clip.model import ClipBackbone, DenseMethod, build_clip
from earthwords.models.weights.table import load_clip
from earthwords.text.tokenizer import ClipTokenizer
from earthwords.training.adapt import CLIP_LORA, adapt_towers, add_lora, lock, merge_lora
from earthwords.training.initialise import store
from tests.micro import micro_clip

PIXELS = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def outputs(backbone: ClipBackbone) -> list[Tensor]:
    with torch.no_grad():
        dense = backbone.encode_dense(PIXELS, DenseMethod()).values
        return [backbone.encode_image(PIXELS), dense, backbone.encode_text(["a road", "two roofs beside water"])]


def plain_clip(words: Sequence[str] = ()) -> ClipBackbone:
    """Without a convolutional stem; with a tokenizer if there are words."""
    tokenizer = ClipTokenizer.train(words, vocab_size=90, context=12) if words else None
    tower = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "hidden_act": "quick_gelu"}
    vision = {**tower, "num_attention_heads": 1, "patch_size": 16, "image_size": 48, "projection_dim": 24}
    text = {
        **tower,
        "num_attention_heads": 1,
        "vocab_size": tokenizer.vocab_size if tokenizer else 90,
        "max_position_embeddings": 12,
        "projection_dim": 24,
    }
    torch.manual_seed(3)
    text["eos_token_id"] = text["vocab_size"] - 1
    config = from_json({"vision_config": vision, "text_config": text, "projection_dim": 24})
    return ClipBackbone(build_clip(config), tokenizer=tokenizer, weights_id="plain").eval()


def learning(backbone: ClipBackbone) -> set[str]:
    return {name for name, p in backbone.model.named_parameters() if p.requires_grad}


def test_locked_towers() -> None:
    backbone = micro_clip()
    everything = learning(backbone)
    lock(backbone, "image")
    assert everything - learning(backbone) == {n for n in everything if n.startswith("vis")}
    backbone = micro_clip()
    last = len(backbone.model.vision_model.encoder.layers) - 1
    lock(backbone, "image", unlocked_groups=2)
    free = {n for n in learning(backbone) if n.startswith("vis")}
    assert free == {
        n
        for n in everything
        if n.startswith((f"vision_model.encoder.layers.{last}.", "vision_model.post", "visual_projection"))
    }
    lock(backbone, "text", unlocked_groups=1)
    assert {n for n in learning(backbone) if n.startswith("text")} == {"text_projection.weight"}
    assert "logit_scale" in learning(backbone)
    with pytest.raises(UsageError, match=r"image tower has \d+ groups; 99"):
        lock(backbone, "image", unlocked_groups=99)


def test_lora_learns_and_merges() -> None:
    backbone = micro_clip()
    before, names = outputs(backbone), set(backbone.model.state_dict())
    add_lora(backbone, rank=3)
    assert learning(backbone) and all("lora_" in name for name in learning(backbone))
    for ours, theirs in zip(outputs(backbone), before, strict=True):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        for name, parameter in backbone.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    learned = outputs(backbone)
    assert all((a - b).abs().max() > 1e-2 for a, b in zip(learned, before, strict=True))
    merge_lora(backbone)
    assert set(backbone.model.state_dict()) == names
    for ours, theirs in zip(outputs(backbone), learned, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    with pytest.raises(UsageError, match="No layer is called 'query'"):
        add_lora(backbone, rank=2, targets=["query"])


def test_clip_loras_form() -> None:
    """Scale 1 / sqrt(rank) beside queries, keys and values; dropout acts while training alone."""
    backbone = micro_clip()
    before = outputs(backbone)
    add_lora(backbone, rank=4, **CLIP_LORA)
    touched = {name.split(".lora_")[0].rpartition(".")[2] for name in learning(backbone)}
    assert touched == {"q_proj", "k_proj", "v_proj"}
    layer = backbone.model.text_model.encoder.layers[0].self_attn.v_proj
    with torch.no_grad():
        for name, parameter in backbone.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
        x = torch.randn(2, 3, layer.in_features)
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        torch.testing.assert_close(layer(x) - layer.base_layer(x), x @ down.T @ up.T / 2, atol=1e-5, rtol=1e-4)
        learned = outputs(backbone)
        assert torch.equal(layer(x), layer(x))
        layer.train()
        assert not torch.equal(layer(x), layer(x)), "something else is dropped every time"
    assert (learned[0] - before[0]).abs().max() > 1e-2
    merge_lora(backbone)
    for ours, theirs in zip(outputs(backbone), learned, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_form_needs_a_rank_and_is_a_setting() -> None:
    locks = {"image": (False, 0), "text": (False, 0)}
    with pytest.raises(UsageError, match="--lora-form says how the additions of --lora-rank are made"):
        adapt_towers(micro_clip(), locks, lora_rank=0, siglip=False, seed=0, lora_form="clip-lora")
    made = adapt_towers(micro_clip(), locks, lora_rank=2, siglip=False, seed=0, lora_form="clip-lora")
    plain = adapt_towers(micro_clip(), locks, lora_rank=2, siglip=False, seed=0)
    assert made == {**plain, "lora_form": "clip-lora"}


def test_open_clip_names_there_and_back(tmp_path: Path) -> None:
    backbone = plain_clip()
    store(backbone, tmp_path, layout="both")
    named = load_file(tmp_path / "open_clip_model.safetensors")
    assert {"visual.conv1.weight", "text_projection", "transformer.resblocks.0.attn.in_proj_weight"} <= named.keys()
    again = load_clip(str(tmp_path / "open_clip_model.safetensors"), activation="quickgelu")
    assert load_file(tmp_path / "model.safetensors").keys() == again.model.state_dict().keys()
    for name, value in backbone.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    with torch.no_grad():
        assert torch.equal(again.encode_image(PIXELS), backbone.encode_image(PIXELS))
    store(backbone, tmp_path / "one", layout="open_clip")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["open_clip_model.safetensors"]


def test_a_convolutional_stem_has_no_place_in_open_clip() -> None:
    with pytest.raises(WeightsError, match="open_clip has no place for"):
        to_openai(load_clip("tiny").model.state_dict())
