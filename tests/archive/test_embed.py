"""Whole images and sentences to vectors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from earthwords.archive import embed
from earthwords.archive.embed import ImagePreprocess, embed_images, embed_texts, load_picture, preprocess_for
from earthwords.errors import SourceError, UsageError
from earthwords.models.clip.model import ClipBackbone
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.models.weights.table import load_clip
from tests.micro import patchwork
from tests.scenes import write_folders

MEAN = (0.5, 0.25, 0.75)


@pytest.fixture(scope="module")
def backbone(micro: Path) -> ClipBackbone:
    return load_clip(str(micro)).eval()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return sorted(write_folders(tmp_path / "set").rglob("*.png"))


def test_crop_and_square(tmp_path: Path) -> None:
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 30:70] = 200
    Image.fromarray(image).save(tmp_path / "a.png")
    crop = load_picture(tmp_path / "a.png", ImagePreprocess(side=20), MEAN)
    assert crop.shape == (20, 20, 3) and (crop > 150).all()
    square = load_picture(tmp_path / "a.png", ImagePreprocess(side=20, fit="square"), MEAN)
    assert square.shape == (20, 20, 3) and 0.3 < (square > 150).mean() < 0.5
    with pytest.raises(UsageError, match="Did you mean 'square'"):
        ImagePreprocess(side=20, fit="sqare")


@pytest.mark.parametrize(("height", "width"), [(61, 37), (37, 61), (8, 9), (224, 224)])
def test_crop_as_torchvision_says_it(tmp_path: Path, height: int, width: int) -> None:
    """Shorter side to the size, the longer one rounded down; the crop's corner rounded."""
    image = Image.fromarray(patchwork(height, width))
    image.save(tmp_path / "a.png")
    size = (32, int(32 * height / width)) if width <= height else (int(32 * width / height), 32)
    whole = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    top, left = round((size[1] - 32) / 2), round((size[0] - 32) / 2)
    expected = whole[top : top + 32, left : left + 32]
    assert np.array_equal(load_picture(tmp_path / "a.png", ImagePreprocess(side=32), MEAN), expected)


def test_rasters(make_scene: Callable[..., Path]) -> None:
    rgb = np.moveaxis(patchwork(40, 50), -1, 0)
    preprocess = ImagePreprocess(side=24)
    plain = load_picture(make_scene(rgb, name="plain.tif"), preprocess, MEAN)
    holes = rgb.copy()
    holes[:, :, :25] = 0
    seen = load_picture(make_scene(holes, name="holes.tif", nodata=0), preprocess, MEAN)
    assert np.array_equal(seen[:, 14:], plain[:, 14:])
    assert abs(seen[:, :10].astype(int) - np.rint(255 * np.array(MEAN))).max() <= 1, "the mean colour, not black"
    five = np.concatenate([rgb[:1], rgb]).astype(np.uint16) * 40
    wide = make_scene(five, name="wide.tif")
    stretched = load_picture(wide, ImagePreprocess(side=24, bands=(2, 3, 4), stretch="0,10200"), MEAN)
    assert abs(stretched.astype(int) - plain).max() <= 1
    assert load_picture(wide, preprocess, MEAN).std() > 10, "stretched by percentiles"


def test_large_scenes_are_averaged(make_scene: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_MOST_SIDE", 64)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 2, (3, 600, 400)).astype(np.uint8) * 255
    found = load_picture(make_scene(noise), ImagePreprocess(side=32, fit="square"), MEAN)
    assert abs(found.astype(int) - 127).max() < 40


def test_vectors_are_remembered_by_weights_files_and_looks(
    backbone: ClipBackbone, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "PIECE", 8)
    preprocess, cache = preprocess_for(backbone, side=32), tmp_path / "cache"
    ticks: list[float] = []
    first = embed_images(backbone, files, preprocess, batch=3, tick=ticks.append, cache=cache)
    assert first.shape == (20, backbone.dim) and ticks == [8, 8, 4]
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6)
    pixels = np.stack([load_picture(path, preprocess, backbone.mean) for path in files[:2]])
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (backbone.mean, backbone.std))
    with torch.inference_mode():
        images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
        expected = F.normalize(backbone.encode_image(images), dim=-1).numpy()
    np.testing.assert_allclose(first[:2], expected, atol=1e-5)

    calls: list[object] = []
    real = embed.load_picture
    monkeypatch.setattr(embed, "load_picture", lambda *args: calls.append(args) or real(*args))
    assert np.array_equal(embed_images(backbone, files, preprocess, cache=cache), first) and not calls
    shutil.copy(files[19], files[2])  # another picture under the same name
    assert not np.allclose(embed_images(backbone, files, preprocess, cache=cache)[2], first[2]) and len(calls) == 8
    pieces = sorted(cache.rglob("*.npy"))
    pieces[0].write_bytes(b"cut")
    np.save(pieces[1], np.zeros((8, 3), np.float32))
    calls.clear()
    again = embed_images(backbone, files, preprocess, cache=cache)
    assert len(calls) in (8, 12, 16, 4) and np.isfinite(again).all()
    calls.clear()
    embed_images(backbone, files, preprocess_for(backbone, side=32, fit="square"), cache=cache)
    assert len(calls) == 20


def test_bits_do_not_depend_on_threads(backbone: ClipBackbone, files: list[Path], tmp_path: Path) -> None:
    """Of batches of one and of many, which sums of several threads would not add in one order."""
    preprocess, before, found = preprocess_for(backbone, side=32), torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for batch in (1, 7):
                cache = tmp_path / f"{threads} {batch}"
                found.append(embed_images(backbone, files, preprocess, batch=batch, cache=cache))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0], found[2]) and np.array_equal(found[1], found[3])


def test_other_weights_have_vectors_of_their_own(backbone: ClipBackbone, files: list[Path], tmp_path: Path) -> None:
    from tests.micro import micro_clip

    other = micro_clip(seed=36)
    assert all(tower_hash(other, tower) != tower_hash(backbone, tower) for tower in ("vision", "text"))
    preprocess = preprocess_for(backbone, side=32)
    first, second = (embed_images(b, files[:3], preprocess, cache=tmp_path / "cache") for b in (backbone, other))
    assert not np.allclose(first, second)


def test_sentences(backbone: ClipBackbone, tmp_path: Path) -> None:
    texts = ["a road", "water", "a road"]
    found = embed_texts(backbone, texts, cache=tmp_path)
    with torch.inference_mode():
        np.testing.assert_allclose(found, backbone.encode_text(texts).numpy(), atol=1e-6)
    assert np.array_equal(embed_texts(backbone, texts, cache=tmp_path), found)
    assert embed_texts(backbone, [], cache=tmp_path).shape == (0, backbone.dim)


def test_a_cache_that_cannot_be_written_costs_time_only(backbone: ClipBackbone, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert embed_texts(backbone, ["a road"], cache=tmp_path / "file").shape == (1, backbone.dim)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut"])
def test_damaged_pictures(backbone: ClipBackbone, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.png"):
        embed_images(backbone, [path], preprocess_for(backbone, side=32), cache=tmp_path / "cache")


def test_sides_that_do_not_fit(backbone: ClipBackbone) -> None:
    for side in (0, 33):
        with pytest.raises(UsageError, match="multiple of the model's"):
            preprocess_for(backbone, side=side)
    assert preprocess_for(backbone).side == backbone.model.config.vision_config.image_size
