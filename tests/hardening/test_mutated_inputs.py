"""Two hundred damaged inputs: a result or one sentence, in time, and nothing half-written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hardening.cases import make_case, run_case
from tests.hardening.originals import Original, write_originals
from tests.hardening.runner import Runner

CASES = 200

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Original]:
    return write_originals(tmp_path_factory.mktemp("originals"))


@pytest.fixture(scope="module")
def runner(originals: list[Original], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Warm: what is compiled or imported at first is no part of any case's time."""
    runner = Runner(tmp_path_factory.mktemp("cache"))
    for original in originals:
        if original.name.endswith(("striped.tif", ".ckpt")):
            source, *options = original.options(original.file)
            out = tmp_path_factory.mktemp("warm") / "out"
            assert runner.run(["segment", source, str(out), *options], limit_s=300).code == 0
    yield runner
    runner.close()


@pytest.mark.parametrize("seed", range(CASES))
def test_a_damaged_input(seed: int, originals: list[Original], runner: Runner, tmp_path: Path) -> None:
    case = make_case(seed, originals, tmp_path)
    ran, wrong = run_case(runner, case, tmp_path)
    assert not wrong, f"{case.name}: {'; '.join(wrong)}\n{ran.err[-2000:]}"


def test_whole_inputs_give_results(originals: list[Original], runner: Runner, tmp_path: Path) -> None:
    """The same command lines, undamaged: what is refused above is refused for its damage."""
    for i, original in enumerate(originals):
        source, *options = original.options(original.file)
        ran = runner.run(["segment", source, str(tmp_path / str(i)), *options])
        assert ran.code == 0 and ran.err == "", f"{original.name}: {ran.err}"
