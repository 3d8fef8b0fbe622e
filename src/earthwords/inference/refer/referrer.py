"""Pointing at things in scenes of any size: a sentence to the pixels it means (https://arxiv.org/abs/2501.06809)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import ArrayLike

from earthwords.errors import UsageError
from earthwords.geo.bands import Bands
from earthwords.geo.scene import Scene, open_scene
from earthwords.geo.sources.network import Network
from earthwords.inference.cautions import enforce, scene_notes, translation_notes
from earthwords.inference.refer.match import Match, ViewMatches, paste
from earthwords.inference.refer.overlaps import overlap_notes
from earthwords.inference.refer.pointing import THRESHOLD, Pointer, PointingOptions, Task
from earthwords.inference.refer.pyramid import View, levels, views
from earthwords.inference.refer.scene_level import is_scenewide, phrase_words
from earthwords.inference.refer.search import Compute, ViewSearch
from earthwords.inference.segment.result import SegmentationResult, gathered
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.strip import Strip, observed
from earthwords.jobs.job import Tick
from earthwords.jobs.journal import Journal
from earthwords.jobs.threads import Pool, one_core
from earthwords.models.device import choose_device
from earthwords.models.refseg.encoders import ClipWords, TextFeatures
from earthwords.models.refseg.load import load_refseg
from earthwords.models.refseg.model import RefSeg
from earthwords.models.refseg.presence import Presence
from earthwords.models.weights.fingerprint import weights_hash
from earthwords.refer_presets import ReferPreset
from earthwords.text.known_words import LEAST, KnownWords, Lexicon, Pieces, word_cautions
from earthwords.text.vocabulary import parse_sentences
from earthwords.types import Vocabulary, Window

_ROWS = 512
_VIEW_BYTES = 2 << 30
"""Memory for a view of 1,024 pixels a side, of a square of that size; less in proportion to its pixels."""


@dataclass(frozen=True, kw_only=True)
class ReferrerSpec:
    """How a referrer is loaded, here or in another process; the fields are the arguments of `Referrer.from_preset`."""

    preset: str = "refseg-tiny"
    model: str | None = None
    device: str = "auto"
    overlap: int | None = None
    offline: bool = False

    def load(self) -> Referrer:
        """The referrer; see `Referrer.from_preset`."""
        return Referrer.from_preset(**vars(self))


class Referrer:
    """A referring model that looks at scenes: sentences to masks, in memory.

    Example:
        >>> referrer = earthwords.Referrer.from_preset("refseg-tiny")
        >>> found = referrer.predict("ortho.tif", ["the largest building", "the lake on the left"])
        >>> found.save("found.gpkg")
    """

    def __init__(
        self,
        model: RefSeg,
        preset: ReferPreset,
        *,
        overlap: int | None = None,
        wide: Callable[[str], bool] = is_scenewide,
        presence: Presence | None = None,
    ) -> None:
        """
        Args:
            overlap: pixels that neighbouring views share; half of a view by default.
            wide: which sentences are about the scene as a whole.
            presence: how it tells that a thing is in a view; None: by the mean probability of its mask.
        """
        self.model, self.preset, self.wide, self.presence = model.eval(), preset, wide, presence
        self.side = model.side
        self.network = Network.NAMED
        """What may be reached to read scenes."""
        self.spec: ReferrerSpec | None = None
        """How others load the same; None: they cannot."""
        self.overlap = self.side // 2 if overlap is None else overlap
        if not 0 <= self.overlap < self.side:
            raise UsageError(f"Views of {self.side} pixels cannot overlap by {self.overlap}.")

    @classmethod
    def from_preset(
        cls,
        preset: str = "refseg-tiny",
        *,
        model: str | Path | None = None,
        device: str = "auto",
        overlap: int | None = None,
        offline: bool = False,
        allow_remote_parts: bool = False,
    ) -> Referrer:
        """Load a trained model.

        Args:
            preset: such as `refseg-tiny`.
            model: a folder of `train refer`, or a checkpoint of the authors' whose architecture `preset` names.
            device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            overlap: pixels that neighbouring views share; half of a view by default.
            offline: use files that are here already, never the network; also when scenes are read.
            allow_remote_parts: as for `open_scene`, of the scenes that are read.

        Returns:
            It, ready to predict.

        Raises:
            UsageError, WeightsError: unknown names, unreachable or unfitting weights.
        """
        network = Network.allowed(offline=offline, allow_remote_parts=allow_remote_parts)
        place = choose_device(device)
        name = preset if model is None else str(model)
        loaded = load_refseg(name, preset=None if model is None else preset, offline=offline, device=place)
        made = cls(loaded.model, loaded.preset, overlap=overlap, presence=loaded.presence)
        made.network = network
        named = None if model is None else str(model)
        made.spec = ReferrerSpec(preset=preset, model=named, device=str(place), overlap=overlap, offline=offline)
        return made

    def __repr__(self) -> str:
        row, device = self.preset, next(self.model.parameters()).device
        views = f"views of {self.side} px overlapping by {self.overlap}"
        return f"Referrer({row.name!r}: words by {row.words}, {views}, on {device})"

    def read(self, sentences: Sequence[str]) -> TextFeatures:
        """Sentences as the model reads them."""
        with one_core(), torch.inference_mode():
            return self.model.encode_texts(self.model.ids(sentences))

    def find(
        self,
        scene: Scene,
        sentences: Sequence[str],
        *,
        every: bool = False,
        threshold: float = THRESHOLD,
        min_score: float = 0.0,
        policy: FailurePolicy | None = None,
        tick: Tick = lambda views: None,
    ) -> list[Match]:
        """Where sentences point in the region of a scene.

        Args:
            every: all places at the finest resolution; else the best one of each sentence.
            threshold: probability above which a pixel belongs to a mask.
            min_score: how sure it must be that the thing is there (`Match.presence`): for things that may be absent.
            tick: called with the number of views done.

        Raises:
            UsageError: an impossible threshold.
            WindowError: a view cannot be read.
        """
        policy = policy or FailurePolicy()
        options = PointingOptions(every=every, threshold=threshold, min_score=min_score, on_error=policy.on_error)
        return self.search(scene, sentences, options, policy=policy, tick=tick)

    def search(
        self,
        scene: Scene,
        sentences: Sequence[str],
        options: PointingOptions,
        *,
        policy: FailurePolicy,
        compute: Compute | None = None,
        journal: Journal | None = None,
        tick: Tick = lambda views: None,
        skip: Tick = lambda views: None,
    ) -> list[Match]:
        """As `find`, by whoever computes; default: this process.

        Args:
            journal: what an earlier run has found, which is not looked for again.
            skip: called with the number of views that it has looked at.
        """
        search = ViewSearch(
            views=self.plan(scene, every=options.every),
            compute=compute or self._here(scene, sentences, options),
            policy=policy,
            journal=journal,
            tick=tick,
            skip=skip,
        )
        if options.every:
            return search.every()
        best = search.best([self.wide(sentence) for sentence in sentences])
        return [match for match in best if match.presence > options.min_score]

    def pointer(self, scene: Scene, text_features: TextFeatures, options: PointingOptions) -> Pointer:
        """What looks at the views of a scene."""
        return Pointer(
            model=self.model, scene=scene, text_features=text_features, options=options, presence=self.presence
        )

    def _here(self, scene: Scene, sentences: Sequence[str], options: PointingOptions) -> Compute:
        pointer = self.pointer(scene, self.read(sentences), options)

        def compute(tasks: Sequence[Task]) -> Iterator[tuple[int, ViewMatches]]:
            with Pool(self.threads) as pool:
                yield from enumerate(pool.ordered(pointer, tasks))

        return compute

    @property
    def threads(self) -> int:
        """Views that this process looks at at the same time, each with a core: on a CPU as many as it may use, if a
        quarter of the machine's memory is enough for them."""
        if self.model.device.type != "cpu":
            return 1
        each = _VIEW_BYTES * (self.side / 1024) ** 2
        return max(1, min(torch.get_num_threads(), int(_physical_memory() / 4 / each)))

    @cached_property
    def weights_hash(self) -> str:
        """Of all weights, of the preset, and of what tells that a thing is there."""
        return weights_hash(self.model.state_dict(), self.preset, self.presence)

    def plan(self, scene: Scene, *, every: bool = False) -> list[View]:
        """The views of a scene, the finest first."""
        wanted = levels(scene, self.side)
        chosen = [next(wanted)] if every else wanted
        found = [view for i, level in enumerate(chosen) for view in views(level, self.side, self.overlap, level=i)]
        aoi = scene.aoi
        return found if aoi is None else [view for view in found if aoi.inside(view.core, view.shape).any()]

    def predict(
        self,
        source: Any,
        sentences: Sequence[str] | str,
        *,
        every: bool = False,
        threshold: float = THRESHOLD,
        min_score: float = 0.0,
        bands: Bands | None = None,
        gsd: float | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        nodata: float | None = None,
        stretch: str = "auto",
        mask: str | Path | ArrayLike | None = None,
        transform: Affine | Sequence[float] | None = None,
        crs: Any = None,
        aoi: Any = None,
        probabilities: bool = False,
        strict: bool = False,
    ) -> SegmentationResult:
        """Point at things in an image and keep the result in memory: each sentence is a class of its own.

        Args:
            source: a path, a URL, an open rasterio dataset, an xarray object, or an array `(row, col, 3)`.
            sentences: one or several.
            every: all places instead of the best.
            threshold: probability above which a pixel belongs to a mask.
            min_score: how sure it must be that the thing is there, see `refer`.
            bands, gsd, bounds, nodata, stretch, mask, transform, crs, aoi: as for `open_scene`.
            probabilities: keep those of all sentences, which may overlap.
            strict: what is known to make the result worth less is an error, not a note.

        Returns:
            Labels `(row, col)`, 0 for the first sentence, and scores on the source's own pixels.

        Raises:
            UsageError: no sentence, impossible numbers, or options that do not fit the source.
            SourceError: the source cannot be read, or holds no valid pixel.
        """
        vocabulary = parse_sentences([sentences] if isinstance(sentences, str) else list(sentences))
        how: dict[str, Any] = {"bands": bands, "gsd": gsd, "bounds": bounds, "nodata": nodata, "stretch": stretch}
        how |= {"mask": mask, "transform": transform, "crs": crs, "aoi": aoi}
        with open_scene(source, **how, **self.network.as_options()) as scene:
            before = (*scene.notes, *self.request_notes(scene, vocabulary))
            enforce(before, strict=strict)
            matches = self.find(scene, vocabulary.queries, every=every, threshold=threshold, min_score=min_score)
            strips = self.strips(scene, matches, vocabulary, threshold=threshold, probabilities=probabilities)
            result = gathered(
                observed(strips, scene.source),
                scene=scene,
                vocabulary=vocabulary,
                tags={**scene.tags(), **self.tags(vocabulary, threshold=threshold, every=every, min_score=min_score)},
                probabilities=probabilities,
                notes=(*before, *self.notes(vocabulary.titles, matches, scene, threshold=threshold)),
            )
        enforce(result.notes, strict=strict)
        return result

    def strips(
        self,
        scene: Scene,
        matches: Sequence[Match],
        vocabulary: Vocabulary,
        *,
        threshold: float = THRESHOLD,
        probabilities: bool = False,
        policy: FailurePolicy | None = None,
    ) -> Iterator[Strip]:
        """The region from top to bottom: a pixel has the label of the sentence that is surest of it, or none."""
        policy, region = policy or FailurePolicy(), scene.region
        for row in range(0, region.height, _ROWS):
            height = min(_ROWS, region.height - row)
            window = Window(row=region.row + row, col=region.col, height=height, width=region.width)
            rgb, valid = read_twice(scene.read_wanted, window, scene.native, policy)
            labels = np.full(valid.shape, vocabulary.nodata, vocabulary.label_dtype)
            score = np.zeros(valid.shape, np.float32)
            sure = np.zeros((len(vocabulary), *valid.shape), np.float32) if probabilities else None
            for match in matches:
                paste(match, scene.native.shape, window, labels, score, sure, threshold)
            labels[~valid], score[~valid] = vocabulary.nodata, 0
            if sure is not None:
                sure[:, ~valid] = np.nan
            yield Strip(row=row, labels=labels, score=score, rgb=rgb, valid=valid, probabilities=sure)

    def request_notes(self, scene: Scene, vocabulary: Vocabulary) -> tuple[str, ...]:
        """What resolution, colours and words say of the worth of an answer, before it is looked for."""
        name = Path(self.preset.weights or self.preset.words).name
        return (
            *scene_notes(scene, model=self.preset.name, gsd=self.preset.gsd, levels=True),
            *translation_notes(vocabulary.classes),
            *word_cautions(vocabulary.queries, lexicon_of(self.model), name),
        )

    def notes(
        self, sentences: Sequence[str], matches: Sequence[Match], scene: Scene, *, threshold: float = THRESHOLD
    ) -> tuple[str, ...]:
        """What should be said about sentences once they were looked for: cut, nothing found, or covered by others."""
        notes = []
        found = {match.sentence for match in matches}
        titles = [repr(s if len(s) <= 60 else s[:57] + "...") for s in sentences]
        for i, (sentence, shown) in enumerate(zip(sentences, titles, strict=True)):
            if self._cut(sentence):
                notes.append(f"{shown} is longer than the model reads: its end is ignored.")
            if i not in found:
                notes.append(f"Nothing was found for {shown}.")
        return (*notes, *overlap_notes(scene, titles, matches, threshold=threshold, rows=_ROWS))

    def tags(self, vocabulary: Vocabulary, *, threshold: float, every: bool, min_score: float = 0.0) -> dict[str, str]:
        """What outputs record about how they were made."""
        from earthwords import __version__

        return {
            "EARTHWORDS_VERSION": __version__,
            "EARTHWORDS_PRESET": self.preset.name,
            "EARTHWORDS_WEIGHTS": self.preset.weights or self.preset.words,
            "EARTHWORDS_VIEWS": f"{self.side} overlap {self.overlap}",
            "EARTHWORDS_THRESHOLD": f"{threshold:g}",
            "EARTHWORDS_MIN_SCORE": f"{min_score:g}",
            "EARTHWORDS_PLACES": "all" if every else "best",
            "EARTHWORDS_VOCABULARY": "; ".join(vocabulary.titles),
        }

    def _cut(self, sentence: str) -> bool:
        """Whether the model does not read all of it: another last word would change nothing."""
        first, other = (self.model.ids([f"{sentence} {word}"]) for word in ("lake", "airport"))
        return first.shape == other.shape and bool(torch.equal(first, other))


def lexicon_of(model: RefSeg) -> Lexicon | None:
    """What the text tower can read, and the words that every training for sentences has; None: nobody knows.

    Of SigLIP's, whose training knew many languages, only the sentences for referring are known to be English.
    """
    if not isinstance(model.words, ClipWords):
        return Pieces(lambda word: [word], size=0)
    known = model.words.clip.lexicon
    if isinstance(known, KnownWords):
        return known.joined(KnownWords(pictures=dict.fromkeys(phrase_words(), LEAST)))
    return known


def _physical_memory() -> int:
    """Bytes of this machine; where the system does not tell, more than enough."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 60
