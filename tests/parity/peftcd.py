"""PeftCD by its authors' code: adapter, exchange, both decoders, losses and the rate."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn

from earthwords.models.change.adapter import AdaptedBlock
from earthwords.models.change.exchange import exchange_channels, exchange_layers
from earthwords.models.change.fusion_decoder import FusionDecoder
from earthwords.models.change.stack_decoder import StackDecoder
from earthwords.training.heads.change import CubicSchedule, change_loss, coral_loss

from .cases import Case, agree


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(12, 36)


class _Block(nn.Module):
    """The stand-in for a block: `x + out(tanh(qkv(x)))`."""

    def __init__(self) -> None:
        super().__init__()
        self.attn, self.out = _Attention(), nn.Linear(36, 12)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.attn.qkv(x).tanh())


@torch.no_grad()
def check_peftcd_modules(case: Case) -> None:
    adapter = AdaptedBlock(_Block(), 12)
    adapter.load_state_dict(case.part("w.adapter."))
    agree(adapter(case["adapter.in"]), case["adapter.out"])
    before, after = ([case[f"in.feat{date}{i}"] for i in range(4)] for date in "AB")
    mixed = exchange_channels(before, after, period=3, levels=(1,))
    for levels, date in zip(mixed, "AB", strict=True):
        agree(levels[1], case[f"exchange.channel_p3.{date}1"])
    widths = [level.shape[1] for level in before]
    decoder = FusionDecoder(widths, case["w.decoder.head.1.weight"].shape[1]).eval()
    decoder.load_state_dict(case.part("w.decoder."))
    label = case["in.label"]
    size = (label.shape[-2], label.shape[-1])
    first, second = exchange_layers(before, after)
    case.agree_between("fused", decoder.fuse(first))
    logits = [decoder(levels, size) for levels in (first, second)]
    agree(logits[0], case["out.logitsA"])
    agree(logits[1], case["out.logitsB"])
    agree((logits[0] + logits[1]) / 2, case["out.mean"])
    agree(change_loss(*logits, label), case["out.loss"])
    agree(coral_loss(before[0], after[0]), case["out.coral"])


@torch.no_grad()
def check_peftcd_sam2_route(case: Case) -> None:
    given = [[case[f"in.ex.{date}{i}"] for i in range(4)] for date in "ab"]
    for name, found in {"LAYER": exchange_layers(*given), "CHANNEL": exchange_channels(*given)}.items():
        for levels, date in zip(found, "ab", strict=True):
            for i, level in enumerate(levels):
                assert torch.equal(level, case[f"out.ex.{name}.{date}{i}"])
    decoder = StackDecoder(case["in.sam2.a0"].shape[1]).eval()
    missing, strange = decoder.load_state_dict(case.part("w.sam2_decoder."), strict=False)
    assert not strange and all(name.endswith("num_batches_tracked") for name in missing)
    before, after = ([case[f"in.sam2.{date}{i}"] for i in range(4)] for date in "ab")
    expected = [case["out.sam2.logitsA"], case["out.sam2.logitsB"]]
    size = (expected[0].shape[-2], expected[0].shape[-1])
    found = [decoder(levels, size) for levels in exchange_layers(before, after)]
    for own, theirs in zip(found, expected, strict=True):
        agree(own / theirs.abs().max(), theirs / theirs.abs().max(), 2e-6)
    assert torch.equal(((found[0] + found[1]) / 2).argmax(dim=1), case["out.sam2.pred"].long())
    told = json.loads((case.folder / "expected.json").read_text())
    schedule = CubicSchedule(steps=40_000, lr=3e-4, warmup=3_000)
    for step, factor in told["lr_factor"].items():
        assert schedule.rate(int(step)) / 3e-4 == pytest.approx(factor, abs=1e-9)
