"""Small models under the file names, classes and keys that the published ones have on the hub.

Known, from records of their users in public repositories: the names and hashes of OpenAI's files (`pytorch_model.bin`
for B/32 and B/16, `model.safetensors` for L/14), of RemoteCLIP's, GeoRSCLIP's, FarSLIP's and SkyCLIP's, `spiece.model`
in SigLIP's folder. From transformers' sources: the legacy `eos_token_id` 2 of CLIPs, `SiglipTokenizer`, the classes in
whose names SigLIP 2 comes with Gemma's tokenizer. Recalled, not looked up: which further files lie beside them, what
`tokenizer_config.json` says besides the class, that SAM 2.1's configuration calls itself `sam2_video`.
"""

from __future__ import annotations

import json
import struct
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    Sam2Config,
    Sam2Model,
    SamConfig,
    SamModel,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTModel,
)

from earthwords.text.tokenizer import ClipTokenizer
from tests.models.layouts import openai_state
from tests.referring import _SAM, _SAM2, _TOWER

_CLIP_TOWER = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1}
_LEGACY = {
    "_name_or_path": "",
    "add_cross_attention": False,
    "architectures": None,
    "bad_words_ids": None,
    "chunk_size_feed_forward": 0,
    "cross_attention_hidden_size": None,
    "decoder_start_token_id": None,
    "diversity_penalty": 0.0,
    "do_sample": False,
    "early_stopping": False,
    "finetuning_task": None,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "is_decoder": False,
    "is_encoder_decoder": False,
    "length_penalty": 1.0,
    "max_length": 20,
    "num_beams": 1,
    "num_return_sequences": 1,
    "output_scores": False,
    "prefix": None,
    "problem_type": None,
    "pruned_heads": {},
    "return_dict": True,
    "temperature": 1.0,
    "tie_encoder_decoder": False,
    "tie_word_embeddings": True,
    "tokenizer_class": None,
    "top_k": 50,
    "top_p": 1.0,
    "torch_dtype": None,
    "torchscript": False,
    "transformers_version": "4.16.0.dev0",
    "use_bfloat16": False,
}
"""What configurations of 2022 hold besides what counts."""
TOKENS = {"eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1}
"""As OpenAI's `text_config` has them; the tokens are 49,407, 49,406 and 0."""


def clip(*, patch: int = 16, positions: int = 77) -> CLIPModel:
    """A small CLIP with OpenAI's vocabulary and random weights."""
    torch.manual_seed(patch)
    text = {**_CLIP_TOWER, "vocab_size": 49408, "max_position_embeddings": positions, "eos_token_id": 49407}
    vision = {**_CLIP_TOWER, "patch_size": patch, "image_size": 4 * patch}
    return spread(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)))


def spread(model: Any) -> Any:
    """Nothing is zero or one, so that all that is lost shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def write_clip(folder: Path, model: CLIPModel, *, weights: str) -> None:
    """OpenAI's CLIPs and MetaCLIP in transformers' layout."""
    folder.mkdir(parents=True)
    towers: dict[str, Any] = {}
    for tower in ("text", "vision"):
        own = getattr(model.config, f"{tower}_config")
        names = (*_CLIP_TOWER, "hidden_act", "projection_dim", "layer_norm_eps")
        sizes = {name: getattr(own, name) for name in names}
        sizes |= (
            {"vocab_size": 49408, "max_position_embeddings": own.max_position_embeddings} if tower == "text" else {}
        )
        sizes |= {"patch_size": own.patch_size, "image_size": own.image_size} if tower == "vision" else {}
        ids = TOKENS if tower == "text" else dict.fromkeys(TOKENS)
        towers[f"{tower}_config"] = {**_LEGACY, **sizes, **ids, "model_type": f"clip_{tower}_model"}
        towers[f"{tower}_config_dict"] = sizes
    table = {"architectures": ["CLIPModel"], "model_type": "clip", "initializer_factor": 1.0, "torch_dtype": "float32"}
    table |= {"projection_dim": 16, "logit_scale_init_value": 2.6592, "transformers_version": None}
    _json(folder / "config.json", {**table, **towers})
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["text_model.embeddings.position_ids"] = torch.arange(77).expand(1, -1).clone()
    state["vision_model.embeddings.position_ids"] = torch.arange(17).expand(1, -1).clone()
    _weights(folder / weights, state)
    tokenizer = ClipTokenizer.openai()
    tokenizer.save(folder)
    tokenizer._bpe.save(str(folder / "tokenizer.json"))
    marks = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    _json(folder / "special_tokens_map.json", {name: _mark(text) for name, text in marks.items()})
    settings = {"tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "model_max_length": 77}
    _json(folder / "tokenizer_config.json", {**settings, **marks, "name_or_path": "./clip_ViT_B_32/"})
    picture = {"feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 224, "size": 224, "resample": 3}
    means = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    _json(folder / "preprocessor_config.json", {**picture, **means, "do_normalize": True})
    _others(folder, "README.md", "flax_model.msgpack", "tf_model.h5", ".gitattributes")


def write_openai(path: Path, model: CLIPModel, *, training: bool = False, long: bool = False) -> None:
    """A state dict of open_clip, alone or as its training writes it; `long`: Long-CLIP's two tables of positions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state: dict[str, Tensor] = OrderedDict(openai_state(model))
    if long:  # the first 20 count in one, the others in the other
        whole = state["positional_embedding"]
        state["positional_embedding"], state["positional_embedding_res"] = whole.clone(), whole.clone()
        state["positional_embedding"][20:] = 9.0
        state["positional_embedding_res"][:20] = -9.0
    if training:
        named = {f"module.{name}": value for name, value in state.items()}
        optimizer = {"state": {0: {"step": 3.0, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-9}]}
        torch.save({"epoch": 20, "name": "run", "state_dict": named, "optimizer": optimizer}, path)
    else:
        torch.save(state, path)


PIECES = [*("<pad>", "</s>", "<unk>"), *(f"▁{word}" for word in ("the", "red", "roof", "left", "of", "lake", "a"))]
PIECES += ["▁", *"abcdefghijklmnopqrstuvwxyz0123456789", "▁ro", "of", "la", "ke"]


def spiece(pieces: Iterable[str] = PIECES, *, end: int = 1, unknown: int = 2) -> bytes:
    """A unigram model as SentencePiece writes it; long pieces are likelier than letters."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2]) + _varint(len(data)) + data

    def piece(i: int, text: str) -> bytes:
        kind = 2 if i == unknown else 3 if i <= 2 else 1
        return field(1, text.encode()) + b"\x15" + struct.pack("<f", -10.0 + len(text)) + bytes([3 << 3, kind])

    body = b"".join(field(1, piece(i, text)) for i, text in enumerate(pieces))
    trainer = bytes([3 << 3, 1]) + b"\xc0\x02" + _varint(unknown) + b"\xd0\x02" + _varint(end)
    return body + field(2, trainer) + field(3, field(1, b"identity"))


def gemma() -> Tokenizer:
    """Gemma's tokenizer in little: no space before the first word, pieces for capitals, bytes for all else."""
    letters = [*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,'!", "▁"]
    merges = [("r", "o"), ("o", "f"), ("ro", "of"), ("▁", "l"), ("T", "h"), ("t", "h"), ("th", "e"), ("▁", "r")]
    vocabulary = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{i:02X}>" for i in range(256)), *letters]
    vocabulary += [a + b for a, b in merges]
    table = {piece: i for i, piece in enumerate(vocabulary)}
    own = Tokenizer(BPE(table, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    own.normalizer = normalizers.Replace(" ", "▁")
    own.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    own.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    own.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    own.add_special_tokens(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])
    return own


def write_siglip(folder: Path, *, second: bool = False) -> SiglipModel:
    """SigLIP, or SigLIP 2, whose configurations name no tokens at all."""
    folder.mkdir(parents=True)
    tokens = gemma().get_vocab_size() if second else len(PIECES)
    vision = {**_TOWER, "image_size": 32 if second else 42, "patch_size": 16 if second else 14}
    text = {**_TOWER, "vocab_size": tokens, "max_position_embeddings": 64}
    model = spread(SiglipModel(SiglipConfig(vision_config=vision, text_config=text)))
    table: dict[str, Any] = {"architectures": ["SiglipModel"], "initializer_factor": 1.0, "model_type": "siglip"}
    table |= {"text_config": {**text, "model_type": "siglip_text_model"}, "torch_dtype": "float32"}
    table |= {"vision_config": {**vision, "model_type": "siglip_vision_model"}, "transformers_version": "4.37.0.dev0"}
    _json(folder / "config.json", table)
    _weights(folder / "model.safetensors", model.state_dict())
    picture = {"image_processor_type": "SiglipImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    _json(folder / "preprocessor_config.json", {**picture, "processor_class": "SiglipProcessor"})
    if second:
        gemma().save(str(folder / "tokenizer.json"))
        (folder / "tokenizer.model").write_bytes(b"Gemma's pieces, which nothing here reads")
        marks = {"eos_token": "<eos>", "pad_token": "<pad>", "bos_token": "<bos>", "unk_token": "<unk>"}
        settings = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True}
    else:
        (folder / "spiece.model").write_bytes(spiece())
        marks = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
        settings = {"tokenizer_class": "SiglipTokenizer", "do_lower_case": True, "model_max_length": 64}
    _json(folder / "special_tokens_map.json", {name: _mark(text) for name, text in marks.items()})
    added = {str(i): {**_mark(text), "special": True} for i, text in enumerate(("<pad>", "</s>"))}
    _json(folder / "tokenizer_config.json", {**settings, **marks, "added_tokens_decoder": added})
    _others(folder, "README.md", ".gitattributes")
    return model


def write_sam(folder: Path) -> SamModel:
    """SAM with a vision configuration of 2023."""
    folder.mkdir(parents=True)
    model = spread(SamModel(SamConfig(**_SAM)))
    table: dict[str, Any] = {"architectures": ["SamModel"], "model_type": "sam", "torch_dtype": "float32"}
    for part in ("vision_config", "prompt_encoder_config", "mask_decoder_config"):
        table[part] = {**_LEGACY, **_SAM[part], "model_type": ""}  # type: ignore[dict-item]
    table["vision_config"] |= {"projection_dim": 512, "num_pos_feats": 16, "attention_dropout": 0.0}
    _json(folder / "config.json", table)
    state = dict(model.state_dict())
    _weights(folder / "model.safetensors", state)
    _weights(folder / "pytorch_model.bin", state)
    picture = {"image_processor_type": "SamImageProcessor", "size": {"longest_edge": 1024}}
    _json(folder / "preprocessor_config.json", {**picture, "processor_class": "SamProcessor"})
    _others(folder, "README.md", "tf_model.h5", ".gitattributes")
    return model


def write_sam2(folder: Path) -> Sam2Model:
    """SAM 2.1 with the memory for videos; the prompts' table of positions is not stored twice."""
    folder.mkdir(parents=True)
    model = spread(Sam2Model(Sam2Config(**_SAM2)))
    with torch.no_grad():
        positions = model.shared_image_embedding.positional_embedding
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(positions)
    table = {"architectures": ["Sam2VideoModel"], "model_type": "sam2_video", "torch_dtype": "float32"}
    table |= {
        "num_maskmem": 7,
        "memory_attention_hidden_size": 256,
        "enable_temporal_pos_encoding_for_object_pointers": True,
    }
    _json(folder / "config.json", {**table, **Sam2Config(**_SAM2).to_dict(), **table})
    state = {name: value for name, value in model.state_dict().items() if "prompt_encoder.shared_embedding" not in name}
    memory = {"memory_attention.layers.0.linear1.bias": torch.zeros(3), "no_object_pointer": torch.zeros(1, 4)}
    _weights(folder / "model.safetensors", {**state, **memory})
    _json(folder / "preprocessor_config.json", {"image_processor_type": "Sam2ImageProcessorFast"})
    _json(folder / "video_preprocessor_config.json", {"video_processor_type": "Sam2VideoVideoProcessor"})
    _json(folder / "processor_config.json", {"processor_class": "Sam2VideoProcessor"})
    _others(folder, "README.md", "sam2.1_hiera_large.pt", "sam2.1_hiera_l.yaml", ".gitattributes")
    return model


_VIT = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "qkv_bias": True, "hidden_act": "gelu"}
_ATTENTION = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value"}


def write_dino(folder: Path, *, second: bool = False, layers: int = 2) -> ViTModel | Dinov2Model:
    """DINO, or DINOv2, whose parts are named as transformers named them first."""
    folder.mkdir(parents=True)
    model: ViTModel | Dinov2Model
    sizes = {**_VIT, "num_hidden_layers": layers}
    if second:
        table: dict[str, Any] = {**sizes, "patch_size": 14, "image_size": 70, "mlp_ratio": 2, "model_type": "dinov2"}
        model = spread(Dinov2Model(Dinov2Config(**table)))
    else:
        table = {**sizes, "patch_size": 16, "image_size": 64, "intermediate_size": 48, "model_type": "vit"}
        model = spread(ViTModel(ViTConfig(**table), add_pooling_layer=False))
    table |= {"architectures": [type(model).__name__], "torch_dtype": "float32", "transformers_version": "4.11.0.dev0"}
    _json(folder / "config.json", {**table, "initializer_range": 0.02, "layer_norm_eps": 1e-6 if second else 1e-12})
    model.config.layer_norm_eps = 1e-6 if second else 1e-12
    state = {_first_name(name, second=second): value for name, value in model.state_dict().items()}
    _weights(folder / ("model.safetensors" if second else "pytorch_model.bin"), state)
    picture = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "do_normalize": True}
    _json(folder / "preprocessor_config.json", {**picture, "crop_size": {"height": 224, "width": 224}})
    _others(folder, "README.md", ".gitattributes")
    return model


def write_dinov3(folder: Path, *, layers: int = 4) -> DINOv3ViTModel:
    """DINOv3 of satellite images: four registers, blocks named `layer.0` on, colours of its own."""
    folder.mkdir(parents=True)
    sizes = {name: value for name, value in _VIT.items() if name != "qkv_bias"}
    table: dict[str, Any] = {**sizes, "num_hidden_layers": layers, "patch_size": 16, "image_size": 64}
    table |= {"intermediate_size": 48, "num_register_tokens": 4, "num_attention_heads": 3, "hidden_size": 24}
    model = spread(DINOv3ViTModel(DINOv3ViTConfig(**table)))
    table |= {"architectures": ["DINOv3ViTModel"], "model_type": "dinov3_vit", "pos_embed_rescale": 2.0}
    _json(folder / "config.json", table)
    state = {name.removeprefix("model."): value for name, value in model.state_dict().items()}
    _weights(folder / "model.safetensors", state)
    picture = {"image_mean": [0.43, 0.411, 0.296], "image_std": [0.213, 0.156, 0.143], "do_normalize": True}
    _json(folder / "preprocessor_config.json", picture)
    _others(folder, "README.md", "LICENSE.md", ".gitattributes")
    return model


def _first_name(name: str, *, second: bool) -> str:
    name = name if second or name.startswith("encoder.") else name.replace("layers.", "encoder.layer.")
    for new, first in {**_ATTENTION, "o_proj": "output.dense"}.items():
        name = name.replace(f".attention.{new}.", f".attention.{first}.")
    return name if second else name.replace(".mlp.fc1.", ".intermediate.dense.").replace(".mlp.fc2.", ".output.dense.")


_AUTHORS = {
    "vision_encoder.": "image_encoder.",
    "vision_encoder.layers.": "image_encoder.blocks.",
    ".projection.": ".proj.",
    "neck.conv1": "neck.0",
    "neck.layer_norm1": "neck.1",
    "neck.conv2": "neck.2",
    "neck.layer_norm2": "neck.3",
    "layer_norm_final_attn": "norm_final_attn",
    "mask_embed.conv1": "mask_downscaling.0",
    "mask_embed.layer_norm1": "mask_downscaling.1",
    "mask_embed.conv2": "mask_downscaling.3",
    "mask_embed.layer_norm2": "mask_downscaling.4",
    "mask_embed.conv3": "mask_downscaling.6",
    "point_embed.": "point_embeddings.",
    "upscale_conv1": "output_upscaling.0",
    "upscale_layer_norm": "output_upscaling.1",
    "upscale_conv2": "output_upscaling.3",
    ".layer_norm": ".norm",
    "mlps.0.layers.0": "mlps.0.layers.1",
    "mlps.1.layers.0": "mlps.1.layers.1",
    "mlps.2.layers.0": "mlps.2.layers.1",
    "mlps.3.layers.0": "mlps.3.layers.1",
    "head.layers.0": "head.layers.1",
    "proj_in": "layers.0",
    "proj_out": "layers.2",
    "shared_image_embedding.positional_embedding": "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
}
"""Parts of SAM's names in transformers as its authors have them, the longer ones first."""


def write_sam_of_authors(path: Path, model: SamModel) -> None:
    """`sam_vit_b_01ec64.pth`: tensors under the authors' names, and nothing else."""
    state = {}
    for name, value in model.state_dict().items():
        for ours in sorted(_AUTHORS, key=len, reverse=True):
            name = name.replace(ours, _AUTHORS[ours])
        if "shared_embedding" not in name:
            state[name] = value.clone()
    torch.save(OrderedDict(state), path)


_AUTHORS2 = {
    "no_memory_embedding": "no_mem_embed",
    "shared_image_embedding.positional_embedding": "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    "vision_encoder.backbone.": "image_encoder.trunk.",
    "vision_encoder.neck.": "image_encoder.neck.",
    "prompt_encoder.": "sam_prompt_encoder.",
    "mask_decoder.": "sam_mask_decoder.",
    "mlp.proj_in": "mlp.layers.0",
    "mlp.proj_out": "mlp.layers.1",
    ".o_proj.": ".out_proj.",
    "mask_embed.conv3.": "mask_downscaling.6.",
}
"""The same of SAM 2, where it differs."""


def names_of_sam2_authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of `Sam2Model` under the authors' names: the points have a tensor each."""
    found, names = {}, {**_AUTHORS, **_AUTHORS2}
    for name in ("vision_encoder.", "vision_encoder.layers.", "point_embed."):
        names.pop(name)
    for name, value in state.items():
        if name == "prompt_encoder.point_embed.weight":
            found |= {f"sam_prompt_encoder.point_embeddings.{i}.weight": row for i, row in enumerate(value.split(1))}
        elif "shared_embedding" not in name:
            for ours in sorted(names, key=len, reverse=True):
                name = name.replace(ours, names[ours])
            parts = name.split(".")
            found[".".join([*parts[:4], "conv", *parts[4:]]) if "neck.convs" in name else name] = value
    return found


def write_sam2_of_authors(path: Path, model: Sam2Model) -> None:
    """`sam2.1_hiera_tiny.pt`: tensors under the authors' names as "model", with the memory for videos."""
    memory = {"memory_attention.layers.0.linear1.bias": torch.zeros(3), "no_obj_ptr": torch.zeros(1, 4)}
    state = {name: value.clone() for name, value in names_of_sam2_authors(model.state_dict()).items()}
    torch.save({"model": OrderedDict(state | memory)}, path)


def write_lightning(path: Path, state: dict[str, Tensor]) -> None:
    """As Lightning writes the training of an upsampler."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = {"epoch": 0, "global_step": 2000, "pytorch-lightning_version": "2.0.9", "loops": {"fit_loop": {}}}
    beside |= {"callbacks": {"ModelCheckpoint{'every_n_train_steps': 0}": {"best_model_score": None}}}
    named = OrderedDict((f"upsampler.{name}", value) for name, value in state.items())
    torch.save({**beside, "state_dict": named, "optimizer_states": [], "lr_schedulers": []}, path)


def _weights(path: Path, state: dict[str, Tensor]) -> None:
    whole = {name: value.detach().clone().contiguous() for name, value in state.items()}
    if path.suffix == ".safetensors":
        save_file(whole, path, metadata={"format": "pt"})
    else:
        torch.save(OrderedDict(whole), path)


def _others(folder: Path, *names: str) -> None:
    """Files that nobody should fetch."""
    for name in names:
        (folder / name).write_bytes(b"not for us")


def _mark(text: str) -> dict[str, object]:
    return {"content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}


def _json(path: Path, table: object) -> None:
    path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
