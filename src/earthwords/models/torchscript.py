"""Tensors of a TorchScript archive, without running any of its code.

OpenAI published CLIP as TorchScript, which `torch.load(weights_only=True)` refuses. The archive is a zip
with a pickle of the module tree; here the classes of the tree become plain attribute holders, only tensors
are rebuilt, and every other global is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from earthwords.errors import WeightsError, brief

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

_DAMAGED = (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError)
"""What a pickle that is cut or altered makes the unpickler raise."""


class _Node:
    """A module of the archive: its state, nothing else."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(archive.open(f"{root}data.pkl"))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Node
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle" and name.startswith(("build_", "restore_type_tag")):
            return lambda value, *_: value
        raise pickle.UnpicklingError(f"the archive asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        _, dtype, key, _, size = pid
        data = bytearray(self._archive.read(f"{self._root}data/{key}"))
        return torch.frombuffer(data, dtype=dtype, count=size) if size else torch.empty(0, dtype=dtype)


def _rebuild(values: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return values.as_strided(size, stride, offset)


def is_torchscript(path: Path) -> bool:
    """Whether the file is a zip that holds TorchScript code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/", 1)[-1] == "constants.pkl" for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers by name.

    Raises:
        WeightsError: the archive is damaged or holds more than modules and tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = next(n for n in archive.namelist() if n.split("/", 1)[-1] == "data.pkl")
            tree = _Unpickler(archive, pickled.removesuffix("data.pkl")).load()
    except (*_DAMAGED, StopIteration, zipfile.BadZipFile) as error:
        raise WeightsError(f"Cannot read the TorchScript archive {path}: {brief(error)}.") from error
    if not isinstance(tree, _Node):
        raise WeightsError(f"The TorchScript archive {path} holds a {type(tree).__name__}, not a model.")
    return dict(_tensors(tree, ""))


def _tensors(node: Any, prefix: str) -> list[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []
    for name, value in vars(node).items():
        if isinstance(value, Tensor):
            found.append((prefix + name, value))
        elif isinstance(value, _Node):
            found += _tensors(value, f"{prefix}{name}.")
    return found
