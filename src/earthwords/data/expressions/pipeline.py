"""From sources to a list of referring expressions: JSON lines, masks and tiles in folders beside it."""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from earthwords.data.annotations.boxes._common import How, Item, read_for
from earthwords.data.annotations.image_io import is_raster, jpeg, read_rgb
from earthwords.data.annotations.instances import Ids, Marked
from earthwords.data.annotations.masks import _of_boxes
from earthwords.data.captions import pipeline
from earthwords.data.captions.records import READERS
from earthwords.data.expressions import contact_sheet
from earthwords.data.expressions.generate import express
from earthwords.data.expressions.statistics import ExpressionsReport, ExpressionTally
from earthwords.errors import SourceError, UsageError
from earthwords.files.atomic import check_no_others, check_output, exists, staging
from earthwords.files.output_sets import output_set
from earthwords.files.output_tags import save_png
from earthwords.files.plaintext import json_text
from earthwords.geo.sources.inputs import Inputs
from earthwords.jobs.make_executor import in_order
from earthwords.plugins import load, names

OUTLINES = "earthwords.data.annotations.masks"
UNIT = 8
"""Images that a worker is given at once."""
_OURS = re.compile(r"\d{6}\.(png|jpg)")
PUBLISHED = ("rrsisd", "refsegrs", "risbench")


@dataclass(frozen=True, kw_only=True)
class ExpressionOptions:
    """What decides the expressions of an image."""

    how: How
    count: int = 8
    negatives: float = 0.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What is written about an image."""

    line: dict[str, Any]
    """Without the paths of mask and tile."""
    image: str
    mask: bytes
    """A PNG file."""
    tile: bytes | None
    """A JPEG file; None: the image is a file already."""
    sizes: dict[int, float]
    """Number of a thing -> its share of the image's pixels."""
    refused: int


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What to list of which sources."""

    sources: tuple[Path, ...]
    dst: Path
    telling: ExpressionOptions
    format: str = "auto"
    only: str | None = None
    """A pattern that names of images must match."""
    pictures: int = 0
    """Expressions that are drawn on a sheet."""
    workers: int = 1
    overwrite: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    """For the report."""
    read: Mapping[str, Path | None] = field(default_factory=dict)
    """Option to another file that is read."""

    def run(self, bar: Callable[[str, int], Any]) -> ExpressionsReport:
        """Do it.

        Args:
            bar: `bar(what, total)` is a context with a function that takes the units done.

        Raises:
            UsageError: the destination exists or is none, a format is unknown.
            SourceError: something cannot be read, or nothing can be said about any image.
            OutputError: the disk is full.
        """
        began = time.perf_counter()
        if self.dst.suffix.lower() not in (".jsonl", ".ndjson"):
            raise UsageError(f"{self.dst}: the destination is a list, such as {self.dst.with_suffix('.jsonl').name}.")
        everything, tally = (*self._folders(), self._sheet, self.dst), ExpressionTally()
        with output_set(everything, settings=self._told(), overwrite=self.overwrite) as (half, announce):
            check_output(self.dst, overwrite=self.overwrite or half.owns(self.dst))
            for path in everything:
                if path.exists() and not (self.overwrite or half.owns(path)):
                    raise exists(path)
            for folder in self._folders():
                check_no_others(folder, _OURS)
            units = [unit for source in self.sources for unit in self._units(source)]
            self._check_inputs([item for _, items in units for item in items])
            with staging(self.dst, overwrite=self.overwrite or half.owns(self.dst)) as stage:
                self._write(stage, units, tally, bar)
                if not tally.images:
                    raise SourceError(
                        f"Nothing can be said about any of the {tally.looked:,} images; are the masks empty?"
                    )
                self._draw(stage)
                staged = {path: stage / path.name for path in everything}
                announce({path: place for path, place in staged.items() if place.exists()})
                self._move(stage)
        return tally.report(self.dst, self.settings, time.perf_counter() - began)

    def _told(self) -> dict[str, str]:
        """What tells this command from others with the same destination."""
        told = {
            "sources": ", ".join(map(str, self.sources)), "format": self.format, "only": self.only,
            "pictures": self.pictures, **vars(self.telling.how), **self.settings,
        }  # fmt: skip
        return {name: str(value) for name, value in told.items()}

    def _check_inputs(self, items: Sequence[Item]) -> None:
        """Refuse to replace anything that is read."""
        listed = [*map(str, self.sources), *read_for(items)]
        inputs = Inputs(listed=listed, others={f"--{name}": path for name, path in self.read.items()})
        inputs.check([self.dst, self._sheet], folders=self._folders())

    def _folders(self) -> tuple[Path, Path]:
        return tuple(self.dst.with_name(f"{self.dst.stem}_{what}") for what in ("masks", "images"))  # type: ignore[return-value]

    @property
    def _sheet(self) -> Path:
        return self.dst.with_name(f"{self.dst.stem}_pictures.png")

    def _units(self, source: Path) -> Iterator[tuple[str, tuple[Item, ...]]]:
        """Images of a source, a few at a time, with the format."""
        if not source.exists():
            raise SourceError(f"{source} does not exist; check the path.")
        name = detect(source) if self.format == "auto" else self.format
        found = _items(name)(source, self.telling.how)
        items = [item for item in found if self.only is None or fnmatch(item.name, self.only)]
        if not items:
            which = "" if self.only is None else f" whose name is like {self.only!r}"
            raise SourceError(f"No images with annotations{which} were found in {source}.")
        for start in range(0, len(items), UNIT):
            yield name, tuple(items[start : start + UNIT])

    def _write(
        self, stage: Path, units: list[tuple[str, tuple[Item, ...]]], tally: ExpressionTally, bar: Callable[..., Any]
    ) -> None:
        masks, tiles = (stage / folder.name for folder in self._folders())
        masks.mkdir()
        tiles.mkdir()
        with (stage / self.dst.name).open("w", encoding="utf-8") as file, bar("writing", len(units)) as tick:
            for sheets in in_order(partial(sheets_of, self.telling), units, workers=self.workers):
                for sheet in sheets:
                    tally.looked += 1
                    tally.refused += sheet.refused
                    if not sheet.line["expressions"]:
                        continue
                    number = tally.add(sheet.line, sheet.sizes)
                    image = Path(os.path.relpath(sheet.image, self.dst.parent)).as_posix()
                    if sheet.tile is not None:
                        image = f"{tiles.name}/{number:06d}.jpg"
                        (tiles / f"{number:06d}.jpg").write_bytes(sheet.tile)
                    (masks / f"{number:06d}.png").write_bytes(sheet.mask)
                    line = {"image": image, "mask": f"{masks.name}/{number:06d}.png", **sheet.line}
                    file.write(json_text(line) + "\n")
                tick(1)

        for folder in (masks, tiles):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _draw(self, stage: Path) -> None:
        """Some of the expressions on their images."""
        if not self.pictures:
            return
        made = {folder.name for folder in self._folders()}

        def place(path: str) -> Path:
            return (stage if Path(path).parts[0] in made else self.dst.parent) / path

        chosen = contact_sheet.choose(stage / self.dst.name, self.pictures, seed=self.telling.seed)
        save_png(contact_sheet.sheet(place, chosen), stage / self._sheet.name, kind="pictures")

    def _move(self, stage: Path) -> None:
        """All to their places but the list, which follows when the stage is left."""
        for target in (*self._folders(), self._sheet):
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            if (stage / target.name).exists():
                os.replace(stage / target.name, target)


def detect(source: Path) -> str:
    """The format of a source: a published set, or one of annotations. Raises `UsageError` if none fits."""
    for name in (*PUBLISHED, "coco"):
        if load(OUTLINES, name, kind="format").fits(source):
            return name
    return pipeline.detect(source)


def _items(name: str) -> Callable[[Path, How], Iterator[Item]]:
    package = OUTLINES if name in names(OUTLINES) else READERS
    found: Callable[[Path, How], Iterator[Item]] = load(package, name, kind="format").items
    return found


def sheets_of(telling: ExpressionOptions, unit: tuple[str, tuple[Item, ...]]) -> list[Sheet]:
    """What is written about some images.

    Raises:
        SourceError: an image or a mask is damaged.
    """
    name, items = unit
    own = load(OUTLINES, name, kind="format").load if name in names(OUTLINES) else partial(_of_boxes.load, name)
    return [_sheet(_marked(found, telling)) for item in items for found in own(item, telling.how)]


def _marked(found: Any, telling: ExpressionOptions) -> Marked:
    found = replace(found, example=replace(found.example, bands=telling.how.bands))
    if isinstance(found, Marked):
        return found
    rgb = read_rgb(found.example.image, found.example.window, found.example.bands)
    return express(found, rgb, count=telling.count, negatives=telling.negatives, seed=telling.seed)


def _sheet(marked: Marked) -> Sheet:
    example = marked.example
    meant = sorted({number for said in marked.expressions for number in said.ids})
    sizes = np.bincount(marked.ids.ravel(), minlength=max(meant, default=0) + 1)
    line: dict[str, Any] = {
        "expressions": [
            {"text": said.text, "ids": list(said.ids), "kind": said.kind, **({"class": said.name} if said.name else {})}
            for said in marked.expressions
        ],
        "set": example.set,
        "name": example.name,
        "classes": {str(number): name for number, name in marked.classes.items()},
        **({"split": marked.split} if marked.split else {}),
    }
    needed = example.window is not None or is_raster(example.image)
    return Sheet(
        line=line,
        image=example.image,
        mask=png(marked.ids),
        tile=jpeg(example) if needed and marked.expressions else None,
        sizes={number: float(sizes[number] / marked.ids.size) for number in meant},
        refused=marked.refused,
    )


def png(ids: Ids) -> bytes:
    """Numbers of things as a PNG file of 8, or from 256 things on 16 bits."""
    buffer = io.BytesIO()
    most = int(ids.max(initial=0))
    if most > np.iinfo(np.uint16).max:
        raise SourceError(f"An image has {most:,} things, more than a mask holds; use --tile-size.")
    Image.fromarray(ids.astype(np.uint8 if most < 256 else np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()
