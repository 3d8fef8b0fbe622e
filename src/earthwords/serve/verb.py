"""`earthwords serve`: the web map of a folder, and its HTTP API."""

from __future__ import annotations

import importlib.util
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated

from earthwords.errors import OutputError, SourceError, UsageError
from earthwords.files.atomic import locked
from earthwords.inference.checks import check_parts
from earthwords.presets import DEFAULT_PRESET, load_preset
from earthwords.tasks import _options as opt

MEMORY = {"MALLOC_ARENA_MAX": "2", "GDAL_CACHEMAX": "64"}
"""Set before the process starts, so that memory stays flat: arenas of malloc, and MB of GDAL's blocks."""
NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "rio_tiler": "rio-tiler", "sse_starlette": "sse-starlette"}
"""Modules of the extra, and the packages that they are in."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@opt.documented
def serve(
    folder: Annotated[Path, opt.option(opt.ARGUMENTS)] = Path("."),
    *,
    port: Annotated[int, opt.option(opt.RUNNING, metavar="N")] = 8765,
    host: Annotated[str, opt.option(opt.RUNNING, metavar="ADDRESS")] = "127.0.0.1",
    open: Annotated[bool | None, opt.option(opt.RUNNING, negative="--no-open", show_default=False)] = None,
    token: Annotated[bool, opt.option(opt.RUNNING, negative="--no-token", show_default="--token")] = True,
    allow_host: Annotated[
        Sequence[str], opt.option(opt.RUNNING, metavar="NAME", show_default=False, name="--allow-host")
    ] = (),
    demo: Annotated[bool, opt.option(opt.ARGUMENTS, negative="")] = False,
    workspace: Annotated[Path | None, opt.option(opt.OUTPUTS, metavar="DIR")] = None,
    preset: opt.Preset = DEFAULT_PRESET,
    device: opt.Device = "auto",
    offline: opt.Offline = False,
    quiet: opt.Quiet = False,
) -> None:
    """Serve the rasters of a folder as a web map where one asks by words, and as an HTTP API.

    Prints its address with the token that lets one in; ends at Ctrl-C. Reads nothing outside of the folder, reaches no
    server, and is itself reached from this machine only, unless `host` says otherwise.

    Args:
        folder: With rasters, at any depth.
        port: 0 takes a free one.
        host: To listen at; others than 127.0.0.1 let other machines ask.
        open: Open the page in a browser; default: when a person started it at a terminal.
        token: Ask everybody for the token; only for 127.0.0.1 may that be left out.
        allow_host: Another name that the server is known by, such as one of a proxy: NAME or NAME:PORT; repeat for
            more.
        demo: Render a scene into the workspace and show it.
        workspace: Folder of all that is written: jobs, results, marks; default: .earthwords in the folder.

    Returns:
        Nothing, when it is ended.

    Raises:
        SourceError: the folder is missing.
        UsageError: an option is wrong, the port is taken, another server works in the workspace, or a package of the
            extra is missing.
        OutputError: the workspace cannot be written.

    Example:
        >>> earthwords.serve("scenes", port=0)
    """
    folder = _checked_folder(Path(folder))
    if not 0 <= port <= 65535:
        raise UsageError(f"A port lies between 0 and 65535, not {port}.")
    if not token and host not in LOOPBACK:
        raise UsageError(f"--no-token is for 127.0.0.1 only: at {host} everybody could ask; leave one of them out.")
    check_parts(load_preset(preset))
    _check_packages()
    _begin_anew()
    with ExitStack() as stack:
        listening = stack.enter_context(_bind(host, port))
        notes: list[str] = []
        place = stack.enter_context(_alone(_workspace(folder, workspace, notes)))
        from earthwords.serve.running import render_demo, run_server
        from earthwords.serve.state import ServeSettings

        settings = ServeSettings(
            folder=render_demo(place / "demo") if demo else folder.resolve(),
            workspace=place,
            host=host,
            port=listening.getsockname()[1],
            token=secrets.token_urlsafe(24) if token else None,
            hosts=tuple(allow_host),
            preset=preset,
            device=device,
            offline=offline,
            notes=tuple(notes),
        )
        run_server(listening, settings, browser=sys.stdout.isatty() if open is None else open, quiet=quiet)


def _checked_folder(folder: Path) -> Path:
    if not folder.exists():
        raise SourceError(f"{folder} does not exist; name a folder with rasters.")
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name the folder that it lies in.")
    return folder


def _check_packages() -> None:
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(f'The server needs {", ".join(missing)}: pip install "earthwords[serve]".')


def _begin_anew() -> None:
    """Start the same command again with `MEMORY` in its environment: malloc reads it when a process begins."""
    if os.name != "posix" or "serve" not in sys.orig_argv or all(name in os.environ for name in MEMORY):
        for name, value in MEMORY.items():
            os.environ.setdefault(name, value)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**MEMORY, **os.environ})


def _bind(host: str, port: int) -> socket.socket:
    """Take the port, before anything heavy is loaded."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        listening = socket.socket(family, kind)
    except OSError as error:
        raise UsageError(f"{host} is no address to listen at ({error.strerror or error}).") from error
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UsageError(
            f"Port {port} of {host} cannot be taken ({(error.strerror or str(error)).lower()}); choose another by "
            "--port, or 0 for a free one."
        ) from error
    return listening


def _workspace(folder: Path, asked: Path | None, notes: list[str]) -> Path:
    """Where everything is written; beside the rasters, or where that cannot be, in the user's cache."""
    from earthwords.serve.library import WORKSPACE

    own = asked if asked is not None else folder / WORKSPACE
    if _writable(own):
        return own.resolve()
    if asked is not None:
        raise OutputError(f"The workspace {asked} cannot be written; choose another one.")
    import hashlib

    from earthwords.models.weights.table import cache_folder

    other = cache_folder() / "serve" / hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    if not _writable(other):
        raise OutputError(f"Neither {own} nor {other} can be written; choose a --workspace.")
    notes.append(f"{folder} cannot be written, so everything is kept in {other}.")
    return other.resolve()


@contextmanager
def _alone(workspace: Path) -> Iterator[Path]:
    """Have a workspace for oneself: a second server would end the jobs of the first; a dead server has none."""
    with locked(workspace) as free:
        if not free:
            raise UsageError(f"Another server works in {workspace}; end it, or choose another --workspace.")
        yield workspace


def _writable(folder: Path) -> bool:
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    return False
