"""The commands, and what happens around each: errors become one sentence, results a table or JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from cyclopts import App, CycloptsError, Group, Parameter

from earthwords import __version__, interrupt
from earthwords.cli.commands import COMMANDS, FIRST, GROUPS, PANELS, examples_of, shown
from earthwords.cli.mistakes import sentence
from earthwords.cli.streams import Stream, standard_streams
from earthwords.errors import EarthwordsError, brief, is_out_of_memory, printable
from earthwords.files.plaintext import json_text
from earthwords.geo.sources.network import is_offline, offline_environment
from earthwords.jobs.events import Shown, check_how, current, shown_as
from earthwords.tasks import _options as opt
from earthwords.tasks.models import models as list_models

INTERRUPTED, TERMINATED = 130, 143


def typed(value: Any) -> str | None:
    """A default as one types it; None: there is none to show."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, tuple):
        return " ".join(str(typed(v)) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


app = App(
    name="earthwords",
    help="Say what you are looking for, get it from satellite and aerial images, on the map.",
    version=__version__,
    help_epilogue=shown(FIRST),
    group_arguments=opt.ARGUMENTS_PANEL,
    group_commands=Group("Help", sort_key=len(PANELS)),
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative_iterable=(), show_default=typed),
)


def _register() -> None:
    """All commands of the table; each is imported when it is used."""
    panels = {title: Group(title, sort_key=place) for place, title in enumerate(PANELS)}
    words: dict[str, App] = {}
    for name, (panel, help) in GROUPS.items():
        words[name] = App(
            name=name, help=help, group=panels[panel], help_epilogue=shown(examples_of(name)),
            group_arguments=opt.ARGUMENTS_PANEL, group_commands=Group("Commands"),
        )  # fmt: skip
        app.command(words[name])
    words["models"].default(list_models)
    for row in COMMANDS:
        *above, name = row.name.split()
        home = words[above[0]] if above else app
        home.command(
            row.target, name=name, help=row.help, group=panels.get(row.panel),
            usage=f"Usage: earthwords {row.name} {row.usage}".rstrip(), help_epilogue=row.epilogue,
        )  # fmt: skip


_register()


def run(argv: list[str]) -> int:
    """Run one command line, print its result, return the exit code."""
    debug, as_json, quiet = _take(argv, "--debug"), _take(argv, "--json"), "--quiet" in argv
    progress = _take_value(argv, "--progress")
    if not debug and "CPL_DEBUG" not in os.environ:
        os.environ.setdefault("CPL_LOG", os.devnull)  # GDAL's remarks; its errors come to us as exceptions
    with standard_streams() as (out, err), _progress(progress, err, quiet=quiet):
        try:
            with _terminable(), _offline(argv):
                check_how(progress)
                result = app(argv)
                if result is not None and (as_json or not (quiet and _in_files(result))):
                    _print(result, out, as_json=as_json)
                out.flush()
        except (Exception, KeyboardInterrupt, Terminated, interrupt.Interrupted) as error:
            shown = traceback.format_exc() if debug and not isinstance(error, CycloptsError) else None
            return _fail(*explain(error), shown)
        if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
            why = getattr(out.failure, "strerror", None) or str(out.failure)
            return _fail(
                f"Standard output cannot be written ({why.lower()}); all files that were asked for are whole.", 1
            )
        return int(getattr(result, "exit_code", 0))


def explain(error: BaseException) -> tuple[str, int]:
    """One sentence and the exit code."""
    if isinstance(error, CycloptsError):
        return sentence(error), 2
    if isinstance(error, EarthwordsError):
        return " ".join((str(error), *getattr(error, "__notes__", ()))), error.exit_code
    if isinstance(error, (KeyboardInterrupt, Terminated, interrupt.Interrupted)):
        kept = " ".join(getattr(error, "__notes__", ())) or "Nothing was kept."
        return f"Interrupted. {kept}", TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    what = " ".join(f"{type(error).__name__}: {error}".split())
    if is_out_of_memory(error):
        return "Out of memory; use a smaller --batch-size or --tile-size, fewer words or --bounds.", 1
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{brief(str(error.filename))}: {error.strerror.lower()}; correct or change that path.", 1
    return f"Unexpected failure ({what}); run again with --debug and report it.", 1


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does, so that unfinished outputs go; other threads hear of both."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        interrupt.requested.set()
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as shells do for what runs in the background
    handled = (signal.SIGTERM,) if ignored else (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, end) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        interrupt.requested.clear()


@contextmanager
def _offline(argv: list[str]) -> Iterator[None]:
    """Offline no library in this process or its children opens a connection, whatever a verb forgets."""
    if not is_offline() and not any(word.partition("=")[0] == "--offline" for word in argv):
        yield
        return
    changes = offline_environment()
    before = {name: os.environ.get(name) for name in changes}
    _set_environment(changes)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _take(argv: list[str], flag: str) -> bool:
    """Remove a flag that every command has."""
    if flag in argv:
        argv.remove(flag)
        return True
    return False


def _take_value(argv: list[str], option: str) -> str:
    """Remove an option with a value that every command has; without it `auto`."""
    for place, word in enumerate(argv):
        name, given, value = word.partition("=")
        if name == option:
            taken = argv[place : place + (1 if given else 2)]
            del argv[place : place + len(taken)]
            return value if given else taken[-1] if len(taken) > 1 else ""
    return "auto"


@contextmanager
def _progress(how: str, err: Stream, *, quiet: bool) -> Iterator[None]:
    """How progress is told; what else was typed is refused later, in words."""
    with ExitStack() as stack:
        events = None
        if how == "json":
            from earthwords.cli.capture import events_on

            events = stack.enter_context(events_on(err, quiet=quiet))
        stack.enter_context(shown_as(Shown(events, bars=how != "none")))
        yield


def _in_files(result: Any) -> bool:
    """Whether a result lies in files that the command has written, and nothing went wrong."""
    written = any(getattr(result, name, None) for name in ("outputs", "output", "file", "folder", "out"))
    return written and getattr(result, "in_files", True) and getattr(result, "exit_code", 0) == 0


def _print(result: Any, out: Stream, *, as_json: bool) -> None:
    if as_json:
        value = result.as_json()
        print(json_text(value, indent=2) if out.is_wide else json.dumps(value, indent=2))
    else:
        from earthwords.cli.show import show

        show(result)


def _fail(sentence: str, code: int, shown: str | None = None) -> int:
    """Tell why, with a traceback that was asked for."""
    if (told := current()) is not None:
        told.error(sentence, code, shown)
        return code
    if shown is not None:
        print(*map(printable, shown.splitlines()), sep="\n", file=sys.stderr)
    print(f"earthwords: {printable(sentence)}", file=sys.stderr)
    return code
