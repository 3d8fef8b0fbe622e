"""What is wrong with a command line, in our words: one sentence that shows how to say it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from cyclopts import CycloptsError, MissingArgumentError, UnknownCommandError, UnusedCliTokensError

from earthwords.cli.commands import COMMANDS
from earthwords.evaluation.outcome import KINDS, SCENES, TASK_NAMES

WORD_OPTIONS = ("-t", "--text")


def sentence(error: CycloptsError) -> str:
    """The sentence for a command line that cannot be understood."""
    command = " ".join(error.command_chain or ())
    advice = None
    if isinstance(error, UnusedCliTokensError):
        advice = _left_over(command, error.unused_tokens or [], _own_tokens(error))
    elif isinstance(error, MissingArgumentError):
        advice = _missing(command, error)
    elif isinstance(error, UnknownCommandError) and command == "evaluate":
        advice = _evaluate(_own_tokens(error))
    return f"{advice or ' '.join(str(error).split())} See `{' '.join(('earthwords', command)).strip()} --help`."


def _evaluate(tokens: Sequence[str]) -> str | None:
    """Tasks and options without the kind of what is measured."""
    kind = SCENES if any(token in TASK_NAMES for token in tokens) or not tokens else None
    if kind is None:
        return None
    return f"Say what is measured, one of {', '.join(KINDS)}: earthwords evaluate {kind} {shlex.join(tokens)}."


def _own_tokens(error: CycloptsError) -> list[str]:
    """What was typed behind the command."""
    return list(error.root_input_tokens or ())[len(error.command_chain or ()) :]


def _left_over(command: str, unused: Sequence[str], tokens: Sequence[str]) -> str | None:
    """There are more arguments than the command takes."""
    plain = _plain(tokens)
    if command == "refer" and not any(option in tokens for option in WORD_OPTIONS) and len(plain) > 2:
        *sentences, dst = plain[1:]
        words = " ".join(f"-t {shlex.quote(sentence)}" for sentence in sentences)
        return f"Sentences have an option, -t: earthwords refer {shlex.quote(plain[0])} {shlex.quote(dst)} {words}."
    extra = _behind_word(tokens)
    what = f"{', '.join(map(repr, unused))} {'is' if len(unused) == 1 else 'are'} left over"
    if extra is None:
        usage = _usage(command)
        return f"{what}; the command is: {usage}." if usage else None
    first, second = map(shlex.quote, extra)
    if command == "refer":
        return f"{what}. Every sentence has a -t of its own: -t {first} -t {second}."
    joined = shlex.quote(",".join(extra))
    return f"{what}. Every class has a -t of its own: -t {first} -t {second}; or, as synonyms of one, -t {joined}."


def _plain(tokens: Sequence[str]) -> list[str]:
    """The arguments before the first option."""
    count = next((i for i, token in enumerate(tokens) if token.startswith("-")), len(tokens))
    return list(tokens[:count])


def _behind_word(tokens: Sequence[str]) -> tuple[str, str] | None:
    """A word after -t, and one behind it that has none; a path of a file is no word."""
    for option, word, second in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if option in WORD_OPTIONS and not second.startswith("-") and not Path(second).suffix:
            return word, second
    return None


def _missing(command: str, error: MissingArgumentError) -> str | None:
    """An argument, or the value of an option, is not there."""
    argument = error.argument
    if argument is None:
        return None
    keyword = error.keyword or next((token.keyword for token in argument.tokens if token.keyword), None)
    if keyword is None:
        name = argument.name.lstrip("-")
        usage = _usage(command)
        label = name.upper() if argument.index is not None else argument.name
        return f"{label} is missing; the command is: {usage}." if usage else None
    wanted = argument.parameter.metavar or " or ".join(argument.get_choices() or ()) or "a value"
    given = len(error.tokens_so_far)
    return f"{keyword} needs {wanted}{f', got {given} of them' if given else ''}."


def _usage(command: str) -> str | None:
    return next((f"earthwords {row.name} {row.usage}" for row in COMMANDS if row.name == command), None)
