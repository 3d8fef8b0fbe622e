"""What of an RSRefSeg learns: low-rank additions to the towers (LoRA, by peft), the prompter, SAM's prompts and masks.

The targets are those of https://github.com/KyanChen/RSRefSeg (rank 16, scale 1, dropout 0.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from earthwords.models.clip.towers import ClipBlock
from earthwords.models.refseg.model import RefSeg

SAM_TARGETS = ("qkv", "proj", "lin1", "lin2", "neck.conv1", "neck.conv2")
VISION_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
"""By the end of a name: SigLIP's pooling head has an `out_proj` too, which learns nothing."""
SAM2_TARGETS = r"backbone\.blocks\.\d+\.attn\.(qkv|proj)|neck\.convs\.\d+"
VISION2_TARGETS = (*VISION_TARGETS, "fc1", "fc2")
TEXT_TARGETS = r".*encoder\.layers\.\d+\.self_attn\.(q|k|v|out)_proj|head"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank additions to the three towers; a name ends with a target, or matches it when it is one string."""

    rank: int = 16
    alpha: int = 16
    dropout: float = 0.1
    sam: Sequence[str] | str = SAM_TARGETS
    vision: Sequence[str] | str = VISION_TARGETS
    text: Sequence[str] | str = TEXT_TARGETS


def adapt(model: RefSeg, lora: Lora, *, fresh_sam: bool, learn_calibration: bool) -> None:
    """Freeze the towers and add adapters, in place.

    Args:
        fresh_sam: SAM was not trained before: all of it learns, without adapters.
        learn_calibration: the scale and the bias of cosines learn too (RSRefSeg 2).
    """
    model.requires_grad_(False)
    towers = [(model.words.vision, lora.vision), (model.words.text, lora.text)]
    if not fresh_sam:
        towers.append((model.sam.vision_encoder, lora.sam))
    for tower, targets in towers:
        if lora.rank:
            _inject(tower, lora, targets)
    learning = [model.prompter, model.sam.prompt_encoder, model.sam.mask_decoder]
    learning += [model.sam.vision_encoder] if fresh_sam else []
    learning += [module for module in (model.speaker, model.fusion) if module is not None]
    for module in learning:
        module.requires_grad_(True)
    for embedding in (model.sam.shared_image_embedding, model.sam.prompt_encoder.shared_embedding):
        embedding.requires_grad_(False)
    for parameter in model.words.calibrators():
        parameter.requires_grad_(learn_calibration)


def _inject(tower: nn.Module, lora: Lora, targets: Sequence[str] | str) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        bias="none",
    )
    inject_adapter_in_model(config, tower)


def learned_names(model: RefSeg, *, fresh_sam: bool) -> frozenset[str]:
    """Names in the state dict that training changes, or that come from nowhere else."""
    names = {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter.requires_grad}
    for path, module in model.named_modules():
        if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
            names |= {f"{path}.{name}" for name, _ in module.named_buffers(recurse=False)}
    if fresh_sam:
        names.add("sam.shared_image_embedding.positional_embedding")
    return frozenset(names & model.state_dict().keys())


def checkpoint_gradients(model: RefSeg) -> None:
    """Compute the insides of the towers' blocks again for the gradient, instead of keeping them."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    again = partial(checkpoint, use_reentrant=False)
    for tower in (model.sam.vision_encoder, model.words.vision, model.words.text):
        for block in tower.modules():
            if isinstance(block, GradientCheckpointingLayer):
                block.gradient_checkpointing = True
                block._gradient_checkpointing_func = again
            elif isinstance(block, ClipBlock):
                block.forward = partial(again, block.forward)  # type: ignore[method-assign]
