"""Names and shapes of the published checkpoints, without their numbers: each has its place in what we build."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor

from earthwords.models.clip.convert import check_fit, from_openai, openai_config, openai_state, to_openai
from earthwords.models.clip.towers import Clip
from earthwords.models.upsamplers import jbu, simfeatup

from .cases import GOLDEN, NAMES

LISTS = GOLDEN / NAMES
CLIPS = {
    # width, layers, heads, patch of the vision tower; width, layers, heads of the text tower; joint dimensions
    "ViT-B-16": ((768, 12, 12, 16), (512, 12, 8), 512),
    "ViT-B-32": ((768, 12, 12, 32), (512, 12, 8), 512),
    "ViT-L-14": ((1024, 24, 16, 14), (768, 12, 12), 768),
    "ViT-H-14": ((1280, 32, 16, 14), (1024, 24, 16), 1024),
}


def listed(path: Path) -> dict[str, Tensor]:
    """Tensors of these names and shapes that take no memory."""
    rows = (line.split("\t") for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: torch.empty(ast.literal_eval(shape), device="meta") for name, shape in rows}


def test_the_lists_are_all_known() -> None:
    there = {path.name.removesuffix(".names.txt") for path in LISTS.glob("*.names.txt")}
    assert there == {*CLIPS, "jbu_one_512", "jbu_stack_512"}


@pytest.mark.parametrize("name", CLIPS)
def test_clips(name: str) -> None:
    state = listed(LISTS / f"{name}.names.txt")
    config = openai_config(state, activation="quickgelu")
    vision, text, dim = CLIPS[name]
    own = config.vision_config
    assert (own.hidden_size, own.num_hidden_layers, own.num_attention_heads, own.patch_size) == vision
    assert (own.image_size, own.intermediate_size, own.hidden_act) == (224, 4 * vision[0], "quick_gelu")
    own = config.text_config
    assert own is not None
    assert (own.hidden_size, own.num_hidden_layers, own.num_attention_heads) == text
    assert (own.vocab_size, own.max_position_embeddings, config.projection_dim) == (49408, 77, dim)
    assert (own.bos_token_id, own.eos_token_id) == (49406, 49407)
    with torch.device("meta"):
        check_fit(Clip(config), openai_state(state))
    back = to_openai(openai_state(state))
    assert {name: tuple(value.shape) for name, value in back.items()} == {
        name: tuple(value.shape) for name, value in state.items()
    }


def test_a_small_one_with_all_names_of_b_32_is_loaded() -> None:
    """The same names, sizes cut to a twelfth: numbers go where the names say."""
    draw = torch.Generator().manual_seed(0)
    small = {3072: 256, 2304: 192, 2048: 256, 1536: 192, 768: 64, 512: 64, 49408: 50, 77: 9, 32: 4, 50: 10}
    state = {
        name: torch.randn([small.get(side, side) for side in value.shape], generator=draw)
        for name, value in listed(LISTS / "ViT-B-32.names.txt").items()
    }
    model = from_openai(state, activation="quickgelu")
    found = model.state_dict()
    row = found["vision_model.encoder.layers.11.self_attn.k_proj.weight"]
    assert torch.equal(row, state["visual.transformer.resblocks.11.attn.in_proj_weight"][64:128])
    assert torch.equal(found["visual_projection.weight"], state["visual.proj"].T)


@pytest.mark.parametrize(("name", "kind"), [("jbu_one_512", simfeatup.JbuOne), ("jbu_stack_512", jbu.JbuStack)])
def test_upsamplers(name: str, kind: type[torch.nn.Module]) -> None:
    state = listed(LISTS / f"{name}.names.txt")
    own = kind(512).state_dict()
    assert {n: tuple(v.shape) for n, v in own.items()} == {n: tuple(v.shape) for n, v in state.items()}
