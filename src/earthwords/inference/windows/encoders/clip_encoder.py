"""What a CLIP over windows tells of itself; how it computes is in `windows.sliding`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from earthwords.inference.cautions import RADAR, SENSOR, vocabulary_notes
from earthwords.inference.segment.postprocess import scale_and_bias
from earthwords.inference.windows.encoders.encoder import WindowEncoder
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.held import clip_bytes, tokens_of
from earthwords.inference.windows.lowrank import LinearUpsampler
from earthwords.inference.windows.text_bank import build_text_bank
from earthwords.models.aggregation.head import CostHead
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.weights.fingerprint import tower_hash, weights_hash
from earthwords.presets import SegmentPreset
from earthwords.types import TextBank, Vocabulary


class ClipWindows(WindowEncoder):
    """A CLIP and what makes its tokens finer."""

    backbone: ClipBackbone
    upsampler: torch.nn.Module | None
    energy: float | None
    head: CostHead | None

    @property
    def gives_probabilities(self) -> bool:
        return self.head is not None

    @property
    def least(self) -> int:
        return int(getattr(self.upsampler, "least", 1))

    @property
    def fingerprint(self) -> str:
        module = self.upsampler if self.head is None else self.head
        state = {} if module is None else module.state_dict()
        return weights_hash(state, tower_hash(self.backbone, "vision"))

    def text_bank(self, vocabulary: Vocabulary, templates: Sequence[str]) -> TextBank:
        return build_text_bank(self.backbone, vocabulary, templates)

    def scale_and_bias(self, preset: SegmentPreset) -> tuple[float, float | None]:
        return scale_and_bias(preset, self.backbone)

    def noted_in(self, policy: FailurePolicy, query_class: NDArray[Any]) -> Callable[[int], None]:
        return policy.ranks.append

    def word_notes(self, vocabulary: Vocabulary, *, model: str) -> tuple[str, ...]:
        return vocabulary_notes(vocabulary, lexicon=self.backbone.lexicon, model=model)

    def tags(self, preset: SegmentPreset, *, taught: str | None) -> dict[str, str]:
        return {
            "EARTHWORDS_ATTENTION": preset.attention,
            "EARTHWORDS_UPSAMPLER": " ".join(filter(None, (preset.upsampler or "none", preset.upsampler_weights))),
            **({SENSOR: RADAR} if preset.radar else {}),
            **({} if preset.head is None else {"EARTHWORDS_HEAD": preset.head}),
            **({} if taught is None else {"EARTHWORDS_TAUGHT": taught}),
            "EARTHWORDS_ENERGY": f"{preset.energy:g}",
            "EARTHWORDS_LAST_BLOCK": f"last {preset.last_n}, residual {'kept' if preset.keep_residual else 'dropped'}",
            "EARTHWORDS_CLS_WEIGHT": f"{preset.cls_weight:g}",
            "EARTHWORDS_LOGIT_SCALE": f"{self.scale_and_bias(preset)[0]:g}",
            **({"EARTHWORDS_PROBABILITIES": "sum to 1"} if preset.sum_to_one else {}),
            **({"EARTHWORDS_PROBABILITIES": "sigmoid"} if preset.sigmoid else {}),
            **({} if preset.nothing is None else {"EARTHWORDS_NOTHING": f"{preset.nothing:g}"}),
            "EARTHWORDS_TEMPLATES": preset.templates,
        }

    def described(self, preset: SegmentPreset) -> str:
        finer = f"upsampler {preset.upsampler or 'none'}" if preset.head is None else f"head {preset.head}"
        return f"attention {preset.attention}, {finer}"

    def window_bytes(self, tile: int, queries: int) -> int:
        channels = 0
        if self.upsampler is not None:
            reduced = isinstance(self.upsampler, LinearUpsampler) and self.energy is not None
            tokens, dim = tokens_of(self.backbone, tile), self.backbone.dim
            channels = (min(tokens + 32, dim) if reduced else 3 * dim) + getattr(self.upsampler, "held", 0)
        if self.head is not None:
            channels = self.head.held(queries, patch=self.backbone.patch)
        return clip_bytes(self.backbone, tile, upsampled=channels)
