"""Outputs that belong together: they appear one after another, and a run that dies in between finds its own again.

Before the first of them moves to its place, a hidden file beside it, `.NAME.moving`, says what they were made with, and
size and time of each; when the last one is in its place, it goes. A process that dies in between leaves it there: by it
the same command knows which files are its own, and replaces these. Another command is refused, as are files of others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from earthwords.errors import UsageError
from earthwords.files.atomic import check_written, locked, parents_made_for, remove_dead, staging, writing
from earthwords.files.reading import read_json

MOVING = ".moving"

Stamp: TypeAlias = tuple[int, int]
"""Size and time of a file; of a folder its time alone. Renaming changes neither."""
Announce: TypeAlias = Callable[[Mapping[Path, Path]], None]


@dataclass(frozen=True, kw_only=True)
class HalfSet:
    """What is there of a set whose process died while it moved; make one with `half_set`."""

    marker: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """What it was made with."""
    files: Mapping[str, frozenset[Stamp]] = field(default_factory=dict)
    """Path from the marker's folder -> what may be there."""

    def owns(self, target: Path) -> bool:
        """Whether what is at a path is of the set, unchanged since."""
        return _stamp(target) in self.files.get(self.name(target), ())

    def name(self, target: Path) -> str:
        """Path from the marker's folder."""
        return os.path.relpath(target, self.marker.parent)

    def check(self, settings: Mapping[str, str]) -> None:
        """Refuse to take the set for that of another command.

        Raises:
            UsageError: it was made with something else; says what.
        """
        if any(self.owns(self.marker.parent / name) for name in self.files):
            advice = "run with what it was begun with, or replace its outputs by --overwrite (overwrite=True)"
            check_same(self.marker.parent, self.settings, settings, advice=advice)


def half_set(targets: Iterable[Path]) -> HalfSet:
    """What a dead process has left of the set of these outputs; nothing, if it finished or never began to move.

    Raises:
        UsageError: the process is alive.
    """
    marker = _marker(targets)
    with suppress(OSError), locked(marker) as free:
        if not free:
            raise UsageError(f"Another process is writing to {marker.parent}; wait for it, or choose another DST.")
    return _read(marker)


@contextmanager
def output_set(
    targets: Iterable[Path], *, settings: Mapping[str, str], overwrite: bool, moved: Callable[[], None] = lambda: None
) -> Iterator[tuple[HalfSet, Announce]]:
    """Yield what an earlier run has left of the set, and what the block calls before it moves the first output.

    That is called with target -> what will be moved there. When the block ends, everything is in its place.

    Args:
        targets: of all outputs; the first one names the hidden file.
        settings: what the outputs depend on, as text.
        overwrite: take any output that is there.
        moved: called in the end, while a death would still make the same command begin again.

    Raises:
        UsageError: the earlier run was another command.
    """
    targets = tuple(targets)
    half = half_set(targets)
    if not overwrite:
        half.check(settings)
    with parents_made_for(half.marker), ExitStack() as stack:

        def announce(staged: Mapping[Path, Path]) -> None:
            files = {half.name(target): [_stamp(path)] for target, path in staged.items()}
            for target in filter(half.owns, targets):  # in case that it is never replaced
                files.setdefault(half.name(target), []).append(_stamp(target))
            part = next(iter(staged.values())).with_name(half.marker.name)
            with writing(half.marker):
                part.write_text(json.dumps({"settings": dict(settings), "files": files}), encoding="utf-8")
                stack.enter_context(locked(part))
                os.replace(part, half.marker)

        try:
            yield half, announce
        except BaseException as error:
            left = _read(half.marker)
            if any(map(left.owns, targets)):
                error.add_note("Some outputs are in their places already; the same command goes on from here.")
            elif half.marker.exists():
                half.marker.unlink()
            raise
        moved()
        half.marker.unlink(missing_ok=True)


@contextmanager
def staging_all(
    targets: Mapping[str, str | Path],
    *,
    settings: Mapping[str, str],
    overwrite: bool = False,
    moved: Callable[[], None] = lambda: None,
) -> Iterator[dict[str, Path]]:
    """`staging` for several files at once: yields a temporary path for each key of `targets`.

    They appear one after another in the order of `targets`, once the block has written all of them; after
    an exception none does.

    Args:
        settings, moved: see `output_set`.

    Raises:
        UsageError, OutputError: as `staging`, before the block for all that can be known then; `UsageError` also if
            another command died while these outputs moved.
    """
    paths = {key: Path(target) for key, target in targets.items()}
    with output_set(paths.values(), settings=settings, overwrite=overwrite, moved=moved) as (half, announce):
        own = {key: overwrite or half.owns(path) for key, path in paths.items()}
        with ExitStack() as stack:
            folders = {
                key: stack.enter_context(staging(path, overwrite=own[key])) for key, path in reversed(paths.items())
            }
            places = {key: folders[key] / path.name for key, path in paths.items()}
            yield places
            for place in places.values():
                check_written(place)
            announce({paths[key]: place for key, place in places.items()})


def tidy(targets: Iterable[Path]) -> None:
    """Remove what dead processes have left beside outputs that are whole."""
    targets = tuple(targets)
    for target in targets:
        remove_dead(target)
    with suppress(OSError, UsageError):
        half_set(targets).marker.unlink(missing_ok=True)


def check_same(
    place: Path,
    earlier: Mapping[str, str],
    settings: Mapping[str, str],
    *,
    advice: str,
    what: str = "An unfinished run lies",
) -> None:
    """Raise a `UsageError` that names the first difference to the settings of what lies in a place."""
    for name in sorted({*earlier, *settings}):
        was, now = earlier.get(name, "not given"), settings.get(name, "not given")
        if was != now:
            raise UsageError(f"{what} in {place}, but its {name} was {_short(was)} and is {_short(now)} now; {advice}.")


def _marker(targets: Iterable[Path]) -> Path:
    first = next(iter(targets))
    return first.with_name(f".{first.name}{MOVING}")


def _read(marker: Path) -> HalfSet:
    """What a marker says; nothing where there is none, or another file."""
    try:
        record = read_json(marker)
        files = {name: frozenset((size, time) for size, time in stamps) for name, stamps in record["files"].items()}
        return HalfSet(marker=marker, settings=dict(record["settings"]), files=files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return HalfSet(marker=marker)


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (0 if path.is_dir() else found.st_size), found.st_mtime_ns


def _short(value: str) -> str:
    return value if len(value) <= 80 else f"{value[:77]}..."
