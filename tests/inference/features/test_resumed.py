"""Features of a scene, killed anywhere and begun again, by whoever computes: the bytes of a run nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from earthwords.errors import SourceError, UsageError, WindowError
from earthwords.geo.destinations import plan_features
from earthwords.geo.scene import SceneSpec, open_scene
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.features import saved_strips
from earthwords.inference.features.job import FeatureJob
from earthwords.inference.features.pca import fit_components
from earthwords.inference.features.request import FeatureRequest
from earthwords.inference.features.strips import SceneFeatures, sample_tokens
from earthwords.inference.features.upsampler import Upsampler
from earthwords.inference.features.window_store import WindowStore
from earthwords.jobs.executor import Executor
from earthwords.jobs.journal import journal_beside
from earthwords.jobs.processes import Processes
from earthwords.presets import SEGMENT_PRESETS
from earthwords.training.implicit import REDUCED
from earthwords.training.implicit_settings import implicit_fit
from tests.conftest import write_raster
from tests.micro import patchwork
from tests.verbs import contents

ROWS, COLS, WINDOWS = 250, 140, 28
"""Of the scene; windows in 7 rows of 4."""
BOUNDS = (326_417.5 + 0.5 * 9, 2_781_133.0 - 0.5 * 247, 326_417.5 + 0.5 * 137, 2_781_133.0 - 0.5 * 5)
"""Rows 5 to 247 and columns 9 to 137 of the scene."""
QUICK = replace(REDUCED, steps=2, views=4, views_per_step=2, max_pad=4, dim=4, pca_views=4, frequencies=4, batch=4)
SMALL = replace(SEGMENT_PRESETS["tiny"], tile_size=64, overlap=32)


@pytest.fixture(scope="module")
def scene_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing was observed in a corner."""
    data = np.moveaxis(patchwork(ROWS, COLS), -1, 0).copy()
    data[:, 150:, 90:] = 0
    return write_raster(tmp_path_factory.mktemp("scenes") / "scene.tif", data, nodata=0)


@pytest.fixture(scope="module")
def bilinear(micro: Path) -> Upsampler:
    return Upsampler.from_preset("bilinear", preset=SMALL, model=micro, device="cpu")


@pytest.fixture(scope="module")
def fitted(micro: Path) -> Upsampler:
    return Upsampler.from_preset("featup-implicit", preset=SMALL, model=micro, fit=implicit_fit(QUICK), device="cpu")


@dataclass
class Killed:
    """A tick that ends the run after so many windows."""

    after: float
    done: float = 0.0
    skipped: list[float] = field(default_factory=list)

    def __call__(self, windows: float) -> None:
        self.done += windows
        if self.done >= self.after:
            raise KeyboardInterrupt


Run = Callable[..., Killed]


@pytest.fixture
def run(scene_file: Path) -> Run:
    """`run(upsampler, dst, after=...)`: the work on the scene, which ends after so many windows."""

    def work(
        upsampler: Upsampler,
        dst: Path,
        *,
        after: float = float("inf"),
        executor: Executor | None = None,
        execution: ExecutionOptions | None = None,
        source: Path = scene_file,
        spec: dict[str, Any] | None = None,
        **asked: Any,
    ) -> Killed:
        request = FeatureRequest(spec=SceneSpec(source=str(source), **(spec or {})), **asked)
        tick = Killed(after)
        with request.spec.open() as opened:
            job = FeatureJob(
                upsampler=upsampler,
                scene=request.at_working_gsd(upsampler, opened),
                outputs=plan_features(dst, components=request.components is not None, overwrite=False),
                request=request,
                execution=execution or ExecutionOptions(),
                executor=executor,
            )
            job.run(tick=tick, skip=tick.skipped.append)
        return tick

    return work


def journal(dst: Path) -> Path:
    return journal_beside(dst / "features.tif")


CASES: dict[str, dict[str, Any]] = {
    "components of a part": {"components": 5, "spec": {"bounds": BOUNDS}},
    "all channels, coarser": {"components": None, "spec": {"gsd": 0.6}},
    "finer": {"components": 1, "spec": {"gsd": 0.4}},
}


@pytest.mark.parametrize("case", CASES)
def test_killed_after_any_row_of_windows(bilinear: Upsampler, run: Run, tmp_path: Path, case: str) -> None:
    asked = CASES[case]
    whole = int(run(bilinear, tmp_path / "whole", **asked).done)
    wanted = contents(tmp_path / "whole")
    for i, after in enumerate(np.linspace(1, whole, 4).astype(int).tolist()):
        out = tmp_path / str(i)
        with pytest.raises(KeyboardInterrupt) as caught:
            run(bilinear, out, after=after, **asked)
        told = getattr(caught.value, "__notes__", [])
        assert journal(out).exists() == bool(told)
        second = run(bilinear, out, **asked)
        assert contents(out) == wanted
        assert sum(second.skipped) + second.done == whole
        if told:
            assert told == [f"The same command goes on from here: {sum(second.skipped)} of {whole} windows are done."]
    assert told, "the last one had saved much"


def test_killed_again_and_again(bilinear: Upsampler, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With files of a strip each, and every run a little longer than what it computes again."""
    monkeypatch.setattr(saved_strips, "MOST_BYTES", 1)
    asked = CASES["all channels, coarser"]
    run(bilinear, tmp_path / "whole", **asked)
    for attempt in range(20):
        try:
            run(bilinear, tmp_path / "out", after=14, **asked)
        except KeyboardInterrupt:
            assert attempt < 10
        else:
            break
    assert attempt > 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("gsd", [None, 0.6, 0.4])
def test_strips_from_any_row_are_those_of_the_whole(bilinear: Upsampler, scene_file: Path, gsd: float | None) -> None:
    with open_scene(scene_file, gsd=gsd, bounds=BOUNDS) as scene:
        components = fit_components(sample_tokens(bilinear, scene), 2)
        features = SceneFeatures(upsampler=bilinear, scene=scene, components=components)
        whole = list(features.strips())
        assert len(whole) > 3
        for i in range(1, len(whole), 2):
            rest = list(features.strips(first=whole[i].row))
            assert [strip.row for strip in rest] == [strip.row for strip in whole[i:]]
            for found, wanted in zip(rest, whole[i:], strict=True):
                assert found.values.tobytes() == wanted.values.tobytes()


def test_fits_are_kept_window_by_window(fitted: Upsampler, run: Run, tmp_path: Path) -> None:
    """A fit takes a minute; nothing but the one at work is lost, and files of finished rows go."""
    asked: dict[str, Any] = {"components": 2}
    whole = run(fitted, tmp_path / "whole", **asked)
    assert round(whole.done) == WINDOWS
    out = tmp_path / "out"
    for after in (2.5, 12):
        with pytest.raises(KeyboardInterrupt):
            run(fitted, out, after=after, **asked)
    kept = sorted(path.name for path in journal(out).glob("window-*"))
    assert kept[0].startswith("window-64-") and len(kept) >= 5, "those of the first rows are needed no more"
    last = run(fitted, out, **asked)
    assert last.skipped == [8 + len(kept)] and round(sum(last.skipped) + last.done) == WINDOWS
    assert contents(out) == contents(tmp_path / "whole")


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    executor = Processes(2)
    yield executor
    executor.close()


TWO = ExecutionOptions(workers=2)


class Killing(Executor):
    """Two processes, one of which dies after the first task."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.workers = processes.workers
        self.killed = 0

    def run(self, *args: Any, **options: Any) -> Iterator[Any]:
        for done in self.processes.run(*args, **options):
            pool = self.processes._pool
            if hasattr(signal, "SIGKILL") and not self.killed and pool is not None:
                self.killed = sorted(pool._processes)[0]
                os.kill(self.killed, signal.SIGKILL)
            yield done

    def close(self) -> None:
        self.processes.close()


def test_two_processes_go_on(bilinear: Upsampler, run: Run, processes: Processes, tmp_path: Path) -> None:
    asked = CASES["all channels, coarser"]
    run(bilinear, tmp_path / "whole", **asked)
    wanted = contents(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(bilinear, tmp_path / "out", after=14, **asked)
    assert run(bilinear, tmp_path / "out", executor=processes, execution=TWO, **asked).skipped[0] > 0
    assert contents(tmp_path / "out") == wanted
    killing = Killing(processes)
    with pytest.raises(KeyboardInterrupt):
        run(bilinear, tmp_path / "there", executor=killing, execution=TWO, after=14, **asked)
    assert killing.killed or not hasattr(signal, "SIGKILL")
    assert run(bilinear, tmp_path / "there", **asked).skipped[0] > 0
    assert contents(tmp_path / "there") == wanted


def test_two_processes_fit_as_this_one_does(fitted: Upsampler, run: Run, processes: Processes, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"components": 2, "spec": {"bounds": (*BOUNDS[:2], BOUNDS[0] + 31, BOUNDS[1] + 40)}}
    run(fitted, tmp_path / "whole", **asked)
    with pytest.raises(KeyboardInterrupt):
        run(fitted, tmp_path / "out", executor=processes, execution=TWO, after=4, **asked)
    assert len(list(journal(tmp_path / "out").glob("window-*"))) >= 4
    assert run(fitted, tmp_path / "out", executor=processes, execution=TWO, **asked).skipped[0] >= 4
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Two of its pieces of 256 x 256 pixels cannot be read."""
    data = np.moveaxis(patchwork(600, 300), -1, 0)
    blocks = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate", "interleave": "pixel"}
    path = write_raster(tmp_path / "damaged.tif", data, **blocks)
    with rasterio.open(path) as dataset:
        places = [int(dataset.get_tag_item(f"BLOCK_OFFSET_{name}", "TIFF", bidx=1)) for name in ("2_0", "0_3")]
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(b"\xff" * 40)
    return path


def test_what_is_left_out_is_the_same_whoever_computes(
    bilinear: Upsampler, run: Run, processes: Processes, damaged: Path, tmp_path: Path
) -> None:
    coarse = Upsampler(
        replace(bilinear.preset, tile_size=128, overlap=64), bilinear.backbone, "bilinear", module=bilinear.module
    )
    asked: dict[str, Any] = {"source": damaged, "on_error": "nodata"}
    run(coarse, tmp_path / "whole", **asked)
    report = json.loads((tmp_path / "whole" / "report.json").read_text(encoding="utf-8"))
    assert [failure.partition(" of ")[0] for failure in report["failures"]] == [
        "rows 0..256, columns 256..300", "rows 256..512, columns 0..256"
    ]  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        run(coarse, tmp_path / "out", after=15, executor=processes, execution=TWO, **asked)
    run(coarse, tmp_path / "out", executor=processes, execution=TWO, **asked)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    with pytest.raises(WindowError, match="--on-error nodata"):
        run(coarse, tmp_path / "stopped", source=damaged, executor=processes, execution=TWO)


@pytest.mark.slow
def test_a_cluster(bilinear: Upsampler, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    from earthwords.jobs.ray_cluster import Cluster

    run(bilinear, tmp_path / "whole")
    executor = Cluster("local", 2)
    try:
        run(bilinear, tmp_path / "out", executor=executor, execution=ExecutionOptions(workers=2, cluster="local"))
    finally:
        executor.close()
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_other_settings_are_refused_by_name(
    bilinear: Upsampler, fitted: Upsampler, run: Run, scene_file: Path, tmp_path: Path
) -> None:
    source = tmp_path / "scene.tif"
    source.write_bytes(scene_file.read_bytes())
    run(bilinear, tmp_path / "other", source=source, components=2)
    pca = tmp_path / "other" / "features.pca.safetensors"
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(bilinear, out, source=source, after=12)
    before = {path.name: path.read_bytes() for path in journal(out).iterdir()}
    others: dict[str, Any] = {
        "components was 3 and is 2 now": {"components": 2},
        "pca was none and is": {"pca": pca, "components": 2},
        "gsd was": {"spec": {"gsd": 1.0}},
        "bands was": {"spec": {"bands": (3, 2, 1)}},
        "region was": {"spec": {"bounds": BOUNDS}},
        "stretch was": {"spec": {"stretch": "10,200"}},
        "mask was not given": {"spec": {"mask": f"{source}:1-20"}},
        "on-error was stop and is nodata now": {"on_error": "nodata"},
        "creation-options was": {"creation_options": {"COMPRESS": "ZSTD"}},
    }
    told = {}
    for sentence, asked in others.items():
        with pytest.raises(UsageError, match="begin anew with --no-resume") as caught:
            run(bilinear, out, source=source, **asked)
        told[sentence] = str(caught.value)
    named = {sentence: sentence.split(" was")[0] for sentence in others}
    named["pca was none and is"] = "components"  # both differ
    assert [s for s in told if f"its {named[s]} was" not in told[s]] == []
    with pytest.raises(UsageError, match=r"its [a-z-]+ was "):
        run(fitted, out, source=source)
    blended = Upsampler(replace(bilinear.preset, blend="linear"), bilinear.backbone, "bilinear", module=bilinear.module)
    with pytest.raises(UsageError, match="its blend was tukey and is linear now"):
        run(blended, out, source=source)
    assert {path.name: path.read_bytes() for path in journal(out).iterdir()} == before, "a refused run spoils nothing"
    os.utime(source, ns=(1, 1))
    with pytest.raises(UsageError, match=r"scene.tif was \d+ bytes, changed \d+ and is \d+ bytes, changed 1 now"):
        run(bilinear, out, source=source)
    anew = run(bilinear, out, source=source, components=2, execution=ExecutionOptions(resume=False))
    assert anew.skipped == [] and anew.done == WINDOWS
    assert not journal(out).exists()


def test_other_weights_in_the_same_file_are_refused(bilinear: Upsampler, run: Run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(bilinear, tmp_path / "out", after=12)
    weights = next(iter(bilinear.backbone.model.vision_model.parameters()))
    before = weights.detach().clone()
    try:
        weights.data[..., 0] += 1
        with pytest.raises(UsageError, match=r"its weights was .*, hash"):
            run(bilinear, tmp_path / "out")
    finally:
        weights.data.copy_(before)


def test_without_resume_nothing_is_left(bilinear: Upsampler, run: Run, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(bilinear, tmp_path / "new" / "out", after=12, execution=ExecutionOptions(resume=False))
    with pytest.raises(KeyboardInterrupt):
        run(bilinear, tmp_path / "new" / "out", after=2)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_kept_of_a_scene_that_is_empty(
    bilinear: Upsampler, run: Run, make_scene: Callable[..., Path], tmp_path: Path
) -> None:
    data = np.moveaxis(patchwork(130, 190), -1, 0).copy()
    data[:, :, 60:] = 0
    part = (326_417.5 + 50, 2_781_133.0 - 60, 326_417.5 + 90, 2_781_133.0)
    source = make_scene(data, nodata=0)
    for components in (2, None):
        with pytest.raises(SourceError, match="no valid pixel"):
            run(bilinear, tmp_path / "out", source=source, components=components, spec={"bounds": part})
        assert not (tmp_path / "out").exists()


def test_what_the_journal_takes_is_bounded_by_the_output(
    bilinear: Upsampler, fitted: Upsampler, run: Run, tmp_path: Path
) -> None:
    for name, upsampler, windows in (("bilinear", bilinear, 0), ("fitted", fitted, 3)):
        with pytest.raises(KeyboardInterrupt):
            run(upsampler, tmp_path / name, after=WINDOWS - 0.1, components=4)
        taken = sum(path.stat().st_size for path in journal(tmp_path / name).iterdir())
        rows = ROWS * COLS * 4 * (4 + 3)
        a_row_of_windows = 4 * 64 * 64 * 4 * (4 + 3)
        assert taken < rows + windows * a_row_of_windows + 2**14
        assert not [p for p in journal(tmp_path / name).iterdir() if p.read_bytes()[:1] == b"\x80"], "no pickle"


def test_a_window_of_other_channels_is_none(tmp_path: Path, fitted: Upsampler, scene_file: Path) -> None:
    import torch

    with open_scene(scene_file) as scene:
        places = fitted.plan(scene).windows[:2]
    store = WindowStore(tmp_path, channels=3)
    store.save(places, [torch.ones(3, 64, 64), None])
    assert store.has(places[:1]) and not store.has(places) and store.count(places) == 1
    assert not WindowStore(tmp_path, channels=4).has(places[:1])
    (found,) = store.read(places[:1], torch.device("cpu"))
    assert found.shape == (3, 64, 64)
    store.forget_all_but(places[1:])
    assert list(tmp_path.iterdir()) == []
