"""Threads: order is kept, failures come through, nobody works for nothing."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import closing

import pytest
import torch

from earthwords.jobs.threads import Pool, Stopped, ahead, on_one_core, one_core, until


def test_results_come_in_order_and_few_are_held() -> None:
    taken = 0
    given = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for i in range(50):
            assert taken - given <= 2 * 3 + 1
            taken += 1
            yield i

    with Pool(3) as pool:
        for i, square in enumerate(pool.ordered(lambda x: x * x, items())):
            assert square == i * i
            given += 1
    assert (taken, given) == (50, 50)


def test_each_thread_has_one_core_and_the_program_keeps_its_own() -> None:
    before = torch.get_num_threads()
    with Pool(2) as pool:
        assert set(pool.ordered(lambda _: torch.get_num_threads(), range(8))) == {1}
    assert torch.get_num_threads() == before
    with one_core():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_a_failure_in_a_thread_is_raised_in_its_place() -> None:
    done: list[int] = []
    with Pool(2) as pool, pytest.raises(ZeroDivisionError):
        for value in pool.ordered(lambda x: 1 / (5 - x), range(100)):
            done.append(int(value > 0))
    assert len(done) == 5


def test_items_are_made_ahead_but_not_far() -> None:
    made = threading.Semaphore(0)
    count = 0

    def items() -> Iterator[int]:
        nonlocal count
        for i in range(20):
            count += 1
            made.release()
            yield i

    with closing(ahead(items(), depth=2)) as found:
        assert next(found) == 0
        for _ in range(4):
            assert made.acquire(timeout=10)  # one taken, two waiting, one on its way
        assert count <= 5
        assert list(found) == list(range(1, 20))


def test_a_failure_ahead_is_raised_here_after_what_came_before() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    found = ahead(items(), depth=2)
    assert next(found) == 1
    with pytest.raises(ValueError, match="no more"):
        next(found)


def test_closing_ends_the_thread_and_what_it_makes() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            ended.set()

    found = ahead(items(), depth=1)
    assert next(found) == 0
    found.close()
    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_a_thread_may_have_more_cores() -> None:
    with Pool(1, cores=2) as pool:
        assert list(pool.ordered(lambda item: torch.get_num_threads(), [0])) == [2]


def test_ticks_stop_the_work() -> None:
    told: list[int] = []
    stop = threading.Event()
    tick = until(stop, told.append)
    tick(3)
    stop.set()
    with pytest.raises(Stopped):
        tick(4)
    assert told == [3]


def test_steps_are_taken_on_one_core_and_closed_when_nobody_wants_more() -> None:
    cores: list[int] = []
    before = torch.get_num_threads()

    def steps() -> Generator[int, None, None]:
        try:
            for i in range(5):
                cores.append(torch.get_num_threads())
                yield i
        finally:
            cores.append(-1)

    items = on_one_core(steps())
    assert [next(items), next(items)] == [0, 1]
    assert torch.get_num_threads() == before
    items.close()  # type: ignore[attr-defined]
    assert cores == [1, 1, -1]
