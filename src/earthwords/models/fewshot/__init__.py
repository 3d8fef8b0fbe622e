"""Few-shot heads: classes from some examples and, where there are any, words. A method a file."""

from __future__ import annotations

from collections.abc import Callable

from earthwords.models.fewshot.linear_head import LinearHead
from earthwords.models.fewshot.linear_probe import fit_linear_probe
from earthwords.models.fewshot.lp_plus import fit_lp_plus
from earthwords.models.fewshot.prototypes import fit_prototypes
from earthwords.models.fewshot.taskres import fit_taskres
from earthwords.models.fewshot.tip_adapter import TipAdapterHead, fit_tip_adapter, fit_tip_adapter_f

Head = LinearHead | TipAdapterHead

LINEAR: dict[str, Callable[..., LinearHead]] = {
    "prototypes": fit_prototypes,
    "lp++": fit_lp_plus,
    "taskres": fit_taskres,
    "linear": fit_linear_probe,
}
"""Heads that are a vector and a bias a class."""
HEADS: dict[str, Callable[..., Head]] = {**LINEAR, "tip": fit_tip_adapter, "tip-f": fit_tip_adapter_f}
"""Each takes `(shots: ShotSet, *, validation: Labelled | None, scale: float, seed: int)`: examples and words, what
settings are chosen on, the scale of cosines in the model's own logits, what is drawn with; some take more by name."""
