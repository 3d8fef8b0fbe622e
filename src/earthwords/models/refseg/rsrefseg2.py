"""RSRefSeg 2: SigLIP 2, the cascaded prompter and SAM 2.1 (https://arxiv.org/abs/2507.06231).

Images keep their ratio and are padded. SAM 2's memory is left out, as by the authors; its decoder always gives the
single mask, in training and after.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Sam2Model

from earthwords.models.refseg.cascaded_prompter import CascadedPrompter, likeness
from earthwords.models.refseg.encoders import TextFeatures, Words
from earthwords.models.refseg.model import (
    SAM_MEAN,
    SAM_STD,
    ImageFeatures,
    MaskPrediction,
    RefSeg,
    RefSegOptions,
    normalise,
)


class RefSeg2(RefSeg):
    """A dual encoder, the cascaded prompter, and SAM 2."""

    def __init__(
        self,
        sam: Sam2Model,
        words: Words,
        prompter: CascadedPrompter,
        *,
        options: RefSegOptions,
        mean: Sequence[float] = SAM_MEAN,
        std: Sequence[float] = SAM_STD,
    ) -> None:
        super().__init__(sam, words, prompter, options=options, mean=mean, std=std)
        sam.mask_decoder.dynamic_multimask_via_stability = False

    @property
    def side(self) -> int:
        """Pixels a side of the images it takes."""
        return int(self.sam.config.prompt_encoder_config.image_size)

    @property
    def mask_side(self) -> int:
        """Cells a side of the masks it gives."""
        return int(self.sam.prompt_encoder.mask_input_size[0])

    def frame(self, shape: Sequence[int]) -> tuple[int, int]:
        """The longer side fills the model's."""
        scale = self.side / max(shape)
        return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))

    def encode_images(self, images: Tensor) -> ImageFeatures:
        """Encode images `(image, 3, side, side)`, RGB, 0..255."""
        unit = images / 255
        levels = self.sam.vision_encoder(normalise(unit, self.mean, self.std)).fpn_hidden_states
        decoder = self.sam.mask_decoder
        memory = self.sam.no_memory_embedding.view(1, -1, 1, 1)
        for_words = self._resize(normalise(unit, self.words.mean, self.words.std), self.words.side)
        return ImageFeatures(
            sam=levels[2] + memory,
            visual=self.words.encode_images(for_words),
            fine=(decoder.conv_s0(levels[0]), decoder.conv_s1(levels[1])),
        )

    def predict(
        self, image_features: ImageFeatures, text_features: TextFeatures, which: Tensor | None = None
    ) -> MaskPrediction:
        """Masks of sentences, see `RefSeg.predict`."""
        which = torch.arange(len(image_features), device=image_features.sam.device) if which is None else which
        image, visual = image_features.sam[which], image_features.visual[which]
        cascade = self.prompter(visual, text_features.tokens)
        scale, bias = self.words.calibration()
        mask = None
        if self.options.dense:
            mask = likeness(cascade.image, text_features.sentence, (self.mask_side,) * 2, scale=scale, bias=bias)
        _, dense = self.sam.prompt_encoder(input_points=None, input_labels=None, input_boxes=None, input_masks=mask)
        logits, iou, _, _ = self.sam.mask_decoder(
            image_embeddings=image,
            image_positional_embeddings=self._position(image.shape[-2:])[None].expand(len(image), -1, -1, -1),
            sparse_prompt_embeddings=cascade.sparse,
            dense_prompt_embeddings=dense.expand(len(image), -1, -1, -1),
            multimask_output=False,
            high_resolution_features=[level[which] for level in image_features.fine],
        )
        return MaskPrediction(
            logits=logits[:, 0], sparse=cascade.sparse, dense=dense, iou=iou, visual=visual,
            queries=(cascade.first, cascade.second),
        )  # fmt: skip
