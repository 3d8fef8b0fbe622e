"""Any format of `readers`: boxes become masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from earthwords.data.annotations.boxes._common import How, Item
from earthwords.data.annotations.instances import Instances, from_boxes
from earthwords.data.captions.records import READERS
from earthwords.plugins import load as plugin


def load(name: str, item: Item, how: How) -> Iterator[Instances]:
    """The image, or its tiles, by the reader of a name."""
    every = replace(how, visible=0.0)  # what a tile cuts off is seen as well
    for example in plugin(READERS, name, kind="format").load(item, every):
        yield from_boxes(example, least=how.least)
