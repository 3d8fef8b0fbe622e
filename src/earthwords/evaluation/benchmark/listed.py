"""How well an encoder labels the masked images of a training list, set by set, for the words of the list."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthwords.data.manifests.captions import IGNORE, Example, Manifest
from earthwords.evaluation.metrics.segmentation import ThresholdConfusion, mean
from earthwords.inference.segment.postprocess import class_maxima, class_probabilities, scale_and_bias, unfit
from earthwords.inference.windows.sliding import Encoder, slide
from earthwords.models.clip.words import encode_words
from earthwords.presets import SegmentPreset
from earthwords.text.competing import compete
from earthwords.text.templates import load_templates
from earthwords.text.vocabulary import parse_classes


class HeldOut:
    """Masked images of a list, in the windows of a preset.

    The words of a set are asked for as `segment` does it: all at once, a single one against what most scenes have.
    Pixels that are none of the named classes count against a class that takes them; those whose value is not listed do
    not count. Rivals, which no mask has, may take what is none of the others; they have no figure of their own.
    """

    def __init__(self, manifest: Manifest, preset: SegmentPreset, *, most: int) -> None:
        """`most`: images of each set, evenly from the list."""
        self.preset, self.groups = preset, manifest.classes
        self.sets: dict[str, list[Example]] = {}
        for example in manifest.examples:
            if example.mask is not None:
                self.sets.setdefault(example.set, []).append(example)
        self.asked = {name: _asked(found, manifest.classes[name]) for name, found in self.sets.items()}
        self.sets = {name: found[:: max(1, -(-len(found) // most))] for name, found in self.sets.items()}

    def figures(self, encoder: Encoder, **thresholds: float) -> dict[str, float]:
        """In percent, for each name and threshold `{name}_mIoU`, the mean over sets, and `{name}_mIoU_{set}`."""
        counted = {name: self.counts(encoder, name, tuple(thresholds.values())) for name in self.sets}
        figures: dict[str, float] = {}
        for name, threshold in thresholds.items():
            sets = {}
            for key, counts in counted.items():
                iou = counts.at(threshold).scores().iou[:-1]
                sets[f"{name}_mIoU_{key}"] = 100 * mean(iou[self.asked[key]])
            figures |= {f"{name}_mIoU": mean(np.array(list(sets.values()))), **sets}
        return figures

    @torch.inference_mode()
    def counts(self, encoder: Encoder, name: str, thresholds: Sequence[float]) -> ThresholdConfusion:
        """Of one set; the last class is none of the named ones."""
        named = [group for group in self.groups[name] if group]
        vocabulary = compete(parse_classes([",".join(group) for group in named]))
        words = encode_words(encoder.backbone, vocabulary.queries, load_templates(self.preset.templates)).clone()
        owner = torch.from_numpy(vocabulary.query_class).to(words.device)
        table = _numbers(self.groups[name])
        found = ThresholdConfusion(len(named) + 1, sorted(set(thresholds)), background=len(named), ignore=IGNORE)
        for example in self.sets[name]:
            assert example.mask is not None
            probabilities, fits = self._probabilities(encoder, example.image, words, owner)
            score, best = probabilities.max(dim=0)
            score[~fits] = -1.0  # below every threshold
            found.add(table[example.mask], best.cpu().numpy(), score.cpu().numpy())
        return found

    def _probabilities(
        self, encoder: Encoder, image: NDArray[np.uint8], words: Tensor, owner: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`(class, row, col)`, and where some word fits, `(row, col)`, as `segment` has it."""
        backbone, row = encoder.backbone, self.preset
        pixels = torch.from_numpy(image).permute(2, 0, 1).to(words) / 255
        centre, spread = (pixels.new_tensor(value)[:, None, None] for value in (backbone.mean, backbone.std))
        logits = slide(
            (pixels - centre) / spread,
            lambda windows: encoder.logits(windows, words),
            queries=len(words),
            tile=row.tile_size,
            stride=row.tile_size - row.overlap,
            batch=4,
            blend=row.blend,
        )
        if encoder.head is not None:
            return class_maxima(logits, owner), torch.ones_like(logits[0], dtype=torch.bool)
        scale, bias = scale_and_bias(row, backbone)
        values = class_probabilities(logits, owner, logit_scale=scale, bias=bias)
        if row.sum_to_one:
            values = values / values.sum(dim=0)
        return values, ~unfit(logits, -torch.inf if row.nothing is None else row.nothing)


def _asked(examples: Sequence[Example], groups: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    """`(named class,)`: whether it counts; beside "none of the others" only what some mask has."""
    seen = {int(value) for example in examples if example.mask is not None for value in np.unique(example.mask)}
    every = all(groups)
    return np.array([every or i in seen for i, group in enumerate(groups) if group])


def _numbers(groups: Sequence[Sequence[str]]) -> NDArray[np.uint8]:
    """`(256,)`: a class to its place among those with a name, or to the one after them; else `IGNORE`."""
    table = np.full(256, IGNORE, np.uint8)
    named = [i for i, group in enumerate(groups) if group]
    table[: len(groups)] = len(named)
    table[named] = np.arange(len(named))
    table[IGNORE] = IGNORE
    return table
