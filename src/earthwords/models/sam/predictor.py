"""SAM and SAM 2.1 as predictors: an image to an embedding, prompts on it to logits of masks.

The networks are transformers'; what its processors do otherwise than the authors (how an image is shrunk, where points
lie) is written here as in the authors' code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam2Model, SamModel

from earthwords.errors import UsageError
from earthwords.kernels.linear import quicken
from earthwords.models.sam.filters import clean_logits

_EPS = 1e-5
"""Of the norms in the blocks of SAM's mask decoder; transformers has 1e-6, which moves logits in the fourth digit."""
_CLAMP = 32.0
"""Of logits that SAM 2 is given back as a prompt."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageEmbedding:
    """An image as SAM sees it; computed once for any number of prompts."""

    features: Tensor
    """`(1, channel, h, w)`: of SAM the output of its neck, padding included."""
    shape: tuple[int, int]
    """Rows and columns of the image."""
    frame: tuple[int, int]
    """Rows and columns that the image takes of the network's square, from the top left."""
    fine: tuple[Tensor, ...] = ()
    """SAM 2's levels of higher resolution."""


class SamPredictor(ABC):
    """A network and how its authors ask it."""

    point_dtype: ClassVar[type] = np.float64
    """Of coordinates."""
    settings: ClassVar[str]
    """The authors' row of `MASK_SETTINGS`."""
    cleans_logits: ClassVar[bool] = False
    """Small regions are corrected in the logits, not in the masks."""

    def __init__(self, model: SamModel | Sam2Model) -> None:
        self.model: Any = model.eval()
        quicken(self.model)

    @property
    def device(self) -> torch.device:
        found: torch.device = self.model.shared_image_embedding.positional_embedding.device
        return found

    @property
    @abstractmethod
    def side(self) -> int:
        """Pixels a side of the network's square."""

    @abstractmethod
    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """An image `(row, col, 3)`, RGB, as pixels `(1, 3, side, side)` of the network."""

    @abstractmethod
    def frame(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns that an image takes of the network's square.

        Raises:
            UsageError: it would take none.
        """

    @abstractmethod
    def enlarge(self, logits: Tensor, embedding: ImageEmbedding, *, smallest: float = 0) -> Tensor:
        """Logits `(mask, h, w)` of the network on the image's pixels, `(mask, row, col)`.

        Args:
            smallest: regions of at most so many cells are corrected before, where `cleans_logits`.
        """

    @abstractmethod
    def _embed(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Features and finer ones."""

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8]) -> ImageEmbedding:
        """The embedding of an image `(row, col, 3)`, RGB.

        Raises:
            UsageError: it is no such image, or too thin.
        """
        shape = shape_of(image)
        frame = self.frame(shape)
        features, fine = self._embed(self.prepare(image).to(self.device))
        return ImageEmbedding(features=features, shape=shape, frame=frame, fine=fine)

    def to_network(self, points: ArrayLike, embedding: ImageEmbedding) -> NDArray[Any]:
        """Points `(n, 2)`, x and y in pixels of the image, in pixels of the network's square."""
        scale = [new / old for new, old in zip(embedding.frame[::-1], embedding.shape[::-1], strict=True)]
        return np.asarray(points, self.point_dtype) * np.array(scale, self.point_dtype)

    @torch.inference_mode()
    def decode(
        self,
        embedding: ImageEmbedding,
        *,
        points: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        masks: Tensor | None = None,
        single: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Masks of prompts, each of which is a point of the object, a box around it, or both.

        Args:
            points: `(n, 2)`, x and y in pixels of the image.
            boxes: `(n, 4)`: x0, y0, x1, y1.
            masks: `(n, 1, h, w)`, logits of an earlier answer.
            single: one mask a prompt instead of three.

        Returns:
            Logits `(n, mask, h, w)` on the network's mask grid, and predicted IoU `(n, mask)`.
        """
        given: dict[str, Any] = dict.fromkeys(("input_points", "input_labels", "input_boxes"))
        count = 0
        if points is not None:
            given["input_points"] = self._tensor(self.to_network(points, embedding))[:, None, None]
            count = len(given["input_points"])
            given["input_labels"] = torch.ones((count, 1, 1), dtype=torch.int64, device=self.device)
        if boxes is not None:
            corners: NDArray[Any] = np.asarray(boxes, self.point_dtype).reshape(-1, 2)
            given["input_boxes"] = self._tensor(self.to_network(corners, embedding)).reshape(-1, 1, 4)
            count = len(given["input_boxes"])
        sparse, dense = self.model.prompt_encoder(**given, input_masks=masks)
        answers = self.model.mask_decoder(
            image_embeddings=embedding.features.expand(count, -1, -1, -1),
            image_positional_embeddings=self.model.get_image_wide_positional_embeddings().expand(count, -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=not single,
            **self._finer(embedding, count),
        )
        return answers[0][:, 0], answers[1][:, 0]

    def again(self, logits: Tensor) -> Tensor:
        """Logits as the prompt that they are handed in again as."""
        return logits

    def _finer(self, embedding: ImageEmbedding, count: int) -> dict[str, Any]:
        return {}

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        found = torch.from_numpy(values)
        return (found.float() if self.device.type == "mps" else found).to(self.device)


class Sam1Predictor(SamPredictor):
    """SAM (https://arxiv.org/abs/2304.02643): the longer side fills the square, the rest is padded."""

    settings = "sam"
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

    def __init__(self, model: SamModel) -> None:
        super().__init__(model)
        for norm in self.model.mask_decoder.transformer.layers.modules():
            if isinstance(norm, nn.LayerNorm):
                norm.eps = _EPS

    @property
    def side(self) -> int:
        """Pixels a side of the network's square."""
        return int(self.model.config.vision_config.image_size)

    @property
    def neck_norm(self) -> tuple[Tensor, Tensor]:
        """Weight and bias `(channel,)` of the norm that gives an embedding's features."""
        norm = self.model.vision_encoder.neck.layer_norm2
        return norm.weight.detach(), norm.bias.detach()

    def frame(self, shape: tuple[int, int]) -> tuple[int, int]:
        """See `SamPredictor`."""
        scale = self.side / max(shape)
        rows, cols = (int(side * scale + 0.5) for side in shape)
        if not (rows and cols):
            raise UsageError(f"An image of {shape[0]} x {shape[1]} pixels is too thin for SAM: cut it.")
        return rows, cols

    def resize(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image as large as its frame: Pillow's bilinear, which averages where it shrinks."""
        rows, cols = self.frame((image.shape[0], image.shape[1]))
        return np.asarray(Image.fromarray(image).resize((cols, rows), Image.Resampling.BILINEAR))

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """See `SamPredictor`."""
        pixels = torch.from_numpy(self.resize(image).copy()).permute(2, 0, 1)[None]
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        rows, cols = pixels.shape[-2:]
        return F.pad((pixels - mean) / std, (0, self.side - cols, 0, self.side - rows))

    def enlarge(self, logits: Tensor, embedding: ImageEmbedding, *, smallest: float = 0) -> Tensor:
        """See `SamPredictor`."""
        square = _bilinear(logits[:, None], (self.side, self.side))
        return _bilinear(square[..., : embedding.frame[0], : embedding.frame[1]], embedding.shape)[:, 0]

    def _embed(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.model.vision_encoder(pixels).last_hidden_state, ()


class Sam2Predictor(SamPredictor):
    """SAM 2.1 (https://arxiv.org/abs/2408.00714): the image is stretched to the square."""

    settings = "sam2"
    point_dtype = np.float32
    cleans_logits = True
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    @property
    def side(self) -> int:
        """Pixels a side of the network's square."""
        return int(self.model.config.prompt_encoder_config.image_size)

    def frame(self, shape: tuple[int, int]) -> tuple[int, int]:
        """See `SamPredictor`."""
        return self.side, self.side

    def to_network(self, points: ArrayLike, embedding: ImageEmbedding) -> NDArray[Any]:
        """See `SamPredictor`."""
        return np.asarray(points, np.float32) / np.array(embedding.shape[::-1], np.float32) * np.float32(self.side)

    def prepare(self, image: NDArray[np.uint8]) -> Tensor:
        """See `SamPredictor`."""
        unit = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (_bilinear(unit, (self.side, self.side), antialias=True) - mean) / std

    def enlarge(self, logits: Tensor, embedding: ImageEmbedding, *, smallest: float = 0) -> Tensor:
        """See `SamPredictor`."""
        return _bilinear((clean_logits(logits, smallest) if smallest > 0 else logits)[:, None], embedding.shape)[:, 0]

    def again(self, logits: Tensor) -> Tensor:
        """See `SamPredictor`."""
        return logits.clamp(-_CLAMP, _CLAMP)

    def _embed(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        levels, decoder = self.model.vision_encoder(pixels).fpn_hidden_states, self.model.mask_decoder
        memory = self.model.no_memory_embedding.view(1, -1, 1, 1)
        return levels[2] + memory, (decoder.conv_s0(levels[0]), decoder.conv_s1(levels[1]))

    def _finer(self, embedding: ImageEmbedding, count: int) -> dict[str, Any]:
        return {"high_resolution_features": [level.expand(count, -1, -1, -1) for level in embedding.fine]}


def shape_of(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Rows and columns of an image `(row, col, 3)`.

    Raises:
        UsageError: it is no such image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UsageError(f"SAM takes uint8 images (row, column, 3), got {image.dtype} of shape {image.shape}.")
    return image.shape[0], image.shape[1]


def _bilinear(images: Tensor, size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=antialias)
