"""What a preset of SAM 3 is not for, and what does not go with it. Loads nothing heavy: mistakes are told first."""

from __future__ import annotations

from earthwords.errors import UsageError, unknown
from earthwords.presets import SegmentPreset
from earthwords.text.prompt_bank import check_prompts

FUSIONS = ("max", "pgrf")
"""Names of `fusion.RULES`."""
_OF_CLIP = {
    "attention": "vanilla", "keep_residual": False, "last_n": 1, "upsampler": None, "upsampler_weights": None,
    "head": None, "taught": None, "energy": 1.0, "cls_weight": 0.0, "sum_to_one": False, "sigmoid": False,
    "nothing": None, "templates": "none", "precision": "fp32", "radar": False, "activation": None,
}  # fmt: skip
"""Fields of a preset that say something of a CLIP, and what they are where there is none."""


def check_clip(row: SegmentPreset) -> None:
    """Raises `UsageError` for a preset without a CLIP, where its features are needed."""
    if row.fusion is not None:
        raise no_clip(row)


def no_clip(row: SegmentPreset) -> UsageError:
    """The error for a preset without a CLIP."""
    return UsageError(
        f"The preset {row.name} is a SAM 3, for `segment` and `evaluate segmentation`; this needs the features of a "
        "CLIP: take another preset, such as segearth-ov."
    )


def check_fusion(row: SegmentPreset) -> None:
    """Refuse a preset of SAM 3 that does not fit together; others are not looked at.

    Raises:
        UsageError: why not.
    """
    if row.fusion is None:
        if row.prompts is not None:
            raise UsageError(f"The preset {row.name} names prompts, which belong to a fusion of SAM 3; leave one out.")
        return
    if row.fusion not in FUSIONS:
        raise unknown("fusion", row.fusion, FUSIONS)
    wrong = next((name for name, value in _OF_CLIP.items() if getattr(row, name) != value), None)
    if wrong is not None:
        raise UsageError(
            f"The preset {row.name} is a SAM 3, which has no {wrong.replace('_', '-')} to set "
            f"({getattr(row, wrong)}); leave it out."
        )
    if row.prompts is not None:
        check_prompts(row.prompts)
