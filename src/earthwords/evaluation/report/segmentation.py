"""The part of `report.html` about segmentation: sets by presets, classes, confusions, scores of images, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from earthwords.data.segmentation.spec import DatasetSpec, find_spec
from earthwords.errors import UsageError
from earthwords.evaluation.report.html import (  # fmt: skip
    MINUS,
    NONE,
    Html,
    bar,
    bars,
    best_of,
    facts,
    folded,
    grouped,
    histogram,
    number,
    picture,
    plain,
    swatch,
    table,
    tag,
    td,
    th,
)

if TYPE_CHECKING:
    from earthwords.evaluation.results import Entry

THRESHOLDS = ("tuned", "fixed")
"""Of a probability: tuned to the set, and one for all sets."""
SUMMARY = {
    "mIoU": "mIoU",
    "foreground_IoU": "foreground IoU",
    "aAcc": "aAcc",
    "mAcc": "mAcc",
    "mF1": "mF1",
    "boundary_IoU": "boundary IoU",
}
MOST_CELLS = 30
"""Classes of a confusion matrix that is shown whole; of a larger one its largest mistakes."""
MISTAKES = 20
KINDS = ("best", "median", "worst")
BINS = 20
_GROUPS = {"local": "other sets"}


def is_segmentation(entry: Entry) -> bool:
    """Whether this part shows it."""
    return isinstance(entry.figures.get("tuned"), dict)


def is_variant(entry: Entry) -> bool:
    """Whether it belongs to a comparison of variants of one preset."""
    return is_segmentation(entry) and "compare" in entry.settings


def headline(entry: Entry) -> list[tuple[str, str]]:
    """The figure that counts, with the threshold tuned to the set."""
    return [(_metric(entry), number(_score(entry, "tuned"), 2))]


def parts(folder: Path, entries: Sequence[Entry], anchor: str) -> Iterator[Html]:
    """Everything about segmentation, sets in the order of the papers' tables.

    Args:
        anchor: begin of the ids of its sets.
    """
    plain_ones = _sorted([entry for entry in entries if not is_variant(entry)])
    if plain_ones:
        sets = grouped(plain_ones, lambda entry: entry.dataset)
        if len(sets) > 1:
            links = [
                tag("li", tag("a", _title(name), href=f"#{anchor}-{n}")) for n, (name, _) in enumerate(sets, start=1)
            ]
            yield tag("nav", tag("ul", *links), aria_label="Data sets")
        yield from _sets_table(plain_ones)
        for n, (name, found) in enumerate(sets, start=1):
            yield tag("article", tag("h3", _title(name)), *_set(folder, found), id=f"{anchor}-{n}")
    variants = [entry for entry in entries if is_variant(entry)]
    for (base, kind), found in grouped(variants, lambda entry: _parse(entry)[:2]):
        yield tag("article", tag("h3", f"{base}: {kind} compared"), *_comparison(folder, found, kind))


def _sorted(entries: Sequence[Entry]) -> list[Entry]:
    """By the rank of their sets, sets that are not known last; else as they come."""

    def rank(entry: Entry) -> float:
        spec = _spec(entry.dataset)
        return float("inf") if spec is None else spec.rank

    return [entry for _, found in grouped(sorted(entries, key=rank), lambda entry: entry.dataset) for entry in found]


@lru_cache(maxsize=256)
def _spec(dataset: str) -> DatasetSpec | None:
    try:
        return find_spec(dataset)
    except UsageError:
        return None


def _title(dataset: str) -> str:
    spec = _spec(dataset)
    return dataset if spec is None else spec.title


def _parse(entry: Entry) -> tuple[str, str, str]:
    base, kind, variant = (str(entry.settings[name]) for name in ("base", "compare", "variant"))
    return base, kind, variant


def _metric(entry: Entry) -> str:
    return str(entry.figures.get("metric") or "mIoU")


def _score(entry: Entry, threshold: str) -> float | None:
    """The figure that tables of the set print: its mIoU, or the IoU of what is looked for."""
    figures = entry.figures.get(threshold) or {}
    value: float | None = figures.get("mIoU" if _metric(entry) == "mIoU" else "foreground_IoU")
    return value


def _threshold(entry: Entry, threshold: str) -> str:
    value = (entry.figures.get(threshold) or {}).get("threshold")
    return "" if value is None else f"{value:g}"


def _sets_table(entries: Sequence[Entry]) -> Iterator[Html]:
    """Sets by presets, each at both thresholds, with published figures beside them."""
    presets = list(dict.fromkeys(entry.model for entry in entries))
    cited = [row for entry in entries for row in entry.figures.get("published") or ()]
    methods = list(dict.fromkeys(str(row["method"]) for row in cited))
    sources = list(dict.fromkeys(str(row["source"]) for row in cited))
    rows: list[list[Html]] = []
    groups = grouped(grouped(entries, lambda entry: entry.dataset), lambda pair: _group(pair[0]))
    for group, sets in groups:
        if len(groups) > 1:
            rows.append([th(group, scope="rowgroup", colspan=3 + 2 * len(presets) + len(methods))])
        rows += [_set_row(dataset, found, presets, methods, sources) for dataset, found in sets]
        if len(sets) > 1 and len({_metric(found[0]) for _, found in sets}) == 1:
            rows.append(_mean_row([found for _, found in sets], presets, methods))
    above = [th("data set", rowspan=2), th("figure", rowspan=2), th("images", class_="number", rowspan=2)]
    above += [th(preset, class_="group", colspan=2) for preset in presets]
    above += [th("published", class_="group", colspan=len(methods))] if methods else []
    below = [th(name, class_=f"number{' group' * (name == 'tuned')}") for _ in presets for name in THRESHOLDS]
    below += [th(name, class_=f"number{' group' * (i == 0)}") for i, name in enumerate(methods)]
    caption = "Percent; tuned: with a threshold for the set, fixed: with one for all sets. It is below each figure."
    yield table([above, below], rows, caption=caption)
    if sources:
        listed = "; ".join(f"[{n}] {source}" for n, source in enumerate(sources, start=1))
        doubt = any(not row.get("verified") for row in cited)
        mark = [" ", tag("abbr", "?"), " unverified: not read in the source."] if doubt else []
        yield tag("p", f"Published: {listed}.", *mark, class_="note")


def _group(dataset: str) -> str:
    spec = _spec(dataset)
    return "other sets" if spec is None else _GROUPS.get(spec.group, spec.group)


def _set_row(
    dataset: str, entries: Sequence[Entry], presets: Sequence[str], methods: Sequence[str], sources: Sequence[str]
) -> list[Html]:
    by_preset = {entry.model: entry for entry in entries}
    images = ", ".join(dict.fromkeys(_count(entry.figures.get("images")) for entry in entries))
    row = [th(_title(dataset), scope="row"), td(_metric(entries[0]), class_="words"), td(images)]
    best = {name: best_of([_score(entry, name) for entry in entries]) for name in THRESHOLDS}
    for preset in presets:
        for name in THRESHOLDS:
            entry = by_preset.get(preset)
            value = None if entry is None else _score(entry, name)
            told = number(value)
            shown = tag("b", told) if value is not None and value == best[name] else told
            below = "" if entry is None or value is None else _threshold(entry, name)
            small = [tag("small", f"at {below}")] if below else []
            row.append(td(shown, *small, class_=f"number{' group' * (name == 'tuned')}"))
    cited = {str(p["method"]): p for entry in entries for p in entry.figures.get("published") or ()}
    for i, method in enumerate(methods):
        cells = _published(cited[method], _metric(entries[0]), sources) if method in cited else [NONE]
        row.append(td(*cells, class_=f"number{' group' * (i == 0)}"))
    return row


def _mean_row(sets: Sequence[Sequence[Entry]], presets: Sequence[str], methods: Sequence[str]) -> list[Html]:
    """Means over sets, of what is known of all of them."""

    def cell(values: Sequence[float | None], first: bool, *mark: Html) -> Html:
        known = [value for value in values if value is not None]
        whole = len(known) == len(sets)
        return td(*([number(fmean(known)), *mark] if whole else [NONE]), class_=f"number{' group' * first}")

    row = [th(f"mean of {len(sets)}", scope="row"), td(_metric(sets[0][0]), class_="words"), td("")]
    for preset in presets:
        for at in THRESHOLDS:
            values = [_score(entry, at) for found in sets for entry in found if entry.model == preset]
            row.append(cell(values, at == "tuned"))
    cited = [{str(p["method"]): p for entry in found for p in entry.figures.get("published") or ()} for found in sets]
    for i, method in enumerate(methods):
        rows = [by_method[method] for by_method in cited if method in by_method]
        mark = [] if all(one.get("verified") for one in rows) else [tag("abbr", "?", title="unverified in part")]
        row.append(cell([float(one["value"]) for one in rows], i == 0, *mark))
    return row


def _published(row: dict[str, Any], metric: str, sources: Sequence[str]) -> list[str]:
    """The figure, a mark where it is unverified, its source's number, and its metric where it is another one."""
    source = str(row["source"])
    mark = [] if row.get("verified") else [tag("abbr", "?", title=f"unverified: {source}")]
    other = f" {row['metric']}" if row.get("metric", metric) != metric else ""
    return [number(float(row["value"])), *mark, tag("small", f"[{sources.index(source) + 1}]{other}", title=source)]


def _count(images: Any) -> str:
    return f"{images:,}" if isinstance(images, int) else str(images or "")


def _set(folder: Path, entries: Sequence[Entry]) -> Iterator[Html]:
    """A set: figures, classes, confusions, scores of images, pictures."""
    colours = _colours(entries[0])
    shown = [_summary(entries)]
    for classes, found in grouped(entries, lambda entry: entry.classes):
        columns = {_label(entry): _class_values(entry, "tuned", "IoU") for entry in found}
        names = [_named(name, colours.get(name)) for name in classes]
        shown.append(bars("class", names, columns, caption="IoU of each class, threshold tuned to the set"))
    yield tag("div", *shown, class_="side")
    details = tag("div", *(_details(entry) for entry in entries), class_="side")
    yield folded("Precision, recall and F1 of each class", details)
    histograms = [figure for entry in entries for figure in _histogram(entry)]
    if histograms:
        yield tag("h4", "Scores of images")
        yield tag("div", *histograms, class_="side")
    confusions = [found for entry in entries for found in _confusion(entry)]
    if confusions:
        yield tag("h4", "Confusion")
        yield tag("div", *confusions, class_="side")
    pictures = list(_examples(folder, entries))
    if pictures:
        yield tag("h4", "Pictures")
        if colours:
            legend = [tag("li", _named(name, colour)) for name, colour in colours.items()]
            yield tag("ul", *legend, class_="legend")
        yield from pictures
    for entry in entries:
        told = [(name, plain(value)) for name, value in entry.settings.items()]
        yield folded(f"Settings: {_label(entry)}", facts(told))


def _label(entry: Entry) -> str:
    return _parse(entry)[2] if is_variant(entry) else entry.model


def _colours(entry: Entry) -> dict[str, tuple[int, int, int]]:
    """Class to RGB; none of a set that is not known, or has other classes."""
    spec = _spec(entry.dataset)
    if spec is None or len(spec.classes) != len(entry.classes):
        return {}
    return dict(zip(entry.classes, (c.colour for c in spec.vocabulary().classes), strict=True))


def _named(name: str, colour: tuple[int, int, int] | None) -> Html:
    return tag("span", *([swatch(colour)] if colour else []), name)


def _class_values(entry: Entry, threshold: str, figure: str) -> list[float | None]:
    """A figure of every class; None where there is none."""
    values = (entry.figures.get(threshold) or {}).get(figure) or []
    return [*values, *[None] * len(entry.classes)][: len(entry.classes)]


def _summary(entries: Sequence[Entry]) -> Html:
    """Presets and thresholds by the figures of the whole set."""
    every = [figures for entry in entries for at in THRESHOLDS if (figures := entry.figures.get(at))]
    shown = [name for name in SUMMARY if any(figures.get(name) is not None for figures in every)]
    if all(figures.get("foreground_IoU") == figures.get("mIoU") for figures in every):
        shown = [name for name in shown if name != "foreground_IoU"]
    rows = []
    for entry in entries:
        for at in THRESHOLDS:
            figures = entry.figures.get(at)
            if figures:
                cells = [td(number(figures.get(name))) for name in shown]
                told = td(at, class_="words"), td(_threshold(entry, at))
                rows.append([th(_label(entry), scope="row"), *told, *cells])
    head = [th("model"), th("threshold", colspan=2), *(th(SUMMARY[name], class_="number") for name in shown)]
    images = ", ".join(dict.fromkeys(_count(entry.figures.get("images")) for entry in entries))
    return table([head], rows, caption=f"Whole set, {images} images")


def _details(entry: Entry) -> Html:
    """Precision, recall and F1 at the tuned threshold, and IoU at the fixed one."""
    names = [("tuned", "precision"), ("tuned", "recall"), ("tuned", "F1"), ("fixed", "IoU")]
    columns = [_class_values(entry, *name) for name in names]
    rows = [
        [th(name, scope="row"), *(td(number(column[i])) for column in columns)] for i, name in enumerate(entry.classes)
    ]
    head = [
        th("class"),
        *(th(name if at == "tuned" else f"{name}, {at} threshold", class_="number") for at, name in names),
    ]
    return table([head], rows, caption=_label(entry))


def _confusion(entry: Entry) -> Iterator[Html]:
    """Rows of truth, in shares of a row; of very many classes the largest mistakes."""
    counts = entry.figures.get("confusion")
    if not counts:
        return
    answers = [*entry.classes, "no class"][: len(counts[0])]
    if len(counts) > MOST_CELLS:
        yield _mistakes(entry, counts, answers)
        return
    rows = []
    for truth, row in zip(entry.classes, counts, strict=True):
        total = sum(row)
        cells = [
            _cell(count, total, f"{count:,} pixels of {truth}: {name}")
            for name, count in zip(answers, row, strict=True)
        ]
        rows.append(
            [th(truth, scope="row"), *cells, td(_short(total), class_="number total", title=f"{total:,} pixels")]
        )
    heads = [th(tag("span", name), class_="turned") for name in answers]
    head = [th("truth \\ answer"), *heads, th("pixels", class_="number total")]
    caption = f"{_label(entry)}: percent of the true pixels of a class"
    yield table([head], rows, caption=caption, class_="heat")


def _cell(count: int, total: int, title: str) -> Html:
    share = count / total if total else 0.0
    deep = " zero" if not count else " deep" if share > 0.55 else ""
    told = f"{100 * share:.0f}" if share >= 0.005 else ("<1" if count else "0")
    return td(told, class_=f"heat{deep}", style=f"--share:{share:.3f}", title=title)


def _short(count: int) -> str:
    """A number of pixels in three or four characters."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return str(count)


def _mistakes(entry: Entry, counts: Sequence[Sequence[int]], answers: Sequence[str]) -> Html:
    found = [
        (100 * count / sum(row), count, truth, name)
        for i, (truth, row) in enumerate(zip(entry.classes, counts, strict=True))
        for j, (name, count) in enumerate(zip(answers, row, strict=True))
        if i != j and count
    ]
    rows = [
        [th(truth, scope="row"), td(name, class_="words"), bar(share), td(f"{count:,}")]
        for share, count, truth, name in sorted(found, key=lambda row: -row[0])[:MISTAKES]
    ]
    head = [th("truth"), th("answer"), th("of the true pixels"), th("pixels", class_="number")]
    return table([head], rows, caption=f"{_label(entry)}: the largest mistakes")


def _histogram(entry: Entry) -> Iterator[Html]:
    """How the scores of images are spread."""
    told = entry.figures.get("image_scores") or []
    scores = [score for _, score in told if score is not None]
    if scores:
        chart = histogram(scores, bins=BINS, label=f"Scores of {len(scores):,} images, {_label(entry)}")
        without = len(told) - len(scores)
        rest = f"; {without:,} more without a score" if without else ""
        caption = f" {len(scores):,} images, median {median(scores):.1f} (dashed), mean {fmean(scores):.1f}{rest}"
        yield tag("figure", chart, tag("figcaption", tag("b", _label(entry)), caption), class_="histogram")


def _examples(folder: Path, entries: Sequence[Entry]) -> Iterator[Html]:
    """Image, truth and the predictions of all models, a row for each image, best first."""
    pairs = [(entry, row) for entry in entries for row in entry.figures.get("examples") or ()]
    pairs.sort(key=lambda pair: KINDS.index(pair[1]["kind"]) if pair[1].get("kind") in KINDS else len(KINDS))
    for name, found in grouped(pairs, lambda pair: str(pair[1]["name"])):
        first = found[0][1]
        shown = [picture(folder, str(first["image"]), f"{name}, image", tag("b", name), loading="lazy")]
        shown.append(picture(folder, str(first["truth"]), f"{name}, truth", "truth", loading="lazy"))
        for entry in entries:
            for row in [row for of, row in found if of is entry][:1]:
                what = f" {number(row.get('score'))} ({row.get('kind', '')})"
                alt = f"{name}, prediction of {_label(entry)}"
                told = tag("b", _label(entry)), what
                shown.append(picture(folder, str(row["prediction"]), alt, *told, loading="lazy"))
        there = [figure for figure in shown if figure is not None]
        if there:
            yield tag("div", *there, class_="pictures")


def _comparison(folder: Path, entries: Sequence[Entry], kind: str) -> Iterator[Html]:
    """Variants by sets, with the difference to the first variant; then every set, folded."""
    variants = list(dict.fromkeys(_label(entry) for entry in entries))
    sets = grouped(_sorted(entries), lambda entry: entry.dataset)
    scores = {(entry.dataset, _label(entry)): _score(entry, "tuned") for entry in entries}
    rows = []
    for variant in variants:
        row = [th(variant, scope="row")]
        for dataset, found in sets:
            value, first = scores.get((dataset, variant)), scores.get((dataset, variants[0]))
            best = best_of([_score(entry, "tuned") for entry in found])
            told = number(value, 2)
            row.append(td(tag("b", told) if value is not None and value == best else told, class_="number group"))
            row.append(_difference(value, first) if variant != variants[0] else td(""))
        rows.append(row)
    above = [th(kind, rowspan=2), *(th(_title(dataset), class_="group", colspan=2) for dataset, _ in sets)]
    below = [
        th(name, class_=f"number{' group' * (name != 'Δ')}") for _, found in sets for name in (_metric(found[0]), "Δ")
    ]
    yield table([above, below], rows, caption=f"Threshold tuned to the set; Δ: difference to {variants[0]}, points")
    for dataset, found in sets:
        yield folded(f"{_title(dataset)} in detail", tag("div", *_set(folder, found), class_="inside"))


def _difference(value: float | None, first: float | None) -> Html:
    if value is None or first is None:
        return td(NONE)
    told = number(value - first, 2, sign=True)
    return td(told, class_="number down" if told.startswith(MINUS) else "number up")
