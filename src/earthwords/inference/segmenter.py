"""Open-vocabulary segmentation: a scene and words in, labelled strips out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthwords import plugins
from earthwords.errors import UsageError
from earthwords.geo.scene import Scene, open_scene, scene_from_array
from earthwords.inference.decide import class_probabilities, decide
from earthwords.inference.rows import RowResizer
from earthwords.inference.sliding import Encoder, WindowPlan, slide_rows
from earthwords.inference.textbank import build_text_bank
from earthwords.models.backbones.clip import DenseMethod
from earthwords.models.weights import Report, load_clip, load_upsampler_state
from earthwords.presets import DEFAULT_PRESET, SegmentPreset, load_preset
from earthwords.text.templates import load_templates
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Segmentation, TextBank, Vocabulary, Window

CHUNK_ROWS = 64
"""Rows whose probabilities are held at once."""
BUFFER_LIMIT = 4 * 2**30
"""Bytes that the sums of overlapping windows may take."""


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Consecutive full-width rows of the region asked for, in the scene's own pixels."""

    row: int
    """First row, counted from the top of the region."""
    labels: NDArray[np.unsignedinteger]
    """`(row, col)`, `vocabulary.nodata` where nothing was observed."""
    score: NDArray[np.float32]
    """`(row, col)`, 0 where nothing was observed."""
    rgb: NDArray[np.float32]
    """`(3, row, col)`, 0..1."""
    valid: NDArray[np.bool_]
    """`(row, col)`."""
    probabilities: NDArray[np.float32] | None = None
    """`(class, row, col)`, when asked for; NaN where nothing was observed."""


Tick = Callable[[int], None]


class Segmenter:
    """A preset with its weights loaded."""

    def __init__(self, preset: SegmentPreset, encoder: Encoder, *, batch: int = 8) -> None:
        self.preset = preset
        self.encoder = encoder
        self.batch = batch
        self.templates = load_templates(preset.templates)

    @classmethod
    def from_preset(
        cls,
        preset: str | SegmentPreset = DEFAULT_PRESET,
        *,
        model: str | None = None,
        upsampler_weights: str | None = None,
        device: str = "auto",
        batch: int = 8,
        offline: bool = False,
        report: Report = lambda done, total: None,
    ) -> Segmenter:
        """Load a preset.

        Args:
            preset: a name, a TOML file, or a row.
            model: other CLIP weights: a name, a Hugging Face id, a folder or a file.
            upsampler_weights: other upsampler weights: a name or a file.
            device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            batch: windows encoded at once.
            offline: use files that are here already, never the network.
            report: told about downloads.

        Raises:
            UsageError, WeightsError: unknown names, unreachable or unfitting weights.
        """
        row = load_preset(preset) if isinstance(preset, str) else preset
        row = replace(row, weights=model or row.weights, upsampler_weights=upsampler_weights or row.upsampler_weights)
        method = DenseMethod(attention=row.attention, keep_residual=row.keep_residual, last_n=row.last_n)
        if row.attention == "gem" and row.cls_weight != 0:
            raise UsageError("Attention 'gem' has no class token, so its cls_weight must be 0.")
        place = choose_device(device)
        backbone = load_clip(row.weights, activation=row.activation, offline=offline, device=place, report=report)
        upsampler = None
        if row.upsampler is not None:
            module = plugins.load("earthwords.models.upsamplers", row.upsampler, kind="upsampler")
            state = None
            if row.upsampler_weights is not None:
                state = load_upsampler_state(row.upsampler_weights, offline=offline, report=report)
            upsampler = module.build(backbone.dim, state).to(place).eval()
        encoder = Encoder(backbone=backbone.eval(), method=method, upsampler=upsampler, cls_weight=row.cls_weight)
        return cls(row, encoder, batch=batch)

    def text_bank(self, vocabulary: Vocabulary) -> TextBank:
        """The words as vectors of this preset's weights and templates; remembered on disk."""
        return build_text_bank(self.encoder.backbone, vocabulary, self.templates)

    def working_gsd(self, scene: Scene) -> float | None:
        """The ground sample distance to work at when none is asked for: the finest the weights know."""
        own, known = scene.native.gsd_m, self.preset.gsd
        return known[0] if known is not None and own is not None and own < known[0] * 0.99 else None

    def plan(self, scene: Scene, vocabulary: Vocabulary) -> WindowPlan:
        """The windows a scene needs.

        Raises:
            UsageError: impossible windows, or more words than the memory for such a width allows.
        """
        tile, overlap = self.preset.tile_size, self.preset.overlap
        if tile < self.encoder.backbone.patch or not 0 <= overlap < tile:
            raise UsageError(
                f"Windows of {tile} pixels with an overlap of {overlap} are impossible: the size must be at least "
                f"{self.encoder.backbone.patch} and the overlap smaller than it."
            )
        plan = WindowPlan(scene.grid.shape, tile, tile - overlap, self._resizer(scene).needed)
        needed = 4 * len(vocabulary.queries) * plan.size[0] * (plan.cols[-1] + plan.size[1] - plan.cols[0])
        if needed > BUFFER_LIMIT:
            raise UsageError(
                f"{len(vocabulary.queries)} words on rows of {scene.grid.width:,} pixels need "
                f"{needed / 2**30:.0f} GiB; ask for fewer words, a smaller part (--bounds) or a coarser --gsd."
            )
        return plan

    def strips(
        self,
        scene: Scene,
        vocabulary: Vocabulary,
        *,
        threshold: float | None = None,
        probabilities: bool = False,
        tick: Tick = lambda windows: None,
    ) -> Iterator[Strip]:
        """Segment a scene of any size from top to bottom, holding one row of windows.

        Args:
            threshold: least probability, instead of the preset's.
            probabilities: give the probabilities of all classes too.
            tick: called with the number of windows done.
        """
        plan = self.plan(scene, vocabulary)
        bank = self.text_bank(vocabulary)
        device = self.encoder.backbone.device
        queries = torch.from_numpy(bank.vectors).to(device)
        logits = slide_rows(
            lambda window: self._read(scene, window),
            lambda pixels: self.encoder.logits(pixels, queries),
            shape=plan.shape,
            queries=len(queries),
            tile=plan.tile,
            stride=plan.stride,
            batch=self.batch,
            region=plan.region,
            tick=tick,
        )
        least = self.preset.threshold if threshold is None else threshold
        for row, part in self._resizer(scene).resize(logits):
            for offset in range(0, part.shape[1], CHUNK_ROWS):
                chunk = part[:, offset : offset + CHUNK_ROWS]
                yield self._strip(scene, bank, row + offset, chunk, least, probabilities)

    def predict(
        self,
        source: str | Path | NDArray[np.generic],
        words: Sequence[str] | Vocabulary,
        *,
        bands: Sequence[int | str] | None = None,
        gsd: float | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        threshold: float | None = None,
        probabilities: bool = False,
    ) -> Segmentation:
        """Segment an image and keep the result in memory.

        Args:
            source: a path, a URL, or an array `(row, col, 3)` (uint8, or any other dtype, stretched).
            words: one string a class, commas between synonyms; or a vocabulary.
            bands, gsd, bounds: as for `open_scene`.
            threshold: least probability, instead of the preset's.
            probabilities: keep the probabilities of all classes.
        """
        vocabulary = words if isinstance(words, Vocabulary) else parse_classes(words)
        with self.open(source, bands=bands, gsd=gsd, bounds=bounds) as scene:
            strips = list(self.strips(scene, vocabulary, threshold=threshold, probabilities=probabilities))
            kept = [s.probabilities for s in strips if s.probabilities is not None]
            return Segmentation(
                labels=np.concatenate([s.labels for s in strips]),
                score=np.concatenate([s.score for s in strips]),
                probabilities=np.concatenate(kept, axis=1) if kept else None,
                grid=scene.native.window(scene.region),
                vocabulary=vocabulary,
                tags={**scene.tags(), **self.tags(vocabulary)},
            )

    def open(
        self,
        source: str | Path | NDArray[np.generic],
        *,
        bands: Sequence[int | str] | None = None,
        gsd: float | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        nodata: float | None = None,
        stretch: str = "auto",
    ) -> Scene:
        """A scene at the resolution this preset works at."""
        if isinstance(source, np.ndarray):
            return scene_from_array(source, stretch=stretch)
        scene = open_scene(source, bands=bands, gsd=gsd, bounds=bounds, nodata=nodata, stretch=stretch)
        return scene.at(self.working_gsd(scene)) if gsd is None else scene

    def tags(self, vocabulary: Vocabulary) -> dict[str, str]:
        """What outputs record about how they were made."""
        from earthwords import __version__

        preset = self.preset
        return {
            "EARTHWORDS_VERSION": __version__,
            "EARTHWORDS_PRESET": preset.name,
            "EARTHWORDS_WEIGHTS": preset.weights,
            "EARTHWORDS_ATTENTION": preset.attention,
            "EARTHWORDS_UPSAMPLER": preset.upsampler or "none",
            "EARTHWORDS_TEMPLATES": preset.templates,
            "EARTHWORDS_TILE": f"{preset.tile_size} overlap {preset.overlap}",
            "EARTHWORDS_VOCABULARY": "; ".join(",".join(c.names) for c in vocabulary.classes),
        }

    def _resizer(self, scene: Scene) -> RowResizer:
        return RowResizer(source=scene.grid.shape, target=scene.native.shape, region=scene.region)

    def _read(self, scene: Scene, window: Window) -> tuple[Tensor, Tensor]:
        """Normalised pixels, 0 (the mean colour) where nothing was observed, and the valid mask."""
        backbone = self.encoder.backbone
        raster = scene.read(window)
        pixels = torch.from_numpy(np.ascontiguousarray(raster.data, dtype=np.float32)).to(backbone.device)
        valid = torch.from_numpy(raster.valid).to(backbone.device)
        mean, std = (pixels.new_tensor(v)[:, None, None] for v in (backbone.mean, backbone.std))
        return (pixels - mean).div_(std).mul_(valid), valid

    def _strip(
        self, scene: Scene, bank: TextBank, row: int, logits: Tensor, threshold: float, probabilities: bool
    ) -> Strip:
        vocabulary = bank.vocabulary
        raster = scene.read_rgb(Window(row=row, col=scene.region.col, height=logits.shape[1], width=logits.shape[2]))
        index = torch.from_numpy(bank.query_class).to(logits.device)
        values = class_probabilities(logits, index, logit_scale=self.preset.logit_scale)
        below = vocabulary.nodata if vocabulary.background is None else vocabulary.background
        labels, score = decide(values, threshold=threshold, background=below)
        hidden = ~raster.valid
        labels_np = labels.cpu().numpy().astype(vocabulary.label_dtype)
        labels_np[hidden] = vocabulary.nodata
        score_np = score.cpu().numpy()
        score_np[hidden] = 0
        kept = None
        if probabilities:
            kept = values.cpu().numpy()
            kept[:, hidden] = np.nan
        return Strip(
            row=row - scene.region.row,
            labels=labels_np,
            score=score_np,
            rgb=raster.data.astype(np.float32, copy=False),
            valid=raster.valid,
            probabilities=kept,
        )


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UsageError: no such device here; nothing falls back in silence.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"Device {name!r} is not available here; use auto, cpu, cuda or mps.") from error
    return device
