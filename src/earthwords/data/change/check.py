"""Checks a set for change on disk: partners, sizes, values of labels, number of pairs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from earthwords.data.change.pairs import find_pairs
from earthwords.data.change.spec import ANY, ChangeSetSpec
from earthwords.data.segmentation.reports import Checked, CheckRow
from earthwords.errors import SourceError, UsageError

MOST_TOLD = 20
TITLES = {0: "unchanged", 1: "changed", 255: "ignored"}


def check_change_set(spec: ChangeSetSpec, root: Path, *, partial: bool = False) -> Checked:
    """Read every pair of every part that is there.

    Args:
        partial: fewer parts and pairs than were published are right too.

    Raises:
        UsageError: none of the parts is there.
    """
    lines, problems = [], []
    pixels: Counter[str] = Counter()
    items, folder = 0, root
    for number, split in enumerate(spec.splits):
        try:
            found = find_pairs(root, split=None if split == ANY else split, name=spec.name)
        except UsageError:
            if number == len(spec.splits) - 1 and not items:
                raise
            lines.append(CheckRow(what=f"pairs of {split}", expected="", found="none", ok=True if partial else None))
            continue
        published = spec.counts[number] if spec.counts and found.split != ANY else None
        sure = published is not None and not any(each.startswith("counts") for each in spec.unverified)
        right = partial or not sure or len(found) == published
        expected = "" if published is None else f"{published:,}" + ("" if sure else " ?")
        lines.append(CheckRow(what=f"pairs of {found.split}", expected=expected, found=f"{len(found):,}", ok=right))
        problems += [f"{path} has no partner." for path in found.lonely]
        for pair in found:
            try:
                change = pair.read()[2]
            except SourceError as error:
                problems.append(str(error))
                continue
            for value, title in TITLES.items():
                pixels[title] += int((change == value).sum())
        items, folder = items + len(found), found.root
        if found.split == ANY:
            break
    lines.append(CheckRow(what="files that are wrong", expected="0", found=f"{len(problems):,}", ok=not problems))
    return Checked(
        name=spec.name, title=spec.title, folder=str(folder), items=items, lines=tuple(lines),
        pixels={title: count for title, count in pixels.items() if count}, problems=tuple(problems[:MOST_TOLD]),
    )  # fmt: skip
