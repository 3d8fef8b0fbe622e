"""Two processes that train together: the gradient of the mean loss, one log, and resuming."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.training.distributed import ALONE, Group, joined, process_device
from earthwords.training.loop import Schedule, train
from earthwords.training.losses import info_nce

SCRIPT = """
import os
import sys
from pathlib import Path
import torch
from earthwords.training.distributed import joined
from earthwords.training.loop import train
from tests.training.test_distributed import SCHEDULE, Noisy, gathered, model
torch.set_num_threads(1)
out = Path(sys.argv[1])
with joined(torch.device("cpu")) as group:
    for folder, stop in (("whole", None), ("parts", 3), ("parts", None)):
        net = model()
        options = {"log_every": 1, "save_every": 2, "stop_at": stop, "group": group}
        for _ in train(net, Noisy(), SCHEDULE, folder=out / folder, **options):
            pass
        torch.save(net.state_dict(), out / f"{folder}-{group.rank}.pt")
    torch.save(gathered(group), out / f"gathered-{group.rank}.pt")
# Without the end of the interpreter: a thread of torch that wants it then aborts the process, once in many runs.
os._exit(0)
"""
SCHEDULE = Schedule(steps=6, lr=0.05, warmup=0, ema=0, weight_decay=0, seed=2)


def gathered(group: Group) -> dict[str, Tensor]:
    """Loss and gradients of a contrast over the rows of all processes: two in the first, three in the second."""
    rng = torch.Generator().manual_seed(1)
    images, texts = (torch.randn(5, 4, generator=rng) for _ in range(2))
    kinds = torch.tensor([0, 1, 2, 0, 4])
    own = slice(None) if group.size == 1 else (slice(0, 2), slice(2, 5))[group.rank]
    net = model()
    scale = nn.Parameter(torch.tensor(2.0))
    net.register_parameter("scale", scale)
    rows = F.normalize(net(images[own]), dim=-1), F.normalize(net(texts[own]), dim=-1)
    image, text, kind = (group.gather(part) for part in (*rows, kinds[own]))
    loss = group.shared(info_nce(image, text, group.common(scale), kind=kind, chunk=2))
    loss.backward()
    group.average_gradients(net)
    return {"loss": loss.detach(), **{name: p.grad for name, p in net.named_parameters() if p.grad is not None}}


class Noisy:
    """Fits y = A x with noise from the generator: every process draws its own."""

    settings = {"task": "noisy"}  # noqa: RUF012

    def draw(self, rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(rng.standard_normal((5, 4)).astype(np.float32))

    def losses(self, model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        return {"fit": F.mse_loss(model(batch), batch[:, :2] - batch[:, 2:])}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))


class Both(Noisy):
    """What the two processes learn from, in one."""

    def draw(self, rng: np.random.Generator) -> Tensor:
        step = self.step = getattr(self, "step", -1) + 1
        parts = [super(Both, self).draw(np.random.default_rng((SCHEDULE.seed, step, rank))) for rank in range(2)]
        return torch.cat(parts)


def test_two_processes_equal_one_with_both_batches(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script), str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, *launch], cwd=root, env=_environment(root), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    net = model()
    for _ in train(net, Both(), SCHEDULE, folder=tmp_path / "one", log_every=1):
        pass
    states = {p.stem: torch.load(p, weights_only=True) for p in tmp_path.glob("*.pt")}
    contrasts = {name: states.pop(name) for name in ("gathered-0", "gathered-1")}
    alone = gathered(ALONE)
    for found in contrasts.values():
        assert found.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5)
    assert states.keys() == {"whole-0", "whole-1", "parts-0", "parts-1"}
    for name, value in net.state_dict().items():
        torch.testing.assert_close(states["whole-0"][name], value, atol=1e-6, rtol=1e-5)
        for other in ("whole-1", "parts-0", "parts-1"):
            assert torch.equal(states["whole-0"][name], states[other][name]), (name, other)
    ours, theirs = (_losses(tmp_path / folder) for folder in ("one", "parts"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def _losses(folder: Path) -> list[float]:
    return [float(row["value"]) for row in csv.DictReader((folder / "log.csv").open()) if row["name"] == "fit"]


def _environment(root: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path]), "OMP_NUM_THREADS": "1"}


def test_alone_nothing_is_joined() -> None:
    with joined(torch.device("cpu")) as group:
        assert group == ALONE and group.leads
        values = torch.ones(3)
        group.average([values])
        assert torch.equal(values, torch.ones(3))
    assert process_device("auto") == "auto" and process_device("cpu") == "cpu"
