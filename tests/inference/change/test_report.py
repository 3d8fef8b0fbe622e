"""How a comparison is told."""

from __future__ import annotations

import pytest

from earthwords.inference.change.dates.report import area_text


@pytest.mark.parametrize(
    ("area", "unit", "text"),
    [(0.0, "ha", "0"), (31.2, "ha", "31.20 ha"), (0.0046, "ha", "46 m2"), (-0.36, "ha", "-3,600 m2"),
     (0.00036, "ha", "3.6 m2"), (1234.0, "px", "1,234 px"), (0.0, "px", "0")],
)  # fmt: skip
def test_areas_as_text(area: float, unit: str, text: str) -> None:
    assert area_text(area, unit) == text
