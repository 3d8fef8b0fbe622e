"""What a tool may be asked, from the signature of its verb; and the command line of what it was asked."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from earthwords.errors import UsageError, brief, did_you_mean, printable
from earthwords.presets import SEGMENT_PRESETS
from earthwords.refer_presets import REFER_PRESETS
from earthwords.serve.jobs.child import command
from earthwords.serve.mcp.root import READERS, RESULTS, Root
from earthwords.serve.mcp.settings import AssistantSettings
from earthwords.serve.mcp.verbs import PLACE, VerbTool

MOST_LETTERS = 60_000
"""Of a command line."""
MOST_VALUES = 1_000
_BAND = re.compile(r"[A-Za-z0-9_ -]+(:[0-9A-Za-z,-]+)?")
_PRESET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True, kw_only=True)
class Option:
    """A parameter of a verb."""

    parameter: str
    flag: str
    """Such as `--min-area`."""
    kind: Any
    """Its type, files as text."""
    default: Any
    meaning: str

    @property
    def name(self) -> str:
        """As the tool calls it: the option's, with `_` for `-`."""
        return self.flag.removeprefix("--").replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A checked call of a tool."""

    argv: list[str]
    dst: Path | None
    """What is written, if anything is."""


class ToolArguments:
    """What a tool takes."""

    def __init__(self, tool: VerbTool) -> None:
        self.tool = tool

    @cached_property
    def verb(self) -> Callable[..., Any]:
        """Its function."""
        module, _, name = self.tool.target.partition(":")
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return found

    @cached_property
    def options(self) -> dict[str, Option]:
        """By their names in the tool."""
        hints, meanings = get_type_hints(self.verb, include_extras=True), _meanings(self.verb)
        found = {}
        for name in (*self.tool.arguments, *self.tool.options):
            if name in self.tool.own:
                kind, meaning = self.tool.own[name]
                option = Option(parameter=name, flag=f"--{name}", kind=kind, default=..., meaning=meaning)
            else:
                kind, about = _without_notes(hints[name])
                flag = next((f for f in about.name or () if f.startswith("--")), f"--{name.replace('_', '-')}")
                default = inspect.signature(self.verb).parameters[name].default
                default = ... if default is inspect.Parameter.empty or name in self.tool.needs else default
                told = meanings.get(name) or about.help or ""
                option = Option(parameter=name, flag=flag, kind=kind, default=default, meaning=told)
            found[option.name] = option
        return found

    @cached_property
    def model(self) -> type[BaseModel]:
        """Checks arguments."""
        fields: dict[str, Any] = {
            name: (option.kind, Field(default=option.default, description=option.meaning))
            for name, option in self.options.items()
        }
        if self.tool.writes:
            fields["dst"] = (str | None, Field(default=None, description=PLACE))
        config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)
        return create_model(self.tool.name, __config__=config, **fields)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """Of the arguments, as JSON Schema."""
        return self.model.model_json_schema()

    @cached_property
    def about(self) -> str:
        """What the tool does."""
        doc = inspect.getdoc(self.verb) or self.tool.title
        told = " ".join(doc.partition("\nArgs:\n")[0].partition("\nReturns:\n")[0].split())
        return f"{told} {self.tool.says}".strip()

    def check(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What was given, by the names of the tool, with the types of the verb.

        Raises:
            UsageError: a sentence about the first that is wrong.
        """
        names = self.model.model_fields
        for name in given:
            if name not in names:
                raise UsageError(
                    f"{self.tool.name} takes no argument {printable(brief(name))!r}. {did_you_mean(name, names)}"
                )
        _check_size(given)
        try:
            checked = self.model.model_validate(dict(given))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            if first["type"] == "missing":
                meaning = names[place].description if place in names else "it is too short."
                raise UsageError(f"{self.tool.name} needs {place}: {meaning}") from None
            raise UsageError(f"{self.tool.name}: {brief(place)}: {brief(first['msg'])}.") from None
        return {name: getattr(checked, name) for name in given if given[name] is not None}

    def call(self, given: Mapping[str, Any], root: Root, settings: AssistantSettings) -> ToolCall:
        """The command of what was asked.

        Raises:
            UsageError, SourceError: an argument is wrong, or a file lies elsewhere.
        """
        values = self.check(given)
        offline = settings.offline
        for name in values.keys() & {option.name for option in self.options.values() if option.parameter == "preset"}:
            offline |= not _is_name(values[name], root)  # a file of the folder may name weights anywhere
        words = [word for name in self.tool.arguments for word in self._places(name, values, root)]
        for name, option in self.options.items():
            if option.parameter not in self.tool.arguments and name in values:
                words += _typed(option, self._read(option, values[name], root))
        dst = self._dst(values, root)
        takes = inspect.signature(self.verb).parameters
        if dst is not None:
            words.append(f"--out={dst}")
        if "device" in takes:
            words.append(f"--device={settings.device}")
        if offline and "offline" in takes:
            words.append("--offline")
        return ToolCall(argv=command(*self.tool.command, *words, "--json", "--progress", "json"), dst=dst)

    def _places(self, name: str, values: Mapping[str, Any], root: Root) -> list[str]:
        read = self._read(self.options[name], values[name], root)
        return [str(each) for each in (read if isinstance(read, list) else [read])]

    def _read(self, option: Option, value: Any, root: Root) -> Any:
        """A value, names of files as paths."""
        kind = self.tool.files.get(option.parameter)
        if kind is None:
            return value
        if isinstance(value, (list, tuple)):
            return [self._read(option, each, root) for each in value]
        if kind == "preset":
            return value if _is_name(value, root) else str(root.existing(value))
        if kind == "mask":
            return _mask(value, root)
        return str(READERS[kind](root, str(value)))

    def _dst(self, values: Mapping[str, Any], root: Root) -> Path | None:
        """Where it writes: what was named, else the same place for the same arguments, so that a call goes on."""
        if not self.tool.writes:
            return None
        if "dst" in values:
            return root.new(values["dst"])
        draws = "draw" in values or "standard_error" in values
        if self.tool.ending is None or (self.tool.name == "assess" and not draws):
            return None
        told = {name: value for name, value in sorted(values.items()) if name not in ("overwrite", "strict")}
        mark = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:8]
        first = values[self.tool.arguments[0]]
        stem = re.sub(r"[^\w-]+", "_", Path(first if isinstance(first, str) else first[0]).stem)[:40].strip("_")
        return root.new(f"{RESULTS}/{self.tool.name}-{stem or 'all'}-{mark}{self.tool.ending}")


def _without_notes(hint: Any) -> tuple[Any, Parameter]:
    """A type without what the command line is told of it, files as text; and that."""
    about = Parameter()
    if get_origin(hint) is Annotated:
        about = next((p for p in hint.__metadata__ if isinstance(p, Parameter)), about)
        hint = get_args(hint)[0]
    return _plain(hint), about


def _plain(hint: Any) -> Any:
    if hint is Path:
        return str
    if get_origin(hint) is Sequence or get_origin(hint) is list:
        return Annotated[list[_plain(get_args(hint)[0])], Field(max_length=MOST_VALUES)]  # type: ignore[misc]
    parts = get_args(hint)
    if Path in parts:
        rest = [part for part in parts if part not in (Path, str)]
        found: Any = str
        for part in rest:
            found = found | part
        return found
    return hint


def _meanings(verb: Callable[..., Any]) -> dict[str, str]:
    """Parameter to what the docstring says of it."""
    args = (inspect.getdoc(verb) or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
    entries = (entry.strip().partition(":") for entry in re.split(r"\n(?=    \S)", args))
    return {name.strip(" *"): " ".join(told.split()) for name, _, told in entries}


def _typed(option: Option, value: Any) -> list[str]:
    """A value as one types it; text in one piece with its option, whatever it begins with."""
    if isinstance(value, bool):
        if value == option.default:
            return []
        return [option.flag if value else f"--no-{option.flag.removeprefix('--')}"]
    if isinstance(value, tuple):
        return [option.flag, *map(_number, value)]
    if isinstance(value, list):
        return [f"{option.flag}={_number(each)}" for each in value]
    return [f"{option.flag}={_number(value)}"]


def _number(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _is_name(value: str, root: Root) -> bool:
    """Whether a preset is one of a table rather than of the folder."""
    if value in SEGMENT_PRESETS or value in REFER_PRESETS:
        return True
    return bool(_PRESET.fullmatch(value)) and not os.path.lexists(root.path / value)


def _mask(value: str, root: Root) -> str:
    """A band's name, or a file with the values that follow."""
    file, colon, numbers = value.partition(":")
    if "/" in file or "." in file or (root.path / file).exists():
        return f"{root.image(file)}{colon}{numbers}"
    if not _BAND.fullmatch(value):
        raise UsageError(f"The mask {printable(brief(value))!r} is neither a file nor the name of a band.")
    return value


def _check_size(given: Mapping[str, Any]) -> None:
    """Refuse what no command line holds.

    Raises:
        UsageError: naming it.
    """
    for name, value in given.items():
        text = json.dumps(value, ensure_ascii=False)
        if any(mark in text for mark in ("\\u0000", "\0")) or any(0xD800 <= ord(letter) < 0xE000 for letter in text):
            raise UsageError(f"{name} holds a letter that is none (NUL, or half of a pair); leave it out.")
        if len(text) > MOST_LETTERS:
            raise UsageError(f"{name} is too long: {len(text):,} letters, of at most {MOST_LETTERS:,}.")
