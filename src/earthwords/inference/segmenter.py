"""Open-vocabulary segmentation: a scene and words in, labelled strips out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from earthwords import plugins
from earthwords.errors import SourceError, UsageError
from earthwords.geo.scene import Scene, open_scene, scene_from_array
from earthwords.inference.decide import class_probabilities, decide
from earthwords.inference.result import SegmentationResult
from earthwords.inference.rows import RowResizer
from earthwords.inference.sliding import Encoder, WindowPlan, slide_rows
from earthwords.inference.strip import Strip
from earthwords.inference.textbank import build_text_bank
from earthwords.models.backbones.clip import DenseMethod
from earthwords.models.weights import Report, load_clip, load_upsampler_state
from earthwords.presets import DEFAULT_PRESET, SegmentPreset, load_preset
from earthwords.text.templates import load_templates
from earthwords.text.vocabulary import parse_classes
from earthwords.types import TextBank, Vocabulary, Window

CHUNK_BYTES = 2**27
"""Logits that are turned into labels at once, at most 64 rows of them."""
BUFFER_LIMIT = 4 * 2**30
"""Bytes that the sums of overlapping windows may take."""


Tick = Callable[[int], None]


class Segmenter:
    """A preset with its weights loaded."""

    def __init__(self, preset: SegmentPreset, encoder: Encoder, *, batch: int = 8) -> None:
        check_numbers(threshold=preset.threshold, batch=batch)
        self.preset = preset
        self.encoder = encoder
        self.batch = batch
        self.templates = load_templates(preset.templates)

    @classmethod
    def from_preset(
        cls,
        preset: str | SegmentPreset = DEFAULT_PRESET,
        *,
        model: str | Path | None = None,
        upsampler_weights: str | Path | None = None,
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
        row = replace(row, weights=str(model or row.weights))
        if upsampler_weights is not None:
            row = replace(row, upsampler_weights=str(upsampler_weights))
        load_templates(row.templates)  # a wrong name is told before anything is downloaded
        method = DenseMethod(attention=row.attention, keep_residual=row.keep_residual, last_n=row.last_n)
        if row.attention == "gem" and row.cls_weight != 0:
            raise UsageError("Attention 'gem' has no class token, so its cls_weight must be 0.")
        if not 0 < row.energy <= 1:
            raise UsageError(f"The energy kept is a share above 0 and up to 1, got {row.energy:g}.")
        if row.upsampler is None and row.upsampler_weights is not None:
            raise UsageError(f"Upsampler weights {row.upsampler_weights!r} need an upsampler; name one, such as jbu.")
        builder = row.upsampler and plugins.load("earthwords.models.upsamplers", row.upsampler, kind="upsampler")
        place = choose_device(device)
        backbone = load_clip(row.weights, activation=row.activation, offline=offline, device=place, report=report)
        upsampler = None
        if builder:
            state = None
            if row.upsampler_weights is not None:
                state = load_upsampler_state(row.upsampler_weights, offline=offline, report=report)
            upsampler = builder.build(backbone.dim, state).to(place).eval()
        encoder = Encoder(
            backbone=backbone.eval(), method=method, upsampler=upsampler, cls_weight=row.cls_weight, energy=row.energy
        )
        return cls(row, encoder, batch=batch)

    def text_bank(self, vocabulary: Vocabulary) -> TextBank:
        """The words as vectors of this preset's weights and templates; remembered on disk."""
        return build_text_bank(self.encoder.backbone, vocabulary, self.templates)

    def working_gsd(self, scene: Scene) -> float | None:
        """The ground sample distance to work at when none is asked for: the finest the weights know, for a scene
        that is finer; else None."""
        own, known = scene.native.gsd_m, self.preset.gsd
        return known[0] if known is not None and own is not None and own < known[0] * 0.99 else None

    def plan(self, scene: Scene, vocabulary: Vocabulary) -> WindowPlan:
        """The windows a scene needs.

        Raises:
            UsageError: impossible windows, or more words than the memory for such a width allows.
        """
        tile, overlap, queries = self.preset.tile_size, self.preset.overlap, len(vocabulary.queries)
        if tile < self.encoder.backbone.patch or not 0 <= overlap < tile:
            raise UsageError(
                f"Windows of {tile} pixels with an overlap of {overlap} are impossible: the size must be at least "
                f"{self.encoder.backbone.patch} and the overlap smaller than it."
            )
        plan = WindowPlan(scene.grid.shape, tile, tile - overlap, self._resizer(scene).needed)
        needed = 4 * queries * plan.size[0] * (plan.cols[-1] + plan.size[1] - plan.cols[0])
        if needed > BUFFER_LIMIT:
            raise UsageError(
                f"{queries} words on rows of {scene.grid.width:,} pixels need "
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

        Raises:
            UsageError: impossible windows or threshold, or too many words for the memory.
            SourceError: no pixel of the part asked for is valid.
        """
        least = self.preset.threshold if threshold is None else threshold
        check_numbers(threshold=least, batch=self.batch)
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
        most = min(64, max(1, CHUNK_BYTES // (4 * len(queries) * scene.region.width)))
        observed = False
        for row, part in self._resizer(scene, most_rows=most).resize(logits):
            for offset in range(0, part.shape[1], most):
                chunk = part[:, offset : offset + most]
                strip = self._strip(scene, bank, row + offset, chunk, least, probabilities)
                observed |= bool(strip.valid.any())
                yield strip
        if not observed:
            raise SourceError(f"{scene.source} has no valid pixel in the part asked for; choose other bounds.")

    def predict(
        self,
        source: str | Path | ArrayLike,
        words: Sequence[str] | Vocabulary,
        *,
        bands: Sequence[int | str] | None = None,
        gsd: float | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        nodata: float | None = None,
        stretch: str = "auto",
        threshold: float | None = None,
        background: str | int | None = None,
        probabilities: bool = False,
    ) -> SegmentationResult:
        """Segment an image and keep the result in memory.

        Args:
            source: a path, a URL, or an array `(row, col, 3)` (uint8, or any other dtype, stretched), or what numpy
                makes one of, such as a PIL image.
            words: one string a class, commas between synonyms; or a vocabulary.
            bands, gsd, bounds, nodata, stretch: as for `open_scene`; an array takes `stretch` only.
            threshold: least probability, instead of the preset's.
            background: title or index of the class that takes the pixels below it, as for `parse_classes`.
            probabilities: keep the probabilities of all classes.
        """
        vocabulary = words if isinstance(words, Vocabulary) else parse_classes(words, background=background)
        with self.open(source, bands=bands, gsd=gsd, bounds=bounds, nodata=nodata, stretch=stretch) as scene:
            grid = scene.native.window(scene.region)
            result = SegmentationResult(
                labels=np.empty(grid.shape, vocabulary.label_dtype),
                score=np.empty(grid.shape, np.float32),
                probabilities=np.empty((len(vocabulary), *grid.shape), np.float32) if probabilities else None,
                image=np.empty((*grid.shape, 3), np.uint8),
                valid=np.empty(grid.shape, bool),
                grid=grid,
                vocabulary=vocabulary,
                tags={**scene.tags(), **self.tags(vocabulary, threshold=threshold)},
                source=scene.source,
                notes=scene.notes,
            )
            for strip in self.strips(scene, vocabulary, threshold=threshold, probabilities=probabilities):
                rows = slice(strip.row, strip.row + len(strip.labels))
                result.labels[rows], result.score[rows], result.valid[rows] = strip.labels, strip.score, strip.valid
                result.image[rows] = np.rint(np.moveaxis(strip.rgb, 0, -1) * 255)
                if result.probabilities is not None:
                    result.probabilities[:, rows] = strip.probabilities
        return result

    def open(
        self,
        source: str | Path | ArrayLike,
        *,
        bands: Sequence[int | str] | None = None,
        gsd: float | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        nodata: float | None = None,
        stretch: str = "auto",
    ) -> Scene:
        """A scene at the resolution this preset works at."""
        if isinstance(source, (str, Path)):
            scene = open_scene(source, bands=bands, gsd=gsd, bounds=bounds, nodata=nodata, stretch=stretch)
            return self.at_working_gsd(scene) if gsd is None else scene
        if any(option is not None for option in (bands, gsd, bounds, nodata)):
            raise UsageError("bands, gsd, bounds and nodata are for files; index or cut the array itself.")
        return scene_from_array(np.asarray(source), stretch=stretch)

    def at_working_gsd(self, scene: Scene) -> Scene:
        """The same open scene at `working_gsd`."""
        return scene.at(self.working_gsd(scene))

    def tags(self, vocabulary: Vocabulary, *, threshold: float | None = None) -> dict[str, str]:
        """What outputs record about how they were made."""
        from earthwords import __version__

        preset = self.preset
        least = preset.threshold if threshold is None else threshold
        return {
            "EARTHWORDS_VERSION": __version__,
            "EARTHWORDS_PRESET": preset.name,
            "EARTHWORDS_WEIGHTS": preset.weights,
            "EARTHWORDS_ATTENTION": preset.attention,
            "EARTHWORDS_UPSAMPLER": " ".join(filter(None, (preset.upsampler or "none", preset.upsampler_weights))),
            "EARTHWORDS_ENERGY": f"{preset.energy:g}",
            "EARTHWORDS_LAST_BLOCK": f"last {preset.last_n}, residual {'kept' if preset.keep_residual else 'dropped'}",
            "EARTHWORDS_CLS_WEIGHT": f"{preset.cls_weight:g}",
            "EARTHWORDS_LOGIT_SCALE": f"{preset.logit_scale:g}",
            "EARTHWORDS_TEMPLATES": preset.templates,
            "EARTHWORDS_TILE": f"{preset.tile_size} overlap {preset.overlap}",
            "EARTHWORDS_THRESHOLD": f"{least:g}",
            "EARTHWORDS_VOCABULARY": "; ".join(",".join(c.names) for c in vocabulary.classes),
        }

    def _resizer(self, scene: Scene, *, most_rows: int | None = None) -> RowResizer:
        return RowResizer(source=scene.grid.shape, target=scene.native.shape, region=scene.region, most_rows=most_rows)

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
        unseen = (logits == 0).all(dim=0).cpu().numpy()  # too small a spot for any pixel of the working grid
        hidden = ~raster.valid | unseen
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


def check_numbers(*, threshold: float, batch: int) -> None:
    """Refuse impossible numbers, before anything is downloaded.

    Raises:
        UsageError: no probability, or an empty batch.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"The threshold is a probability between 0 and 1, got {threshold:g}.")
    if batch < 1:
        raise UsageError(f"At least one window must be encoded at once, got a batch of {batch}.")


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
