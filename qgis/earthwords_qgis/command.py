"""The installed command `earthwords`: where it is, how it is called, what it tells. Needs no QGIS."""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

VARIABLE = "EARTHWORDS_COMMAND"
"""Environment variable that names the command where no setting does."""
INHERITED = (
    "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "QT_PLUGIN_PATH",
)  # fmt: skip
"""What QGIS sets for its own libraries and would mislead those of the command."""
POLL_S = 0.2
END_WITHIN_S = 20.0
"""Time that a run gets to tidy up after it is asked to end."""
WINDOWS = os.name == "nt"
FOLDER = "Scripts" if WINDOWS else "bin"
HOMES = (
    ".venv", "venv", "earthwords", "earthwords/.venv", "earthwords/venv", ".virtualenvs/earthwords",
    "miniforge3/envs/earthwords", "miniconda3/envs/earthwords", "anaconda3/envs/earthwords",
    ".local/share/uv/tools/earthwords", ".local/share/pipx/venvs/earthwords", ".local/pipx/venvs/earthwords",
    "pipx/venvs/earthwords", "AppData/Roaming/uv/tools/earthwords", "AppData/Local/pipx/pipx/venvs/earthwords",
)  # fmt: skip
"""Environments below the home folder that are looked into."""

MISSING = (
    "The command earthwords was not found. Install it into an environment of its own (python3 -m venv earthwords; "
    "earthwords/bin/pip install earthwords) and name the path of the command under Settings, Options, Processing, "
    "Providers, earthwords."
)
OLDER = (
    "This command earthwords is older than the plugin; upgrade it where it is installed: pip install --upgrade "
    "earthwords."
)


class CommandError(Exception):
    """A sentence for the person in front of QGIS."""


class Cancelled(Exception):
    """The run was cancelled; nothing half-written is left."""


def find_command(setting: str = "", environment: Mapping[str, str] = os.environ, home: Path | None = None) -> list[str]:
    """The words that start the command.

    Args:
        setting: path of the command, of a Python that has the package, or of its environment; empty: look for it.
        home: the folder whose usual environments are looked into.

    Raises:
        CommandError: there is none.
    """
    named = setting.strip() or environment.get(VARIABLE, "").strip()
    if named:
        found = _below(Path(named).expanduser())
        if found is None:
            raise CommandError(
                f"There is no command earthwords at {named}: correct the path under Settings, Options, Processing, "
                "Providers, earthwords, or leave it empty."
            )
        return found
    on_path = shutil.which("earthwords", path=environment.get("PATH"))
    if on_path is not None:
        return [on_path]
    try:
        home = Path.home() if home is None else home
    except RuntimeError:
        raise CommandError(MISSING) from None
    for each in HOMES:
        found = _below(home / each)
        if found is not None and (home / each).is_dir():
            return found
    raise CommandError(MISSING)


def _below(path: Path) -> list[str] | None:
    """The command at a path: itself, a Python, or in an environment."""
    name = "earthwords.exe" if WINDOWS else "earthwords"
    if path.is_dir():
        places = [path / FOLDER / name, path / name]
        return next(([str(place)] for place in places if place.is_file()), None)
    if not path.is_file():
        return None
    is_python = path.stem.lower().startswith("python")
    return [str(path), "-m", "earthwords"] if is_python else [str(path)]


def clean_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of the command: without what belongs to QGIS, and with text as UTF-8."""
    kept = {name: value for name, value in environment.items() if name.upper() not in INHERITED}
    return {**kept, "PYTHONUTF8": "1"}


def words_of(text: str) -> list[str]:
    """Classes or sentences: one a line, or semicolons between."""
    return [word.strip() for line in text.splitlines() for word in line.split(";") if word.strip()]


def extra_options(text: str) -> list[str]:
    """Options as typed on a command line.

    Raises:
        CommandError: a quotation mark has no partner.
    """
    try:
        return shlex.split(text, posix=not WINDOWS)
    except ValueError:
        raise CommandError(f"Further options {text!r}: a quotation mark has no partner.") from None


def arguments(
    verb: str, plain: Sequence[str], options: Mapping[str, Any], words: Iterable[str] = (), extra: str = ""
) -> list[str]:
    """What follows the command.

    Args:
        plain: arguments before the options.
        options: name without dashes to a value; None and False leave it out, True is the name alone, of a list or a
            tuple all values follow.
        extra: further options, as typed.
    """
    argv = [verb, *plain]
    for name, value in options.items():
        if value is None or value is False or value == "":
            continue
        if value is True:
            argv.append(f"--{name}")
        elif isinstance(value, (list, tuple)):
            argv += [f"--{name}", *map(_typed, value)] if value else []
        else:
            argv.append(f"--{name}={_typed(value)}")
    return [*argv, *(f"--text={word}" for word in words), *extra_options(extra)]


def _typed(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def shown(argv: Sequence[str]) -> str:
    """A command line for reading and copying."""
    return subprocess.list2cmdline(argv) if WINDOWS else " ".join(map(shlex.quote, argv))


@dataclass
class Outcome:
    """What a run came to."""

    code: int
    result: Any
    outputs: list[tuple[str, str]] = field(default_factory=list)
    """Kind and path of every file, in order."""
    error: str | None = None


class Listener:
    """What hears of a run; every method may be overridden."""

    def progress(self, percent: float | None, text: str) -> None:
        """A share of the work; None: nobody knows."""

    def say(self, text: str) -> None:
        """What happens."""

    def caution(self, text: str) -> None:
        """The result is worth less."""

    def is_cancelled(self) -> bool:
        """Whether the run is not wanted any more."""
        return False


def run(command: Sequence[str], argv: Sequence[str], listener: Listener) -> Outcome:
    """Run a command line to its end.

    Raises:
        Cancelled: the listener did not want it any more.
        CommandError: it cannot be started, or failed: why.
    """
    process = _start([*command, *argv, "--json", "--progress", "json"])
    lines: queue.Queue[str | None] = queue.Queue()
    printed: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    streams = process.stdout, process.stderr
    threads = [
        threading.Thread(target=_read_all, args=(process.stdout, printed), daemon=True),
        threading.Thread(target=_read_lines, args=(process.stderr, lines), daemon=True),
    ]
    for thread in threads:
        thread.start()
    outcome = Outcome(code=0, result=None)
    try:
        for line in _until_closed(lines):
            if listener.is_cancelled():
                raise Cancelled
            if line:
                tell(line, listener, outcome)
        outcome.code = process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        for thread, stream in zip(threads, streams):
            thread.join(END_WITHIN_S)
            if not thread.is_alive():
                stream.close()
    return _judged(outcome, "".join(printed))


def _judged(outcome: Outcome, printed: str) -> Outcome:
    """With the result that was printed.

    Raises:
        CommandError: the run failed.
    """
    try:
        outcome.result = json.loads(printed)
    except ValueError:
        outcome.result = None
    if outcome.error is not None:
        is_older = "--progress" in outcome.error and "nknown option" in outcome.error
        raise CommandError(OLDER if is_older else outcome.error)
    if outcome.code and (outcome.result is None or outcome.code != 1):  # 1 with a result: a part of it failed
        raise CommandError(f"earthwords ended unexpectedly, with exit code {outcome.code}.")
    return outcome


def _start(argv: Sequence[str]) -> subprocess.Popen[str]:
    """Start it without a console window, and where that is possible as a group that can be ended as one."""
    flags: dict[str, Any] = {"start_new_session": True}
    if WINDOWS:
        flags = {"creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0)}
    try:
        return subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
            errors="backslashreplace", env=clean_environment(), **flags,
        )  # fmt: skip
    except OSError as error:
        raise CommandError(f"{argv[0]} cannot be started ({(error.strerror or str(error)).lower()}).") from error


def _end(process: subprocess.Popen[str]) -> None:
    """Ask it to end, which removes what is half-written; after a while make an end of it and its workers."""
    process.terminate()
    try:
        process.wait(END_WITHIN_S)
    except subprocess.TimeoutExpired:
        if WINDOWS:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _read_all(stream: IO[str], into: list[str]) -> None:
    into.append(stream.read())


def _read_lines(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _until_closed(lines: queue.Queue[str | None]) -> Iterator[str]:
    """Lines as they come; an empty one where none came for a while."""
    while True:
        try:
            line = lines.get(timeout=POLL_S)
        except queue.Empty:
            yield ""
            continue
        if line is None:
            return
        yield line


def tell(line: str, listener: Listener, outcome: Outcome) -> None:
    """Hand on what a line of standard error says."""
    try:
        event = json.loads(line)
        kind = event["event"]
    except (ValueError, KeyError, TypeError):
        if line.startswith("earthwords: "):
            outcome.error = line.split(": ", 1)[1].strip()
        elif line.strip():
            listener.say(line.strip())
        return
    text = str(event.get("text", ""))
    if kind == "progress":
        listener.progress(*progress_of(event))
    elif kind == "output":
        outcome.outputs.append((str(event.get("kind")), str(event.get("path"))))
        listener.say(f"{event.get('kind')}: {event.get('path')}")
    elif kind == "note" and event.get("kind") == "caution":
        listener.caution(text)
    elif kind == "error":
        outcome.error = text
    elif text:
        listener.say(text)


def progress_of(event: Mapping[str, Any]) -> tuple[float | None, str]:
    """The share of the work in percent, and a line about it."""
    done, total, left = event.get("done") or 0, event.get("total"), event.get("left_s")
    text = str(event.get("what", ""))
    if not total:
        return None, text
    text += f": {done:g} of {total:g} {event.get('unit', '')}".rstrip()
    if left is not None:
        text += f", about {_duration(left)} left"
    return min(100.0, 100.0 * done / total), text


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def diagnose(setting: str, listener: Listener | None = None) -> tuple[bool, str]:
    """Whether the command is there and well, and what is known of it, in a few lines."""
    began = time.monotonic()
    try:
        command = find_command(setting)
        found = run(command, ["doctor"], listener or Listener()).result
    except CommandError as error:
        return False, str(error)
    where = shown(command)
    if not isinstance(found, dict):
        return False, f"{where} gave no answer that could be read."
    if not found.get("ok"):
        wrong = "; ".join(f"{each['what']}: {each['found']}" for each in found.get("checks", ()) if not each["ok"])
        return False, f"{where} is there, but something is wrong with it: {wrong or OLDER}"
    about = f"earthwords {found['version']}, {', '.join(found['devices'])}"
    return True, f"All is well: {about} ({where}, looked at for {time.monotonic() - began:.0f} s)."
