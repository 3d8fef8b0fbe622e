"""Pascal VOC: an XML file an image (http://host.robots.ox.ac.uk/pascal/VOC/), as DIOR and many others have it.

Boxes are inclusive pixel numbers from 1, so the left edge is xmin - 1 and the right edge xmax. A document type, which
only attacks and mistakes have here, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers import expat

import numpy as np

from earthwords.data.annotations.boxes._common import (
    How,
    Images,
    Item,
    annotated,
    annotation_folder,
    files_of,
    set_name,
)
from earthwords.data.annotations.example import Annotated, no_boxes
from earthwords.errors import SourceError, brief
from earthwords.files.reading import read_bytes

FOLDERS = ("Annotations", "annotations", "Annotations/Horizontal Bounding Boxes", "xml", "labels")


def fits(source: Path) -> bool:
    """A folder with XML files."""
    return source.is_dir() and bool(files_of(annotation_folder(source, *FOLDERS), ".xml"))


def items(source: Path, how: How) -> Iterator[Item]:
    """An item a file."""
    folder = annotation_folder(source, *FOLDERS)
    images = Images(source, how)
    for path in files_of(folder, ".xml"):
        stem = str(path.relative_to(folder).with_suffix(""))
        yield Item(name=stem, set=set_name(source), image=images.find(stem, path), note=str(path))


def load(item: Item, how: How) -> Iterator[Annotated]:
    """The image, or its tiles."""
    boxes, names = [], []
    for thing in parse(Path(item.note)).iter("object"):
        try:
            place = thing.find("bndbox")
            box = [float(place.findtext(side, "")) for side in ("xmin", "ymin", "xmax", "ymax")]  # type: ignore[union-attr]
        except (AttributeError, ValueError) as error:
            raise SourceError(f"{item.note} has an object without a box of four numbers.") from error
        boxes.append([box[0] - 1, box[1] - 1, box[2], box[3]])
        names.append((thing.findtext("name") or "").strip())
    return annotated(item, np.array(boxes) if boxes else no_boxes(), names, how)


def parse(path: Path) -> Element:
    """The root of an XML file. Raises `SourceError` also for one with a document type, hence with entities."""
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*declared: object) -> None:
        raise SourceError(f"{path} declares a document type or entities, which annotations do not need; remove that.")

    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler = lambda tag, attributes: builder.start(tag, attributes)
    parser.EndElementHandler = lambda tag: builder.end(tag)
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(read_bytes(path), True)
        return builder.close()
    except (expat.ExpatError, ParseError, OSError, AssertionError, ValueError, LookupError) as error:
        raise SourceError(f"{path} is not XML ({brief(error)}).") from error
