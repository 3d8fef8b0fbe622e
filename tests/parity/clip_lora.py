"""CLIP-LoRA by its authors' code: features, logits, gradients and three steps, with dropout and without."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.models.clip.convert import from_openai
from earthwords.models.clip.model import ClipBackbone
from earthwords.training.adapt import CLIP_LORA, add_lora, merge_lora

from .cases import Case, agree

LOGITS = 1e-4
SCALE = 100.0
"""The authors' constant, not the model's parameter."""
LEAST = 1e-4
"""AdamW's first steps depend on the sign of smaller gradients."""


class Masked(nn.Module):
    """Dropout with a mask that is given: kept entries are divided by what is kept on average."""

    def __init__(self, mask: Tensor, share: float) -> None:
        super().__init__()
        self.mask, self.share = mask.transpose(0, 1), share

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask[:, : x.shape[1]] / self.share  # the last block asks for the class token's query alone


class Detached(nn.Module):
    """What the authors' merging in place comes to without dropout: no gradient through the additions' input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def build(case: Case) -> ClipBackbone:
    heads = int(case.meta["heads"])
    backbone = ClipBackbone(from_openai(case.part("w."), activation="quickgelu", heads=(heads, heads)))
    form = {**CLIP_LORA, "rank": int(case.meta["r"]), "alpha": int(case.meta["alpha"])}
    add_lora(backbone, **{**form, "dropout": float(case.meta["dropout"])})
    for name, layer in layers(backbone).items():
        for which in "AB":
            weight = getattr(layer, f"lora_{which}")["default"].weight
            weight.data.copy_(case[f"lora.{name}.w_lora_{which}"])
    return backbone


def layers(backbone: ClipBackbone) -> dict[str, nn.Module]:
    """The layers with additions, by the authors' names."""
    towers = {"visual.transformer": backbone.model.vision_model, "transformer": backbone.model.text_model}
    return {
        f"{theirs}.resblocks.{i}.attn.{what}_proj": getattr(block.self_attn, f"{what}_proj")
        for theirs, tower in towers.items()
        for (i, block), what in product(enumerate(tower.encoder.layers), "qkv")
    }


def features(backbone: ClipBackbone, case: Case) -> tuple[Tensor, Tensor]:
    image, text = backbone.encode_image(case["in.images"]), backbone.encode_tokens(case["in.tokens"])
    return F.normalize(image, dim=1), F.normalize(text, dim=1)


def learned(backbone: ClipBackbone) -> dict[str, Tensor]:
    return {
        f"{name}.w_lora_{which}": getattr(layer, f"lora_{which}")["default"].weight
        for name, layer in layers(backbone).items()
        for which in "AB"
    }


def check_clip_lora(case: Case) -> None:
    backbone = build(case).eval()
    with torch.no_grad():
        image, text = features(backbone, case)
        agree(image, case["out.eval_image_features"])
        agree(text, case["out.eval_text_features"])
        agree(SCALE * image @ text.T, case["out.eval_logits"], LOGITS)
    dropout = float(case.meta["dropout"])
    free = None if dropout else gradients(build(case), case)
    for name, layer in layers(backbone).items():
        mask = case[f"in.mask.{name}"] if dropout else None
        layer.lora_dropout["default"] = Detached() if mask is None else Masked(mask, 1 - dropout)
    found = gradients(backbone, case)
    for name, slope in found.items():
        agree(slope, case[f"grad.{name}"], LOGITS)
    if free is not None:
        check_the_defect_is_theirs_alone(free, found)
    check_steps(backbone, case)
    check_merging(build(case), case)


def gradients(backbone: ClipBackbone, case: Case) -> dict[str, Tensor]:
    image, text = features(backbone, case)
    logits = SCALE * image @ text.T
    agree(logits.detach(), case["out.train_logits"], LOGITS)
    backbone.zero_grad()
    F.cross_entropy(logits, case["in.labels"]).backward()
    return {name: weight.grad.clone() for name, weight in learned(backbone).items() if weight.grad is not None}


def check_the_defect_is_theirs_alone(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """The last block of a tower has no block behind it whose low-rank path could carry a gradient."""
    for name, slope in ours.items():
        off = float((slope - theirs[name]).abs().max() / theirs[name].abs().max())
        assert (off < LOGITS) == (".resblocks.1." in name), (name, off)


def check_steps(backbone: ClipBackbone, case: Case) -> None:
    """AdamW along a cosine of eight steps to 1e-6."""
    slopes = {name: case[f"grad.{name}"] for name in learned(backbone)}
    optimizer = torch.optim.AdamW(list(learned(backbone).values()), lr=2e-4, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8, eta_min=1e-6)
    losses = []
    for _ in range(3):
        image, text = features(backbone, case)
        loss = F.cross_entropy(SCALE * image @ text.T, case["in.labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    agree(torch.tensor(losses), case["out.losses"], LOGITS)
    for name, weight in learned(backbone).items():
        clear = slopes[name].abs() > LEAST
        expected = case[f"after3.{name}"]
        agree(weight.detach()[clear], expected[clear], LOGITS)


def check_merging(backbone: ClipBackbone, case: Case) -> None:
    merge_lora(backbone)
    merged = backbone.model.vision_model.encoder.layers[0].self_attn.q_proj.weight.detach()
    case.agree_between("merged_q_visual0", merged)
