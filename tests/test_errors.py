"""Names that nearly exist are proposed."""

from __future__ import annotations

import pytest

from earthwords.errors import (
    EarthwordsError,
    OutputError,
    SourceError,
    UsageError,
    WeightsError,
    did_you_mean,
    number_of,
    unknown,
)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("segeart", "Did you mean 'segearth'?"),
        ("SEGEARTH", "Did you mean 'segearth'?"),
        ("ztsd", "Did you mean 'ZSTD'?"),
        ("xyz", "Known: ZSTD, clearclip, segearth."),
    ],
)
def test_did_you_mean(value: str, sentence: str) -> None:
    assert did_you_mean(value, ["segearth", "clearclip", "ZSTD"]) == sentence


def test_number_of() -> None:
    assert [number_of(n, "image") for n in (0, 1, 2, 1200)] == ["0 images", "1 image", "2 images", "1,200 images"]


def test_exit_codes() -> None:
    assert UsageError.exit_code == 2
    assert {SourceError.exit_code, OutputError.exit_code, WeightsError.exit_code} == {1}
    error = unknown("preset", "a", ["b"])
    assert isinstance(error, UsageError) and isinstance(error, EarthwordsError) and isinstance(error, ValueError)
    assert str(error) == "Unknown preset 'a'. Known: b."
