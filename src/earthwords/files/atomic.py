"""Files that appear whole or not at all."""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from earthwords.errors import OutputError, UsageError, printable
from earthwords.files.paths import utf8_name

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SIDECARS = (".aux.xml", ".ovr", ".msk")
"""What GDAL reads beside a raster; left over from an older file they would spoil the new one."""

SHAPE_PARTS = (".shx", ".dbf", ".prj", ".cpg")
"""What a shapefile is made of beside its .shp."""
_SHAPE_INDICES = (".qix", ".sbn", ".sbx", ".fbn", ".fbx", ".idm", ".ind", ".atx", ".qpj", ".shp.xml")
"""What other programs make of it; left over from an older file they would spoil the new one."""

HIDDEN = ".part"
"""Suffix of the hidden folders beside a target, `.NAME.ANYTHING.part`; those of dead processes are removed."""

_ADDRESS = re.compile(r"[A-Za-z][\w+.-]+:/|/vsi")
_OURS = re.compile(r"\..+\.[a-z0-9_]{8}" + re.escape(HIDDEN))
_EARLIER = re.compile(r"tmp[a-z0-9_]{8}" + re.escape(HIDDEN))
_ABANDONED_S = 3600.0


def check_output(path: str | Path, *, overwrite: bool = False) -> Path:
    """Make sure that `path` can be written, before any work is done; makes its folder.

    Raises:
        UsageError: it exists and `overwrite` is False, it is a folder, or it is a URL.
        OutputError: its folder cannot be made or written to.
    """
    target = Path(path)
    check_local(path)
    check_name(target)
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name a file inside it.")
    if os.path.lexists(target) and not overwrite:
        raise exists(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {target.parent} ({_reason(error)}).") from error
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {target.parent} is not writable; choose another one.")
    return target


def exists(path: Path) -> UsageError:
    """The error for an output that is there and may not be replaced."""
    return UsageError(f"{path} exists; pass --overwrite (overwrite=True) to replace it.")


def check_local(path: str | Path) -> None:
    """Raise a `UsageError` for an address; `Path` makes `s3:/bucket` of `s3://bucket`."""
    if _ADDRESS.match(str(path)):
        raise UsageError(f"{path} is not a local path; write to a local one and upload that.")


def check_name(path: Path) -> None:
    """Raise an `OutputError` for a path that GDAL could not write to, since it takes UTF-8 alone."""
    try:
        utf8_name(path)
    except UnicodeError as error:
        raise OutputError(f"{printable(str(path))} is not UTF-8 text; choose another name for DST.") from error


def check_no_others(folder: Path, ours: re.Pattern[str]) -> None:
    """Make sure that a folder that will be replaced holds nothing but what earthwords made, by their names.

    Raises:
        UsageError: naming another file.
    """
    others = sorted(path.name for path in folder.iterdir() if not ours.fullmatch(path.name)) if folder.is_dir() else []
    if others:
        raise UsageError(f"{folder} holds other files, such as {others[0]}; choose another DST.")


@contextmanager
def staging(target: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a hidden folder beside `target`; on success `target` and its sidecars move out of it.

    `target` itself moves last and atomically, so that once it is there everything is; other files in the
    folder are scratch. On any exception, `KeyboardInterrupt` included, the folder goes, as do the parents
    that were made for it, and an existing `target` stays as it was.

    Raises:
        UsageError, OutputError: as `check_output`; `OutputError` also if the block left no such file.
    """
    with parents_made_for(Path(target)):
        target = check_output(target, overwrite=overwrite)
        with hidden_folder(target) as folder:
            yield folder
            with writing(target):
                _commit(folder, check_output(target, overwrite=overwrite))


@contextmanager
def hidden_folder(target: Path) -> Iterator[Path]:
    """Yield a folder of one's own beside `target`, `.NAME.ANYTHING.part`, that goes when the block ends.

    That of a process that was killed goes when anybody next asks for one for the same target.

    Raises:
        OutputError: it cannot be made.
    """
    remove_dead(target)
    with ExitStack() as stack:
        while True:
            with writing(target):
                folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=HIDDEN, dir=target.parent))
            if stack.enter_context(locked(folder)) and folder.is_dir():  # else somebody took it for a dead one
                break
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class StagedWriter:
    """A writer whose `__enter__` stages its file in `_stack`, and which finishes it when the block ends well."""

    _stack: ExitStack

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is not None:
            return self._stack.__exit__(kind, error, trace)
        with self._stack:
            self._finish()
        return None

    def _finish(self) -> None:
        """Complete the file in its hidden folder."""
        raise NotImplementedError


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Hold a lock on a folder, which the system takes away when the process dies; yields False if another holds it.

    Where there are no such locks (Windows, some network file systems) it is always free.
    """
    if fcntl is None:
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        yield True
    finally:
        os.close(handle)


def remove_dead(target: Path) -> None:
    """Remove the hidden folders that killed processes left beside `target`."""
    _remove_dead(target.parent, f".{glob.escape(target.name)}.*{HIDDEN}")


def sweep(folder: Path) -> None:
    """Remove what killed processes left anywhere in a folder that only this program writes to.

    That are hidden folders, and what earlier versions called `tmpANYTHING.part`, once it was not touched for an hour.
    """
    if not folder.is_dir():
        return
    for path in list(folder.iterdir()):
        with suppress(OSError):
            if _OURS.fullmatch(path.name):
                _remove_dead(folder, glob.escape(path.name))
            elif _EARLIER.fullmatch(path.name) and time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def discard(folder: Path) -> None:
    """Remove a hidden folder `.NAME.ANYTHING` at once, not file by file: of what a killed process has not removed
    `remove_dead` knows that it is of no use."""
    hidden = folder.with_name(f"{folder.name}{HIDDEN}")
    with suppress(OSError):
        os.replace(folder, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _remove_dead(folder: Path, pattern: str) -> None:
    if fcntl is None:
        return
    for path in folder.glob(pattern):
        with suppress(OSError), locked(path) as free:
            if free:
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def parents_made_for(target: Path) -> Iterator[None]:
    """After an exception, remove the parents of `target` that were not there before and are empty."""
    missing = [folder for folder in target.parents if not os.path.lexists(folder)]
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()
        raise


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files, if they are there.

    Raises:
        OutputError: one cannot be removed.
    """
    for path in paths:
        with writing(path):
            path.unlink(missing_ok=True)


@contextmanager
def atomic_path(target: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path with the name of `target`, which it replaces on success; see `staging`.

    Raises:
        UsageError, OutputError: as `check_output`; `OutputError` also if writing fails in the block.
    """
    with staging(target, overwrite=overwrite) as folder, writing(target):
        yield folder / Path(target).name


@contextmanager
def writing(target: str | Path) -> Iterator[None]:
    """Turn an `OSError` inside the block, such as a full disk, into an `OutputError` naming `target`."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"Cannot write {shown(target)} ({_reason(error)}); free some space or choose another place."
        ) from error


def _commit(folder: Path, target: Path) -> None:
    check_written(folder / target.name)
    for sidecar in (path.name for path in beside(target)):
        if (folder / sidecar).exists():
            os.replace(folder / sidecar, target.with_name(sidecar))
        else:
            target.with_name(sidecar).unlink(missing_ok=True)
    os.replace(folder / target.name, target)


def shape_parts(target: Path) -> list[Path]:
    """The other files of a shapefile; none of another file."""
    return [target.with_suffix(suffix) for suffix in SHAPE_PARTS] if target.suffix.lower() == ".shp" else []


def beside(target: Path) -> list[Path]:
    """What belongs to a file that is written, beside it."""
    found = [target.with_name(target.name + suffix) for suffix in SIDECARS]
    if target.suffix.lower() != ".shp":
        return found
    return [*found, *shape_parts(target), *(target.with_suffix(suffix) for suffix in _SHAPE_INDICES)]


def check_written(staged: Path) -> None:
    """Raise an `OutputError` unless a file is there."""
    if not staged.is_file():
        raise OutputError(f"{shown(staged)} was not written.")


def shown(path: str | Path) -> Path:
    """`path` for the eyes of the user: without the hidden folders of `staging`."""
    kept = [part for part in Path(path).parts if not (part.startswith(".") and part.endswith(HIDDEN))]
    return Path(*kept)


def without_hidden(text: str) -> str:
    """What GDAL says, without the hidden folders of `staging`."""
    return re.sub(r"\.[^/\\]*" + re.escape(HIDDEN) + r"[/\\]", "", text)


def _reason(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split())
