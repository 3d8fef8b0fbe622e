"""A folder of examples: a sub-folder of images for each class, whose name is the class's word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthwords.data.classification.sets import SUFFIXES, class_words
from earthwords.errors import UsageError, did_you_mean
from earthwords.files.paths import check_folder
from earthwords.text import glossary
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Vocabulary


@dataclass(frozen=True, kw_only=True)
class ShotFolder:
    """Examples of classes."""

    folder: Path
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    """`(image,)` index of the class in `titles`."""
    titles: tuple[str, ...]
    """Of the classes: those of the vocabulary in its order, then those without a word."""
    vocabulary: Vocabulary
    """The words of the first classes."""

    @property
    def worded(self) -> int:
        """Number of classes that have words."""
        return len(self.vocabulary)

    @property
    def counts(self) -> dict[str, int]:
        """Examples of each class."""
        found = np.bincount(self.labels, minlength=len(self.titles))
        return {title: int(count) for title, count in zip(self.titles, found, strict=True)}


def read_shots(folder: Path, vocabulary: Vocabulary | None) -> ShotFolder:
    """Examples from a folder; nothing but names is read, no image.

    Args:
        vocabulary: classes with words, each with a sub-folder that is called as one of its words; every other
            sub-folder is a class without words. None: the sub-folders' names are the words.

    Raises:
        UsageError: no such folder, no images in it, fewer than two classes, or a class without examples.
    """
    check_folder(folder, what="examples, a sub-folder a class (--shots)")
    inside = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    found = {each: _pictures(each) for each in inside}
    if not any(found.values()):
        raise UsageError(f"{folder} holds no examples: put images in a sub-folder for each class (--shots).")
    empty = [each for each, paths in found.items() if not paths]
    if empty:
        raise UsageError(f"There is no image in {empty[0]}: put examples of the class there, or take it away.")
    if len(found) < 2:
        raise UsageError(f"Examples tell classes apart, and {folder} has one class alone: {inside[0].name}.")
    if vocabulary is None:
        vocabulary = parse_classes([class_words(each.name) for each in inside])
    owners = _owners(inside, vocabulary)
    _check_all_there(folder, inside, owners, vocabulary)
    titles, order = list(vocabulary.titles), {}
    for each in inside:
        if owners[each] is None:
            titles.append(class_words(each.name))
        order[each] = len(titles) - 1 if owners[each] is None else owners[each]
    return ShotFolder(
        folder=folder,
        paths=tuple(path for paths in found.values() for path in paths),
        labels=np.array([order[each] for each, paths in found.items() for _ in paths], np.int64),
        titles=tuple(titles),
        vocabulary=vocabulary,
    )


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def _owners(folders: Sequence[Path], vocabulary: Vocabulary) -> dict[Path, int | None]:
    """The class of each folder, None for one without words."""
    known = {_same(name): i for i, each in enumerate(vocabulary.classes) for name in (*each.names, *each.queries)}
    owners = {each: known.get(_same(each.name)) for each in folders}
    seen: dict[int, Path] = {}
    for each, owner in owners.items():
        if owner is not None and owner in seen:
            title = vocabulary.titles[owner]
            raise UsageError(f"{seen[owner].name} and {each.name} are both examples of {title!r}: put them in one.")
        if owner is not None:
            seen[owner] = each
    return owners


def _check_all_there(
    folder: Path, inside: Sequence[Path], owners: dict[Path, int | None], vocabulary: Vocabulary
) -> None:
    missing = sorted(set(range(len(vocabulary))) - set(owners.values()) - {None})
    if missing:
        title, left = vocabulary.titles[missing[0]], [each.name for each in inside if owners[each] is None]
        hint = f" {did_you_mean(title, left)}" if left else ""
        raise UsageError(
            f"{folder} has no examples of {title!r}: add a sub-folder of that name, or leave the class out.{hint}"
        )


def _same(name: str) -> str:
    """A class's name without capitals, underscores and hyphens; a Chinese one in English, if the glossary knows it."""
    words = class_words(name).casefold()
    return glossary.translate(words) or words if glossary.is_chinese(words) else words
