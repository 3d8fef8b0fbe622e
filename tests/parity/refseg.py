"""What RSRefSeg's code computes, forward and one training step, on small towers of transformers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import SamConfig, SamModel, SiglipConfig, SiglipModel

from earthwords.models.refseg.adapters import Lora, adapt
from earthwords.models.refseg.author_names import from_authors, to_authors
from earthwords.models.refseg.encoders import SiglipWords
from earthwords.models.refseg.model import AUTHORS, RefSeg, enlarge
from earthwords.models.refseg.prompter import AttnPrompter, activate, fourier_position, mask_prompt
from earthwords.training.referring import bce

from .cases import Case, agree

STILL = 1e-5
"""Below this gradient, the first step of Adam is the rate times the sign of rounding noise."""


@cache
def configs(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "configs.json").read_text())
    return found


def build(case: Case) -> RefSeg:
    """The model with the case's base weights, as its authors put it together."""
    told = configs(case.folder)
    sam, siglip = SamModel(SamConfig(**told["sam"])), SiglipModel(SiglipConfig(**told["siglip"]))
    sam.load_state_dict(case.part("w.sam."))
    siglip.load_state_dict(case.part("w.siglip."))
    words = SiglipWords(siglip)
    prompter = prompter_of(case, words.dim, sam.config.prompt_encoder_config.hidden_size)
    return RefSeg(sam, words, prompter, options=AUTHORS).eval()


@torch.no_grad()
def check_refseg_forward(case: Case) -> None:
    model = build(case)
    images = case["in.image_bgr_u8"].flip(-1).permute(0, 3, 1, 2).float()
    agree(images, case["in.inputs"] * (255 if case["in.inputs"].max() <= 1 else 1))
    steps = watched(model)
    seen, said = model.encode_images(images), model.encode_texts(case["in.input_ids"])
    found = model.predict(seen, said)
    activation = found.activation
    assert activation is not None
    side = [int(n) for n in case["out.logits_input_size"].shape[-2:]]
    logits = enlarge(found.logits, side)
    told = {
        "sam_input": steps["sam"],
        "sam_feat": seen.sam,
        "clip_input": steps["words"],
        "clip_feat": seen.visual,
        "clip_last_hidden": seen.visual.flatten(2).transpose(1, 2),
        "text_last_hidden": said.tokens,
        "text_pooler": said.sentence,
        "local_logit": activation.local_logit,
        "local_activation": activation.local_logit.sigmoid(),
        "local_feat": activation.local_feature,
        "local_visual": activation.local_visual,
        "global_logit": activation.global_logit,
        "global_activation": activation.global_logit.sigmoid(),
        "global_feat": activation.global_feature,
        "concat": activation.combined,
        "down_channel": steps["channel"],
        "pos_clip_grid": model._position(seen.visual.shape[-2:])[None],
        "down_channel_pos": steps["spatial"],
        **{f"down_spatial_{i}": steps[f"spatial_{i}"] for i in range(3)},
        "sparse_prompts": found.sparse,
        "dense_mask_input": steps["mask"],
        "dense_embeddings": found.dense,
        "pos_sam_grid": model._position(seen.sam.shape[-2:])[None],
    }
    left = {"clip_normalised", "clip_vision_pooler_unused"}
    between = case.part("mid.")
    assert between.keys() <= told.keys() | left
    for name, expected in between.items():
        if name not in left:
            agree(told[name].expand_as(expected) if name.startswith("pos_") else told[name], expected)
    agree(found.iou, case["out.iou_unused"])
    agree(found.logits, case["out.low_res_logits"])
    agree(logits, case["out.logits_input_size"])
    own = model.restore(found.logits, case["out.logits_ori_0"].shape[-2:])[0]
    agree(own, case["out.logits_ori_0"])
    clear = case["out.logits_ori_0"].abs() > 1e-4
    assert clear.float().mean() > 0.9
    assert torch.equal((own > 0)[clear], case["out.pred_0"].bool()[clear])


@torch.no_grad()
def check_refseg_prompter(case: Case) -> None:
    """The prompter's part of `refseg_forward`."""
    visual = case["mid.clip_feat"]
    prompter = prompter_of(case, visual.shape[1], case["mid.sparse_prompts"].shape[-1]).eval()
    scale, bias = case["w.siglip.logit_scale"].exp(), case["w.siglip.logit_bias"]
    found = activate(visual, case["mid.text_last_hidden"], case["mid.text_pooler"], scale=scale, bias=bias)
    agree(found.local_logit, case["mid.local_logit"])
    agree(found.local_feature, case["mid.local_feat"])
    agree(found.global_logit, case["mid.global_logit"])
    agree(found.combined, case["mid.concat"])
    grid = (visual.shape[-2], visual.shape[-1])
    position = fourier_position(case["w.sam.shared_image_embedding.positional_embedding"], grid)
    agree(position[None].expand_as(case["mid.pos_clip_grid"]), case["mid.pos_clip_grid"])
    x = prompter.down_channel(found.combined)
    agree(x, case["mid.down_channel"])
    x = x + position
    for i in range(2):
        x = prompter.down_spatial[i](x)
        agree(x, case[f"mid.down_spatial_{i}"])
    agree(prompter(found, position), case["mid.sparse_prompts"])
    mask = case["mid.dense_mask_input"]
    agree(mask_prompt(found, (mask.shape[-2], mask.shape[-1])), mask)


def prompter_of(case: Case, dim: int, prompt_dim: int) -> AttnPrompter:
    prompter = AttnPrompter(dim, prompt_dim, norm="batch")
    own = {k.removeprefix("prompter_"): v for k, v in case.part("w.").items() if k.startswith("prompter_")}
    prompter.load_state_dict(own)
    return prompter


def watched(model: RefSeg) -> dict[str, Tensor]:
    """What goes through the parts, filled in by a forward pass."""
    steps: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, given, out=None: steps.__setitem__(name, given[0] if out is None else out)

    model.sam.vision_encoder.patch_embed.register_forward_pre_hook(keep("sam"))
    model.words.model.vision_model.embeddings.patch_embedding.register_forward_pre_hook(keep("words"))
    model.prompter.down_channel.register_forward_hook(keep("channel"))
    model.prompter.down_spatial.register_forward_pre_hook(keep("spatial"))
    for i, block in enumerate(model.prompter.down_spatial):
        block.register_forward_hook(keep(f"spatial_{i}"))
    model.sam.prompt_encoder.mask_embed.register_forward_pre_hook(keep("mask"))
    return steps


def check_refseg_step(case: Case) -> None:
    for mode in ("bn_train", "bn_eval"):
        check_step(case, mode)


def check_step(case: Case, mode: str) -> None:
    model = adapted(case)
    trainable = json.loads((case.folder / "trainable.json").read_text())
    names = {to_authors(name): p for name, p in model.named_parameters() if p.requires_grad}
    assert sorted(names) == sorted(trainable)
    model.train()
    for block in model.prompter.modules():
        if isinstance(block, torch.nn.BatchNorm2d):
            block.train(mode == "bn_train")
    optimizer = torch.optim.AdamW(names.values(), lr=1e-4, weight_decay=0.05)
    agree_step(case, model, f"{mode}.out", "")
    gradients = {name: p.grad.clone() for name, p in names.items() if p.grad is not None}
    expected = case.part(f"{mode}.grad.")
    for name, value in expected.items():
        agree_gradient(gradients[name], value, name)
    told = json.loads((case.folder / "gradients.json").read_text())[mode]["grad_norms"]["per_parameter"]
    assert {name for name in gradients if gradients[name].any()} <= {name for name in told if told[name] is not None}
    for name, norm in told.items():
        found = float(gradients[name].norm()) if name in gradients else 0.0
        assert abs(found - (norm or 0.0)) <= max(5e-3 * (norm or 0.0), 2e-5), (name, found, norm)
    optimizer.step()
    for name, value in case.part(f"{mode}.after.").items():
        moved = expected[name].abs() > STILL if name in expected else torch.ones_like(value, dtype=torch.bool)
        if moved.any():
            agree(names[name].detach()[moved], value[moved], 2e-5)
    state = model.state_dict()
    for name, value in case.part(f"{mode}.running_after.").items():
        agree(state[name.replace("prompter_", "prompter.")], value)
    optimizer.zero_grad()
    agree_step(case, model, f"{mode}.out", "_step2", tolerance=1e-3)  # noise moved some weights by the rate
    for name, value in case.part(f"{mode}.grad_step2.").items():
        gradient = names[name].grad
        assert gradient is not None
        agree(gradient, value, 1e-2)


def agree_step(case: Case, model: RefSeg, prefix: str, suffix: str, *, tolerance: float = 2e-5) -> None:
    """Loss and logits of the case's batch; gradients are in the parameters then."""
    labels = case["in.labels"]
    found = model(case["in.inputs_u8_rgb"].float(), case["in.input_ids"])
    loss = bce(found.logits, labels)
    agree(found.logits.detach(), case[f"{prefix}.low_res_logits{suffix}"], tolerance)
    agree(loss.detach(), case[f"{prefix}.loss{suffix}"])
    loss.backward()


def agree_gradient(found: Tensor, expected: Tensor, name: str) -> None:
    """To 2e-5; small ones to 0.5 % of the tensor's own largest as well, where that is no rounding noise."""
    error, scale = float((found - expected).abs().max()), float(expected.abs().max())
    assert error <= 2e-5 * max(1.0, scale), f"{name}: {error:.1e}"
    assert scale <= STILL or error <= 5e-3 * scale, f"{name}: {error:.1e} of {scale:.1e}"


def adapted(case: Case) -> RefSeg:
    """The model with the case's adapters and their first weights."""
    told: dict[str, Sequence[str]] = json.loads(case.meta["targets"])
    first = case.part("lora.")
    rank = min(next(v.shape for n, v in first.items() if "lora_A" in n))
    lora = Lora(
        rank=rank,
        alpha=rank,
        dropout=0.0,
        sam=told["backbone"],
        vision=told["clip_vision_encoder"],
        text=told["clip_text_encoder"],
    )
    model = build(case)
    adapt(model, lora, fresh_sam=False, learn_calibration=False)
    missing, unknown = model.load_state_dict(from_authors(first), strict=False)
    assert not unknown and not any("lora" in name for name in missing)
    check_names(case, model)
    return model


def check_names(case: Case, model: RefSeg) -> None:
    """The whole state dict under the authors' names and shapes."""
    lines = (case.folder / "names_reference_peft.txt").read_text().splitlines()
    expected = {line.split("\t")[0]: line.split("\t")[1] for line in lines if not line.startswith("#")}
    found = {to_authors(name): str(tuple(value.shape)) for name, value in model.state_dict().items()}
    assert found == expected
