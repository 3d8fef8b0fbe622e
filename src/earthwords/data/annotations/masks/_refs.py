"""The layout of RefCOCO (https://github.com/lichengunc/refer): `refs(...).p` (sentences), `instances.json` (masks).

A reference has `image_id`, `ann_id`, `split` and `sentences`, each with `sent` or `raw`. The pickle is read
without running it (`_pickles`); the same list as `refs(...).json` is read too, and so are lines of JSON with
`file_name`, `sent`, `split` and `segmentation`, into which RSRefSeg converts such sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from earthwords.data.annotations.boxes._common import How, Item, read_json, read_text, set_name
from earthwords.data.annotations.image_io import size_of
from earthwords.data.annotations.instances import Marked
from earthwords.data.annotations.masks._people import MaskSentences, check_whole, marked, wanted
from earthwords.data.annotations.masks._pickles import read_plain
from earthwords.data.annotations.masks._rle import mask_of
from earthwords.errors import SourceError, UsageError, brief
from earthwords.files.reading import open_file, parse_json
from earthwords.types import Window

INSTANCES = "instances.json"


def list_of(folder: Path) -> Path | None:
    """The list of references in a folder; a JSON one is preferred."""
    if not folder.is_dir():
        return None
    found = sorted(folder.glob("refs*.json")) + sorted(folder.glob("refs*.p")) + sorted(folder.glob("refs*.pkl"))
    return next(iter(found), None)


def is_lines(source: Path) -> bool:
    """Whether it is RSRefSeg's JSON lines."""
    if source.suffix != ".jsonl" or not source.is_file():
        return False
    with open_file(source) as file:
        first = file.readline(2**20)
    return all(key in first for key in (b'"file_name"', b'"sent"', b'"segmentation"'))


def items(folder: Path, images: Path, how: How) -> Iterator[Item]:
    """An item an image and split, by file name; the note has the split and what is said of which mask."""
    check_whole(how)
    refs = list_of(folder)
    if refs is None:
        raise SourceError(f"{folder} has no list of references (refs...p or refs...json).")
    listed = read_json(refs) if refs.suffix == ".json" else read_plain(refs)
    table = read_json(folder / INSTANCES)
    try:
        names = {category["id"]: str(category["name"]) for category in table.get("categories", ())}
        masks = {entry["id"]: entry for entry in table["annotations"]}
        files = {image["id"]: str(image["file_name"]) for image in table["images"]}
        rows = []
        for ref in listed:
            if wanted(str(ref["split"]), how):
                entry = masks[ref["ann_id"]]
                name = names.get(ref.get("category_id", _category(entry)), "")
                texts = tuple(_text(sentence) for sentence in ref["sentences"])
                sentences = MaskSentences(texts=texts, mask=entry["segmentation"], name=name)
                rows.append((files[ref["image_id"]], str(ref["split"]), sentences))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise SourceError(f"{refs} and {INSTANCES} do not fit each other ({what}).") from error
    yield from _grouped(rows, images, how, set_name(folder))


def line_items(source: Path, images: Path, how: How) -> Iterator[Item]:
    """The same of JSON lines."""
    check_whole(how)
    rows = []
    for number, line in enumerate(read_text(source).splitlines(), start=1):
        try:
            entry = parse_json(line)
            split = str(entry.get("split", ""))
            sentences = MaskSentences(
                texts=(_text(entry),), mask=entry["segmentation"], name=str(entry.get("category_name") or "")
            )
            if wanted(split, how):
                rows.append((str(entry["file_name"]), split, sentences))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"{source}, line {number}: {type(error).__name__}: {brief(error)}.") from error
    yield from _grouped(rows, images, how, source.stem)


def load(item: Item, how: How) -> Iterator[Marked]:
    """The image with its sentences."""
    split, sentences = item.note
    size = size_of(item.image)
    whole = Window(row=0, col=0, height=size[0], width=size[1])
    try:
        masks = [mask_of(one.mask, *size) for one in sentences]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise SourceError(f"A mask of {item.image} cannot be read: {error}.") from error
    return marked(item, split, sentences, (mask.inside(whole) for mask in masks), size)


def images_at(how: How, *places: Path) -> Path:
    """The folder of the images: as told, or the first of the usual places that is there."""
    found = [Path(how.images)] if how.images is not None else [place for place in places if place.is_dir()]
    if not found:
        raise SourceError(f"The images were not found in {places[0]}; name their folder with --images.")
    return found[0]


def _grouped(rows: list[tuple[str, str, MaskSentences]], images: Path, how: How, name: str) -> Iterator[Item]:
    if not rows and how.split is not None:
        raise UsageError(f"{name} has no split {how.split!r}.")
    groups: dict[tuple[str, str], list[MaskSentences]] = {}
    for file, split, sentences in rows:
        groups.setdefault((file, split), []).append(sentences)
    for (file, split), listed in sorted(groups.items(), key=lambda group: group[0]):
        stem = str(Path(file).with_suffix(""))
        yield Item(name=stem, set=name, image=str(images / file), note=(split, tuple(listed)))


def _category(entry: dict[str, Any]) -> Any:
    return entry.get("category_id", entry.get("categories_id"))  # the second is how RRSIS-D spells it


def _text(sentence: dict[str, Any]) -> str:
    text = sentence.get("raw") or sentence.get("sent") or " ".join(sentence.get("tokens", ()))
    return " ".join(str(text).split())
