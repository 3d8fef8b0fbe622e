"""Data sets for segmentation and change: what there is, making a download ready, checking what is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from earthwords.errors import UsageError
from earthwords.files.paths import check_folder
from earthwords.inference.checks import check_positive
from earthwords.jobs.progress import Console
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.data.change.spec import ChangeSetSpec
    from earthwords.data.segmentation.reports import Checked, Prepared
    from earthwords.data.segmentation.spec import DatasetSpec
else:
    Checked = Prepared = object  # they load much, and a command line reads the annotations


WANTED = "the data set, unpacked"


@dataclass(frozen=True, kw_only=True)
class DataList:
    """Known sets."""

    sets: tuple[dict[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"sets": list(self.sets)}

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows; of one set, everything that is known."""
        if len(self.sets) == 1:
            (row,) = self.sets
            rows = [[key, _marked(row, key, shown)] for key in row if (shown := _shown(row, key))]
            return f"{row['title']} (?: recalled, not verified)", ["what", ""], rows
        columns = ["name", "group", "classes", "items", "metres a pixel", "licence", "source"]
        rows = [
            [
                each["name"],
                each["group"],
                str(len(each["classes"])),
                _marked(each, "count", "-" if each["count"] is None else f"{each['count']:,}") + f" {each['split']}",
                _marked(each, "gsd_m", _range(each["gsd_m"])),
                _marked(each, "licence", each["licence"]),
                each["source"],
            ]
            for each in self.sets
        ]
        return "Data sets for segmentation and change (?: recalled, not verified)", columns, rows


@opt.documented
def list_data(name: Annotated[str | None, opt.ARGUMENTS] = None, /) -> DataList:
    """List data sets for segmentation and change: classes, size, resolution, licence, where from, what is not verified.

    Args:
        name: Show everything that is known of one set.

    Returns:
        A row for every set.

    Raises:
        UsageError: there is no such set.

    Example:
        >>> earthwords.list_data("loveda").sets[0]["classes"]
    """
    from earthwords.data.change.spec import all_change_sets
    from earthwords.data.segmentation.spec import all_specs, find_spec

    if name is None:
        return DataList(sets=(*map(_row, all_specs()), *map(_change_row, all_change_sets())))
    pairs = _change_set(name)
    return DataList(sets=(_row(find_spec(name)) if pairs is None else _change_row(pairs),))


@opt.documented
def prepare_data(
    name: Annotated[str, opt.ARGUMENTS],
    src: Annotated[Path, opt.ARGUMENTS],
    dst: opt.Dst,
    *,
    partial: Annotated[bool, opt.option(opt.READING, negative="")] = False,
    overwrite: opt.Overwrite = False,
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    resume: opt.Resume = True,
    quiet: opt.Quiet = False,
) -> Prepared:
    """Make a downloaded data set ready: take the measured part, decode labels, cut tiles, note what was made.

    A run that was killed goes on where it stopped when the same command is given again; DST appears whole or not at
    all.

    Args:
        name: Of the set, see `earthwords data list`.
        src: Folder of the download, unpacked, or one up to two levels above.
        dst: Folder to make.
        partial: Prepare what is there although files are missing.

    Returns:
        What was made, and how many items of how many.

    Raises:
        UsageError: there is no such set, DST holds another one, or an unfinished run was of another one.
        SourceError: files are missing or damaged.
        OutputError: DST cannot be written.

    Example:
        >>> earthwords.prepare_data("loveda", "downloads/LoveDA", "sets/loveda").items
    """
    check_positive(workers=workers)
    from earthwords.data.segmentation.spec import find_spec

    if (pairs := _change_set(name)) is not None:
        raise UsageError(f"{pairs.title} needs no preparation: give its folder to `train change` or `evaluate change`.")
    spec, console = find_spec(name), Console(quiet=quiet)
    src, dst = check_folder(Path(src), what=WANTED), Path(dst)
    if dst.exists() and not dst.is_dir():
        raise UsageError(f"{dst} is a file; name a folder.")
    from earthwords.data.segmentation.prepare import prepare_set

    made = prepare_set(
        spec,
        src,
        dst,
        bar=lambda what, total: console.bar(what, total, unit="images"),
        workers=workers,
        cluster=cluster,
        partial=partial,
        resume=resume,
        overwrite=overwrite,
    )
    if made.skipped:
        console.say(f"Left out, without a partner: {len(made.skipped):,} files, such as {made.skipped[0]}")
    if made.expected is not None and made.items != made.expected:
        sure = "" if spec.counted is not None else " as far as is recalled"
        console.say(f"{made.items:,} items; the whole set has {made.expected:,}{sure}.")
    return made


@opt.documented
def check_data(
    name: Annotated[str, opt.ARGUMENTS],
    root: Annotated[Path, opt.ARGUMENTS],
    /,
    *,
    partial: Annotated[bool, opt.option(opt.READING, negative="")] = False,
    workers: opt.Workers = 1,
    cluster: opt.Cluster = None,
    quiet: opt.Quiet = False,
) -> Checked:
    """Check a data set on disk: number of items, partners, sizes, values of labels, changes since it was prepared.

    The exit code is 1 if anything is wrong.

    Args:
        name: Of the set, see `earthwords data list`.
        root: Its folder, or one up to two levels above.
        partial: Fewer items than the whole set has are right too.

    Returns:
        What was counted, and every problem.

    Raises:
        UsageError: there is no such set or folder.

    Example:
        >>> earthwords.check_data("loveda", "sets/loveda").problems
    """
    check_positive(workers=workers)
    from earthwords.data.segmentation.spec import find_spec

    pairs = _change_set(name)
    spec = find_spec(name) if pairs is None else None
    root, console = check_folder(Path(root), what=WANTED), Console(quiet=quiet)
    from earthwords.data.change.check import check_change_set
    from earthwords.data.segmentation.check import check_set

    if pairs is not None:
        checked = check_change_set(pairs, root, partial=partial)
    else:
        assert spec is not None
        checked = check_set(
            spec,
            root,
            bar=lambda what, total: console.bar(what, total, unit="images"),
            workers=workers,
            cluster=cluster,
            partial=partial,
        )
    for problem in checked.problems:
        console.say(problem)
    return checked


def _change_set(name: str) -> ChangeSetSpec | None:
    """The set for change of this name, if there is one."""
    from earthwords.data.change.spec import all_change_sets

    plain = name.strip().lower().replace("_", "-")
    return next((spec for spec in all_change_sets() if spec.name == plain), None)


def _change_row(spec: ChangeSetSpec) -> dict[str, Any]:
    """What the row of a set for change says, under the names of the others."""
    layout = {"before": list(spec.before), "after": list(spec.after), "labels": list(spec.labels)}
    return {
        "name": spec.name,
        "title": spec.title,
        "group": "change",
        "split": "/".join(spec.splits),
        "count": sum(spec.counts) or None,
        "classes": ["unchanged", *(spec.classes or ("changed",))],
        "palette": [],
        "background": 0,
        "metric": "F1",
        "gsd_m": None if spec.gsd_m is None else list(spec.gsd_m),
        "licence": spec.licence,
        "source": spec.source,
        "download": "",
        "settings": {},
        "published": [],
        "original": layout,
        "prepared": {},
        "tiles": None,
        "notes": spec.notes,
        "unverified": ["count" if field == "counts" else field for field in spec.unverified],
    }


def _row(spec: DatasetSpec) -> dict[str, Any]:
    """What a row says, in plain values."""
    return {
        "name": spec.name,
        "title": spec.title,
        "group": spec.group,
        "split": spec.split,
        "count": spec.count,
        "classes": list(spec.classes),
        "palette": [list(rgb) for rgb in spec.palette],
        "background": spec.background,
        "metric": spec.metric,
        "gsd_m": None if spec.gsd_m is None else list(spec.gsd_m),
        "licence": spec.licence,
        "source": spec.source,
        "download": spec.download,
        "settings": {
            preset: {"threshold": s.threshold, "cls_weight": s.cls_weight, "classes": list(s.classes or spec.classes)}
            for preset, s in spec.settings.items()
        },
        "published": [
            {"method": p.method, "metric": p.metric, "value": p.value, "source": p.source, "verified": p.verified}
            for p in spec.published
        ],
        "original": {"images": list(spec.original.images), "labels": list(spec.original.labels)},
        "prepared": {"images": list(spec.prepared.images), "labels": list(spec.prepared.labels)},
        "tiles": None if spec.tiling is None else f"{spec.tiling.width} x {spec.tiling.height}",
        "notes": spec.notes,
        "unverified": list(spec.unverified),
    }


def _marked(row: dict[str, Any], field: str, shown: str) -> str:
    return f"{shown} ?" if shown and any(each.startswith(field) for each in row["unverified"]) else shown


def _range(gsd: list[float] | None) -> str:
    return "" if gsd is None else f"{gsd[0]:g}" if gsd[0] == gsd[1] else f"{gsd[0]:g} - {gsd[1]:g}"


def _shown(row: dict[str, Any], key: str) -> str:
    """A value in words; empty: not known."""
    value = row[key]
    if value is None or value in ([], {}):
        return ""
    if key == "classes":
        return " | ".join(value)
    if key == "settings":
        return "; ".join(_setting(preset, s, row["classes"]) for preset, s in value.items())
    if key == "published":
        return "; ".join(f"{n['method']} {n['value']:g} {n['metric']}" for n in value)
    if key == "palette":
        return " ".join("#{:02x}{:02x}{:02x}".format(*rgb) for rgb in value)
    if key == "gsd_m":
        return _range(value)
    if isinstance(value, dict):
        return "; ".join(f"{k}: {', '.join(v)}" for k, v in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


def _setting(preset: str, setting: dict[str, Any], classes: list[str]) -> str:
    words = "" if setting["classes"] == classes else f", words {' | '.join(setting['classes'])}"
    return f"{preset}: threshold {setting['threshold']:g}, global token {setting['cls_weight']:g}{words}"
