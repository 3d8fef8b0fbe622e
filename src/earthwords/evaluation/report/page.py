"""`report.html`: everything that was measured on one page that needs no network and no script.

Pictures are taken from beside it, by relative paths; what is not there is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from earthwords.evaluation.report import segmentation
from earthwords.evaluation.report.render import render
from earthwords.evaluation.report.values import (
    NONE,
    Cells,
    Row,
    Table,
    Values,
    bars,
    count,
    figures,
    grouped,
    number,
    picture,
    plain,
)
from earthwords.evaluation.results import HEADLINES, RESULTS, TABLE, ResultEntry
from earthwords.files.atomic import atomic_path

PAGE = "report.html"
TITLES = {
    "zero-shot": ("Zero-shot", "The class whose words are nearest to an image."),
    "transductive": ("Transductive", "Zero-shot, corrected by all images together; nothing is trained."),
    "linear-probe": ("Linear probe", "A linear classifier on the images' vectors."),
    "knn": ("k-NN", "The vote of the nearest training images."),
    "few-shot": (
        "Few-shot",
        "Probes, or heads that know the words too, that learn from some images of each class.",
    ),
    "retrieval": ("Retrieval", "Sentences by image, images by sentence: how often the first K hold a right one."),
    "multi-label": ("Several labels", "How well the words of a label rank the images that have it."),
    "counting": ("Counting", "Which of one ... ten in its sentence fits an image."),
    "referring": ("Referring", "The pixels that a sentence means."),
    "change": ("Change", "The pixels that changed between two dates; by class SeK and Fscd."),
    "segmentation": ("Segmentation", "A class of words for every pixel."),
}
MAIN = {"transductive": "top-1", "few-shot": "16-shot", "retrieval": "mean recall"}
"""The figure that stands for a task where there are several; of the others it is the first."""
PLOTS = {
    "confusion": "Confusion: rows are the truth, columns the answers, each row in percent.",
    "recall": "Recall at K.",
    "shots": "Accuracy by images a class; bars are the standard deviation of the draws.",
}
SHEETS = {"examples": "The best, the median and the worst samples."}
"""Ends of the names of pictures that an entry may have, and what they show; sheets need the whole width."""
_APART = {"images", "warning", "seconds"}


def write_page(folder: Path, entries: Sequence[ResultEntry], *, version: str) -> Path:
    """`report.html` of a folder, whole or not at all.

    Args:
        folder: where plots and pictures of the entries are.
        entries: sets and models are shown in their order.
        version: of earthwords.
    """
    target, text = folder / PAGE, page(folder, entries, version=version)
    with atomic_path(target, overwrite=True) as path:
        path.write_text(text, encoding="utf-8", errors="replace")
    return target


def page(folder: Path, entries: Sequence[ResultEntry], *, version: str) -> str:
    """The page as text; arguments as of `write_page`."""
    known = list(TITLES)
    tasks = grouped(entries, lambda entry: entry.task)
    tasks.sort(key=lambda pair: known.index(pair[0]) if pair[0] in known else len(known))
    return render(
        "page.html.jinja",
        style=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
        version=version,
        counts=_counts(entries),
        overview=_overview(tasks) if len(tasks) > 1 else None,
        tasks=[_task(folder, task, found) for task, found in tasks],
        files=[name for name in (RESULTS, TABLE) if (folder / name).is_file()],
    )


def title(task: str) -> str:
    """Of a task, for people."""
    return TITLES.get(task, (task, ""))[0]


def _counts(entries: Sequence[ResultEntry]) -> list[str]:
    sets, models = ({getattr(entry, name) for entry in entries} for name in ("dataset", "model"))
    counted = {"result": len(entries), "data set": len(sets), "model": len(models)}
    return [f"{n:,} {name}{'' if n == 1 else 's'}" for name, n in counted.items()]


def _overview(tasks: Sequence[tuple[str, list[ResultEntry]]]) -> Table:
    """Data sets and models by tasks, the main figure of each."""
    shown = {task: [e for e in found if not segmentation.is_variant(e)] or found for task, found in tasks}
    cells = {(e.dataset, e.model, e.task): main(e)[1] for found in shown.values() for e in found}
    rows: list[Row] = []
    for dataset, keys in grouped(cells, lambda key: key[0]):
        models = list(dict.fromkeys(model for _, model, _ in keys))
        columns = [figures([cells.get((dataset, model, task)) for model in models], 2) for task in shown]
        rows += [(dataset, [model], row) for model, *row in zip(models, *columns, strict=True)]
    names = [", ".join(dict.fromkeys(main(entry)[0] for entry in found)) for found in shown.values()]
    numbers = list(zip(map(title, shown), names, strict=True))
    caption = "The main figure of every task; bold where it is the best of several models on a data set."
    return Table(caption=caption, heads=["data set", "model"], numbers=numbers, rows=rows)


def headline(entry: ResultEntry) -> list[tuple[str, str]]:
    """The figures a table shows, with their names."""
    return segmentation.headline(entry) if segmentation.is_segmentation(entry) else entry.headline()


def main(entry: ResultEntry) -> tuple[str, float | None]:
    """Name and value of the figure that stands for an entry."""
    shown = dict(headline(entry))
    name = MAIN.get(entry.task, "")
    name = name if name in shown else next(iter(shown), "")
    try:
        return name, float(shown[name])
    except (KeyError, ValueError):
        return name, None


def _task(folder: Path, task: str, entries: Sequence[ResultEntry]) -> Values:
    """A task: its table, then every data set."""
    sets = [entry for entry in entries if segmentation.is_segmentation(entry)]
    others = [entry for entry in entries if not segmentation.is_segmentation(entry)]
    return {
        "title": title(task),
        "text": TITLES.get(task, ("", ""))[1],
        "segmentation": segmentation.task(folder, sets) if sets else None,
        "figures": _figures(others),
        "data_sets": [_data_set(folder, name, found) for name, found in grouped(others, lambda e: e.dataset)],
    }


def _figures(entries: Sequence[ResultEntry]) -> Table:
    """Data sets and models by the figures of a task."""
    shown = [dict(entry.headline()) for entry in entries]
    names = list(dict.fromkeys(name for row in shown for name in row))
    rows = [
        (entry.dataset, [entry.model], [*(row.get(name, NONE) for name in names), count(entry.figures.get("images"))])
        for entry, row in zip(entries, shown, strict=True)
    ]
    return Table(caption="All data sets", heads=["data set", "model"], numbers=names, last="images", rows=rows)


def _data_set(folder: Path, name: str, entries: Sequence[ResultEntry]) -> Values:
    """What there is of the models on one data set."""
    return {
        "name": name,
        "warnings": [f"{e.model}: {e.figures['warning']}" for e in entries if "warning" in e.figures],
        "tables": [*_class_tables(entries), *_shots(entries), *_kinds(entries)],
        "plots": _plots(folder, entries, PLOTS),
        "sheets": _plots(folder, entries, SHEETS),
        "settings": [(entry.model, _settings(entry)) for entry in entries],
    }


def _class_tables(entries: Sequence[ResultEntry]) -> Iterator[Table]:
    """The accuracy of each class, models side by side where they have the same classes."""
    measured = [entry for entry in entries if entry.figures.get("per_class")]
    for classes, found in grouped(measured, lambda entry: entry.classes):
        columns = {entry.model: entry.figures["per_class"] for entry in found}
        what = "Average precision of each label" if found[0].task == "multi-label" else "Accuracy of each class"
        yield bars("class", classes, columns, caption=what)


def _kinds(entries: Sequence[ResultEntry]) -> Iterator[Table]:
    """The IoU of kinds of expressions and of categories, of a referring model."""
    for entry in entries:
        if kinds := entry.figures.get("kinds"):
            rows: list[Row] = []
            for name, kind in kinds.items():
                rows.append((name, (), [*figures([kind["gIoU"]], bar=True), count(kind["samples"])]))
            caption, heads = f"Kinds of expressions, {entry.model}", ["kind of expression", "gIoU"]
            yield Table(caption=caption, heads=heads, numbers=["samples"], rows=rows)
        if categories := entry.figures.get("categories"):
            caption = f"Mean IoU of what is meant, {entry.model}"
            yield bars("category", categories, {"IoU": list(categories.values())}, caption=caption)


def _shots(entries: Sequence[ResultEntry]) -> Iterator[Table]:
    """Few-shot accuracies with their spread."""
    for entry in [entry for entry in entries if entry.task == "few-shot"]:
        shots = entry.figures["shots"]
        short = ["classes with fewer"] if any(row["short"] for row in shots) else []
        rows: list[Row] = []
        for row in shots:
            cells: Cells = [*figures([row["mean"]], 2, bar=True), f"± {number(row['std'], 2)}", count(row["short"])]
            rows.append((row["shots"], (), cells[: 2 + len(short)]))
        caption, heads = f"Mean and standard deviation of the draws, {entry.model}", ["images a class", "accuracy"]
        yield Table(caption=caption, heads=heads, numbers=["deviation", *short], rows=rows)


def _plots(folder: Path, entries: Sequence[ResultEntry], kinds: Mapping[str, str]) -> list[Values]:
    """The pictures of entries that were drawn, of some kinds."""
    found = []
    for entry in entries:
        for end, text in kinds.items():
            alt = f"{text} {title(entry.task)}, {entry.dataset}, {entry.model}"
            found += picture(folder, f"{entry.stem}.{end}.png", alt, title=entry.model, text=text)
    return found


def _settings(entry: ResultEntry) -> list[tuple[str, str]]:
    """What the figures depend on, and those that no table shows."""
    elsewhere = {*HEADLINES.get(entry.task, ()), *_APART}
    facts = [*entry.settings.items()]
    facts += [(k, v) for k, v in entry.figures.items() if k not in elsewhere and isinstance(v, (str, int, float))]
    if isinstance(chosen := entry.figures.get("settings"), dict):
        facts += [(f"chosen {name}", value) for name, value in chosen.items()]
    return plain([*facts, ("seconds", f"{entry.seconds:,.1f}")] if entry.seconds else facts)
