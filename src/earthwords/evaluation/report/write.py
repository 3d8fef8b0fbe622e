"""Results as JSON, markdown, a page and plots; what is done already is found again in the JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from earthwords.evaluation.metrics.counting import WORDS
from earthwords.evaluation.report import tables
from earthwords.evaluation.report.page import write_page
from earthwords.evaluation.results import RESULTS, TABLE, TASK, WAYS, ResultEntry
from earthwords.files.atomic import atomic_path
from earthwords.files.output_tags import save_png
from earthwords.files.plaintext import write_json
from earthwords.viz.charts import Curve, confusion_plot, curve_plot


def write_results(folder: Path, entries: Sequence[ResultEntry], *, version: str) -> None:
    """`results.json`, `results.md` and `report.html`, each whole or not at all."""
    table = {"earthwords": version, "results": [asdict(entry) for entry in entries]}
    with atomic_path(folder / RESULTS, overwrite=True) as path:
        write_json(path, table)
    with atomic_path(folder / TABLE, overwrite=True) as path:
        path.write_text(markdown(entries), encoding="utf-8", errors="backslashreplace")
    write_page(folder, entries, version=version)


def write_plots(folder: Path, entry: ResultEntry) -> list[Path]:
    """The plots of an entry, as PNG."""
    written = []
    for suffix, image in plots(entry):
        target = folder / f"{entry.stem}.{suffix}.png"
        with atomic_path(target, overwrite=True) as path:
            save_png(image, path, kind=suffix)
        written.append(target)
    return written


def plots(entry: ResultEntry) -> Iterator[tuple[str, Image.Image]]:
    """What can be drawn of an entry, with a suffix for its name."""
    title, figures = f"{entry.task}, {entry.dataset}, {entry.model}", entry.figures
    if "confusion" in figures:
        names = WORDS if entry.task == "counting" else entry.classes
        counts = np.array(figures["confusion"])[:, : len(names)]  # without those predicted as no class
        yield "confusion", confusion_plot(counts, names, title)
    if "curve" in figures:
        curve = figures["curve"]
        lines = [Curve(name=name, xs=curve["ranks"], ys=curve[way]) for way, name in WAYS.items()]
        yield "recall", curve_plot(lines, title, "K", "recall at K, %")
    if entry.task == "few-shot":
        rows = figures["shots"]
        xs, ys, spread = ([row[name] for row in rows] for name in ("shots", "mean", "std"))
        line = Curve(name=f"mean and std of {len(rows[0]['accuracies'])} draws", xs=xs, ys=ys, spread=spread)
        yield "shots", curve_plot([line], title, "images a class", "accuracy, %")


def markdown(entries: Sequence[ResultEntry]) -> str:
    """A table of everything, then what each rests on."""
    lines = ["# Results", "", "Percent, unless named otherwise.", "", "| data set | model | task | figures | images |"]
    lines.append("|---|---|---|---|---|")
    for entry in entries:
        figures = ", ".join(f"{name} {value}" for name, value in entry.headline())
        row = (entry.dataset, entry.model, entry.task, figures, str(entry.figures.get("images", "")))
        lines.append("| " + " | ".join(_cell(text) for text in row) + " |")
    lines += tables.sections([entry for entry in entries if entry.task == TASK])
    for entry in entries:
        lines += ["", f"## {entry.task}, {entry.dataset}, {entry.model}", ""]
        lines += [f"* {name}: {_cell(str(value))}" for name, value in _notes(entry)]
        lines += _per_class(entry) + tables.pictures(entry)
    return "\n".join(lines) + "\n"


def _notes(entry: ResultEntry) -> Iterator[tuple[str, Any]]:
    yield from entry.settings.items()
    for name in ("warning", "chosen", "selected_on", "seen", "k", "temperature"):
        if name in entry.figures:
            yield name, entry.figures[name]
    if entry.task == "linear-probe":
        yield "chosen", ", ".join(f"{name} {value:g}" for name, value in entry.figures["settings"].items())
    for kind, found in entry.figures.get("kinds", {}).items():
        yield f"gIoU of {kind!r}, {found['samples']:,} samples", f"{found['gIoU']:.1f}"
    if entry.task == "few-shot":
        for row in entry.figures["shots"]:
            short = f" ({row['short']} classes have fewer)" if row["short"] else ""
            yield f"{row['shots']}-shot{short}", f"{row['mean']:.2f} ± {row['std']:.2f}"


def _per_class(entry: ResultEntry) -> list[str]:
    shares = entry.figures.get("per_class")
    if not shares:
        return []
    rows = [
        f"| {_cell(name)} | {'-' if share is None else f'{share:.1f}'} |"
        for name, share in zip(entry.classes, shares, strict=True)
    ]
    return ["", f"| class | {'average precision' if entry.task == 'multi-label' else 'accuracy'} |", "|---|---|", *rows]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
