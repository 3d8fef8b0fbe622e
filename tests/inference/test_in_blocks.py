"""A scene in blocks gives the bytes of the scene in one go, interrupted or not, whoever computes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from earthwords.errors import UsageError
from earthwords.geo.destinations import plan_outputs
from earthwords.geo.scene import SceneSpec
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.segment import memory
from earthwords.inference.segment import segmenter as segmenter_module
from earthwords.inference.segment.job import SceneJob
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows import blocks as blocks_module
from earthwords.inference.windows.blocks import Blocks
from earthwords.inference.windows.outputs import OutputOptions
from earthwords.jobs.executor import Executor
from earthwords.jobs.journal import journal_beside
from earthwords.jobs.processes import Processes
from earthwords.reports import SceneReport
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Window
from tests.conftest import HEIGHT, WIDTH, write_raster
from tests.micro import patchwork

WORDS = ["building,roof", "road", "water", "trees"]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs have the same date."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1760000000")


def job(segmenter: Segmenter, scene: Any, folder: Path, **changes: Any) -> SceneJob:
    return SceneJob(
        segmenter=segmenter,
        scene=scene,
        request=SegmentRequest(
            vocabulary=parse_classes(WORDS),
            spec=SceneSpec(source=scene.source, gsd=changes.pop("gsd", None)),
            options=OutputOptions(probabilities="uint8", overwrite=True),
            threshold=changes.pop("threshold", None),
        ),
        outputs=plan_outputs(folder, probabilities=True, overwrite=True),
        **changes,
    )


def run(
    segmenter: Segmenter,
    source: Path,
    folder: Path,
    *,
    gsd: float | None = None,
    calls: Mapping[str, Any] = {},
    **changes: Any,
) -> SceneReport:
    with segmenter.open(source, gsd=gsd) as scene:
        return job(segmenter, scene, folder, gsd=gsd, **changes).run(**calls)


def contents(folder: Path) -> dict[str, bytes]:
    """All files; of the report what does not depend on the clock and on the place."""
    found = {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    report = json.loads(found["report.json"])
    kept = {key: value for key, value in report.items() if key not in ("seconds", "outputs")}
    return {**found, "report.json": json.dumps(kept).encode()}


@pytest.fixture
def bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 32 rows."""
    monkeypatch.setattr(blocks_module, "PIXELS", 32 * WIDTH)


@pytest.mark.parametrize("gsd", [None, 0.8])
def test_bands_of_any_height(
    segmenter: Segmenter, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gsd: float | None
) -> None:
    run(segmenter, scene_file, tmp_path / "whole", gsd=gsd)
    wanted = contents(tmp_path / "whole")
    for rows in (32, 96):
        monkeypatch.setattr(blocks_module, "PIXELS", rows * WIDTH)
        run(segmenter, scene_file, tmp_path / str(rows), gsd=gsd)
        assert contents(tmp_path / str(rows)) == wanted
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")], "the journal is gone"


def test_columns_of_any_width(
    segmenter: Segmenter, scene_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bands: None
) -> None:
    for module in (segmenter_module, blocks_module, memory):
        monkeypatch.setattr(module, "CELL_COLS", 64)
    run(segmenter, scene_file, tmp_path / "wide")
    for cols in (64, 128):
        region = Window(row=0, col=0, height=HEIGHT, width=WIDTH)
        cut = Blocks(region=region, rows=64, cols=cols)
        monkeypatch.setattr(SceneJob, "blocks", lambda self, cut=cut: cut)
        run(segmenter, scene_file, tmp_path / str(cols))
        assert contents(tmp_path / str(cols)) == contents(tmp_path / "wide")


def test_no_seams_between_blocks(segmenter: Segmenter, scene_file: Path, tmp_path: Path, bands: None) -> None:
    """In windows as large as the scene the border of a block is a row like any other."""
    one = Segmenter(replace(segmenter.preset, tile_size=256, overlap=0), segmenter.encoder)
    run(one, scene_file, tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "labels.tif") as dataset:
        labels = dataset.read(1)
    truth = one.predict(scene_file, WORDS)
    for border in range(32, HEIGHT, 32):
        np.testing.assert_array_equal(labels[border - 4 : border + 4], truth.labels[border - 4 : border + 4])
    np.testing.assert_array_equal(labels, truth.labels)


def test_an_interrupted_run_goes_on(segmenter: Segmenter, scene_file: Path, tmp_path: Path, bands: None) -> None:
    run(segmenter, scene_file, tmp_path / "whole")
    done = {"first": 0, "then": 0, "skipped": 0}

    def interrupt(windows: int) -> None:
        done["first"] += windows
        if done["first"] >= 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run(segmenter, scene_file, tmp_path / "out", calls={"tick": interrupt})
    assert caught.value.__notes__ == ["The same command goes on from here: 2 of 5 blocks are done."]
    journal = journal_beside(tmp_path / "out" / "labels.tif")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [journal.name]

    def count(kind: str) -> Callable[[int], None]:
        return lambda windows: done.__setitem__(kind, done[kind] + windows)

    run(segmenter, scene_file, tmp_path / "out", calls={"tick": count("then"), "skip": count("skipped")})
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    with segmenter.open(scene_file) as scene:
        assert done["then"] + done["skipped"] == len(segmenter.plan(scene))
    assert done["skipped"] > 0


def test_without_resume_nothing_is_left(segmenter: Segmenter, scene_file: Path, tmp_path: Path, bands: None) -> None:
    def interrupt(windows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            segmenter,
            scene_file,
            tmp_path / "new" / "out",
            calls={"tick": interrupt},
            execution=ExecutionOptions(resume=False),
        )
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt):
        run(segmenter, scene_file, tmp_path / "new" / "out", calls={"tick": interrupt})
    assert list(tmp_path.iterdir()) == [], "nor where no block was done"


def test_other_settings_or_another_source_are_refused(
    segmenter: Segmenter, scene_file: Path, tmp_path: Path, bands: None
) -> None:
    source = tmp_path / "scene.tif"
    source.write_bytes(scene_file.read_bytes())
    ticks = iter(range(100))

    def interrupt(windows: int) -> None:
        if next(ticks) == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(segmenter, source, tmp_path / "out", calls={"tick": interrupt})
    before = contents_of_journal(tmp_path)
    with pytest.raises(UsageError, match=r"its threshold was 0 and is 0\.5 now"):
        run(segmenter, source, tmp_path / "out", threshold=0.5)
    blended = Segmenter(replace(segmenter.preset, blend="linear"), segmenter.encoder)
    with pytest.raises(UsageError, match="its blend was mean and is linear now"):
        run(blended, source, tmp_path / "out")
    os.utime(source, ns=(1, 1))
    with pytest.raises(UsageError, match=r"scene.tif was \d+ bytes, changed \d+ and is \d+ bytes, changed 1 now"):
        run(segmenter, source, tmp_path / "out")
    assert contents_of_journal(tmp_path) == before, "a refused run spoils nothing"
    run(segmenter, source, tmp_path / "out", execution=ExecutionOptions(resume=False), threshold=0.5)
    assert (tmp_path / "out" / "report.json").exists()


def contents_of_journal(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.parent.name.endswith(".journal")}


@pytest.fixture(scope="module")
def wide_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three blocks of 1,024 columns."""
    data = np.moveaxis(patchwork(150, 2100), -1, 0)
    return write_raster(tmp_path_factory.mktemp("wide") / "wide.tif", data)


@pytest.fixture(scope="module")
def wanted(segmenter: Segmenter, wide_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of it."""
    folder = tmp_path_factory.mktemp("one") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1760000000")
        run(segmenter, wide_file, folder)
    return contents(folder)


class Killing:
    """An executor that loses a worker after its first block."""

    def __init__(self, executor: Executor, pids: Callable[[], list[int]]) -> None:
        self.executor, self.pids = executor, pids
        self.killed: list[int] = []

    def compute(self, work: Any, wanted: set[int], tick: Any) -> Iterator[Any]:
        for done in self.executor.compute(work, wanted, tick):
            if not self.killed:
                self.killed = self.pids()[:1]
                os.kill(self.killed[0], signal.SIGKILL)
            yield done


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed another way there")
def test_processes_one_of_them_killed(
    segmenter: Segmenter, wide_file: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    executor = Processes(2, preload=["earthwords.inference.segment.block"])

    def pids() -> list[int]:
        assert executor._pool is not None
        return sorted(executor._pool._processes)

    killing = Killing(executor, pids)
    try:
        run(segmenter, wide_file, tmp_path / "out", executor=killing, execution=ExecutionOptions(workers=2))
    finally:
        executor.close()
    assert killing.killed
    assert contents(tmp_path / "out") == wanted


def test_a_failure_in_a_process_comes_through(
    segmenter: Segmenter, tmp_path: Path, wide_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker opens a source that is not there."""
    executor = Processes(2, preload=["earthwords.inference.segment.block"])
    with segmenter.open(wide_file) as scene:
        whole = job(segmenter, scene, tmp_path / "out", executor=executor, execution=ExecutionOptions(workers=2))
        broken = replace(
            whole,
            request=whole.request.of(str(tmp_path / "gone.tif")),
        )
        try:
            with pytest.raises(Exception, match=r"gone\.tif does not exist"):
                broken.run()
        finally:
            executor.close()
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed another way there")
def test_a_cluster_one_actor_killed(
    segmenter: Segmenter, wide_file: Path, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    from earthwords.jobs.ray_cluster import Cluster

    executor = Cluster("local", 2)
    killing = Killing(executor, executor.pids)
    try:
        run(
            segmenter,
            wide_file,
            tmp_path / "out",
            executor=killing,
            execution=ExecutionOptions(workers=2, cluster="local"),
        )
    finally:
        executor.close()
    assert killing.killed
    assert contents(tmp_path / "out") == wanted
