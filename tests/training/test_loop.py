"""The loop: resuming is exact, settings are guarded, learning happens."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.training.loop import Progress, Schedule, train


class Line:
    """Fits y = A x with batches from the generator."""

    target = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    settings: ClassVar[dict[str, str]] = {"line": "steep"}

    def draw(self, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(rng.standard_normal((16, 3)).astype(np.float32))

    def losses(self, model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        return {"fit": F.mse_loss(model(batch), batch @ self.target.T)}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 2))


SCHEDULE = Schedule(steps=40, lr=1e-2, warmup=5, ema=0.9, seed=3)


def run(net: nn.Module, folder: Path, schedule: Schedule = SCHEDULE, **options: object) -> list[Progress]:
    return list(train(net, Line(), schedule, folder=folder, log_every=10, save_every=7, **options))  # type: ignore[arg-type]


def test_resuming_equals_an_uninterrupted_run_bit_for_bit(tmp_path: Path) -> None:
    whole, parts = model(), model()
    run(whole, tmp_path / "whole")
    run(parts, tmp_path / "parts", stop_at=9)
    fresh = model()
    run(fresh, tmp_path / "parts", stop_at=26)
    last = model()
    run(last, tmp_path / "parts")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, last.state_dict()[name]), name


def test_a_crash_between_checkpoints_is_exact_too(tmp_path: Path) -> None:
    whole, parts = model(), model()
    run(whole, tmp_path / "whole")
    for progress in train(parts, Line(), SCHEDULE, folder=tmp_path / "parts", log_every=1, save_every=7):
        if progress.step == 18:
            break  # the last checkpoint stands at 14
    last = model()
    run(last, tmp_path / "parts")
    assert all(torch.equal(v, last.state_dict()[n]) for n, v in whole.state_dict().items())


def test_it_learns_and_reports(tmp_path: Path) -> None:
    net = model()
    seen = run(net, tmp_path, replace(SCHEDULE, steps=300), validate=lambda m: {"norm": 1.0}, validate_every=100)
    assert seen[-1].values["fit"] < 0.2 * seen[0].values["fit"]
    assert [p.step for p in seen if "norm" in p.values] == [100, 200, 300]
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert {r["name"] for r in rows} >= {"fit", "lr", "norm", "cpu_seconds"}
    lr = [float(r["value"]) for r in rows if r["name"] == "lr"]
    assert lr[-1] < 1e-4 < max(lr) <= 1e-2


def test_validation_sees_the_average_and_leaves_the_weights_alone(tmp_path: Path) -> None:
    inside: list[Tensor] = []

    def validate(net: nn.Module) -> dict[str, float]:
        assert not net.training
        inside.append(net[0].weight.detach().clone())  # type: ignore[index]
        return {}

    watched, plain = model(), model()
    run(watched, tmp_path / "a", validate=validate, validate_every=10)
    run(plain, tmp_path / "b")
    assert torch.equal(watched[0].weight, plain[0].weight)  # type: ignore[index]
    assert torch.equal(inside[-1], watched[0].weight), "what is delivered is the average"  # type: ignore[index]


@pytest.mark.parametrize("change", [{"lr": 2e-2}, {"seed": 4}, {"steps": 50}])
def test_other_settings_are_refused(change: dict[str, float], tmp_path: Path) -> None:
    run(model(), tmp_path, stop_at=9)
    with pytest.raises(UsageError, match=f"was trained with {next(iter(change))}"):
        run(model(), tmp_path, replace(SCHEDULE, **change))


def test_another_task_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(model(), tmp_path, stop_at=9)
    monkeypatch.setattr(Line, "settings", {"line": "flat"})
    with pytest.raises(UsageError, match="was trained with line steep, not flat"):
        run(model(), tmp_path)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    run(model(), tmp_path, stop_at=9)
    with pytest.raises(UsageError, match="another architecture"):
        run(nn.Linear(3, 2), tmp_path)


@pytest.mark.parametrize("damage", ["cut", "text", "other"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, damage: str) -> None:
    run(model(), tmp_path, stop_at=9)
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    if damage == "other":
        torch.save({"weights": torch.ones(3)}, path)
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"not a checkpoint")
    with pytest.raises(UsageError, match="not a checkpoint of this command, or is damaged"):
        run(model(), tmp_path)


def test_no_resume_begins_again(tmp_path: Path) -> None:
    run(model(), tmp_path, stop_at=9)
    assert run(model(), tmp_path, resume=False)[0].step == 10


def test_the_log_tells_every_step_once(tmp_path: Path) -> None:
    def steps() -> list[int]:
        return [int(row["step"]) for row in csv.DictReader((tmp_path / "log.csv").open()) if row["name"] == "fit"]

    for progress in train(model(), Line(), SCHEDULE, folder=tmp_path, log_every=1, save_every=7):
        if progress.step == 18:
            break
    run(model(), tmp_path)
    assert steps() == [*range(1, 15), 20, 30, 40], "the last checkpoint stood at 14"
    run(model(), tmp_path, resume=False)
    assert steps() == [10, 20, 30, 40]


def figures(folder: Path) -> list[tuple[int, str, str]]:
    """What the log says that does not depend on the clock."""
    with (folder / "log.csv").open(newline="") as file:
        rows = [(int(row["step"]), row["name"], row["value"]) for row in csv.DictReader(file)]
    return [row for row in rows if row[1] not in ("cpu_seconds", "steps_per_s")]


@pytest.mark.parametrize("step", [8, 14, 20, 33])
def test_the_log_of_a_run_that_went_on_is_that_of_a_whole_one(tmp_path: Path, step: int) -> None:
    """Means of losses too, whose steps lie on both sides of the checkpoint."""
    run(model(), tmp_path / "whole")
    drawn = iter(range(10**6))

    class Dying(Line):
        def draw(self, rng: np.random.Generator) -> Tensor:
            if next(drawn) == step:
                raise KeyboardInterrupt
            return super().draw(rng)

    with pytest.raises(KeyboardInterrupt):
        list(train(model(), Dying(), SCHEDULE, folder=tmp_path / "parts", log_every=10, save_every=7))
    run(model(), tmp_path / "parts")
    assert figures(tmp_path / "parts") == figures(tmp_path / "whole") and len(figures(tmp_path / "whole")) == 8


@pytest.mark.parametrize(
    ("torn", "kept"),
    [
        (lambda log: log[:-4], 20),
        (lambda log: log[:-2] + b"\0\0", 20),
        (lambda log: log + b"30,fi", 20),
        (lambda log: log + b"\xff\xfe" * 9, 20),
        (lambda log: log.replace(b"\n", b"\r\n"), 20),
        (lambda log: log.replace(b"20,fit", b"99,fit"), 10),
        (lambda log: b"", 0),
        (lambda log: b"\0" * 50, 0),
        (lambda log: log.split(b"\n")[0], 0),
        (None, 0),
    ],
)
def test_a_torn_log_is_mended(tmp_path: Path, torn: Callable[[bytes], bytes] | None, kept: int) -> None:
    """To its whole rows, with those of the steps that follow."""
    run(model(), tmp_path, stop_at=20)
    path = tmp_path / "log.csv"
    if torn is None:
        path.unlink()
    else:
        path.write_bytes(torn(path.read_bytes()))
    run(model(), tmp_path)
    steps = [step for step, name, _ in figures(tmp_path) if name == "fit"]
    assert steps == [step for step in (10, 20, 30, 40) if step <= kept or step > 20]
    assert path.read_bytes().startswith(b"step,name,value\n") and b"\r" not in path.read_bytes()


def test_unknown_precision() -> None:
    with pytest.raises(UsageError, match=r"fp8.*amp_bf16, fp32"):
        Schedule(steps=1, precision="fp8")


def test_bfloat16_trains(tmp_path: Path) -> None:
    seen = run(model(), tmp_path, replace(SCHEDULE, steps=200, precision="amp_bf16"))
    assert seen[-1].values["fit"] < 0.5 * seen[0].values["fit"]


def test_nadam_with_a_constant_rate_and_small_first_steps(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, optimizer="nadam", decays=False, warmup=0, first_steps=3, first_clip_norm=0.0, ema=0)
    schedule = replace(schedule, weight_decay=0.0)
    assert [schedule.rate(step) for step in (0, 20, 39)] == [1e-2] * 3
    net, before = model(), model().state_dict()
    run(net, tmp_path, schedule, stop_at=3)
    weights = dict(net.named_parameters())
    assert all(torch.equal(weights[name], before[name]) for name in weights), "a gradient of norm 0 moves nothing"
    run(net, tmp_path, schedule)
    assert any((weights[name] - before[name]).abs().max() > 0.1 for name in weights)
    with pytest.raises(UsageError, match=r"sgd.*adamw"):
        Schedule(steps=1, optimizer="sgd")
