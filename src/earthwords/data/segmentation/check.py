"""Is a set on disk what its row says? Counts, partners, sizes, values of labels, and hashes from `prepare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial as partial_of
from pathlib import Path
from typing import Any

import numpy as np

from earthwords.data.annotations.image_io import size_of
from earthwords.data.segmentation.encoding import read_labels
from earthwords.data.segmentation.layout import Files, LabelledImage
from earthwords.data.segmentation.loader import find_layout
from earthwords.data.segmentation.manifest import Entry, SetManifest, read_manifest, sha256
from earthwords.data.segmentation.reports import Checked, CheckRow
from earthwords.data.segmentation.spec import IGNORED, DatasetSpec, Encoding
from earthwords.errors import SourceError
from earthwords.jobs.make_executor import make_executor

Bar = Callable[[str, int], AbstractContextManager[Any]]

MOST = 20
"""Problems that are told one by one."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """An item to look at."""

    found: LabelledImage
    encoding: Encoding
    entry: Entry | None


@dataclass(frozen=True, kw_only=True)
class ItemCheck:
    """What was found out about an item."""

    pixels: tuple[int, ...]
    """Of each class, then ignored; empty: the labels cannot be read."""
    problem: str
    """Empty: none."""
    kind: str = ""
    """`labels`, `sizes` or `hashes`."""


def check_set(
    spec: DatasetSpec, root: Path, *, bar: Bar, workers: int = 1, cluster: str | None = None, partial: bool = False
) -> Checked:
    """Look at every file of a set.

    Args:
        bar, cluster: as for `prepare_set`.
        partial: fewer items than expected are right too.

    Raises:
        UsageError: the folder holds none of the set's layouts.
        SourceError: `earthwords.json` is damaged.
    """
    layout, files = find_layout(spec, root)
    manifest = read_manifest(files.root) if layout is spec.prepared else None
    entries = {entry.name: entry for entry in manifest.items} if manifest else {}
    tasks = [Task(found=pair, encoding=layout.encoding, entry=entries.get(pair.name)) for pair in files.pairs]
    checks = []
    with (
        bar("checking", len(tasks)) as tick,
        make_executor(workers, cluster=cluster, preload=[__name__]) as executor,
    ):
        for found in executor.in_order(partial_of(check_item, len(spec.classes)), tasks):
            checks.append(found)
            tick(1)
    pixels = np.sum([found.pixels for found in checks if found.pixels], axis=0, dtype=np.int64)
    counted = dict(zip((*spec.titles, "ignored"), np.atleast_1d(pixels).tolist(), strict=False))
    return Checked(
        name=spec.name,
        title=spec.title,
        folder=str(files.root),
        items=len(files.pairs),
        lines=tuple(_lines(spec, files, checks, manifest, counted, partial=partial)),
        pixels=counted,
        problems=tuple(found.problem for found in checks if found.problem)[:MOST],
    )


def check_item(classes: int, task: Task) -> ItemCheck:
    """Read an item's labels, the size of its image, and compare hashes."""
    image, labels = task.found.image, task.found.labels
    try:
        found = read_labels(labels, task.encoding)
        size = size_of(str(image))
    except SourceError as error:
        return ItemCheck(pixels=(), problem=str(error), kind="labels")
    pixels = np.bincount(found.ravel(), minlength=IGNORED + 1)
    counts = (*map(int, pixels[:classes]), int(pixels[IGNORED]))
    if found.shape != size:
        shapes = f"{found.shape[0]} x {found.shape[1]} pixels, its image {size[0]} x {size[1]}"
        return ItemCheck(pixels=counts, problem=f"{labels} is {shapes}.", kind="sizes")
    if task.entry is not None:
        for path, noted in ((image, task.entry.image), (labels, task.entry.labels)):
            if sha256(path) != noted:
                return ItemCheck(pixels=counts, problem=f"{path} is not the file that was prepared.", kind="hashes")
    return ItemCheck(pixels=counts, problem="")


def _lines(
    spec: DatasetSpec,
    files: Files,
    checks: Sequence[ItemCheck],
    manifest: SetManifest | None,
    pixels: dict[str, int],
    *,
    partial: bool,
) -> list[CheckRow]:
    wrong = {kind: sum(found.kind == kind for found in checks) for kind in ("labels", "sizes", "hashes")}
    expected = "unknown" if spec.count is None else f"{spec.count:,}" + " (unverified)" * (spec.counted is None)
    right = None if spec.counted is None else len(checks) == spec.count or (partial and len(checks) < (spec.count or 0))
    lines = [
        CheckRow(what=f"items ({spec.split})", expected=expected, found=f"{len(checks):,}", ok=right),
        CheckRow(what="files without a partner", expected="0", found=f"{len(files.lonely):,}", ok=not files.lonely),
        CheckRow(what="files that cannot be read", expected="0", found=f"{wrong['labels']:,}", ok=not wrong["labels"]),
        CheckRow(what="labels of another size", expected="0", found=f"{wrong['sizes']:,}", ok=not wrong["sizes"]),
    ]
    if files.missing:
        count = f"{len(files.missing):,}"
        lines.append(CheckRow(what="listed and not there", expected="0", found=count, ok=partial))
    if manifest is not None:
        gone = {e.name for e in manifest.items} ^ {pair.name for pair in files.pairs}
        found = f"{wrong['hashes']:,} changed, {len(gone):,} added or gone"
        lines.append(CheckRow(what="since prepared", expected="0", found=found, ok=not wrong["hashes"] and not gone))
    else:
        lines.append(CheckRow(what="prepared by earthwords", expected="", found="no", ok=None))
    absent = [title for title in spec.titles if not pixels.get(title)]
    lines.append(CheckRow(what="classes without a pixel", expected="0", found=", ".join(absent[:8]) or "0", ok=None))
    return lines
