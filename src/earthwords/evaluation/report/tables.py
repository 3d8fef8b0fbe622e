"""Results of segmentation as markdown: a table a group of sets with printed numbers, ablations, IoU by class."""

from __future__ import annotations

from collections.abc import Sequence

from earthwords.data.segmentation.spec import GROUPS, DatasetSpec, PublishedFigure, all_specs
from earthwords.evaluation.results import HEADINGS, OWN, TASK, UNSURE, ResultEntry, headline, shown


def sections(entries: Sequence[ResultEntry]) -> list[str]:
    """Lines about the entries of this task."""
    specs = {spec.name: spec for spec in all_specs()}
    rows = sorted(entries, key=lambda entry: specs[entry.dataset].rank if entry.dataset in specs else float("inf"))
    plain = [entry for entry in rows if "compare" not in entry.settings]
    lines: list[str] = []
    for group in (*GROUPS, OWN):
        part = [entry for entry in plain if _group_of(entry, specs) == group]
        if part:
            lines += ["", f"## Segmentation: {HEADINGS[group]}", "", *_group(part, specs)]
    compared = [entry for entry in rows if "compare" in entry.settings]
    for key in dict.fromkeys(map(_comparison, compared)):
        lines += ["", f"## Segmentation: {key[1]} of {key[2]} on {key[0]}", ""]
        lines += _ablation([entry for entry in compared if _comparison(entry) == key])
    for name in dict.fromkeys(entry.dataset for entry in rows):
        lines += ["", f"## Segmentation: classes of {name}", ""]
        here = [entry for entry in rows if entry.dataset == name]
        lines += _classes([entry for entry in here if entry in plain] or here)
    return lines


def pictures(entry: ResultEntry) -> list[str]:
    """Lines with the examples of an entry."""
    rows = entry.figures.get("examples")
    if entry.task != TASK or not rows:
        return []
    lines = ["", *_head(["image", "mIoU", "as seen", "truth", "prediction"])]
    for row in rows:
        shots = (f"![{kind}]({row[kind]})" for kind in ("image", "truth", "prediction"))
        lines.append(_row([f"{row['name']} ({row['kind']})", shown(row["score"]), *shots]))
    return lines


def _group_of(entry: ResultEntry, specs: dict[str, DatasetSpec]) -> str:
    return specs[entry.dataset].group if entry.dataset in specs else OWN


def _comparison(entry: ResultEntry) -> tuple[str, str, str]:
    return entry.dataset, entry.settings["compare"], entry.settings["base"]


def _group(entries: Sequence[ResultEntry], specs: dict[str, DatasetSpec]) -> list[str]:
    """A row a set, columns of presets at both thresholds and of printed numbers."""
    names = list(dict.fromkeys(entry.dataset for entry in entries))
    models = list(dict.fromkeys(entry.model for entry in entries))
    by_name = {name: specs[name].published if name in specs else () for name in names}
    published = [number for name in names for number in by_name[name]]
    methods = list(dict.fromkeys(number.method for number in published))
    found = {(entry.dataset, entry.model): entry for entry in entries}
    columns = [column for model in models for column in (model, f"{model}, fixed threshold")]
    lines = _head(["data set", "figure", "images", *columns, *(f"{method}, printed" for method in methods)])
    for name in names:
        first = next(entry for entry in entries if entry.dataset == name)
        cells = [name, first.figures["metric"], f"{first.figures['images']:,}"]
        for model in models:
            cells += _both(found.get((name, model)))
        numbers = {number.method: number for number in by_name[name]}
        lines.append(_row([*cells, *(printed(numbers.get(method)) for method in methods)]))
    lines += ["", "In brackets the threshold. Foreground IoU where the figure is IoU."]
    if published:
        sources = "; ".join(dict.fromkeys(number.source for number in published))
        lines.append(f"Printed numbers: {sources}. {UNSURE}: unverified.")
    return lines


def _both(entry: ResultEntry | None) -> list[str]:
    """A preset's figure at the tuned and at the fixed threshold."""
    if entry is None:
        return ["", ""]
    parts = (entry.figures[which] for which in ("tuned", "fixed"))
    return [f"{shown(headline(part, entry.figures['metric']))} ({part['threshold']:g})" for part in parts]


def _ablation(entries: Sequence[ResultEntry]) -> list[str]:
    """A row a variant, with the difference to the first."""
    metric = entries[0].figures["metric"]
    title = entries[0].settings["compare"]
    lines = _head([title, metric, "difference", f"{metric}, fixed threshold", "aAcc", "boundary IoU"])
    base = headline(entries[0].figures["tuned"], metric)
    for entry in entries:
        tuned, fixed = entry.figures["tuned"], entry.figures["fixed"]
        value = headline(tuned, metric)
        difference = "" if base is None or value is None or entry is entries[0] else f"{value - base:+.2f}"
        figures = (headline(fixed, metric), tuned["aAcc"], tuned["boundary_IoU"])
        lines.append(_row([entry.settings["variant"], shown(value), difference, *map(shown, figures)]))
    return lines


def _classes(entries: Sequence[ResultEntry]) -> list[str]:
    """A row a class, a column a model: IoU at the tuned threshold."""
    lines = _head(["class", *(entry.model for entry in entries)])
    for number, title in enumerate(entries[0].classes):
        lines.append(_row([title, *(shown(entry.figures["tuned"]["IoU"][number]) for entry in entries)]))
    return lines


def printed(number: PublishedFigure | None) -> str:
    """A number somebody printed, with a mark where nobody here has read it."""
    return "" if number is None else f"{number.value:.1f}" + f" {UNSURE}" * (not number.verified)


def _head(columns: Sequence[str]) -> list[str]:
    return [_row(columns), "|" + "---|" * len(columns)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
