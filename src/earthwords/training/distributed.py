"""Several processes that train one model: every one draws its own batch, gradients are averaged.

`torchrun --nproc-per-node 2 -m earthwords train ...` sets the variables that `joined` reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True, kw_only=True)
class Group:
    """The processes of a training and which one this is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes, in place, its mean over the processes; all of them give the same shapes."""
        if self.size == 1:
            return
        for kind, same in _by_kind(tensors).items():
            flat = torch.cat([t.reshape(-1) for t in same])
            distributed.all_reduce(flat)
            flat /= self.size
            for tensor, part in zip(same, flat.split([t.numel() for t in same]), strict=True):
                tensor.copy_(part.reshape(tensor.shape).to(kind[1]))

    def average_gradients(self, model: nn.Module) -> None:
        """What every process has after its own backward pass becomes the gradient of the mean loss."""
        self.average(p.grad for p in model.parameters() if p.grad is not None)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in the order of their ranks; gradients reach those of this one.

        Args:
            rows: `(n, *)`, n may differ between processes.
        """
        if self.size == 1:
            return rows
        counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.size)]
        distributed.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        most = max(int(count) for count in counts)
        padded = rows.detach().new_zeros((most, *rows.shape[1:]))
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        own = [part[: int(count)] for part, count in zip(parts, counts, strict=True)]
        own[self.rank] = rows
        return torch.cat(own)

    def shared(self, loss: Tensor) -> Tensor:
        """A loss of gathered rows, the same in every process, so that averaging the gradients of all processes, each
        of which knows the part of its own rows only, gives the gradient of one loss."""
        return loss + (self.size - 1) * (loss - loss.detach())

    def common(self, parameter: Tensor) -> Tensor:
        """A parameter that such a loss depends on directly: every process knows the whole of its gradient."""
        return parameter.detach() + (parameter - parameter.detach()) / self.size

    def from_first(self, flag: bool, device: torch.device) -> bool:
        """What the first process says, in every one of them."""
        if self.size == 1:
            return flag
        shared = torch.tensor([int(flag)], device=device)
        distributed.broadcast(shared, src=0)
        return bool(shared.item())

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Group()


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def process_device(name: str) -> str:
    """`cuda` and `auto` as the GPU that is this process's, where torchrun started several."""
    if launched() and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return name


@contextmanager
def joined(device: torch.device) -> Iterator[Group]:
    """The group that torchrun started, for as long as the context lasts; alone without it."""
    if not launched():
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(rank=distributed.get_rank(), size=distributed.get_world_size())
        distributed.barrier()  # nobody leaves while another one still talks
    finally:
        distributed.destroy_process_group()


def _by_kind(tensors: Iterable[Tensor]) -> dict[tuple[torch.device, torch.dtype], list[Tensor]]:
    kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    return kinds
