"""A labelled folder of one's own: images and masks by their names, classes from a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from earthwords.data.segmentation.layout import LabelledImage, natural
from earthwords.data.segmentation.loader import SegmentationSet
from earthwords.data.segmentation.spec import DatasetSpec, Layout, all_specs, indexed
from earthwords.errors import SourceError, UsageError, did_you_mean
from earthwords.files.paths import IMAGES, check_folder
from earthwords.text.vocabulary import read_class_file

GROUP = "own"
PAIRS = (("images", "masks"), ("images", "labels"), ("img_dir", "ann_dir"))
"""Folders of images and of masks; mmsegmentation's (the last) may hold a folder for each split."""
MASKS = (".png", ".tif", ".tiff", ".bmp")

Bar = Callable[[str, int], AbstractContextManager[Callable[[float], None]]]


def own_set(folder: Path, classes: Path, *, split: str | None = None) -> SegmentationSet:
    """A folder with images and masks of the same names; a mask holds the index of a class, from 0, 255 does not count.

    Args:
        folder: with `images` and `masks` (or `labels`), or mmsegmentation's `img_dir` and `ann_dir`.
        classes: one class a line, commas between synonyms; the first line is class 0.
        split: the folder in `img_dir` and `ann_dir` that counts.

    Raises:
        UsageError: the folder holds no such folders, several splits, or the class file is wrong.
        SourceError: an image has no mask, a mask has no image, or two have one name.
    """
    vocabulary = read_class_file(classes)
    if len(vocabulary) > 255:
        raise UsageError(f"{classes} has {len(vocabulary)} classes; masks tell at most 255 apart.")
    places = _places(folder, split)
    images, masks = _partners(places)
    names = sorted(images, key=natural)
    layout = Layout(
        images=(f"{places[0].name}/{{key}}",), labels=(f"{places[1].name}/{{key}}",), encoding=indexed(len(vocabulary))
    )
    spec = DatasetSpec(
        name=_name_of(folder), title=folder.resolve().name, rank=len(all_specs()) + 1, group=GROUP,
        classes=tuple(",".join(entry.names) for entry in vocabulary.classes), background=vocabulary.background,
        split=split or "all", original=layout, prepared=layout,
    )  # fmt: skip
    pairs = tuple(LabelledImage(name=name, image=images[name], labels=masks[name]) for name in names)
    return SegmentationSet(spec=spec, layout=layout, root=folder, pairs=pairs)


def image_mask_pairs(folder: Path, *, split: str | None = None) -> list[tuple[Path, Path]]:
    """Images and their masks in a folder of one's own, by name.

    Raises:
        UsageError, SourceError: as `own_set`.
    """
    images, masks = _partners(_places(folder, split))
    return [(images[name], masks[name]) for name in sorted(images, key=natural)]


def check_own(found: SegmentationSet, bar: Bar) -> None:
    """Look at every mask before a model is loaded: its size, and that its values are classes.

    Raises:
        SourceError: the first one that is wrong.
    """
    from earthwords.data.segmentation.check import Task, check_item  # it reads rasters

    with bar("checking masks", len(found)) as tick:
        for pair in found.pairs:
            seen = check_item(len(found.spec.classes), Task(found=pair, encoding=found.layout.encoding, entry=None))
            if seen.problem:
                first, last = found.spec.titles[0], found.spec.titles[-1]
                raise SourceError(
                    f"{seen.problem.rstrip('.')}. A mask has the size of its image and holds 0 ({first}) to "
                    f"{len(found.spec.classes) - 1} ({last}), or 255 for what does not count."
                )
            tick(1)


def _places(folder: Path, split: str | None) -> tuple[Path, Path]:
    """The folder of images and the folder of masks."""
    check_folder(folder, what="images and masks")
    for image, mask in PAIRS:
        if (folder / image).is_dir() and (folder / mask).is_dir():
            return _of_split(folder / image, folder / mask, split)
    expected = " or ".join(f"{image} and {mask}" for image, mask in PAIRS)
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise UsageError(f"{folder} does not hold the folders {expected}; it holds {there}.")


def _of_split(images: Path, masks: Path, split: str | None) -> tuple[Path, Path]:
    """The folders themselves where files lie in them, else those of the split."""
    splits = sorted(path.name for path in images.iterdir() if path.is_dir() and (masks / path.name).is_dir())
    if split is not None:
        if split not in splits:
            known = did_you_mean(split, splits) if splits else "They hold no folders; leave --split out."
            raise UsageError(f"{images} and {masks.name} have no split {split!r}. {known}")
        return images / split, masks / split
    if not splits or any(path.is_file() and path.suffix.lower() in IMAGES for path in images.iterdir()):
        return images, masks
    if len(splits) > 1:
        raise UsageError(f"{images} has the splits {', '.join(splits)}; name the one to measure by --split.")
    return images / splits[0], masks / splits[0]


def _by_name(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files by their names without suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or path.suffix.lower() not in suffixes:
            continue
        if path.stem in found:
            raise SourceError(f"{found[path.stem]} and {path.name} have the same name; keep one of them.")
        found[path.stem] = path
    if not found:
        kinds = "image" if suffixes is IMAGES else f"mask ({', '.join(suffixes)})"
        raise UsageError(f"{folder} holds no {kinds}.")
    return found


def _partners(places: tuple[Path, Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and masks by name, each with its other."""
    images, masks = _by_name(places[0], IMAGES), _by_name(places[1], MASKS)
    _check_partners(images, masks)
    return images, masks


def _check_partners(images: Mapping[str, Path], masks: Mapping[str, Path]) -> None:
    for some, others, what in ((images, masks, "mask"), (masks, images, "image")):
        alone = sorted(some.keys() - others.keys(), key=natural)
        if alone:
            folder = next(iter(others.values())).parent
            raise SourceError(
                f"{len(alone):,} of {len(some):,} files have no {what} of the same name in {folder}, such as "
                f"{some[alone[0]]}; complete the folder, or take them away."
            )


def _name_of(folder: Path) -> str:
    """What reports call it; never the name of a published set, whose printed numbers would stand beside it."""
    plain = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or GROUP
    return f"{GROUP}-{plain}" if plain in {spec.name for spec in all_specs()} else plain
