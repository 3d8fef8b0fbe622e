"""`earthwords models` and `models pull`."""

from __future__ import annotations

import json
from pathlib import Path

from earthwords.models.weights import WEIGHTS
from earthwords.presets import REFER_PRESETS, SEGMENT_PRESETS
from tests.conftest import Command


def test_every_preset_and_all_weights_are_listed(command: Command) -> None:
    done = command("models", "--json")
    assert (done.code, done.err) == (0, "")
    listed = json.loads(done.out)
    assert [row["name"] for row in listed["presets"]] == [*SEGMENT_PRESETS, *REFER_PRESETS]
    assert [row["name"] for row in listed["weights"]] == list(WEIGHTS)
    assert all(row["licence"] and row["source"] for row in listed["weights"])


def test_the_table_names_them_too(command: Command) -> None:
    done = command("models")
    assert done.code == 0
    assert "segearth-ov" in "".join(done.out.split()) and "licence" in done.out


def test_pulling_what_is_here_already(command: Command, micro: Path) -> None:
    done = command("models", "pull", micro, "--json")
    assert done.code == 0
    assert json.loads(done.out) == {"name": str(micro), "path": str(micro)}


def test_pulling_what_does_not_exist(command: Command) -> None:
    command("models", "pull", "segearth-of").failed(2, "Unknown model 'segearth-of'")
    command("models", "pull", "openai-vit-b16").failed(2, "Did you mean 'openai-vit-b-16'?")
