"""SAM 3, and the maps that SegEarth-OV3 and ProC-SAM3 make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Sam3Config

from earthwords.inference.segment.postprocess import class_maxima, decide
from earthwords.inference.windows.sliding import slide
from earthwords.models.sam3.fusion import Answers, Fusion
from earthwords.models.sam3.load import sam3_of_authors
from earthwords.models.sam3.network import Sam3Backbone

from .cases import Case, agree, same_labels

SWITCHES = {"use_sem_seg": "semantic", "use_transformer_decoder": "instances", "use_presence_score": "presence"}


def answers_of(case: Case, index: int | None = None) -> Answers:
    """The network's outputs; of a window, where there are several."""
    semantic, masks, logits, presence = (
        case[f"in.{name}"] if index is None else case[f"in.{name}"][index]
        for name in ("semantic_seg", "pred_masks", "pred_logits", "presence_logit")
    )
    return Answers(semantic=semantic[:, 0], masks=masks, logits=logits[..., 0], presence=presence[:, 0])


def fusion_of(variant: dict[str, Any], rule: str = "max") -> Fusion:
    switches = {ours: variant.get(theirs, True) for theirs, ours in SWITCHES.items()}
    rule = variant.get("semantic_instance_fusion", rule)
    return Fusion(rule=rule, confidence=variant["confidence_threshold"], **switches)


def check_map(case: Case, name: str, probabilities: Tensor, owners: Tensor) -> None:
    """From one map a prompt to classes and labels."""
    variant = case.meta["variants"][name]
    classes = class_maxima(probabilities, owners)
    agree(classes, case[f"out.{name}.class_logits"])
    labels, _ = decide(classes, threshold=variant["prob_thd"], background=variant.get("bg_idx", 0))
    clear = (classes.amax(dim=0) - variant["prob_thd"]).abs() > 1e-4
    expected = case[f"out.{name}.pred"].long()
    same_labels(torch.where(clear, labels, expected), expected, classes)


def owners_of(case: Case) -> Tensor:
    own = case["in.query_idx"]
    counts = [len(line.split(",")) for line in case.meta["class_lines"]]
    assert own.tolist() == np.repeat(np.arange(len(counts)), counts).tolist()
    return own


def check_fusion(case: Case, rule: str = "max") -> None:
    size = tuple(case.meta["image_size_hw"])
    answers, owners = answers_of(case), owners_of(case)
    case.part("in.")
    for name, variant in case.meta["variants"].items():
        if variant.get("class_aggregation", "max") != "max":
            continue  # needs a whole image at once, which a scene never is
        found = fusion_of(variant, rule).probabilities(answers, size)
        if name == "default":
            case.agree_between("query_logits", found)
        check_map(case, name, found, owners)


def check_procsam3_fusion(case: Case) -> None:
    check_fusion(case, "pgrf")
    size, answers = tuple(case.meta["image_size_hw"]), answers_of(case)
    presence = answers.presence.sigmoid()
    case.agree_between("presence_scores", presence)
    case.agree_between("max_instance_scores", answers.logits.sigmoid().amax(dim=1) * presence)
    confidence = case.meta["variants"]["default"]["confidence_threshold"]
    before = {"presence": False, "confidence": confidence}
    case.agree_between("fused_logits", Fusion(**before).probabilities(answers, size))
    case.agree_between("semantic_logits", Fusion(**before, instances=False).probabilities(answers, size))


def check_slide(case: Case) -> None:
    size = tuple(case.meta["image_size_hw"])
    owners = owners_of(case)
    for name, variant in case.meta["variants"].items():
        fusion, windows = fusion_of(variant), iter(range(10**6))
        tile, stride = variant["slide_crop"], variant["slide_stride"]
        seen: list[Tensor] = []

        def run(pixels: Tensor, windows: Any = windows, fusion: Fusion = fusion, seen: list[Tensor] = seen) -> Tensor:
            found = fusion.probabilities(answers_of(case, next(windows)), tuple(pixels.shape[-2:]))
            seen.append(found)
            return found[None]

        whole = slide(torch.zeros(3, *size), run, queries=len(owners), tile=tile, stride=stride, batch=1)
        check_map(case, name, whole, owners)
        if name == "default":
            assert len(seen) == len(case["in.semantic_seg"])
            case.agree_between("window_logits_first_last", torch.stack([seen[0], seen[-1]]))


def generated(case: Case, seed: int = 44) -> dict[str, Tensor]:
    """The weights, by the rule in the case's description."""
    random, found = np.random.RandomState(seed), {}
    for line in (case.folder / "names.txt").read_text().splitlines():
        name, shape_text, _ = line.split("\t")
        shape = tuple(int(side) for side in shape_text.strip("()").split(",") if side.strip())
        values = random.standard_normal(shape).astype(np.float32)
        if len(shape) >= 2:
            values *= np.float32(1.2 / np.sqrt(np.prod(shape[1:])))
        else:
            values = np.float32(0.2) * values + np.float32(name.endswith("weight"))
        found[name] = torch.from_numpy(values)
    return found


def tiny_config(sizes: dict[str, Any], projection: int) -> Sam3Config:
    """transformers' words for the authors' sizes."""
    dim, heads, ffn = sizes["d_model"], sizes["heads"], sizes["ffn"]
    side = sizes["image"] // sizes["patch"]
    detector = {"hidden_size": dim, "num_attention_heads": heads, "intermediate_size": ffn}
    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": sizes["vit_dim"], "num_hidden_layers": sizes["vit_depth"],
        "num_attention_heads": sizes["vit_heads"], "image_size": sizes["image"], "patch_size": sizes["patch"],
        "intermediate_size": int(sizes["vit_dim"] * sizes["vit_mlp_ratio"]), "window_size": sizes["window"],
        "global_attn_indexes": sizes["global_blocks"], "pretrain_image_size": sizes["pretrain_image"],
    }  # fmt: skip
    text = {
        "model_type": "clip_text_model", "vocab_size": sizes["vocab"], "hidden_size": sizes["text_width"],
        "intermediate_size": 4 * sizes["text_width"], "projection_dim": projection,
        "num_hidden_layers": sizes["text_layers"], "num_attention_heads": sizes["text_heads"],
        "max_position_embeddings": sizes["context"], "hidden_act": "gelu",
    }  # fmt: skip
    return Sam3Config(
        vision_config={
            "backbone_config": backbone, "fpn_hidden_size": dim,
            "scale_factors": [float(scale) for scale in sizes["fpn_scales"]],
            "backbone_feature_sizes": [[4 * side] * 2, [2 * side] * 2, [side] * 2],
        },
        text_config=text,
        geometry_encoder_config={**detector, "num_layers": sizes["geometry_layers"]},
        detr_encoder_config={**detector, "num_layers": sizes["encoder_layers"]},
        detr_decoder_config={**detector, "num_layers": sizes["decoder_layers"], "num_queries": sizes["queries"]},
        mask_decoder_config={"hidden_size": dim, "num_attention_heads": heads},
    )  # fmt: skip


def check_sam3_tiny_text(case: Case) -> None:
    weights = generated(case)
    projection = weights["backbone.language_backbone.encoder.text_projection"].shape[1]
    config = tiny_config(case.meta["config"], projection)
    network = Sam3Backbone(
        sam3_of_authors({f"detector.{name}": value for name, value in weights.items()}, config=config)
    )
    pixels = case["in.image_u8"].float() / 127.5 - 1
    ids = case["in.input_ids"]
    with torch.no_grad():
        features, positions = seen = network.see(pixels)
        case.agree_between("fpn_stride4", features[2][0])
        prompts = network.encode_tokens(ids, (ids != 0).sum(dim=1))
        if "mid.prompt" in case.tensors:
            token = network.geometry_token(features[:-1], positions[:-1])
            tokens = torch.cat([prompts.unflatten(1, (*ids.shape[1:], -1)), token.expand(len(ids), -1, -1)], dim=1)
            counts = case["mid.prompt_mask"][..., None] == 0
            agree(tokens * counts, case["mid.prompt"] * counts)
        answers = network.answers(seen, prompts)
        alone = [network.answers(seen, prompt[None]) for prompt in prompts]
    for name, found in (
        ("semantic_seg", answers.semantic[:, None]),
        ("pred_masks", answers.masks),
        ("pred_logits", answers.logits[..., None]),
        ("presence_logit", answers.presence[:, None]),
    ):
        agree(found, case[f"out.{name}"])
    for i, one in enumerate(alone):  # prompts do not know of each other
        agree(one.semantic[0], answers.semantic[i], 1e-5)
    check_its_map(case, answers)


def check_its_map(case: Case, answers: Answers) -> None:
    told = case.meta["ov3"]
    classes = Fusion(confidence=told["confidence_threshold"]).probabilities(
        answers, tuple(case["in.image_u8"].shape[-2:])
    )
    agree(classes, case["out.ov3.class_logits"])
    labels, score = decide(classes, threshold=told["prob_thd"], background=told["bg_idx"])
    expected = case["out.ov3.pred"].long()
    clear = (score - told["prob_thd"]).abs() > 1e-4
    same_labels(torch.where(clear, labels, expected), expected, classes)


CHECKS: dict[str, Callable[[Case], None]] = {
    "sam3_tiny_text": check_sam3_tiny_text,
    "segearthov3_fusion": check_fusion,
    "segearthov3_slide": check_slide,
    "procsam3_fusion": check_procsam3_fusion,
}
