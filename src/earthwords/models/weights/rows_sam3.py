"""Rows of networks that are asked for words and give masks."""

from __future__ import annotations

from earthwords.models.weights.spec import WeightSpec

PROMPTED: tuple[WeightSpec, ...] = (
    WeightSpec(
        name="sam3",
        source="facebook/sam3",
        licence="SAM License",
        gated=True,
        paper="https://arxiv.org/abs/2511.16719",
        megabytes=3440,
        kind="prompted",
        note="never seen here: loaded by the names and sizes of its authors' code",
    ),
)
