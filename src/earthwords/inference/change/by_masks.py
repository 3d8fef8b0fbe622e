"""The methods by masks as methods of `change`: networks loaded, pictures at the working resolution, block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray

from earthwords.errors import UsageError, WeightsError
from earthwords.geo.resample import resample
from earthwords.inference.change.anychange import ClickQuery, mean_query
from earthwords.inference.change.dates.pair import PairFacts
from earthwords.inference.change.dates.pieces import without_specks
from earthwords.inference.change.dates.windows import ChangeMethod, Comparison, PairWindow
from earthwords.inference.change.features import ClipFeatures, DinoFeatures, Features
from earthwords.inference.change.mask_means import pixel_change
from earthwords.inference.change.mask_options import ANYCHANGE, AUTO, CLIP, MCI, REGIONS, Click, MaskOptions
from earthwords.inference.change.masked import (
    AnyChangeJudge,
    DatesView,
    IdentifyMaskCompareJudge,
    MaskCompareIdentifyJudge,
    MaskJudge,
    Pair,
    at_size,
)
from earthwords.inference.change.matching import theta_of
from earthwords.inference.change.sam_masks import first_sam
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.blocks import Blocks
from earthwords.models.dino import load_dino
from earthwords.models.sam.generator import MaskGenerator
from earthwords.models.sam.load import load_sam
from earthwords.types import Grid, Window

MARGIN = 128
"""Pixels of the working grid around a block: a mask that reaches further is judged in parts."""
PARTS = 9
"""Blocks, spread over the scene, whose pixels tell `--theta auto`; of a smaller scene all."""
LEAST = 16
"""Pixels of a change that touch by sides, on the working grid: what is left of a mask under surer ones may be less."""


@dataclass(frozen=True, kw_only=True)
class ByMasks(ChangeMethod):
    """A method by masks; see `ChangeMethod`."""

    maker: MaskJudge
    background: int | None
    threshold: float | None = None
    """Least score of a mask."""
    auto: bool = False
    """The angle that decides is Otsu's threshold."""
    clicks: tuple[Click, ...] = ()

    def margin(self, zoom: float) -> int:
        """See `ChangeMethod`."""
        return round(MARGIN * zoom)

    def known(self, whole: PairWindow) -> PairFacts:
        """See `ChangeMethod`: what was clicked, and the angle.

        Raises:
            UsageError: SAM is not sure of a mask at a click.
        """
        facts = whole.facts
        if self.clicks:
            query = mean_query([self._clicked(whole, click) for click in self.clicks])
            facts = replace(facts, query=tuple(query.vector.tolist()), query_area=query.area)
        return replace(facts, theta=self._theta(whole)) if self.auto else facts

    def __call__(self, pair: PairWindow) -> Comparison:
        """Compare a window."""
        first, second = pair.probabilities
        seen = pair.valid & ~np.isnan(first[0]) & ~np.isnan(second[0])
        words = np.nan_to_num(first), np.nan_to_num(second)
        same: NDArray[np.int64] = (words[0] + words[1]).argmax(axis=0)
        if not seen.any():
            return Comparison(before=same, after=same, score=np.zeros(seen.shape, np.float32), seen=seen)
        facts, shape = pair.facts, _shape(pair)
        view = DatesView(
            grid=_grid(shape), pictures=_pictures(pair, seen), probabilities=words,
            seen=at_size(seen[None], shape)[0], background=self.background, theta=facts.theta,
            query=ClickQuery(vector=torch.tensor(facts.query), area=facts.query_area) if facts.query else None,
        )  # fmt: skip
        judged = self.maker.judge(view)
        if self.threshold is not None:
            judged = judged.take(judged.scores >= self.threshold)
        nothing = np.full(shape, -1)
        before, after, score = (at_size(part[None], seen.shape)[0] for part in judged.painted(nothing, nothing))
        changed = seen & (before >= 0) & (before != after)
        found = Comparison(
            before=np.where(changed, before, same),
            after=np.where(changed, after, same),
            score=np.where(changed, score, np.float32(0)),
            seen=seen,
        )
        return without_specks(found, same, LEAST * pair.zoom**2)

    def _clicked(self, whole: PairWindow, click: Click) -> ClickQuery:
        """What a click points at, in a picture as large as that of a block."""
        row, col = click.pixel(whole.pair.before.native, whole.window)
        half = self.sides[0] // 2 + self.margin(whole.zoom)
        around = Window(row=int(row) - half, col=int(col) - half, height=2 * half, width=2 * half)
        part = whole.at(around.intersect(whole.window) or whole.window)
        point = ((col - part.window.col) / whole.zoom - 0.5, (row - part.window.row) / whole.zoom - 0.5)
        assert isinstance(self.maker, AnyChangeJudge)
        picture = _pictures(part, part.valid)[click.second]
        found = self.maker.clicked(picture, _grid(_shape(part)), point) if part.valid.any() else None
        if found is None:
            raise UsageError(f"SAM is not sure of any mask at --click {click}: click another place of the thing.")
        return found

    def _theta(self, whole: PairWindow) -> float | None:
        """Of the change of all pixels that both dates show, in at most `PARTS` blocks."""
        region, changes = whole.window, []
        blocks = Blocks(region=region, rows=self.sides[0], cols=self.sides[0])
        for index in np.unique(np.linspace(0, len(blocks) - 1, PARTS).astype(int)).tolist():
            part = whole.at(blocks.window(index))
            if part.valid.any():
                features = self.maker.compared(_pictures(part, part.valid))
                shape = _shape(part)
                changes.append(pixel_change(*features, shape)[at_size(part.valid[None], shape)[0]])
        bins = None if isinstance(self.maker, AnyChangeJudge) else 256
        found = theta_of(np.concatenate(changes), bins=bins) if changes else math.nan
        return None if math.isnan(found) else found


def _shape(pair: PairWindow) -> tuple[int, int]:
    """Rows and columns at the working resolution."""
    height, width = pair.window.height, pair.window.width
    return max(1, round(height / pair.zoom)), max(1, round(width / pair.zoom))


def _grid(shape: tuple[int, int]) -> Grid:
    return Grid(height=shape[0], width=shape[1], transform=Affine.identity(), crs=None)


def _pictures(pair: PairWindow, seen: NDArray[np.bool_]) -> Pair:
    shape = _shape(pair)
    return _shown(pair.rgb[0], seen, shape), _shown(pair.rgb[1], seen, shape)


def _shown(picture: NDArray[np.float32], seen: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.float32]:
    """`(3, row, col)` at the working resolution; what a date does not show has the mean colour of the rest."""
    filled = np.where(seen, picture, picture[:, seen].mean(axis=1)[:, None, None]).astype(np.float32)
    if seen.shape == shape:
        return filled
    own, whole = (seen.shape[0], seen.shape[1]), Window(row=0, col=0, height=shape[0], width=shape[1])
    return resample(filled, np.ones(own, bool), whole, source=own, target=shape)[0]


def make_by_masks(
    method: str,
    segmenter: Segmenter,
    told: MaskOptions,
    *,
    background: int | None,
    threshold: float | None,
    offline: bool,
) -> ByMasks:
    """A method of `BY_MASKS`, with its networks loaded.

    Args:
        told: whatever it was told; `MaskOptions.of` fills in the rest.
        background: class of what was not asked for.
        threshold: least score of a mask.

    Raises:
        UsageError: the method does not take an option, or these networks.
        WeightsError: weights are unknown, unreachable or do not fit.
    """
    whole = told.checked(method).of(method)
    generator, auto = _generator(method, segmenter, whole, offline=offline), whole.theta == AUTO
    theta = 0.0 if auto else float(whole.theta or 0)
    judge: MaskJudge
    if method == ANYCHANGE:
        assert generator is not None
        first_sam(generator)
        judge = AnyChangeJudge(generator=generator, theta=theta)
    else:
        features = _features(segmenter, whole, offline=offline)
        if method == MCI:
            judge = MaskCompareIdentifyJudge(
                generator=generator, features=features, theta=theta, instances=whole.instances
            )
        else:
            judge = IdentifyMaskCompareJudge(generator=generator, features=features, theta=theta)
    return ByMasks(maker=judge, background=background, threshold=threshold, auto=auto, clicks=whole.clicks)


def _generator(method: str, segmenter: Segmenter, told: MaskOptions, *, offline: bool) -> MaskGenerator | None:
    """The segmenter with its authors' settings; None: there is none."""
    assert told.segmenter is not None
    if told.segmenter == REGIONS:
        return None
    with _named("--segmenter"):
        predictor = load_sam(told.segmenter, offline=offline, device=segmenter.encoder.backbone.device)
    return MaskGenerator(predictor, method if method == ANYCHANGE else f"dynamicearth-{predictor.settings}")


def _features(segmenter: Segmenter, told: MaskOptions, *, offline: bool) -> Features:
    assert told.comparer is not None
    encoder = segmenter.clip
    if told.comparer == CLIP:
        return ClipFeatures(backbone=encoder.backbone, method=encoder.method, side=segmenter.preset.tile_size)
    with _named("--comparer"):
        dino = load_dino(told.comparer, offline=offline, device=encoder.backbone.device)
    return DinoFeatures(backbone=dino)


@contextmanager
def _named(option: str) -> Iterator[None]:
    """What is wrong with weights is told with the option that names them."""
    try:
        yield
    except WeightsError as error:
        raise WeightsError(str(error).replace("--model PATH", f"{option} PATH")) from error
