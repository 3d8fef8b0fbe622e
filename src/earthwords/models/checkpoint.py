"""Tensors of checkpoint files, by name.

Nothing here unpickles code: files are safetensors, or read with `weights_only=True`, or TorchScript archives
read tensor by tensor.
"""

from __future__ import annotations

import pickle
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from earthwords.errors import EarthwordsError, WeightsError, brief
from earthwords.models.convert import unwrap
from earthwords.models.torchscript import is_torchscript, read_torchscript

_MOST_COMPRESSED = 100
"""Weights hardly compress; a zip that claims more is made to fill the disk."""
_FRAMEWORKS = ("mmengine.", "deepspeed.")
_MOST_SHARED = 8
"""Tensors may share their numbers, but a file whose tensors are many times its size is made to fill the memory."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, by name.

    Accepts safetensors, PyTorch files (read with `weights_only=True`, wrappers and `module.` taken off),
    TorchScript archives, and a zip that holds one of these.

    Raises:
        WeightsError: none of these, damaged, or with code.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch muses about pickles before it refuses them
            state = _read_state(path)
    except (EarthwordsError, MemoryError):
        raise
    except Exception as error:  # the libraries raise whatever the damage makes them stumble over
        raise WeightsError(
            f"Cannot read weights from {path}: {_why(error)}. Expected safetensors or a PyTorch state dict; "
            "files that carry code are not loaded."
        ) from error
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if path.suffix != ".zip" and claimed > _MOST_SHARED * path.stat().st_size:
        raise WeightsError(f"{path} is damaged: its tensors claim {claimed:,} bytes, far more than the file has.")
    return state


def _read_state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".zip":
        return _read_zipped(path)
    if is_torchscript(path):
        return unwrap(read_torchscript(path))
    with torch.serialization.safe_globals(_stand_ins(path)):
        return unwrap(torch.load(path, weights_only=True, map_location="cpu", mmap=False))


class _Nothing:
    """Stands for an object of a training framework that lies beside the tensors of a checkpoint: it does nothing."""

    def __init__(self, *given: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _stand_ins(path: Path) -> list[Any]:
    """Pairs `(class, name)` for what a file names of `_FRAMEWORKS`, and of numpy beside that: none is imported."""
    if not zipfile.is_zipfile(path):
        return []
    named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    if not any(name.startswith(_FRAMEWORKS) for name in named):
        return []
    return [(type("_Nothing", (_Nothing,), {}), name) for name in named if name.startswith((*_FRAMEWORKS, "numpy."))]


def _why(error: Exception) -> str:
    """In our words where PyTorch's are an advice to load the file unsafely."""
    if not isinstance(error, pickle.UnpicklingError) and "weights_only" not in str(error):
        return brief(error)
    asked = re.search(r"GLOBAL ([\w.]{1,100})", str(error))
    return f"it asks for {asked[1]}, which is code" if asked else "it is damaged, or no PyTorch file"


def _read_zipped(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        entries = [n for n in archive.infolist() if not n.filename.startswith("__MACOSX/")]
        inside = [n for n in entries if n.filename.endswith((".pt", ".pth", ".bin", ".safetensors"))]
        if len(inside) != 1:
            raise WeightsError(f"{path} holds {len(inside)} checkpoints, expected one.")
        if inside[0].file_size > _MOST_COMPRESSED * max(1, inside[0].compress_size):
            raise WeightsError(f"{path} unpacks to {inside[0].file_size:,} bytes, which no real checkpoint would do.")
        target = Path(folder) / Path(inside[0].filename).name
        with archive.open(inside[0]) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out)
        return read_state(target)


Module = TypeVar("Module", bound=nn.Module)


def load_strictly(module: Module, state: Mapping[str, Tensor] | None, *, name: str, prefix: str = "") -> Module:
    """An upsampler with the weights of a checkpoint, in evaluation mode.

    Args:
        module: may be on the device `meta`; is moved to the CPU then.
        state: exactly the module's names and shapes, or these under `prefix` beside others.
        name: of the upsampler.

    Raises:
        WeightsError: no checkpoint, or names or shapes that differ.
    """
    if state is None:
        raise WeightsError(f"Upsampler {name!r} needs trained weights; name a checkpoint with --upsampler-weights.")
    own = dict(state)
    if prefix:
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)} or own
    expected = module.state_dict()
    wrong = [k for k in expected if k not in own or own[k].shape != expected[k].shape]
    if wrong or own.keys() - expected.keys():
        listed = ", ".join([*wrong, *sorted(own.keys() - expected.keys())][:3])
        raise WeightsError(f"The checkpoint does not fit upsampler {name!r}; first names that differ: {listed}.")
    if any(value.is_meta for value in expected.values()):
        module.to_empty(device="cpu")
    module.load_state_dict(own)
    return module.eval()
