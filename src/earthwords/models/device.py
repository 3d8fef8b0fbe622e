"""Where networks compute: CUDA, MPS or the CPU."""

from __future__ import annotations

import torch

from earthwords.errors import UsageError


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UsageError: no such device here; nothing falls back in silence.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"Device {name!r} is not available here; use {' or '.join(('auto', *devices()))}.") from error
    return device


def devices() -> tuple[str, ...]:
    """Kinds of devices of this machine."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return tuple(name for name, here in there.items() if here)


def worker_device(device: str, number: int) -> str:
    """The device of a worker: those of a machine take its GPUs in turn, unless one is named."""
    count = torch.cuda.device_count() if device == "cuda" else 0
    return f"cuda:{number % count}" if count > 1 else device
