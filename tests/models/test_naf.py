"""NAF: any sizes, channels and batch; heads; what it learns and refuses. The authors' numbers: `tests.parity`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from earthwords.errors import UsageError, WeightsError
from earthwords.inference.windows.lowrank import reduced_cosines
from earthwords.kernels.neighbourhood import attention, convolution
from earthwords.models.upsamplers import jbu, naf
from tests.kernels.test_kernels import agree, random
from tests.upsamplers import random_state

STATE = random_state("naf", 8)
SHAPES = [((9, 10), (36, 40)), ((9, 12), (50, 61)), ((11, 9), (80, 18)), ((10, 13), (10, 13)), ((10, 9), (24, 99))]


def inputs(dim: int, tokens: tuple[int, int], size: tuple[int, int], batch: int = 2) -> tuple[Tensor, Tensor]:
    return random(batch, dim, *tokens, seed=1).detach(), random(batch, 3, *size, seed=2).detach()


@pytest.mark.parametrize(("tokens", "size"), SHAPES)
def test_pixels_in_groups_are_the_formula(tokens: tuple[int, int], size: tuple[int, int]) -> None:
    """With gradients and without; whole numbers of pixels a token and others, squeezed to the formula's own windows."""
    tensors = [random(2, *size, 2, 4, seed=1), random(2, *tokens, 2, 4, seed=2), random(2, *tokens, 2, 3, seed=3)]
    expected = attention.reference(*tensors, 9)
    agree(attention.neighbourhood_attention(*tensors, 9), expected, tensors, attention.TOLERANCE)
    with torch.inference_mode():
        found = attention.neighbourhood_attention(*(t.detach() for t in tensors), 9)
    torch.testing.assert_close(found, expected.detach(), atol=attention.TOLERANCE, rtol=attention.TOLERANCE)


def test_whole_pixels_a_token_see_the_tokens_around_it() -> None:
    """Written out: no windows of NATTEN's, no spreading."""
    for i, seen in enumerate(attention.cells(72, 12, 9).tolist()):
        first = min(max(i // 6 - 4, 0), 3)
        assert seen == list(range(first, first + 9))


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("band", [1, 1000, 1 << 20])
def test_convolution_in_bands(side: int, band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "BAND", band)
    scale, shift, weight, bias = (
        random(*s, seed=i).detach() for i, s in enumerate([(16,), (16,), (8, 16, side, side), (8,)])
    )
    layer = convolution.Layer(groups=4, scale=scale, shift=shift, weight=weight, bias=bias)
    x = random(1, 16, 13, 21, seed=9).detach()
    found = convolution.in_bands(x[0].permute(1, 2, 0).contiguous(), layer).permute(2, 0, 1)[None]
    torch.testing.assert_close(found, convolution.reference(x, layer), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(("tokens", "size"), SHAPES[:3])
@torch.inference_mode()
def test_words_by_bases_of_heads(tokens: tuple[int, int], size: tuple[int, int]) -> None:
    """Alone as in a batch, to the bit; a basis that mixed heads would give something else."""
    features, image = inputs(480, tokens, size)  # more channels of a head than tokens
    module, words = naf.build(480, STATE), torch.nn.functional.normalize(random(3, 480, seed=4).detach(), dim=1)
    found = reduced_cosines(module, features, image, size, words)
    whole = torch.nn.functional.normalize(module(features, image, size), dim=1)
    torch.testing.assert_close(found, torch.einsum("bdhw,qd->bqhw", whole, words), atol=1e-5, rtol=1e-5)
    assert torch.equal(reduced_cosines(module, features[1:], image[1:], size, words), found[1:])
    ranks: list[int] = []
    near = reduced_cosines(module, features, image, size, words, energy=0.999, note=ranks.append)
    assert len(ranks) == 2 and float((near - found).abs().max()) < 0.1


def test_everything_learns_from_the_loss() -> None:
    module = naf.build(8, STATE).double()
    features, image = (x.double() for x in inputs(8, (9, 10), (18, 20), batch=1))
    module(features, image, (18, 20), scale=1.3).square().sum().backward()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            assert weight.grad is not None
            place = int(weight.grad.flatten().abs().argmax())
            moved, step = weight.view(-1), 1e-6
            losses = []
            for change in (step, -2 * step):
                moved[place] += change
                with torch.enable_grad():
                    losses.append(module(features, image, (18, 20), scale=1.3).square().sum().item())
            moved[place] += step
            slope = (losses[0] - losses[1]) / (2 * step)
            assert slope == pytest.approx(float(weight.grad.flatten()[place]), rel=1e-5), name


def test_what_does_not_fit_is_refused() -> None:
    module = naf.build(8, STATE)
    wrong: list[tuple[tuple[int, int, int], tuple[int, int], str]] = [
        ((8, 7, 12), (56, 96), "needs 9 tokens a side, got 7 x 12 tokens for 56 x 96 pixels; use larger windows"),
        ((8, 12, 12), (96, 11), "shrinks nothing"),
        ((6, 12, 12), (96, 96), "channels are a multiple of 4, got 6"),
    ]
    for shape, size, sentence in wrong:
        with pytest.raises(UsageError, match=sentence):
            module(torch.zeros(1, *shape), torch.zeros(1, 3, 96, 96), size)
    assert STATE is not None
    for state, sentence in (
        (None, "Upsampler 'naf' needs trained weights"),
        (jbu.JbuStack(6).state_dict(), "does not fit upsampler 'naf'"),
        ({k: v for k, v in STATE.items() if "periods" not in k}, "does not fit upsampler 'naf'"),
    ):
        with pytest.raises(WeightsError, match=sentence):
            naf.build(8, state)
