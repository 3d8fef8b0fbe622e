"""What a run leaves behind when it dies, and what the next one makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from earthwords.inference.segment.block_store import BlockResult, BlockStore, open_blocks
from earthwords.inference.windows.blocks import Blocks
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.types import Window

BLOCKS = Blocks(region=Window(row=3, col=5, height=70, width=1500), rows=32, cols=1024)
SETTINGS = {"threshold": "0.3"}


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


class Died(Exception):
    """What ends a run here."""


@contextmanager
def dying(folder: Path, *, blocks: Blocks = BLOCKS) -> Iterator[BlockStore]:
    """A run that dies at the end of the block."""
    with suppress(Died), open_blocks(folder, settings=SETTINGS, blocks=blocks, resume=True) as store:
        yield store
        raise Died


def test_blocks_come_back_as_they_went(tmp_path: Path) -> None:
    with dying(tmp_path / "j") as store:
        for index in (4, 1):
            store.save(index, result(index))
    other = Blocks(region=BLOCKS.region, rows=64, cols=2048)
    with dying(tmp_path / "j", blocks=other) as store:
        assert store.done == {1, 4}
        assert store.blocks == BLOCKS, "cut as it was begun"
        for index in (1, 4):
            wanted, found = result(index), store.rows(index, 2, 5)
            np.testing.assert_array_equal(found["labels"], wanted.labels[2:5])
            np.testing.assert_array_equal(found["score"], wanted.score[2:5])
            assert wanted.probabilities is not None
            np.testing.assert_array_equal(found["probabilities"], wanted.probabilities[:, 2:5])
            assert found["labels"].dtype == np.uint16
    with open_blocks(tmp_path / "j", settings=SETTINGS, blocks=BLOCKS, resume=True) as store:
        assert store.done == {1, 4}
    assert list(tmp_path.iterdir()) == []


def test_rows_of_blocks_side_by_side(tmp_path: Path) -> None:
    """Those that an earlier run has done are not asked for; what they left out is told with the rest, once."""
    with dying(tmp_path / "j") as store:
        store.save(3, result(3, seed=1))
    asked, policy = set[int](), FailurePolicy()
    policy.failures.append("a row")

    def compute(wanted: set[int]) -> Iterator[tuple[int, BlockResult]]:
        asked.update(wanted)
        for index in sorted(wanted, reverse=True):
            yield index, result(index)

    with open_blocks(tmp_path / "j", settings=SETTINGS, blocks=BLOCKS, resume=True) as store:
        rows = list(store.rows_from(compute, policy))
    assert asked == {0, 1, 2, 4, 5}
    down = [[result(0), result(1)], [result(2), result(3, seed=1)], [result(4), result(5)]]
    for name in ("labels", "score", "probabilities"):
        wanted = np.concatenate([np.concatenate([getattr(b, name) for b in band], -1) for band in down], -2)
        np.testing.assert_array_equal(np.concatenate([part.arrays[name] for part in rows], -2), wanted)
    tops = np.cumsum([0, *(part.window.height for part in rows)]).tolist()
    assert tops.pop() == 70 and [part.row for part in rows] == tops
    assert {(part.window.row - part.row, part.window.col, part.window.width) for part in rows} == {(3, 5, 1500)}
    assert policy.failures == ["part a", "a row"] and policy.ranks == [0, 7, 1, 7, 2, 7, 3, 7, 4, 7, 5, 7]


def test_a_damaged_block_is_computed_again(tmp_path: Path) -> None:
    with dying(tmp_path / "j") as store:
        for index in range(3):
            store.save(index, result(index))
    path = tmp_path / "j" / "block-000001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    (tmp_path / "j" / "block-000002.part").write_bytes(b"half")
    (tmp_path / "j" / "block-000002.safetensors").write_bytes(
        (tmp_path / "j" / "block-000000.safetensors").read_bytes()
    )
    with dying(tmp_path / "j") as store:
        assert store.done == {0, 2}
        store.save(1, result(1))
        assert store.done == {0, 1, 2}


def test_a_block_of_another_shape_is_not_taken(tmp_path: Path) -> None:
    with dying(tmp_path / "j") as store:
        store.save(0, result(1))
    with dying(tmp_path / "j") as store:
        assert store.done == set()
