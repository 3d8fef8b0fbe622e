"""AnyChange and DynamicEarth on a view of two dates: what came, what went, and what only looks otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from affine import Affine
from numpy.typing import NDArray
from transformers import SamConfig, SamModel

from earthwords.inference.change import masked
from earthwords.inference.change.anychange import ClickQuery
from earthwords.inference.change.features import ClipFeatures, DinoFeatures
from earthwords.inference.change.masked import (
    AnyChangeJudge,
    DatesView,
    IdentifyMaskCompareJudge,
    JudgedMasks,
    MaskCompareIdentifyJudge,
)
from earthwords.inference.change.regions_as_masks import regions_of
from earthwords.inference.change.sam_masks import raw_features, redrawn
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.models.dino import DinoBackbone
from earthwords.models.sam.generator import MaskGenerator
from earthwords.models.sam.predictor import Sam1Predictor
from earthwords.models.sam.settings import MaskSettings
from earthwords.types import Grid
from tests import published
from tests.referring import _SAM

SIZE = (60, 84)
HOUSE, OTHER, LAKE = (slice(8, 24), slice(10, 34)), (slice(36, 52), slice(50, 70)), (slice(30, 56), slice(4, 30))
BUILDING, WATER, GROUND = 0, 1, 2


def probabilities(*things: tuple[tuple[slice, slice], int]) -> NDArray[np.float32]:
    found = np.full((3, *SIZE), 0.05, np.float32)
    found[GROUND] = 0.9
    for place, label in things:
        found[(slice(None), *place)] = 0.1
        found[(label, *place)] = 0.8
    return found


def features(picture: NDArray[np.float32]) -> torch.Tensor:
    """Of a cell of two pixels, its colours about grey."""
    return torch.from_numpy(picture[:, ::2, ::2] - 0.5)


@pytest.fixture
def view() -> DatesView:
    """A house is built and another one goes; a lake stays and looks otherwise; a second house stays as it is."""
    before, after = np.full((3, *SIZE), 0.6, np.float32), np.full((3, *SIZE), 0.6, np.float32)
    after[(slice(None), *HOUSE)] = np.array([0.1, 0.2, 0.3])[:, None, None]
    before[(slice(None), *OTHER)] = np.array([0.3, 0.1, 0.2])[:, None, None]
    after[(slice(None), *LAKE)] = np.array([0.2, 0.3, 0.1])[:, None, None]
    stays = (slice(2, 14), slice(60, 80))
    return DatesView(
        grid=Grid(height=SIZE[0], width=SIZE[1], transform=Affine.identity(), crs=None),
        pictures=(before, after),
        probabilities=(
            probabilities((OTHER, BUILDING), (LAKE, WATER), (stays, BUILDING)),
            probabilities((HOUSE, BUILDING), (LAKE, WATER), (stays, BUILDING)),
        ),
        seen=np.ones(SIZE, bool),
        background=GROUND,
    )


def expected(before: int, after: int, *places: tuple[slice, slice]) -> NDArray[np.bool_]:
    found = np.zeros(SIZE, bool)
    for place in places:
        found[place] = True
    return found


def check(judged: JudgedMasks) -> None:
    """The two houses and nothing else."""
    same = np.full(SIZE, GROUND)
    before, after, score = judged.painted(same, same)
    came, went = (before == GROUND) & (after == BUILDING), (before == BUILDING) & (after == GROUND)
    assert np.array_equal(came, expected(GROUND, BUILDING, HOUSE))
    assert np.array_equal(went, expected(BUILDING, GROUND, OTHER))
    assert np.array_equal(score > 0, came | went) and score.max() <= 1


@pytest.mark.parametrize("kind", [MaskCompareIdentifyJudge, IdentifyMaskCompareJudge])
def test_houses_that_came_and_went(kind: type, view: DatesView) -> None:
    judge = kind(generator=None, features=features, theta=145)
    check(judge.judge(view))
    finer = replace(view, probabilities=tuple(np.repeat(np.repeat(p, 2, 1), 2, 2) for p in view.probabilities))
    check(judge.judge(finer))


@pytest.mark.parametrize("kind", [MaskCompareIdentifyJudge, IdentifyMaskCompareJudge])
def test_what_looks_the_same_has_not_changed(kind: type, view: DatesView) -> None:
    """Words may waver; the features decide."""
    alike = replace(view, pictures=(view.pictures[0], view.pictures[0]))
    assert len(kind(generator=None, features=features, theta=145).judge(alike).masks) == 0
    assert len(kind(generator=None, features=features, theta=0).judge(view).masks) == 0


@pytest.mark.parametrize("kind", [MaskCompareIdentifyJudge, IdentifyMaskCompareJudge])
def test_ground_that_a_date_does_not_show(kind: type, view: DatesView) -> None:
    hidden = replace(view, seen=~expected(0, 0, (HOUSE[0], slice(0, 84))))
    judged = kind(generator=None, features=features, theta=145).judge(hidden)
    assert not judged.painted(np.zeros(SIZE, int), np.zeros(SIZE, int))[2][HOUSE].any()
    nothing = replace(view, seen=np.zeros(SIZE, bool))
    assert len(kind(generator=None, features=features, theta=145).judge(nothing).masks) == 0


def test_a_thing_in_its_place_is_no_new_one(view: DatesView) -> None:
    """I-M-C: a house where another house stood has an instance at the other date; M-C-I asks for another class."""
    rebuilt = replace(view, probabilities=(probabilities((HOUSE, BUILDING)),) * 2)
    for kind in (MaskCompareIdentifyJudge, IdentifyMaskCompareJudge):
        assert len(kind(generator=None, features=features, theta=145).judge(rebuilt).masks) == 0


def test_without_the_rule_of_instances(view: DatesView) -> None:
    """A mask of the first date that shows ground there and a house later counts too, then."""
    houses = replace(view, background=GROUND)
    judge = MaskCompareIdentifyJudge(generator=None, features=features, theta=145, instances=False)
    check(judge.judge(houses))
    unnamed = replace(view, background=None)  # every class was asked for
    judged = MaskCompareIdentifyJudge(generator=None, features=features, theta=145).judge(unnamed)
    assert judged.painted(np.zeros(SIZE, int), np.zeros(SIZE, int))[2][HOUSE].all()


def test_the_surest_mask_counts() -> None:
    grid = Grid(height=4, width=6, transform=Affine.identity(), crs=None)
    masks = regions_of(np.stack([np.ones((4, 6)), np.zeros((4, 6))]).astype(np.float32), grid, least=1)
    twice = masks.take([0, 0])
    judged = JudgedMasks(
        masks=twice, before=np.array([0, 1]), after=np.array([1, 2]), scores=np.array([0.9, 0.4], np.float32)
    )
    before, after, score = judged.painted(np.full((4, 6), 7), np.full((4, 6), 7))
    assert (before == 0).all() and (after == 1).all() and np.allclose(score, 0.9)


def test_regions() -> None:
    """Two islands of a class are two masks; touching by a corner is not enough, and specks are left out."""
    labels = np.zeros((5, 7), int)
    labels[0:2, 0:2], labels[2:4, 2:5], labels[4, 6] = 1, 1, 1
    found = regions_of(
        np.stack([labels == 0, labels == 1]).astype(np.float32) * 0.7,
        Grid(height=5, width=7, transform=Affine.identity(), crs=None), without=0, least=2,
    )  # fmt: skip
    assert found.boxes.tolist() == [[0, 0, 2, 2], [2, 2, 2, 3]] and found.classes.tolist() == [1, 1]
    assert np.allclose(found.scores, 0.7, atol=2e-3)


def test_likeliest_pairs() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.random((2, 50, 4), np.float32)
    first, second = masked.likeliest_change(before, after)
    joint = before[:, :, None] * after[:, None]
    joint[:, range(4), range(4)] = -1
    assert (first != second).all()
    assert np.allclose(before[np.arange(50), first] * after[np.arange(50), second], joint.max(axis=(1, 2)))
    assert [part.tolist() for part in masked.likeliest_change(before[:, :1], after[:, :1])] == [[0] * 50] * 2
    assert masked.likeliest_other(before[:, :1], np.zeros(50, int)).tolist() == [-1] * 50


@pytest.fixture(scope="module")
def generator() -> MaskGenerator:
    """A small SAM of random weights that keeps whatever it draws."""
    torch.manual_seed(5)
    model = published.spread(SamModel(SamConfig(**_SAM)))
    asked = {"points_per_side": 4, "pred_iou_thresh": -1, "stability_score_thresh": -1, "box_nms_thresh": 0.95}
    return MaskGenerator(Sam1Predictor(model), MaskSettings(name="all", **asked))


class TestWithSam:
    def test_what_looks_the_same_has_not_turned(self, generator: MaskGenerator, view: DatesView) -> None:
        alike = replace(view, pictures=(view.pictures[0], view.pictures[0]))
        assert len(AnyChangeJudge(generator=generator, theta=145).judge(alike).masks) == 0

    def test_classes_and_scores(self, generator: MaskGenerator, view: DatesView) -> None:
        judged = AnyChangeJudge(generator=generator, theta=179.99).judge(view)
        assert len(judged.masks) and (judged.before != judged.after).all()
        assert ((judged.scores >= 0) & (judged.scores <= 1)).all()

    def test_what_was_clicked_alone(self, generator: MaskGenerator, view: DatesView) -> None:
        judge = AnyChangeJudge(generator=generator, theta=179.99)
        every = judge.judge(view).masks
        dim = raw_features(generator.encode(masked.as_bytes(view.pictures[0]))).shape[0]
        query = ClickQuery(vector=torch.zeros(dim), area=float(np.median(every.areas)))
        assert not len(judge.judge(replace(view, query=query)).masks)  # nothing looks like it
        own = raw_features(generator.encode(masked.as_bytes(view.pictures[0]))).mean(dim=(1, 2))
        found = judge.judge(replace(view, query=replace(query, vector=own))).masks
        assert len(found) and (found.areas > query.area / 4).all() and (found.areas < query.area * 4).all()

    def test_masks_for_words(self, generator: MaskGenerator, view: DatesView) -> None:
        """What M-C-I keeps was called otherwise at the two dates; what I-M-C keeps has its class at its own date."""
        for kind in (MaskCompareIdentifyJudge, IdentifyMaskCompareJudge):
            judged = kind(generator=generator, features=features, theta=170).judge(view)
            assert (judged.before != judged.after).all()

    def test_redrawn(self, generator: MaskGenerator, view: DatesView) -> None:
        masks = regions_of(view.probabilities[1], view.grid, without=GROUND)
        found = redrawn(generator, masked.as_bytes(view.pictures[1]), masks)
        assert len(found) == len(masks) == 3 and np.array_equal(found.classes, masks.classes)
        assert (found.areas > 0).all()
        assert len(redrawn(generator, masked.as_bytes(view.pictures[1]), masks.take(np.zeros(0, int)))) == 0

    def test_padding_is_left_out(self, generator: MaskGenerator) -> None:
        embedding = generator.encode(np.zeros((60, 84, 3), np.uint8))
        whole, own = raw_features(embedding, padded=True), raw_features(embedding)
        assert whole.shape[1] == whole.shape[2] == own.shape[2] and own.shape[1] == round(whole.shape[1] * 60 / 84)


def test_squares_of_a_clip(segmenter: Segmenter) -> None:
    """Each square is what the network says of it alone; the border is filled up and cut off again."""
    backbone, method = segmenter.encoder.backbone, segmenter.encoder.method
    picture = np.random.default_rng(3).random((3, 70, 150), np.float32)
    found = ClipFeatures(backbone=backbone, method=method, side=64)(picture)
    patch = backbone.patch
    assert found.shape == (backbone.dim, -(-70 // patch), -(-150 // patch))
    pixels = (torch.from_numpy(picture) - torch.tensor(backbone.mean)[:, None, None]) / torch.tensor(backbone.std)[
        :, None, None
    ]
    with torch.inference_mode():
        square = backbone.encode_dense(pixels[None, :, :64, 64:128], method).values[0]
    cells = 64 // patch
    torch.testing.assert_close(found[:, :cells, cells : 2 * cells], square, atol=1e-5, rtol=1e-4)


def test_dino_of_a_picture_smaller_than_a_patch(tmp_path: object) -> None:
    model = published.write_dino(tmp_path / "dino")  # type: ignore[operator]
    found = DinoFeatures(backbone=DinoBackbone(model))
    assert found(np.random.default_rng(3).random((3, 7, 40), np.float32)).shape == (24, 1, 2)
