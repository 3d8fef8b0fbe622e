"""Which rasters a SRC means, and where the results of each go. Loads nothing heavy: every verb asks here first."""

from __future__ import annotations

import glob
import itertools
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from earthwords.errors import UsageError
from earthwords.files.paths import with_stem
from earthwords.files.plaintext import Unreadable, read_names

if TYPE_CHECKING:
    from earthwords.geo.sources.inputs import Inputs
    from earthwords.presets import SegmentPreset

RASTERS = (".tif", ".tiff", ".vrt", ".jp2", ".img", ".png", ".jpg", ".jpeg")
"""What is taken from a folder; of files that differ in nothing else, the first kind has the simplest name."""
FIELDS = ("{stem}", "{parent}")
"""What a DST for many scenes may hold: the name of a scene without suffix, and its folder below SRC."""

CLOSED = "may not be entered"

Say = Callable[[str], None]


class Sources(list[str]):
    """Paths and addresses, each once, in order."""

    left_out: dict[str, str]
    """What lies among them and is not taken, and why."""

    def __init__(self, found: Iterable[str] = (), left_out: dict[str, str] | None = None) -> None:
        super().__init__(found)
        self.left_out = left_out or {}
        self.names: dict[str, str] = {}
        """Of sources that have a name of their own, such as the ids of STAC Items."""


def is_pattern(src: str) -> bool:
    """Whether `src` is a pattern of paths rather than one path, an address or XML."""
    wild = any(letter in src for letter in "*?[") and not os.path.lexists(src)
    return wild and "://" not in src and not src.lstrip().startswith(("<", "/vsi"))


def find_sources(src: str, *, say: Say = lambda sentence: None) -> Sources | None:
    """The rasters of a folder, of a pattern with * or ?, or of a list `@FILE`; None: `src` is a single one.

    Files that earthwords wrote are no scenes, unless they are named one by one.

    Args:
        say: told in one line what was left out.

    Raises:
        UsageError: there are none, or the list cannot be read.
    """
    if (listed := getattr(src, "listed", None)) is not None:
        return cast(Sources, listed)
    left_out: dict[str, str] = {}
    if src.startswith("@"):
        found = _listed(src[1:])
    elif os.path.isdir(src):
        found = _without_own(_inside(src, left_out), left_out)
    elif is_pattern(src):
        found = _without_own(sorted(filter(os.path.isfile, glob.glob(src, recursive=True))), left_out)
    else:
        return None
    for sentence in _left_out_notes(left_out):
        say(sentence)
    if not found:
        raise UsageError(_nothing(src, left_out))
    return Sources(found, left_out)


def all_sources(names: Iterable[str], *, say: Say = lambda sentence: None) -> list[str]:
    """Everything that several of them mean; see `find_sources`."""
    found: list[str] = []
    for name in names:
        listed = find_sources(name, say=say)
        if listed is None:
            note_own(name, say)
        found += [name] if listed is None else listed
    return found


def note_own(source: str, say: Say) -> None:
    """Say of a single source that it is an output of earthwords, which was meant if it was named."""
    if not os.path.isfile(source):
        return
    from earthwords.files.output_tags import OWN, wrote

    if wrote(source):
        say(f"Note: {source} {OWN}.")


def inputs_of(
    sources: Iterable[str] = (),
    *,
    listed: Iterable[str] = (),
    lists: Iterable[str] = (),
    row: SegmentPreset | None = None,
    mask: str | Path | None = None,
    **options: Any,
) -> Inputs:
    """Everything that a command reads and must not replace.

    Args:
        sources, listed: rasters, see `Inputs`.
        lists: SRC as it was given, which may be a list `@FILE`.
        row: a preset, which may name files.
        mask: the option, which may hold the name of each source.
        options: by their names, with `_` for `-`: files, folders of models, or names of other things; what is in memory
            is passed over.
    """
    from earthwords.geo.sources.inputs import Inputs

    lists = tuple(map(os.fspath, lists))
    files = [getattr(name, "file", None) for name in (*sources, *listed, *lists)]
    sources, listed = tuple(map(str, sources)), tuple(map(str, listed))
    named = {name: value for name, value in options.items() if isinstance(value, (str, Path))}
    others: dict[str, str | Path | None] = {f"--{name.replace('_', '-')}": value for name, value in named.items()}
    if mask is not None:
        masks = dict.fromkeys(with_stem(str(mask), source) for source in (*sources, *listed))
        others |= {f"--mask {value}": value for value in masks}
    if row is not None:
        parts = {
            "weights": row.weights,
            "upsampler": row.upsampler_weights,
            "head": row.head,
            "templates": row.templates,
        }
        others |= {f"the {name} of the preset": value for name, value in parts.items()}
    others |= {f"STAC {name}": name for name in files if name is not None}
    others |= {f"the list {name}": name[1:] for name in lists if name.startswith("@")}
    return Inputs(sources, listed=listed, others=others)


def check_apart(folder: str | Path, results: Iterable[str], read: Mapping[str, str | Path | None]) -> None:
    """Refuse a folder of results in which a file that is read, or that others wrote, would be replaced.

    Args:
        results: names of files in the folder.
        read: what it is, such as `--model`, to a file, the folder of a model, or the name of something else.

    Raises:
        UsageError: naming the file.
    """
    from earthwords.files.ownership import check_ours
    from earthwords.geo.sources.inputs import Inputs

    places = [Path(folder, name) for name in results]
    Inputs(others=read).check(places)
    check_ours(places)


def _listed(file: str) -> list[str]:
    try:
        lines = read_names(file)
    except Unreadable as error:
        raise UsageError(f"Cannot read the list {file} ({error}).") from error
    named = (line for line in lines if line and not line.startswith("#"))
    return list({os.path.abspath(line) if os.path.lexists(line) else line: line for line in named}.values())


def _inside(folder: str, left_out: dict[str, str]) -> list[str]:
    """The rasters below a folder, sorted; nothing hidden."""

    def closed(error: OSError) -> None:
        left_out[str(error.filename)] = CLOSED

    found = []
    for place, folders, names in os.walk(folder, onerror=closed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = (name for name in names if not name.startswith("."))
        found += [str(Path(place, name)) for name in shown if Path(name).suffix.lower() in RASTERS]
    return sorted(found)


def _without_own(found: list[str], left_out: dict[str, str]) -> list[str]:
    if not found:
        return []
    from earthwords.files.output_tags import OWN, wrote

    own = {source for source in found if Path(source).suffix.lower() in RASTERS and wrote(source)}
    left_out |= dict.fromkeys(sorted(own), OWN)
    return [source for source in found if source not in own]


def _left_out_notes(left_out: dict[str, str]) -> list[str]:
    """A sentence for every reason."""
    sentences = []
    for why in dict.fromkeys(left_out.values()):
        paths = [path for path, reason in left_out.items() if reason == why]
        if why != CLOSED:
            files = "1 file" if len(paths) == 1 else f"{len(paths):,} files"
            sentences.append(f"Left out {files} that earthwords wrote, such as {paths[0]}.")
        else:
            sentences += [f"Left out the folder {path}: it {why}." for path in paths]
    return sentences


def _nothing(src: str, left_out: dict[str, str]) -> str:
    if left_out:
        path, why = next(iter(left_out.items()))
        return f"No raster was found for {src}; {path} {why}."
    if os.path.isdir(src) and not os.listdir(src):
        return f"No raster was found for {src}: the folder is empty."
    return f"No raster was found for {src}; a folder is searched for {', '.join(RASTERS)}."


def places_of(sources: Sequence[str], dst: Path, root: str) -> dict[str, Path]:
    """Source to its DST: the same for the same sources, however they are sorted, and never one for two.

    Scenes keep their folders below `root`, or below what a list has in common. Of scenes that differ only in their
    suffix, the first kind of `RASTERS` gets the plain name, others have the suffix in theirs.

    Raises:
        UsageError: `dst` is a single file, or a pattern that does not tell two scenes apart.
    """
    pattern = str(dst)
    named = any(field in pattern for field in FIELDS)
    if not named and dst.suffix and not dst.is_dir():
        raise UsageError(
            f"{len(sources)} scenes cannot go into the one file {dst}; name a folder, or a pattern such as "
            f"maps/{{stem}}{dst.suffix}."
        )
    homes = _homes(sources, root, getattr(sources, "names", {}))
    taken: dict[str, str] = {}
    places: dict[str, Path] = {}
    for source in sorted(sources, key=lambda source: (_rank(homes[source].suffix), source)):
        for place in _candidates(homes[source], dst, named=named):
            other = taken.setdefault(_folded(place), source)
            if other == source:
                places[source] = place
                break
            if named and ("{stem}" not in pattern or homes[other].folder != homes[source].folder):
                raise UsageError(
                    f"{other} and {source} would both be written to {place}; name a folder as DST, or a pattern that "
                    f"tells them apart, such as maps/{{parent}}/{{stem}}{dst.suffix}."
                )
    return {source: places[source] for source in sources}


def folder_of(dst: Path) -> Path:
    """The folder that all outputs of many scenes lie in."""
    fixed = re.split("|".join(map(re.escape, FIELDS)), str(dst))
    return Path(os.path.dirname(fixed[0])) if len(fixed) > 1 else dst


def gets_folders(dst: Path) -> bool:
    """Whether every one of many scenes gets a folder of outputs, not a file: names of scenes may have dots."""
    pattern = str(dst)
    for field in FIELDS:
        pattern = pattern.replace(field, "x")
    return pattern == str(dst) or not Path(pattern).suffix


@dataclass(frozen=True)
class _Home:
    """Where a source lies and what it is called."""

    folder: tuple[str, ...]
    stem: str
    suffix: str


def _candidates(home: _Home, dst: Path, *, named: bool) -> Iterator[Path]:
    """Places for the outputs of a source, the plainest first: without the suffix, with it, numbered."""
    suffix = _safe(home.suffix)
    numbered = (f"{home.stem}_{suffix}_{number}" for number in itertools.count(2))
    for name in itertools.chain((home.stem, f"{home.stem}_{suffix}"), numbered):
        if named:
            yield Path(str(dst).replace("{parent}", "/".join(home.folder)).replace("{stem}", name))
        else:
            yield Path(dst, *home.folder, name)


def _homes(sources: Sequence[str], root: str, names: Mapping[str, str]) -> dict[str, _Home]:
    """Every source with its folder below what it has in common with the others; or its own name."""
    if names:
        return {source: _Home((), _safe(names[source]), Path(source.partition("?")[0]).suffix) for source in sources}
    homes = {source: _home(source) for source in sources}
    if root.startswith("@"):
        levels = zip(*(home.folder for home in homes.values()), strict=False)
        common = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
    else:
        common = len(_absolute(root if os.path.isdir(root) else _fixed(root)))
    return {source: replace(home, folder=home.folder[common:]) for source, home in homes.items()}


def _fixed(pattern: str) -> str:
    """The folder of a pattern, as far as it has no letters that stand for others: it stays when scenes are added."""
    parts = Path(pattern).parts[:-1]
    fixed = next((i for i, part in enumerate(parts) if any(letter in part for letter in "*?[")), len(parts))
    return str(Path(*parts[:fixed]))


def _home(source: str) -> _Home:
    """Of a path, an address, or a name of GDAL's such as `NETCDF:"a.nc":red`."""
    if "://" in source:
        address = urlsplit(source)
        path = Path(unquote(address.path).lstrip("/") or "scene")
        folder = (_safe(address.scheme), _safe(address.netloc), *map(_safe, path.parent.parts))
        return _Home(folder, _safe(path.stem), path.suffix)
    if ":" in source[2:] and not os.path.lexists(source):
        return _Home((), _safe(re.sub(r"[^:\"]*[/\\]", "", source).replace(".", "_")), "")
    path = Path(source)
    return _Home(_absolute(str(path.parent)), path.stem, path.suffix)


def _absolute(folder: str) -> tuple[str, ...]:
    path = Path(os.path.abspath(folder))
    return (*([_safe(path.drive)] if path.drive else []), *path.parts[1:])


def _safe(part: str) -> str:
    """As a name of a file; nothing leads upwards."""
    return re.sub(r"[^\w.+-]+", "_", part).strip("_").lstrip(".") or "_"


def _rank(suffix: str) -> int:
    return RASTERS.index(suffix.lower()) if suffix.lower() in RASTERS else len(RASTERS)


def _folded(place: Path) -> str:
    """The same for places that some file systems take for one."""
    return unicodedata.normalize("NFC", os.path.normpath(place)).casefold()
