"""SigLIP 2 of a fixed size and NaFlex: transformers' own, and public code's ways to dense features."""

from __future__ import annotations

import json
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor
from torch.nn import functional as F

from earthwords.models.clip.convert import filled
from earthwords.models.clip.model import DenseMethod
from earthwords.models.siglip.config import siglip_settings
from earthwords.models.siglip.folder import as_stored
from earthwords.models.siglip.model import SiglipBackbone
from earthwords.models.siglip.towers import Siglip, positions
from earthwords.text.siglip import PaddedTokenizer, SiglipTokenizer

from .cases import Case, agree

DENSE = {
    "value_proj": DenseMethod(attention="maskclip"),
    "value_proj_mlp": DenseMethod(attention="maskclip", keep_residual=True),
    "qq": DenseMethod(attention="clearclip"),
    "qq_mlp": DenseMethod(attention="clearclip", keep_residual=True),
}


def backbone_of(case: Case, state: dict[str, Tensor], **vision: Any) -> SiglipBackbone:
    """`vision`: settings that the case tells, and its `model_type`."""
    kind = vision.pop("model_type")
    width = state["vision_model.post_layernorm.weight"].shape[0]
    common = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2}
    common |= {"num_attention_heads": int(case.meta["heads"]), "layer_norm_eps": 1e-6}
    text = {**common, "vocab_size": state["text_model.embeddings.token_embedding.weight"].shape[0]}
    table = {"model_type": kind, "vision_config": {**common, **vision}, "text_config": text}
    config = siglip_settings(table)
    model = filled(config, as_stored(config, state), build=Siglip)
    assert isinstance(model, Siglip)
    return SiglipBackbone(model)


def pixels(image: Tensor) -> Tensor:
    return image.float() / 127.5 - 1


def tokens(tower: SiglipBackbone, image: Tensor) -> Tensor:
    """Behind the last norm, `(batch, token, width)`."""
    x, _ = tower._embed(pixels(image))
    for layer in tower._layers:
        x = layer(x)
    return tower._tower.post_layernorm(x)


def flat(values: Tensor) -> Tensor:
    return values.flatten(2).transpose(1, 2)


@torch.inference_mode()
def check_siglip2_dense(case: Case) -> None:
    tower = backbone_of(case, case.part("w."), model_type="siglip", patch_size=4, image_size=20)
    image, oblong = case["in.image_u8"], case["in.image_nonsquare_u8"]
    case.agree_between("tokens", tokens(tower, image))
    case.agree_between("tokens_nonsquare", tokens(tower, oblong))
    table = tower._tower.embeddings.position_embedding.weight
    case.agree_between("pos_nonsquare", positions(table, (6, 4), "siglip")[None])
    agree(tower.encode_image(pixels(image)), case["out.pooled"])
    for name, method in DENSE.items():
        found = tower.encode_dense(pixels(image), method)
        agree(flat(found.values), case[f"out.dense.{name}"])
        agree(found.cls, case["out.pooled"])
    found = tower.encode_dense(pixels(oblong), DENSE["value_proj_mlp"])
    agree(flat(found.values), case["out.dense_nonsquare.value_proj_mlp"])
    ids = case["in.ids_right"]
    text = tower.encode_tokens(ids)
    agree(text, case["out.text_right_nomask"])
    agree(tower.encode_tokens(case["in.ids_left"]), case["out.text_left_nomask"])
    cosines = F.normalize(tower.encode_image(pixels(image)), dim=1) @ F.normalize(text, dim=1).T
    assert tower.pair_bias is not None
    agree(tower.logit_scale * cosines + tower.pair_bias, case["out.logits_per_image"])
    for mask in ("right", "left"):  # what a mask would change is not what was trained
        assert (case[f"out.text_{mask}_mask"] - text).abs().max() > 0.1
    assert (case["out.text_left_nomask"] - text).abs().max() > 0.1
    check_tokens(case, ids)


def check_tokens(case: Case, ids: Tensor) -> None:
    """Lower case and right padding; the case's tokenizer adds no end token, those of the hub do."""
    vocabulary = {piece: i for i, piece in enumerate(case.meta["vocab"])}
    own = Tokenizer(BPE(vocabulary, [tuple(pair) for pair in case.meta["merges"]], unk_token="<unk>", fuse_unk=True))
    own.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    own.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    told = json.loads((case.folder / "texts.json").read_text())
    tokenizer = PaddedTokenizer(SiglipTokenizer(own, end=1, pad=0, canonical=False, lower=False), context=64)
    rows = torch.from_numpy(tokenizer(told["texts"]))
    for row, expected in zip(rows, ids, strict=True):
        length = min(63, int((expected != 0).sum()))
        assert torch.equal(row[:length], expected[:length]) and int(row[length]) == 1 and not row[length + 1 :].any()
    assert [tokenizer.pieces(text)[:62] for text in told["texts"]] == [row[:62] for row in told["tokens"]]


@torch.inference_mode()
def check_siglip2_naflex(case: Case) -> None:
    """Each picture by itself, without the padding that a batch of different shapes needs."""
    own = {f"vision_model.{name}": value for name, value in case.part("w.").items()}
    side = int(case.meta["num_patches"])
    tower = backbone_of(case, {**own, **_silent(own)}, model_type="siglip2", patch_size=4, num_patches=side)
    pooled = case["out.pooled"]
    for i, dense in enumerate((case["out.dense0.value_proj_mlp"], case["out.dense1.value_proj_mlp"])):
        image = case[f"in.image{i}_u8"]
        case.agree_between(f"tokens{i}", tokens(tower, image)[0])
        agree(tower.encode_image(pixels(image))[0], pooled[i])
        agree(flat(tower.encode_dense(pixels(image), DENSE["value_proj_mlp"]).values)[0], dense)
    table = tower._tower.embeddings.position_embedding.weight
    case.agree_between("pos0", positions(table, (7, 4), "siglip2"))


def _silent(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A tower that reads, which the case lacks."""
    width = state["vision_model.post_layernorm.weight"].shape[0]
    blocks = {
        name.replace("vision_model.", "text_model."): torch.zeros_like(value)
        for name, value in state.items()
        if ".encoder." in name
    }
    return {
        **blocks,
        "text_model.embeddings.token_embedding.weight": torch.zeros(9, width),
        "text_model.embeddings.position_embedding.weight": torch.zeros(64, width),
        "text_model.final_layer_norm.weight": torch.ones(width),
        "text_model.final_layer_norm.bias": torch.zeros(width),
        "text_model.head.weight": torch.zeros(width, width),
        "text_model.head.bias": torch.zeros(width),
        "logit_scale": torch.zeros(1),
        "logit_bias": torch.zeros(1),
    }


CHECKS = {"siglip2_dense": check_siglip2_dense, "siglip2_naflex": check_siglip2_naflex}
