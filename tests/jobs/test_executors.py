"""Executors: all tasks, once each, few at a time; dead workers are replaced; failures come through."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from earthwords.errors import SourceError, UsageError, WindowError
from earthwords.interrupt import Interrupted
from earthwords.jobs import processes
from earthwords.jobs.executor import AHEAD, ATTEMPTS, InFlight, Local, check_deaths
from earthwords.jobs.job import Worker
from earthwords.jobs.make_executor import make_executor
from earthwords.jobs.processes import Processes

kills = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed another way there")


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "host.invalid:{}"])
def test_a_cluster_that_is_not_there_is_told_at_once(form: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = form.format(unheard.getsockname()[1])
        with (
            pytest.raises(UsageError, match=f"No Ray cluster answers at '{address}'"),
            make_executor(2, cluster=address),
        ):
            pass


@dataclass(frozen=True)
class Numbers:
    """A job that shows who did what."""

    offset: int

    def compute(self, worker: Worker, index: int) -> tuple[int, Any]:
        return 2, (worker.number, worker.pid(), self.offset + index)

    def place(self, index: int) -> str:
        return f"number {index}"


def test_any_job_is_shared_by_workers_with_numbers() -> None:
    ticks: list[float] = []
    with make_executor(2) as executor:
        for offset in (100, 200):
            found = dict(executor.compute(Numbers(offset), set(range(3, 20)), ticks.append))
            assert {index: value for index, (_, _, value) in found.items()} == {i: offset + i for i in range(3, 20)}
            numbers = {pid: number for number, pid, _ in found.values()}
            assert set(numbers.values()) <= {0, 1} and len(numbers) == len(set(numbers.values()))
            assert os.getpid() not in numbers
    assert sum(ticks) == 2 * 2 * 17


def test_one_worker_is_this_process() -> None:
    with make_executor(1) as executor:
        assert isinstance(executor, Local)
        found = list(executor.compute(Numbers(5), {4, 1}, lambda done: None))
    assert found == [(1, (0, os.getpid(), 6)), (4, (0, os.getpid(), 9))]


def square(number: int) -> int:
    return number * number


def fail(number: int) -> int:
    if number == 5:
        raise SourceError("five is damaged")
    return number


def test_an_executor_without_tasks_leaves_the_fork_server_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[None] = []
    monkeypatch.setattr(processes, "_end_fork_server", lambda: ended.append(None))
    with make_executor(2) as busy:
        assert list(busy.in_order(square, [2, 3])) == [4, 9]
        with make_executor(2) as idle:
            assert list(idle.in_order(square, [])) == []
        assert not ended and list(busy.in_order(square, [4])) == [16]


LATE = """
import sys, threading, time
from contextlib import suppress
from multiprocessing import forkserver
from earthwords.jobs import processes
begun, ended = threading.Event(), threading.Event()
start, end = forkserver._forkserver.ensure_running, processes._end_fork_server
def start_late():
    begun.set()
    ended.wait(60)
    start()
def end_and_tell():
    end()
    ended.set()
forkserver._forkserver.ensure_running, processes._end_fork_server = start_late, end_and_tell
executor = processes.Processes(2, preload=["imported_for_minutes"])
def work():
    with suppress(BaseException):
        list(executor.in_order(abs, [1, 2]))
threading.Thread(target=work, daemon=True).start()
begun.wait()
before = time.monotonic()
executor.close()
print(time.monotonic() - before)
"""


@kills
def test_a_fork_server_that_starts_while_all_ends_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "imported_for_minutes.py").write_text("import time\ntime.sleep(300)\n")
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", LATE],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 0 and float(done.stdout) < 20, done.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_results_in_the_order_of_tasks(workers: int) -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for number in range(60):
            taken += 1
            yield number

    given = []
    with make_executor(workers) as executor:
        for result in executor.in_order(square, tasks()):
            given.append(result)
            assert taken - len(given) <= AHEAD * workers, "few are taken before their turn"
        assert given == [number * number for number in range(60)]
        assert list(executor.in_order(square, [])) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_comes_through(workers: int) -> None:
    given = []
    with make_executor(workers) as executor, pytest.raises(SourceError, match="five is damaged"):
        for result in executor.in_order(fail, range(9)):
            given.append(result)
    assert given == [0, 1, 2, 3, 4][: len(given)]


def die_once(folder: str, worker: Worker, number: int) -> int:
    """Ends its process the first time that it gets an odd number."""
    path = Path(folder) / str(number)
    if number % 2 and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(worker: Worker, number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@kills
def test_tasks_of_dead_workers_are_computed_again(tmp_path: Path) -> None:
    with make_executor(2) as executor:
        found = list(executor.run(partial(die_once, str(tmp_path)), [2, 4, 1, 6, 8, 10, 12, 14]))
    assert sorted(found) == list(enumerate([2, 4, 1, 6, 8, 10, 12, 14])), "each once"


@kills
def test_workers_that_die_every_time_are_given_up() -> None:
    with (
        make_executor(2) as executor,
        pytest.raises(WindowError, match=r"died 3 times without a part done, at task 7 first; .*--workers"),
    ):
        list(executor.run(die, [7, 8], place=lambda task: f"task {task}"))
    check_deaths(ATTEMPTS - 1, "here")


def wait_for(folder: str, worker: Worker, number: int) -> int:
    threading.Event().wait()
    return number


def test_a_closed_executor_ends_those_who_wait(tmp_path: Path) -> None:
    """`close` from another thread; and a `beat` that raises."""
    executor = Processes(2)
    beaten = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            list(executor.run(partial(wait_for, ""), range(3), beat=beaten.set))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert beaten.wait(60)
    executor.close()
    thread.join(60)
    assert not thread.is_alive() and len(errors) == 1
    with pytest.raises(Interrupted):
        list(executor.run(die, [1]))

    def stop() -> None:
        raise Interrupted

    with make_executor(2) as other, pytest.raises(Interrupted):
        list(other.run(partial(wait_for, ""), [1], beat=stop))


def test_tasks_in_flight() -> None:
    flight = InFlight("abcdefghijklmnopqrstuvwxyz", workers=1)
    assert flight.send() == (0, "a") and flight.send() == (1, "b") and flight.send() is None, "two a worker"
    flight.done(1)
    assert flight.send() == (2, "c")
    for number in range(2, AHEAD):
        flight.done(number)
        following = flight.send()
        assert (following is None) == (number == AHEAD - 1), "not too far before the oldest"
    assert flight.oldest == "a"
    flight.lost()
    assert flight.send() == (0, "a"), "once more"
    flight.done(0)
    assert flight.send() == (AHEAD, "ijk"[0]) and not flight.is_over


def test_a_worker_keeps_what_it_loaded_last() -> None:
    worker, made = Worker(), []

    def make(name: str) -> str:
        made.append(name)
        return name

    for key in (1, 1, 2, 1):
        assert worker.keep("model", key, partial(make, f"m{key}")) == f"m{key}"
        worker.keep("scene", key, partial(make, "s"))
    assert made == ["m1", "s", "m2", "s", "m1", "s"]
