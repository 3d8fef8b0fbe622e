"""What the toy model is asked, and how it works."""

from __future__ import annotations

from dataclasses import replace

from earthwords.presets import SEGMENT_PRESETS

WORDS = ["building,roof", "road", "water", "trees"]


MICRO = replace(SEGMENT_PRESETS["tiny"], name="micro", tile_size=64, overlap=32, blend="mean", nothing=None)
