"""`earthwords models` and `models pull`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from earthwords.models.weights.table import WEIGHTS
from earthwords.presets import SEGMENT_PRESETS
from earthwords.refer_presets import REFER_PRESETS
from tests.conftest import ROOT, Command

ASSETS = ROOT / "src" / "earthwords" / "assets"


def test_every_preset_and_all_weights_are_listed(command: Command) -> None:
    done = command("models", "--json")
    assert (done.code, done.err) == (0, "")
    listed = json.loads(done.out)
    assert [row["name"] for row in listed["presets"]] == [*SEGMENT_PRESETS, *REFER_PRESETS]
    assert [row["name"] for row in listed["weights"]] == list(WEIGHTS)
    assert all(row["licence"] and row["source"] for row in listed["weights"])
    assert {row["gated"] for row in listed["weights"]} <= {"yes", "no"}
    presets = {row["name"]: row for row in listed["presets"]}
    assert all(row["licence"] and row["size"] and row["gated"] for row in presets.values())
    parts = {"size": "605 MB", "licence": "MIT; none stated for the weights", "gated": "no"}
    assert parts.items() <= presets["segearth-ov"].items()
    assert presets["siglip2"]["licence"] == "Apache-2.0"


def test_the_table_names_them_too(command: Command) -> None:
    done = command("models")
    assert done.code == 0
    assert "segearth-ov" in "".join(done.out.split()) and "licence" in done.out and "gated" in done.out


def test_pulling_what_is_here_already(command: Command, micro: Path) -> None:
    done = command("models", "pull", micro, "--json")
    assert done.code == 0
    assert json.loads(done.out) == {"name": str(micro), "path": str(micro)}


def test_pulling_what_does_not_exist(command: Command) -> None:
    command("models", "pull", "segearth-of").failed(2, "Unknown model 'segearth-of'")
    command("models", "pull", "openai-vit-b16").failed(2, "Did you mean 'openai-vit-b-16'?")


def shown(command: Command, name: object) -> dict[str, str]:
    """What `models show` tells."""
    done = command("models", "show", name, "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert isinstance(found, dict)
    return found


def test_what_is_known_of_a_preset(command: Command) -> None:
    found = shown(command, "segearth-ov")
    assert found["kind"] == "segmentation preset" and found["paper"] == "https://arxiv.org/abs/2410.01768"
    assert found["licence"] == "openai-vit-b-16: MIT; simfeatup-million-aid: none stated for the weights"
    assert found["size"] == "openai-vit-b-16: 599 MB; simfeatup-million-aid: 6 MB"
    assert "models pull openai-vit-b-16" in found["here"] and found["resolution"].startswith("any")
    tiny = shown(command, "tiny")
    assert tiny["resolution"].startswith("0.25 to 4 m a pixel") and "assets" in tiny["here"]
    assert float(tiny["size"].split(" MB")[0]) == pytest.approx(
        sum(p.stat().st_size for p in (ASSETS / "tiny").iterdir()) / 1e6, abs=0.06
    )
    listed = json.loads((ASSETS / "tiny" / "words.json").read_text(encoding="utf-8"))
    counts = {
        word: listed["pictures"].get(word, 0) + listed["rendered"].get(word, 0)
        for word in {**listed["pictures"], **listed["rendered"]}
    }
    known = sum(count >= 5 and " " not in word for word, count in counts.items())
    assert tiny["words"].startswith(f"{known:,} English words")
    assert shown(command, "rsrefseg-b")["weights"].startswith("none are published")


def test_what_is_known_of_weights(command: Command, micro: Path, tmp_path: Path) -> None:
    found = shown(command, "simfeatup-million-aid")
    assert found["trained for"] == "openai-vit-b-16" and len(found["sha256"]) == 64
    assert found["presets"] == "segearth-ov, segearth-ov-2, segearth-ov-2-sar"
    assert shown(command, micro)["here"] == str(micro)
    (tmp_path / "mine.toml").write_text(f'base = "tiny"\nweights = "{micro}"\ngsd = [0.5, 2.0]\n')
    own = shown(command, tmp_path / "mine.toml")
    assert own["name"] == "mine" and own["resolution"].startswith("0.5 to 2 m") and own["licence"] == "yours"


def test_a_download_is_noticed(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What lies where a download would go is here, with its real size."""
    monkeypatch.setenv("EARTHWORDS_CACHE", str(tmp_path))
    monkeypatch.setitem(WEIGHTS, "anyup-paper", replace(WEIGHTS["anyup-paper"], sha256=None))  # zeros are not it
    assert "no; " in shown(command, "anyup-paper")["here"]
    file = tmp_path / "weights" / "anyup-paper" / "anyup_paper.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(2_340_000))
    found = shown(command, "anyup-paper")
    assert (found["here"], found["size"]) == (str(file), "2.3 MB")


def test_names_that_are_none(command: Command) -> None:
    command("models", "show", "segearth").failed(2, "Did you mean 'segearth-ov'?")
    command("models", "show", "zxqv").failed(2, "`earthwords models` lists all.")
    command("models", "show", "./no/model.pt").failed(1, "No checkpoint at ./no/model.pt")
    command("models", "show", "mine.toml").failed(2, "Cannot read the preset mine.toml")


def test_what_is_known_is_told_without_loading_anything() -> None:
    code = (
        "import sys; from earthwords.cli import main; main(['models', 'show', 'tiny']); "
        "main(['models', 'show', 'tinny']); print('LOADED', *({'torch', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["LOADED"]
