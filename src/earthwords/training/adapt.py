"""Which weights of a CLIP learn: all, the last groups of a tower, or low-rank additions (LoRA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from earthwords.errors import UsageError
from earthwords.models.clip.model import ClipBackbone

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
CLIP_LORA: dict[str, Any] = {"targets": LORA_TARGETS[:3], "alpha": 1, "by_root": True, "dropout": 0.25}
"""Beside queries, keys and values alone, scaled by 1 / sqrt(rank), with dropout before the additions
(https://arxiv.org/abs/2405.18541, https://github.com/MaxZanella/CLIP-LoRA; its rank is 2)."""
LORA_FORMS: dict[str, dict[str, Any]] = {"plain": {}, "clip-lora": CLIP_LORA}
"""How low-rank additions are made: further arguments of `add_lora`."""


def lock(backbone: ClipBackbone, tower: str, *, unlocked_groups: int = 0) -> None:
    """Freeze a tower but for its last groups, counted as open_clip does for `--lock-image-unlocked-groups`.

    The groups are the embeddings with the first norm, every block (the last one with the final norm), and the
    projection (https://github.com/mlfoundations/open_clip).

    Args:
        tower: `image` or `text`.

    Raises:
        UsageError: more groups than there are.
    """
    groups = _groups(backbone, tower)
    if not 0 <= unlocked_groups <= len(groups):
        raise UsageError(f"The {tower} tower has {len(groups)} groups; {unlocked_groups} cannot be left unlocked.")
    for modules in groups[: len(groups) - unlocked_groups]:
        for module in modules:
            module.requires_grad_(False)


def add_lora(
    backbone: ClipBackbone,
    *,
    rank: int,
    targets: Sequence[str] = LORA_TARGETS,
    alpha: float | None = None,
    by_root: bool = False,
    dropout: float = 0.0,
    seed: int = 0,
) -> None:
    """Freeze everything and add low-rank matrices beside the linear layers `targets` of both towers.

    By peft, in place (https://arxiv.org/abs/2106.09685); `merge_lora` takes them away again.

    Args:
        alpha: the additions are multiplied by alpha / rank; None: by 2.
        by_root: by alpha / sqrt(rank) instead.
        dropout: of what enters the additions, while training.

    Raises:
        UsageError: no layer has such a name.
    """
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(seed)
    linear = {name.rpartition(".")[2] for name, m in backbone.model.named_modules() if isinstance(m, nn.Linear)}
    wrong = [name for name in targets if name not in linear]
    if wrong:
        raise UsageError(f"No layer is called {wrong[0]!r}; LoRA goes beside {', '.join(sorted(linear))}.")
    scale: Any = 2 * rank if alpha is None else alpha
    config = LoraConfig(
        r=rank, lora_alpha=scale, use_rslora=by_root, target_modules=list(targets), lora_dropout=dropout
    )
    backbone.model.requires_grad_(False)
    inject_adapter_in_model(config, backbone.model)
    backbone.train(backbone.training)  # new modules begin in training, where dropout acts


def merge_lora(backbone: ClipBackbone) -> None:
    """Add what LoRA learned to the layers, and take its matrices away, so that names are as before."""
    from peft.tuners.lora import LoraLayer

    for module in list(backbone.model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LoraLayer):
                child.merge()
                setattr(module, name, child.get_base_layer())
    backbone.model.requires_grad_(True)
    if hasattr(backbone.model, "peft_config"):
        del backbone.model.peft_config


def _groups(backbone: ClipBackbone, tower: str) -> list[list[nn.Module]]:
    model = backbone.model
    if tower == "image":
        image = model.vision_model
        first: list[nn.Module] = [image.embeddings, image.pre_layrnorm]
        layers, last, projection = list(image.encoder.layers), image.post_layernorm, model.visual_projection
    else:
        text = model.text_model
        first = [text.embeddings]
        layers, last, projection = list(text.encoder.layers), text.final_layer_norm, model.text_projection
    return [first, *([layer] for layer in layers[:-1]), [layers[-1], last], [projection]]


def adapt_towers(
    backbone: ClipBackbone,
    locks: dict[str, tuple[bool, int]],
    *,
    lora_rank: int,
    siglip: bool,
    seed: int,
    lora_form: str = "plain",
) -> dict[str, str]:
    """Freeze, add and prepare what the options of a training ask for; gives what a resumed run must have in common.

    Raises:
        UsageError: options that contradict each other.
    """
    backbone.check_clip("`train clip`")
    for tower, (locked, groups) in locks.items():
        if groups and not locked:
            raise UsageError(f"--lock-{tower}-unlocked-groups needs --lock-{tower}.")
        if locked:
            lock(backbone, tower, unlocked_groups=groups)
    if lora_rank:
        if any(locked for locked, _ in locks.values()):
            raise UsageError("--lora-rank freezes both towers already; leave --lock-image and --lock-text out.")
        add_lora(backbone, rank=lora_rank, seed=seed, **LORA_FORMS[lora_form])
    elif lora_form != "plain":
        raise UsageError("--lora-form says how the additions of --lora-rank are made: give that too, such as 2.")
    if siglip:
        backbone.logit_bias = torch.nn.Parameter(torch.tensor(-10.0, device=backbone.device))
    form = {} if lora_form == "plain" else {"lora_form": lora_form}
    return {"locks": str(locks), "lora_rank": str(lora_rank), **form}
