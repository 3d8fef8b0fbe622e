"""Figures of the embedded model on the small sets, written down with the command, the commit and the day.

    python benchmarks/bench_sets.py DATA [--out FOLDER] [--most N] [--write docs/benchmarks.md] [--json FILE]

DATA is a folder of sets; dubai, massachusetts-tiles and buildings-mix are measured, as far as they are there, with
`tiny` and with `tiny` without its upsampler. A run that was killed goes on, in a folder of the commit. `--write` makes
the page: these figures, and all numbers that are printed for the sets of `earthwords data list`. `ratio` is a row's
figure against the preset `tiny`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import earthwords
from earthwords.data.segmentation.find import find_sets
from earthwords.data.segmentation.spec import GROUPS, DatasetSpec, all_specs
from earthwords.evaluation.benchmark.segmentation import TIMES
from earthwords.evaluation.report.tables import printed
from earthwords.evaluation.results import HEADINGS, ResultEntry, headline, shown

SPEED = "## Speed"
"""Where a part of the page begins that others have measured; it stays."""
SETS = ("dubai", "massachusetts-tiles", "buildings-mix")
PLAIN = "tiny-plain"
PRESETS = {"tiny": "tiny", PLAIN: 'base = "tiny"\nweights = "tiny"\n'}
"""Name -> itself, or a TOML file's text; other weights, though the same, come without the upsampler."""


def measure(data: Path, out: Path, most: int | None) -> list[dict[str, Any]]:
    """A row a set and preset."""
    (out / f"{PLAIN}.toml").parent.mkdir(parents=True, exist_ok=True)
    (out / f"{PLAIN}.toml").write_text(PRESETS[PLAIN])
    there = {found.spec.name for found in find_sets(data)}
    names = [name for name in SETS if name in there]
    if not names:
        raise SystemExit(f"{data} holds none of {', '.join(SETS)}.")
    found = earthwords.evaluate(
        "segmentation", *names, data=data, out=out, preset=["tiny", str(out / f"{PLAIN}.toml")], most=most, examples=1
    )
    times = json.loads((out / TIMES).read_text())
    entries = {(entry.dataset, entry.model): entry for entry in found.entries}
    return [
        _row(entries[name, preset], entries[name, "tiny"], times)
        for name in names
        for preset in PRESETS
        if (name, preset) in entries
    ]


def _row(entry: ResultEntry, reference: ResultEntry, times: dict[str, Any]) -> dict[str, Any]:
    figures = entry.figures
    value, other = (headline(e.figures["tuned"], figures["metric"]) for e in (entry, reference))
    took = times.get(entry.stem)
    return {
        "set": entry.dataset,
        "preset": entry.model,
        "images": figures["images"],
        "metric": figures["metric"],
        "value": value,
        "aAcc": figures["tuned"]["aAcc"],
        "boundary IoU": figures["tuned"]["boundary_IoU"],
        "ratio": None if not value or not other else round(value / other, 2),
        "s an image": None if took is None else round(took["seconds"] / took["images"], 1),
    }


def page(rows: list[dict[str, Any]], command: str) -> str:
    """The page: our figures, then the printed ones."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `benchmarks/bench_sets.py`; [how sets are measured](benchmark.md). Percent.",
        "",
        "## The embedded model on the small sets",
        "",
        f"`{command}`, commit {_commit()}, {datetime.now(UTC):%Y-%m-%d}. `{PLAIN}` is `tiny` without its upsampler.",
        "None of these sets has a published split, so nothing printed compares with them. `tiny` learned on other",
        "tiles of Dubai, on most of these very Massachusetts tiles, on none of the buildings ([data](models/tiny.md)).",
        "",
        *_table([*kept(rows[0])], [[_cell(value) for value in kept(row).values()] for row in rows]),
        "",
        "## Printed numbers",
        "",
        "CLIP ViT-B/16, from the sources that `earthwords data list NAME` tells. ?: unverified.",
    ]
    for group in GROUPS:
        specs = [spec for spec in all_specs() if spec.group == group and spec.published]
        if specs:
            lines += ["", f"### Sets of {HEADINGS[group]}", "", *_printed(specs)]
    return "\n".join(lines) + "\n"


def kept(row: dict[str, Any]) -> dict[str, Any]:
    """Without the time, which is the machine's."""
    return {name: value for name, value in row.items() if name != "s an image"}


def _printed(specs: list[DatasetSpec]) -> list[str]:
    methods = list(dict.fromkeys(number.method for spec in specs for number in spec.published))
    rows = []
    for spec in specs:
        numbers = {number.method: number for number in spec.published}
        rows.append([spec.name, spec.metric, *(printed(numbers.get(method)) for method in methods)])
    return _table(["set", "figure", *methods], rows)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _cell(value: Any) -> str:
    return shown(value) if isinstance(value, float) or value is None else str(value)


def _commit() -> str:
    """The commit that is checked out, and whether files differ from it."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return git("rev-parse", "--short", "HEAD") + changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, help="default: runs/bench-sets-COMMIT")
    parser.add_argument("--most", type=int, help="so many images of each set, for a look")
    parser.add_argument("--write", type=Path, help="the page to write")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    out = args.out or Path(f"runs/bench-sets-{_commit().replace(' ', '-')}")
    rows = measure(args.data, out, args.most)
    head = list(rows[0])
    print("".join(f"{name:>20}" for name in head))
    for row in rows:
        print("".join(f"{_cell(value):>20}" for value in row.values()))
    if args.write:
        most = f" --most {args.most}" if args.most else ""
        _, *kept = args.write.read_text().partition(SPEED) if args.write.exists() else ("",)
        made = page(rows, f"python benchmarks/bench_sets.py DATA{most} --write {args.write}")
        args.write.write_text(made.rstrip("\n") + "\n\n" * bool(kept and kept[0]) + "".join(kept).rstrip("\n") + "\n")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
