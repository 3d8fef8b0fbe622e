"""Finds the files of a set: patterns with parts in braces, the same whatever the case of letters."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from earthwords.data.segmentation.spec import Layout
from earthwords.errors import SourceError, UsageError, brief
from earthwords.files.plaintext import read_text

DEPTH = 2
"""Folders that may lie between the folder given and the one where the patterns begin."""
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """An image and its labels."""

    name: str
    image: Path
    labels: Path


@dataclass(frozen=True, kw_only=True)
class Files:
    """What a layout finds below a root."""

    root: Path
    """Where the patterns begin."""
    pairs: tuple[LabelledImage, ...]
    """Sorted by name, numbers in order."""
    lonely: tuple[Path, ...]
    """Images without labels, labels without an image."""
    missing: tuple[str, ...]
    """Names that are asked for by a list and are not there."""


def find(
    root: Path, layout: Layout, *, only: Sequence[str] = (), accept: Callable[[Path], bool] = lambda place: True
) -> Files | None:
    """The files of a layout in a folder, or in one of those up to two levels below it; None: there are none.

    Args:
        only: names that count; empty: all, or those of the layout's list.
        accept: whether a folder may be it.

    Raises:
        UsageError: several folders of a level hold the layout.
        SourceError: two images have one name, or the list is missing or cannot be read.
    """
    for level in _levels(root):
        found = {place: both for place in level if accept(place) and any(both := _both(place, layout))}
        if len(found) > 1:
            raise UsageError(f"{root} holds several that it could be ({_few(list(found))}); name one of them.")
        for place, (images, labels) in found.items():
            wanted = set(only) or _listed(place, layout.listed)
            if wanted:
                images = {name: path for name, path in images.items() if name in wanted}
                labels = {name: path for name, path in labels.items() if name in wanted}
            return _paired(place, images, labels, wanted if layout.all_there else set())
    return None


def wrong_layout(root: Path, title: str, layouts: Sequence[Layout]) -> UsageError:
    """The error for a folder that holds none of the layouts: what was expected, and what is there."""
    wanted = " or ".join(f"{layout.images[0]} with {layout.labels[0]}" for layout in layouts)
    return UsageError(f"{root} does not hold {title}: expected {wanted}, found {_contents(root)}.")


def natural(text: str) -> list[tuple[int, str]]:
    """A key that puts 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def fill(pattern: str, key: str) -> str:
    """The path of an item of a pattern whose only part in braces is `{key}`."""
    return pattern.format(key=key)


def _contents(root: Path) -> str:
    """What lies in a folder, in a few words."""
    if not root.is_dir():
        return "no such folder"
    names = sorted(path.name + "/" * path.is_dir() for path in root.iterdir() if not path.name.startswith("."))
    return _few(names) if names else "nothing"


def _few(what: Sequence[object]) -> str:
    return ", ".join(map(str, what[:_SHOWN])) + (f" and {len(what) - _SHOWN:,} more" if len(what) > _SHOWN else "")


def _both(place: Path, layout: Layout) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and labels of a folder by name."""
    return _named(place, layout.images, layout.name), _named(place, layout.labels, layout.name)


def _paired(place: Path, images: dict[str, Path], labels: dict[str, Path], wanted: set[str]) -> Files:
    both = sorted(images.keys() & labels.keys(), key=natural)
    lonely = [(images.get(name) or labels[name]) for name in sorted(images.keys() ^ labels.keys(), key=natural)]
    return Files(
        root=place,
        pairs=tuple(LabelledImage(name=name, image=images[name], labels=labels[name]) for name in both),
        lonely=tuple(lonely),
        missing=tuple(sorted(wanted - images.keys() - labels.keys(), key=natural)),
    )


def _levels(root: Path) -> Iterator[list[Path]]:
    """The folder itself, then those below it, level by level."""
    level = [root] if root.is_dir() else []
    for _ in range(DEPTH + 1):
        yield level
        level = [Path(entry.path) for place in level for entry in _folders(place)]


def _folders(place: Path) -> list[os.DirEntry[str]]:
    with os.scandir(place) as entries:
        return sorted((e for e in entries if not e.name.startswith(".") and e.is_dir()), key=lambda e: e.name)


def _named(root: Path, patterns: Sequence[str], name: str) -> dict[str, Path]:
    """Files by name, of the first pattern that finds any."""
    for pattern in patterns:
        found: dict[str, Path] = {}
        for path, parts in _walk(root, tuple(pattern.split("/")), {}):
            key = name.format(**parts)
            if key in found:
                raise SourceError(f"{found[key]} and {path} have the same name {key!r}; keep one of them.")
            found[key] = path
        if found:
            return found
    return {}


def _walk(folder: Path, segments: tuple[str, ...], parts: dict[str, str]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Files that match a pattern, and what its braces stand for."""
    matches, last = _matcher(segments[0]), len(segments) == 1
    with os.scandir(folder) as entries:
        here = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in here:
        if (match := matches(entry.name)) is None or entry.is_dir() is last:
            continue
        inner = {**parts, **match.groupdict()}
        if any(inner[key] != value for key, value in parts.items()):
            continue
        if last:
            yield Path(entry.path), inner
        else:
            yield from _walk(Path(entry.path), segments[1:], inner)


@lru_cache(maxsize=256)
def _matcher(segment: str) -> Callable[[str], re.Match[str] | None]:
    pieces = re.split(r"(\{\w+\}|\*)", segment)
    text = "".join(
        f"(?P<{piece[1:-1]}>.+?)" if piece.startswith("{") else ".*" if piece == "*" else re.escape(piece)
        for piece in pieces
    )
    return re.compile(text, re.IGNORECASE).fullmatch


def _listed(root: Path, patterns: Sequence[str]) -> set[str]:
    """Names in the first list that is there."""
    for pattern in patterns:
        for path, _ in _walk(root, tuple(pattern.split("/")), {}):
            try:
                lines = read_text(path).split()
            except (OSError, ValueError) as error:
                raise SourceError(f"Cannot read the list {path}: {brief(error)}.") from error
            return {re.sub(r"\.(png|jpe?g|tiff?)$", "", line.rsplit("/", 1)[-1], flags=re.I) for line in lines}
    if patterns:
        raise SourceError(f"{root} has no list {patterns[0]}, which names the images that count; add it.")
    return set()
