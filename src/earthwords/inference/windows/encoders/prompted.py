"""SAM 3 over a scene: every window is asked for every prompt, and says itself whether there is one.

The maps are those of SegEarth-OV3 (https://arxiv.org/abs/2512.08730) and ProC-SAM3; see `models.sam3.fusion`. Presence
is that of a window, as SegEarth-OV3 has it, and windows are stitched as those of all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthwords.inference.cautions import translation_notes
from earthwords.inference.windows.encoders.encoder import WindowEncoder
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.jobs.progress import Report
from earthwords.jobs.threads import one_core
from earthwords.models.sam3.fusion import CHUNK, Answers, Fusion
from earthwords.models.sam3.load import load_sam3
from earthwords.models.sam3.network import PROMPTS_ON_GPU, Sam3Backbone
from earthwords.models.weights.fingerprint import weights_hash
from earthwords.presets import SegmentPreset
from earthwords.text.known_words import word_cautions
from earthwords.text.prompt_bank import prompted
from earthwords.types import Mixture, TextBank, Vocabulary

LEAST = 1e-12
"""Of a probability: 0 stands for pixels that no window saw."""
TOLD = 6
"""Variants of a class that a note tells, at most."""


@dataclass(frozen=True, kw_only=True)
class Sam3Encoder(WindowEncoder):
    """A SAM 3 and the rule that makes one map of its answers."""

    backbone: Sam3Backbone
    fusion: Fusion
    prompts: str | None = None
    """A list of more words for classes, see `text.prompt_bank`."""

    @classmethod
    def load(cls, row: SegmentPreset, *, device: torch.device, offline: bool, report: Report) -> Self:
        """The networks of a preset.

        Raises:
            WeightsError: unknown, unreachable, unreadable or unfitting weights.
        """
        assert row.fusion is not None
        return cls(
            backbone=load_sam3(row.weights, offline=offline, device=device, report=report),
            fusion=Fusion(rule=row.fusion, confidence=row.confidence),
            prompts=row.prompts,
        )

    @property
    def gives_probabilities(self) -> bool:
        return True

    @property
    def fingerprint(self) -> str:
        return weights_hash(self.backbone.model.state_dict(), self.backbone.side)

    def words_of(self, vocabulary: Vocabulary) -> list[list[str]]:
        """What is asked for, class by class."""
        return prompted([entry.queries for entry in vocabulary.classes], self.prompts)

    def text_bank(self, vocabulary: Vocabulary, templates: Sequence[str]) -> TextBank:
        """The bare words, and those of the list: SAM 3 takes no templates."""
        words = self.words_of(vocabulary)
        with one_core():
            vectors = self.backbone.encode_prompts(list(chain.from_iterable(words)))
        return TextBank(
            vectors=vectors.cpu().numpy(),
            query_class=np.repeat(np.arange(len(words)), list(map(len, words))),
            vocabulary=vocabulary,
            weights_id=self.backbone.weights_id,
        )

    @torch.inference_mode()
    def logits(
        self,
        pixels: Tensor,
        queries: Tensor,
        *,
        note: Callable[[Any], None] = lambda told: None,
        mixture: Mixture | None = None,
    ) -> Tensor:
        """Probabilities `(batch, query, H, W)`, each by itself.

        Args:
            pixels: `(batch, 3, H, W)`, -1..1; windows of nothing but 0 are not looked at.
            queries: `(query, dim)`, see `Sam3Backbone.encode_prompts`.
            note: told the presences `(query,)` of every window.
            mixture: there is none.
        """
        size = (pixels.shape[-2], pixels.shape[-1])
        out = pixels.new_full((len(pixels), len(queries), *size), LEAST)
        shown = pixels.flatten(1).any(dim=1).nonzero()[:, 0]
        if len(shown):
            features, positions = self.backbone.see(pixels[shown])
            for place, i in enumerate(shown.tolist()):
                seen = tuple(tuple(x[place : place + 1] for x in part) for part in (features, positions))
                out[i], presence = self._window((seen[0], seen[1]), queries, size)
                note(presence)
        return out

    def _window(
        self, seen: tuple[tuple[Tensor, ...], tuple[Tensor, ...]], queries: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Probabilities `(query, *size)` and presences `(query,)` of a window."""
        at_once = 1 if queries.device.type == "cpu" else PROMPTS_ON_GPU
        maps, presence = [], []
        for part in queries.split(at_once):
            answers: Answers = self.backbone.answers(seen, part)
            maps.append(self.fusion.probabilities(answers, size).clamp(min=LEAST))
            presence.append(answers.presence.sigmoid())
        return torch.cat(maps), torch.cat(presence)

    def noted_in(self, policy: FailurePolicy, query_class: NDArray[Any]) -> Callable[[Any], None]:
        def note(presence: Tensor) -> None:
            largest: dict[int, float] = {}
            for label, value in zip(query_class.tolist(), presence.tolist(), strict=True):
                largest[label] = max(value, largest.get(label, 0.0))
            policy.presence.append(largest)

        return note

    def word_notes(self, vocabulary: Vocabulary, *, model: str) -> tuple[str, ...]:
        asked = [entry for i, entry in enumerate(vocabulary.classes) if i != vocabulary.background]
        notes = translation_notes(asked)
        notes += word_cautions([query for entry in asked for query in entry.queries], self.backbone.lexicon, model)
        more = [
            f"{entry.title} ({', '.join(added[:TOLD])}{', ...' if len(added) > TOLD else ''})"
            for entry, words in zip(vocabulary.classes, self.words_of(vocabulary), strict=True)
            if (added := [word for word in words if word not in entry.queries])
        ]
        return (*notes, f"Asked for, too: {'; '.join(more)}.") if more else tuple(notes)

    def tags(self, preset: SegmentPreset, *, taught: str | None) -> dict[str, str]:
        return {
            "EARTHWORDS_FUSION": f"{self.fusion.rule}, instances above {self.fusion.confidence:g}",
            **({} if self.prompts is None else {"EARTHWORDS_PROMPTS": self.prompts}),
        }

    def described(self, preset: SegmentPreset) -> str:
        return f"fusion {self.fusion.rule}"

    def window_bytes(self, tile: int, queries: int) -> int:
        """The image tower's layers, or the masks of a prompt and what they are made of, whatever is more."""
        config: Any = self.backbone.model.config
        vit, finest = config.vision_config.backbone_config, self.backbone.finest
        tower = 4 * (finest // 4) ** 2 * (8 * vit.hidden_size + 2 * vit.intermediate_size)
        features = 2 * 4 * self.backbone.width * finest**2
        masks = 4 * finest**2 * (2 * config.detr_decoder_config.num_queries + 5 * self.backbone.width)
        at_once = 1 if self.backbone.device.type == "cpu" else PROMPTS_ON_GPU
        return int(features + max(tower, at_once * masks) + 12 * CHUNK * tile**2)
