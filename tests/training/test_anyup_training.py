"""AnyUp's training: what is drawn, where crops lie, what the losses are, and that it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.models.upsamplers._imagenet import IMAGENET_MEAN, IMAGENET_STD
from earthwords.models.upsamplers.anyup import AnyUp
from earthwords.training.teacher import Teacher, teacher
from earthwords.training.upsamplers.anyup import AnyUpBatch, AnyUpSettings, AnyUpTask
from earthwords.training.upsampling_losses import scaled_difference
from tests.micro import micro_clip, patchwork

SETTINGS = AnyUpSettings(side=224, crop=112, crops=2, batch=2)


def images(rng: np.random.Generator, count: int, side: int) -> Tensor:
    """Fields of 30 pixels a side, each with the grain of its own colour."""
    made = [patchwork(side // 3 + 1, side // 3 + 1, seed=int(rng.integers(1 << 30))) for _ in range(count)]
    large = np.kron(np.stack(made), np.ones((1, 3, 3, 1), np.uint8))[:, :side, :side]
    return torch.from_numpy(large).permute(0, 3, 1, 2).float() / 255


def plain(encode: Callable[[Tensor], Tensor], patch: int, dim: int, name: str = "plain") -> Teacher:
    """Without normalisation."""
    return Teacher(name=name, patch=patch, dim=dim, mean=(0.0,) * 3, std=(1.0,) * 3, encode=encode)


def mixing(patch: int = 14, dim: int = 6) -> Teacher:
    """Random filters, one for every token."""
    filters = torch.randn(dim, 3, patch, patch, generator=torch.Generator().manual_seed(dim)) / patch
    return plain(lambda pixels: F.conv2d(pixels, filters, stride=patch), patch, dim, f"mixing {patch}")


def ramp(rng: np.random.Generator, count: int, side: int) -> Tensor:
    """Red is the row, green the column, blue 1 - row / 2: 0..1 from edge to edge."""
    place = (torch.arange(side) + 0.5) / side
    rows, cols = torch.meshgrid(place, place, indexing="ij")
    return torch.stack([rows, cols, 1 - rows / 2]).expand(count, -1, -1, -1)


class Oracle(nn.Module):
    """Knows the mean colours of `ramp` under every token."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        assert size[0] == size[1]
        return ramp(np.random.default_rng(0), len(features), size[0]) + 0 * self.unused


@pytest.mark.parametrize(("side", "crop", "patch"), [(224, 112, 14), (160, 96, 16), (96, 96, 16), (192, 48, 8)])
def test_crops_lie_where_their_tokens_are(side: int, crop: int, patch: int) -> None:
    task = AnyUpTask(
        ramp,
        [plain(lambda pixels: F.avg_pool2d(pixels, patch), patch, 3)],
        AnyUpSettings(side=side, crop=crop, crops=3, batch=4),
    )
    views = task.draw(np.random.default_rng(5))
    last = (side - crop) // patch
    corners = np.array(views.corners)
    assert corners.shape == (4, 3, 2) and corners.min() >= 0 and corners.max() <= last
    losses = {name: float(value.detach()) for name, value in task.losses(Oracle(), views).items()}  # type: ignore[arg-type]
    assert losses["crop"] < 1e-7 and losses["consistency"] < 1e-7 and losses["identity"] < 1e-3
    assert not last or len({tuple(c) for c in corners.reshape(-1, 2)}) > 1

    class Shifted(AnyUpBatch):
        def cut(self, maps: Tensor, side: int, step: int = 1) -> Tensor:
            return super().cut(maps if step > 1 else maps.roll(1, dims=3), side, step)

    shifted = Shifted(**{name: getattr(views, name) for name in views.__dataclass_fields__})
    assert float(task.losses(Oracle(), shifted)["crop"].detach()) > 1e-4  # type: ignore[arg-type]


def test_what_the_losses_are() -> None:
    """By hand, from the pieces."""
    torch.manual_seed(0)
    learned = mixing()
    task = AnyUpTask(images, [learned], replace(SETTINGS, consistency_weight=0.2, identity_weight=0.3))
    views, model = task.draw(np.random.default_rng(0)), AnyUp(16)
    losses = task.losses(model, views)
    assert list(losses) == ["crop", "consistency", "identity"]
    shrunk = F.interpolate(views.images, size=(112, 112), mode="bilinear", antialias=True)
    assert torch.equal(views.shrunk, shrunk)
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    coarse, guidance = learned(shrunk), (shrunk - mean) / std
    found, crop = model(coarse, guidance, (16, 16)), 0.0
    for i, corners in enumerate(views.corners):
        for row, col in corners:
            pixels = views.images[i : i + 1, :, 14 * row : 14 * row + 112, 14 * col : 14 * col + 112]
            own = found[i : i + 1, :, row : row + 8, col : col + 8]
            crop += float(scaled_difference(own, learned(pixels)).detach()) / 4
    assert float(losses["crop"].detach()) == pytest.approx(crop, rel=1e-4)
    fine = [model(coarse, g, (112, 112)) for g in (guidance, (views.distorted - mean) / std)]
    torch.testing.assert_close(
        losses["consistency"], 0.2 * scaled_difference(fine[1], fine[0].detach()), rtol=1e-3, atol=1e-7
    )
    torch.testing.assert_close(losses["identity"], 0.3 * scaled_difference(F.avg_pool2d(found, 2), coarse))


def test_the_clean_output_is_taken_as_it_is() -> None:
    torch.manual_seed(0)
    task = AnyUpTask(images, [mixing()], replace(SETTINGS, consistency_size=20))
    views, model = task.draw(np.random.default_rng(0)), AnyUp(16)
    undistorted = replace(views, distorted=views.shrunk)
    loss = task.losses(model, undistorted)["consistency"]
    assert float(loss.detach()) < 1e-6
    sizes: list[tuple[int, int]] = []
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(inputs[2]))
    task.losses(model, views)
    assert sizes == [(16, 16), (20, 20), (20, 20)]


def test_losses_of_weight_0_are_left_out() -> None:
    task = AnyUpTask(images, [mixing()], replace(SETTINGS, consistency_weight=0, identity_weight=0))
    views = task.draw(np.random.default_rng(0))
    assert torch.equal(views.distorted, views.shrunk)
    assert list(task.losses(AnyUp(16), views)) == ["crop"]


def test_steps_take_turns_among_patches_and_backbones() -> None:
    teachers = [mixing(14, 6), mixing(16, 5), mixing(14, 9), teacher(micro_clip())]
    task = AnyUpTask(images, teachers, SETTINGS)
    drawn = [task.draw(np.random.default_rng((0, step))) for step in range(24)]
    counts = [sum(v.teacher is t for v in drawn) for t in teachers]
    assert min(counts) >= 2
    model = AnyUp(16)
    for one in teachers:
        views = next(v for v in drawn if v.teacher is one)
        losses = task.losses(model, views)
        assert all(bool(value.isfinite()) for value in losses.values())
        assert max(max(c) for own in views.corners for c in own) <= 112 // one.patch
    assert task.settings["teacher 2"] == "mixing 14, patch 14, dim 9"
    assert task.settings["side"] == "224" and len(task.settings) == 4 + len(SETTINGS.__dataclass_fields__)


def test_bfloat16_is_near() -> None:
    torch.manual_seed(0)
    task = AnyUpTask(images, [mixing()], replace(SETTINGS, batch=1, consistency_size=28))
    views, model = task.draw(np.random.default_rng(0)), AnyUp(16)
    exact = task.losses(model, views)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = task.losses(model, views)
    assert all(loss.dtype == torch.float32 for loss in rounded.values())
    assert float(rounded["crop"].detach()) == pytest.approx(float(exact["crop"].detach()), rel=0.02)
    torch.stack(list(rounded.values())).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def trained(learned: Teacher, steps: int) -> tuple[AnyUp, dict[str, float], dict[str, float]]:
    """On the smallest sides; the figures of batches that are held out, before and after."""
    side = 8 * learned.patch
    options = AnyUpSettings(side=side, crop=side // 2, crops=2, batch=2, consistency_size=28)
    task = AnyUpTask(images, [learned], options)
    held = [task.draw(np.random.default_rng(seed)) for seed in range(90, 96)]
    assert any(row != col for views in held for own in views.corners for row, col in own)

    def figures() -> dict[str, float]:
        found = [task.heldout(model, views) for views in held]
        return {name: float(np.mean([one[name] for one in found])) for name in found[0]}

    torch.manual_seed(3)
    model = AnyUp(16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    before = figures()
    for step in range(steps):
        losses = task.losses(model, task.draw(np.random.default_rng((1, step))))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    return model, before, figures()


@pytest.mark.parametrize("patch", [16, 14])
def test_it_learns(patch: int) -> None:
    _, before, after = trained(mixing() if patch == 14 else teacher(micro_clip(), "segearth"), 12)
    assert after["crop"] < 0.98 * before["crop"]
    assert after["bilinear"] == before["bilinear"]


def test_the_same_seeds_give_the_same_bits() -> None:
    (first, *_), (second, *_) = trained(mixing(), 2), trained(mixing(), 2)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"batch": 0}, "The batch of AnyUp's training must be 1 or more, got 0"),
        ({"consistency_size": 0}, "The consistency size of AnyUp's training must be 1 or more, got 0"),
        ({"crop": 480}, "Crops of 480 pixels do not fit into images of 448; use smaller crops"),
        ({"identity_weight": -1.0}, "The identity weight must be 0 or more, got -1"),
        ({"consistency_weight": float("nan")}, "The consistency weight must be 0 or more, got nan"),
    ],
)
def test_settings_that_are_wrong(wrong: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        AnyUpSettings(**wrong)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"side": 230}, "The images .* patches of 14 pixels a side for mixing 14, got 230 pixels; use 224"),
        ({"crop": 100}, "The crops .* for mixing 14, got 100 pixels; use 98"),
        ({"crop": 14}, "The crops .* 2 or more patches .* got 14 pixels; use 28"),
    ],
)
def test_sides_that_do_not_fit_the_patches(wrong: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        AnyUpTask(images, [mixing()], replace(SETTINGS, **wrong))


def test_no_backbone() -> None:
    with pytest.raises(UsageError, match="needs a backbone to learn from"):
        AnyUpTask(images, [], SETTINGS)
