"""What NAF's authors computed, with NATTEN's windows."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from earthwords.kernels.neighbourhood import attention
from earthwords.models.upsamplers import naf
from earthwords.models.upsamplers._imagenet import IMAGENET_MEAN, IMAGENET_STD

from .cases import Case, agree


def check_naf(case: Case) -> None:
    """Everything of `naf_*`: encoders, queries, keys, windows, weights and the result, as inferred and as trained."""
    module = _module(case)
    features, size = case["in.features"], tuple(case.meta["output_size"])
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    image = (case["in.image_u8"] / 255 - mean) / std
    with torch.inference_mode():
        found = module(features, image, size)
    _whole(case, found)
    learning = module(features, image, size)
    assert learning.requires_grad
    _whole(case, learning.detach())
    with torch.no_grad():
        _between(case, module, image, size, (features.shape[-2], features.shape[-1]))


def _module(case: Case) -> naf.Naf:
    state = case.part("w.") or _generated(case)
    module = naf.build(8, state)
    module.heads, module.window = int(case.meta["heads_attn"]), int(case.meta["kernel_size"])
    assert 4 * len(state["image_encoder.rope.periods"]) * case.meta["heads_rope"] == case.meta["dim"]
    return module


def _whole(case: Case, found: Tensor) -> None:
    if "out" in case.tensors:
        return agree(found, case["out"])
    rows, cols = case["out.pixels"].T
    agree(found[:, :, rows, cols], case["out.at_pixels"])
    agree(found.mean((2, 3)), case["out.channel_mean"])
    return None


def _between(case: Case, module: naf.Naf, image: Tensor, size: tuple[int, int], tokens: tuple[int, int]) -> None:
    if "mid.attn_pixels" not in case.tensors:
        return
    rows, cols = case["mid.attn_pixels"].T
    pooled, queries = module.image_encoder.pooled(image, size), module.queries(image, size)
    keys = naf._means(queries, tokens)
    case.agree_between("pooled", pooled.permute(0, 3, 1, 2))
    case.agree_between("pooled_at_pixels", pooled[:, rows, cols].mT)
    case.agree_between("query_at_pixels", queries[:, rows, cols].mT)
    case.agree_between("key", keys.permute(0, 3, 1, 2))
    scores, weights = attention.dense_weights(module._split(queries), module._split(keys), module.window)
    case.agree_between("scores_scaled", scores[:, rows, cols].transpose(1, 2))
    case.agree_between("attn", weights[:, rows, cols].transpose(1, 2))
    for name, length, side in zip(("window_y", "window_x"), size, tokens, strict=True):
        if f"mid.{name}" in case.tensors:
            assert torch.equal(attention.positions(length, side, module.window), case[f"mid.{name}"])
    if "mid.periods" in case.tensors:
        agree(naf.Naf().image_encoder.rope.periods, case["mid.periods"])


def _generated(case: Case) -> dict[str, Tensor]:
    """Weights by the rule of `meta.json`; names and shapes are those of the published checkpoint."""
    random, state, digest = np.random.RandomState(2026), {}, hashlib.sha256()
    for line in (case.folder / "names.txt").read_text().splitlines():
        name, shape, *_ = line.split("\t")
        sizes = tuple(int(n) for n in shape.strip("()").split(",") if n.strip())
        if name.endswith("periods"):
            state[name] = naf.Naf().image_encoder.rope.periods
            continue
        values = random.standard_normal(sizes).astype(np.float32)
        if len(sizes) == 4:
            values *= np.float32(1.6 / np.sqrt(sizes[1] * sizes[2] * sizes[3]))
        elif name.endswith("weight"):
            values = 1 + np.float32(0.3) * values
        else:
            values = np.float32(0.2) * values
        digest.update(values.tobytes())
        state[name] = torch.from_numpy(values)
    assert digest.hexdigest() == case.meta["weights_sha256"]
    assert {k: v.shape for k, v in naf.Naf().state_dict().items()} == {k: v.shape for k, v in state.items()}
    return state


CHECKS = {"naf": check_naf}
