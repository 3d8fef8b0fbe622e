"""What the modules of GSNet and RSKT-Seg compute: cost maps, layers, decoder, loss, and two steps of training."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from earthwords.data.manifests.captions import IGNORE
from earthwords.models.aggregation.author_weights import config_of, fill, own_part
from earthwords.models.aggregation.model import Aggregation, AggregationConfig, Seen, aggregation_loss

from .cases import Case, agree

CANCELLED = 1e-7
"""Gradients below this (the norm is clipped to 0.01) are what cancellation leaves: the authors' sums of 256 terms are
5e-4 of their largest away from float64, ours 5e-6 (see `test_one_filler_counts_for_all`)."""


def check_gsnet_ripd(case: Case) -> None:
    model, seen, text = build(case), seen_in(case, case["in.clip_feat"]), case["in.text"]
    with torch.no_grad():
        x = model.embed(seen, text)
        case.agree_between("fused", x.transpose(1, 2))
        places, words = model.guidance(seen, text)
        first: Any = model.layers[0]
        case.agree_between("swin0", first.swin_block(x, places).transpose(1, 2))
        case.agree_between("layer1", model.layers[1](first(x, places, words), places, words).transpose(1, 2))
    check_training(case, model, seen, text)


def check_rsktseg_decoder(case: Case) -> None:
    turned = [case[f"in.clip_feat_rot{degrees}"] for degrees in (90, 180, 270)]
    seen = seen_in(case, case["in.clip_feat_rot0"], turned=turned)
    model, text = build(case), case["in.text"]
    with torch.no_grad():
        case.agree_between("corr", model.costs(seen, text).transpose(1, 2))
        x = model.embed(seen, text)
        for i, layer in enumerate(model.layers):
            x = layer(x, *model.guidance(seen, text))
            case.agree_between(f"layer{i}", x.transpose(1, 2))
    check_training(case, model, seen, text)


def build(case: Case) -> Aggregation:
    """With the case's weights and the sizes that their shapes tell, which are those of its configuration."""
    told = json.loads(case.meta["cfg"])
    state = own_part(case.part("w."), name=case.folder.name)
    config = config_of(state, name=case.folder.name, heads=told.get("nheads", 4))
    check_config(config, told)
    return fill(lambda: Aggregation(config), state, name=case.folder.name)


def check_config(config: AggregationConfig, told: dict[str, Any]) -> None:
    assert config.features == told["feat_dim"]
    assert config.dim == told["hidden_dim"]
    assert config.layers == told["num_layers"]
    assert config.prompts == told["prompt_channel"]
    assert config.rotations == (4 if told.get("use_rotate") else 1)
    assert (config.appearance, config.text) == (told["appearance_guidance_proj_dim"], told["text_guidance_proj_dim"])
    assert list(config.decoder) == told["decoder_dims"]
    assert config.window == told.get("window_size", config.window)


def seen_in(case: Case, features: Tensor, *, turned: list[Tensor] | None = None) -> Seen:
    towers = [tower for tower in ("clip", "remote", "dino") if f"in.{tower}_guide1" in case.tensors]
    return Seen(
        features=features,
        appearance=case["in.app0"],
        turned=turned or (),
        second=case["in.dino_feat"],
        guides={tower: (case[f"in.{tower}_guide1"], case[f"in.{tower}_guide2"]) for tower in towers},
    )


def check_training(case: Case, model: Aggregation, seen: Seen, text: Tensor) -> None:
    """Logits, then two steps of the authors' training: loss, norm and clipped gradients, and weights."""
    agree(model(seen, text).detach(), case["out.logits"])
    names = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(names.values(), lr=2e-4, weight_decay=1e-4)
    for step in (1, 2):
        loss = aggregation_loss(model(seen, text), case["in.target"], ignored=IGNORE)
        agree(loss.detach(), case[f"out.loss_step{step}"])
        optimizer.zero_grad()
        loss.backward()
        agree(torch.nn.utils.clip_grad_norm_(names.values(), 0.01), case[f"out.grad_norm_step{step}"], 1e-4)
        if step == 1:
            for name, expected in case.part("grad_clipped.").items():
                gradient = names[name].grad
                assert gradient is not None
                agree(gradient, expected, 2e-5 if float(expected.abs().max()) > CANCELLED else 1e-3)
        optimizer.step()
        if step == 1:
            for name, expected in case.part("after1.").items():
                agree(names[name].detach(), expected)
