"""Few-shot heads: classes from some examples and, where there are any, words. A method a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from earthwords.models.fewshot.linear_head import LinearHead
from earthwords.models.fewshot.linear_probe import fit_linear_probe
from earthwords.models.fewshot.lp_plus import fit_lp_plus
from earthwords.models.fewshot.prototypes import fit_prototypes
from earthwords.models.fewshot.taskres import fit_taskres
from earthwords.models.fewshot.tip_adapter import TipAdapterHead, fit_tip_adapter, fit_tip_adapter_f

Head = LinearHead | TipAdapterHead

HEADS: dict[str, Callable[..., Any]] = {
    "prototypes": fit_prototypes,
    "tip": fit_tip_adapter,
    "tip-f": fit_tip_adapter_f,
    "lp++": fit_lp_plus,
    "taskres": fit_taskres,
    "linear": fit_linear_probe,
}
"""Every one takes `(features, labels, words, *, has_words, validation, weights, scale, seed)` and gives something with
`.logits(features)`."""
