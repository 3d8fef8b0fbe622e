"""A case: an original, damaged by a seed, and what must be true of the command that reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pyogrio
import rasterio

from tests.hardening.mutate import SUFFIXES, mutation
from tests.hardening.originals import HEIGHT, WIDTH, Original
from tests.hardening.runner import Ran, Runner

BUNDLE = {"labels.tif", "labels.tif.aux.xml", "labels.qml", "polygons.gpkg", "polygons.qml", "preview.png"} | {
    "report.json"
}
MOST_MIB = 1024
"""Beyond what the warm process holds; GDAL itself takes half of it for a strip that claims to be huge."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command line that reads a damaged file."""

    name: str
    argv: list[str]
    file: Path
    """The damaged copy."""
    raster: bool


def make_case(seed: int, originals: Sequence[Original], place: Path) -> Case:
    """The damaged copy in `place / "in"` and the command line that reads it; the same for the same seed."""
    random = Random(seed)
    original = originals[seed % len(originals)]
    damage = mutation(original.name, random)
    inputs = place / "in"
    inputs.mkdir()
    if "/" in original.name:  # one file of a folder: the others are as they were
        for sibling in original.file.parent.iterdir():
            (inputs / sibling.name).symlink_to(sibling)
    suffix = random.choice(SUFFIXES) if "/" not in original.name and random.random() < 0.06 else original.file.suffix
    file = inputs / f"{original.file.stem}{suffix}"
    file.unlink(missing_ok=True)
    file.write_bytes(damage(original.file.read_bytes(), random))
    argv = ["segment", original.options(file)[0], str(place / "out"), *original.options(file)[1:]]
    return Case(name=f"{original.name} {damage.__name__}{suffix}", argv=argv, file=file, raster=original.raster)


def run_case(runner: Runner, case: Case, place: Path) -> tuple[Ran, list[str]]:
    """Run it; what is wrong with the outcome, nothing if all is well."""
    inputs = _names(case.file.parent)
    ran = runner.run(case.argv)
    wrong = _wrong_words(ran)
    left = _names(place / "out")
    if ran.code == 0:
        wrong += _wrong_outputs(case, place / "out", left)
    elif (place / "out").exists():
        wrong.append(f"left behind: {left}")
    if _names(case.file.parent) != inputs:
        wrong.append(f"wrote beside the input: {_names(case.file.parent) - inputs}")
    return ran, wrong


def _wrong_words(ran: Ran) -> list[str]:
    wrong = []
    if ran.code not in (0, 1, 2):
        wrong.append(f"exit code {ran.code}")
    for word in ("Traceback", "Unexpected failure"):
        if word in ran.err:
            wrong.append(word)
    lines = [line for line in ran.err.splitlines() if not line.startswith("_tiff")]  # printed by libtiff itself
    if ran.code in (1, 2) and not (len(lines) == 1 and lines[0].startswith("earthwords: ")):
        wrong.append("not one sentence")
    if ran.code in (1, 2) and len(ran.err) > 1000:
        wrong.append("a very long sentence")
    if ran.code == 0 and lines:
        wrong.append("words on stderr in spite of --quiet")
    if ran.peak_mib > MOST_MIB:
        wrong.append(f"{ran.peak_mib} MiB of memory")
    return wrong


def _wrong_outputs(case: Case, folder: Path, names: set[str]) -> list[str]:
    if not names <= BUNDLE or not BUNDLE - {"labels.tif.aux.xml"} <= names:
        return [f"outputs {names}"]
    shape = (HEIGHT, WIDTH)
    if case.raster:
        with rasterio.open(case.file) as dataset:
            shape = dataset.shape
    with rasterio.open(folder / "labels.tif") as dataset:
        found = dataset.read(1).shape
    pyogrio.read_info(folder / "polygons.gpkg")
    return [] if found == shape else [f"shape {found}, expected {shape}"]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")} if folder.exists() else set()
