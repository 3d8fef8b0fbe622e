"""RSRefSeg: an image and a sentence to a mask (https://arxiv.org/abs/2501.06809).

A dual encoder says where the sentence lights up, the prompter makes prompts of it, SAM draws the mask:

    image --SAM's encoder--------------------------------.
      '-----SigLIP's image tower--.                       v
    sentence --SigLIP's text tower-+--> prompter --> SAM's mask decoder --> logits
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam2Model, SamModel

from earthwords.errors import UsageError, unknown
from earthwords.kernels.linear import quicken
from earthwords.models.refseg.cascaded_prompter import CascadedPrompter
from earthwords.models.refseg.encoders import TextFeatures, Words
from earthwords.models.refseg.prompter import (
    NORMS,
    Activation,
    AttnPrompter,
    WordPrompts,
    activate,
    fourier_position,
    mask_prompt,
)

SAM_MEAN = (0.485, 0.456, 0.406)
SAM_STD = (0.229, 0.224, 0.225)

PADDINGS = ("fixed", "longest")
LOCALS = ("words", "all")


@dataclass(frozen=True, kw_only=True)
class RefSegOptions:
    """Where we leave the authors' code, and how to follow it instead (`AUTHORS`)."""

    padding: str = "fixed"
    """Sentences are padded to the text tower's positions, as SigLIP was trained; `longest`: to the longest of a batch,
    so that a sentence's mask depends on its neighbours."""
    norm: str = "group"
    """Of the prompter: groups of channels, whatever the batch; `batch`: statistics of the batch."""
    local: str = "words"
    """The local activation is the mean over the words, as in the paper; `all`: end token and padding too."""
    dense: bool = True
    """Give SAM the global activation as a mask prompt."""
    antialias: bool = False
    """Average pixels where an image is shrunk to the model's size."""
    word_prompts: int = 0
    """More sparse prompts, which the words themselves make (`WordPrompts`)."""
    fuse: bool = False
    """SAM's features get the dual encoder's added, projected: for a SAM that knows little by itself."""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("padding", self.padding, PADDINGS),
            ("norm", self.norm, NORMS),
            ("local", self.local, LOCALS),
        ):
            if value not in known:
                raise unknown(name, value, known)


AUTHORS = RefSegOptions(padding="longest", norm="batch", local="all")


@dataclass(frozen=True, kw_only=True)
class ImageFeatures:
    """Images as both encoders see them; computed once for any number of sentences."""

    sam: Tensor
    """`(image, channel, h, w)`."""
    visual: Tensor
    """`(image, dim, h, w)`, of the dual encoder's grid."""
    fine: tuple[Tensor, ...] = ()
    """SAM 2's levels of higher resolution."""

    def __len__(self) -> int:
        return len(self.sam)


@dataclass(frozen=True, kw_only=True)
class MaskPrediction:
    """What a model answers to sentences."""

    logits: Tensor
    """`(text, 1, row, col)`: mask logits on SAM's mask grid, four cells a token."""
    sparse: Tensor
    """Sparse prompts `(text, 1, tokens, channel)`."""
    dense: Tensor
    """Dense prompts `(text, channel, h, w)`."""
    iou: Tensor
    """SAM's own estimate `(text, 1, 1)`; RSRefSeg does not train it."""
    visual: Tensor
    """The dual encoder's features of each sentence's image, `(text, dim, h, w)`."""
    activation: Activation | None = None
    """Of RSRefSeg."""
    queries: tuple[Tensor, ...] = ()
    """Of RSRefSeg 2: means of the two sets of queries, `(text, dim)` each."""


class RefSeg(nn.Module):
    """A dual encoder, the prompter, and SAM."""

    def __init__(
        self,
        sam: SamModel | Sam2Model,
        words: Words,
        prompter: AttnPrompter | CascadedPrompter,
        *,
        options: RefSegOptions,
        mean: Sequence[float] = SAM_MEAN,
        std: Sequence[float] = SAM_STD,
    ) -> None:
        super().__init__()
        self.sam: Any = sam
        self.words = words
        self.prompter: Any = prompter
        for module in (self.sam, self.words, self.prompter):
            quicken(module)
        self.options = options
        dim, prompt_dim = words.dim, int(self.sam.config.prompt_encoder_config.hidden_size)
        self.speaker = WordPrompts(dim, prompt_dim, count=options.word_prompts) if options.word_prompts else None
        self.fusion = nn.Conv2d(dim, prompt_dim, 1) if options.fuse else None
        self.mean, self.std = tuple(mean), tuple(std)

    @property
    def side(self) -> int:
        """Pixels a side of the images it takes."""
        return int(self.sam.config.vision_config.image_size)

    @property
    def mask_side(self) -> int:
        """Cells a side of the masks it gives."""
        return 4 * int(self.sam.config.prompt_encoder_config.image_embedding_size)

    @property
    def device(self) -> torch.device:
        return self.frequencies.device

    @property
    def frequencies(self) -> Tensor:
        """SAM's random Fourier frequencies `(2, n)`."""
        frequencies: Tensor = self.sam.shared_image_embedding.positional_embedding
        return frequencies

    def train(self, mode: bool = True) -> RefSeg:
        """As every module's, but batch norms of frozen parts keep their statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self

    def frame(self, shape: Sequence[int]) -> tuple[int, int]:
        """The part of the model's square that an image of this shape takes, from the top left: all, stretched."""
        return self.side, self.side

    def fit(self, image: Tensor) -> Tensor:
        """An image `(3, row, col)` of any size, 0..255, as `(3, side, side)`, float, black outside its `frame`."""
        if image.ndim != 3 or len(image) != 3:
            raise UsageError(f"An image of three bands is needed, got the shape {tuple(image.shape)}.")
        rows, cols = self.frame(image.shape[-2:])
        return F.pad(self._resize(image[None].float(), rows, cols)[0], (0, self.side - cols, 0, self.side - rows))

    def restore(self, logits: Tensor, shape: Sequence[int]) -> Tensor:
        """Mask logits `(text, 1, row, col)` on the grid of the image that `fit` was given, by way of the model's."""
        rows, cols = self.frame(shape)
        return enlarge(enlarge(logits, (self.side, self.side))[..., :rows, :cols], shape)

    def encode_images(self, images: Tensor) -> ImageFeatures:
        """Encode images `(image, 3, side, side)`, RGB, 0..255."""
        unit = images / 255
        for_words = self._resize(normalise(unit, self.words.mean, self.words.std), self.words.side)
        sam = self.sam.vision_encoder(normalise(unit, self.mean, self.std)).last_hidden_state
        visual = self.words.encode_images(for_words)
        if self.fusion is not None:
            known = self.fusion(F.normalize(visual, dim=1) * visual.shape[1] ** 0.5)
            sam = sam + self._resize(known, *sam.shape[-2:])
        return ImageFeatures(sam=sam, visual=visual)

    def encode_texts(self, ids: Tensor) -> TextFeatures:
        """Encode token ids `(text, length)`, see `ids`."""
        return self.words.encode_texts(ids)

    def ids(self, texts: Sequence[str]) -> Tensor:
        """Token ids `(text, length)` of sentences, on the model's device."""
        return self.words.ids(texts, fixed=self.options.padding == "fixed").to(self.device)

    def predict(
        self, image_features: ImageFeatures, text_features: TextFeatures, which: Tensor | None = None
    ) -> MaskPrediction:
        """Masks of sentences.

        Args:
            which: `(text,)`, the image of each sentence; None: the first sentence is about the first image, ...
        """
        image, visual = (
            (image_features.sam, image_features.visual)
            if which is None
            else (image_features.sam[which], image_features.visual[which])
        )
        scale, bias = self.words.calibration()
        words = text_features.words if self.options.local == "words" else None
        activation = activate(visual, text_features.tokens, text_features.sentence, scale=scale, bias=bias, words=words)
        sparse = self.prompter(activation, self._position(visual.shape[-2:]))
        if self.speaker is not None:
            sparse = torch.cat([sparse, self.speaker(text_features.tokens, text_features.words)], dim=2)
        mask = mask_prompt(activation, (self.mask_side,) * 2) if self.options.dense else None
        _, dense = self.sam.prompt_encoder(input_points=None, input_labels=None, input_boxes=None, input_masks=mask)
        logits, iou = self.sam.mask_decoder(
            image_embeddings=image,
            image_positional_embeddings=self._position(image.shape[-2:])[None].expand(len(image), -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return MaskPrediction(
            logits=logits[:, 0], sparse=sparse, dense=dense, iou=iou, visual=visual, activation=activation
        )  # fmt: skip

    def similarity(self, prediction: MaskPrediction, text_features: TextFeatures) -> Tensor:
        """Scaled cosines of places and sentences `(text, h, w)`, as logits."""
        scale, bias = self.words.calibration()
        places, sentences = F.normalize(prediction.visual, dim=1), F.normalize(text_features.sentence, dim=-1)
        return scale * torch.einsum("bchw,bc->bhw", places, sentences) + bias

    def forward(self, images: Tensor, ids: Tensor, which: Tensor | None = None) -> MaskPrediction:
        """`encode_images`, `encode_texts` and `predict` in one."""
        return self.predict(self.encode_images(images), self.encode_texts(ids), which)

    def _position(self, grid: Sequence[int]) -> Tensor:
        return fourier_position(self.frequencies, (grid[0], grid[1]))

    def _resize(self, images: Tensor, rows: int, cols: int | None = None) -> Tensor:
        size = (rows, rows if cols is None else cols)
        if images.shape[-2:] == size:
            return images
        antialias = self.options.antialias and min(images.shape[-2:]) > min(size)
        return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=antialias)


def enlarge(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Mask logits `(text, 1, row, col)` on another grid: bilinear, corners not aligned, in float32."""
    return F.interpolate(logits.float(), (size[0], size[1]), mode="bilinear", align_corners=False)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Images `(image, 3, row, col)` in 0..1, less the mean, by the deviation."""
    centre, spread = (torch.tensor(v, device=images.device, dtype=images.dtype)[:, None, None] for v in (mean, std))
    return (images - centre) / spread
