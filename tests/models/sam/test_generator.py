"""Automatic masks of whole images: settings, and what is asked of images and points."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from transformers import Sam2Config, Sam2Model, SamConfig, SamModel

from earthwords.errors import UsageError, WeightsError
from earthwords.models.sam import filters
from earthwords.models.sam.author_names2 import Trunk, authors_config2
from earthwords.models.sam.generator import MaskGenerator
from earthwords.models.sam.load import load_sam, sam2_of_authors
from earthwords.models.sam.predictor import ImageEmbedding, Sam1Predictor, Sam2Predictor, SamPredictor
from earthwords.models.sam.proposals import Proposals
from earthwords.models.sam.settings import MASK_SETTINGS, MaskSettings, mask_settings
from tests.published import (
    names_of_sam2_authors,
    spread,
    write_sam,
    write_sam2_of_authors,
    write_sam_of_authors,
)
from tests.referring import _SAM, _SAM2

SOME = MaskSettings(
    name="some",
    points_per_side=5,
    points_per_batch=7,
    pred_iou_thresh=0,
    stability_score_thresh=0,
    box_nms_thresh=1,
    crop_nms_thresh=1,
)
"""Everything stays: masks of random weights fill the image."""


def predictor(kind: str) -> SamPredictor:
    """Of random weights, which think well of their masks."""
    torch.manual_seed(11)
    if kind == "sam":
        model = spread(SamModel(SamConfig(**_SAM)))
        with torch.no_grad():
            model.mask_decoder.iou_prediction_head.proj_out.bias += 1
        return Sam1Predictor(model)
    return Sam2Predictor(spread(Sam2Model(Sam2Config(**_SAM2))))


def picture(height: int, width: int, seed: int = 5) -> NDArray[np.uint8]:
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.kron(small, np.ones((8, 8, 1), np.uint8))[:height, :width]


def test_settings_of_the_systems() -> None:
    """As the settings of each are printed side by side."""
    rows = {
        name: (
            *(row.points_per_side, row.pred_iou_thresh, row.stability_score_thresh, row.stability_score_offset),
            *(row.box_nms_thresh, row.crop_n_layers, row.largest_share, row.most),
        )
        for name, row in MASK_SETTINGS.items()
    }
    assert rows == {
        "sam": (32, 0.88, 0.95, 1.0, 0.7, 0, None, None),
        "sam2": (32, 0.8, 0.95, 1.0, 0.7, 0, None, None),
        "anychange": (32, 0.5, 0.95, 1.0, 0.7, 0, 0.8, None),
        "dynamicearth-sam": (32, 0.5, 0.95, 0.9, 0.7, 0, 0.8, None),
        "dynamicearth-sam2": (32, 0.5, 0.9, 0.7, 0.7, 0, 0.8, None),
        "instructsam": (24, 0.75, 0.75, 1.0, 0.5, 1, None, 200),
    }
    assert all(row.crop_nms_thresh == 0.7 and row.crop_overlap_ratio == 512 / 1500 for row in MASK_SETTINGS.values())
    with pytest.raises(UsageError, match="Did you mean 'instructsam'"):
        mask_settings("instructsan")
    with pytest.raises(UsageError, match="leave none in crop layer 3"):
        MaskSettings(name="few", points_per_side=7, crop_n_layers=3, crop_n_points_downscale_factor=2)
    with pytest.raises(UsageError, match="points_per_batch must be at least 1"):
        MaskSettings(name="few", points_per_batch=0)


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_the_authors_settings_are_the_default(kind: str) -> None:
    assert MaskGenerator(predictor(kind)).settings == MASK_SETTINGS[kind]


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_what_comes_out_fits_together(kind: str) -> None:
    """Boxes and areas are those of the masks; an embedding may be handed in."""
    image = picture(70, 110)
    generator = MaskGenerator(predictor(kind), SOME)
    found = generator.generate(image)
    assert len(found) > 3 and found.shape == (70, 110)
    masks = found.masks
    assert found.areas.tolist() == masks.sum(axis=(1, 2)).tolist()
    for i, mask in enumerate(masks):
        rows, cols = np.nonzero(mask)
        if len(rows):
            assert found.boxes[i].tolist() == [cols.min(), rows.min(), cols.max(), rows.max()]
        assert np.array_equal(found.mask(i), mask)
    assert {tuple(crop) for crop in found.crops.tolist()} == {(0, 0, 110, 70)}
    again = generator.generate(image, embedding=generator.encode(image))
    assert np.array_equal(again.masks, masks) and np.array_equal(again.predicted_iou, found.predicted_iou)
    whole = found.take(found.areas > 0)
    assert whole.smaller_than(0.3).areas.max() < 0.3 * 70 * 110 <= found.areas.max()
    assert len(found.take([])) == 0 and len(Proposals.joined((3, 4), []).masks) == 0


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_portions_and_batches_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(96, 61)
    expected = MaskGenerator(predictor(kind), replace(SOME, points_per_batch=25)).generate(image)
    monkeypatch.setattr("earthwords.models.sam.generator._AT_ONCE", 3 * 128 * 128)
    found = MaskGenerator(predictor(kind), replace(SOME, points_per_batch=4)).generate(image)
    assert np.array_equal(found.points, expected.points) and len(found) > 3
    assert (found.masks != expected.masks).mean() < 1e-4
    np.testing.assert_allclose(found.predicted_iou, expected.predicted_iou, atol=1e-5)


def test_limits_of_the_settings() -> None:
    image = picture(64, 80)
    generator = MaskGenerator(predictor("sam2"), SOME)
    every = generator.generate(image)
    share = float(np.median(every.areas)) / (64 * 80)
    generator.settings = replace(SOME, largest_share=share, most=2)
    found = generator.generate(image)
    small = every.take(every.areas < share * 64 * 80)
    assert len(small) > 2
    order = np.argsort(-((small.predicted_iou + small.stability) / 2), kind="stable")[:2]
    assert np.array_equal(found.masks, small.masks[order])
    assert np.array_equal(small.best(len(small)).points, small.points)


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_masks_of_points_are_those_of_the_network(kind: str) -> None:
    """In the order of the points, three each, no two suppressed; of these those that pass."""
    found, image = predictor(kind), picture(64, 90)
    embedding, points = found.encode(image), [[3.0, 4.0], [3.0, 4.0], [80.5, 60.0]]
    low, iou = found.decode(embedding, points=points)
    expected = (found.enlarge(low.flatten(0, 1), embedding) > 0).numpy()
    every = MaskGenerator(found, SOME).of_points(embedding, points)
    assert np.array_equal(every.masks, expected) and np.array_equal(every.points, np.repeat(points, 3, axis=0))
    middle = float(iou.median())
    some = MaskGenerator(found, replace(SOME, pred_iou_thresh=middle)).of_points(embedding, points)
    assert np.array_equal(some.masks, expected[(iou > middle).flatten().numpy()]) and 0 < len(some) < 9


@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_boxes_as_prompts(kind: str) -> None:
    """As transformers' model answers to boxes in its own square."""
    found, image = predictor(kind), picture(64, 64)
    side = found.side
    boxes = np.array([[4.0, 8.0, 40.0, 50.0], [10.0, 3.0, 20.0, 60.0]])
    low, iou = found.decode(found.encode(image), boxes=boxes, single=True)
    with torch.inference_mode():
        theirs = found.model(
            pixel_values=found.prepare(image),
            input_boxes=torch.from_numpy(boxes * side / 64).float()[None],
            multimask_output=False,
        )
    torch.testing.assert_close(low, theirs.pred_masks[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(iou, theirs.iou_scores[0], atol=1e-4, rtol=1e-4)


def test_the_norm_of_sams_neck() -> None:
    """Its features less the bias, by the weight, have no mean and deviation 1 in every place."""
    found = predictor("sam")
    assert isinstance(found, Sam1Predictor)
    weight, bias = found.neck_norm
    features = found.encode(picture(50, 64)).features[0]
    plain = (features - bias[:, None, None]) / weight[:, None, None]
    torch.testing.assert_close(plain.mean(0), torch.zeros(4, 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(plain.std(0, correction=0), torch.ones(4, 4), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), np.uint8), np.zeros(8, np.uint8)],
)
def test_other_images(wrong: NDArray[Any]) -> None:
    with pytest.raises(UsageError, match=r"takes uint8 images \(row, column, 3\)"):
        MaskGenerator(predictor("sam")).generate(wrong)


def test_thin_images() -> None:
    with pytest.raises(UsageError, match="An image of 3 x 1000 pixels is too thin for SAM"):
        predictor("sam").encode(np.zeros((3, 1000, 3), np.uint8))
    assert MaskGenerator(predictor("sam2"), SOME).generate(picture(3, 1000)).shape == (3, 1000)


def test_equal_islands() -> None:
    """All too small: the one stays that begins in the upper of two rows, as blocks of 2 by 2 are numbered."""
    mask = np.zeros((6, 9), bool)
    mask[0, 7:9] = mask[1, 0:2] = mask[4, 4:6] = True
    kept, changed = filters.without_islands(mask, 3)
    assert changed and np.argwhere(kept).tolist() == [[1, 0], [1, 1]]
    assert filters.without_islands(mask, 2)[1] is False
    assert not filters.without_islands(np.zeros((3, 4), bool), 5)[0].any()


def test_clean_logits() -> None:
    """As SAM 2's own kernel: neighbours are eight, the limit itself is small, specks are looked for after holes."""
    rng = np.random.default_rng(3)
    logits = ndimage.gaussian_filter(rng.normal(size=(4, 24, 31)), (0, 0.8, 0.8)).astype(np.float32)
    found = filters.clean_logits(torch.from_numpy(logits), 4).numpy()
    changed = 0
    for before, after in zip(logits, found, strict=True):
        expected = before.copy()
        for holes in (True, False):
            regions, count = ndimage.label(expected <= 0 if holes else expected > 0, np.ones((3, 3)))
            for number in range(1, count + 1):
                if (regions == number).sum() <= 4:
                    expected[regions == number] = 10 if holes else -10
                    changed += 1
        assert np.array_equal(after, expected)
    assert changed > 8


class Discs(Sam1Predictor):
    """Answers every point with a disc around it, one with a hole and one with a speck."""

    side = 64  # type: ignore[assignment]

    def __init__(self, *, plain: bool = False) -> None:
        self.plain = plain

    def encode(self, image: NDArray[np.uint8]) -> ImageEmbedding:
        return ImageEmbedding(features=torch.zeros(0), shape=image.shape[:2], frame=(64, 64))

    def decode(self, embedding: ImageEmbedding, **given: Any) -> tuple[Tensor, Tensor]:
        height, width = embedding.shape
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        out = np.full((len(given["points"]), 3, height, width), -9, np.float32)
        for i, (px, py) in enumerate(given["points"]):
            disc = np.hypot(x - px, y - py) < 6
            out[i] = np.where(disc, 9, -9)
            if not self.plain:
                out[i, 1, int(py), int(px)] = -9
                out[i, 2, 0, 0] = 9
        return torch.from_numpy(out), torch.tensor([[0.9, 0.95, 0.97]]).expand(len(out), 3)

    def enlarge(self, logits: Tensor, embedding: ImageEmbedding, *, smallest: float = 0) -> Tensor:
        return logits


def test_small_regions_of_whole_images() -> None:
    """Each disc comes once, without hole or speck; masks that were changed come after others."""
    some = MaskSettings(name="discs", points_per_side=4, box_nms_thresh=1.0, min_mask_region_area=5)
    image = np.zeros((64, 64, 3), np.uint8)
    generator = MaskGenerator(Discs(), replace(some, crop_nms_thresh=0.7))
    found = generator.generate(image)
    assert len(found) == 48  # box_nms_thresh 1 suppresses nothing
    assert (found.predicted_iou[:16] == np.float32(0.9)).all() and (found.predicted_iou[16:] > 0.9).all()
    generator.settings = replace(some, box_nms_thresh=0.7)
    found = generator.generate(image)
    assert len(found) == 16 and all(ndimage.label(~mask)[1] == ndimage.label(mask)[1] == 1 for mask in found.masks)


def test_discs_of_crops() -> None:
    """Every mask lies where its point is in the image; of equal ones that of the smaller crop stays."""
    some = MaskSettings(name="discs", points_per_side=4, points_per_batch=5, crop_n_layers=1)
    found = MaskGenerator(Discs(plain=True), some).generate(np.zeros((150, 220, 3), np.uint8))
    x, y = np.meshgrid(np.arange(220), np.arange(150))
    for i, mask in enumerate(found.masks):
        (x0, y0, x1, y1), (px, py) = found.crops[i], found.points[i]
        assert np.array_equal(mask, np.hypot(x - px, y - py) < 6) and not mask.sum() - mask[y0:y1, x0:x1].sum()
    crops = {tuple(crop) for crop in found.crops.tolist()}
    assert (0, 0, 220, 150) in crops and len(crops) > 1
    sides = found.crops[:, 2:] - found.crops[:, :2]
    assert (np.diff(sides.prod(axis=1)) >= 0).all()


def test_nothing_passes() -> None:
    found = MaskGenerator(predictor("sam2"), MaskSettings(name="none", points_per_side=2, pred_iou_thresh=2)).generate(
        picture(50, 40)
    )
    assert len(found) == 0 and found.masks.shape == (0, 50, 40) and len(found.best(3)) == 0


def test_damaged_weights(tmp_path: Path) -> None:
    """Names or shapes that lack or do not fit, before anything is built of a size that a file claims."""
    model = spread(SamModel(SamConfig(**_SAM)))
    write_sam_of_authors(tmp_path / "sam.pth", model)
    state = torch.load(tmp_path / "sam.pth", weights_only=True)
    for name, told in (
        ("image_encoder.pos_embed", "no SAM of the authors: 'image_encoder.pos_embed' is missing"),
        ("mask_decoder.iou_token.weight", "no checkpoint of the authors"),
        ("image_encoder.blocks.1.attn.qkv.bias", "1 names missing, first vision_encoder.layers.1.attn.qkv.bias"),
    ):
        torch.save({key: value for key, value in state.items() if key != name}, tmp_path / "less.pth")
        with pytest.raises(WeightsError, match=told):
            load_sam(str(tmp_path / "less.pth"))
    write_sam(tmp_path / "sam")
    config = json.loads((tmp_path / "sam" / "config.json").read_text())
    for field, value in (("hidden_size", 10**7), ("num_hidden_layers", 3), ("patch_size", 0), ("mlp_dim", "x")):
        wrong = {**config, "vision_config": {**config["vision_config"], field: value}}
        (tmp_path / "sam" / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(WeightsError, match=r"does not fit|does not describe a SAM|not a folder"):
            load_sam(str(tmp_path / "sam"))


def test_sam2_of_the_authors(tmp_path: Path) -> None:
    """Their names, with the memory for videos; a size that was not published is refused by name."""
    model, path = spread(Sam2Model(Sam2Config(**_SAM2))), tmp_path / "sam2.1_hiera_toy.pt"
    positions = model.shared_image_embedding.positional_embedding
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(positions)
    write_sam2_of_authors(path, model)
    state = torch.load(path, weights_only=True)["model"]
    toy = Trunk(width=16, blocks=(1, 1, 2, 1), whole=(3,), windows=(4, 2, 4, 2))
    how = {"trunks": (toy,), "side": 128, "decoder_heads": 4}
    found = [Sam2Predictor(one) for one in (model, sam2_of_authors(state, **how))]
    places = np.array([[3.0, 60.0], [90.0, 20.0]])
    one, other = (each.decode(each.encode(picture(70, 110)), points=places) for each in found)
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True)) and one[0].std() > 1e-3
    with pytest.raises(WeightsError, match=r"unknown size \(blocks 1, 1, 2, 1 of .16, 32, 64, 128. channels\)"):
        load_sam(str(path))
    less = {name: value for name, value in state.items() if name != "sam_mask_decoder.conv_s0.bias"}
    with pytest.raises(WeightsError, match=r"first mask_decoder\.conv_s0\.bias"):
        sam2_of_authors(less, **how)


def test_the_published_tiny_sam2() -> None:
    """What transformers takes when nothing is said; tensors without memory."""
    with torch.device("meta"):
        shapes = names_of_sam2_authors(Sam2Model(Sam2Config()).state_dict())
    assert authors_config2(shapes).to_dict() == Sam2Config().to_dict()


def test_what_is_no_sam(tmp_path: Any) -> None:
    torch.save({"visual.conv1.weight": torch.zeros(2)}, tmp_path / "clip.pth")
    with pytest.raises(WeightsError, match=r"no checkpoint of the authors of SAM or SAM 2.*visual\.conv1"):
        load_sam(str(tmp_path / "clip.pth"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(WeightsError, match="holds a clip, not a SAM"):
        load_sam(str(tmp_path / "folder"))
    (tmp_path / "folder" / "config.json").write_text("[")
    with pytest.raises(WeightsError, match="is no folder of transformers' SAM"):
        load_sam(str(tmp_path / "folder"))
