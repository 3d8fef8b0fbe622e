"""SegEarth-OV-2's chain for radar images by its authors' code @eb0c52b, from grey bytes to labels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earthwords.inference.segment.postprocess import class_probabilities, decide
from earthwords.inference.windows.sliding import Encoder, slide
from earthwords.models.clip.convert import from_openai
from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.upsamplers import simfeatup
from earthwords.presets import SEGMENT_PRESETS

from .cases import Case, agree, same_labels

PRESET = SEGMENT_PRESETS["segearth-ov-2-sar"]
MEAN, STD = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)


def shrunk_by_opencv(grey: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """OpenCV's bilinear resize of bytes, in whole numbers: columns, then rows."""
    scale = longest / max(grey.shape)
    height, width = (int(side * scale + 0.5) for side in grey.shape)
    left, across = _places(grey.shape[1], width)
    across[(left < 0) | (left >= grey.shape[1] - 1)] = 0
    left = left.clip(0, grey.shape[1] - 1)
    right = (left + 1).clip(0, grey.shape[1] - 1)
    wide = grey.astype(np.int64)
    rows = wide[:, left] * _parts(1 - across) + wide[:, right] * _parts(across)
    top, down = _places(grey.shape[0], height)
    upper, lower = (rows[(top + k).clip(0, grey.shape[0] - 1)] >> 4 for k in (0, 1))
    first, second = (_parts(share)[:, None] * part >> 16 for share, part in ((1 - down, upper), (down, lower)))
    return ((first + second + 2) >> 2).astype(np.uint8)


def _places(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    place = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    low = np.floor(place)
    return low.astype(np.int64), place - low


def _parts(share: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.rint(2048 * share).astype(np.int64)


def check_e2e_sar(case: Case) -> None:
    heads = (int(case.meta["heads"]), int(case.meta["heads"]))
    own = {f"visual.{k}": v for k, v in case.part("w.visual.").items()}
    tower = ClipBackbone(from_openai(own, activation=case.meta["act"].lower(), heads=heads))
    assert (case.meta["mode"].lower(), int(case.meta["n"])) == (PRESET.attention, PRESET.last_n)
    method = DenseMethod(attention=PRESET.attention, last_n=PRESET.last_n)
    upsampler = simfeatup.build(tower.dim, case.part("w.upsampler."))
    encoder = Encoder(backbone=tower, method=method, upsampler=upsampler, cls_weight=PRESET.cls_weight)
    grey = case["in.gray_u8"].numpy()
    small = shrunk_by_opencv(grey, int(case.meta["net_size"]))
    if "mid.resized_u8" in case.tensors:
        assert np.array_equal(small, case["mid.resized_u8"].numpy())
    image = torch.from_numpy(small).expand(3, -1, -1)
    pixels = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    case.agree_between("img", pixels[None])
    check_tokens(case, tower, pixels)
    queries = F.normalize(case["in.query_features"], dim=-1)
    tile = int(case.meta["crop"])
    if tile:
        run = lambda windows: encoder.logits(windows, queries)  # noqa: E731
        whole = slide(pixels, run, queries=len(queries), tile=tile, stride=int(case.meta["stride"]), batch=3)[None]
        logits = F.interpolate(whole, size=grey.shape, mode="bilinear")
    else:
        logits = encoder.logits(pixels[None], queries, size=(grey.shape[0], grey.shape[1]))
    agree(logits, case["out.logits"])
    probabilities = class_probabilities(logits[0], case["in.query_idx"], logit_scale=PRESET.logit_scale)
    agree(probabilities, case["out.probs"], 5e-5)
    labels, _ = decide(probabilities, threshold=float(case.meta["thd"]), background=int(case.meta["bg"]))
    same_labels(labels, case["out.pred"][0], probabilities)


def check_tokens(case: Case, tower: ClipBackbone, pixels: Tensor) -> None:
    """Of the sum over the last two blocks, and of the last alone."""
    if pixels.shape[-2] % tower.patch or pixels.shape[-1] % tower.patch:
        return
    with torch.no_grad():
        for n, name in ((PRESET.last_n, "tokens"), (1, "tokens_n1")):
            features = tower.encode_dense(pixels[None], DenseMethod(attention=PRESET.attention, last_n=n))
            case.agree_between(name, features.values.flatten(2).transpose(1, 2))
            if n == PRESET.last_n:
                assert features.cls is not None
                case.agree_between("cls", features.cls)
