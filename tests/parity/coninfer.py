"""What ConInfer's authors computed: the mixture of a batch of images as one scene, and of an image alone."""

from __future__ import annotations

import torch
from torch import Tensor

from earthwords.inference.segment.postprocess import class_probabilities, decide
from earthwords.inference.windows import mixture
from earthwords.types import Mixture

from .cases import Case, agree, same_labels


def check_coninfer(case: Case) -> None:
    """In one chunk and in chunks of odd sizes; prior, first means, the last fit, shares, and maps of every size."""
    features, cosines = case["in.features"], case["in.cosine_logits"]
    batch, classes = len(features), cosines.shape[-1]
    grid = tuple(case["out.image0_alone.z"].shape[:2])
    flat, told = features.flatten(0, 1), cosines.flatten(0, 1)
    case.agree_between("prior", (mixture.SHARPNESS * told).softmax(1).view(batch, *grid, classes))
    case.agree_between("mu_init", mixture._first(lambda: [(flat, told)])[0].float())
    shares = {}
    for warmth in case.meta["temps"]:
        fitted = mixture.fit(lambda: [(flat, told)], temperature=warmth)
        shares[warmth] = mixture.shares(fitted, flat, told).view(batch, *grid, classes)
        agree(shares[warmth], case[f"out.temp{warmth}.z"])
        _chunks_change_nothing(fitted, flat, told, warmth)
        if warmth == case.meta["temps"][0]:
            case.agree_between("mu", torch.from_numpy(fitted.means).float())
            case.agree_between("variance", torch.from_numpy(fitted.variance).float())
    first = case.meta["temps"][0]
    alone = mixture.fit(lambda: [(features[0], cosines[0])], temperature=first)
    agree(mixture.shares(alone, features[0], cosines[0]).view(*grid, classes), case["out.image0_alone.z"])
    for i, size in enumerate(case.meta["image_sizes"]):
        _a_map(case, shares[first][i], f"out.image{i}", tuple(size))


def _chunks_change_nothing(fitted: Mixture, flat: Tensor, told: Tensor, warmth: float) -> None:
    parts = list(zip(flat.split(37), told.split(37), strict=True))
    again = mixture.fit(lambda: parts, temperature=warmth)
    torch.testing.assert_close(torch.from_numpy(again.means), torch.from_numpy(fitted.means), atol=1e-9, rtol=0)
    assert again.changed == fitted.changed and again.tokens == fitted.tokens == len(flat)


def _a_map(case: Case, shares: Tensor, name: str, size: tuple[int, int]) -> None:
    assert case.meta["logit_scale"] == mixture.SCALE
    logits = torch.nn.functional.interpolate(shares.permute(2, 0, 1)[None], size=size, mode="bilinear")[0]
    probabilities = class_probabilities(logits, case["in.query_idx"], logit_scale=mixture.SCALE)
    agree(probabilities, case[f"{name}.probs"])
    labels, _ = decide(probabilities, threshold=case.meta["prob_thd"], background=case.meta["bg_idx"])
    same_labels(labels, case[f"{name}.pred"].long(), probabilities)


CHECKS = {"coninfer_gmm": check_coninfer}
