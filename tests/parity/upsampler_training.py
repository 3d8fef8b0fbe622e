"""What the authors' code computes in training upsamplers, and the networks that come with it."""

from __future__ import annotations

import json

import torch

from earthwords.models.upsamplers import ifa, resize_conv
from earthwords.models.upsamplers._downsamplers import AttentionDownsampler, SimpleDownsampler, gaussian_blur
from earthwords.models.upsamplers._heads import ContentRetention, ScaleNet, near_identity
from earthwords.models.upsamplers._implicit import (
    ChannelNorm,
    FourierFeatures,
    ImplicitUpsampler,
    MinMax,
    coordinates,
    fourier,
)
from earthwords.training import upsampling_losses
from earthwords.training.jitter import Jitter, Jitters

from .cases import Case, agree


@torch.no_grad()
def check_upsampler_ifa(case: Case) -> None:
    source = case["in.source"]
    upsampler = ifa.build(source.shape[1], case.part("w."))
    agree(upsampler.twice(source), case["out"])
    agree(upsampler(source, case["in.guidance"], tuple(case["out"].shape[-2:])), case["out"])


@torch.no_grad()
def check_upsampler_resize_conv(case: Case) -> None:
    source, guidance = case["in.source"], case["in.guidance"]
    upsampler = resize_conv.build(source.shape[1], case.part("w."))
    agree(upsampler(source, guidance, tuple(guidance.shape[-2:])), case["out"])


@torch.no_grad()
def check_implicit_featurizer(case: Case) -> None:
    image, frequencies = case["in.img"], int(case.meta["n_freqs"])
    agree(MinMax()(image), case["out.minmax"])
    norm = ChannelNorm(image.shape[1])
    norm.load_state_dict(case.part("w.channelnorm."))
    agree(norm(image), case["out.channelnorm"])
    for colours in (False, True):
        for bias in (False, True):
            features = FourierFeatures(frequencies, colours=colours, learned_bias=bias)
            features.load_state_dict(case.part(f"w.color{int(colours)}.") if bias else {})
            found = features(image)
            assert found.shape[1] == features.dim
            agree(found, case[f"out.color{int(colours)}.bias{int(bias)}"])
    simple = fourier(coordinates(image), ifa.FREQUENCIES).expand(len(image), -1, -1, -1)
    agree(torch.cat([simple, image], dim=1), case["out.simple20"])


@torch.no_grad()
def check_implicit_upsampler(case: Case) -> None:
    frequencies = case["w.1.biases"].shape[-1]
    network = ImplicitUpsampler(int(case.meta["end_dim"]), frequencies=frequencies)
    network.load_state_dict(case.part("w."))
    agree(network.eval()(case["in.img"]), case["out"])


@torch.no_grad()
def check_downsampler_attention(case: Case) -> None:
    kernel, final, dim = (int(case.meta[name]) for name in ("kernel", "final", "dim"))
    features, blurred = case["in.x"], "blur1" in case.folder.name
    downsampler = AttentionDownsampler(dim, kernel, final, blur=blurred)
    downsampler.load_state_dict(case.part("w."))
    downsampler.eval()
    agree(downsampler.saliency(features), case["out.forward_attention"])
    if blurred:
        case.agree_between("blurred", gaussian_blur(features))
    agree(downsampler(features, keep=case["in.rand"][..., 0] > 0.2), case["out"])


@torch.no_grad()
def check_downsampler_simple(case: Case) -> None:
    downsampler = SimpleDownsampler(int(case.meta["kernel"]), int(case.meta["final"]))
    downsampler.load_state_dict(case.part("w."))
    agree(downsampler.weights, case["out.kernel"])
    agree(downsampler(case["in.x"]), case["out"])


def check_jitter(case: Case) -> None:
    pad = int(case.meta["max_pad"])
    views = json.loads(case.meta["params_zoom_x_y_flip"])
    for i, (zoom, row, col, mirrored) in enumerate(views):
        jitter = Jitter(zoom=zoom, row=row, col=col, mirrored=mirrored, pad=pad)
        agree(jitter(case["in.img"]), case[f"out.{i}"])
    assert len(views) == len(case.part("out."))
    jitters = Jitters((224, 224), max_pad=20, max_zoom=2, seed=0)
    for zoom, row, col, mirrored in json.loads(case.meta["samples_seed0_pad20_zoom2_224"]):
        assert jitters.draw() == Jitter(zoom=zoom, row=row, col=col, mirrored=mirrored, pad=20)


def check_losses(case: Case) -> None:
    rows, cols = case["in.coord_h"][0], case["in.coord_w"][0]
    agree(upsampling_losses.total_variation(case["in.a"]), case["out.tv"])
    agree(upsampling_losses.total_variation(case["in.a"]), case["out.tvloss"])
    agree(upsampling_losses.entropy(case["in.k"]), case["out.entropy"])
    agree(upsampling_losses.sampled_crf(case["in.guidance"], case["in.feats"], rows, cols), case["out.crf"])
    found = upsampling_losses.scale_shift_invariant(case["in.pred"], case["in.target"], case["in.mask"])
    agree(found, case["out.ssi"])


@torch.no_grad()
def check_scale_net_rec_loss(case: Case) -> None:
    target, projection = case["in.lr_feats"], case["in.proj"]
    scale_net = ScaleNet(target.shape[1])
    scale_net.load_state_dict(case.part("w.scale_net."))
    scales = scale_net(target)
    agree(scales, case["out.scales"])
    found = upsampling_losses.project(case["in.down_feats"], projection)
    target = upsampling_losses.project(target, projection)
    agree(upsampling_losses.reconstruction(found, target, scales), case["out.rec_loss"])


@torch.no_grad()
def check_content_retention(case: Case) -> None:
    features = case["in.hr_feats"]
    network = ContentRetention(features.shape[1])
    network.load_state_dict(case.part("w."))
    found = network(features)
    agree(found, case["out.rec_img"])
    agree(upsampling_losses.content(found, case["in.img"]), case["out.loss"])


@torch.no_grad()
def check_id_conv(case: Case) -> None:
    convolution = near_identity(case["in.x"].shape[1])
    convolution.load_state_dict(case.part("w."))
    agree(convolution(case["in.x"]), case["out"])
