"""DINO (https://arxiv.org/abs/2104.14294) and DINOv2 (https://arxiv.org/abs/2304.07193): dense features without words.

Tokens of the last block after the last norm, as DynamicEarth compares dates with. Positions of another number of
patches are sampled as the authors do it: DINO at steps of `sqrt(N) / (side + 0.1)`, DINOv2 as transformers has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import WeightsError, brief
from earthwords.files.reading import read_json
from earthwords.models.clip.convert import check_fit, load_strict
from earthwords.models.clip.folder import folder_state
from earthwords.models.transformers_config import without_remarks
from earthwords.models.weights.table import fetch, find

if TYPE_CHECKING:
    from transformers import Dinov2Model, ViTModel

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINO, DINOV2 = "dino-vit-b-16", "dinov2-vit-b-14"
"""Rows of `models.weights.table.WEIGHTS`."""
_MOST_LAYERS = 200


class DinoBackbone(nn.Module):
    """A vision tower that gives a feature for every patch."""

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, model: ViTModel | Dinov2Model, *, weights_id: str = "unnamed") -> None:
        super().__init__()
        self.model = model.eval()
        self.weights_id = weights_id
        if model.config.model_type == "vit":
            embeddings: Any = model.embeddings
            embeddings.interpolate_pos_encoding = partial(_scaled_positions, embeddings, self.patch)

    @property
    def patch(self) -> int:
        """Pixels a side of one token."""
        return int(self.model.config.patch_size)

    @property
    def dim(self) -> int:
        """Numbers of a feature."""
        return int(self.model.config.hidden_size)

    @property
    def device(self) -> torch.device:
        return self.model.embeddings.cls_token.device

    @torch.inference_mode()
    def encode_dense(self, pixels: Tensor) -> Tensor:
        """Features of normalised pixels `(batch, 3, H, W)`.

        Returns:
            `(batch, dim, H // patch, W // patch)`: pixels at the right and the bottom that fill no patch are not seen.
        """
        height, width = (int(side) // self.patch for side in pixels.shape[-2:])
        if height == 0 or width == 0:
            raise WeightsError(
                f"{self.weights_id} looks at patches of {self.patch} pixels, and the image has "
                f"{pixels.shape[-1]} x {pixels.shape[-2]}."
            )
        whole = pixels[..., : height * self.patch, : width * self.patch]
        known = {"interpolate_pos_encoding": True} if self.model.config.model_type == "vit" else {}
        tokens: Tensor = self.model(pixel_values=whole, **known).last_hidden_state
        return tokens[:, 1:].transpose(1, 2).unflatten(2, (height, width))


def _scaled_positions(embeddings: Any, patch: int, tokens: Tensor, height: int, width: int) -> Tensor:
    """`(1, token, dim)`, as DINO samples them for an image of `height` by `width` pixels."""
    table = embeddings.position_embeddings
    count, grid = table.shape[1] - 1, (height // patch, width // patch)
    side = int(count**0.5)
    if grid == (side, side):
        positions: Tensor = table
        return positions
    square = table[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    scale = [(cells + 0.1) / side for cells in grid]
    resized = F.interpolate(square, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def load_dino(name: str, *, offline: bool = False, device: str | torch.device = "cpu") -> DinoBackbone:
    """DINO or DINOv2 by a name of the table, a Hugging Face id, or a folder in transformers' layout.

    Raises:
        WeightsError, UsageError: unknown, unreachable, unreadable or unfitting weights.
    """
    spec = find(name)
    path = fetch(spec, offline=offline)
    if not path.is_dir():
        raise WeightsError(f"{path} is a file: give a folder of DINO or DINOv2 in transformers' layout.")
    build = _builder(path)
    state = {n: value.float() for n, value in folder_state(path).items() if "pooler." not in n}
    try:
        with torch.device("meta"):
            bare = build()
            state = _as_named(state, bare.state_dict().keys())
            check_fit(bare, state)  # before anything of a size that config.json claims is allocated
        model = build()
    except (WeightsError, MemoryError):
        raise
    except Exception as error:  # any value of config.json may be wrong in a way of its own
        raise WeightsError(f"{path / 'config.json'} does not describe a DINO: {brief(error)}.") from error
    load_strict(model, state)
    return DinoBackbone(model, weights_id=spec.name).to(device)


def _builder(path: Path) -> Callable[[], ViTModel | Dinov2Model]:
    """What makes the model of a folder's `config.json`."""
    from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

    try:
        kind = read_json(path / "config.json")["model_type"]
        config: Any = None
        with without_remarks():
            if kind == "vit":
                config = ViTConfig.from_pretrained(path, local_files_only=True)
            elif kind == "dinov2":
                config = Dinov2Config.from_pretrained(path, local_files_only=True)
    except MemoryError:
        raise
    except Exception as error:  # validation raises classes of its own, by the kind of mistake
        raise WeightsError(f"{path} is not a folder of DINO in transformers' layout: {brief(error)}.") from error
    if config is None:
        raise WeightsError(f"{path} holds a model of the kind {brief(repr(kind), most=60)}; DINO is vit or dinov2.")
    if not 0 < config.num_hidden_layers <= _MOST_LAYERS:
        raise WeightsError(f"{path / 'config.json'} does not describe a DINO: {config.num_hidden_layers} layers.")
    return partial(ViTModel, config, add_pooling_layer=False) if kind == "vit" else partial(Dinov2Model, config)


_RENAMED = (
    (r"^(?:vit|dinov2)\.", ""),
    (r"^encoder\.layers?\.", "layers."),
    (r"\.attention\.attention\.(query|key|value)\.", lambda found: f".attention.{found[1][0]}_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
"""transformers names the parts otherwise from version to version; published folders keep the first names."""


def _common(name: str) -> str:
    """One name for all versions."""
    for pattern, new in _RENAMED:
        name = re.sub(pattern, new, name)
    return name


def _as_named(state: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """Tensors under the names that the model here has for them."""
    names = {_common(name): name for name in own}
    return {names.get(_common(name), name): value for name, value in state.items()}
