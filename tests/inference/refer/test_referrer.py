"""Pointing in scenes of any size, by a model whose answers are known: it marks the pixels of a colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.geo.scene import Scene, open_scene
from earthwords.inference.refer.pyramid import levels, region_on, views
from earthwords.inference.refer.referrer import Referrer, lexicon_of
from earthwords.inference.refer.scene_level import is_scenewide
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.models.refseg.encoders import TextFeatures
from earthwords.models.refseg.presence import Presence
from earthwords.refer_presets import REFER_PRESETS
from earthwords.text.known_words import word_cautions
from tests.conftest import write_raster

SIDE = 64
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (20, 40, 230)}
GROUND = (120, 118, 110)


@dataclass
class _Seen:
    images: Tensor


@dataclass
class _Pointed:
    logits: Tensor
    likeness: Tensor


class ColourModel(torch.nn.Module):
    """Points at pixels of the colour that a sentence names; surer of them the more of its view they fill, up to a
    quarter, so that large things are best seen from afar."""

    words = None
    side, mean, device = SIDE, (0.4, 0.5, 0.6), torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def ids(self, texts: Sequence[str]) -> Tensor:
        words = [text.split()[:8] for text in texts]
        known = [*COLOURS]
        rows = [[known.index(w) if w in known else 90 + len(w) for w in row] + [99] * (8 - len(row)) for row in words]
        return torch.tensor(rows)

    def encode_texts(self, ids: Tensor) -> TextFeatures:
        return TextFeatures(tokens=ids[..., None].float(), sentence=ids[:, :1].float(), words=ids < 99)

    def encode_images(self, images: Tensor) -> _Seen:
        assert images.shape[1:] == (3, SIDE, SIDE) and float(images.max()) <= 255
        self.looks += len(images)
        return _Seen(images)

    def predict(self, seen: _Seen, said: TextFeatures, which: Tensor) -> _Pointed:
        wanted = [list(COLOURS.values())[int(i)] for i in said.sentence[:, 0]]
        aim = torch.tensor(wanted, dtype=torch.float32)[:, :, None, None]
        hit = ((seen.images[which] - aim).abs().amax(dim=1) < 40).float()
        sure = 0.5 + 2 * hit.mean(dim=(1, 2)).clamp(max=0.25)
        logits = F.avg_pool2d((6 * hit - 3)[:, None], 2) * sure[:, None, None, None]
        return _Pointed(logits=logits, likeness=(4 * hit - 2)[:, ::4, ::4])

    def similarity(self, pointed: _Pointed, said: TextFeatures) -> Tensor:
        return pointed.likeness

    def fit(self, image: Tensor) -> Tensor:
        return F.interpolate(image[None], (SIDE, SIDE), mode="bilinear", align_corners=False)[0]

    def restore(self, logits: Tensor, shape: Sequence[int]) -> Tensor:
        large = F.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return F.interpolate(large, tuple(shape), mode="bilinear", align_corners=False)


@pytest.fixture
def referrer() -> Referrer:
    return Referrer(ColourModel(), REFER_PRESETS["refseg-tiny"])  # type: ignore[arg-type]


def canvas(height: int, width: int, **things: tuple[int, int, int, int]) -> np.ndarray:
    image = np.empty((height, width, 3), np.uint8)
    image[:] = GROUND
    for name, (row, col, tall, wide) in things.items():
        image[row : row + tall, col : col + wide] = COLOURS[name.rstrip("0123456789")]
    return image


def marked(labels: np.ndarray, label: int = 0) -> tuple[int, int, int, int]:
    rows, cols = np.nonzero(labels == label)
    return int(rows.min()), int(cols.min()), int(rows.max() + 1 - rows.min()), int(cols.max() + 1 - cols.min())


def close(found: tuple[int, ...], expected: tuple[int, ...], by: int) -> bool:
    return all(abs(a - b) <= by for a, b in zip(found, expected, strict=True))


def test_a_small_thing_in_a_large_scene_is_found_at_its_own_resolution(referrer: Referrer) -> None:
    image = canvas(310, 470, red=(201, 333, 17, 23))
    found = referrer.predict(image, "red roof")
    assert found.vocabulary.titles == ("red roof",) and found.labels.shape == (310, 470)
    assert close(marked(found.labels), (201, 333, 17, 23), by=1)
    inside = found.labels == 0
    assert 0.8 * 17 * 23 < inside.sum() < 1.25 * 17 * 23 and (found.labels[~inside] == 255).all()
    assert (found.score[inside] > 0.5).all() and (found.score[~inside] <= 0.5).all()


def test_a_thing_larger_than_a_view_is_seen_from_afar(referrer: Referrer) -> None:
    found = referrer.predict(canvas(300, 420, blue=(60, 120, 150, 210)), "blue lake")
    assert close(marked(found.labels), (60, 120, 150, 210), by=8), "pixels of a coarser level are wider"


def test_the_surest_place_or_all(referrer: Referrer) -> None:
    places = {"red1": (20, 30, 12, 12), "red2": (180, 260, 20, 20), "red3": (100, 130, 10, 14)}
    image = canvas(230, 340, **places)
    one = referrer.predict(image, "red")
    assert close(marked(one.labels), places["red2"], by=1), "the largest one"
    every = referrer.predict(image, "red", every=True)
    truth = (image == COLOURS["red"]).all(axis=-1)
    wrong = (every.labels == 0) != truth
    assert wrong.mean() < 0.003 and (every.labels[truth] == 0).mean() > 0.9
    assert every.to_geodataframe(min_area=20).shape[0] == 3


class LargestModel(ColourModel):
    """Of *largest* it marks the largest thing of the colour in its view."""

    def predict(self, seen: _Seen, said: TextFeatures, which: Tensor) -> _Pointed:
        found = super().predict(seen, said, which)
        for i in (said.tokens[..., 0] == 97).any(dim=1).nonzero()[:, 0]:
            parts, count = ndimage.label(found.logits[i, 0].numpy() > 0)
            if count > 1:
                largest = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
                found.logits[i, 0][~torch.from_numpy(largest)] = -3
        return found


def test_the_largest_is_the_largest_of_the_scene() -> None:
    image = canvas(230, 340, red1=(20, 30, 40, 40), red2=(150, 10, 14, 310), blue=(20, 130, 50, 60))
    referrer = Referrer(LargestModel(), REFER_PRESETS["refseg-tiny"])  # type: ignore[arg-type]
    row, _, tall, wide = marked(referrer.predict(image, "red largest").labels)
    assert 149 <= row <= row + tall <= 165 and wide > 250, "seen from afar, so coarse"
    near = referrer.predict(image, "red roof").labels  # the surest view counts
    assert close(marked(near), (20, 30, 40, 40), by=1)
    assert close(marked(referrer.predict(image, "blue largest").labels), (20, 130, 50, 60), by=2)
    tiny = canvas(610, 640, red=(500, 530, 6, 7))
    assert close(marked(referrer.predict(tiny, "red largest").labels), (500, 530, 6, 7), by=2), "not seen from afar"


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("the largest lake", True),
        ("Biggest of the roofs", True),
        ("the ship on the left", True),
        ("the ship on the left of the image", True),
        ("the ship on the left of the pier", False),
        ("the northernmost house", True),
        ("the building furthest to the right", True),
        ("roofs in the north-eastern part", True),
        ("the house left of the lake", False),
        ("the large lake", False),
        ("the lake", False),
        ("the field nearest to the road", False),
        ("a western restaurant", False),
        ("", False),
    ],
)
def test_what_is_about_the_whole_scene(sentence: str, expected: bool) -> None:
    assert is_scenewide(sentence) is expected


def test_a_least_score(referrer: Referrer) -> None:
    image = canvas(200, 300, red=(30, 40, 20, 20), blue=(60, 210, 30, 40))
    with open_scene(image) as scene:
        scores = {m.sentence: m.score for m in referrer.find(scene, ["red", "blue"])}
        between = (scores[0] + scores[1]) / 2
        assert scores[0] < between - 0.01
        found = referrer.find(scene, ["red", "blue"], min_score=between)
        assert [m.sentence for m in found] == [1] and found[0].score == scores[1]
        every = referrer.find(scene, ["red", "blue"], every=True)
        some = referrer.find(scene, ["red", "blue"], every=True, min_score=between)
        assert {m.score for m in some} == {m.score for m in every if m.score > between} != {m.score for m in every}
    told = referrer.predict(image, "red", min_score=between)
    assert (told.labels == 255).all() and "Nothing was found for 'red'." in told.notes


@pytest.mark.parametrize("every", [False, True])
def test_a_least_score_asks_what_the_model_learned_of_presence(every: bool) -> None:
    image = canvas(SIDE, SIDE, red=(16, 24, 8, 12))
    presence = Presence(peak=0.5, mean=1.5, bias=0.25)
    referrer = Referrer(ColourModel(), REFER_PRESETS["refseg-tiny"], presence=presence)  # type: ignore[arg-type]
    with open_scene(image) as scene:
        (found,) = referrer.find(scene, ["red"], every=every)
        lit = 6 / 256  # of the model's cells of 4 pixels
        wanted = 1 / (1 + np.exp(-(0.5 * 2 + 1.5 * (4 * lit - 2) + 0.25)))
        assert found.presence == pytest.approx(wanted, abs=0.01) and found.score > 0.6 > 0.2 > wanted
        assert len(referrer.find(scene, ["red"], every=every, min_score=found.presence - 0.01)) == 1
        assert referrer.find(scene, ["red"], every=every, min_score=found.presence + 0.01) == []
        assert referrer.find(scene, ["green"], every=every, min_score=0.0) == [], "no mask, no thing"
    valid = np.ones((SIDE, SIDE), np.uint8)
    valid[40:] = 0
    with open_scene(image, mask=valid) as scene:
        (part,) = referrer.find(scene, ["red"], every=every)
    assert part.presence > found.presence + 0.005, "pixels without a value say nothing"


def test_without_it_the_score_decides(referrer: Referrer) -> None:
    with open_scene(canvas(SIDE, SIDE, red=(16, 24, 8, 12))) as scene:
        (found,) = referrer.find(scene, ["red"])
    assert found.presence == found.score > 0.5


def test_several_sentences_share_their_looks(referrer: Referrer) -> None:
    image = canvas(200, 300, red=(30, 40, 20, 20), green=(120, 200, 24, 18), blue=(60, 210, 16, 16))
    model: Any = referrer.model
    together = referrer.predict(image, ["green", "red", "blue"], probabilities=True)
    looks, planned = model.looks, len(referrer.plan(open_scene(image)))
    assert looks <= planned + 9, "every view once, and at most three again for each sentence"
    for label, name in enumerate(("green", "red", "blue")):
        alone = referrer.predict(image, name)
        assert ((together.labels == label) == (alone.labels == 0)).all()
        assert together.probabilities is not None
        assert (together.probabilities[label][together.labels == label] > 0.5).all()


def test_nothing_is_said(referrer: Referrer) -> None:
    found = referrer.predict(canvas(90, 130, red=(20, 20, 20, 20)), ["green field", "red"])
    assert (found.labels != 0).all() and (found.labels == 1).any()
    assert found.notes[-1] == "Nothing was found for 'green field'."


class SurerOfRoofs(ColourModel):
    """Surer of a *roof*."""

    def predict(self, seen: _Seen, said: TextFeatures, which: Tensor) -> _Pointed:
        found = super().predict(seen, said, which)
        roofs = (said.tokens[..., 0] == 94).any(dim=1)
        found.logits[roofs] *= 1.5
        return found


def test_a_mask_that_surer_sentences_cover_is_told() -> None:
    referrer = Referrer(SurerOfRoofs(), REFER_PRESETS["refseg-tiny"])  # type: ignore[arg-type]
    image = canvas(90, 130, red=(20, 20, 20, 20), blue=(50, 90, 16, 18))
    found = referrer.predict(image, ["red", "blue", "red roof", "green"], probabilities=True)
    assert found.probabilities is not None
    masks = found.probabilities > 0.5
    covered = masks[0] & (found.labels != 0)
    assert covered.sum() > 0.8 * masks[0].sum() > 0, "what is told is true"
    told = [note for note in found.notes if "was found, but" in note]
    share = covered.sum() / masks[0].sum()
    shown = "all" if share == 1 else f"{share:.0%}"
    (note,) = told
    assert note.startswith(f"'red' was found, but {shown} of its mask went to 'red roof', which is surer there")
    assert "Nothing was found for 'green'." in found.notes
    assert not any("was found, but" in note for note in referrer.predict(image, ["red", "blue"]).notes)


def test_sentences_that_are_not_read_whole_or_not_english(referrer: Referrer) -> None:
    long, foreign = "red " + "very " * 300 + "roof", "красная крыша"
    notes = referrer.notes(["red roof", long, foreign], [], open_scene(canvas(80, 80)))
    assert sum("longer than the model reads" in note for note in notes) == 1
    (caution,) = word_cautions(["red roof", foreign], lexicon_of(ColourModel()), "m")  # type: ignore[arg-type]
    assert foreign in caution and "in a script that m has hardly read" in caution
    assert not any("red roof'" in note and "found" not in note for note in notes)


def test_levels_and_cores_cover_the_region(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.moveaxis(canvas(217, 391), -1, 0))
    with rasterio.open(path) as dataset:
        x0, y0 = dataset.transform @ (37, 191)
        x1, y1 = dataset.transform @ (322, 24)
    with open_scene(path, bounds=(x0, y0, x1, y1)) as scene:
        assert (scene.region.row, scene.region.col, scene.region.height, scene.region.width) == (24, 37, 167, 285)
        all_levels = list(levels(scene, SIDE))
        assert [level.grid.shape for level in all_levels] == [(217, 391), (109, 196), (54, 98), (27, 49)]
        for level in all_levels:
            part = region_on(level)
            seen = np.zeros(level.grid.shape, int)
            for view in views(level, SIDE, 20):
                assert view.window.intersect(view.core) == view.core
                assert max(view.window.height, view.window.width) <= SIDE
                seen[view.core.slices] += 1
            assert (seen[part.slices] == 1).all() and seen.sum() == part.height * part.width
        assert len(views(all_levels[-1], SIDE, 20)) == 1


def test_places_on_the_map(referrer: Referrer, tmp_path: Path) -> None:
    image = np.moveaxis(canvas(217, 391, green=(88, 205, 21, 33)), -1, 0)
    path = write_raster(tmp_path / "a.tif", image)
    with rasterio.open(path) as dataset:
        transform, x0, y1 = dataset.transform, *(dataset.transform @ (150, 40))
        x1, y0 = dataset.transform @ (360, 200)
    found = referrer.predict(path, "green", bounds=(x0, y0, x1, y1))
    assert found.labels.shape == (160, 210)
    west, south, east, north = found.to_geodataframe().total_bounds
    for (x, y), (col, row) in (((west, north), (205, 88)), ((east, south), (238, 109))):
        expected = transform @ (col, row)
        assert abs(x - expected[0]) <= 1.5 * abs(transform.a) and abs(y - expected[1]) <= 1.5 * abs(transform.e)


def test_unobserved_ground_is_never_marked(referrer: Referrer) -> None:
    image = canvas(100, 150, red=(20, 30, 40, 40)).astype(np.float32)
    image[30:45, 30:90] = np.nan
    found = referrer.predict(image, "red", every=True, stretch="0,255")
    assert (found.labels[30:45, 30:90] == 255).all() and (found.labels[22:29, 32:68] == 0).all()


def test_impossible_numbers(referrer: Referrer) -> None:
    with pytest.raises(UsageError, match="threshold is a probability"):
        referrer.predict(canvas(80, 80), "red", threshold=1.0)
    with pytest.raises(UsageError, match="cannot overlap by 64"):
        Referrer(ColourModel(), REFER_PRESETS["refseg-tiny"], overlap=64)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a sentence is empty"):
        referrer.predict(canvas(80, 80), ["red", "  "])


def test_a_scene_is_a_context(referrer: Referrer) -> None:
    scene: Scene = open_scene(canvas(60, 60, red=(10, 10, 30, 30)))
    matches = referrer.find(scene, ["red"], policy=FailurePolicy())
    assert len(matches) == 1 and 0.5 < matches[0].score <= 1
