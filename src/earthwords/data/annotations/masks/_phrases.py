"""Folders of images and masks with lists `output_phrase_SPLIT.txt`, a line an expression: the image, then the words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from earthwords.data.annotations.boxes._common import How, Item, read_text
from earthwords.data.annotations.boxes.masks import read_mask
from earthwords.data.annotations.image_io import size_of
from earthwords.data.annotations.instances import Marked
from earthwords.data.annotations.masks._people import SPLITS, MaskSentences, check_whole, marked, wanted
from earthwords.errors import SourceError, UsageError

LIST = "output_phrase_{}.txt"


def fits(source: Path, images: str, masks: str) -> bool:
    """Whether a folder has the two folders and a list."""
    there = source.is_dir() and (source / images).is_dir() and (source / masks).is_dir()
    return there and any((source / LIST.format(split)).is_file() for split in SPLITS)


def items(source: Path, how: How, *, images: str, masks: str, suffix: str, name: str) -> Iterator[Item]:
    """An item an image and split; the note has the split, the mask and the sentences.

    Args:
        suffix: of files whose name the lists give without one.
    """
    check_whole(how)
    lists = [(split, source / LIST.format(split)) for split in SPLITS if wanted(split, how)]
    lists = [(split, path) for split, path in lists if path.is_file()]
    if not lists:
        raise UsageError(f"{source} has no {LIST.format(how.split or 'train')}.")
    pictures = Path(how.images) if how.images is not None else source / images
    for split, path in lists:
        groups: dict[str, list[str]] = {}
        for number, line in enumerate(read_text(path).splitlines(), start=1):
            file, _, text = line.strip().partition(" ")
            if not line.strip():
                continue
            if not text.strip():
                raise SourceError(f"{path}, line {number}: {line.strip()[:60]!r} is not an image and an expression.")
            file = file if Path(file).suffix else f"{file}{suffix}"
            groups.setdefault(file, []).append(" ".join(text.split()))
        for file, texts in sorted(groups.items()):
            note = (split, str(_mask(source / masks, file)), tuple(texts))
            yield Item(name=str(Path(file).with_suffix("")), set=name, image=str(pictures / file), note=note)


def load(item: Item, how: How) -> Iterator[Marked]:
    """The image with its sentences, all about its one mask."""
    split, path, texts = item.note
    mask, size = read_mask(path), size_of(item.image)
    if mask.shape[:2] != size:
        raise SourceError(f"{path} is {mask.shape[0]} x {mask.shape[1]} pixels, {item.image} {size[0]} x {size[1]}.")
    inside = mask.any(axis=2) if mask.ndim == 3 else mask != 0
    return marked(item, split, [MaskSentences(texts=texts, mask=None)], [np.asarray(inside)], size)


def _mask(folder: Path, file: str) -> Path:
    """The mask of the same name, maybe with another suffix."""
    path = folder / file
    return path if path.is_file() else next(iter(sorted(folder.glob(f"{Path(file).stem}.*"))), path)
