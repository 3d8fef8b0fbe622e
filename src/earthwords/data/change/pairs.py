"""The pairs of a set for change in a folder, by the folder's layout, and their pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthwords.data.change.spec import ANY, ChangeSetSpec, all_change_sets, find_change_set
from earthwords.data.segmentation.encoding import read_labels
from earthwords.data.segmentation.layout import Files, find
from earthwords.data.segmentation.spec import Layout
from earthwords.errors import SourceError, UsageError
from earthwords.files.paths import check_folder


@dataclass(frozen=True, kw_only=True)
class ChangePair:
    """Two images of a place and the mask of what changed."""

    name: str
    before: Path
    after: Path
    labels: Path
    spec: ChangeSetSpec
    earlier_labels: Path | None = None

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Both images `(row, col, 3)` and the change `(row, col)`: 0 unchanged, 1 changed, 255 does not count.

        Raises:
            SourceError: a file is missing or damaged, or sizes differ.
        """
        from earthwords.data.annotations.image_io import read_rgb

        images = read_rgb(str(self.before)).copy(), read_rgb(str(self.after)).copy()  # PIL's may not be written to
        labels = read_labels(self.labels, self.spec.encoding)
        for path, shape in ((self.after, images[1].shape[:2]), (self.labels, labels.shape)):
            if shape != images[0].shape[:2]:
                raise SourceError(
                    f"{path} is {shape[0]} x {shape[1]} pixels, {self.before} {images[0].shape[0]} x "
                    f"{images[0].shape[1]}; the files of a pair lie on the same pixels."
                )
        return *images, labels


@dataclass(frozen=True, kw_only=True)
class ChangePairs:
    """Pairs of one part of a set."""

    spec: ChangeSetSpec
    split: str
    """`any` where the folder has no parts."""
    root: Path
    """Where the patterns begin."""
    pairs: tuple[ChangePair, ...]
    lonely: tuple[Path, ...]
    """Files without their partners."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[ChangePair]:
        return iter(self.pairs)


def find_pairs(root: Path, *, split: str | None = None, name: str | None = None) -> ChangePairs:
    """The pairs in a folder.

    Args:
        root: a set as it is unpacked, or up to two levels above; or any folder with A, B and label in it.
        split: the part wanted, such as `train`; None: all pairs of a folder without parts, else the set's last part.
        name: of the set; None: the first whose layout is found, but none that needs a list of names.

    Raises:
        UsageError: no such set, folder or part, or no layout that is known.
        SourceError: two files have one name, or a list of names is missing.
    """
    check_folder(root, what="a set of pairs for change")
    rows = tuple(s for s in all_change_sets() if not s.listed) if name is None else (find_change_set(name),)
    for spec in rows:
        for part in _parts(spec, split):
            found = _found(root, spec, part)
            if found is not None and found.pairs:
                return found
    part = "" if split is None else f" for the part {split!r}"
    asked = "any known layout" if name is None else rows[0].title
    raise UsageError(
        f"{root} does not hold {asked}{part}: expected {_told(rows[-1], split)}; `earthwords data list` has the sets."
    )


def _parts(spec: ChangeSetSpec, split: str | None) -> tuple[str, ...]:
    if split is None:
        return tuple(reversed(spec.splits))
    return (split,) if split in spec.splits or spec.splits == (ANY,) else ()


def _found(root: Path, spec: ChangeSetSpec, split: str) -> ChangePairs | None:
    """Pairs whose three files are there; None: a kind of file is not."""

    def files(patterns: tuple[str, ...]) -> Files | None:
        filled, labels, listed = (
            tuple(p.replace("{split}", split) for p in each) for each in (patterns, spec.labels, spec.listed)
        )
        return find(root, Layout(images=filled, labels=labels, encoding=spec.encoding, listed=listed, all_there=False))

    before, after = files(spec.before), files(spec.after)
    if before is None or after is None or before.root != after.root:
        return None
    earlier = files(spec.earlier_labels) if spec.earlier_labels else None
    second = {each.name: each.image for each in after.pairs}
    was = {} if earlier is None else {each.name: each.image for each in earlier.pairs}
    pairs = [
        ChangePair(
            name=each.name, before=each.image, after=second[each.name], labels=each.labels, spec=spec,
            earlier_labels=was.get(each.name),
        )
        for each in before.pairs
        if each.name in second
    ]  # fmt: skip
    used = {path for pair in pairs for path in (pair.before, pair.after, pair.labels)}
    there = [path for files in (before, after) for path in (*files.lonely, *(each.image for each in files.pairs))]
    lonely = tuple(sorted(set(there) - used))
    in_parts = any("{split}" in p for p in spec.before) and bool(pairs)
    apart = spec.listed or (in_parts and split.lower() in _folders(pairs[0].before, before.root))
    return ChangePairs(
        spec=spec, split=split if apart else ANY, root=before.root, pairs=tuple(pairs), lonely=lonely
    )  # fmt: skip


def _folders(path: Path, root: Path) -> list[str]:
    """Names of the folders between a root and a file, in lower case."""
    return [part.lower() for part in path.relative_to(root).parts[:-1]]


def _told(spec: ChangeSetSpec, split: str | None) -> str:
    part = split or spec.splits[0]
    return ", ".join(p[0].replace("{split}", part) for p in (spec.before, spec.after, spec.labels))
