"""`earthwords doctor`: what is sound is called sound, what is not is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import earthwords
from earthwords.tasks.doctor import Diagnosis, doctor
from tests.conftest import ROOT, Command

TINY = ROOT / "src" / "earthwords" / "assets" / "tiny" / "config.json"


def test_all_is_well_with_the_embedded_model(tiny: Path, command: Command) -> None:
    done = command("doctor", "--json")
    found = json.loads(done.out)
    checks = {check["what"]: check for check in found["checks"]}
    assert found["ok"] is True and found["version"] == earthwords.__version__
    assert (
        found["devices"][0] == "cpu"
        and "tiny" in found["presets"]["segment"]
        and "refseg-tiny" in found["presets"]["refer"]
    )
    assert {"segment", "train_clip", "pull"} <= set(found["verbs"]) and all(
        hasattr(earthwords, name) for name in found["verbs"]
    )
    assert all(check["ok"] for check in checks.values()), checks
    assert done.code == 0
    assert "mIoU" in checks["words to map"]["found"] and "M parameters" in checks["embedded weights"]["found"]


@pytest.fixture(scope="module")
def without_weights() -> Diagnosis:
    """The diagnosis where the embedded weights are missing: from a checkout without them, or with them hidden."""
    with pytest.MonkeyPatch.context() as patch:
        if TINY.exists():
            missing = ROOT / "src" / "earthwords" / "assets" / "missing"
            patch.setattr("earthwords.models.weights.table.fetch", lambda spec, **options: missing)
        return doctor()


def test_what_is_wrong_is_named(without_weights: Diagnosis) -> None:
    checks = {check.what: check for check in without_weights.checks}
    assert {what for what, check in checks.items() if not check.ok} == {"embedded weights", "words to map"}
    assert "WeightsError" in checks["embedded weights"].found
    assert without_weights.exit_code == 1 and without_weights.as_json()["ok"] is False
    title, _, rows = without_weights.table()
    assert title == "Something is wrong"
    assert [row[1] for row in rows].count("FAILED") == 2


def test_what_is_sound_is_found(without_weights: Diagnosis, cache: Path) -> None:
    checks = {check.what: check for check in without_weights.checks}
    assert "torch" in checks["libraries"].found and "rasterio" in checks["libraries"].found
    assert checks["cache"].found == str(cache)
    assert checks["devices"].found.startswith("cpu (")
    assert checks["GDAL drivers"].ok


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("EARTHWORDS_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("earthwords.tasks.doctor._self_test", lambda: "left out")
    checks = {check.what: check for check in doctor().checks}
    assert not checks["cache"].ok and str(tmp_path) in checks["cache"].found
