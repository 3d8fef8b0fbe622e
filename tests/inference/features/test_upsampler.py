"""One contract for every method: image, features, upsample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine
from torch.nn import functional as F

import earthwords
from earthwords.errors import UsageError, WeightsError
from earthwords.inference.features.pca import fit_components
from earthwords.inference.features.strips import SceneFeatures, sample_tokens
from earthwords.inference.features.upsampler import Upsampler
from earthwords.models.clip.config import from_json
from earthwords.models.clip.model import ClipBackbone, DenseMethod, build_clip
from earthwords.models.weights.resolve import IMPLICIT, methods, resolve_method, with_weights
from earthwords.models.weights.table import WEIGHTS, WeightSpec, upsampler_weights_for
from earthwords.presets import SEGEARTH_OV, SEGMENT_PRESETS
from earthwords.training.implicit import REDUCED
from earthwords.training.implicit_settings import implicit_fit
from tests.micro import patchwork
from tests.upsamplers import FEED_FORWARD, random_upsampler, write_upsampler

DIM = 12
QUICK = replace(REDUCED, steps=2, views=4, views_per_step=2, max_pad=4, dim=4, pca_views=4, frequencies=4, batch=4)
SMALL = replace(SEGMENT_PRESETS["tiny"], name="small", tile_size=64, overlap=32)


def clip(patch: int) -> ClipBackbone:
    """A vision transformer of toy size with random weights."""
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**tower, "patch_size": patch, "image_size": 4 * patch}
    text = {**tower, "vocab_size": 64, "max_position_embeddings": 8, "bos_token_id": 62, "eos_token_id": 63}
    torch.manual_seed(patch)
    return ClipBackbone(
        build_clip(from_json({"vision_config": vision, "text_config": text, "projection_dim": DIM}))
    ).eval()


def upsampler(method: str, patch: int) -> Upsampler:
    backbone = clip(patch)
    if method == IMPLICIT:
        return Upsampler(SMALL, backbone, method, fit=implicit_fit(QUICK))
    return Upsampler(SMALL, backbone, method, module=random_upsampler(method, DIM))


@pytest.mark.parametrize("method", [*FEED_FORWARD, IMPLICIT])
@pytest.mark.parametrize("patch", [14, 16, 32])
def test_one_contract(method: str, patch: int) -> None:
    up = upsampler(method, patch)
    torch.manual_seed(1)
    rows, cols = (9, 11) if method == "naf" else (3, 5)  # which needs as many tokens as its kernel
    image = torch.randn(2, 3, rows * patch, cols * patch)
    features = up.features(image)
    fine = up.upsample(features, image)
    assert features.shape == (2, DIM, rows, cols)
    assert fine.shape == (2, DIM, rows * patch, cols * patch) and bool(fine.isfinite().all())
    assert not torch.equal(fine[0], fine[1])
    size = (2 * rows, 2 * cols) if method == "naf" else (40, 70)
    assert up.upsample(features, image, size).shape == (2, DIM, *size)
    alone = up.upsample(features[1:], image[1:])
    torch.testing.assert_close(alone, fine[1:], atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_an_image_without_whole_patches_is_padded_on_all_sides() -> None:
    up = upsampler("bilinear", 16)
    image = torch.randn(1, 3, 41, 70)
    features = up.features(image)
    padded = F.pad(image, (5, 5, 3, 4))
    assert torch.equal(features, up.backbone.encode_dense(padded, DenseMethod(attention="segearth")).values)
    expected = F.interpolate(features, size=(48, 80), mode="bilinear")[:, :, 3:44, 5:75]
    assert torch.equal(up.upsample(features, image), expected)


def test_images_come_from_arrays_and_files(micro: Path, scene_file: Path, image: np.ndarray) -> None:
    up = Upsampler.from_preset("bilinear", preset=SMALL, model=micro, device="cpu")
    array, file = up.image(image), up.image(scene_file)
    assert array.shape == file.shape == (1, 3, *image.shape[:2])
    valid = torch.from_numpy(image.any(axis=2))
    assert torch.equal(array[..., valid], file[..., valid])
    assert float(file[..., ~valid].abs().max()) == 0 < float(array[..., ~valid].abs().max())
    west, north = 326_417.5 + 0.5 * 20, 2_781_133.0 - 0.5 * 10
    part = up.image(scene_file, bounds=(west, north - 0.5 * 30, west + 0.5 * 50, north))
    assert torch.equal(part, file[:, :, 10:40, 20:70])
    with pytest.raises(UsageError, match="bands are for files"):
        up.image(image, bands=[3, 2, 1])
    placed = {"transform": Affine(0.5, 0, 326_417.5, 0, -0.5, 2_781_133.0), "crs": "EPSG:32640"}
    same = up.image(image, bounds=(west, north - 0.5 * 30, west + 0.5 * 50, north), nodata=0, **placed)
    assert torch.equal(same, part)


@pytest.mark.parametrize("name", ["penultimate", "vanilla", "maskclip", None])
@torch.inference_mode()
def test_features_by_name(name: str | None, micro: Path, image: np.ndarray) -> None:
    up = Upsampler.from_preset(preset=SMALL, model=micro, features=name, device="cpu")
    pixels = up.image(image[:64, :96])
    if name == "penultimate":
        expected = up.backbone.encode_penultimate(pixels).values
    else:
        expected = up.backbone.encode_dense(pixels, DenseMethod(attention=name or "segearth")).values
    assert torch.equal(up.features(pixels), expected)
    assert up.tags()["EARTHWORDS_FEATURES"] == (name or "segearth")


def test_it_is_in_the_table_of_contents() -> None:
    assert earthwords.Upsampler is Upsampler
    assert earthwords.implicit_fit is implicit_fit
    assert {"bilinear", "jbu", "simfeatup", "anyup", "naf", "ifa", "resize-conv", "featup-implicit"} <= set(methods())


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"method": "simfeetup"}, UsageError, "Unknown upsampling method 'simfeetup'. Did you mean 'simfeatup'?"),
        ({"method": "jbu"}, WeightsError, "Upsampler 'jbu' needs trained weights"),
        ({"method": "bilinear", "upsampler_weights": "a.pt"}, UsageError, "Method 'bilinear' has no weights; leave"),
        ({"method": IMPLICIT}, UsageError, "fits a network to every window; say how: fit=earthwords.implicit_fit"),
        ({"features": "penultimat"}, UsageError, "Unknown kind of features 'penultimat'. Did you mean 'penultimate'?"),
        ({"preset": "tinny"}, UsageError, "Did you mean 'tiny'"),
        ({"batch": 0}, UsageError, "At least one window"),
    ],
)
def test_refusals(options: dict[str, object], error: type[Exception], sentence: str, micro: Path) -> None:
    with pytest.raises(error) as told:
        Upsampler.from_preset(**{"preset": SMALL, "model": micro, "device": "cpu", **options})  # type: ignore[arg-type]
    assert sentence in str(told.value)


def test_a_checkpoint_of_another_dimension(micro: Path, tmp_path: Path) -> None:
    weights = write_upsampler(tmp_path, "jbu", 17)
    with pytest.raises(WeightsError, match="does not fit upsampler 'jbu'; first names that differ: fixup_proj"):
        Upsampler.from_preset("jbu", preset=SMALL, model=micro, upsampler_weights=weights, device="cpu")


def test_settings_of_a_fit() -> None:
    with pytest.raises(UsageError, match=r"Unknown settings of a fit 'fulll'\. Did you mean 'full'"):
        implicit_fit("fulll")
    for name, views in (("reduced", 200), ("full", 3000)):
        made = implicit_fit(name)
        assert (made.settings.norm, made.settings.views) == ("scale", views)
    assert implicit_fit("full").held(224**2) > implicit_fit("reduced").held(224**2) > 2**20


def test_a_fit_tells_its_steps_and_its_time() -> None:
    told: list[float] = []
    made = implicit_fit(QUICK, tick=told.append)
    backbone = clip(16)
    image = torch.randn(1, 3, 64, 96)
    made(lambda views: backbone.encode_dense(views, DenseMethod()).values, image)
    assert told == [0.5, 0.5]
    assert made.seconds(lambda views: backbone.encode_dense(views, DenseMethod()).values, image) > 0


# ---- weights that belong together


def test_weights_of_the_table() -> None:
    assert upsampler_weights_for("simfeatup", "openai-vit-b-16") == "simfeatup-million-aid"
    assert upsampler_weights_for("jbu", "openai/clip-vit-base-patch16") == "featup-clip"
    assert upsampler_weights_for("anyup", "/models/mine") == "anyup-multi-backbone"
    assert upsampler_weights_for("naf", "tiny") == "naf-release"
    assert upsampler_weights_for("jbu", "openai-vit-l-14") is None
    assert upsampler_weights_for("bilinear", "openai-vit-b-16") is None
    for spec in WEIGHTS.values():
        assert spec.method is None or (spec.kind == "upsampler" and spec.method in methods())
        assert spec.backbone is None or WEIGHTS[spec.backbone].kind == "clip"


def test_weights_of_the_backbone_come_before_those_for_any(monkeypatch: pytest.MonkeyPatch) -> None:
    row = WeightSpec(
        name="mine", source="package", licence="", paper="", kind="upsampler", method="ifa", backbone="tiny"
    )
    monkeypatch.setitem(WEIGHTS, "mine", row)
    assert upsampler_weights_for("ifa", "tiny") == "mine" and upsampler_weights_for("ifa", "openai-vit-b-16") is None
    assert upsampler_weights_for("anyup", "tiny") == "tiny-anyup"
    assert upsampler_weights_for("anyup", "openai-vit-b-16") == "anyup-multi-backbone"


@pytest.mark.parametrize("kind", [Upsampler, earthwords.Segmenter])
def test_weights_are_found_by_name(kind: type, micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_upsampler(tmp_path, "anyup", 16)
    row = WeightSpec(
        name="mine", source=str(path), licence="", paper="", kind="upsampler", method="anyup", backbone=str(micro)
    )
    monkeypatch.setitem(WEIGHTS, "mine", row)
    asked = replace(SMALL, upsampler="anyup")
    made = kind.from_preset(preset=asked, model=micro, device="cpu", offline=True)
    assert made.preset.upsampler_weights == "mine"


def test_a_method_keeps_the_weights_of_its_preset_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(method: str, named: str | None = None) -> str | None:
        return resolve_method(SEGEARTH_OV, method, upsampler_weights=named).row.upsampler_weights

    assert weights("simfeatup") == "simfeatup-million-aid"
    assert weights("jbu") == "featup-clip"
    assert weights("bilinear") is None
    assert weights("jbu", "my.pt") == "my.pt"


# ---- scenes


def joined(features: SceneFeatures) -> np.ndarray:
    return np.concatenate([strip.values for strip in features.strips()], axis=1)


def test_a_scene_of_one_window_is_the_contract(micro: Path, scene_file: Path, tmp_path: Path) -> None:
    weights = write_upsampler(tmp_path, "simfeatup", 16)
    row = replace(SMALL, tile_size=256, overlap=0)
    up = Upsampler.from_preset("simfeatup", preset=row, model=micro, upsampler_weights=weights, device="cpu")
    with up.open(scene_file) as scene:
        values = joined(SceneFeatures(upsampler=up, scene=scene, components=None))
        tokens = sample_tokens(up, scene)
        components = fit_components(tokens, 4)
        projected = joined(SceneFeatures(upsampler=up, scene=scene, components=components))
    pixels = up.image(scene_file)
    expected = up.upsample(up.features(pixels), pixels)[0]
    seen = np.isfinite(values[0])
    assert 0.5 < seen.mean() < 1
    np.testing.assert_allclose(values[:, seen], expected.numpy()[:, seen], atol=1e-5)
    np.testing.assert_allclose(projected[:, seen], components.project(expected).numpy()[:, seen], atol=1e-4)


def test_windows_are_averaged_where_they_overlap(micro: Path) -> None:
    up = Upsampler.from_preset("bilinear", preset=replace(SMALL, blend="mean"), model=micro, device="cpu")
    image = patchwork(64, 96)
    with up.open(image) as scene:
        values = joined(SceneFeatures(upsampler=up, scene=scene, components=None))
    pixels = up.image(image)
    left, right = (up.upsample(up.features(part), part)[0] for part in (pixels[..., :64], pixels[..., 32:]))
    np.testing.assert_allclose(values[..., :32], left[..., :32], atol=1e-5)
    np.testing.assert_allclose(values[..., 32:64], (left[..., 32:] + right[..., :32]) / 2, atol=1e-5)
    np.testing.assert_allclose(values[..., 64:], right[..., 32:], atol=1e-5)


@pytest.mark.parametrize("gsd", [None, 1.3])
def test_a_part_has_the_values_of_the_whole(gsd: float | None, micro: Path, scene_file: Path, tmp_path: Path) -> None:
    weights = write_upsampler(tmp_path, "anyup", 16)
    up = Upsampler.from_preset("anyup", preset=SMALL, model=micro, upsampler_weights=weights, device="cpu")
    west, north = 326_417.5 + 0.5 * 70, 2_781_133.0 - 0.5 * 50
    bounds = (west, north - 0.5 * 41, west + 0.5 * 77, north)
    with up.open(scene_file, gsd=gsd) as scene, up.open(scene_file, gsd=gsd, bounds=bounds) as part:
        components = fit_components(sample_tokens(up, scene), 3)
        whole, found = (joined(SceneFeatures(upsampler=up, scene=one, components=components)) for one in (scene, part))
    assert found.shape == (3, 41, 77)
    np.testing.assert_array_equal(found, whole[:, 50:91, 70:147])


def test_a_sample_is_the_same_every_time_and_of_observed_tokens(
    micro: Path, make_scene: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = np.moveaxis(patchwork(130, 190), -1, 0).copy()
    data[:, :, 96:] = 0
    up = Upsampler.from_preset("bilinear", preset=replace(SMALL, overlap=0), model=micro, device="cpu")
    with up.open(make_scene(data, nodata=0)) as scene:
        one, other = sample_tokens(up, scene), sample_tokens(up, scene)
        assert torch.equal(one, other)
        monkeypatch.setattr("earthwords.inference.features.strips.SAMPLED_TOKENS", 30)
        few = sample_tokens(up, scene)
    # three rows of windows; of the columns, the first is seen, half of the second, nothing of the third
    assert len(one) == 3 * (16 + 8)
    assert 0 < len(few) <= 30
    assert all(bool((row == one).all(dim=1).any()) for row in few)


def test_an_upsampler_stays_with_its_weights() -> None:
    row = SEGMENT_PRESETS["segearth-ov"]
    assert with_weights(row, None, None) == (row, None)
    assert with_weights(row, row.weights, None) == (row, None)
    changed, note = with_weights(row, "laion-vit-b-16", None)
    assert (changed.weights, changed.upsampler, changed.upsampler_weights) == ("laion-vit-b-16", None, None)
    assert note is not None and "belongs to openai-vit-b-16" in note
    changed, note = with_weights(row, "laion-vit-b-16", "mine.ckpt")
    assert (changed.upsampler, changed.upsampler_weights, note) == ("simfeatup", "mine.ckpt", None)
    changed, note = with_weights(row, "tiny", None)
    assert (changed.weights, changed.upsampler_weights, note) == ("tiny", "tiny-simfeatup", None)
    anyup = replace(row, upsampler="anyup", upsampler_weights="anyup-paper")
    assert with_weights(anyup, "laion-vit-b-16", None) == (replace(anyup, weights="laion-vit-b-16"), None)
    own = replace(row, upsampler_weights="/mine.ckpt")
    assert with_weights(own, "laion-vit-b-16", None) == (replace(own, weights="laion-vit-b-16"), None)
