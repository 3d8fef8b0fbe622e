"""Sets in a folder, by their names, by what `prepare` noted, or by folders that bear their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from earthwords.data.segmentation.loader import SegmentationSet, open_set
from earthwords.data.segmentation.manifest import read_manifest
from earthwords.data.segmentation.spec import DatasetSpec, all_specs, find_spec
from earthwords.errors import UsageError, did_you_mean
from earthwords.files.paths import check_folder


def find_sets(root: Path, names: Sequence[str] = ()) -> list[SegmentationSet]:
    """The sets named, or all there are, each once.

    Args:
        root: a set, or a folder of sets, each in a folder that `earthwords data prepare` made or whose name holds the
            set's (`dubai_mbrsc`).
        names: of sets, or of folders in `root`.

    Raises:
        UsageError: no such folder, no such set, or it is not there.
        SourceError: images and labels of one do not fit together.
    """
    check_folder(root, what="a data set, or several (--data)")
    found = [_named(name, root) for name in names] if names else _all(root)
    if not found:
        known = ", ".join(path.name for path in _folders(root)[:8]) or "nothing"
        raise UsageError(
            f"No folder in {root} bears the name of a set for segmentation (found {known}); name the set as "
            "`earthwords data list` shows it."
        )
    return list({each.spec.name: each for each in found}.values())


def _named(name: str, root: Path) -> SegmentationSet:
    """A set by its own name, or by that of its folder."""
    plain = name.strip().lower().replace("_", "-")
    spec = next((spec for spec in all_specs() if spec.name == plain), None)
    folder = root / name
    if spec is None:
        spec = named_by(folder) if folder.is_dir() else None
        if spec is None:
            there = [found.name for path in _folders(root) if (found := named_by(path))]
            raise UsageError(
                f"{name!r} is no set for segmentation, and no folder of one in {root}. "
                f"{did_you_mean(plain, there or [each.name for each in all_specs()])}"
            )
        return open_set(spec, folder)
    folders = [folder] if folder.is_dir() else [path for path in _folders(root) if named_by(path) is spec]
    if len(folders) > 1:
        both = " and ".join(path.name for path in folders)
        raise UsageError(f"{root} holds {spec.title} more than once ({both}); name the folder.")
    return _open(spec, folders[0], root) if folders else open_set(spec, root)


def _all(root: Path) -> list[SegmentationSet]:
    """Those in the folders of `root` in the order of tables, or `root` itself."""
    folders: dict[str, Path] = {}
    for path in _folders(root):
        spec = named_by(path)
        if spec is None:
            continue
        if spec.name in folders:
            raise UsageError(f"{folders[spec.name]} and {path} both are {spec.title}; name the one to measure.")
        folders[spec.name] = path
    itself = named_by(root)
    if not folders and itself is not None:
        return [open_set(itself, root)]
    return [_open(spec, folders[spec.name], root) for spec in all_specs() if spec.name in folders]


def _open(spec: DatasetSpec, folder: Path, root: Path) -> SegmentationSet:
    """A set in a folder, or in `root`, where patterns begin with that folder's name."""
    try:
        return open_set(spec, folder)
    except UsageError:
        try:
            return open_set(spec, root)
        except UsageError:
            pass
        raise


def named_by(folder: Path) -> DatasetSpec | None:
    """The set whose name a folder bears: as prepared, else all words of the set's name or title are in the folder's."""
    manifest = read_manifest(folder)
    if manifest is not None:
        return find_spec(manifest.set)
    words = _words(folder.name)
    best, most = None, 0
    for spec in all_specs():
        for wanted in (_words(spec.name), _words(spec.title)):
            if wanted <= words and len(wanted) > most:
                best, most = spec, len(wanted)
    return best


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9]+", text.lower()))


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
