"""DINO (https://arxiv.org/abs/2104.14294), DINOv2 (https://arxiv.org/abs/2304.07193) and DINOv3
(https://arxiv.org/abs/2508.10104): dense features without words.

Tokens after the last norm: of the last block, as DynamicEarth compares dates with, or of four blocks, as PeftCD decodes
changes from. Positions of another number of patches are sampled as the authors do it: DINO at steps of
`sqrt(N) / (side + 0.1)`, the others as transformers has it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import UsageError, WeightsError, brief
from earthwords.files.reading import read_json
from earthwords.models.clip.convert import check_fit, load_strict
from earthwords.models.clip.folder import folder_state
from earthwords.models.transformers_config import without_remarks
from earthwords.models.weights.table import fetch, find

if TYPE_CHECKING:
    from transformers import Dinov2Model, DINOv3ViTModel, ViTModel

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DINO, DINOV2 = "dino-vit-b-16", "dinov2-vit-b-14"
"""Rows of `models.weights.table.WEIGHTS`."""
_MOST_LAYERS = 200


class DinoBackbone(nn.Module):
    """A vision tower that gives a feature for every patch."""

    guides_are_fine = False
    """All levels have the resolution of the tokens."""

    def __init__(
        self,
        model: ViTModel | Dinov2Model | DINOv3ViTModel,
        *,
        weights_id: str = "unnamed",
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.model: Any = model.eval()
        self.weights_id, self.mean, self.std = weights_id, mean, std
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
        found: torch.device = self.model.embeddings.cls_token.device
        return found

    @property
    def blocks(self) -> nn.ModuleList:
        """Its transformer blocks."""
        count = int(self.model.config.num_hidden_layers)
        return next(part for part in self.model.modules() if isinstance(part, nn.ModuleList) and len(part) == count)

    @property
    def level_widths(self) -> tuple[int, ...]:
        """Channels of the maps of `encode_levels`; fewer than four where there are fewer blocks."""
        return (self.dim,) * len(self._ends)

    @property
    def _ends(self) -> list[int]:
        """The blocks that end a quarter of them."""
        count = int(self.model.config.num_hidden_layers)
        return sorted({max(1, round(part * count / 4)) - 1 for part in (1, 2, 3, 4)})

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
        return self._map(self._run(whole), (height, width))

    def encode_levels(self, pixels: Tensor) -> list[Tensor]:
        """Tokens behind each quarter of the blocks.

        Args:
            pixels: `(batch, 3, H, W)`, normalised, sides multiples of the patch.

        Returns:
            Maps `(batch, dim, H / patch, W / patch)` behind the last norm, in the order of the blocks. Differentiable.
        """
        found: dict[int, Tensor] = {}
        blocks = self.blocks

        def keep(block: nn.Module, given: Any, output: Any, *, number: int) -> None:
            found[number] = output[0] if isinstance(output, tuple) else output

        hooks = [blocks[i].register_forward_hook(partial(keep, number=i)) for i in self._ends]
        try:
            self._run(pixels)
        finally:
            for hook in hooks:
                hook.remove()
        grid = pixels.shape[-2] // self.patch, pixels.shape[-1] // self.patch
        norm = self.model.norm if hasattr(self.model, "norm") else self.model.layernorm
        return [self._map(norm(found[i]), grid) for i in self._ends]

    def _run(self, pixels: Tensor) -> Tensor:
        """Tokens behind the last norm."""
        known = {"interpolate_pos_encoding": True} if self.model.config.model_type == "vit" else {}
        tokens: Tensor = self.model(pixel_values=pixels, **known).last_hidden_state
        return tokens

    def _map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Without the class token and the registers, as `(batch, dim, row, col)`."""
        first = 1 + getattr(self.model.config, "num_register_tokens", 0)
        return tokens[:, first:].transpose(1, 2).unflatten(2, grid)


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
    """DINO, DINOv2 or DINOv3 by a name of the table, a Hugging Face id, or a folder in transformers' layout.

    Raises:
        WeightsError, UsageError: unknown, unreachable, unreadable or unfitting weights.
    """
    spec = find(name)
    path = fetch(spec, offline=offline)
    if not path.is_dir():
        raise WeightsError(f"{path} is a file: give a folder of DINO, DINOv2 or DINOv3 in transformers' layout.")
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
    mean, std = _statistics(path)
    return DinoBackbone(model, weights_id=spec.name, mean=mean, std=std).to(device)


def _statistics(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of colours, where the folder tells them: DINOv3 of satellite images has its own."""
    file = path / "preprocessor_config.json"
    if not file.exists():
        return IMAGENET_MEAN, IMAGENET_STD
    try:
        told = read_json(file)
        mean, std = (
            tuple(float(value) for value in told.get(name, default))
            for name, default in (("image_mean", IMAGENET_MEAN), ("image_std", IMAGENET_STD))
        )
    except (OSError, ValueError, TypeError, AttributeError, UsageError) as error:
        raise WeightsError(f"Cannot read {file}: {brief(error)}.") from error
    if not (len(mean) == len(std) == 3 and min(std) > 0 and all(map(math.isfinite, (*mean, *std)))):
        raise WeightsError(f"{file} does not tell mean and deviation of three colours.")
    return mean, std


def _builder(path: Path) -> Callable[[], ViTModel | Dinov2Model | DINOv3ViTModel]:
    """What makes the model of a folder's `config.json`."""
    from transformers import Dinov2Config, Dinov2Model, DINOv3ViTConfig, DINOv3ViTModel, ViTConfig, ViTModel

    try:
        kind = read_json(path / "config.json")["model_type"]
        config: Any = None
        with without_remarks():
            if kind == "vit":
                config = ViTConfig.from_pretrained(path, local_files_only=True)
            elif kind == "dinov2":
                config = Dinov2Config.from_pretrained(path, local_files_only=True)
            elif kind == "dinov3_vit":
                config = DINOv3ViTConfig.from_pretrained(path, local_files_only=True)
                # its positions stay as they are while something over it learns
                config.pos_embed_shift = config.pos_embed_jitter = config.pos_embed_rescale = None
    except MemoryError:
        raise
    except Exception as error:  # validation raises classes of its own, by the kind of mistake
        raise WeightsError(f"{path} is not a folder of DINO in transformers' layout: {brief(error)}.") from error
    if config is None:
        told = brief(repr(kind), most=60)
        raise WeightsError(f"{path} holds a model of the kind {told}; DINO is vit, dinov2 or dinov3_vit.")
    if not 0 < config.num_hidden_layers <= _MOST_LAYERS:
        raise WeightsError(f"{path / 'config.json'} does not describe a DINO: {config.num_hidden_layers} layers.")
    if kind == "vit":
        return partial(ViTModel, config, add_pooling_layer=False)
    return partial(DINOv3ViTModel if kind == "dinov3_vit" else Dinov2Model, config)


_RENAMED = (
    (r"^(?:vit|dinov2)\.", ""),
    (r"^(?:encoder\.layers?|(?:model\.)?layer)\.", "layers."),
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
