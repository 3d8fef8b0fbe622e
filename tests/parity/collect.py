"""The cases of a full collection that this repository carries: `python -m tests.parity.collect FOLDER` copies them.

AnyUp and RSRefSeg first, then the smallest case of each kind, then whatever fits into `MOST`. Large whole numbers take
fewer bytes, equal weights are kept once, and some large cases lack what no check needs (`WITHOUT`).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .cases import GOLDEN, SHARED, Case
from .test_parity import kind

MOST = 14_890_000
FIRST = (
    *("anyup", "anyup_window", "refseg_prompter", "refseg_metrics", "refseg_forward", "refseg_step"),
    *("attention_variants", "sliding_window", "e2e_jbu", "clip_tiny_text", "jbu_one", "global_bias"),
    *("gsnet_ripd", "rsktseg_decoder", "upsampler_resize_conv"),
)
SAME_PROBABILITIES = tuple(f"out.thd{t}.bg{b}.probs" for t in (0.0, 0.1, 0.3, 0.6) for b in (0, 4) if t or b)
"""Of the cases `postprocess`: they do not depend on threshold and background."""
WITHOUT = {
    "anyup_outsize": ("mid.",),
    "anyup_window": ("out.bounds_14x14_224",),
    "anyup_square": ("mid.image_encoder",),
    "global_bias": ("out.vanilla",),
    "e2e_jbu_stack": ("out.preds", "out.logits"),
    "sliding_window": (
        "out.crop64",
        "out.noslide",
        "out.small",
        "in.noslide",
        "in.small",
        "out.crop60_stride28_padded.logits",
    ),
    "al_hslabeling": ("mid.corr",),
    "jbu_learned_range_r3": ("mid.bicubic_source", "mid.combined_kernel_before_fixup"),
    **{f"postprocess_{kind}": SAME_PROBABILITIES for kind in ("plain", "synonyms")},
    "gsnet_ripd": ("mid.",),
    "rsktseg_decoder": ("mid.",),
    "refseg_forward": ("mid.",),
    "peftcd_modules": ("mid.",),
    "attention_variants": ("mid.gem", "mid.pos_embed_80x96", "out.GEM.depth2"),
}
"""Of a case: beginnings of the names that are left out here."""
SAME_WEIGHTS = {
    "global_bias": "attention_variants",
    "sliding_window": "attention_variants",
    "anyup_outsize": "anyup_square",
}
ELSEWHERE = (
    *("transclip_whu", "fewshot_whu_remoteclip_s4", "fewshot_linear_probe"),
    *("jbu_stack_real_clip", "jbu_stack", "clip_convert", "jbu_learned_range_r5", "jbu_learned_range_r5_grad"),
    *("clip_lora_dropout", "anychange_tiny", "e2e_sar_whole", "e2e_sar_windows", "sam_amg_tiny", "sam_amg_tiny_crops"),
    *("peftcd_sam2_route", "sam2_amg", "sam2_amg_m2m", "dynamicearth_chain", "dynamicearth_chain_2"),
    *("sam_amg_functions", "sam_amg_functions_2"),
    *("naf_basic", "naf_big_image", "naf_full_defaults", "naf_kernel5", "naf_outsize", "naf_ratio14"),
    *("coninfer_gmm", "siglip2_dense", "siglip2_naflex"),
    *("sam3_tiny_text", "segearthov3_fusion", "segearthov3_slide", "procsam3_fusion", "procsam3_prompts"),
)
"""Cases whose inputs do not lie in this repository, and those that others cover."""


def collect(source: Path, target: Path) -> int:
    """Write the cases; bytes in all."""
    total = sum(_size(path) for path in target.iterdir() if path.is_dir() and not (source / path.name).is_dir())
    for case in _ordered(source):
        made = target / case.folder.name
        shutil.rmtree(made, ignore_errors=True)
        _write(case, made)
        if total + _size(made) > MOST:
            shutil.rmtree(made)
            print(f"{case.folder.name}: does not fit")
        else:
            total += _size(made)
    shutil.rmtree(target / "names_openclip", ignore_errors=True)
    shutil.copytree(source / "names_openclip", target / "names_openclip")
    return total + _size(target / "names_openclip")


def _ordered(source: Path) -> list[Case]:
    found = [Case(path.parent) for path in sorted(source.glob("*/golden.safetensors"))]
    found = [case for case in found if kind(case) is not None and case.folder.name not in ELSEWHERE]
    found.sort(key=lambda case: _size(case.folder))
    seen: set[str | None] = set()
    ranks = {}
    for case in found:
        first = kind(case) not in seen
        seen.add(kind(case))
        ranks[case.folder.name] = 0 if kind(case) in FIRST else 1 if first else 2
    return sorted(found, key=lambda case: ranks[case.folder.name])


def _write(case: Case, folder: Path) -> None:
    name = case.folder.name
    folder.mkdir(parents=True)
    left_out = WITHOUT.get(name, ()) + (("w.",) if name in SAME_WEIGHTS else ())
    kept = {key: _narrow(value) for key, value in case.tensors.items() if not key.startswith(left_out or ("\0",))}
    save_file(kept, folder / "golden.safetensors")
    for path in case.folder.iterdir():
        if path.name not in ("golden.safetensors", "names.txt"):
            shutil.copyfile(path, folder / path.name)
    if name in SAME_WEIGHTS:
        other = load_file(case.folder.parent / SAME_WEIGHTS[name] / "golden.safetensors")
        weights = {key: value for key, value in case.tensors.items() if key.startswith("w.")}
        assert all(torch.equal(value, other[key]) for key, value in weights.items())
        (folder / SHARED).write_text(f"{SAME_WEIGHTS[name]}\n")


def _narrow(value: Tensor) -> Tensor:
    """Whole numbers below 256 in a byte, where that saves something."""
    small = value.dtype in (torch.int32, torch.int64) and value.numel() > 10_000
    return value.to(torch.uint8) if small and int(value.min()) >= 0 and int(value.max()) < 256 else value


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    print(f"{collect(Path(sys.argv[1]), GOLDEN):,} bytes")
