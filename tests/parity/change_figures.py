"""Figures of change as DynamicEarth prints them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from earthwords.evaluation.metrics.change import ChangeCounts, binary, either_date

from .cases import Case


def check_change_metrics(case: Case) -> None:
    expected: dict[str, Any] = json.loads((case.folder / "expected.json").read_text())
    pairs = [(case[f"in.pred.{i}"].numpy(), case[f"in.gt.{i}"].numpy()) for i in range(len(case.part("in.gt.")))]
    for name, threshold in (("pooled_thr0.5", 0.5), ("pooled_thr0.3", 0.3)):
        counts = ChangeCounts()
        for found, truth in pairs:
            counts.add(binary(found, threshold), binary(truth, threshold))
        same(counts, expected.pop(name))
        if threshold == 0.5:
            assert expected.pop("counts") == {name: getattr(counts, name) for name in ("tp", "fp", "fn", "tn")}
    for (found, truth), figures in zip(pairs, expected.pop("single_pair_values"), strict=True):
        counts = ChangeCounts()
        counts.add(binary(found), binary(truth))
        same(counts, figures)
    if "empty_set" in expected:
        same(ChangeCounts(), expected.pop("empty_set"))
    for label, figures in expected.pop("second_per_class").items():
        counts = ChangeCounts()
        for i in range(len(case.part("in.label1."))):
            first, second = case[f"in.label1.{i}"].numpy(), case[f"in.label2.{i}"].numpy()
            counts.add(binary(case[f"in.second_pred.{i}"].numpy()), either_date(first, second, int(label)))
        same(counts, figures)
    assert not expected


def same(counts: ChangeCounts, expected: dict[str, float]) -> None:
    found = counts.figures()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
