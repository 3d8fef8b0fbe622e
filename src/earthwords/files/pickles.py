"""Pickles read as data: what they would build is described, and nothing is built, imported or called.

A pickle is a program for a small machine. This is that machine without its dangerous parts: a name stays a `Global`,
a call stays a `Call`, and the number of instructions is bounded.
"""

from __future__ import annotations

import codecs
import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeAlias

_MARK = object()
_KEYS = (str, bytes, int, float, type(None))


@dataclass(frozen=True)
class Global:
    """A class or function that the pickle names, such as `collections.OrderedDict`."""

    name: str


@dataclass(frozen=True)
class Persistent:
    """Something outside of the pickle."""

    id: Any


@dataclass(eq=False)
class Call:
    """An object that the pickle would have made: by which name, of what, and what was put into it then."""

    name: str
    args: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list)
    """Values, or pairs of key and value."""


def read_pickle(source: bytes | BinaryIO, *, most: int) -> Any:
    """What a pickle describes: values of Python, `Global`, `Call` and `Persistent`, which may share parts.

    Args:
        source: is read up to the end of the pickle.
        most: instructions, hence values.

    Raises:
        ValueError: no pickle, damaged, or more instructions.
    """
    machine = _Machine()
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    push = machine.stack.append
    try:
        for _ in range(most):
            read, run = _INSTRUCTIONS[file.read(1)]
            argument = read(file) if read else None
            if run is None:
                push(argument)
            elif run is _STOP:
                return machine.stack.pop()
            else:
                run(machine, argument)
    except (LookupError, TypeError, OverflowError, AttributeError) as error:
        raise ValueError("it is damaged, or no pickle") from error
    raise ValueError(f"it has more than {most:,} values")


class _Machine:
    """A stack and a memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def marked(self) -> list[Any]:
        """What was pushed since the last mark."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise IndexError
        found = self.stack[place + 1 :]
        del self.stack[place:]
        return found

    def pop(self, count: int) -> list[Any]:
        """The last values."""
        if len(self.stack) < count:
            raise IndexError
        found = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return found

    def add(self, values: list[Any]) -> None:
        """To the list, set or other object on top."""
        target = self.stack[-1]
        if not isinstance(target, (list, Call)):
            raise TypeError
        (target if isinstance(target, list) else target.items).extend(values)

    def set(self, values: list[Any]) -> None:
        """Keys and values in turns, in the dict or other object on top."""
        target, pairs = self.stack[-1], _pairs(values)
        if isinstance(target, dict):
            target.update(pairs)
        elif isinstance(target, Call):
            target.items.extend(pairs)
        else:
            raise TypeError

    def call(self, name: Any, args: Any) -> None:
        """Note a call instead of making it."""
        if not isinstance(name, Global) or not isinstance(args, tuple):
            raise TypeError
        self.stack.append(Call(name.name, args))

    def build(self, state: Any) -> None:
        """Give state to the object on top."""
        if not isinstance(self.stack[-1], Call):
            raise TypeError
        self.stack[-1].state = state


def _pairs(values: list[Any]) -> list[tuple[Any, Any]]:
    """Of keys and values in turns. A key is a plain value, or a tuple of such: to hash a deep one ends the process."""
    for key in values[::2]:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, _KEYS) for part in parts):
            raise TypeError
    return list(zip(values[::2], values[1::2], strict=True))


def _dotted(module: Any, name: Any) -> Global:
    if not isinstance(module, str) or not isinstance(name, str):
        raise TypeError
    return Global(f"{module}.{name}")


def _old_text(file: BinaryIO) -> str:
    """Text of Python 2, which may hold bytes."""
    line = pickletools.read_stringnl(file, decode=False, stripquotes=False)
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError("a text in it has no quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


def _refuse(name: str) -> Run:
    def run(machine: _Machine, argument: Any) -> None:
        raise ValueError(f"it holds the instruction {name}, which data do not need")

    return run


Run: TypeAlias = Callable[[_Machine, Any], None]
_STOP: Run = lambda m, a: None  # noqa: E731
_ARGUMENTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
"""Instructions that push what stands behind them."""
_RUN: dict[str, Run] = {
    "STOP": _STOP,
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "MARK": lambda m, a: m.stack.append(_MARK),
    "NONE": lambda m, a: m.stack.append(None),
    "NEWTRUE": lambda m, a: m.stack.append(True),
    "NEWFALSE": lambda m, a: m.stack.append(False),
    "EMPTY_LIST": lambda m, a: m.stack.append([]),
    "EMPTY_DICT": lambda m, a: m.stack.append({}),
    "EMPTY_TUPLE": lambda m, a: m.stack.append(()),
    "EMPTY_SET": lambda m, a: m.stack.append(Call("builtins.set", ())),
    "POP": lambda m, a: m.pop(1).clear(),
    "POP_MARK": lambda m, a: m.marked().clear(),
    "DUP": lambda m, a: m.stack.append(m.stack[-1]),
    **{name: lambda m, a: m.memo.__setitem__(int(a), m.stack[-1]) for name in ("PUT", "BINPUT", "LONG_BINPUT")},
    "MEMOIZE": lambda m, a: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    **{name: lambda m, a: m.stack.append(m.memo[int(a)]) for name in ("GET", "BINGET", "LONG_BINGET")},
    "TUPLE": lambda m, a: m.stack.append(tuple(m.marked())),
    "TUPLE1": lambda m, a: m.stack.append(tuple(m.pop(1))),
    "TUPLE2": lambda m, a: m.stack.append(tuple(m.pop(2))),
    "TUPLE3": lambda m, a: m.stack.append(tuple(m.pop(3))),
    "LIST": lambda m, a: m.stack.append(m.marked()),
    "DICT": lambda m, a: m.stack.append(dict(_pairs(m.marked()))),
    "FROZENSET": lambda m, a: m.stack.append(Call("builtins.frozenset", (m.marked(),))),
    "APPEND": lambda m, a: m.add(m.pop(1)),
    "APPENDS": lambda m, a: m.add(m.marked()),
    "ADDITEMS": lambda m, a: m.add(m.marked()),
    "SETITEM": lambda m, a: m.set(m.pop(2)),
    "SETITEMS": lambda m, a: m.set(m.marked()),
    "GLOBAL": lambda m, a: m.stack.append(_dotted(*a.split(" ", 1))),
    "STACK_GLOBAL": lambda m, a: m.stack.append(_dotted(*m.pop(2))),
    "REDUCE": lambda m, a: m.call(*m.pop(2)),
    "NEWOBJ": lambda m, a: m.call(*m.pop(2)),
    "BUILD": lambda m, a: m.build(*m.pop(1)),
    "BINPERSID": lambda m, a: m.stack.append(Persistent(*m.pop(1))),
    "PERSID": lambda m, a: m.stack.append(Persistent(a)),
}
_INSTRUCTIONS: dict[bytes, tuple[Callable[[BinaryIO], Any] | None, Run | None]] = {
    each.code.encode("latin-1"): (
        _old_text if each.name == "STRING" else each.arg.reader if each.arg else None,
        None if each.name in _ARGUMENTS else _RUN.get(each.name, _refuse(each.name)),
    )
    for each in pickletools.opcodes
}
