"""MetaCLIP 2, small, as it lies on the hub: `model_type` metaclip_2 and XLM-RoBERTa's kind of tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import MetaClip2Config, MetaClip2Model, XLMRobertaTokenizer

from tests.published import spread

_TOWER = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
PIECES = ("▁", "▁road", "▁red", "▁roof", "▁the", "▁a", "▁道路", "道", "路", "▁屋顶", "水", "体", "草", "地")
PIECES += tuple("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!")


def tokenizer() -> XLMRobertaTokenizer:
    """Long pieces are likelier than letters; `<s>`, `<pad>`, `</s>`, `<unk>` are 0 to 3."""
    marks = [(mark, 0.0) for mark in ("<s>", "<pad>", "</s>", "<unk>")]
    return XLMRobertaTokenizer(vocab=[*marks, *((piece, len(piece) - 12.0) for piece in PIECES), ("<mask>", 0.0)])


def write_metaclip2(folder: Path) -> MetaClip2Model:
    """Texts are read at their first token 2, `</s>`; QuickGELU."""
    folder.mkdir(parents=True)
    own = tokenizer()
    text = {**_TOWER, "vocab_size": len(own) + 3, "max_position_embeddings": 24, "hidden_act": "quick_gelu"}
    text |= {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "projection_dim": 16}
    vision = {**_TOWER, "patch_size": 16, "image_size": 64, "hidden_act": "quick_gelu", "projection_dim": 16}
    config = MetaClip2Config(text_config=text, vision_config=vision, projection_dim=16)
    model = spread(MetaClip2Model(config))
    table: dict[str, Any] = {"architectures": ["MetaClip2Model"], "model_type": "metaclip_2", "projection_dim": 16}
    table |= {"text_config": {**text, "model_type": "metaclip_2_text_model"}}
    table |= {"vision_config": {**vision, "model_type": "metaclip_2_vision_model"}, "logit_scale_init_value": 2.6592}
    (folder / "config.json").write_text(json.dumps(table))
    state = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    means = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "CLIPImageProcessor", **means})
    )
    own.save_pretrained(folder)
    (folder / "README.md").write_bytes(b"not for us")
    return model
