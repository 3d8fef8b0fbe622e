"""Lists of described images, and toy models that sentences point with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, Sam2Config, Sam2Model, SamConfig, SamModel, SiglipConfig, SiglipModel

from earthwords.refer_presets import REFSEG_TINY, RSREFSEG2, RSREFSEG_B, ReferPreset

COLOURS = {"red": (220, 40, 30), "blue": (40, 50, 220)}
WORDS = ("the", "red", "blue", "roof", "both", "roofs", "a", "left", "right")


def write_list(folder: Path, *, images: int = 5, size: tuple[int, int] = (50, 70), seed: int = 0) -> Path:
    """Grey noise with a red roof (object 1) in the left half and a blue one (object 300) in the right half."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(images):
        image = rng.integers(80, 120, (*size, 3), dtype=np.uint8)
        mask = np.zeros(size, np.uint16)
        for half, (number, colour) in enumerate(zip((1, 300), COLOURS.values(), strict=True)):
            row = int(rng.integers(0, size[0] - 18))
            col = int(rng.integers(0, size[1] // 2 - 20)) + half * (size[1] // 2)
            image[row : row + 16, col : col + 18] = colour
            mask[row : row + 16, col : col + 18] = number
        Image.fromarray(image).save(folder / f"{i}.png")
        Image.fromarray(mask).save(folder / f"{i}-objects.png")
        said = [{"text": "the red roof", "id": 1}, {"text": "the blue roof", "id": 300}]
        said += [{"text": "both roofs", "ids": [1, 300]}]
        lines.append({"image": f"{i}.png", "mask": f"{i}-objects.png", "expressions": said})
    path = folder / "list.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


def micro_preset(micro: Path) -> ReferPreset:
    """RSRefSeg's layout at toy size, on the toy CLIP."""
    return replace(REFSEG_TINY, name="refseg-tiny", architecture="refseg-micro", words=str(micro), lora_rank=2)


SIDES = {"sam": 64, "siglip": 42}
_SAM = {
    "vision_config": {
        "image_size": 64, "patch_size": 16, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "output_channels": 32, "num_pos_feats": 16, "window_size": 3, "global_attn_indexes": [1], "mlp_dim": 64,
        "initializer_range": 0.02,
    },
    "prompt_encoder_config": {"image_size": 64, "patch_size": 16, "hidden_size": 32},
    "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32},
}  # fmt: skip
_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_SIGLIP = {
    "vision_config": {**_TOWER, "image_size": 42, "patch_size": 14},
    "text_config": {**_TOWER, "vocab_size": 32, "max_position_embeddings": 8, "eos_token_id": 1, "pad_token_id": 1},
}


def toy_row() -> dict[str, object]:
    """The architecture of `write_bases`, for `models.architectures.REFERRERS`."""
    return {"sam": _SAM, "siglip": _SIGLIP}


def write_bases(folder: Path, *, seed: int = 3) -> ReferPreset:
    """SAM and SigLIP at toy size with random weights, as folders of transformers; a preset that begins from them."""
    torch.manual_seed(seed)
    sam, siglip = SamModel(SamConfig(**_SAM)), SiglipModel(SiglipConfig(**_SIGLIP))
    with torch.no_grad():
        for parameter in (*sam.parameters(), *siglip.parameters()):
            parameter.add_(0.1 * torch.randn_like(parameter))
    sam.save_pretrained(folder / "sam")
    siglip.save_pretrained(folder / "siglip")
    write_tokenizer(folder / "siglip", WORDS)
    paths = {"segmenter": str(folder / "sam"), "words": str(folder / "siglip")}
    return replace(RSREFSEG_B, architecture="rsrefseg-b", lora_rank=2, lora_alpha=2, **paths)


_SAM2 = {
    "vision_config": {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model", "hidden_size": 16, "num_attention_heads": 1,
            "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [16, 32, 64, 128], "image_size": [128, 128],
            "num_attention_heads_per_stage": [1, 2, 4, 8], "window_size_per_stage": [4, 2, 4, 2],
            "global_attention_blocks": [3], "window_positional_embedding_background_size": [3, 3],
        },
        "backbone_channel_list": [128, 64, 32, 16], "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
    },
    "prompt_encoder_config": {"image_size": 128, "hidden_size": 32},
    "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32},
}  # fmt: skip


def write_bases2(folder: Path, *, seed: int = 3) -> ReferPreset:
    """As `write_bases`, for RSRefSeg 2: SAM 2 with the memory that its published files have."""
    first = write_bases(folder, seed=seed)
    model = Sam2Model(Sam2Config(**_SAM2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder / "sam2")
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file({**state, "memory_attention.layers.0.bias": torch.zeros(3)}, folder / "sam2" / "model.safetensors")
    row = replace(RSREFSEG2, segmenter=str(folder / "sam2"), words=first.words, lora_rank=2, lora_alpha=2)
    return replace(row, name="rsrefseg2")


def write_tokenizer(folder: Path, words: Sequence[str]) -> None:
    """A word a token, an end token behind; anything else is unknown."""
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {word: i + 3 for i, word in enumerate(words)}
    own = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    own.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=own, eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
