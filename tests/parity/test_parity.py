"""What the authors' own code computes, kind by kind. A new folder of a known kind is tested as it is."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from earthwords.data.captions.mask_to_box import mask_to_boxes
from earthwords.inference.segment.postprocess import class_probabilities, decide
from earthwords.inference.windows.sliding import Encoder, slide
from earthwords.models.clip.convert import from_openai
from earthwords.models.clip.model import POSITION, ClipBackbone, DenseMethod
from earthwords.models.upsamplers import jbu, simfeatup
from earthwords.text.templates import TEMPLATES
from earthwords.text.tokenizer import ClipTokenizer
from tests.models.layouts import hidden_states
from tests.parity.upsamplers import (
    check_adaptive_conv,
    check_anyup,
    check_anyup_window,
    check_jbu_learned_range,
    check_jbu_whole,
    check_upsampler_bilinear,
)

from . import (
    active_learning,
    aggregation,
    change_figures,
    change_matching,
    clip_lora,
    coninfer,
    fewshot,
    instructsam,
    naf,
    peftcd,
    prompts,
    radar,
    refseg,
    sam,
    sam3,
    scene_metrics,
    siglip,
)
from . import upsampler_training as training
from .cases import GOLDEN, Case, agree, cases, same_labels

ATTENTION_NAMES = {
    "vanilla": "vanilla",
    "MaskCLIP": "maskclip",
    "SCLIP": "sclip",
    "ClearCLIP": "clearclip",
    "SegEarth": "segearth",
    "NACLIP": "naclip",
    "GEM": "gem",
}


HEAD_WIDTH = 16
"""Of the small towers in the golden cases that do not say otherwise."""


def vision_tower(case: Case, prefix: str = "w.") -> ClipBackbone:
    """A tower from weights that stand with or without the prefix `visual.`."""
    own = {k if k.startswith("visual.") else f"visual.{k}": v for k, v in case.part(prefix).items()}
    heads = int(case.meta.get("heads", own["visual.proj"].shape[0] // HEAD_WIDTH))
    return ClipBackbone(from_openai(own, activation="quickgelu", heads=(heads, heads)))


def check_attention_variants(case: Case) -> None:
    tower = vision_tower(case)
    checked = 0
    for name in case.tensors:
        parts = name.split(".")
        if parts[0] == "out" and parts[-1] == "tokens":
            check_variant(case, tower, parts[1:-1])
            checked += 1
    assert checked >= 10
    table = tower.model.vision_model.embeddings.position_embedding.weight
    patch = int(case.meta["patch"])
    for name, expected in case.part("mid.").items():
        rule = "exact" if name.startswith("gem_pos_embed_") else "scaled"
        size = name.removeprefix("gem_").removeprefix("pos_embed_")
        grid = tuple(int(side) // patch for side in size.split("x"))
        agree(POSITION[rule](table, grid)[None].detach(), expected)


def check_variant(case: Case, tower: ClipBackbone, parts: list[str]) -> None:
    """`parts` are such as SegEarth.ir1.64, SegEarth.last2.64, GEM.depth4.ir0.96x80."""
    depth = next((int(p[5:]) - 1 for p in parts if p.startswith("depth")), None)
    last = next((int(p[4:]) for p in parts if p.startswith("last")), 1)
    method = DenseMethod(attention=ATTENTION_NAMES[parts[0]], keep_residual="ir0" in parts, last_n=depth or last)
    size = parts[-1]
    pixels = case[f"in.x{size.removesuffix('b1')}"]
    if size.endswith("b1"):
        pixels = pixels[:1]
    with torch.no_grad():
        features = tower.encode_dense(pixels, method)
    name = "out." + ".".join(parts)
    agree(features.values.flatten(2).transpose(1, 2), case[f"{name}.tokens"])
    if f"{name}.cls" in case.tensors:
        agree(features.cls, case[f"{name}.cls"])


def check_clip_tiny_text(case: Case) -> None:
    text = int(case.meta["text"].split("heads")[1].split()[0])
    vision = case["w.visual.proj"].shape[0] // int(case.meta["vision"].split("head_width")[1].split()[0])
    backbone = ClipBackbone(from_openai(case.part("w."), activation="quickgelu", heads=(vision, text)))
    ids = case["in.tokens"]
    longest = int((ids == int(case.meta["eot"])).int().argmax(dim=1).max()) + 1
    with torch.no_grad():
        agree(backbone.encode_tokens(ids), case["out.text"])
        agree(backbone.encode_tokens(ids[:, :longest]), case["out.text"])
        method = DenseMethod(attention="vanilla", keep_residual=True)
        features = backbone.encode_dense(case["in.image"], method)
        agree(features.values.flatten(2).transpose(1, 2), case["out.image_vanilla_ir0_tokens"])
        agree(features.cls, case["out.cls_vanilla_ir0"])
        agree(backbone.encode_image(case["in.image"]), case["out.cls_vanilla_ir0"])


def check_clip_convert(case: Case) -> None:
    for activation in ("quickgelu", "gelu"):
        model = from_openai(case.part("openai."), activation=activation)
        backbone = ClipBackbone(model)
        with torch.no_grad():
            image, text = case["in.pixel_values"], case["in.input_ids"]
            agree(backbone.encode_image(image), case[f"{activation}.image_features"])
            agree(backbone.encode_tokens(text), case[f"{activation}.text_features"])
            images, texts = (F.normalize(each) for each in (backbone.encode_image(image), backbone.encode_tokens(text)))
            agree(backbone.logit_scale * images @ texts.T, case[f"{activation}.logits_per_image"])
            hidden = {"vision": hidden_states(backbone, image)[-1], "text": model.text_model(text).last_hidden_state}
            for tower, found in hidden.items():
                agree(found, case[f"{activation}.{tower}_last_hidden"])


def check_global_bias(case: Case) -> None:
    tower = vision_tower(case)
    for name in case.part("out."):
        attention, weight = name.split(".lam")
        method = DenseMethod(attention=ATTENTION_NAMES[attention])
        encoder = Encoder(backbone=tower, method=method, upsampler=None, cls_weight=float(weight))
        agree(encoder.logits(case["in.x64"], case["in.q"]), case[f"out.{name}"])


def check_sliding_window(case: Case) -> None:
    tower = vision_tower(case)
    method = DenseMethod(attention=ATTENTION_NAMES[case.meta["mode"]])
    encoder = Encoder(backbone=tower, method=method, upsampler=None, cls_weight=float(case.meta["lam"]))
    for name in sorted(case.part("out.")):
        setting, what = name.rsplit(".", 1)
        if what == "logits":
            check_sliding_setting(case, encoder, setting)


def check_sliding_setting(case: Case, encoder: Encoder, setting: str) -> None:
    image = setting.split("_")[0] if setting.startswith(("small", "noslide")) else "img"
    tile, stride = 0, 0
    for part in setting.split("_"):
        tile = int(part[4:]) if part.startswith("crop") else tile
        stride = int(part[6:]) if part.startswith("stride") else stride
    if image == "noslide":
        expected = case[f"out.{setting}.logits"]
        size = (expected.shape[-2], expected.shape[-1])
        agree(encoder.logits(case["in.noslide"], case["in.q"], size=size), expected)
        return
    for batch in (1, 5):
        logits = slide(
            case[f"in.{image}"][0],
            lambda pixels: encoder.logits(pixels, case["in.q"]),
            queries=len(case["in.q"]),
            tile=tile,
            stride=stride,
            batch=batch,
        )
        expected = case[f"out.{setting}.logits"]
        if logits.shape[-2:] != expected.shape[-2:]:
            logits = torch.nn.functional.interpolate(logits[None], size=expected.shape[-2:], mode="bilinear")[0]
        agree(logits[None], expected)
        check_decision(case, logits, f"out.{setting}")


def check_decision(case: Case, logits: Tensor, prefix: str) -> None:
    if f"{prefix}.probs" not in case.tensors:
        return
    scale = float(case.meta.get("logit_scale", 50))
    probabilities = class_probabilities(logits, case["in.qi"], logit_scale=scale)
    agree(probabilities, case[f"{prefix}.probs"], 5e-5)
    threshold = float(case.meta.get("prob_thd", 0))
    labels, _ = decide(probabilities, threshold=threshold, background=int(case.meta.get("bg_idx", 0)))
    same_labels(labels, case[f"{prefix}.pred"][0], probabilities)


def check_postprocess(case: Case) -> None:
    for name in case.part("out."):
        setting, _, what = name.rpartition(".")
        if what != "pred":
            continue
        threshold, background = setting.removeprefix("thd").split(".bg")
        scale = float(case.meta["logit_scale"])
        probabilities = class_probabilities(case["in.logits"][0], case["in.qi"], logit_scale=scale)
        if f"out.{setting}.probs" in case.tensors:  # the same in all settings
            agree(probabilities, case[f"out.{setting}.probs"])
        labels, _ = decide(probabilities, threshold=float(threshold), background=int(background))
        same_labels(labels, case[f"out.{name}"][0], probabilities)


def check_e2e(case: Case) -> None:
    build = simfeatup.build if "w.upsampler.up.range_temp" in case.tensors else jbu.build
    tower = vision_tower(case, "w.visual.")
    upsampler = build(tower.dim, case.part("w.upsampler."))
    method = DenseMethod(attention=ATTENTION_NAMES[case.meta["mode"]])
    weight = float(case.meta["lam"])
    encoder = Encoder(backbone=tower, method=method, upsampler=upsampler, cls_weight=weight)
    logits = slide(
        case["in.img"][0],
        lambda pixels: encoder.logits(pixels, case["in.q"]),
        queries=len(case["in.q"]),
        tile=int(case.meta["crop"]),
        stride=int(case.meta["stride"]),
        batch=4,
    )
    if "out.logits" in case.tensors:
        agree(logits[None], case["out.logits"])
    check_decision(case, logits, "out")


def check_tokenizer(case: Case) -> None:
    strings = case.meta["strings"]
    strings = json.loads(strings) if strings.startswith("[") else ast.literal_eval(strings)
    tokenizer = ClipTokenizer.openai()
    expected = case["out.ids"].numpy()
    assert np.array_equal(tokenizer(strings, truncate=False), expected)
    short = tokenizer(strings)
    assert np.array_equal(short, expected[:, : short.shape[1]])
    prompts = case.folder / "prompts.json"
    if prompts.exists():
        facts = json.loads(prompts.read_text())
        rendered = "\n".join(t.replace("{}", "X") for t in TEMPLATES["openai80"])
        assert hashlib.sha256(rendered.encode()).hexdigest() == facts["sha256_of_rendered_openai_with_X"]
        assert len(TEMPLATES["openai7"]) == facts["n_sub"]


def check_mask_to_box(case: Case) -> None:
    """`mask.0` and its `boxes.0.<class>`: inclusive pixels, so right and bottom edges are one more."""
    for name, mask in case.part("mask.").items():
        found = mask_to_boxes(mask.numpy())
        expected = case.part(f"boxes.{name}.")
        assert {str(value) for value in found} == set(expected)
        for value, boxes in found.items():
            assert np.array_equal(boxes - (0, 0, 1, 1), expected[str(value)].numpy())


CHECKS: dict[str, Callable[[Case], None]] = {
    "adaptive_conv": check_adaptive_conv,
    "jbu_learned_range": check_jbu_learned_range,
    "jbu_one": lambda case: check_jbu_whole(case, simfeatup.build),
    "jbu_stack": lambda case: check_jbu_whole(case, jbu.build),
    "anyup": check_anyup,
    "anyup_window": check_anyup_window,
    "attention_variants": check_attention_variants,
    "clip_tiny_text": check_clip_tiny_text,
    "clip_convert": check_clip_convert,
    "global_bias": check_global_bias,
    "sliding_window": check_sliding_window,
    "postprocess": check_postprocess,
    "tokenizer": check_tokenizer,
    "upsampler_bilinear": check_upsampler_bilinear,
    "upsampler_ifa": training.check_upsampler_ifa,
    "upsampler_resize_conv": training.check_upsampler_resize_conv,
    "implicit_featurizer": training.check_implicit_featurizer,
    "implicit_upsampler": training.check_implicit_upsampler,
    "downsampler_attention": training.check_downsampler_attention,
    "downsampler_simple": training.check_downsampler_simple,
    "jitter": training.check_jitter,
    "losses": training.check_losses,
    "scale_net_rec_loss": training.check_scale_net_rec_loss,
    "content_retention": training.check_content_retention,
    "id_conv": training.check_id_conv,
    "retrieval_metrics": scene_metrics.check_retrieval_metrics,
    "counting_metrics": scene_metrics.check_counting_metrics,
    "refseg_metrics": scene_metrics.check_refseg_metrics,
    "transclip_whu": scene_metrics.check_transclip_whu,
    "refseg_forward": refseg.check_refseg_forward,
    "refseg_prompter": refseg.check_refseg_prompter,
    "refseg_step": refseg.check_refseg_step,
    "gsnet_ripd": aggregation.check_gsnet_ripd,
    "rsktseg_decoder": aggregation.check_rsktseg_decoder,
    "clip_lora": clip_lora.check_clip_lora,
    "peftcd_modules": peftcd.check_peftcd_modules,
    "peftcd_sam2_route": peftcd.check_peftcd_sam2_route,
    "fewshot_coop": fewshot.check_coop,
    "fewshot_tip_adapter": fewshot.check_tip_adapter,
    "fewshot_taskres": fewshot.check_taskres,
    "fewshot_lp_plus": fewshot.check_lp_plus,
    "fewshot_linear_probe": fewshot.check_linear_probe,
    "fewshot_whu": fewshot.check_whu,
    "e2e_jbu": check_e2e,
    "e2e_sar": radar.check_e2e_sar,
    "mask_to_box": check_mask_to_box,
    "al_fast": active_learning.check_al_fast,
    "al_hslabeling": active_learning.check_al_hslabeling,
    "al_strategic_sampling": active_learning.check_al_strategic_sampling,
    "change_metrics": change_figures.check_change_metrics,
    "anychange_match": change_matching.check_anychange_match,
    "anychange_tiny": change_matching.check_anychange_tiny,
    "dynamicearth_proposal": change_matching.check_proposal,
    "dynamicearth_compare": change_matching.check_compare,
    "dynamicearth_identify": change_matching.check_identify,
    "dynamicearth_instance_merge": change_matching.check_instance_merge,
    "dynamicearth_chain": change_matching.check_chain,
    **sam.CHECKS,
    **instructsam.CHECKS,
    **naf.CHECKS,
    **coninfer.CHECKS,
    **siglip.CHECKS,
    **sam3.CHECKS,
    "procsam3_prompts": prompts.check_procsam3_prompts,
}


UNREAD: dict[str, tuple[str, ...]] = {
    "counting_metrics": ("out.predicted_count",),  # the largest similarity, before any figure
    "e2e_jbu": ("out.preds",),  # sums over windows, before they are divided
    "jbu_learned_range": ("mid.bicubic_source", "mid.combined_kernel_before_fixup"),  # steps that ours does not have
    "mask_to_box": ("external.",),  # what another mode of OpenCV would leave out
    "refseg_metrics": ("main.intersect", "main.union", "nan.intersect", "nan.union"),  # their quotients are compared
    "siglip2_dense": ("out.dense.qq_mlp_declip",),  # its residual is taken behind the norm, unlike the head's
    "procsam3_fusion": ("out.topk_mean2.", "out.default.instance_"),  # a rule over whole images; maxima of maps
    "sam3_tiny_text": ("out.hf_text_only.", "out.pred_boxes"),  # transformers without the geometry token; no boxes here
    "refseg_step": ("bn_train.out.loss_if_averaged", "bn_eval.out.loss_if_averaged"),  # what the authors do not do
}
"""Kinds whose cases hold more than what is computed here: beginnings of names, and why."""


NOT_YET = (
    "d2ls_decoder",
    *("geosa_basa", "holi_tracer_head", "holi_vectorise"),
    *("mfnet_mm_blocks", "segearthov3_change"),
)
"""Cases of systems that nothing here computes yet, by name: any other unknown case is a failure."""


ELSEWHERE_KINDS = (
    *("clip_convert", "jbu_stack", "transclip_whu", "fewshot_whu", "fewshot_linear_probe"),
    *(
        "anychange_tiny",
        "dynamicearth_chain",
        "e2e_sar",
        "peftcd_sam2_route",
        *sam.CHECKS,
        *naf.CHECKS,
        *coninfer.CHECKS,
        *siglip.CHECKS,
        *sam3.CHECKS,
        "procsam3_prompts",
    ),
)
"""Kinds whose cases, or their inputs, do not lie in this repository."""


def kind(case: Case) -> str | None:
    """The longest known kind that begins the folder's name."""
    name = case.folder.name
    known = [k for k in CHECKS if name == k or name.startswith(f"{k}_")]
    return max(known, key=len, default=None)


@pytest.mark.parametrize("case", cases(), ids=lambda c: c.folder.name)
def test_case(case: Case) -> None:
    found = kind(case)
    if found is None:
        assert case.folder.name in NOT_YET, f"nothing computes {case.folder.name}: write a check, or name it in NOT_YET"
        pytest.skip(f"nothing here computes {case.folder.name} yet")
    CHECKS[found](case)
    unread = {name for name in case.left() if not name.startswith(UNREAD.get(found, ("\0",)))}
    assert not unread, f"the check of {found} compares nothing with {sorted(unread)[:5]}"


def test_there_are_cases() -> None:
    """One of every kind, but for those that are too large for this repository."""
    found = {kind(case) for case in cases()} - {None}
    assert CHECKS.keys() - found <= {*ELSEWHERE_KINDS, "refseg_prompter"}


def test_what_is_not_computed_yet_is_no_known_kind() -> None:
    assert not [name for name in NOT_YET if kind(Case(Path(name))) is not None]


def test_an_unknown_case_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "novelty").mkdir()
    with pytest.raises(AssertionError, match="nothing computes novelty"):
        test_case(Case(tmp_path / "novelty"))
    for name in NOT_YET[:2]:
        with pytest.raises(pytest.skip.Exception):
            test_case(Case(tmp_path / name))


BETWEEN = [case for case in cases() if kind(case) and any(name.startswith("mid.") for name in case.tensors)]


@pytest.mark.parametrize("case", BETWEEN, ids=lambda c: c.folder.name)
def test_a_case_may_lack_what_lies_between(case: Case) -> None:
    """Inputs and outputs are enough, but where there are no others."""
    if not any(name.startswith("out") for name in case.tensors):
        pytest.skip("its intermediate results are what it is about")
    bare = Case(case.folder)
    bare.__dict__["tensors"] = {name: value for name, value in case.tensors.items() if not name.startswith("mid.")}
    test_case(bare)


def test_an_output_that_nothing_compares_fails(tmp_path: Path) -> None:
    case = Case(GOLDEN / "upsampler_bilinear")
    (tmp_path / "upsampler_bilinear").mkdir()
    save_file({**case.tensors, "out.more": torch.zeros(1)}, tmp_path / "upsampler_bilinear" / "golden.safetensors")
    with pytest.raises(AssertionError, match=r"compares nothing with \['out\.more'\]"):
        test_case(Case(tmp_path / "upsampler_bilinear"))
