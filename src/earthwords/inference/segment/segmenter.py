"""Open-vocabulary segmentation: a scene and words in, labelled strips out."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from earthwords.geo.bands import Bands
from earthwords.geo.scene import Scene
from earthwords.geo.sources.network import Network
from earthwords.inference.cautions import taught_notes
from earthwords.inference.limits import check_numbers
from earthwords.inference.segment.load_encoder import load_encoder
from earthwords.inference.segment.postprocess import (
    class_maxima,
    class_probabilities,
    decide,
    rounded,
    undecided,
    unfit,
)
from earthwords.inference.segment.result import SegmentationResult
from earthwords.inference.segment.teachable import Teachable
from earthwords.inference.segment.view import SceneView
from earthwords.inference.windows.cues import Cues, with_cues
from earthwords.inference.windows.encoders.encoder import WindowEncoder
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.kept import KeptWindows
from earthwords.inference.windows.mixture import SCALE
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.resize import CELL_COLS, CELL_ROWS, in_cells
from earthwords.inference.windows.sliding import Slide
from earthwords.inference.windows.strip import Strip
from earthwords.jobs.job import Tick
from earthwords.jobs.progress import Report
from earthwords.jobs.threads import Pool, on_one_core, one_core
from earthwords.models.device import choose_device
from earthwords.models.taught import TaughtHead
from earthwords.models.weights.resolve import resolve
from earthwords.presets import DEFAULT_PRESET, SegmentPreset
from earthwords.text.templates import load_templates
from earthwords.types import TextBank, Vocabulary, Window


class Segmenter(Teachable):
    """A preset with its weights loaded: words and images to maps, in memory.

    Example:
        >>> segmenter = earthwords.Segmenter.from_preset("tiny")
        >>> result = segmenter.predict("ortho.tif", ["building,roof", "road", "water"])
        >>> result.to_geodataframe()
    """

    def __init__(
        self,
        preset: SegmentPreset,
        encoder: WindowEncoder,
        *,
        taught: TaughtHead | None = None,
        batch: int | None = None,
    ) -> None:
        check_numbers(threshold=preset.threshold, batch=batch)
        super().__init__(preset, encoder, taught=taught, batch=batch)
        self.templates = load_templates(preset.templates)
        self.notes: tuple[str, ...] = ()
        """Sentences for the user: how weights were chosen."""
        self._banks: dict[Vocabulary, TextBank] = {}

    @classmethod
    def from_preset(
        cls,
        preset: str | SegmentPreset = DEFAULT_PRESET,
        *,
        model: str | Path | None = None,
        upsampler_weights: str | Path | None = None,
        device: str = "auto",
        batch: int | None = None,
        offline: bool = False,
        allow_remote_parts: bool = False,
        report: Report = lambda done, total: None,
    ) -> Segmenter:
        """Load a preset.

        Args:
            preset: a name, a TOML file, or a row.
            model: other CLIP weights: a name, a Hugging Face id, a folder or a file.
            upsampler_weights: other upsampler weights: a name or a file; default: the preset's, or those of the table
                that belong to the upsampler and the CLIP weights.
            device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            batch: windows encoded at once; by default one a core, on a GPU 8.
            offline: use files that are here already, never the network; also when scenes are read.
            allow_remote_parts: as for `open_scene`, of the scenes that are read.
            report: told about downloads.

        Returns:
            It, ready to predict.

        Raises:
            UsageError, WeightsError: unknown names, unreachable or unfitting weights.
        """
        network = Network.allowed(offline=offline, allow_remote_parts=allow_remote_parts)
        found = resolve(preset, model=model, upsampler_weights=upsampler_weights)
        loaded = load_encoder(found, device=choose_device(device), offline=offline, report=report)
        made = cls(loaded.row, loaded.encoder, taught=loaded.taught, batch=batch)
        made.network = network
        made.notes = loaded.notes
        return made

    def __repr__(self) -> str:
        row, device = self.preset, self.encoder.backbone.device
        parts = f"weights {row.weights}, {self.encoder.described(row)}"
        windows = f"windows of {row.tile_size} px overlapping by {row.overlap}"
        return f"Segmenter({row.name!r}: {parts}, {windows}, on {device})"

    def text_bank(self, vocabulary: Vocabulary) -> TextBank:
        """The words as vectors of this preset's weights and templates; remembered on disk."""
        if vocabulary not in self._banks:
            self._banks[vocabulary] = self._text_bank(vocabulary)
        return self._banks[vocabulary]

    def _text_bank(self, vocabulary: Vocabulary) -> TextBank:
        taught = self.taught
        others = vocabulary if taught is None else taught.lacking(vocabulary)
        words = None if others is None else self.encoder.text_bank(others, self.templates)
        if taught is None:
            assert words is not None
            return words
        scale = self.preset.logit_scale
        return taught.bank(vocabulary, words=words, logit_scale=scale, weights_id=self.backbone.weights_id)

    def request_notes(self, scene: Scene, vocabulary: Vocabulary) -> tuple[str, ...]:
        """What is known of the worth of a map of these words in this scene, before it is made; see `cautions`."""
        if self.taught is None:
            words = self.encoder.word_notes(vocabulary, model=self.model_name)
        else:
            lexicon, options = self.backbone.lexicon, self.preset.taught_options
            words = taught_notes(self.taught, vocabulary, lexicon=lexicon, model=self.model_name, options=options)
        idle = [title for title, _ in self.preset.thresholds if title not in vocabulary.titles]
        idle_note = f"Thresholds of the preset for {', '.join(idle)} do not apply: no such class is asked for."
        return (*self.scene_notes(scene), *words, *([idle_note] if idle else []))

    @cached_property
    def weights_hash(self) -> str:
        """Of everything that pixels are multiplied with: vision tower, and upsampler or head."""
        return self.encoder.fingerprint

    @property
    def arithmetic(self) -> str:
        """What the last bits of a result depend on: the kind of device, and the batch on a GPU."""
        kind = self.encoder.backbone.device.type
        return kind if self._on_cpu else f"{kind}, batches of {self.batch}"

    @property
    def rounds(self) -> bool:
        """Whether a precision may decide about labels, and how much is known (of heads it is not)."""
        return self.preset.precision != "fp32" and not self.encoder.gives_probabilities

    def window_seconds(self, queries: int) -> float:
        """How long a window takes, measured on noise; of a GPU's batch, its share."""
        backbone, tile = self.encoder.backbone, self.preset.tile_size
        count = 1 if self._on_cpu else self.batch
        pixels = torch.randn(count, 3, tile, tile, device=backbone.device)
        words = F.normalize(torch.randn(queries, backbone.dim, device=backbone.device), dim=1)
        seconds = []
        with one_core():
            for _ in range(3):
                began = time.perf_counter()
                self.encoder.logits(pixels, words).sum().item()
                seconds.append(time.perf_counter() - began)
        return min(seconds) / count

    def strips(
        self,
        scene: Scene,
        bank: TextBank,
        *,
        region: Window | None = None,
        threshold: float | None = None,
        probabilities: bool = False,
        policy: FailurePolicy | None = None,
        tick: Tick = lambda windows: None,
        kept: KeptWindows | None = None,
    ) -> Iterator[Strip]:
        """Segment a scene of any size from top to bottom, holding one row of windows.

        Args:
            bank: the words, see `text_bank`.
            region: a part of `scene.region`, in native pixels; its first row and column must be whole cells from
                those of `scene.region`. The strips have the bits that the strips of the whole have there.
            threshold: least probability, instead of the preset's.
            probabilities: give the probabilities of all classes too.
            policy: what windows that fail do; told about them.
            tick: called with the number of windows done.
            kept: what is known of windows of the scene; not of a joint map, and not with a head.

        Raises:
            UsageError: impossible windows or threshold.
            WindowError: a window cannot be read or computed, in two attempts.
        """
        least = self.preset.threshold if threshold is None else threshold
        check_numbers(threshold=least, batch=self.batch)
        policy = policy or FailurePolicy()
        levels = self._levels(bank.vocabulary, threshold)
        part = region or scene.region
        yield from on_one_core(self._strips(scene, bank, part, levels, probabilities, policy, tick, kept))

    def _strips(
        self,
        scene: Scene,
        bank: TextBank,
        part: Window,
        threshold: float | Tensor,
        probabilities: bool,
        policy: FailurePolicy,
        tick: Tick,
        kept: KeptWindows | None,
    ) -> Generator[Strip, None, None]:
        plan = self.plan(scene, part)
        if kept is not None:
            plan = kept.plan(plan)
        queries = torch.from_numpy(bank.vectors).to(self.encoder.backbone.device)
        slide = Slide(
            plan=plan,
            queries=len(queries),
            batch=1 if self._on_cpu else self.batch,
            blend=self.preset.blend,
            device=queries.device,
        )

        noted = self.encoder.noted_in(policy, bank.query_class)

        def cosines(windows: Tensor) -> Tensor:
            return self.encoder.logits(windows, queries, note=noted, mixture=bank.mixture)

        def run(windows: Tensor, places: list[Window]) -> list[Tensor | None]:
            if kept is not None:
                return kept.logits(windows, places, queries, grid=scene.grid, policy=policy)
            return self.attempt(cosines, windows, places, scene.grid, policy)

        with Pool(self.threads) as pool, ExitStack() as stack:
            rows = slide.rows(lambda window: self.read(scene, window, policy), run, pool=pool, tick=tick)
            if bank.cues is not None:
                assert self.taught is not None
                cues = stack.enter_context(Cues(scene))
                rows = with_cues(rows, cues, self.taught, bank.cues, plan.region, policy, preset=self.preset.name)
            resized = self.resizer(scene, part, most_rows=CELL_ROWS).resize(rows)
            for row, logits in in_cells(resized, part):
                yield self._strip(scene, bank, part, row, logits, threshold, probabilities, policy)

    def predict(
        self,
        source: Any,
        words: Sequence[str] | Vocabulary | None = None,
        *,
        bands: Bands | None = None,
        gsd: float | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        nodata: float | None = None,
        stretch: str = "auto",
        mask: str | Path | ArrayLike | None = None,
        transform: Affine | Sequence[float] | None = None,
        crs: Any = None,
        aoi: Any = None,
        threshold: float | None = None,
        background: str | int | None = None,
        against: str | Sequence[str] | None = None,
        joint: bool = False,
        strict: bool = False,
        probabilities: bool = False,
    ) -> SegmentationResult:
        """Segment an image and keep the result in memory.

        Args:
            source: a path, a URL, an open rasterio dataset, an xarray object, an array `(row, col, 3)` (uint8, or any
                other dtype, stretched), or what numpy makes one of, such as a PIL image.
            words: one string a class, commas between synonyms; or a vocabulary. None: the classes that it was taught.
            bands, gsd, bounds, nodata, stretch, mask, transform, crs, aoi: as for `open_scene`.
            threshold: least probability, instead of the preset's.
            background: title or index of the class that takes the pixels below it, as for `parse_classes`.
            against: words that compete as background: `auto`, words, or `none`; by default `auto` for a single class,
                see `compete`. A vocabulary is taken as it is.
            joint: let all tokens of the image decide together, see `windows.mixture`.
            strict: what is known to make the result worth less is an error, not a note.
            probabilities: keep the probabilities of all classes.

        Returns:
            Labels, scores and pictures on the grid of the source; `notes` tell what was assumed, and what is known of
            the result's worth.

        Raises:
            UsageError: no words, impossible numbers, or options that do not fit the source.
            SourceError: the source cannot be read, or holds no valid pixel.
        """
        vocabulary = self._vocabulary(words, background, against)
        how: dict[str, Any] = {"bands": bands, "gsd": gsd, "bounds": bounds, "nodata": nodata, "stretch": stretch}
        how |= {"mask": mask, "transform": transform, "crs": crs, "aoi": aoi}
        with self.open(source, **how) as scene:
            return SceneView(self, scene, parts=None).predict(
                vocabulary, threshold=threshold, joint=joint, strict=strict, probabilities=probabilities
            )

    def tags(self, vocabulary: Vocabulary, *, threshold: float | None = None) -> dict[str, str]:
        """What outputs record about how they were made."""
        from earthwords import __version__

        preset = self.preset
        least = f"{preset.threshold if threshold is None else threshold:g}"
        own = [f"{title} {level:g}" for title, level in preset.thresholds if threshold is None]
        return {
            "EARTHWORDS_VERSION": __version__,
            "EARTHWORDS_PRESET": preset.name,
            "EARTHWORDS_WEIGHTS": preset.weights,
            **self.encoder.tags(preset, taught=None if self.taught is None else self.taught.method),
            "EARTHWORDS_TILE": f"{preset.tile_size} overlap {preset.overlap}",
            "EARTHWORDS_BLEND": preset.blend,
            **({} if preset.precision == "fp32" else {"EARTHWORDS_PRECISION": preset.precision}),
            "EARTHWORDS_THRESHOLD": "; ".join([least, *own]),
            "EARTHWORDS_VOCABULARY": vocabulary.described,
        }

    @cached_property
    def _scale_and_bias(self) -> tuple[float, float | None]:
        return self.encoder.scale_and_bias(self.preset)

    def _probabilities(self, logits: Tensor, bank: TextBank) -> Tensor:
        """Of classes, `(class, row, col)`: some encoders have given those of queries already."""
        query_class = torch.from_numpy(bank.query_class).to(logits.device)
        if self.encoder.gives_probabilities:
            return class_maxima(logits, query_class)
        if bank.bias is not None:
            logits = logits + torch.from_numpy(bank.bias).to(logits.device)[:, None, None]
        scale, bias = self._scale_and_bias if bank.mixture is None else (SCALE, None)
        values = class_probabilities(logits, query_class, logit_scale=scale, bias=bias)
        return values / values.sum(dim=0) if self.preset.sum_to_one else values

    def _levels(self, vocabulary: Vocabulary, threshold: float | None) -> float | Tensor:
        """Least probability of all classes, or `(class,)` of each where the preset has some of their own."""
        if threshold is not None or not self.preset.thresholds:
            return self.preset.threshold if threshold is None else threshold
        own = dict(self.preset.thresholds)
        levels = [own.get(title, self.preset.threshold) for title in vocabulary.titles]
        return torch.tensor(levels, device=self.encoder.backbone.device)

    def _unfit(self, logits: Tensor, bank: TextBank) -> Tensor | None:
        """Pixels that no word fits, if the preset's weights can tell; a head's threshold says it, a mixture nothing."""
        nothing = self.preset.nothing
        if nothing is None or self.encoder.gives_probabilities or bank.mixture is not None:
            return None
        return unfit(logits, nothing)

    def _strip(
        self,
        scene: Scene,
        bank: TextBank,
        part: Window,
        row: int,
        logits: Tensor,
        threshold: float | Tensor,
        probabilities: bool,
        policy: FailurePolicy,
    ) -> Strip:
        """Labels of a few rows, cell by cell."""
        vocabulary = bank.vocabulary
        window = Window(row=row, col=part.col, height=logits.shape[1], width=logits.shape[2])
        rgb, valid = read_twice(scene.read_wanted, window, scene.native, policy)
        below = vocabulary.nodata if vocabulary.background is None else vocabulary.background
        labels = np.empty(valid.shape, vocabulary.label_dtype)
        score = np.empty(valid.shape, np.float32)
        close = np.empty(valid.shape, bool)
        rounding = np.empty(valid.shape, bool) if self.rounds else None
        kept = np.empty((len(vocabulary), *valid.shape), np.float32) if probabilities else None
        for first in range(0, window.width, CELL_COLS):
            cell = slice(first, first + CELL_COLS)
            values = self._probabilities(logits[:, :, cell], bank)
            chosen, best = decide(
                values, threshold=threshold, background=below, without=self._unfit(logits[:, :, cell], bank)
            )
            labels[:, cell], score[:, cell] = chosen.cpu().numpy(), best.cpu().numpy()
            close[:, cell] = undecided(values).cpu().numpy()
            if rounding is not None:
                preset = self.preset
                near = rounded(
                    logits[:, :, cell],
                    values,
                    preset.precision,
                    logit_scale=self._scale_and_bias[0],
                    nothing=preset.nothing,
                )
                rounding[:, cell] = near.cpu().numpy()
            if kept is not None:
                kept[:, :, cell] = values.cpu().numpy()
        unseen = (logits == 0).all(dim=0).cpu().numpy()  # too small a spot for any pixel of the working grid
        hidden = ~valid | unseen
        labels[hidden], score[hidden], close[hidden] = vocabulary.nodata, 0, False
        if rounding is not None:
            rounding[hidden] = False
        if kept is not None:
            kept[:, hidden] = np.nan
        return Strip(
            row=row - scene.region.row,
            labels=labels,
            score=score,
            rgb=rgb,
            valid=valid,
            probabilities=kept,
            undecided=close,
            rounding=rounding,
        )
