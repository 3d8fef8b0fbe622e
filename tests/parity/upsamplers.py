"""FeatUp's and AnyUp's upsamplers beside their authors' code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from earthwords.kernels import adaptive_conv as adaptive_conv_kernel
from earthwords.kernels import range_kernel as range_kernel_kernel
from earthwords.kernels import window_attention
from earthwords.models.upsamplers import anyup, bilinear, jbu

from .cases import GOLDEN, Case, agree


def check_adaptive_conv(case: Case) -> None:
    side = int(case.meta["k"])
    for function in (adaptive_conv_kernel.reference, adaptive_conv_kernel.adaptive_conv):
        source = case["in.input"].requires_grad_()
        filters = case["in.filters"].requires_grad_()
        out = function(source, filters.flatten(3).permute(0, 3, 1, 2))
        assert filters.shape[-1] == side
        agree(out.detach(), case["out"])
        out.backward(case["in.grad_out"])
        agree(source.grad, case["out.grad_input"])
        agree(filters.grad, case["out.grad_filters"])
        source.grad = filters.grad = None


def jbu_stage(case: Case) -> jbu.JbuStage:
    stage = jbu.JbuStage(int(case.meta["radius"]))
    stage.load_state_dict(case.part("w."))
    return stage.eval()


def check_jbu_learned_range(case: Case) -> None:
    if "in.grad_out" in case.tensors:
        return check_jbu_gradients(case)
    stage = jbu_stage(case)
    with torch.no_grad():
        guidance = case["in.guidance"]
        temperature = stage.range_temp.exp().clamp(1e-4, 1e4)
        for function in (range_kernel_kernel.reference, range_kernel_kernel.range_kernel):
            case.agree_between("range_kernel", function(stage.range_proj(guidance), temperature, stage.radius))
        case.agree_between("spatial_kernel", stage.spatial_kernel())
        case.agree_between("combined_kernel", stage.kernels(guidance))
        agree(stage(case["in.source"], guidance), case["out"])
    return None


def check_jbu_gradients(case: Case) -> None:
    stage = jbu_stage(case)
    source = case["in.source"].requires_grad_()
    out = stage(source, case["in.guidance"])
    agree(out.detach(), case["out"])
    out.backward(case["in.grad_out"])
    agree(source.grad, case["grad.source"])
    for name, parameter in stage.named_parameters():
        agree(parameter.grad, case[f"grad.{name}"])


def check_jbu_whole(case: Case, build: Callable[..., jbu.Jbu]) -> None:
    if "ckpt" in case.meta:
        return check_jbu_real(case)
    source, guidance = case["in.source"], case["in.guidance"]
    upsampler = build(source.shape[1], case.part("w."))
    with torch.no_grad():
        agree(upsampler(source, guidance, tuple(guidance.shape[-2:])), case["out"])
        twice = upsampler(source.repeat(2, 1, 1, 1), guidance.repeat(2, 1, 1, 1), tuple(guidance.shape[-2:]))
        agree(twice[1:], case["out"])
    return None


def check_jbu_real(case: Case) -> None:
    path = GOLDEN.parent / "weights" / "featup" / case.meta["ckpt"].rsplit("/")[-1]
    if not path.exists():
        pytest.skip(f"the real checkpoint {path.name} is not here")
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    upsampler = jbu.build(512, state)
    with torch.no_grad():
        out = upsampler(case["in.source"], case["in.guidance"], tuple(case["in.guidance"].shape[-2:]))
    agree(out[:, ::8], case["out.every_8th_channel"])


def check_upsampler_bilinear(case: Case) -> None:
    size = tuple(case["in.guidance"].shape[-2:])
    agree(bilinear.build(8)(case["in.source"], case["in.guidance"], size), case["out"])


def check_anyup(case: Case) -> None:
    upsampler = anyup.build(case["in.features"].shape[1], case.part("w."))
    assert upsampler.rope.freqs.shape[1] == int(case.meta["qk_dim"])
    upsampler.cross_decode.ratio = float(case.meta["window_ratio"])
    upsampler.cross_decode.cross_attn.attention.heads = int(case.meta["heads"])
    for path in case.folder.glob("names_full_qk*.txt"):
        whole = anyup.AnyUp(int(path.stem.removeprefix("names_full_qk")))
        names = [f"{name}\t{tuple(value.shape)}" for name, value in whole.state_dict().items()]
        assert sorted(names) == sorted(path.read_text().splitlines())
    features, image, expected = case["in.features"], case["in.image"], case["out"]
    with torch.no_grad():
        case.agree_between("image_encoder", upsampler.image_encoder(image))
        unit = torch.nn.functional.normalize(features, dim=1)
        case.agree_between("key_features", upsampler.key_features_encoder(unit))
        agree(upsampler(features, image, tuple(expected.shape[-2:])), expected)


def check_anyup_window(case: Case) -> None:
    """Names tell the sizes: `bounds_6x8_48x60`, `bounds_14x14_224`, `mask_5x6_20x18`; bounds are r0, r1, c0, c1."""
    for name, expected in case.part("out.").items():
        what, tokens, size = name.split("_")
        sides = ([int(side) for side in (s if "x" in s else f"{s}x{s}").split("x")] for s in (size, tokens))
        axes = list(zip(*sides, strict=True))
        if what == "bounds":
            rows, cols = (torch.stack(window_attention.bounds(*axis, anyup.RATIO), dim=1) for axis in axes)
            shape = (len(rows), len(cols), 2)
            found = torch.cat([rows[:, None].expand(shape), cols[None].expand(shape)], dim=2)
        else:
            rows, cols = (window_attention.visible(*axis, anyup.RATIO) for axis in axes)
            found = ~(rows[:, None, :, None] & cols[None, :, None, :]).flatten(2).flatten(0, 1)
        assert torch.equal(found, expected.to(found.dtype))
