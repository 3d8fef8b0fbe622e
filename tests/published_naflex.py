"""SigLIP 2 for images of any shape (NaFlex), small, as it lies on the hub: `model_type` siglip2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import Siglip2Config, Siglip2Model

from tests.published import gemma, spread
from tests.referring import _TOWER


def write_naflex(folder: Path) -> Siglip2Model:
    """Patches of 16 and 4 x 4 places; its tokenizer lowers the case by its own class."""
    folder.mkdir(parents=True)
    vision = {**_TOWER, "patch_size": 16, "num_patches": 16}
    text = {**_TOWER, "vocab_size": gemma().get_vocab_size(), "max_position_embeddings": 64}
    model = spread(Siglip2Model(Siglip2Config(vision_config=vision, text_config=text)))
    table: dict[str, Any] = {"architectures": ["Siglip2Model"], "model_type": "siglip2", "torch_dtype": "float32"}
    table |= {"text_config": {**text, "model_type": "siglip2_text_model"}}
    table |= {"vision_config": {**vision, "model_type": "siglip2_vision_model"}}
    (folder / "config.json").write_text(json.dumps(table))
    state = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    picture = {"image_processor_type": "Siglip2ImageProcessorFast", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({**picture, "max_num_patches": 256, "patch_size": 16}))
    gemma().save(str(folder / "tokenizer.json"))
    marks = {"eos_token": "<eos>", "pad_token": "<pad>", "bos_token": "<bos>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **marks}))
    (folder / "README.md").write_bytes(b"not for us")
    return model
