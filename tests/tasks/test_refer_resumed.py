"""`earthwords refer`, shared by workers, killed and begun again: the bytes of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earthwords.errors import OutputError
from earthwords.inference.refer.job import ReferJob
from earthwords.jobs.journal import Journal
from earthwords.models.refseg.load import assemble, store_refseg
from tests.conftest import Command, Outcome, write_raster
from tests.micro import patchwork
from tests.referring import micro_preset
from tests.verbs import contents

SENTENCES = ("-t", "the red roof", "-t", "the largest lake")
"""One about a thing, one about the scene as a whole."""
COMMON = ("--preset", "refseg-tiny", "--device", "cpu", "--offline", "--quiet")
THRESHOLD = ("--threshold", "0.2")

DRIVER = """
import contextlib, io, json, os, signal, sys

import torch
from transformers import CLIPModel
import earthwords.inference.refer.run, earthwords.tasks.refer
from earthwords.cli import main
from earthwords.jobs.journal import Journal

def killed(argv, name, number):
    "The command in a child that kills itself when `number` parts called `name` are in the journal; its exit code."
    pid = os.fork()
    if not pid:
        saved, save = [], Journal.save
        def count(self, part, result):
            save(self, part, result)
            saved.append(part.startswith(name))
            if sum(saved) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        Journal.save = count
        if name == "moving":
            replace = os.replace
            def once(*paths):
                replace(*paths)
                saved.append("labels.tif" in str(paths[1]))
                if sum(saved) == number:
                    os.kill(os.getpid(), signal.SIGKILL)
            os.replace = once
        os._exit(main(argv))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

for argv, name, number, expected in json.load(sys.stdin):
    code = killed(argv, name, number)
    assert code == expected, (argv, name, code)
"""


def trained(folder: Path, micro: Path, *, seed: int) -> Path:
    """A model of random weights."""
    preset = replace(micro_preset(micro), lora_rank=0)
    store_refseg(assemble(preset, seed=seed), preset, folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, micro: Path) -> Path:
    return trained(tmp_path_factory.mktemp("refseg"), micro, seed=1)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "town.tif", np.moveaxis(patchwork(130, 170), -1, 0))


Refer = Callable[..., Outcome]


@pytest.fixture
def refer(command: Command, model: Path, scene: Path, tmp_path: Path) -> Refer:
    """`refer(option, ...)` into a folder."""

    def run(*options: object) -> Outcome:
        given = [*options, *(() if "--threshold" in options else THRESHOLD)]
        given += [] if "--model" in options else ["--model", model]
        return command("refer", scene, tmp_path / "out", *SENTENCES, *COMMON, *given)

    return run


@pytest.fixture(autouse=True)
def fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1760000000")


needs_signals = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals are sent another way there")


@needs_signals
@pytest.mark.parametrize(
    "every", [pytest.param([], id="best"), pytest.param(["--all"], id="all", marks=pytest.mark.slow)]
)
def test_killed_and_begun_again(model: Path, scene: Path, tmp_path: Path, every: list[str]) -> None:
    def argv(out: str, *options: str) -> list[str]:
        asked = [*SENTENCES, "--model", str(model), *COMMON, *THRESHOLD, "--probabilities", "uint8", *every]
        return ["refer", str(scene), str(tmp_path / out), *asked, *options]

    kills: list[tuple[list[str], str, int, int]] = [(argv("out"), "view", 7, -9)]
    if not every:
        kills += [(argv("out", "--workers", "2"), "view", 3, -9), (argv("out"), "sentence", 2, -9)]
        kills += [(argv("out"), "moving", 1, -9)]
    runs = [(argv("whole"), "nothing", 1, 0), *kills, (argv("out", "--workers", "2"), "nothing", 1, 0)]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], input=json.dumps(runs), capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    whole, found = contents(tmp_path / "whole"), contents(tmp_path / "out")
    assert {"labels.tif", "probabilities.tif", "polygons.gpkg", "report.json"} <= whole.keys() == found.keys()
    assert [name for name in whole if found[name] != whole[name]] == []


def full_after(monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    """The disk is full when so many parts are in a journal."""
    save = Journal.save

    def saved(self: Journal, name: str, result: bytes) -> None:
        if len(self) == parts:
            raise OutputError("the disk is full")
        save(self, name, result)

    monkeypatch.setattr(Journal, "save", saved)


def test_other_settings_are_refused_by_name(
    refer: Refer, micro: Path, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = trained(tmp_path / "other", micro, seed=2)
    with monkeypatch.context() as patch:
        full_after(patch, 4)
        refer().failed(1, "goes on from here: 4 of")
    left = contents(tmp_path)
    for options, name in (
        (["-t", "a roof"], "sentences"),
        (["--threshold", "0.3"], "threshold"),
        (["--min-score", "0.3"], "min_score"),
        (["--all"], "places"),
        (["--overlap", "16"], "views"),
        (["--model", other], "weights"),
        (["--bounds", *["326427.5", "2781078", "326477.5", "2781123"]], "region"),
        (["--stretch", "0,200"], "stretch"),
        (["--bands", "3,2,1"], "bands"),
        (["--probabilities", "uint8"], "probabilities"),
        (["--min-area", "3"], "min-area"),
        (["--simplify", "1"], "simplify"),
        (["--co", "COMPRESS=LZW"], "creation-options"),
        (["--on-error", "nodata"], "on-error"),
    ):
        refer(*options).failed(2, f"unfinished run lies in {tmp_path / 'out'}, but its {name} was ")
    assert contents(tmp_path).keys() == left.keys(), "what was done is kept"
    before = scene.stat()
    os.utime(scene, (before.st_atime, before.st_mtime - 60))
    refer().failed(2, f"but its {scene} was ")
    assert refer("--no-resume").code == 0
    assert not [name for name in contents(tmp_path / "out") if "journal" in name]


def test_what_is_done_is_not_looked_at_again(refer: Refer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        full_after(patch, 4)
        done = refer()
    total = int(done.err.split("4 of ")[1].split()[0])
    saved, save = [], Journal.save

    def noted(self: Journal, name: str, result: bytes) -> None:
        saved.append(name)
        save(self, name, result)

    monkeypatch.setattr(Journal, "save", noted)
    assert refer().code == 0
    assert sorted(name for name in saved if name.split()[0] == "view") == sorted(f"view {i}" for i in range(4, total))


def test_no_resume_leaves_nothing_behind(refer: Refer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_after(monkeypatch, 4)
    done = refer("--no-resume")
    assert done.code == 1 and "goes on" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["town.tif"]


@pytest.mark.slow
def test_a_cluster_gives_the_same(refer: Refer, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert refer("--all").code == 0
    here = contents(tmp_path / "out")
    done = refer("--all", "--overwrite", "--cluster", "local", "--workers", "2")
    assert done.code == 0, done.err
    assert contents(tmp_path / "out") == here


@needs_signals
def test_many_scenes_one_of_them_damaged(
    command: Command, model: Path, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, maps = tmp_path / "archive", tmp_path / "maps"
    archive.mkdir()
    data = scene.read_bytes()
    (archive / "cut.tif").write_bytes(data[:200])
    for name, height in (("a.tif", 100), ("b.tif", 90)):
        write_raster(archive / name, np.moveaxis(patchwork(height, 170), -1, 0))

    def refer(src: Path, dst: Path, *options: object) -> Outcome:
        return command("refer", src, dst, *SENTENCES, "--model", model, *COMMON, *THRESHOLD, *options)

    def status() -> dict[str, str]:
        listed = json.loads((maps / "batch.json").read_text())["scenes"]
        return {Path(entry["source"]).stem: entry["status"] for entry in listed}

    with monkeypatch.context() as patch:
        patch.setattr(ReferJob, "run", interrupted_when(ReferJob.run, views=4))
        before = signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # shells start background jobs with it ignored
        try:
            done = refer(archive, maps)
        finally:
            signal.signal(signal.SIGINT, before)
        assert done.code == 130 and not (maps / "a" / "labels.tif").exists(), done.err
    done = refer(archive, maps, "--workers", "2")
    assert done.code == 1 and "3 scenes, 1 failed" in done.out, done.err
    assert status() == {"a": "done", "b": "done", "cut": "failed"}
    assert {path.name for path in maps.iterdir()} == {"a", "b", "batch.json"}
    for name in ("a", "b"):
        assert refer(archive / f"{name}.tif", tmp_path / name).code == 0
        assert contents(maps / name) == contents(tmp_path / name)
    refer(archive, maps, "--min-score", "0.3").failed(2, "min_score was 0 and is 0.3 now")
    (archive / "cut.tif").write_bytes(data)
    assert refer(archive / "*.tif", maps).code == 0
    assert status() == {"a": "before", "b": "before", "cut": "done"}


def interrupted_when(run: Callable[..., object], *, views: int) -> Callable[..., object]:
    """`ReferJob.run` with Ctrl-C when so many views are done."""

    def interrupted(self: ReferJob, *, tick: Callable[[float], None], **options: object) -> object:
        done = 0.0

        def count(more: float) -> None:
            nonlocal done
            tick(more)
            done += more
            if done == views:
                os.kill(os.getpid(), signal.SIGINT)
                while True:  # until the main thread has heard of it
                    tick(0)

        return run(self, tick=count, **options)

    return interrupted


def test_impossible_workers(refer: Refer, tmp_path: Path) -> None:
    refer("--workers", "0").failed(2, "At least one worker")
    assert not (tmp_path / "out").exists()
