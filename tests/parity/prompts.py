"""The prompts that ProC-SAM3 makes of class files."""

from __future__ import annotations

import json
from itertools import chain

import numpy as np

from earthwords.text.prompt_bank import by_lines, by_pool

from .cases import Case


def check_procsam3_prompts(case: Case) -> None:
    told = json.loads((case.folder / "expected.json").read_text())
    assert len(told) >= 3
    for name, one in told.items():
        classes = [[word.strip() for word in line.split(",")] for line in one["base"]]
        lines = one.get("exp", []) if one.get("enable", True) else []
        found = by_lines(classes, lines)
        if "pool" in one:
            pooled = by_pool(classes, one["pool"])
            if sum(map(len, pooled)) > sum(map(len, classes)):
                found = pooled
        index = np.repeat(np.arange(len(found)), [len(words) for words in found]).tolist()
        assert (list(chain.from_iterable(found)), index) == (one["expected"]["words"], one["expected"]["index"]), name
        assert len(found) == one["expected"]["num_classes"]
