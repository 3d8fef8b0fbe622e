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
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from earthwords.errors import EarthwordsError, WeightsError, brief
from earthwords.files.reading import check_file
from earthwords.models.clip.convert import unwrap
from earthwords.models.weights.bounds import (
    FRAMEWORKS,
    MOST_SHARED,
    check_pytorch,
    check_safetensors,
    check_zip,
    starts_as_zip,
)
from earthwords.models.weights.torchscript import is_torchscript, read_torchscript

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
"""Of checkpoints in a zip."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint file, by name; what it claims is checked before (`models.weights.bounds`).

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
    return state


def _read_state(path: Path) -> dict[str, Tensor]:
    check_file(path)
    if path.suffix == ".safetensors":
        check_safetensors(path)
        return load_file(path)
    if path.suffix == ".zip":
        return _read_zipped(path)
    if is_torchscript(path):
        return unwrap(read_torchscript(path))
    return _check_shared(unwrap(_read_pytorch(path)), path)


def _check_shared(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """One tensor under a thousand names is harmless here, but not when each is converted."""
    claimed = sum(value.numel() * value.element_size() for value in state.values())
    if claimed > MOST_SHARED * path.stat().st_size:
        raise ValueError(f"its tensors claim {claimed:,} bytes, far more than the file has")
    return state


def read_pytorch(path: Path, *, mmap: bool = False) -> Any:
    """What `torch.save` wrote: tensors, numbers, text, and tables and lists of these.

    Args:
        mmap: leave the tensors in the file until they are used.

    Raises:
        WeightsError: it is something else, claims more than it has, or names code.
    """
    try:
        return _read_pytorch(path, mmap=mmap)
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise WeightsError(f"Cannot read {path}: {_why(error)}.") from error


def _read_pytorch(path: Path, *, mmap: bool = False) -> Any:
    check_pytorch(path)
    with torch.serialization.safe_globals(_stand_ins(path)):
        return torch.load(path, weights_only=True, map_location="cpu", mmap=mmap)


class _Nothing:
    """Stands for an object of a training framework that lies beside the tensors of a checkpoint: it does nothing."""

    def __init__(self, *given: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _stand_ins(path: Path) -> list[Any]:
    """Pairs `(class, name)` for what a file names of `FRAMEWORKS`, and of numpy beside that: none is imported."""
    if not starts_as_zip(path):
        return []
    named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    if not any(name.startswith(FRAMEWORKS) for name in named):
        return []
    return [(type("_Nothing", (_Nothing,), {}), name) for name in named if name.startswith((*FRAMEWORKS, "numpy."))]


def _why(error: Exception) -> str:
    """In our words where PyTorch's are an advice to load the file unsafely."""
    if not isinstance(error, pickle.UnpicklingError) and "weights_only" not in str(error):
        return brief(error)
    named = re.search(r"GLOBAL ([\w.]{1,100})", str(error))
    return f"it asks for {named[1]}, which is code" if named else "it is damaged, or no PyTorch file"


def unpack(path: Path, target: Path) -> str:
    """Write the one checkpoint in a zip; its suffix.

    Raises:
        WeightsError: the zip is damaged, holds no or several checkpoints, or unpacks to far more than it has.
    """
    try:
        inside = [
            entry
            for entry in check_zip(path)
            if entry.filename.endswith(SUFFIXES) and not entry.filename.startswith("__MACOSX/")
        ]
        if len(inside) != 1:
            raise WeightsError(f"{path} holds {len(inside)} checkpoints, expected one.")
        with zipfile.ZipFile(path) as archive, archive.open(inside[0]) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except (zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        raise WeightsError(f"Cannot read weights from {path}: {brief(error)}.") from error
    return Path(inside[0].filename).suffix


def _read_zipped(path: Path) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "unpacked"
        return read_state(part.rename(part.with_suffix(unpack(path, part))))


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
