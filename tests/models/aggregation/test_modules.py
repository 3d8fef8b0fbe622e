"""Aggregations at sizes that their authors never ran: any grid, any number of words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import WeightsError
from earthwords.models.aggregation.author_weights import load_aggregation
from earthwords.models.aggregation.gsnet import PADDED, GsnetLayer, _LinearAttention, _SwinBlock
from earthwords.models.aggregation.model import (
    AGGREGATORS,
    Aggregation,
    AggregationConfig,
    Seen,
    aggregation_loss,
    cost,
)

CONFIG = AggregationConfig(
    aggregator="gsnet", features=6, guides={"clip": (5, 3)}, projected_guides={"clip": (4, 2)}, dim=16, layers=2,
    appearance=8, text=8, decoder=(8, 8), heads=2, window=4,
)  # fmt: skip


def made(aggregator: str, *, seed: int = 0, **changes: object) -> Aggregation:
    torch.manual_seed(seed)
    model = Aggregation(replace(CONFIG, aggregator=aggregator, **changes)).eval()
    for name, parameter in model.named_parameters():
        if "padding" in name:
            torch.nn.init.normal_(parameter)
    return model


def views(count: int, grid: tuple[int, int], *, seed: int = 1) -> Seen:
    torch.manual_seed(seed)
    height, width = grid
    guides = (torch.randn(count, 5, 2 * height, 2 * width), torch.randn(count, 3, 4 * height, 4 * width))
    return Seen(features=torch.randn(count, 6, height, width), guides={"clip": guides})


def words(count: int, number: int, *, seed: int = 2) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(count, number, 1, 6)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (4, 4), (5, 7), (9, 6)])
@torch.no_grad()
def test_any_grid_and_images_do_not_see_each_other(aggregator: str, grid: tuple[int, int]) -> None:
    model, seen, text = made(aggregator), views(2, grid), words(2, 3)
    both = model(seen, text)
    assert both.shape == (2, 3, 4 * grid[0], 4 * grid[1])
    first = Seen(features=seen.features[:1], guides={"clip": tuple(g[:1] for g in seen.guides["clip"])})  # type: ignore[dict-item]
    assert torch.allclose(model(first, text[:1]), both[:1], atol=1e-5)
    assert not torch.allclose(both[0], both[1], atol=1e-2)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize("number", [1, 2, 40, PADDED + 4])
@torch.no_grad()
def test_the_order_of_words_does_not_matter(aggregator: str, number: int) -> None:
    """More words than the decoder takes at once, and than GSNet fills up to."""
    model, seen, text = made(aggregator), views(1, (3, 4)), words(1, number)
    order = torch.randperm(number)
    assert torch.allclose(model(seen, text[:, order]), model(seen, text)[:, order], atol=1e-5)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
@torch.no_grad()
def test_words_are_judged_jointly(aggregator: str) -> None:
    model, seen, text = made(aggregator), views(1, (4, 6)), words(1, 4)
    alone = model(seen, text[:, :2])
    assert not torch.allclose(alone, model(seen, text)[:, :2], atol=1e-4)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_parts_of_the_decoder_give_what_the_whole_gives(aggregator: str) -> None:
    model, seen, text = made(aggregator), views(1, (3, 4)), words(1, 70)
    whole = model(seen, text)
    with torch.no_grad():
        assert torch.allclose(model(seen, text), whole, atol=1e-6)


@torch.no_grad()
def test_tokens_that_fill_a_grid_up_are_not_seen() -> None:
    """Columns 0..3 of a grid of 4 x 5 are a window of their own, so what is right of them changes nothing there."""
    torch.manual_seed(3)
    block = GsnetLayer(16, appearance=8, text=8, heads=2, window=4).swin_block.block_1.eval()
    x, guide = torch.randn(1, 8, 5, 16), torch.randn(1, 8, 5, 8)
    narrow = block(x[:, :, :4], guide[:, :, :4])
    assert torch.allclose(block(x, guide)[:, :, :4], narrow, atol=1e-6)
    far = torch.cat([x, torch.randn(1, 8, 2, 16)], dim=2), torch.cat([guide, torch.randn(1, 8, 2, 8)], dim=2)
    assert not torch.allclose(block(*far)[:, :, 4], block(x, guide)[:, :, 4], atol=1e-4)


@pytest.mark.parametrize("shift", [0, 2])
@torch.no_grad()
def test_a_token_sees_those_of_its_window(shift: int) -> None:
    """Windows of 4 tokens that begin at `shift`, on a grid of 7 x 9, against attention over all with a mask."""
    torch.manual_seed(5)
    block = _SwinBlock(16, 8, heads=2, window=4, shift=shift).eval()
    x, guide = torch.randn(1, 7, 9, 16), torch.randn(1, 7, 9, 8)
    row, col = torch.meshgrid((torch.arange(7) - shift) // 4, (torch.arange(9) - shift) // 4, indexing="ij")
    window = (row * 10 + col).flatten()
    both = torch.cat([block.norm1(x), guide], dim=-1).flatten(1, 2)
    apart = torch.zeros(63, 63).masked_fill(window[:, None] != window, -1e9)
    y = x + block.attn(both[:, None], apart[None])[:, 0].unflatten(1, (7, 9))
    assert torch.allclose(block(x, guide), y + block.mlp(block.norm2(y)), atol=1e-5)


def test_one_filler_counts_for_all() -> None:
    """As if each of the tokens that fill up to 256 classes were there, in double precision: values and gradients."""
    torch.manual_seed(4)
    attention = _LinearAttention(8, 4, heads=2).double()
    z, text = torch.randn(2, 3, 5, 8).double(), torch.randn(2, 1, 5, 4).double()
    filler = torch.randn(1, 1, 8).double(), torch.randn(1, 1, 4).double()
    more = PADDED - 5
    short = attention(z, text, filler, more)
    full = torch.cat([z, filler[0].expand(2, 3, more, 8)], dim=2)
    q, k, v = attention._heads(full, torch.cat([text, filler[1].expand(2, 1, more, 4)], dim=2))
    weights = torch.einsum("npthd,npshd->nphts", q, k)
    norm = weights.sum(dim=-1) + 1e-6
    long = torch.einsum("nphts,npshe->npthe", weights / norm[..., None], v).flatten(-2)[:, :, :5]
    assert torch.allclose(short, long, atol=1e-12)
    given = torch.randn_like(short)
    for one, two in zip(
        *(torch.autograd.grad(out, attention.parameters(), given) for out in (short, long)), strict=True
    ):
        assert torch.allclose(one, two, atol=1e-10)


@torch.no_grad()
def test_turned_views_are_turned_back() -> None:
    """A tower that sees every pixel by itself says the same of each turned view, so all cosines agree."""
    model = made("rskt-seg", rotations=4)
    seen, text = views(1, (4, 6)), words(1, 3)
    turned = [seen.features.rot90(k, dims=(-2, -1)) for k in (1, 2, 3)]
    costs = model.costs(replace(seen, turned=turned), text)
    assert costs.shape == (1, 3, 4, 4, 6)
    assert torch.allclose(costs, cost(seen.features, text).expand(-1, -1, 4, -1, -1), atol=1e-6)


def test_ignored_pixels_teach_as_asked() -> None:
    target = torch.tensor([[[0, 1, 255], [255, 7, 1]]])
    logits = torch.zeros(1, 2, 2, 3, requires_grad=True)
    published = aggregation_loss(logits, target, ignored=255)
    (all_pixels,) = torch.autograd.grad(published, logits)
    assert torch.allclose(all_pixels[0, 0], torch.tensor([[-0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]) / 12)
    (known,) = torch.autograd.grad(aggregation_loss(logits, target, ignored=255, left_out=True), logits)
    assert torch.allclose(known[0, 1], torch.tensor([[0.5, -0.5, 0.0], [0.0, 0.5, -0.5]]) / 8)
    nothing = aggregation_loss(logits, torch.full_like(target, 255), ignored=255, left_out=True)
    assert nothing.item() == 0


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_a_checkpoint_of_the_authors_loads_from_among_its_towers(aggregator: str, tmp_path: Path) -> None:
    both = {"guides": {"clip": (5, 3), "dino": (4, 3)}, "projected_guides": {"clip": (4, 2), "dino": (3, 2)}}
    model = made(aggregator, second=True, rotations=4 if aggregator == "rskt-seg" else 1, **both)
    before = "sem_seg_head.predictor.transformer."
    own = {f"{before}{name}": value for name, value in model.state_dict().items()}
    if aggregator == "gsnet":
        own[f"{before}layers.0.swin_block.block_2.attn_mask"] = torch.zeros(4, 16, 16)
    torch.save({"model": {**own, "upsample1.weight": torch.ones(2)}, "iteration": 3}, tmp_path / "model.pth")
    loaded = load_aggregation(tmp_path / "model.pth", heads=2)
    assert loaded.config == replace(model.config, window=4 if aggregator == "gsnet" else 12)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: {n: v for n, v in s.items() if "text_guidance" not in n}, "holds 0 aggregations"),
        (lambda s: {n: v for n, v in s.items() if n != "conv1.weight"}, "no proper 'conv1.weight'"),
        (lambda s: {n: v for n, v in s.items() if n != "head.bias"}, "names that differ: head.bias"),
        (lambda s: {**s, "layers.9.more": torch.ones(1)}, "names that differ: layers.9.more"),
        (lambda s: {**s, "head.bias": torch.tensor([float("nan")])}, "NaN or infinite numbers in head.bias"),
        (lambda s: {**s, "conv1.weight": torch.ones(0, 1, 7, 7)}, "does not"),
        (lambda s: {**s, "conv1.weight": torch.ones(7)}, "no proper"),
    ],
)
def test_what_is_no_aggregation_is_refused(change: object, said: str, tmp_path: Path) -> None:
    state = change(made("gsnet").state_dict())  # type: ignore[operator]
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=said):
        load_aggregation(tmp_path / "x.safetensors", heads=2)


def test_logits_are_resized_to_the_target() -> None:
    """A smooth target is matched by coarse logits as bilinear interpolation has it."""
    coarse = torch.tensor([[[[-4.0, 4.0]]]])
    target = torch.tensor([[[1, 1, 0, 0]]])
    fine = F.interpolate(coarse, size=(1, 4), mode="bilinear", align_corners=False)[0, 0, 0]
    expected = F.binary_cross_entropy_with_logits(fine, torch.tensor([0.0, 0, 1, 1]))
    assert torch.allclose(aggregation_loss(coarse, target, ignored=255), expected)
