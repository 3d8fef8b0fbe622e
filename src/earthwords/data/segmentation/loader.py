"""A set on disk, read item by item."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, overload

from earthwords.data.segmentation.encoding import Labels, read_labels
from earthwords.data.segmentation.layout import Files, LabelledImage, find, wrong_layout
from earthwords.data.segmentation.manifest import read_manifest, sha256
from earthwords.data.segmentation.spec import DatasetSpec, Layout, find_spec
from earthwords.errors import SourceError
from earthwords.types import Vocabulary


class Sample(NamedTuple):
    """An image that is still on disk, and its truth."""

    image: Path
    labels: Labels
    """`(row, col)` uint8 classes; 255 does not count."""
    name: str


@dataclass(frozen=True, kw_only=True)
class SegmentationSet:
    """Images and labels of a set; nothing is held but names.

    Example:
        >>> found = earthwords.open_set("dubai", "sets/dubai_mbrsc")
        >>> image, labels, name = found[0]
    """

    spec: DatasetSpec
    layout: Layout
    root: Path
    """Where its folders begin."""
    pairs: tuple[LabelledImage, ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"SegmentationSet({self.spec.name!r}: {len(self):,} images in {str(self.root)!r})"

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> SegmentationSet: ...
    def __getitem__(self, index: int | slice) -> Sample | SegmentationSet:
        """An item, whose labels are read now, or a part of the set.

        Raises:
            SourceError: the labels cannot be read.
        """
        if isinstance(index, slice):
            return replace(self, pairs=self.pairs[index])
        found = self.pairs[index]
        return Sample(image=found.image, labels=read_labels(found.labels, self.layout.encoding), name=found.name)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the items, in order."""
        return tuple(pair.name for pair in self.pairs)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits of the names and contents of its files; of a prepared set, contents as noted then.

        Raises:
            SourceError: `earthwords.json` is damaged.
        """
        manifest = read_manifest(self.root) if self.layout is self.spec.prepared else None
        noted = {entry.name: (entry.image, entry.labels) for entry in manifest.items} if manifest else {}
        digest = hashlib.sha256(repr(self.layout.encoding).encode())
        for pair in self.pairs:
            hashes = noted.get(pair.name) or (sha256(pair.image), sha256(pair.labels))
            digest.update(repr((pair.name, *hashes)).encode())
        return digest.hexdigest()[:32]

    def vocabulary(self, preset: str = "") -> Vocabulary:
        """The words of its classes, see `DatasetSpec.vocabulary`."""
        return self.spec.vocabulary(preset)


def open_set(name: str | DatasetSpec, root: str | Path) -> SegmentationSet:
    """Open a set that `prepare` made, that SegEarth-OV's or mmsegmentation's scripts made, or, where nothing has to be
    cut, as it was downloaded.

    Args:
        name: as `earthwords data list` shows it, or a row of your own.
        root: its folder, or one up to two levels above.

    Raises:
        UsageError: no such set, or the folder holds none of its layouts.
        SourceError: images and labels do not fit together.
    """
    spec = find_spec(name) if isinstance(name, str) else name
    layout, files = find_layout(spec, Path(root))
    if files.lonely:
        raise SourceError(
            f"{len(files.lonely):,} files of {spec.title} in {files.root} have no partner, such as {files.lonely[0]}; "
            "complete the set."
        )
    return SegmentationSet(spec=spec, layout=layout, root=files.root, pairs=files.pairs)


def find_layout(spec: DatasetSpec, root: Path) -> tuple[Layout, Files]:
    """The first of a set's layouts that a folder holds, and its files.

    Raises:
        UsageError: it holds none.
        SourceError: its `earthwords.json` is damaged.
    """
    for layout in spec.layouts:
        files = find(root, layout, only=() if spec.tiling else spec.only, accept=lambda place: _may_be(place, spec))
        if files is not None and files.pairs:
            return layout, files
    raise wrong_layout(root, spec.title, spec.layouts)


def _may_be(place: Path, spec: DatasetSpec) -> bool:
    """Whether a folder is not known to hold another set."""
    manifest = read_manifest(place)
    return manifest is None or manifest.set == spec.name
