"""A scene and words to labels: the same whatever the batch, the strips, the part asked for, file or array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from torch.nn import functional as F

from earthwords.errors import SourceError
from earthwords.geo.grids.tiling import windows
from earthwords.geo.scene import open_scene
from earthwords.inference.segment.postprocess import class_probabilities
from earthwords.inference.segment.result import SegmentationResult
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Window
from tests.conftest import HEIGHT, TRANSFORM, WIDTH
from tests.inference.segment.micro_preset import MICRO, WORDS
from tests.micro import patchwork


@pytest.fixture(scope="module")
def whole(segmenter: Segmenter, scene_file: Path) -> SegmentationResult:
    """The scene, segmented in one go."""
    return segmenter.predict(scene_file, WORDS, probabilities=True)


def valid_of(image: np.ndarray) -> np.ndarray:
    return image.any(axis=-1)


def same(found: SegmentationResult, wanted: SegmentationResult, tolerance: float = 1e-5) -> None:
    np.testing.assert_array_equal(found.labels, wanted.labels)
    np.testing.assert_allclose(found.score, wanted.score, atol=tolerance)


def cosines(segmenter: Segmenter, pixels: np.ndarray, valid: np.ndarray, shape: tuple[int, int]) -> torch.Tensor:
    """`(query, *shape)` of an image `(3, row, col)` 0..1: windows one by one, the mean of their logits, resized."""
    backbone, preset = segmenter.encoder.backbone, segmenter.preset
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (backbone.mean, backbone.std))
    normal = torch.from_numpy(((pixels - mean) / std * valid).astype(np.float32))
    bank = segmenter.text_bank(parse_classes(WORDS))
    queries = torch.from_numpy(bank.vectors)
    total = torch.zeros(len(queries), *valid.shape)
    count = torch.zeros(valid.shape)
    for window in windows(*valid.shape, tile=preset.tile_size, stride=preset.tile_size - preset.overlap):
        rows, cols = window.slices
        total[:, rows, cols] += segmenter.encoder.logits(normal[None, :, rows, cols], queries)[0]
        count[rows, cols] += 1
    return F.interpolate((total / count)[None], size=shape, mode="bilinear", align_corners=False)[0]


def by_hand(segmenter: Segmenter, pixels: np.ndarray, valid: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`(class, *shape)` probabilities."""
    index = torch.from_numpy(segmenter.text_bank(parse_classes(WORDS)).query_class)
    found = cosines(segmenter, pixels, valid, shape)
    return class_probabilities(found, index, logit_scale=segmenter.preset.logit_scale).numpy()


def test_it_equals_the_computation_by_hand(segmenter: Segmenter, whole: SegmentationResult, image: np.ndarray) -> None:
    valid = valid_of(image)
    wanted = by_hand(segmenter, np.moveaxis(image, -1, 0) / np.float32(255), valid, image.shape[:2])
    assert whole.probabilities is not None
    np.testing.assert_allclose(whole.probabilities[:, valid], wanted[:, valid], atol=1e-5)
    assert np.isnan(whole.probabilities[:, ~valid]).all()
    np.testing.assert_allclose(whole.score[valid], wanted.max(axis=0)[valid], atol=1e-5)
    clear = valid & (np.diff(np.sort(wanted, axis=0), axis=0)[-1] > 1e-4)
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(whole.labels[clear], wanted.argmax(axis=0)[clear])
    assert np.bincount(whole.labels[valid], minlength=4).min() > 300, "all four classes occur"


def test_pixels_without_an_observation_have_no_label(whole: SegmentationResult, image: np.ndarray) -> None:
    hidden = ~valid_of(image)
    assert 0.05 < hidden.mean() < 0.3
    assert (whole.labels[hidden] == 255).all() and (whole.labels[~hidden] < 4).all()
    assert (whole.score[hidden] == 0).all() and (whole.score[~hidden] > 0.2).all()
    np.testing.assert_array_equal(whole.valid, ~hidden)


def test_it_lies_on_the_source(whole: SegmentationResult, image: np.ndarray) -> None:
    assert whole.grid.shape == whole.labels.shape == (HEIGHT, WIDTH)
    assert whole.grid.transform == TRANSFORM
    assert whole.grid.crs is not None and whole.grid.crs.to_epsg() == 32640
    np.testing.assert_array_equal(whole.image, image)


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_batch_changes_nothing(
    segmenter: Segmenter, whole: SegmentationResult, scene_file: Path, batch: int
) -> None:
    other = Segmenter(segmenter.preset, segmenter.encoder, batch=batch)
    assert other.threads == min(batch, torch.get_num_threads())
    found = other.predict(scene_file, WORDS, probabilities=True)
    for one, another in (
        (found.labels, whole.labels),
        (found.score, whole.score),
        (found.probabilities, whole.probabilities),
    ):
        np.testing.assert_array_equal(one, another)


def test_the_cores_change_nothing(segmenter: Segmenter, whole: SegmentationResult, scene_file: Path) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            other = Segmenter(segmenter.preset, segmenter.encoder)
            assert other.threads == threads
            found = other.predict(scene_file, WORDS)
            np.testing.assert_array_equal(found.score, whole.score)
            assert torch.get_num_threads() == threads, "the setting of the program is left alone"
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("gsd", [None, 1.3, 0.2])
def test_how_parts_are_cut_changes_not_a_bit(segmenter: Segmenter, scene_file: Path, gsd: float | None) -> None:
    wanted = segmenter.predict(scene_file, WORDS, gsd=gsd, probabilities=True)
    bank = segmenter.text_bank(parse_classes(WORDS))
    with segmenter.open(scene_file, gsd=gsd) as scene:
        for top, height in ((0, 64), (32, 32), (64, HEIGHT - 64), (96, 32)):
            part = Window(row=top, col=0, height=height, width=WIDTH)
            strips = list(segmenter.strips(scene, bank, region=part, probabilities=True))
            starts = np.cumsum([top, *(len(s.labels) for s in strips)])
            assert [s.row for s in strips] == starts[:-1].tolist() and starts[-1] == top + height
            rows = slice(top, top + height)
            assert wanted.probabilities is not None
            np.testing.assert_array_equal(np.concatenate([s.labels for s in strips]), wanted.labels[rows])
            np.testing.assert_array_equal(np.concatenate([s.score for s in strips]), wanted.score[rows])
            found = np.concatenate([s.probabilities for s in strips if s.probabilities is not None], axis=1)
            np.testing.assert_array_equal(found, wanted.probabilities[:, rows])


def test_few_rows_are_held_at_once(segmenter: Segmenter, scene_file: Path) -> None:
    bank = segmenter.text_bank(parse_classes(WORDS))
    with segmenter.open(scene_file, gsd=1.3) as scene:
        assert scene.grid.shape == (50, 73), "one row of windows"
        rows = [len(strip.labels) for strip in segmenter.strips(scene, bank)]
    assert rows == [32, 32, 32, 32, 2]


def test_windows_may_be_blended_by_weight(
    micro: Path, segmenter: Segmenter, whole: SegmentationResult, scene_file: Path
) -> None:
    """Seams lie where windows begin and end; weights that fall towards the border hide them."""
    for blend in ("linear", "cosine", "tukey"):
        other = Segmenter(replace(MICRO, blend=blend), segmenter.encoder)
        found = other.predict(scene_file, WORDS)
        assert found.tags["EARTHWORDS_BLEND"] == blend
        across = [np.abs(np.diff(result.score.astype(float), axis=1))[:, 31::32].mean() for result in (found, whole)]
        assert across[0] < across[1]


@pytest.mark.parametrize("gsd", [None, 1.1])
@pytest.mark.parametrize("part", [(17, 33, 50, 41), (0, 120, 130, 70), (99, 3, 1, 150)])
def test_a_part_equals_that_part_of_the_whole(
    segmenter: Segmenter, scene_file: Path, part: tuple[int, int, int, int], gsd: float | None
) -> None:
    row, col, height, width = part
    west, north = TRANSFORM @ (col, row)
    east, south = TRANSFORM @ (col + width, row + height)
    found = segmenter.predict(scene_file, WORDS, bounds=(west, south, east, north), gsd=gsd)
    wanted = segmenter.predict(scene_file, WORDS, gsd=gsd)
    rows, cols = slice(row, row + height), slice(col, col + width)
    np.testing.assert_array_equal(found.labels, wanted.labels[rows, cols])
    np.testing.assert_allclose(found.score, wanted.score[rows, cols], atol=1e-6)
    np.testing.assert_array_equal(found.image, wanted.image[rows, cols])
    assert found.grid.bounds == pytest.approx((west, south, east, north))


@pytest.mark.parametrize("gsd", [1.25, 0.3])
def test_working_in_other_pixels_gives_the_sources_own(
    segmenter: Segmenter, scene_file: Path, image: np.ndarray, gsd: float
) -> None:
    found = segmenter.predict(scene_file, WORDS, gsd=gsd, probabilities=True)
    assert found.labels.shape == (HEIGHT, WIDTH) and found.grid.transform == TRANSFORM
    with open_scene(scene_file, gsd=gsd) as scene:
        shape = scene.grid.shape
        raster = scene.read(Window(row=0, col=0, height=shape[0], width=shape[1]))
    assert shape == (round(HEIGHT * 0.5 / gsd), round(WIDTH * 0.5 / gsd))
    wanted = by_hand(segmenter, raster.data, raster.valid, (HEIGHT, WIDTH))
    valid = valid_of(image)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities[:, valid], wanted[:, valid], atol=2e-4)
    np.testing.assert_array_equal(found.labels == 255, ~valid)
    assert float(found.tags["EARTHWORDS_GSD"].removesuffix(" m")) == pytest.approx(gsd, rel=0.02)


def test_a_scene_finer_than_the_weights_know_is_worked_on_at_their_finest(
    segmenter: Segmenter, scene_file: Path, whole: SegmentationResult
) -> None:
    knows = Segmenter(replace(MICRO, gsd=(1.25, 4.0)), segmenter.encoder)
    same(knows.predict(scene_file, WORDS), segmenter.predict(scene_file, WORDS, gsd=1.25))
    same(knows.predict(scene_file, WORDS, gsd=0.5), whole)
    coarse = Segmenter(replace(MICRO, gsd=(0.1, 0.3)), segmenter.encoder)
    same(coarse.predict(scene_file, WORDS), whole)


def test_an_array_gives_what_the_file_gives(segmenter: Segmenter, whole: SegmentationResult, image: np.ndarray) -> None:
    alpha = 255 * valid_of(image).astype(np.uint8)
    found = segmenter.predict(np.dstack([image, alpha]), WORDS)
    same(found, whole, tolerance=1e-6)
    assert found.grid.crs is None


def test_a_pil_image_is_an_array(segmenter: Segmenter, image: np.ndarray) -> None:
    same(segmenter.predict(Image.fromarray(image), WORDS), segmenter.predict(image, WORDS), tolerance=0)


def test_sixteen_bits_are_stretched_once_for_the_whole_scene(
    segmenter: Segmenter, make_scene: Callable[..., Path], image: np.ndarray
) -> None:
    sensor = (np.moveaxis(image, -1, 0).astype(np.uint16) * np.array([[[11]], [[9]], [[7]]], np.uint16)) + 300
    found = segmenter.predict(make_scene(sensor), WORDS)
    low, high = np.percentile(sensor.astype(float), (2, 98), axis=(1, 2))
    stretched = np.clip((sensor - low[:, None, None]) / (high - low)[:, None, None], 0, 1).astype(np.float32)
    same(found, segmenter.predict(np.moveaxis(stretched, 0, -1), WORDS, stretch="none"))
    assert found.tags["EARTHWORDS_STRETCH"].startswith("percentile 2-98")
    part = segmenter.predict(
        make_scene(sensor, name="again.tif"), WORDS, bounds=(326_420.0, 2_781_080.0, 326_440.0, 2_781_100.0)
    )
    assert part.tags["EARTHWORDS_STRETCH"] == found.tags["EARTHWORDS_STRETCH"]


@pytest.mark.parametrize("background", [None, "water"])
def test_below_the_threshold_lies_the_background_or_nodata(
    segmenter: Segmenter, scene_file: Path, whole: SegmentationResult, background: str | None
) -> None:
    found = segmenter.predict(scene_file, WORDS, threshold=0.6, background=background)
    weak = whole.valid & (whole.score < 0.6)
    assert 0.1 < weak.mean() < 0.9
    assert (found.labels[weak] == (255 if background is None else 2)).all()
    np.testing.assert_array_equal(found.labels[~weak], whole.labels[~weak])
    assert (found.labels[~whole.valid] == 255).all()
    assert found.tags["EARTHWORDS_THRESHOLD"] == "0.6"


def test_the_presets_threshold_counts_where_none_is_given(
    segmenter: Segmenter, scene_file: Path, whole: SegmentationResult
) -> None:
    strict = Segmenter(replace(MICRO, threshold=0.6), segmenter.encoder)
    assert (strict.predict(scene_file, WORDS).labels == 255).sum() > (whole.labels == 255).sum()
    same(strict.predict(scene_file, WORDS, threshold=0.0), whole)


@pytest.mark.parametrize("background", [None, "water"])
def test_a_pixel_that_fits_no_word_says_so(
    segmenter: Segmenter, scene_file: Path, whole: SegmentationResult, image: np.ndarray, background: str | None
) -> None:
    valid = valid_of(image)
    best = cosines(segmenter, np.moveaxis(image, -1, 0) / np.float32(255), valid, image.shape[:2]).amax(dim=0).numpy()
    nothing = round(float(np.quantile(best[valid], 0.3)), 3)
    knowing = Segmenter(replace(MICRO, nothing=nothing), segmenter.encoder)
    found = knowing.predict(scene_file, WORDS, background=background)
    fits, unfit = valid & (best > nothing + 1e-5), valid & (best < nothing - 1e-5)
    assert 0.2 < unfit.sum() / valid.sum() < 0.4
    assert (found.labels[unfit] == (255 if background is None else 2)).all()
    np.testing.assert_array_equal(found.labels[fits], whole.labels[fits])
    np.testing.assert_allclose(found.score, whole.score, atol=1e-5)
    assert found.tags["EARTHWORDS_NOTHING"] == f"{nothing:g}" and "EARTHWORDS_NOTHING" not in whole.tags


def test_windows_without_a_valid_pixel_are_not_encoded(
    segmenter: Segmenter, make_scene: Callable[..., Path], image: np.ndarray
) -> None:
    bare = image.copy()
    bare[:, :129] = 0
    path = make_scene(np.moveaxis(bare, -1, 0), nodata=0)
    cut = Segmenter(replace(MICRO, overlap=0), segmenter.encoder)
    encoded: list[int] = []
    norm = segmenter.encoder.backbone.model.vision_model.post_layernorm
    hook = norm.register_forward_hook(lambda layer, inputs, output: encoded.append(len(output)))
    ticks: list[int] = []
    try:
        with cut.open(path) as scene:
            vocabulary = parse_classes(WORDS)
            strips = list(cut.strips(scene, cut.text_bank(vocabulary), tick=ticks.append))
            assert sum(ticks) == len(cut.plan(scene)) == 9
    finally:
        hook.remove()
    assert sum(encoded) == 3, "one column of windows of three"
    labels = np.concatenate([s.labels for s in strips])
    np.testing.assert_array_equal(labels == 255, ~valid_of(bare))


def test_a_spot_too_small_for_the_working_pixels_has_no_label(
    segmenter: Segmenter, make_scene: Callable[..., Path]
) -> None:
    data = np.moveaxis(patchwork(64, 512), -1, 0)
    data[:, :, 60:] = 0
    data[:, 50, 500] = 77
    found = segmenter.predict(make_scene(data, nodata=0), WORDS, gsd=2.0, probabilities=True)
    assert found.valid[50, 500] and found.labels[50, 500] == 255 and found.score[50, 500] == 0
    assert found.probabilities is not None and np.isnan(found.probabilities[:, 50, 500]).all()
    assert (found.labels[:, :60] < 4).all()


def test_a_part_without_a_valid_pixel(segmenter: Segmenter, scene_file: Path) -> None:
    west, south = 326_417.5, 2_781_068.0
    with pytest.raises(SourceError, match="has no valid pixel in the part asked for; choose other bounds"):
        segmenter.predict(scene_file, WORDS, bounds=(west, south, west + 20, south + 10))


def test_three_hundred_classes_need_sixteen_bits(segmenter: Segmenter, image: np.ndarray) -> None:
    words = [*(f"thing {i}" for i in range(296)), "building", "road", "water", "trees"]
    found = segmenter.predict(image[:70, 100:185], words)
    assert found.labels.dtype == np.uint16 and found.vocabulary.nodata == 65535
    assert found.labels[found.valid].max() > 255
    assert (found.labels[found.valid] < 300).all()


def test_a_scene_smaller_than_a_window_or_a_patch(segmenter: Segmenter, image: np.ndarray) -> None:
    for height, width in ((40, 190), (7, 11), (1, 1)):
        found = segmenter.predict(image[:height, :width], WORDS)
        assert found.labels.shape == (height, width) and (found.labels < 4).all()


def test_a_vocabulary_is_as_good_as_words(segmenter: Segmenter, scene_file: Path, whole: SegmentationResult) -> None:
    same(segmenter.predict(str(scene_file), parse_classes(WORDS)), whole)


def test_tags_tell_how_it_was_made(whole: SegmentationResult, scene_file: Path, micro: Path) -> None:
    from earthwords import __version__

    tags = whole.tags
    assert tags["EARTHWORDS_VERSION"] == __version__
    assert tags["EARTHWORDS_PRESET"] == "micro" and tags["EARTHWORDS_WEIGHTS"] == str(micro)
    assert tags["EARTHWORDS_VOCABULARY"] == "building,roof; road; water; trees"
    assert tags["EARTHWORDS_SOURCE"] == str(scene_file)
    assert tags["EARTHWORDS_TILE"] == "64 overlap 32"


def test_a_preset_of_ones_own(micro: Path, scene_file: Path, tmp_path: Path, whole: SegmentationResult) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'base = "tiny"\nweights = "{micro.as_posix()}"\ntile_size = 64\noverlap = 32\nblend = "mean"\n')
    found = Segmenter.from_preset(str(file), device="cpu").predict(scene_file, WORDS)
    same(found, whole)
    assert found.tags["EARTHWORDS_PRESET"] == "mine"


def test_another_attention_gives_another_map(micro: Path, scene_file: Path, whole: SegmentationResult) -> None:
    for attention in ("maskclip", "gem"):
        other = Segmenter.from_preset(replace(MICRO, attention=attention), model=micro, device="cpu")
        found = other.predict(scene_file, WORDS)
        assert found.labels.shape == whole.labels.shape
        assert np.abs(found.score - whole.score).max() > 1e-3


def test_features_may_be_upsampled_before_they_are_compared(micro: Path, scene_file: Path) -> None:
    fine = Segmenter.from_preset(replace(MICRO, upsampler="bilinear"), model=micro, device="cpu")
    with rasterio.open(scene_file) as source:
        pixels = source.read() / np.float32(255)
    found = fine.predict(scene_file, WORDS, probabilities=True)
    wanted = by_hand(fine, pixels, found.valid, found.labels.shape)
    assert found.probabilities is not None
    np.testing.assert_allclose(found.probabilities[:, found.valid], wanted[:, found.valid], atol=1e-5)
    assert found.tags["EARTHWORDS_UPSAMPLER"] == "bilinear"


def test_probabilities_of_classes_that_sum_to_one(segmenter: Segmenter) -> None:
    """A softmax over the best word of each class, so that synonyms take nothing away; the labels stay."""
    calibrated = Segmenter(replace(segmenter.preset, sum_to_one=True, logit_scale=30.0), segmenter.encoder)
    plain = Segmenter(replace(segmenter.preset, logit_scale=30.0), segmenter.encoder)
    image = patchwork(70, 90)
    found = calibrated.predict(image, WORDS, probabilities=True)
    before = plain.predict(image, WORDS, probabilities=True)
    assert found.probabilities is not None and before.probabilities is not None
    assert before.probabilities.sum(axis=0).min() < 0.99
    np.testing.assert_allclose(found.probabilities.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(
        found.probabilities[0] / found.probabilities[1], before.probabilities[0] / before.probabilities[1], rtol=1e-4
    )
    np.testing.assert_array_equal(found.labels, before.labels)
    assert found.tags["EARTHWORDS_PROBABILITIES"] == "sum to 1" and "EARTHWORDS_PROBABILITIES" not in before.tags


def test_thresholds_of_classes(segmenter: Segmenter, whole: SegmentationResult, scene_file: Path) -> None:
    best = whole.labels.copy()
    level = float(np.median(whole.score[best == 1]))
    own = Segmenter(replace(segmenter.preset, thresholds=(("road", level), ("ship", 0.9))), segmenter.encoder)
    found = own.predict(scene_file, WORDS)
    below = (best == 1) & (whole.score < np.float32(level))
    assert 0 < below.sum() < (best == 1).sum()
    np.testing.assert_array_equal(found.labels, np.where(below, 255, best))
    assert found.tags["EARTHWORDS_THRESHOLD"] == f"0; road {level:g}; ship 0.9"
    assert "Thresholds of the preset for ship do not apply: no such class is asked for." in found.notes
    everything = own.predict(scene_file, WORDS, threshold=0.0)
    np.testing.assert_array_equal(everything.labels, best)
    assert everything.tags["EARTHWORDS_THRESHOLD"] == "0", "what is asked for takes the place of all thresholds"
