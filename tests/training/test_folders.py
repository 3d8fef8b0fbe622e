"""The folder of a training: one training at a time, and what an earlier one left that was killed."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from earthwords.files.atomic import locked
from earthwords.training.loop import LOG
from tests.conftest import Command
from tests.verbs import TRAININGS, into, trainings

TOGETHER = """
import os
import sys
from pathlib import Path
import torch
from earthwords.errors import UsageError
from earthwords.training.launch import alone_in
from earthwords.training.distributed import joined

busy, free = map(Path, sys.argv[1:])
place = torch.device("cpu")
with joined(place) as group:
    try:
        with alone_in(busy, group, place):
            print("taken by", group.rank)
    except UsageError as error:
        (free.parent / f"refused-{group.rank}").write_text(str(error))
    with alone_in(free, group, place):
        (free / f"shared-{group.rank}").touch()
sys.stdout.flush()
os._exit(0)  # a thread of torch aborts the end of an interpreter now and then
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory, micro: Path) -> dict[str, list[str]]:
    return trainings(tmp_path_factory.mktemp("trainings"), micro)


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked there")
@pytest.mark.parametrize("kind", TRAININGS)
def test_a_second_training_into_a_folder_is_refused(
    command: Command, lines: dict[str, list[str]], tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with locked(out):
        command(*into(lines[kind], out)).failed(2, f"Another process is training into {out}; wait for it")
        assert list(out.iterdir()) == []
    assert command(*into(lines[kind], out)).code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked there")
def test_processes_of_one_training_share_its_folder(lines: dict[str, list[str]], tmp_path: Path) -> None:
    """And those of a second one all end with the sentence, none waits for ever."""
    busy, free = tmp_path / "busy", tmp_path / "free"
    script = tmp_path / "script.py"
    script.write_text(TOGETHER)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, busy, free]
    path = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    busy.mkdir()
    with locked(busy):
        done = subprocess.run(
            [sys.executable, *map(str, launch)], env=environment, capture_output=True, text=True, timeout=240
        )
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in range(2):
        assert f"Another process is training into {busy}" in (tmp_path / f"refused-{rank}").read_text()
    assert {path.name for path in free.iterdir()} == {"shared-0", "shared-1"} and list(busy.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_a_killed_writer_left_goes(command: Command, lines: dict[str, list[str]], tmp_path: Path) -> None:
    """The hidden folder of a model that was just being written, and nothing that lives."""
    out = tmp_path / "out"
    assert command(*into(lines["train clip"], out)).code == 0
    whole = {path.name for path in out.iterdir()}
    pid = os.fork()
    if not pid:
        rename = os.replace
        os.replace = lambda *args: (
            os.kill(os.getpid(), signal.SIGKILL) if "config.json" in str(args[1]) else rename(*args)
        )
        command(*into(lines["train clip"], out))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert [path.name for path in out.iterdir() if path.name not in whole], "there is something to sweep"
    living = out / ".model.safetensors.abcdefg1.part"
    living.mkdir()
    with locked(living):
        assert command(*into(lines["train clip"], out)).code == 0
        assert {path.name for path in out.iterdir()} == {*whole, living.name}
    assert command(*into(lines["train clip"], out)).code == 0
    assert {path.name for path in out.iterdir()} == whole


@pytest.mark.parametrize("kind", TRAININGS)
def test_a_torn_log_stops_nothing(command: Command, lines: dict[str, list[str]], tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    assert command(*into(lines[kind], out)).code == 0
    rows = _rows(out)
    with (out / LOG).open("r+b") as file:
        file.truncate((out / LOG).stat().st_size - 3)
    assert command(*into(lines[kind], out)).code == 0
    assert _rows(out) == rows[:-1], "cut to its last whole row"
    (out / LOG).write_bytes(b"\0" * 100)
    assert command(*into(lines[kind], out)).code == 0
    assert _rows(out) == []


def _rows(folder: Path) -> list[tuple[str, str]]:
    with (folder / LOG).open(newline="") as file:
        return [(row["step"], row["name"]) for row in csv.DictReader(file)]
