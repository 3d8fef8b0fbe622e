"""The implicit upsampler, fitted to small images of which the fine features are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError, WeightsError
from earthwords.models.upsamplers._implicit import ChannelNorm, ImplicitImage, ImplicitUpsampler, Projection
from earthwords.training.implicit import FULL, NORMS, WINDOWS, Basis, ImplicitSettings, fit, views_of
from earthwords.training.loop import Progress

PATCH = 8
SIZE = (48, 64)
SMALL = ImplicitSettings(
    steps=300,
    lr=5e-3,
    views=200,
    views_per_step=4,
    max_pad=16,
    dim=6,
    pca_views=10,
    frequencies=10,
    windows="patches",
    norm="scale",
    batch=16,
)


def striped_image() -> Tensor:
    """A disc, and stripes narrower than two patches, with soft borders: `(1, 3, *SIZE)`."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]) / 16, torch.arange(SIZE[1]) / 16, indexing="ij")
    disc = torch.sigmoid(8 * (1.2 - ((y - 1.7) ** 2 + (x - 2.1) ** 2)))
    stripe = torch.sigmoid(4 * torch.sin(8 * x + 3 * y))
    return torch.stack([2 * disc - 1, 2 * stripe - 1, disc * stripe - 0.5])[None]


def fine_features(image: Tensor) -> Tensor:
    """What is to be found: `(batch, 8, H, W)`, a function of colour."""
    weights = torch.randn(8, 3, generator=torch.Generator().manual_seed(5))
    return torch.tanh(torch.einsum("dc,bchw->bdhw", weights, image))


def coarse_features(image: Tensor) -> Tensor:
    """A backbone: means over patches."""
    return F.avg_pool2d(fine_features(image), PATCH)


def error(found: Tensor) -> float:
    return float((found - fine_features(striped_image())).square().mean())


def test_a_fit_lowers_held_out_loss_and_beats_bilinear() -> None:
    image = striped_image()
    told: list[Progress] = []
    begun = fit(coarse_features, image, settings=replace(SMALL, steps=1))
    fitted = fit(coarse_features, image, settings=SMALL, progress=told.append)
    views = next(views_of(image, coarse_features, SMALL, count=16, seed=99))
    assert fitted.reconstruction(views) < begun.reconstruction(views) - 0.5
    bilinear = F.interpolate(coarse_features(image), size=SIZE, mode="bilinear")
    assert fitted.features().shape == (1, 8, *SIZE)
    assert error(fitted.features()) < 0.6 * error(bilinear)
    assert fitted.features((31, 100)).shape == (1, 8, 31, 100)
    assert [t.step for t in told] == list(range(1, SMALL.steps + 1))
    assert told[0].values.keys() == {"reconstruction", "magnitude", "magnitude_tv", "blur"}


def test_half_resolution_and_wide_windows_learn_too() -> None:
    image = striped_image()
    row = replace(SMALL, shrink=2, windows="wide", norm="channels")
    begun, fitted = (fit(coarse_features, image, settings=replace(row, steps=n)) for n in (1, 100))
    views = next(views_of(image, coarse_features, row, count=16, seed=99))
    assert fitted.features().shape == (1, 8, SIZE[0] // 2, SIZE[1] // 2)
    assert fitted.features(SIZE).shape == (1, 8, *SIZE)
    assert fitted.reconstruction(views) < begun.reconstruction(views) - 0.2


def test_a_seed_gives_a_fit_and_leaves_torchs_generator_alone() -> None:
    row = replace(SMALL, steps=3, views=8, pca_views=8)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = fit(coarse_features, striped_image(), settings=row, seed=4).features()
    assert torch.equal(torch.rand(3), expected)
    with torch.inference_mode():
        again = fit(coarse_features, striped_image(), settings=row, seed=4).features()
    other = fit(coarse_features, striped_image(), settings=row, seed=5).features()
    assert torch.equal(again, first) and not torch.equal(other, first)


@torch.no_grad()
def test_files_of_the_authors_layout(tmp_path: Path) -> None:
    fitted = fit(coarse_features, striped_image(), settings=replace(SMALL, steps=1, views=8))
    path = tmp_path / "image.pth"
    fitted.network().save(path)
    state = torch.load(path, weights_only=True)
    network = ImplicitUpsampler(6, frequencies=10).eval()
    network.load_state_dict(state["model"])
    unprojector = Projection(*(state["unprojector"][k] for k in ("components_", "singular_values_", "mean_")))
    torch.testing.assert_close(unprojector(network(striped_image())), fitted.features())
    assert {k: tuple(v.shape) for k, v in state["unprojector"].items()} == {
        "components_": (6, 8),
        "singular_values_": (6,),
        "mean_": (8,),
    }
    read = ImplicitImage.load(path)
    torch.testing.assert_close(read(striped_image()), fitted.features())
    torch.testing.assert_close(read(striped_image(), (24, 40)), fitted.features((24, 40)))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["missing", "cut", "no unprojector", "list", "other names", "other dim"])
def test_other_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "image.pth"
    ImplicitImage(ImplicitUpsampler(6, frequencies=10), Projection(torch.eye(6), torch.ones(6), torch.ones(6))).save(
        path
    )
    state = torch.load(path, weights_only=True)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:900])
    elif damage == "no unprojector":
        torch.save({"model": state["model"]}, path)
    elif damage == "list":
        torch.save([1, 2], path)
    elif damage == "other names":
        torch.save({**state, "model": {**state["model"], "11.weight": torch.ones(2)}}, path)
    else:
        torch.save({**state, "unprojector": {**state["unprojector"], "components_": torch.ones(5, 6)}}, path)
    with pytest.raises(WeightsError, match=r"image\.pth|featup-implicit"):
        ImplicitImage.load(path)


def test_the_settings_of_the_paper() -> None:
    assert WINDOWS["wide"](224, 14) == WINDOWS["wide"](224, 16) == 29
    assert WINDOWS["wide"](224, 28) == 35 and WINDOWS["patches"](224, 28) == 8
    assert (FULL.steps, FULL.views, FULL.views_per_step, FULL.dim, FULL.shrink) == (1200, 3000, 10, 128, 1)
    assert (FULL.max_pad, FULL.max_zoom, FULL.pca_views, FULL.frequencies, FULL.norm) == (30, 1.8, 50, 30, "channels")
    assert (FULL.magnitude_weight, FULL.magnitude_tv_weight, FULL.blur_weight) == (1e-3, 0.05, 0.1)


def test_norms_of_features() -> None:
    torch.manual_seed(0)
    features = 5 * torch.randn(4, 7, 3, 2) + 1
    torch.testing.assert_close(NORMS["channels"](features), ChannelNorm(7)(features).detach())
    basis = Basis(features, SMALL)
    assert float(basis.project(features).square().mean()) == pytest.approx(1)
    whole = Basis(features, replace(SMALL, dim=7))
    torch.testing.assert_close(whole(whole.project(features)), features)


def test_projection_keeps_what_its_components_hold() -> None:
    torch.manual_seed(0)
    flat = torch.einsum("bchw,dc->bdhw", torch.randn(3, 4, 5, 6), torch.randn(9, 4)) + 2
    projection = Projection.of(flat, 4)
    components = projection.project(flat)
    assert components.shape == (3, 4, 5, 6)
    torch.testing.assert_close(projection(components), flat, atol=1e-4, rtol=1e-4)
    unchanged = Projection.of(flat, 9)
    assert torch.equal(unchanged.project(flat), flat) and torch.equal(unchanged(flat), flat)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: replace(SMALL, steps=0), "steps must be at least 1, got 0"),
        (lambda: replace(SMALL, windows="patch"), "Unknown kind of windows 'patch'. Did you mean 'patches'"),
        (lambda: replace(SMALL, norm="layer"), "Unknown norm of features 'layer'"),
        (lambda: replace(SMALL, shrink=3), "multiple of shrink"),
        (lambda: replace(SMALL, max_zoom=0.5), "zoom of 1 or more"),
        (lambda: fit(coarse_features, torch.zeros(2, 3, 32, 32), settings=SMALL), "One image"),
        (lambda: fit(coarse_features, torch.zeros(1, 3, 16, 32), settings=SMALL), "cannot be padded by 16"),
        (lambda: fit(coarse_features, torch.zeros(1, 3, 33, 32), settings=replace(SMALL, shrink=2)), "no multiple"),
        (lambda: fit(lambda x: x, torch.zeros(1, 3, 32, 32), settings=replace(SMALL, shrink=2)), "finer than"),
    ],
)
def test_what_cannot_be_fitted(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()
