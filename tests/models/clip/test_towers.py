"""Our CLIP computes what transformers' CLIP does, state by state, and begins a training as it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel

from earthwords.models.architectures import clip_config
from earthwords.models.clip.config import from_json, read_config
from earthwords.models.clip.convert import filled
from earthwords.models.clip.model import ClipBackbone, build_clip
from earthwords.models.clip.towers import Clip
from tests.models.layouts import hidden_states, ours

IDS = torch.tensor([[1, 7, 30, 63, 63, 5], [1, 63, 2, 9, 40, 7], [1, 8, 8, 8, 8, 63]])


def theirs(act: str, **text: Any) -> CLIPModel:
    """Towers that differ in everything, with noise on all weights."""
    torch.manual_seed(11)
    vision = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4}
    vision |= {"patch_size": 8, "image_size": 32, "hidden_act": act, "layer_norm_eps": 1e-3}
    words = {"hidden_size": 40, "intermediate_size": 72, "num_hidden_layers": 2, "num_attention_heads": 5}
    words |= {"vocab_size": 64, "max_position_embeddings": 9, "hidden_act": act, "eos_token_id": 63, **text}
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=words, projection_dim=24)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(("act", "end"), [("quick_gelu", 63), ("gelu", 2), ("gelu_pytorch_tanh", 63)])
def test_every_state_is_that_of_transformers(act: str, end: int) -> None:
    model = theirs(act, eos_token_id=end)
    own = ours(model)
    assert own.state_dict().keys() == model.state_dict().keys()
    backbone, pixels = ClipBackbone(own), torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        seen = model.vision_model(pixel_values=pixels, output_hidden_states=True)
        for found, expected in zip(hidden_states(backbone, pixels), seen.hidden_states, strict=True):
            torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
        read, said = own.text_model(IDS), model.text_model(input_ids=IDS)
        assert torch.equal(read.last_hidden_state, said.last_hidden_state)
        assert torch.equal(read.pooler_output, said.pooler_output)
        whole = model(pixel_values=pixels, input_ids=IDS)
        image, text = backbone.encode_image(pixels), backbone.encode_tokens(IDS)
        torch.testing.assert_close(image / image.norm(dim=1, keepdim=True), whole.image_embeds, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(text / text.norm(dim=1, keepdim=True), whole.text_embeds, atol=2e-6, rtol=1e-5)
        assert backbone.logit_scale == pytest.approx(float(model.logit_scale.exp()))


def test_an_oblong_image() -> None:
    """The blocks of transformers, on the tokens of 3 x 7 patches with our positions."""
    model = theirs("quick_gelu")
    backbone, pixels = ClipBackbone(ours(model)), torch.randn(2, 3, 24, 56)
    with torch.inference_mode():
        states = hidden_states(backbone, pixels)
        assert states[0].shape == (2, 1 + 3 * 7, 48)
        expected = model.vision_model.encoder(inputs_embeds=states[0]).last_hidden_state
    torch.testing.assert_close(states[-1], expected, atol=2e-6, rtol=1e-5)


def test_gradients_are_those_of_transformers() -> None:
    """Of attention written out, causal and not."""
    model, pixels = theirs("gelu"), torch.randn(2, 3, 32, 32)
    backbone = ClipBackbone(ours(model))
    image, text = (F.normalize(each) for each in (backbone.encode_image(pixels), backbone.encode_tokens(IDS)))
    found = backbone.model.logit_scale.exp() * text @ image.T
    expected = model(pixel_values=pixels, input_ids=IDS).logits_per_text
    for logits in (found, expected):
        (logits.logsumexp(0).sum() + logits.logsumexp(1).sum()).backward()
    wanted = dict(model.named_parameters())
    for name, parameter in backbone.model.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, wanted[name].grad, atol=2e-4, rtol=2e-4, msg=name)


def test_a_training_begins_as_transformers_does() -> None:
    """The same noise on every weight, to what a draw of these many numbers tells."""
    torch.manual_seed(2)
    model = CLIPModel(theirs("gelu").config)
    fresh = build_clip(from_json(model.config.to_dict()))
    for name, value in fresh.state_dict().items():
        other = model.state_dict()[name]
        if value.numel() > 40 and other.std() > 0:
            assert value.std() == pytest.approx(float(other.std()), rel=5 * value.numel() ** -0.5), name
            assert abs(value.mean()) < 5 * other.std() * value.numel() ** -0.5, name
        else:
            torch.testing.assert_close(value, other)


def test_what_a_folder_says(tmp_path: Path) -> None:
    """Defaults, files of 2022 that say it twice, and back to what transformers reads."""
    table = {
        "text_config": {"vocab_size": 64, "hidden_act": "gelu"},
        "text_config_dict": {"vocab_size": 99},
        "vision_config": {"patch_size": 14, "num_labels": 2, "trunk": {"widths": [8, 8]}},
        "projection_dim": 24,
    }
    (tmp_path / "config.json").write_text(json.dumps(table))
    found, expected = read_config(tmp_path), CLIPConfig.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(found.as_json()))
    for config in (expected, CLIPConfig.from_pretrained(tmp_path)):
        for tower in ("vision_config", "text_config"):
            for name, value in vars(getattr(found, tower)).items():
                assert getattr(getattr(config, tower), name) == value, name
        assert (config.projection_dim, config.logit_scale_init_value) == (24, found.logit_scale_init_value)
    assert found.text_config is not None
    assert (found.text_config.vocab_size, found.text_config.hidden_act) == (99, "quick_gelu")


def test_weights_have_the_types_of_the_module() -> None:
    """Hashes of towers tell bytes: a batch norm counts in whole numbers, whatever a file holds."""
    config = clip_config("micro", vocab_size=640)
    wanted = build_clip(config).state_dict()
    found = filled(config, {name: value.float() for name, value in wanted.items()}).state_dict()
    assert {name: value.dtype for name, value in found.items()} == {n: value.dtype for n, value in wanted.items()}


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "hidden_act", "layer_norm_eps"])
@pytest.mark.parametrize("value", [None, True, [1], "no such"])
def test_settings_of_another_kind(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=key):
        Clip(from_json({"vision_config": {key: value}}))
