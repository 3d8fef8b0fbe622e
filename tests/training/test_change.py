"""A network for change learns what its pairs show, and comes back from its folder as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from earthwords.data.change.fakes import make_fake_change
from earthwords.data.change.pairs import find_pairs
from earthwords.errors import UsageError, WeightsError
from earthwords.models.change.card import WEIGHTS_FILE
from earthwords.models.change.folder import load_network, make_network, store_network
from earthwords.models.change.network import TUNINGS, ChangeNetwork, ChangeSettings
from earthwords.models.change.windows import change_probability, starts
from earthwords.models.weights.checkpoint import read_state
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.models.weights.table import load_clip
from earthwords.tasks.train_change import F1, HeldOutPairs, train_change
from earthwords.training.heads.change import ChangeBatch, ChangeObjective, ChangeTask, change_loss
from tests.micro import micro_clip, patchwork, write_micro

CPU = torch.device("cpu")


def shaken(network: ChangeNetwork) -> ChangeNetwork:
    """With everything that learns, and the statistics of norms, away from where they began."""
    torch.manual_seed(8)
    state = network.state_dict()
    for name in network.learned:
        if state[name].is_floating_point():
            state[name].add_(0.1 * torch.rand_like(state[name]))
    return network.eval()


@pytest.mark.parametrize("tuning", TUNINGS)
def test_a_network_comes_back_from_its_folder(tuning: str, tmp_path: Path) -> None:
    micro = write_micro(tmp_path / "micro")
    backbone = load_clip(str(micro))
    base = tower_hash(backbone, "vision")
    network = shaken(make_network(ChangeSettings(tuning=tuning, width=8), backbone, seed=2))
    store_network(network, tmp_path / "net", encoder=str(micro), base=base, threshold=0.35, notes={})
    back, threshold = load_network(tmp_path / "net", device=CPU, offline=True)
    before, after = torch.rand(2, 2, 3, 48, 80)
    with torch.inference_mode():
        assert torch.equal(network.probability(before, after), back.probability(before, after))
    assert threshold == 0.35
    stored = read_state(tmp_path / "net" / WEIGHTS_FILE)
    assert any(name.startswith("backbone.") for name in stored) is (tuning != "frozen")


def test_the_encoder_stays_but_for_what_learns() -> None:
    for tuning, moving in {"frozen": False, "lora": True, "all": True}.items():
        network = make_network(ChangeSettings(tuning=tuning, width=8), micro_clip())
        own = {name for name, p in network.named_parameters() if p.requires_grad and name.startswith("backbone.")}
        assert bool(own) is moving
        assert all("lora" in name for name in own) or tuning == "all"
        assert not any("text_model" in name for name in own)
        network.train()
        norms = [m for m in network.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert norms and not any(norm.training for norm in norms) and network.decoder.training


def test_a_step_encodes_the_dates_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distance of covariances is that of the very features that decide, with their dropout."""
    network = make_network(ChangeSettings(tuning="lora", width=8), micro_clip()).train()
    encode, seen = network.backbone.encode_levels, list[list[torch.Tensor]]()

    def encoded(pixels: torch.Tensor) -> list[torch.Tensor]:
        seen.append(encode(pixels))
        return seen[-1]

    monkeypatch.setattr(network.backbone, "encode_levels", encoded)
    before, after = torch.rand(2, 3, 3, 48, 80)
    batch = ChangeBatch(before=before, after=after, target=(torch.rand(3, 48, 80) > 0.7).long())
    losses = ChangeTask([], ChangeObjective(coral=0.5), settings={}).losses(network, batch)
    assert len(seen) == 1 and losses["ce"].requires_grad
    first, second = (np.moveaxis(x.detach().numpy(), 1, 0).reshape(x.shape[1], -1) for x in seen[0][-1].split(3))
    apart = np.square(np.cov(first) - np.cov(second)).sum() / (4 * len(first) ** 2)
    assert losses["coral"].item() == pytest.approx(0.5 * apart, rel=1e-4)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    micro, other = write_micro(tmp_path / "micro"), write_micro(tmp_path / "other", seed=3)
    backbone = load_clip(str(micro))
    network = make_network(ChangeSettings(width=8), backbone)
    store_network(network, tmp_path / "net", encoder=str(other), base="0" * 24, threshold=0.5, notes={})
    with pytest.raises(WeightsError, match=r"was trained on other weights than .*other has now"):
        load_network(tmp_path / "net", device=CPU)
    (tmp_path / "net" / WEIGHTS_FILE).unlink()
    with pytest.raises(WeightsError, match="the training did not finish"):
        load_network(tmp_path / "net", device=CPU)
    (tmp_path / "net" / "change.json").write_text('{"settings": 3}')
    with pytest.raises(WeightsError, match="is not a network of `train change`"):
        load_network(tmp_path / "net", device=CPU)
    with pytest.raises(UsageError, match="tuning"):
        ChangeSettings(tuning="lorra")


def test_windows_cover_every_pixel_and_average() -> None:
    network = shaken(make_network(ChangeSettings(width=8, tuning="frozen"), micro_clip()))
    before, after = patchwork(70, 130, seed=1), patchwork(70, 130, seed=2)
    with torch.inference_mode():
        whole = change_probability(network, before, after, tile=256)
        pieces = change_probability(network, before, after, tile=64, step=32)
        alone = change_probability(network, before[:64, :64], after[:64, :64], tile=64)
    assert whole.shape == pieces.shape == (70, 130) and whole.dtype == np.float32
    assert np.isfinite(pieces).all() and pieces.std() > 0
    np.testing.assert_allclose(pieces[:6, :32], alone[:6, :32], atol=1e-5)  # pixels of the first window alone
    assert starts(300, 256, 128) == [0, 44] and starts(100, 256, 128) == [0] and starts(512, 256, 128) == [0, 128, 256]


def test_a_batch_shows_the_same_ground_twice_and_its_change(tmp_path: Path) -> None:
    make_fake_change("folders", tmp_path)
    task = ChangeTask(find_pairs(tmp_path).pairs, ChangeObjective(batch_size=6, side=64, zoom=(1, 1)), settings={})
    batch = task.draw(np.random.default_rng(5))
    assert batch.before.shape == (6, 3, 64, 64) and batch.target.shape == (6, 64, 64)
    assert set(batch.target.unique().tolist()) <= {0, 1, 255} and (batch.target == 1).any()
    for i in range(6):
        differ = (batch.before[i] - batch.after[i]).mean(dim=0)
        changed, same = batch.target[i] == 1, batch.target[i] == 0
        if changed.sum() > 50:
            centre = differ[same].median()
            assert (differ[changed] - centre).abs().mean() > 2 * (differ[same] - centre).abs().mean()
    again = task.draw(np.random.default_rng(5))
    assert torch.equal(batch.before, again.before) and torch.equal(batch.target, again.target)


def test_pixels_that_do_not_count_teach_nothing() -> None:
    logits = torch.randn(2, 2, 4, 6, requires_grad=True)
    loss = change_loss(logits, logits, torch.full((2, 4, 6), 255))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()  # type: ignore[union-attr]


def test_it_learns_what_comes_and_goes(tmp_path: Path) -> None:
    make_fake_change("levir-cd", tmp_path / "set")
    made = train_change(
        tmp_path / "set", tmp_path / "net", model=str(write_micro(tmp_path / "micro")), tuning="all", width=16,
        steps=40, batch_size=4, image_size=64, lr=3e-3, ema=0.8, val_frequency=40, device="cpu", offline=True,
        quiet=True,
    )  # fmt: skip
    network, threshold = load_network(tmp_path / "net", device=CPU, offline=True)
    held_out = find_pairs(tmp_path / "set", split="val")
    figures = HeldOutPairs(held_out)(network)
    assert figures[F1] == pytest.approx(made.losses[F1], abs=1e-3)  # the best weights are the delivered ones
    (_, _, change), *_ = [pair.read() for pair in held_out]
    share = float((change == 1).mean())
    assert figures[F1] > 100 * 2 * share / (1 + share) + 10  # far better than to call everything changed
    assert 0 < threshold < 1
    held = json.loads((tmp_path / "net" / "change.json").read_text())["held_out"]
    assert held["pairs"] == len(held_out.pairs) and held["f1"] == pytest.approx(figures[F1], abs=0.01)
    assert held["iou"] == pytest.approx(100 * held["f1"] / (200 - held["f1"]), abs=0.01)
    make_fake_change("folders", tmp_path / "alone")
    train_change(
        tmp_path / "alone", tmp_path / "unknown", model=str(tmp_path / "micro"), tuning="frozen", width=8, steps=1,
        batch_size=1, image_size=64, device="cpu", offline=True, quiet=True,
    )  # fmt: skip
    assert json.loads((tmp_path / "unknown" / "change.json").read_text())["held_out"] is None


def test_pairs_that_are_learned_are_not_held_out(tmp_path: Path) -> None:
    make_fake_change("folders", tmp_path)
    with pytest.raises(UsageError, match="2 pairs that are learned"):
        train_change(tmp_path, tmp_path / "net", val_data=tmp_path, quiet=True)
