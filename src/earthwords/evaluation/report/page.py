"""`report.html`: everything that was measured on one page that needs no network and no script.

Pictures are taken from beside it, by relative paths; what is not there is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from earthwords.evaluation.report import segmentation as page_sets
from earthwords.evaluation.report.html import (  # fmt: skip
    Html,
    bar,
    bars,
    best_of,
    facts,
    folded,
    grouped,
    join,
    number,
    picture,
    plain,
    table,
    tag,
    td,
    th,
)
from earthwords.evaluation.results import HEADLINES, RESULTS, TABLE, Entry
from earthwords.files.atomic import atomic_path

PAGE = "report.html"
TITLES = {
    "zero-shot": ("Zero-shot", "The class whose words are nearest to an image."),
    "transductive": ("Transductive", "Zero-shot, corrected by all images together; nothing is trained."),
    "linear-probe": ("Linear probe", "A linear classifier on the images' vectors."),
    "knn": ("k-NN", "The vote of the nearest training images."),
    "few-shot": ("Few-shot", "Linear probes that learn from some images of each class."),
    "retrieval": ("Retrieval", "Sentences by image, images by sentence: how often the first K hold a right one."),
    "multi-label": ("Several labels", "How well the words of a label rank the images that have it."),
    "counting": ("Counting", "Which of one ... ten in its sentence fits an image."),
    "referring": ("Referring", "The pixels that a sentence means."),
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


def write_page(folder: Path, entries: Sequence[Entry], *, version: str) -> Path:
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


def page(folder: Path, entries: Sequence[Entry], *, version: str) -> str:
    """The page as text; arguments as of `write_page`."""
    known = list(TITLES)
    tasks = grouped(entries, lambda entry: entry.task)
    tasks.sort(key=lambda pair: known.index(pair[0]) if pair[0] in known else len(known))
    sections = [_section(folder, number, task, found) for number, (task, found) in enumerate(tasks, start=1)]
    links = [tag("li", tag("a", title(task), href=f"#task-{n}")) for n, (task, _) in enumerate(tasks, start=1)]
    style = Html(Path(__file__).with_suffix(".css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content="script-src 'none'"),
        tag("title", "Evaluation – earthwords"),
        tag("style", style),
    )
    body = tag(
        "body",
        tag("header", tag("h1", "Evaluation"), tag("p", _summary(entries, version))),
        *([tag("nav", tag("ul", *links), aria_label="Tasks"), _overview(tasks)] if len(tasks) > 1 else []),
        tag("main", *sections),
        _footer(folder, version),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def title(task: str) -> str:
    """Of a task, for people."""
    return TITLES.get(task, (task, ""))[0]


def _summary(entries: Sequence[Entry], version: str) -> str:
    counted = [
        (len(entries), "result"),
        (len({entry.dataset for entry in entries}), "data set"),
        (len({entry.model for entry in entries}), "model"),
    ]
    told = ", ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for count, name in counted)
    return f"{told}. Figures are percent, unless named otherwise. Made by earthwords {version}."


def _footer(folder: Path, version: str) -> Html:
    files = [name for name in (RESULTS, TABLE) if (folder / name).is_file()]
    links = [Html(" and ").join([tag("a", name, href=name) for name in files])] if files else []
    return tag("footer", f"earthwords {version}. ", *(["The same figures: ", Html(*links), "."] if links else []))


def _overview(tasks: Sequence[tuple[str, list[Entry]]]) -> Html:
    """Data sets and models by tasks, the main figure of each."""
    shown = {task: [e for e in found if not page_sets.is_variant(e)] or found for task, found in tasks}
    cells = {(e.dataset, e.model, e.task): main(e) for found in shown.values() for e in found}
    pairs = list(dict.fromkeys((dataset, model) for dataset, model, _ in cells))
    order = list(dict.fromkeys(dataset for dataset, _ in pairs))
    pairs.sort(key=lambda pair: order.index(pair[0]))
    best = {
        (dataset, task): best_of([cells[key][1] for key in cells if (key[0], key[2]) == (dataset, task)])
        for dataset, _, task in cells
    }

    def cell(dataset: str, model: str, task: str) -> Html:
        value = cells.get((dataset, model, task), ("", None))[1]
        told = number(value, 2)
        return td(tag("b", told) if value is not None and value == best.get((dataset, task)) else told)

    rows = [[th(d, scope="row"), td(m, class_="words"), *(cell(d, m, task) for task in shown)] for d, m in pairs]
    heads = [
        th(title(task), tag("small", ", ".join(dict.fromkeys(main(e)[0] for e in found))), class_="number")
        for task, found in shown.items()
    ]
    caption = "The main figure of every task; bold where it is the best of several models on a data set."
    return tag(
        "section",
        tag("h2", "Overview"),
        table([[th("data set"), th("model"), *heads]], rows, caption=caption),
    )


def headline(entry: Entry) -> list[tuple[str, str]]:
    """The figures a table shows, with their names."""
    return page_sets.headline(entry) if page_sets.is_segmentation(entry) else entry.headline()


def main(entry: Entry) -> tuple[str, float | None]:
    """Name and value of the figure that stands for an entry."""
    told = dict(headline(entry))
    name = MAIN.get(entry.task, "")
    name = name if name in told else next(iter(told), "")
    try:
        return name, float(told[name])
    except (KeyError, ValueError):
        return name, None


def _section(folder: Path, place: int, task: str, entries: list[Entry]) -> Html:
    """A task: its table, then every data set."""
    what = TITLES.get(task, ("", ""))[1]
    head = [tag("h2", title(task)), *([tag("p", what)] if what else [])]
    sets = [entry for entry in entries if page_sets.is_segmentation(entry)]
    others = [entry for entry in entries if not page_sets.is_segmentation(entry)]
    parts = [*page_sets.parts(folder, sets, f"task-{place}")] if sets else []
    if others:
        parts.append(_figures(task, others))
        parts += [
            tag("article", tag("h3", dataset), *_data_set(folder, found))
            for dataset, found in grouped(others, lambda entry: entry.dataset)
        ]
    return tag("section", *head, *parts, id=f"task-{place}")


def _figures(task: str, entries: Sequence[Entry]) -> Html:
    """Data sets and models by the figures of a task."""
    told = [dict(entry.headline()) for entry in entries]
    names = list(dict.fromkeys(name for row in told for name in row))
    rows = [
        [
            th(entry.dataset, scope="row"),
            td(entry.model, class_="words"),
            *(td(row.get(name, "–")) for name in names),
            td(_images(entry), class_="words images"),
        ]
        for entry, row in zip(entries, told, strict=True)
    ]
    head = [th("data set"), th("model"), *(th(name, class_="number") for name in names), th("images")]
    return table([head], rows, caption="All data sets")


def _images(entry: Entry) -> str:
    images = entry.figures.get("images", "")
    return f"{images:,}" if isinstance(images, int) else str(images)


def _data_set(folder: Path, entries: Sequence[Entry]) -> Iterator[Html]:
    """What there is of the models on one data set."""
    for entry in entries:
        if "warning" in entry.figures:
            yield tag("p", f"{entry.model}: {entry.figures['warning']}", class_="warning")
    shown = [*_class_tables(entries), *_shots(entries), *_kinds(entries), *plots(folder, entries, PLOTS)]
    if shown:
        yield tag("div", *shown, class_="side")
    yield from plots(folder, entries, SHEETS)
    yield join([settings(entry) for entry in entries])


def _class_tables(entries: Sequence[Entry]) -> Iterator[Html]:
    """The accuracy of each class, models side by side where they have the same classes."""
    measured = [entry for entry in entries if entry.figures.get("per_class")]
    for classes, found in grouped(measured, lambda entry: entry.classes):
        columns = {entry.model: entry.figures["per_class"] for entry in found}
        what = "Average precision of each label" if found[0].task == "multi-label" else "Accuracy of each class"
        yield bars("class", classes, columns, caption=what)


def _kinds(entries: Sequence[Entry]) -> Iterator[Html]:
    """The IoU of kinds of expressions and of categories, of a referring model."""
    for entry in entries:
        kinds = entry.figures.get("kinds") or {}
        if kinds:
            rows = [
                [th(name, scope="row"), bar(found["gIoU"]), td(f"{found['samples']:,}")]
                for name, found in kinds.items()
            ]
            head = [th("kind of expression"), th("gIoU"), th("samples", class_="number")]
            yield table([head], rows, caption=f"Kinds of expressions, {entry.model}")
        categories = entry.figures.get("categories") or {}
        if categories:
            caption = f"Mean IoU of what is meant, {entry.model}"
            yield bars("category", tuple(categories), {"IoU": list(categories.values())}, caption=caption)


def _shots(entries: Sequence[Entry]) -> Iterator[Html]:
    """Few-shot accuracies with their spread."""
    for entry in entries:
        if entry.task != "few-shot":
            continue
        short = any(row["short"] for row in entry.figures["shots"])
        rows = [
            [
                th(str(row["shots"]), scope="row"),
                bar(row["mean"], 2),
                td(f"± {number(row['std'], 2)}"),
                *([td(f"{row['short']:,}")] if short else []),
            ]
            for row in entry.figures["shots"]
        ]
        head = [
            th("images a class"),
            th("accuracy"),
            th("deviation", class_="number"),
            *([th("classes with fewer", class_="number")] if short else []),
        ]
        yield table([head], rows, caption=f"Mean and standard deviation of the draws, {entry.model}")


def plots(folder: Path, entries: Sequence[Entry], kinds: Mapping[str, str]) -> Iterator[Html]:
    """The pictures of entries that were drawn, of some kinds."""
    for entry in entries:
        for end, what in kinds.items():
            alt = f"{what} {title(entry.task)}, {entry.dataset}, {entry.model}"
            found = picture(folder, f"{entry.stem}.{end}.png", alt, tag("b", entry.model), f" {what}")
            if found is not None:
                yield found


def settings(entry: Entry) -> Html:
    """What the figures depend on, and those that no table shows."""
    told = [(name, plain(value)) for name, value in entry.settings.items()]
    shown = {*HEADLINES.get(entry.task, ()), *_APART}
    for name, value in entry.figures.items():
        if name not in shown and isinstance(value, (str, int, float)):
            told.append((name, plain(value)))
    if isinstance(entry.figures.get("settings"), dict):
        told += [(f"chosen {name}", plain(value)) for name, value in entry.figures["settings"].items()]
    if entry.seconds:
        told.append(("seconds", f"{entry.seconds:,.1f}"))
    return folded(f"Settings and further figures: {entry.model}", facts(told))
