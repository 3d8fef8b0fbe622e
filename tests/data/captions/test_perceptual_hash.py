"""The search misses nothing, and copies that were changed a little are found."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from earthwords.data.captions import perceptual_hash

HEIGHT, WIDTH = 96, 140
TURNS = ("FLIP_LEFT_RIGHT", "FLIP_TOP_BOTTOM", "ROTATE_180", "TRANSPOSE", "ROTATE_270", "ROTATE_90", "TRANSVERSE")
"""PIL's names for `perceptual_hash.ORIENTATIONS[1:]`."""


def picture(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH, 3))
    smooth = ndimage.gaussian_filter(noise, (6, 6, 0)) * 350 + 0.15 * ndimage.gaussian_filter(noise, (1, 1, 0)) * 100
    return Image.fromarray(np.clip(smooth + 120, 0, 255).astype(np.uint8))


def hash_of(image: Image.Image) -> int:
    value, flat = perceptual_hash.perceptual_hash(np.asarray(image.convert("RGB")))
    assert not flat
    return value


def words(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def family(n: int, seed: int) -> np.ndarray:
    """Random words, half of them others with 0 to 12 bits turned over."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 2**64, n, dtype=np.uint64)
    found[n // 2 :] = found[: n - n // 2]
    for i in range(n // 2, n):
        for bit in rng.choice(64, rng.integers(0, 13), replace=False):
            found[i] ^= np.uint64(1) << np.uint64(bit)
    return rng.permutation(found)


def brute(reference: np.ndarray, query: np.ndarray, threshold: int, within: bool) -> dict[tuple[int, int], int]:
    found: dict[tuple[int, int], int] = {}
    for orientation in range(8):
        bits = perceptual_hash.distances(perceptual_hash.oriented(reference, orientation)[:, None], query[None])
        for i, j in np.argwhere(bits <= threshold).tolist():
            if not within or i < j:
                found[i, j] = min(found.get((i, j), 99), int(bits[i, j]))
    return found


@pytest.mark.parametrize("threshold", [0, 1, 2, 3, 5, 7, 8, 12, 20, 63, 64])
@pytest.mark.parametrize("n", [0, 1, 7, 120])
def test_exact_recall(threshold: int, n: int) -> None:
    """All pairs, those at the threshold too, with their distances, and none twice."""
    hashes, others = family(n, seed=threshold), family(n // 3, seed=threshold)
    for pairs, expected in (
        (perceptual_hash.near(hashes, threshold=threshold), brute(hashes, hashes, threshold, within=True)),
        (perceptual_hash.near(hashes, others, threshold=threshold), brute(others, hashes, threshold, within=False)),
    ):
        keys = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
        assert len(set(keys)) == len(keys)
        assert dict(zip(keys, pairs.distance.tolist(), strict=True)) == expected
        if n == 120 and threshold == 5:
            assert 5 in expected.values()


def test_as_they_are_only() -> None:
    value = hash_of(picture(1))
    mirrored = int(perceptual_hash.oriented(words(value), 1)[0])
    assert len(perceptual_hash.near(words(value, mirrored), threshold=0)) == 1
    assert len(perceptual_hash.near(words(value, mirrored), threshold=0, orientations=1)) == 0


def test_long_runs_and_short_ones_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.concatenate([family(100, seed=1), family(20, seed=2).repeat(20)])
    expected = brute(hashes, hashes, 4, within=True)
    for run in (0, 10**6):
        monkeypatch.setattr(perceptual_hash, "_LONG_RUN", run)
        monkeypatch.setattr(perceptual_hash, "_BLOCK", 1000)
        pairs = perceptual_hash.near(hashes, threshold=4)
        found = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
        assert dict(zip(found, pairs.distance.tolist(), strict=True)) == expected


def test_counting_bits() -> None:
    values = family(500, seed=3)
    expected = [int(value).bit_count() for value in values]
    assert perceptual_hash._count_bits_swar(values).tolist() == perceptual_hash._count_bits(values).tolist() == expected


@pytest.mark.parametrize(("orientation", "turn"), list(enumerate(TURNS, 1)))
def test_orientations(orientation: int, turn: str) -> None:
    """The hash of a turned image follows from that of the image, also where height and width differ."""
    for seed in range(5):
        image = picture(seed)
        turned = image.transpose(Image.Transpose[turn])
        bits = perceptual_hash.distances(
            perceptual_hash.oriented(words(hash_of(image)), orientation), words(hash_of(turned))
        )
        assert bits[0] <= 1
        pairs = perceptual_hash.near(words(hash_of(image), hash_of(turned)), threshold=2)
        assert pairs.orientation.tolist() == [orientation]


def changed(image: Image.Image, how: str) -> Image.Image:
    if how == "jpeg":
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=60)
        return Image.open(buffer)
    if how == "smaller":
        return image.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.BICUBIC)
    if how == "larger":
        return image.resize((WIDTH * 2, HEIGHT * 3 // 2), Image.Resampling.LANCZOS)
    if how == "brighter":
        return ImageEnhance.Brightness(image).enhance(1.15)
    if how == "contrast":
        return ImageEnhance.Contrast(image).enhance(0.8)
    if how == "grey":
        return image.convert("L")
    if how == "cropped":
        return image.crop((1, 1, WIDTH - 1, HEIGHT - 1))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((80, 70))


@pytest.mark.parametrize("how", ["jpeg", "smaller", "larger", "brighter", "contrast", "grey", "cropped", "mirrored"])
def test_planted_copies_are_found(how: str) -> None:
    originals = words(*(hash_of(picture(seed)) for seed in range(30)))
    copies = words(*(hash_of(changed(picture(seed), how)) for seed in range(30)))
    pairs = perceptual_hash.near(copies, originals)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert all(i == j for i, j in found)
    assert len(found) >= (27 if how == "cropped" else 29)


def test_strangers_are_not_alike() -> None:
    assert len(perceptual_hash.near(words(*(hash_of(picture(seed)) for seed in range(60))))) == 0


def test_flat_images_equal_only_themselves() -> None:
    grey, dark = np.full((20, 30, 3), 90, np.uint8), np.full((20, 30, 3), 91, np.uint8)
    first = perceptual_hash.perceptual_hash(grey)
    assert first[1] and first == perceptual_hash.perceptual_hash(grey.copy()) != perceptual_hash.perceptual_hash(dark)
    assert first != perceptual_hash.perceptual_hash(grey.reshape(30, 20, 3))
