"""Images without annotations: a folder, a single file, or a list of images in JSON lines. They get no captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from earthwords.data.annotations.boxes._common import How, Item, files_of, read_text, set_name
from earthwords.data.annotations.example import Annotated, no_boxes
from earthwords.data.annotations.image_io import SUFFIXES, size_of
from earthwords.errors import SourceError, brief
from earthwords.files.output_tags import wrote
from earthwords.files.reading import parse_json


def fits(source: Path) -> bool:
    """Never chosen by itself: it would hide that annotations were not found."""
    return False


def items(source: Path, how: How) -> Iterator[Item]:
    """Every image below a folder, the one image, or those of a list such as `train clip` reads."""
    if source.suffix.lower() in (".jsonl", ".ndjson"):
        yield from _listed(source)
    elif source.is_file():
        yield Item(name=source.stem, set=set_name(source.parent), image=str(source))
    else:
        for path in files_of(source, *SUFFIXES):
            if wrote(path):  # a contact sheet, a map
                continue
            yield Item(name=str(path.relative_to(source).with_suffix("")), set=set_name(source), image=str(path))


def load(item: Item, how: How) -> Iterator[Annotated]:
    """The image, whole."""
    size = size_of(item.image)
    yield Annotated(name=item.name, set=item.set, image=item.image, size=size, boxes=no_boxes(), classes=())


def _listed(source: Path) -> Iterator[Item]:
    for number, line in enumerate(read_text(source).split("\n"), 1):
        if not line.strip():
            continue
        try:
            image = str(parse_json(line)["image"])
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f'{source}, line {number}: no "image" ({brief(error)}).') from error
        yield Item(name=str(Path(image).with_suffix("")), set=source.stem, image=str(source.parent / image))
