"""What a run leaves behind when it dies, and what the next one makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.inference.segment.block_store import BlockResult, open_journal
from earthwords.inference.windows.blocks import Blocks
from earthwords.types import Window

BLOCKS = Blocks(region=Window(row=3, col=5, height=70, width=1500), rows=32, cols=1024)
SETTINGS = {"threshold": "0.3", "words": "road; water"}


def result(index: int, *, seed: int = 0) -> BlockResult:
    rng = np.random.default_rng(10 * seed + index)
    window = BLOCKS.window(index)
    shape = window.height, window.width
    return BlockResult(
        labels=rng.integers(0, 9, shape).astype(np.uint16),
        score=rng.random(shape, np.float32),
        probabilities=rng.integers(0, 251, (3, *shape)).astype(np.uint8),
        failures=["part a"] if index % 2 else [],
        ranks=[index, 7],
    )


def test_blocks_come_back_as_they_went(tmp_path: Path) -> None:
    with open_journal(tmp_path / "j", settings=SETTINGS, blocks=BLOCKS, resume=True) as journal:
        for index in (4, 1):
            journal.save(index, result(index))
    other = Blocks(region=BLOCKS.region, rows=64, cols=2048)
    with open_journal(tmp_path / "j", settings=SETTINGS, blocks=other, resume=True) as journal:
        assert journal.done == {1, 4}
        assert journal.blocks == BLOCKS, "cut as it was begun"
        for index in (1, 4):
            wanted, found = result(index), journal.rows(index, 2, 5)
            np.testing.assert_array_equal(found["labels"], wanted.labels[2:5])
            np.testing.assert_array_equal(found["score"], wanted.score[2:5])
            assert wanted.probabilities is not None
            np.testing.assert_array_equal(found["probabilities"], wanted.probabilities[:, 2:5])
            assert found["labels"].dtype == np.uint16
        assert journal.told() == (["part a"], [1, 7, 4, 7])
        journal.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_block_is_computed_again(tmp_path: Path) -> None:
    with open_journal(tmp_path / "j", settings=SETTINGS, blocks=BLOCKS, resume=True) as journal:
        for index in range(3):
            journal.save(index, result(index))
    path = tmp_path / "j" / "block-000001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "j" / "block-000002.part").write_bytes(b"half")
    (tmp_path / "j" / "block-000002.safetensors").write_bytes(
        (tmp_path / "j" / "block-000000.safetensors").read_bytes()
    )
    with open_journal(tmp_path / "j", settings=SETTINGS, blocks=BLOCKS, resume=True) as journal:
        assert journal.done == {0, 2}
        journal.save(1, result(1))
        assert journal.done == {0, 1, 2}


def test_a_block_of_another_shape_is_not_taken(tmp_path: Path) -> None:
    with open_journal(tmp_path / "j", settings=SETTINGS, blocks=BLOCKS, resume=True) as journal:
        journal.save(0, result(1))
    with open_journal(tmp_path / "j", settings=SETTINGS, blocks=BLOCKS, resume=True) as journal:
        assert journal.done == set()


def test_other_settings_are_refused_with_the_reason(tmp_path: Path) -> None:
    with open_journal(tmp_path / "j", settings=SETTINGS, blocks=BLOCKS, resume=True) as journal:
        journal.save(0, result(0))
    for settings, words in (
        ({**SETTINGS, "threshold": "0.5"}, "its threshold was 0.3 and is 0.5 now"),
        ({"words": SETTINGS["words"]}, "its threshold was 0.3 and is not given now"),
        ({**SETTINGS, "gsd": "2"}, "its gsd was not given and is 2 now"),
    ):
        with (
            pytest.raises(
                UsageError, match=f"{words}; run with what it was begun with, or begin anew with --no-resume"
            ),
            open_journal(tmp_path / "j", settings=settings, blocks=BLOCKS, resume=True),
        ):
            pass
    with open_journal(tmp_path / "j", settings={"gsd": "2"}, blocks=BLOCKS, resume=False) as journal:
        assert journal.done == set()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", json.dumps({"settings": {}}), "\x00"])
def test_a_journal_that_never_began_is_begun(tmp_path: Path, text: str) -> None:
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "journal.json").write_text(text)
    with open_journal(tmp_path / "j", settings=SETTINGS, blocks=BLOCKS, resume=True) as journal:
        assert journal.done == set() and journal.blocks == BLOCKS


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked there")
def test_two_processes_do_not_share_one(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from earthwords.errors import UsageError
from earthwords.files.atomic import locked
with locked(Path(sys.argv[1])) as free:
    print("free" if free else "taken")
"""
    command = [sys.executable, "-c", code, str(tmp_path / "j")]
    with open_journal(tmp_path / "j", settings=SETTINGS, blocks=BLOCKS, resume=True):
        assert subprocess.run(command, capture_output=True, text=True, env=os.environ).stdout == "taken\n"
        with (
            pytest.raises(UsageError, match=f"Another process is working on {tmp_path}; wait for it"),
            open_journal(tmp_path / "j", settings=SETTINGS, blocks=BLOCKS, resume=True),
        ):
            pass
    assert subprocess.run(command, capture_output=True, text=True, env=os.environ).stdout == "free\n"
