"""Pointing at things in scenes of any size: a sentence to the pixels it means (https://arxiv.org/abs/2501.06809).

A scene larger than the model's view is searched from fine to coarse (`inference.views`): every view is encoded once for
all sentences, and the view whose mask is surest and most like the sentence is looked at again with the mask in its
middle, at the finest resolution that shows it whole. Of a sentence about the scene (`inference.scenewide`) the coarsest
level that shows anything decides. `every` takes all masks of the finest level instead.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from earthwords.errors import UsageError
from earthwords.geo.bands import Bands
from earthwords.geo.scene import Scene, open_scene
from earthwords.geo.sources.network import Network
from earthwords.inference.cautions import enforce, scene_notes, translation_notes
from earthwords.inference.limits import check_threshold
from earthwords.inference.refer.pyramid import View, around, filled, levels, region_on, views
from earthwords.inference.refer.scene_level import is_scenewide, phrase_words
from earthwords.inference.segment.result import SegmentationResult, gathered
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.predictor import choose_device
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.strip import Strip, observed
from earthwords.jobs.job import Tick
from earthwords.models.refseg.encoders import ClipWords, TextFeatures
from earthwords.models.refseg.load import load_refseg
from earthwords.models.refseg.model import ImageFeatures, RefSeg
from earthwords.presets import ReferPreset
from earthwords.text.known_words import LEAST, KnownWords, Lexicon, Pieces, word_cautions
from earthwords.text.vocabulary import parse_sentences
from earthwords.types import Vocabulary, Window

THRESHOLD = 0.5
SENTENCES = 16
"""Sentences that are decided at once."""
KEPT = 3
"""Views that are looked at again, of every sentence."""
MARGIN = 1.6
"""How much more than the mask a second look shows."""
SAME = 0.5
"""Least share of the first mask that a second look finds again."""
_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class Match:
    """Where a sentence was found."""

    sentence: int
    view: View
    part: Window
    """Of the view's level grid: the pixels that `probability` tells of."""
    probability: NDArray[np.float16]
    """`(row, col)` of `part`."""
    score: float
    """Mean probability inside the mask, 0..1; 0 without one."""
    similarity: float
    """Mean sigmoid of the calibrated cosines of pixels and sentence inside the mask."""

    def marks(self, threshold: float) -> NDArray[np.bool_]:
        """The mask `(row, col)` of `part`."""
        return np.asarray(self.probability.astype(np.float32) > threshold)

    @property
    def rank(self) -> float:
        """What decides between views."""
        return float(self.score * np.sqrt(self.similarity))


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
    ) -> None:
        """
        Args:
            overlap: pixels that neighbouring views share; half of a view by default.
            wide: which sentences are about the scene as a whole.
        """
        self.model, self.preset, self.wide = model.eval(), preset, wide
        self.side = model.side
        self.network = Network.NAMED
        """What may be reached to read scenes."""
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
        made = cls(loaded.model, loaded.preset, overlap=overlap)
        made.network = network
        return made

    def __repr__(self) -> str:
        row, device = self.preset, next(self.model.parameters()).device
        views = f"views of {self.side} px overlapping by {self.overlap}"
        return f"Referrer({row.name!r}: words by {row.words}, {views}, on {device})"

    def read(self, sentences: Sequence[str]) -> TextFeatures:
        """Sentences as the model reads them, for `find`."""
        with torch.inference_mode():
            return self.model.read(self.model.ids(sentences))

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
            min_score: mean probability that a mask must exceed; a surer "nothing" for things that may be absent.
            tick: called with the number of views done.

        Raises:
            UsageError: an impossible threshold.
            WindowError: a view cannot be read.
        """
        check_threshold(threshold)
        check_threshold(min_score, name="least score")
        policy, said = policy or FailurePolicy(), self.read(sentences)
        best: list[list[tuple[int, float, int, Match]]] = [[] for _ in sentences]
        wide = [self.wide(sentence) for sentence in sentences]
        found: list[Match] = []
        for number, view in enumerate(self.plan(scene, every=every)):
            part = view.core if every else view.window
            for match in self._look(view, part, said, range(len(sentences)), threshold, policy):
                if every:
                    found += [match] if match.score > min_score else []
                elif match.score > min_score:
                    push = heapq.heappush if len(best[match.sentence]) < KEPT else heapq.heappushpop
                    level = view.level if wide[match.sentence] else 0
                    push(best[match.sentence], (level, match.rank, -number, match))
            tick(1)
        if every:
            return found
        refined = (self._refined(scene, kept, said, threshold, policy) for kept in best if kept)
        return [match for match in refined if match.score > min_score]

    def plan(self, scene: Scene, *, every: bool = False) -> list[View]:
        """The views of a scene, the finest first."""
        wanted = levels(scene, self.side)
        chosen = [next(wanted)] if every else wanted
        return [view for i, level in enumerate(chosen) for view in views(level, self.side, self.overlap, level=i)]

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
        probabilities: bool = False,
        strict: bool = False,
    ) -> SegmentationResult:
        """Point at things in an image and keep the result in memory: each sentence is a class of its own.

        Args:
            source: a path, a URL, an open rasterio dataset, an xarray object, or an array `(row, col, 3)`.
            sentences: one or several.
            every: all places instead of the best.
            threshold: probability above which a pixel belongs to a mask.
            min_score: mean probability that a mask must exceed.
            bands, gsd, bounds, nodata, stretch, mask, transform, crs: as for `open_scene`.
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
        how |= {"mask": mask, "transform": transform, "crs": crs}
        said = vocabulary.queries
        with open_scene(source, **how, **self.network.as_options()) as scene:
            before = (*scene.notes, *self.request_notes(scene, vocabulary))
            enforce(before, strict=strict)
            matches = self.find(scene, said, every=every, threshold=threshold, min_score=min_score)
            strips = self.strips(scene, matches, vocabulary, threshold=threshold, probabilities=probabilities)
            result = gathered(
                observed(strips, scene.source),
                scene=scene,
                vocabulary=vocabulary,
                tags={**scene.tags(), **self.tags(vocabulary, threshold=threshold, every=every, min_score=min_score)},
                probabilities=probabilities,
                notes=(*before, *self.notes(vocabulary.titles, matches)),
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
            rgb, valid = read_twice(scene.read_rgb, window, scene.native, policy)
            labels = np.full(valid.shape, vocabulary.nodata, vocabulary.label_dtype)
            score = np.zeros(valid.shape, np.float32)
            kept = np.zeros((len(vocabulary), *valid.shape), np.float32) if probabilities else None
            for match in matches:
                _paste(match, window, labels, score, kept, threshold)
            labels[~valid], score[~valid] = vocabulary.nodata, 0
            if kept is not None:
                kept[:, ~valid] = np.nan
            yield Strip(row=row, labels=labels, score=score, rgb=rgb, valid=valid, probabilities=kept)

    def request_notes(self, scene: Scene, vocabulary: Vocabulary) -> tuple[str, ...]:
        """What resolution, colours and words say of the worth of an answer, before it is looked for."""
        name = Path(self.preset.weights or self.preset.words).name
        return (
            *scene_notes(scene, model=self.preset.name, gsd=self.preset.gsd, levels=True),
            *translation_notes(vocabulary.classes),
            *word_cautions(vocabulary.queries, lexicon_of(self.model), name),
        )

    def notes(self, sentences: Sequence[str], matches: Sequence[Match]) -> tuple[str, ...]:
        """What should be said about sentences once they were looked for: cut, or nothing found."""
        told = []
        seen = {match.sentence for match in matches}
        for i, sentence in enumerate(sentences):
            shown = sentence if len(sentence) <= 60 else sentence[:57] + "..."
            if self._cut(sentence):
                told.append(f"{shown!r} is longer than the model reads: its end is ignored.")
            if i not in seen:
                told.append(f"Nothing was found for {shown!r}.")
        return tuple(told)

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

    @torch.inference_mode()
    def _look(
        self,
        view: View,
        part: Window,
        said: TextFeatures,
        which: Sequence[int],
        threshold: float,
        policy: FailurePolicy,
    ) -> list[Match]:
        """What some sentences find in a part of a view."""
        pixels, valid = view.read(policy)
        if not valid.any():
            return []
        device = self.model.device
        seen_at = torch.from_numpy(valid).to(device)
        mean = torch.tensor(self.model.mean, device=device)
        image = filled(torch.from_numpy(np.ascontiguousarray(pixels)).to(device), seen_at, view, self.side, mean)
        seen, found = self.model.look(self.model.fit(image)[None]), []
        for start in range(0, len(which), SENTENCES):
            some = list(which[start : start + SENTENCES])
            probability, similarity = self._point(seen, said, some, view)
            probability = probability * seen_at
            found += [_match(s, view, part, probability[i], similarity[i], threshold) for i, s in enumerate(some)]
        return found

    def _point(self, seen: ImageFeatures, said: TextFeatures, some: list[int], view: View) -> tuple[Tensor, Tensor]:
        """Probabilities `(sentence, row, col)` and similarities of the same shape, on the view's window."""
        index = torch.tensor(some, device=said.tokens.device)
        part = TextFeatures(tokens=said.tokens[index], sentence=said.sentence[index], words=said.words[index])
        pointed = self.model.point(seen, part, torch.zeros(len(some), dtype=torch.int64, device=index.device))
        window = view.window
        shape = (window.height, window.width) if view.whole else (self.side, self.side)
        both = (pointed.logits, self.model.similarity(pointed, part)[:, None])
        probability, similarity = (
            self.model.restore(logits, shape)[:, 0, : window.height, : window.width].sigmoid() for logits in both
        )
        return probability, similarity

    def _refined(
        self,
        scene: Scene,
        kept: list[tuple[int, float, int, Match]],
        said: TextFeatures,
        threshold: float,
        policy: FailurePolicy,
    ) -> Match:
        """The best of some matches of the coarsest level, each looked at again in the middle of a view."""
        order = [(level, match) for level, _, _, match in sorted(kept, reverse=True)]
        again = [self._again(scene, m, said, threshold, policy) for level, m in order if level == order[0][0]]
        return max(again, key=lambda match: match.rank)

    def _again(self, scene: Scene, first: Match, said: TextFeatures, threshold: float, policy: FailurePolicy) -> Match:
        """The mask as a view around it gives it, a wider one as long as the border cuts it; as it was, if the view
        shows another thing."""
        tall, wide = (a / b for a, b in zip(scene.grid.shape, first.view.scene.grid.shape, strict=True))
        top, left, bottom, right = _box(first, threshold)
        row, col = (first.part.row + (top + bottom) / 2) * tall, (first.part.col + (left + right) / 2) * wide
        extent = MARGIN * max((bottom - top) * tall, (right - left) * wide)
        found = first
        while True:
            view = around(scene, row, col, extent, self.side)
            if view == found.view:
                return found
            seconds = self._look(view, view.window, said, [first.sentence], threshold, policy)
            if not seconds or _shared(found, seconds[0], threshold) < SAME:
                return found
            found = seconds[0]
            if view.whole or not _is_cut(found, threshold):
                return found
            extent = 2 * max(extent, self.side)


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


def _match(sentence: int, view: View, part: Window, probability: Tensor, similarity: Tensor, threshold: float) -> Match:
    rows = slice(part.row - view.window.row, part.row_stop - view.window.row)
    cols = slice(part.col - view.window.col, part.col_stop - view.window.col)
    probability = probability.half()
    whole = probability.float() > threshold
    inside = bool(whole[rows, cols].any())
    return Match(
        sentence=sentence,
        view=view,
        part=part,
        probability=probability[rows, cols].cpu().numpy(),
        score=float(probability[whole].float().mean()) if inside else 0.0,
        similarity=float(similarity[whole].mean()) if inside else 0.0,
    )


def _on_grid(match: Match, shape: tuple[int, int], window: Window) -> tuple[slice, slice, NDArray[np.float32]] | None:
    """Probabilities of a match on a window of a grid of `shape` over the same ground: rows and columns of the window
    whose centres lie in the match, and the bilinear values there; None if there are none."""
    place = []
    for axis, (first, length, origin, size) in enumerate(
        (
            (window.row, window.height, match.part.row, match.part.height),
            (window.col, window.width, match.part.col, match.part.width),
        )
    ):
        scale = match.view.scene.grid.shape[axis] / shape[axis]
        at = (first + np.arange(length) + 0.5) * scale - origin
        inside = np.flatnonzero((at >= 0) & (at < size))
        if not len(inside):
            return None
        at = np.clip(at[inside] - 0.5, 0, size - 1)
        low = np.minimum(at.astype(np.int64), max(size - 2, 0))
        place.append(
            (slice(inside[0], inside[-1] + 1), low, np.minimum(low + 1, size - 1), (at - low).astype(np.float32))
        )
    (rows, top, bottom, down), (cols, left, right, across) = place
    values = match.probability.astype(np.float32)
    upper = values[top][:, left] * (1 - across) + values[top][:, right] * across
    lower = values[bottom][:, left] * (1 - across) + values[bottom][:, right] * across
    return rows, cols, (upper * (1 - down)[:, None] + lower * down[:, None])


def _paste(
    match: Match,
    window: Window,
    labels: NDArray[np.unsignedinteger],
    score: NDArray[np.float32],
    kept: NDArray[np.float32] | None,
    threshold: float,
) -> None:
    """Give the pixels of a match in a window of the scene's own pixels its label where it is the surest."""
    found = _on_grid(match, match.view.scene.native.shape, window)
    if found is None:
        return
    rows, cols, values = found
    if kept is not None:
        np.maximum(kept[match.sentence, rows, cols], values, out=kept[match.sentence, rows, cols])
    better = (values > threshold) & (values > score[rows, cols])
    labels[rows, cols][better] = match.sentence
    score[rows, cols][better] = values[better]


def _shared(first: Match, second: Match, threshold: float) -> float:
    """Share of the first's mask, as far as the second's view shows it, that is in the second's."""
    found = _on_grid(first, second.view.scene.grid.shape, second.part)
    if found is None:
        return 0.0
    rows, cols, values = found
    marked = values > threshold
    return float((second.marks(threshold)[rows, cols])[marked].mean()) if marked.any() else 0.0


def _box(match: Match, threshold: float) -> tuple[int, int, int, int]:
    """First and last + 1 row, column of the mask: top, left, bottom, right, in `part`."""
    inside = match.marks(threshold)
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1


def _is_cut(match: Match, threshold: float) -> bool:
    """Whether the mask reaches a border of its view beyond which the region goes on."""
    top, left, bottom, right = _box(match, threshold)
    part, region = match.part, region_on(match.view.scene)
    return (
        (top == 0 and part.row > region.row)
        or (left == 0 and part.col > region.col)
        or (bottom == part.height and part.row_stop < region.row_stop)
        or (right == part.width and part.col_stop < region.col_stop)
    )
