"""What is known of a set for change: `ChangeSetSpec`, the row that each file of `data/change/sets` holds."""

from __future__ import annotations

from dataclasses import dataclass

from earthwords.data.segmentation.spec import BINARY, Encoding
from earthwords.errors import UsageError, did_you_mean
from earthwords.plugins import load, names

PACKAGE = "earthwords.data.change.sets"

ANY = "any"
"""The split of a set that has no parts."""


SUFFIXES = ("png", "tif", "tiff", "jpg", "bmp")


def pictures(folder: str) -> tuple[str, ...]:
    """Patterns of the pictures of a folder, of any usual format."""
    return tuple(f"{folder}/{{key}}.{suffix}" for suffix in SUFFIXES)


@dataclass(frozen=True, kw_only=True)
class ChangeSetSpec:
    """A set of pairs of images with masks of change.

    Patterns are those of `data.segmentation.spec.Layout`; `{split}` is filled in first, `{key}` joins the three files
    of a pair. Of several patterns the first that finds anything counts.
    """

    name: str
    title: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    labels: tuple[str, ...]
    """What changed; of a set with classes what became of the pixels that changed."""
    splits: tuple[str, ...] = ("train", "val", "test")
    """Folders of the parts; `any` alone where there are none."""
    listed: tuple[str, ...] = ()
    """Pattern of a text file with the names of a part, where all lie in one folder."""
    encoding: Encoding = BINARY
    """Of the labels: class 1 is change."""
    classes: tuple[str, ...] = ()
    """Of what the ground became, where the labels tell: class 2 and so on of `semantic`."""
    semantic: Encoding | None = None
    """Of the labels with classes: class 0 is unchanged, class i + 1 is `classes[i]`."""
    earlier_labels: tuple[str, ...] = ()
    """Of a set with classes: labels of what the pixels that changed had been."""
    gsd_m: tuple[float, float] | None = None
    """Finest and coarsest ground sampling distance, metres."""
    counts: tuple[int, ...] = ()
    """Pairs of each split, as published."""
    licence: str = ""
    source: str = ""
    """Where to get it."""
    notes: str = ""
    unverified: tuple[str, ...] = ()
    """What of this row is recalled, not read anywhere."""


def find_change_set(name: str) -> ChangeSetSpec:
    """The row of a set.

    Raises:
        UsageError: there is no such set.
    """
    plain = name.strip().lower().replace("_", "-")
    if plain not in names(PACKAGE):
        raise UsageError(f"Unknown set for change {name!r}. {did_you_mean(plain, names(PACKAGE))}")
    found = load(PACKAGE, plain, kind="set for change").SPEC
    assert isinstance(found, ChangeSetSpec)
    return found


def all_change_sets() -> tuple[ChangeSetSpec, ...]:
    """Every row, by name; the general layout, which any set can be brought into, last."""
    return tuple(sorted(map(find_change_set, names(PACKAGE)), key=lambda spec: (spec.name == "folders", spec.name)))
