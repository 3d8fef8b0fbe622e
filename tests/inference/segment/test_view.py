"""A view says what `predict` says, to the bit, and works on every window once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import torch
from shapely.geometry import Point, box

from earthwords.errors import UsageError
from earthwords.inference.segment.result import SegmentationResult
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.segment.view import COARSE
from earthwords.models.aggregation.head import HeadSettings, make_head
from earthwords.types import Window
from tests.conftest import CRS, HEIGHT, TRANSFORM, WIDTH
from tests.inference.segment.micro_preset import MICRO, WORDS
from tests.upsamplers import random_upsampler

PART = Window(row=21, col=40, height=75, width=101)


def bounds(part: Window) -> tuple[float, float, float, float]:
    """In the scene's CRS."""
    (west, north), (east, south) = (TRANSFORM @ c for c in ((part.col, part.row), (part.col_stop, part.row_stop)))
    return west, south, east, north


def same_bits(found: SegmentationResult, wanted: SegmentationResult) -> None:
    for name in ("labels", "score", "probabilities", "undecided", "image", "valid"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
    assert found.grid == wanted.grid and found.tags == wanted.tags


@pytest.fixture
def fresh(segmenter: Segmenter) -> Segmenter:
    """The toy model that has seen nothing yet."""
    return Segmenter(
        replace(segmenter.preset, nothing=-0.05, cls_weight=-0.3), replace(segmenter.encoder, cls_weight=-0.3)
    )


def with_upsampler(segmenter: Segmenter, name: str, energy: float = 1.0) -> Segmenter:
    module = random_upsampler(name, segmenter.encoder.backbone.dim)
    encoder = replace(segmenter.encoder, upsampler=module, energy=energy)
    return Segmenter(replace(segmenter.preset, upsampler=name, energy=energy), encoder)


@pytest.mark.parametrize("gsd", [None, 0.8])
def test_new_words_need_no_window_and_change_no_bit(fresh: Segmenter, scene_file: Path, gsd: float | None) -> None:
    where = bounds(PART)
    with fresh.view(scene_file, bounds=where, gsd=gsd) as view:
        assert repr(view).endswith("75 x 101 pixels from row 21, column 40)")
        first = view.predict(WORDS, probabilities=True)
        seen = fresh.parts.computed
        assert seen == len(fresh.parts) == len(fresh.plan(view.scene)) > 3
        second = view.predict(
            ["grass", "sand,beach"], threshold=0.6, background="sand", against="none", probabilities=True
        )
        assert fresh.parts.computed == seen, "no window is worked on twice"
    same_bits(first, fresh.predict(scene_file, WORDS, bounds=where, gsd=gsd, probabilities=True))
    how = {"threshold": 0.6, "background": "sand", "against": "none", "probabilities": True}
    wanted = fresh.predict(scene_file, ["grass", "sand,beach"], bounds=where, gsd=gsd, **how)
    same_bits(second, wanted)
    assert second.notes == wanted.notes
    assert first.labels.shape == (75, 101) and len(np.unique(first.labels)) > 2


@pytest.mark.parametrize("name, energy", [("jbu", 1.0), ("simfeatup", 0.99), ("bilinear", 1.0), ("resize-conv", 1.0)])
def test_upsampled_views_have_the_same_bits(fresh: Segmenter, scene_file: Path, name: str, energy: float) -> None:
    upsampled, where = with_upsampler(fresh, name, energy), bounds(PART)
    with upsampled.view(scene_file, bounds=where) as view:
        view.predict(WORDS)
        found, seen = view.predict(["grass", "sand"], probabilities=True), upsampled.parts.computed
    same_bits(found, upsampled.predict(scene_file, ["grass", "sand"], bounds=where, probabilities=True))
    assert seen == len(upsampled.parts)
    plain = fresh.predict(scene_file, ["grass", "sand"], bounds=where)
    assert (plain.labels != found.labels).mean() > 0.01, "the upsampler does something"


def test_where_upsampled_pixels_have_no_room_the_tokens_are_kept(fresh: Segmenter, scene_file: Path) -> None:
    small, where = with_upsampler(fresh, "jbu"), bounds(PART)
    small.parts.most_bytes = 2**20
    with small.view(scene_file, bounds=where) as view:
        found = view.predict(WORDS, probabilities=True)
        again = view.predict(WORDS, probabilities=True)
        windows = len(small.plan(view.scene))
    wanted = small.predict(scene_file, WORDS, bounds=where, probabilities=True)
    same_bits(found, wanted)
    same_bits(again, wanted)
    assert small.parts.computed == windows and small.parts.nbytes < 2**20


def test_what_is_kept_takes_no_more_than_allowed(fresh: Segmenter, scene_file: Path) -> None:
    with fresh.view(scene_file, bounds=bounds(PART)) as view:
        wanted = view.predict(WORDS, probabilities=True)
        each = fresh.parts.nbytes // len(fresh.parts)
        fresh.parts.clear()
        assert len(fresh.parts) == fresh.parts.nbytes == 0
        fresh.parts.most_bytes = 3 * each + each // 2
        same_bits(view.predict(WORDS, probabilities=True), wanted)
        assert len(fresh.parts) == 3 and fresh.parts.nbytes == 3 * each
        fresh.parts.most_bytes = each // 2
        same_bits(view.predict(WORDS, probabilities=True), wanted)
        assert len(fresh.parts) == 0, "a window that is larger than everything is not kept"


def test_a_view_beside_it_knows_the_windows_that_both_have(fresh: Segmenter, scene_file: Path) -> None:
    narrow, beside = replace(PART, width=50), replace(PART, width=50, col=PART.col + 32)
    with fresh.view(scene_file, bounds=bounds(narrow)) as view:
        view.predict(WORDS)
        windows = set(fresh.plan(view.scene).windows)
    with fresh.view(scene_file, bounds=bounds(beside)) as view:
        found, others = view.predict(WORDS, probabilities=True), set(fresh.plan(view.scene).windows)
    assert windows & others and others - windows
    assert fresh.parts.computed == len(windows | others)
    same_bits(found, fresh.predict(scene_file, WORDS, bounds=bounds(beside), probabilities=True))
    with fresh.view(scene_file, bounds=bounds(narrow), bands="3,2,1") as view:
        view.predict(WORDS)
    assert fresh.parts.computed == len(windows | others) + len(windows), "other bands are another picture"


def test_arrays_share_nothing(fresh: Segmenter, image: np.ndarray) -> None:
    for picture in (image, image[:, ::-1].copy()):
        with fresh.view(picture) as view:
            found = view.predict(WORDS, probabilities=True)
        same_bits(found, fresh.predict(picture, WORDS, probabilities=True))


def test_a_coarse_view_is_a_map_of_few_windows(fresh: Segmenter, scene_file: Path, image: np.ndarray) -> None:
    """Windows side by side from the upper left, by hand; then the exact map goes on from them."""
    upsampled, part = with_upsampler(fresh, "simfeatup"), Window(row=32, col=32, height=64, width=128)
    with upsampled.view(scene_file, bounds=bounds(part)) as view:
        rough = view.predict(WORDS, coarse=True, probabilities=True)
        assert upsampled.parts.computed == 2 and COARSE in rough.notes
        exact = view.predict(WORDS, probabilities=True)
        assert upsampled.parts.computed == len(upsampled.plan(view.scene)), "those of the coarse map are known"
        assert COARSE not in exact.notes
    same_bits(exact, upsampled.predict(scene_file, WORDS, bounds=bounds(part), probabilities=True))
    assert rough.probabilities is not None
    for col in (32, 96):
        crop = image[32:96, col : col + 64]
        alone = fresh.predict(
            np.ma.masked_array(crop, mask=np.repeat(~crop.any(axis=2)[:, :, None], 3, axis=2)),
            WORDS,
            probabilities=True,
        )
        assert alone.probabilities is not None
        mine = rough.probabilities[:, :, col - 32 : col + 32]
        np.testing.assert_allclose(mine, alone.probabilities, atol=1e-5)


def test_a_coarse_view_covers_any_part(fresh: Segmenter, scene_file: Path) -> None:
    for part in (PART, Window(row=0, col=0, height=HEIGHT, width=WIDTH), Window(row=129, col=7, height=1, width=183)):
        with fresh.view(scene_file, bounds=bounds(part)) as view:
            rough, exact = (view.predict(WORDS, coarse=coarse) for coarse in (True, False))
        np.testing.assert_array_equal(rough.score > 0, exact.score > 0)
        assert rough.valid.any()


def test_nothing_is_kept_of_a_joint_map(fresh: Segmenter, scene_file: Path) -> None:
    with fresh.view(scene_file, bounds=bounds(PART)) as view:
        found = view.predict(WORDS, joint=True, probabilities=True)
    assert len(fresh.parts) == 0
    same_bits(found, fresh.predict(scene_file, WORDS, bounds=bounds(PART), joint=True, probabilities=True))
    assert any("kept" in note and "joint" in note for note in found.notes)


def test_nothing_is_kept_with_a_head(fresh: Segmenter, scene_file: Path) -> None:
    torch.manual_seed(3)
    head = make_head(HeadSettings(attention="segearth"), fresh.encoder.backbone).eval()
    judged = Segmenter(
        replace(fresh.preset, head="own", cls_weight=0.0, nothing=None),
        replace(fresh.encoder, head=head, cls_weight=0.0),
    )
    with judged.view(scene_file, bounds=bounds(PART)) as view:
        found = view.predict(WORDS, probabilities=True)
    assert len(judged.parts) == 0
    same_bits(found, judged.predict(scene_file, WORDS, bounds=bounds(PART), probabilities=True))
    assert any("kept" in note and "head" in note for note in found.notes)


def marks(count: int = 9) -> gpd.GeoDataFrame:
    """Points in the view whose class is the side of a line; one lies beside the view."""
    rng = np.random.default_rng(5)
    rows, cols = rng.integers(25, 92, count), rng.integers(45, 138, count)
    places = [TRANSFORM @ (col + 0.5, row + 0.5) for row, col in zip([*rows, 5], [*cols, 7], strict=True)]
    named = ["left" if col < 90 else "right" for col in [*cols, 7]]
    return gpd.GeoDataFrame({"class": named}, geometry=[Point(*place) for place in places], crs=CRS)


@pytest.mark.parametrize("upsampler", [None, "jbu", "bilinear"])
def test_marks_teach_a_view_by_what_is_known(fresh: Segmenter, scene_file: Path, upsampler: str | None) -> None:
    base = fresh if upsampler is None else with_upsampler(fresh, upsampler)
    with base.view(scene_file, bounds=bounds(PART)) as view:
        view.predict(WORDS)
        seen = base.parts.computed
        taught = view.teach(marks(40), ["left,roof", "right,road"], head="anchored")
        assert base.parts.computed <= seen + 1, "but for the mark beside the view"
        found = view.predict(by=taught, probabilities=True)
        assert taught.parts is base.parts
    same_bits(found, taught.predict(scene_file, bounds=bounds(PART), probabilities=True))
    assert found.vocabulary.titles == ("left", "right")
    assert taught.teaching is not None and len(taught.teaching.examples) == 41


def test_what_a_view_learns_is_what_the_scene_would_teach(fresh: Segmenter, scene_file: Path) -> None:
    """With the whole scene as the view all pixels that are looked at are the same."""
    with fresh.view(scene_file) as view:
        taught = view.teach(marks(40), ["left,roof", "right,road"], head="anchored")
    usual = Segmenter(fresh.preset, fresh.encoder).teach(
        marks(40), ["left,roof", "right,road"], scenes=scene_file, head="anchored"
    )
    assert taught.taught is not None and usual.taught is not None and taught.taught.method == usual.taught.method
    np.testing.assert_allclose(taught.taught.weight, usual.taught.weight, atol=0.02)
    one, other = (s.predict(scene_file) for s in (taught, usual))
    assert (one.labels == other.labels).mean() > 0.999


def test_teaching_goes_on(fresh: Segmenter, scene_file: Path) -> None:
    with fresh.view(scene_file, bounds=bounds(PART)) as view:
        taught = view.teach(marks(20), ["left,roof", "right,road"], head="anchored")
        more = gpd.GeoDataFrame(
            {"class": ["top"]}, geometry=[box(*bounds(Window(row=22, col=50, height=4, width=30)))], crs=CRS
        )
        further = view.teach(more, ["top,grass"], onto=taught)
        found = view.predict(by=further)
    assert set(found.vocabulary.titles) == {"left", "right", "top"}
    assert further.teaching is not None and len(further.teaching.examples) > 21


def test_others_may_not_see_through_it(fresh: Segmenter, scene_file: Path, micro: Path) -> None:
    other = Segmenter.from_preset(MICRO, model=micro, device="cpu")
    with fresh.view(scene_file, bounds=bounds(PART)) as view, pytest.raises(UsageError, match="other weights"):
        view.predict(WORDS, by=other)
