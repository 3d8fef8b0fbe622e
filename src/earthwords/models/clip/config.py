"""The settings of a CLIP, with the names, the defaults and the file of transformers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from earthwords.files.reading import read_json

CONFIG = "config.json"
_NUMBERS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}
Settings = TypeVar("Settings", bound="TowerConfig")


@dataclass(kw_only=True)
class TowerConfig:
    """What both towers have."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int = 12
    num_attention_heads: int
    hidden_act: str = "quick_gelu"
    """A name of `models.clip.towers.ACTIVATIONS`."""
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            kinds = _NUMBERS.get(str(each.type))
            if kinds is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
                raise ValueError(f"{each.name} is {value!r}, expected {each.type}")
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of {self.num_attention_heads} heads")


@dataclass(kw_only=True)
class VisionConfig(TowerConfig):
    """Of the tower that looks; by default ViT-B/32."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    num_channels: int = 3
    patch_size: int = 32
    image_size: int = 224
    trunk: dict[str, Any] | None = None
    """Of a convolutional trunk in place of patches: arguments of `models.clip.conv_trunk.build_trunk`."""


@dataclass(kw_only=True)
class TextConfig(TowerConfig):
    """Of the tower that reads."""

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    vocab_size: int = 49408
    max_position_embeddings: int = 77
    pad_token_id: int | None = 1
    bos_token_id: int | None = 49406
    eos_token_id: int = 49407
    """A sentence is read at the first of these; 2: at its largest id."""


@dataclass(kw_only=True)
class ClipConfig:
    """Of both towers."""

    vision_config: VisionConfig = field(default_factory=VisionConfig)
    text_config: TextConfig | None = field(default_factory=TextConfig)
    """None: a tower that looks, alone."""
    projection_dim: int = 512
    logit_scale_init_value: float = 2.6592

    def __post_init__(self) -> None:
        if not isinstance(self.projection_dim, int):
            raise ValueError(f"projection_dim is {self.projection_dim!r}, expected int")

    def as_json(self) -> dict[str, Any]:
        """What `config.json` holds."""
        table = {"architectures": ["CLIPModel"], "model_type": "clip", **vars(self)}
        for tower in ("text", "vision"):
            said = {key: value for key, value in vars(table[f"{tower}_config"]).items() if value is not None}
            own = {"model_type": f"clip_{tower}_model", "projection_dim": self.projection_dim}
            table[f"{tower}_config"] = {**said, **own}
        return table


def from_json(table: Any) -> ClipConfig:
    """The settings that a `config.json` holds; what is not said is as in transformers, what else is said is left.

    Raises:
        ValueError: it holds no settings of a CLIP.
    """
    if not isinstance(table, Mapping):
        raise ValueError("it is no table")
    scales = {name: table[name] for name in ("projection_dim", "logit_scale_init_value") if name in table}
    vision, text = tower_settings(VisionConfig, table, "vision"), tower_settings(TextConfig, table, "text")
    return ClipConfig(vision_config=vision, text_config=text, **scales)


def read_config(folder: Path) -> ClipConfig:
    """The settings of a folder.

    Raises:
        OSError, ValueError: its `config.json` cannot be read.
    """
    return from_json(read_json(folder / CONFIG))


def tower_settings(kind: type[Settings], table: Mapping[str, Any], name: str) -> Settings:
    """Those of the tower `vision` or `text`.

    Files of 2022 say it twice; then the second counts (https://github.com/huggingface/transformers/pull/20844).
    """
    said = table.get(f"{name}_config_dict")
    said = table.get(f"{name}_config") if said is None else said
    if not isinstance(said, Mapping | None):
        raise ValueError(f"its {name}_config is no table")
    known = {each.name for each in dataclasses.fields(kind)}
    return kind(**{key: value for key, value in (said or {}).items() if key in known})
