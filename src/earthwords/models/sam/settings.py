"""How masks of whole images are made: the settings of SAM's authors, and of the systems that use it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from earthwords.errors import UsageError, unknown


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """Of automatic masks; defaults are those of SAM (https://github.com/facebookresearch/segment-anything)."""

    name: str
    points_per_side: int = 32
    points_per_batch: int = 64
    """Points that are asked at once; a CPU takes fewer. Only rounding depends on it."""
    pred_iou_thresh: float = 0.88
    """The network's own estimate of a mask's quality must be above it; 0 asks nothing."""
    stability_score_thresh: float = 0.95
    """Pixels above the higher threshold by those above the lower one are at least so many; 0 asks nothing."""
    stability_score_offset: float = 1.0
    """From 0 to either threshold."""
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    """Times that the image is also looked at in parts, 2 a side, then 4, ..."""
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    """Holes and islands of fewer pixels go."""
    use_m2m: bool = False
    """Every mask is handed in again, as a prompt beside its point (SAM 2)."""
    largest_share: float | None = None
    """Masks of this share of the image and more are left out."""
    most: int | None = None
    """Of more masks than this the best stay, by the mean of predicted IoU and stability."""

    def __post_init__(self) -> None:
        for name in ("points_per_side", "points_per_batch", "crop_n_points_downscale_factor"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.points_per_side // self.crop_n_points_downscale_factor**self.crop_n_layers < 1:
            raise UsageError(
                f"{self.points_per_side} points a side leave none in crop layer {self.crop_n_layers} when every layer "
                f"has {self.crop_n_points_downscale_factor} times fewer: take more points, or fewer layers."
            )


_SAM = MaskSettings(name="sam")
_HALF = replace(_SAM, name="", pred_iou_thresh=0.5, largest_share=0.8)

MASK_SETTINGS: dict[str, MaskSettings] = {
    row.name: row
    for row in (
        _SAM,
        replace(_SAM, name="sam2", pred_iou_thresh=0.8),
        replace(_HALF, name="anychange"),
        replace(_HALF, name="dynamicearth-sam", stability_score_offset=0.9),
        replace(_HALF, name="dynamicearth-sam2", stability_score_thresh=0.9, stability_score_offset=0.7),
        MaskSettings(
            name="instructsam",
            points_per_side=24,
            points_per_batch=256,
            pred_iou_thresh=0.75,
            stability_score_thresh=0.75,
            box_nms_thresh=0.5,
            crop_n_layers=1,
            most=200,
        ),
    )
}
"""`anychange` and `dynamicearth-*` of https://arxiv.org/abs/2402.01188 and https://arxiv.org/abs/2501.12931,
`instructsam` of https://arxiv.org/abs/2505.15818."""


def mask_settings(name: str) -> MaskSettings:
    """A row by name."""
    if name not in MASK_SETTINGS:
        raise unknown("settings of masks", name, MASK_SETTINGS)
    return MASK_SETTINGS[name]
