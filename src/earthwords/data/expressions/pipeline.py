"""From sources to a list of referring expressions: JSON lines, masks and tiles in folders beside it.

Beside the list lies a hidden folder, the journal: its parts are what was found out about a few images each. The same
command goes on with it and comes to the same bytes.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from earthwords import __version__
from earthwords.data.annotations.boxes._common import How, Item, identity, read_for
from earthwords.data.captions import pipeline
from earthwords.data.captions.records import READERS
from earthwords.data.expressions import contact_sheet, lines
from earthwords.data.expressions.lines import OUTLINES, ExpressionOptions, ExpressionTask
from earthwords.data.expressions.statistics import ExpressionsReport, ExpressionTally
from earthwords.errors import SourceError, UsageError, number_of
from earthwords.files.atomic import check_no_others, check_output, exists, staging
from earthwords.files.output_sets import output_set
from earthwords.files.output_tags import save_png
from earthwords.files.plaintext import json_text
from earthwords.geo.sources.inputs import Inputs
from earthwords.jobs.executor import Executor
from earthwords.jobs.journal import Journal, journal_beside, open_journal
from earthwords.jobs.make_executor import make_executor
from earthwords.jobs.resume import compute_missing, done_among
from earthwords.plugins import load, names

UNIT = 8
"""Images that a worker is given at once, and a part of the journal holds."""
_OURS = re.compile(r"\d{6}\.(png|jpg)")
PUBLISHED = ("rrsisd", "refsegrs", "risbench")


@dataclass(frozen=True, kw_only=True)
class ExpressionsRun:
    """What to list of which sources."""

    sources: tuple[Path, ...]
    dst: Path
    options: ExpressionOptions
    format: str = "auto"
    only: str | None = None
    """A pattern that names of images must match."""
    pictures: int = 0
    """Expressions that are drawn on a sheet."""
    workers: int = 1
    cluster: str | None = None
    """Address of a Ray cluster, whose machines find sources under the same names."""
    resume: bool = True
    overwrite: bool = False
    shown: dict[str, Any] = field(default_factory=dict)
    """Settings for the report."""
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
        everything, settings = (*self._folders(), self._sheet, self.dst), self._settings()
        with output_set(everything, settings=settings, overwrite=self.overwrite) as (half, announce):
            overwrite = self.overwrite or half.owns(self.dst)
            check_output(self.dst, overwrite=overwrite)
            for path in everything:
                if path.exists() and not (self.overwrite or half.owns(path)):
                    raise exists(path)
            for folder in self._folders():
                check_no_others(folder, _OURS)
            units = [unit for source in self.sources for unit in self._units(source)]
            self._check_inputs([item for unit in units for item in unit.items])
            order = [identity(unit.format, unit.items) for unit in units]
            parts = dict(zip(order, units, strict=True))

            folder, done = journal_beside(self.dst), done_among(parts)
            with open_journal(folder, settings=settings, resume=self.resume, of=self.dst, done=done) as journal:
                with make_executor(self.workers, cluster=self.cluster, preload=[lines.__name__]) as executor:
                    self._examine(journal, executor, parts, bar)
                with staging(self.dst, overwrite=overwrite) as stage:
                    tally = self._write(stage, journal, order, bar)
                    if not tally.images:
                        journal.discard()  # another run would come to the same end
                        raise SourceError(
                            f"Nothing can be said about any of {number_of(tally.looked, 'image')}; are the masks empty?"
                        )
                    self._draw(stage)
                    staged = {path: stage / path.name for path in everything}
                    announce({path: place for path, place in staged.items() if place.exists()})
                    self._move(stage)
        return tally.report(self.dst, self.shown, time.perf_counter() - began)

    def _settings(self) -> dict[str, str]:
        """What the outputs depend on, by the names of the options."""
        values = {
            "source": ", ".join(map(str, self.sources)), "format": self.format, "only": self.only,
            "count": self.options.count, "negatives": self.options.negatives, "seed": self.options.seed,
            "pictures": self.pictures, "version": __version__,
        }  # fmt: skip
        return self.options.how.settings() | {name: str(value) for name, value in values.items() if value is not None}

    def _examine(
        self, journal: Journal, executor: Executor, parts: Mapping[str, ExpressionTask], bar: Callable[..., Any]
    ) -> None:
        """Have what is found out about all images in the journal."""
        journal.total = len(parts)
        with bar("reading", len(parts)) as tick:
            function = partial(lines.examine, self.options)
            compute_missing(journal, executor, function, parts, bar=tick, place=lambda unit: unit.items[0].image)

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

    def _units(self, source: Path) -> Iterator[ExpressionTask]:
        """Images of a source, a few at a time, with the format."""
        if not source.exists():
            raise SourceError(f"{source} does not exist; check the path.")
        name = detect(source) if self.format == "auto" else self.format
        found = _items(name)(source, self.options.how)
        items = [item for item in found if self.only is None or fnmatch(item.name, self.only)]
        if not items:
            which = "" if self.only is None else f" whose name is like {self.only!r}"
            raise SourceError(f"No images with annotations{which} were found in {source}.")
        for start in range(0, len(items), UNIT):
            yield ExpressionTask(format=name, items=tuple(items[start : start + UNIT]))

    def _write(self, stage: Path, journal: Journal, order: Sequence[str], bar: Callable[..., Any]) -> ExpressionTally:
        """Write the list, and count it."""
        tally = ExpressionTally()
        masks, tiles = (stage / folder.name for folder in self._folders())
        masks.mkdir()
        tiles.mkdir()
        with (stage / self.dst.name).open("w", encoding="utf-8") as file, bar("writing", len(order)) as tick:
            for name in order:
                for found in lines.unpacked(journal.read(name)):
                    tally.looked += 1
                    tally.refused += found.refused
                    if not found.line["expressions"]:
                        continue
                    number = tally.add(found.line, found.sizes)
                    image = Path(os.path.relpath(found.image, self.dst.parent)).as_posix()
                    if found.tile is not None:
                        image = f"{tiles.name}/{number:06d}.jpg"
                        (tiles / f"{number:06d}.jpg").write_bytes(found.tile)
                    (masks / f"{number:06d}.png").write_bytes(found.mask)
                    line = {"image": image, "mask": f"{masks.name}/{number:06d}.png", **found.line}
                    file.write(json_text(line) + "\n")
                tick(1)
        for folder in (masks, tiles):
            if not any(folder.iterdir()):
                folder.rmdir()
        return tally

    def _draw(self, stage: Path) -> None:
        """Some of the expressions on their images."""
        if not self.pictures:
            return
        made = {folder.name for folder in self._folders()}

        def place(path: str) -> Path:
            return (stage if Path(path).parts[0] in made else self.dst.parent) / path

        chosen = contact_sheet.choose(stage / self.dst.name, self.pictures, seed=self.options.seed)
        save_png(contact_sheet.sheet(place, chosen), stage / self._sheet.name, kind="pictures")

    def _move(self, stage: Path) -> None:
        """All to their places but the list, which follows when the stage is left."""
        for target in (*self._folders(), self._sheet):
            if target.is_dir():  # at once: half of an own folder would be one of somebody else
                os.replace(target, stage / f"{target.name}.old")
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
