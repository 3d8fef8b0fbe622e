"""The part of `report.html` about segmentation: sets by presets, classes, confusions, scores of images, pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

from earthwords.data.segmentation.spec import DatasetSpec, find_spec
from earthwords.errors import UsageError
from earthwords.evaluation.report.values import (
    Cells,
    Figure,
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

if TYPE_CHECKING:
    from earthwords.evaluation.results import ResultEntry

THRESHOLDS = ("tuned", "fixed")
"""Of a probability: tuned to the set, and one for all sets."""
SUMMARY = ("mIoU", "foreground_IoU", "aAcc", "mAcc", "mF1", "boundary_IoU")
CAPTION = "Percent; tuned: with a threshold for the set, fixed: with one for all sets. It is below each figure."
MOST_CELLS = 30
"""Classes of a confusion matrix that is shown whole; of a larger one its largest mistakes."""
MISTAKES = 20
KINDS = ("best", "median", "worst")
BINS = 20
_GROUPS = {"local": "other sets"}


def is_segmentation(entry: ResultEntry) -> bool:
    """Whether this part shows it."""
    return isinstance(entry.figures.get("tuned"), dict)


def is_variant(entry: ResultEntry) -> bool:
    """Whether it belongs to a comparison of variants of one preset."""
    return is_segmentation(entry) and "compare" in entry.settings


def headline(entry: ResultEntry) -> list[tuple[str, str]]:
    """The figure that counts, with the threshold tuned to the set."""
    return [(_metric(entry), number(_score(entry, "tuned"), 2))]


def task(folder: Path, entries: Sequence[ResultEntry]) -> Values:
    """Everything about segmentation, sets in the order of the papers' tables."""
    whole = _sorted([entry for entry in entries if not is_variant(entry)])
    variants = [entry for entry in entries if is_variant(entry)]
    cited = [row for entry in whole for row in entry.figures.get("published") or ()]
    sources = list(dict.fromkeys(str(row["source"]) for row in cited))
    return {
        "table": _table(whole, sources),
        "sets": [_set(folder, found) for _, found in grouped(whole, lambda entry: entry.dataset)],
        "sources": [f"[{n}] {source}" for n, source in enumerate(sources, start=1)],
        "unverified": any(not row.get("verified") for row in cited),
        "comparisons": [_comparison(folder, found) for _, found in grouped(variants, lambda e: _parse(e)[:2])],
    }


def _sorted(entries: Sequence[ResultEntry]) -> list[ResultEntry]:
    """By the rank of their sets, sets that are not known last; else as they come."""

    def rank(entry: ResultEntry) -> float:
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


def _parse(entry: ResultEntry) -> tuple[str, str, str]:
    base, kind, variant = (str(entry.settings[name]) for name in ("base", "compare", "variant"))
    return base, kind, variant


def _metric(entry: ResultEntry) -> str:
    return str(entry.figures.get("metric") or "mIoU")


def _score(entry: ResultEntry | None, threshold: str) -> float | None:
    """The figure that tables of the set print: its mIoU, or the IoU of what is looked for."""
    if entry is None:
        return None
    value: float | None = _part(entry, threshold).get("mIoU" if _metric(entry) == "mIoU" else "foreground_IoU")
    return value


def _part(entry: ResultEntry, threshold: str) -> Values:
    return entry.figures.get(threshold) or {}


def _threshold(entry: ResultEntry, threshold: str) -> str:
    value = _part(entry, threshold).get("threshold")
    return "" if value is None else f"{value:g}"


def _table(entries: Sequence[ResultEntry], sources: Sequence[str]) -> Table:
    """Sets by presets, each at both thresholds, with published figures beside them."""
    presets, methods = list(dict.fromkeys(entry.model for entry in entries)), list(_published(entries))
    rows: list[Row | str] = []
    kinds = grouped(grouped(entries, lambda entry: entry.dataset), lambda pair: _group(pair[0]))
    for kind, pairs in kinds:
        sets = [found for _, found in pairs]
        rows += [kind] if len(kinds) > 1 else []
        rows += [_set_row(found, presets, methods, sources) for found in sets]
        if len(sets) > 1 and len({_metric(found[0]) for found in sets}) == 1:
            rows.append(_mean_row(sets, presets, methods))
    groups = [*((preset, THRESHOLDS) for preset in presets), *([("published", methods)] if methods else [])]
    return Table(caption=CAPTION, heads=["data set", "figure"], numbers=["images"], groups=groups, rows=rows)


def _published(entries: Sequence[ResultEntry]) -> dict[str, Values]:
    """Method to its printed figure."""
    return {str(row["method"]): row for entry in entries for row in entry.figures.get("published") or ()}


def _group(dataset: str) -> str:
    spec = _spec(dataset)
    return "other sets" if spec is None else _GROUPS.get(spec.group, spec.group)


def _set_row(
    entries: Sequence[ResultEntry], presets: Sequence[str], methods: Sequence[str], sources: Sequence[str]
) -> Row:
    by_preset, cited = {entry.model: entry for entry in entries}, _published(entries)
    cells: Cells = [_images(entries)]
    columns = [figures([_score(by_preset.get(preset), at) for preset in presets]) for at in THRESHOLDS]
    for preset, *row in zip(presets, *columns, strict=True):
        for at, figure in zip(THRESHOLDS, row, strict=True):
            below = "" if figure.value is None else _threshold(by_preset[preset], at)
            cells.append(replace(figure, first=at == "tuned", note=below and f"at {below}"))
    for method in methods:
        figure = _citation(cited[method], _metric(entries[0]), sources) if method in cited else Figure()
        cells.append(replace(figure, first=method == methods[0]))
    return _title(entries[0].dataset), [_metric(entries[0])], cells


def _citation(row: Values, metric: str, sources: Sequence[str]) -> Figure:
    """The figure, a mark where it is unverified, its source's number, and its metric where it is another one."""
    source = str(row["source"])
    other = f" {row['metric']}" if row.get("metric", metric) != metric else ""
    doubt, note = "" if row.get("verified") else f"unverified: {source}", f"[{sources.index(source) + 1}]{other}"
    return replace(figures([float(row["value"])])[0], doubt=doubt, note=note, title=source)


def _mean_row(sets: Sequence[Sequence[ResultEntry]], presets: Sequence[str], methods: Sequence[str]) -> Row:
    """Means over sets, of what is known of all of them."""

    def mean(values: Sequence[float | None], *, first: bool, doubt: str = "") -> Figure:
        known = [value for value in values if value is not None]
        whole = len(known) == len(sets)
        return replace(figures([fmean(known) if whole else None])[0], first=first, doubt=doubt if whole else "")

    every = [entry for found in sets for entry in found]
    cells: Cells = [""]
    for preset in presets:
        found = [entry for entry in every if entry.model == preset]
        cells += [mean([_score(entry, at) for entry in found], first=at == "tuned") for at in THRESHOLDS]
    for method in methods:
        rows = [row for found in sets if (row := _published(found).get(method))]
        doubt = "" if all(row.get("verified") for row in rows) else "unverified in part"
        cells.append(mean([float(row["value"]) for row in rows], first=method == methods[0], doubt=doubt))
    return f"mean of {len(sets)}", [_metric(every[0])], cells


def _images(entries: Sequence[ResultEntry]) -> str:
    """How many a set has."""
    return ", ".join(dict.fromkeys(count(entry.figures.get("images")) for entry in entries))


def _set(folder: Path, entries: Sequence[ResultEntry]) -> Values:
    """A set: figures, classes, scores of images, confusions, pictures, settings."""
    colours = _colours(entries[0])
    classes = []
    for names, found in grouped(entries, lambda entry: entry.classes):
        columns = {_label(entry): _class_values(entry, "tuned", "IoU") for entry in found}
        named = [{"name": name, "colour": colours.get(name)} for name in names]
        classes.append(bars("class", named, columns, caption="IoU of each class, threshold tuned to the set"))
    return {
        "title": _title(entries[0].dataset),
        "tables": [_summary(entries), *classes],
        "details": [_details(entry) for entry in entries],
        "histograms": [found for entry in entries for found in _histogram(entry)],
        "confusions": [
            _heat_map(entry, counts) if len(counts) <= MOST_CELLS else _mistakes(entry, counts)
            for entry in entries
            if (counts := entry.figures.get("confusion"))
        ],
        "colours": [{"name": name, "colour": colour} for name, colour in colours.items()],
        "pictures": _examples(folder, entries),
        "settings": [(_label(entry), plain(entry.settings.items())) for entry in entries],
    }


def _label(entry: ResultEntry) -> str:
    return _parse(entry)[2] if is_variant(entry) else entry.model


def _colours(entry: ResultEntry) -> dict[str, tuple[int, int, int]]:
    """Class to RGB; none of a set that is not known, or has other classes."""
    spec = _spec(entry.dataset)
    if spec is None or len(spec.classes) != len(entry.classes):
        return {}
    return dict(zip(entry.classes, (c.colour for c in spec.vocabulary().classes), strict=True))


def _class_values(entry: ResultEntry, threshold: str, figure: str) -> list[float | None]:
    """A figure of every class; None where there is none."""
    values = _part(entry, threshold).get(figure) or []
    return [*values, *[None] * len(entry.classes)][: len(entry.classes)]


def _summary(entries: Sequence[ResultEntry]) -> Table:
    """Presets and thresholds by the figures of the whole set."""
    parts = [(entry, at, part) for entry in entries for at in THRESHOLDS if (part := _part(entry, at))]
    shown = [name for name in SUMMARY if any(part.get(name) is not None for _, _, part in parts)]
    if all(part.get("foreground_IoU") == part.get("mIoU") for _, _, part in parts):
        shown = [name for name in shown if name != "foreground_IoU"]
    rows = [
        (_label(entry), [at], [_threshold(entry, at), *(number(part.get(name)) for name in shown)])
        for entry, at, part in parts
    ]
    caption, names = f"Whole set, {_images(entries)} images", [name.replace("_", " ") for name in shown]
    return Table(caption=caption, heads=["model", "threshold"], span=2, numbers=names, rows=rows)


def _details(entry: ResultEntry) -> Table:
    """Precision, recall and F1 at the tuned threshold, and IoU at the fixed one."""
    names = [("tuned", "precision"), ("tuned", "recall"), ("tuned", "F1"), ("fixed", "IoU")]
    columns = [map(number, _class_values(entry, *name)) for name in names]
    rows = [(name, (), values) for name, *values in zip(entry.classes, *columns, strict=True)]
    heads = [name if at == "tuned" else f"{name}, {at} threshold" for at, name in names]
    return Table(caption=_label(entry), heads=["class"], numbers=heads, rows=rows)


def _heat_map(entry: ResultEntry, counts: Sequence[Sequence[int]]) -> Values:
    """Rows of truth, in shares of a row."""
    answers, rows = _answers(entry, counts), []
    for truth, row in zip(entry.classes, counts, strict=True):
        total = sum(row)
        cells = [(answer, n, n / total if total else 0.0) for answer, n in zip(answers, row, strict=True)]
        rows.append((truth, total, _short(total), cells))
    return {"caption": f"{_label(entry)}: percent of the true pixels of a class", "answers": answers, "rows": rows}


def _mistakes(entry: ResultEntry, counts: Sequence[Sequence[int]]) -> Table:
    """The largest mistakes, in percent of the truth."""
    found = [
        (truth, answer, 100 * n / sum(row), n)
        for i, (truth, row) in enumerate(zip(entry.classes, counts, strict=True))
        for j, (answer, n) in enumerate(zip(_answers(entry, counts), row, strict=True))
        if i != j and n
    ]
    worst = sorted(found, key=lambda row: -row[2])[:MISTAKES]
    rows: list[Row] = [(truth, [name], [*figures([part], bar=True), count(n)]) for truth, name, part, n in worst]
    caption, heads = f"{_label(entry)}: the largest mistakes", ["truth", "answer", "of the true pixels"]
    return Table(caption=caption, heads=heads, numbers=["pixels"], rows=rows)


def _answers(entry: ResultEntry, counts: Sequence[Sequence[int]]) -> list[str]:
    return [*entry.classes, "no class"][: len(counts[0])]


def _short(pixels: int) -> str:
    """A number of pixels in three or four characters."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if pixels >= unit:
            return f"{pixels / unit:.3g} {name}"
    return str(pixels)


def _histogram(entry: ResultEntry) -> Iterator[tuple[str, str, list[int], float]]:
    """How the scores of images are spread: model, what is known of them, how many in each bin, their median."""
    rows = entry.figures.get("image_scores") or []
    scores = [score for _, score in rows if score is not None]
    if scores:
        bins = Counter(min(BINS - 1, max(0, int(score * BINS / 100))) for score in scores)
        rest = f"; {len(rows) - len(scores):,} more without a score" if len(rows) > len(scores) else ""
        text = f"{len(scores):,} images, median {median(scores):.1f} (dashed), mean {fmean(scores):.1f}{rest}"
        yield _label(entry), text, [bins[i] for i in range(BINS)], median(scores)


def _examples(folder: Path, entries: Sequence[ResultEntry]) -> list[list[Values]]:
    """Image, truth and the predictions of all models, a row for each image, best first."""
    pairs = [(entry, row) for entry in entries for row in entry.figures.get("examples") or ()]
    pairs.sort(key=lambda pair: KINDS.index(pair[1]["kind"]) if pair[1].get("kind") in KINDS else len(KINDS))
    rows = []
    for name, found in grouped(pairs, lambda pair: str(pair[1]["name"])):
        first = found[0][1]
        shown = picture(folder, str(first["image"]), f"{name}, image", title=name)
        shown += picture(folder, str(first["truth"]), f"{name}, truth", text="truth")
        for entry in entries:
            for row in [row for of, row in found if of is entry][:1]:
                label, text = _label(entry), f"{number(row.get('score'))} ({row.get('kind', '')})"
                alt = f"{name}, prediction of {label}"
                shown += picture(folder, str(row["prediction"]), alt, title=label, text=text)
        rows += [shown] if shown else []
    return rows


def _comparison(folder: Path, entries: Sequence[ResultEntry]) -> Values:
    """Variants by sets, with the difference to the first variant; then every set."""
    base, kind, first = _parse(entries[0])
    variants = list(dict.fromkeys(_label(entry) for entry in entries))
    sets = [found for _, found in grouped(_sorted(entries), lambda entry: entry.dataset)]
    columns: list[Cells] = []
    for found in sets:
        scores = {_label(entry): _score(entry, "tuned") for entry in found}
        shown = figures([scores.get(variant) for variant in variants], 2)
        columns += [[replace(figure, first=True) for figure in shown], ["", *(_change(f, shown[0]) for f in shown[1:])]]
    table = Table(
        caption=f"Threshold tuned to the set; Δ: difference to {first}, points",
        heads=[kind],
        groups=[(_title(found[0].dataset), (_metric(found[0]), "Δ")) for found in sets],
        rows=[(variant, (), cells) for variant, *cells in zip(variants, *columns, strict=True)],
    )
    return {"title": f"{base}: {kind} compared", "table": table, "sets": [_set(folder, found) for found in sets]}


def _change(figure: Figure, first: Figure) -> Figure:
    """The difference to the first variant."""
    if figure.value is None or first.value is None:
        return Figure()
    change = figure.value - first.value
    return Figure(text=number(change, 2, sign=True), change="down" if change < 0 else "up")
