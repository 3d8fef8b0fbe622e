"""Pickles of plain values, read without running anything: what is not a list, dict, number or text is refused.

NumPy's numbers and arrays are taken apart here, so that no state of NumPy's objects comes from the file. What a pickle
holds once and names many times is read once, and counts as often as it is named: a few lines may stand for more than
any memory holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from earthwords.errors import SourceError, brief
from earthwords.files.pickles import Call, Global, read_pickle
from earthwords.files.reading import MOST_DEPTH, NestedError, read_bytes

_NUMBERS = "biuf"
"""Kinds of NumPy's types that are read."""
_MOST_BYTES = 2**30
MOST_VALUES = 20_000_000
"""Five times what the references of RefCOCO have; 16 letters count as a value."""
_LETTERS = 16

_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")
_LISTS = {f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "frozenset")}


def read_plain(path: str | Path) -> Any:
    """Lists, dicts, numbers, text and None of a pickle; arrays become lists.

    Raises:
        SourceError: it cannot be read, names anything else, or is larger than any list of sentences.
    """
    path = Path(path)
    try:
        found = read_pickle(read_bytes(path, most=_MOST_BYTES), most=MOST_VALUES)
        return _Reader().plain(found, 0)
    except _RefusedError as error:
        raise SourceError(f"{path} names {error}, which lists of sentences do not need; it was not run.") from None
    except OSError as error:
        raise SourceError(f"Cannot read {path} ({brief(error)}).") from error
    except Exception as error:  # a damaged pickle fails in any way
        raise SourceError(f"{path} is not a pickle of plain values ({brief(error)}).") from error


class _RefusedError(Exception):
    """A name that a pickle must not use."""


class _Reader:
    """Makes plain values of what a pickle describes, each part once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, int, int]] = {}
        """Part to what it became, the number of values in that, and its depth; depth 0: at work on it."""
        self._spent = 0
        """Values that were made, and 16ths of bytes that were copied."""

    def plain(self, part: Any, depth: int) -> Any:
        """`depth`: of the parts around it."""
        return self._measured(part, depth)[0]

    def _measured(self, part: Any, depth: int) -> tuple[Any, int, int]:
        """What a part becomes, how many values that is when all are written out, and how deep."""
        if isinstance(part, str):
            return part, 1 + len(part) // _LETTERS, 0
        if part is None or isinstance(part, (int, float)):
            return part, 1, 0
        if depth > MOST_DEPTH:
            raise NestedError
        if id(part) not in self._known:
            self._known[id(part)] = (None, 0, MOST_DEPTH)  # if it holds itself, it has no end
            self._known[id(part)] = self._made(part, depth)
        known = self._known[id(part)]
        if depth + known[2] > MOST_DEPTH:
            raise NestedError
        return known

    def _made(self, part: Any, depth: int) -> tuple[Any, int, int]:
        if isinstance(part, (bytes, bytearray)):
            return self._text(part)
        if isinstance(part, dict):
            return self._dict(part.items(), depth)
        if isinstance(part, (list, tuple)):
            return self._list(part, depth)
        if isinstance(part, Call):
            return self._object(part, depth)
        raise _RefusedError(part.name[:100] if isinstance(part, Global) else "an object outside of it")

    def _list(self, parts: Iterable[Any], depth: int) -> tuple[Any, int, int]:
        made = [self._measured(each, depth + 1) for each in parts]
        return [value for value, _, _ in made], *self._sum(made)

    def _dict(self, pairs: Iterable[tuple[Any, Any]], depth: int) -> tuple[Any, int, int]:
        made = [(self.plain(key, depth + 1), self._measured(value, depth + 1)) for key, value in pairs]
        return {key: value for key, (value, _, _) in made}, *self._sum([measured for _, measured in made])

    def _sum(self, made: list[tuple[Any, int, int]]) -> tuple[int, int]:
        size, deepest = 1 + sum(size for _, size, _ in made), 1 + max((depth for *_, depth in made), default=0)
        if size > MOST_VALUES:
            raise ValueError(f"written out it has more than {MOST_VALUES:,} values")
        return size, deepest

    def _object(self, call: Call, depth: int) -> tuple[Any, int, int]:
        if call.name in _LISTS:
            values, size, deepest = self._list([*(call.args[0] if call.args else ()), *call.items], depth)
            if deepest > 1:
                raise _RefusedError("a set of lists")
            return sorted(values, key=str), size, deepest
        if call.name == "collections.OrderedDict":
            return self._dict([*(call.args[0] if call.args else ()), *call.items], depth)
        if call.name == "_codecs.encode":
            return self._text(self._raw(call))
        if call.name in (f"{core}.scalar" for core in _CORES):
            return np.frombuffer(self._raw(call.args[1]), dtype=_type(call.args[0]))[0].item(), 1, 0
        if call.name in (f"{core}._reconstruct" for core in _CORES):
            return self._array(call)
        raise _RefusedError(call.name[:100])

    def _array(self, call: Call) -> tuple[Any, int, int]:
        """Its lists, of which empty ones too are counted before they are made."""
        _, shape, kind, by_column, raw = call.state
        sides = [int(side) for side in shape]
        size = sum(math.prod(sides[:i]) for i in range(len(sides) + 1))
        if min(sides, default=0) < 0 or not 0 < size <= MOST_VALUES or len(sides) > MOST_DEPTH:
            raise ValueError(f"an array of the shape {brief(str(tuple(sides)), most=60)}")
        self._spend(size)
        values = np.frombuffer(self._raw(raw), dtype=_type(kind)).reshape(sides, order="F" if by_column else "C")
        return values.tolist(), size, len(sides)

    def _text(self, raw: bytes | bytearray) -> tuple[str, int, int]:
        self._spend(1 + len(raw) // _LETTERS)
        return raw.decode("utf-8", "replace"), 1 + len(raw) // _LETTERS, 0

    def _raw(self, value: Any) -> bytes:
        """Bytes; text of Python 2 stands for such, and Python 3 writes a call that makes them of text."""
        if isinstance(value, Call) and value.name == "_codecs.encode":
            value = value.args[0]
        self._spend(1 + len(value) // _LETTERS)
        return value.encode("latin-1") if isinstance(value, str) else bytes(memoryview(value))

    def _spend(self, size: int) -> None:
        self._spent += size
        if self._spent > MOST_VALUES:
            raise ValueError(f"its arrays and texts have more than {MOST_VALUES:,} values")


def _type(value: Any) -> np.dtype[Any]:
    """A type of NumPy's numbers."""
    if not isinstance(value, Call) or value.name != "numpy.dtype":
        raise _RefusedError("a number without a type")
    order = value.state[1] if value.state else "="
    spec = str(value.args[0]).lstrip("<>=|")
    found = np.dtype(f"{order}{spec}" if order in ("<", ">") else spec)
    if found.kind not in _NUMBERS:
        raise _RefusedError(f"numbers of NumPy's type {spec[:40]!r}")
    return found
