"""What a tool answers: the essentials of a report as data, every note, the files; and the same in a few lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from earthwords.serve.mcp.resources import uri_of
from earthwords.serve.mcp.root import Root
from earthwords.serve.mcp.running import Ran

MOST_ROWS = 100
"""Of a list in an answer; all are in the files."""
_LEFT_OUT = ("settings", "outputs", "notes", "dst", "matrix", "source")
"""Of a report: told otherwise, or of no use to who asked."""
_PLACES = ("out", "output", "index", "folder", "file", "dst")
"""Of a report: what was written."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "report": {"type": "object", "description": "What was found; areas of classes in m2, shares 0..1."},
        "notes": {
            "type": "array",
            "description": "What is known of the worth of the result; tell cautions to the person who asked.",
            "items": {
                "type": "object",
                "properties": {"kind": {"enum": ["note", "caution"]}, "text": {"type": "string"}},
                "required": ["kind", "text"],
            },
        },
        "files": {
            "type": "array",
            "description": "What was written: paths below the folder; of some a resource.",
            "items": {
                "type": "object",
                "properties": {"kind": {"type": "string"}, "path": {"type": "string"}, "uri": {"type": "string"}},
                "required": ["kind", "path"],
            },
        },
    },
    "required": ["report", "notes", "files"],
}
"""Of every answer of a verb."""


def answer_of(ran: Ran, root: Root, dst: Path | None) -> dict[str, Any]:
    """An answer as data; see `SCHEMA`."""
    report = _names({name: value for name, value in ran.report.items() if name not in _LEFT_OUT}, root)
    notes = [{"kind": note["kind"], "text": as_told(note["text"], root)} for note in ran.notes]
    known = {note["text"] for note in notes}
    for text in ran.report.get("notes") or ():
        if (text := as_told(str(text), root)) not in known:
            notes.append({"kind": "note", "text": text})
    cut: list[str] = []
    report = {name: _cut(name, value, cut) for name, value in report.items()}
    notes += [{"kind": "note", "text": text} for text in cut]
    if gsd := (ran.report.get("settings") or {}).get("gsd"):
        report["gsd"] = gsd
    return {"report": report, "notes": notes, "files": _files(ran, root, dst)}


def as_told(sentence: str, root: Root) -> str:
    """A sentence of the command line: files relative to the folder, options as arguments are called."""
    return re.sub(r"(?<![\w-])--([a-z][a-z-]*)", lambda found: f"`{found[1].replace('-', '_')}`", root.within(sentence))


def text_of(tool: str, answer: Mapping[str, Any]) -> str:
    """An answer in a few lines."""
    lines = [f"{tool}:", *_figures(answer["report"])]
    lines += [f"{note['kind'].capitalize()}: {note['text']}" for note in answer["notes"]]
    if answer["files"]:
        lines.append("Files: " + ", ".join(file["path"] for file in answer["files"]) + ".")
    return "\n".join(lines)


def _files(ran: Ran, root: Root, dst: Path | None) -> list[dict[str, str]]:
    """What was written, each once."""
    kinds = {str(path): kind for path, kind in ran.outputs.items()}
    kinds |= {str(path): kind for kind, path in (ran.report.get("outputs") or {}).items()}
    places = [*(ran.report.get(name) for name in _PLACES), dst]
    inside = [Path(path) for path in kinds]
    for place in places:
        if isinstance(place, (str, Path)) and not any(p == Path(place) or Path(place) in p.parents for p in inside):
            kinds.setdefault(str(place), "result")
    found = []
    for name, kind in kinds.items():
        path = root.path / name
        if not path.is_relative_to(root.path) or not path.exists() or (dst is None and kind == "result"):
            continue
        file = {"kind": kind, "path": root.name_of(path)}
        if (uri := uri_of(path, root)) is not None:
            file["uri"] = uri
        found.append(file)
    return found


def _names(value: Any, root: Root) -> Any:
    """All paths relative to the folder."""
    if isinstance(value, str):
        return root.within(value)
    if isinstance(value, dict):
        return {name: _names(each, root) for name, each in value.items()}
    return [_names(each, root) for each in value] if isinstance(value, list) else value


def _cut(name: str, value: Any, cut: list[str]) -> Any:
    """Long lists shortened, which is told."""
    if isinstance(value, dict):
        return {inner: _cut(f"{name}.{inner}", each, cut) for inner, each in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) > MOST_ROWS:
        cut.append(f"The first {MOST_ROWS} of {len(value):,} in {name} are shown.")
    return [_cut(name, each, cut) if isinstance(each, dict) else each for each in value[:MOST_ROWS]]


def _figures(report: Mapping[str, Any]) -> list[str]:
    """A line for each class, image or hit; else what is no list."""
    for name, line in _LINES.items():
        rows = report.get(name)
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            return [line(row, report) for row in rows[:20]]
    plain = {name: value for name, value in report.items() if isinstance(value, (str, int, float))}
    return [f"{name}: {value}" for name, value in list(plain.items())[:12]]


def _class(row: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    name = row.get("name")
    if "gained" in row:
        figures = ", ".join(f"{part} {row[part]}" for part in ("before", "after", "gained", "lost"))
        return f"{name}: {figures} {report.get('unit')}"
    if isinstance(row.get("area"), dict):
        area = row["area"]
        return f"{name}: {area['value']} {report.get('unit')} ({area['low']} to {area['high']})"
    parts = [f"{row['count']:,} counted"] if row.get("count") is not None else []
    parts += [f"{row['share']:.1%}"] if row.get("share") is not None else []
    parts += [f"{row['area_m2'] / 1e4:,.4g} ha"] if row.get("area_m2") is not None else []
    parts += [f"mean score {row['mean_score']:.2f}"] if row.get("mean_score") is not None else []
    return f"{name}: {', '.join(parts)}"


def _scene(row: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    reason = f", {row['reason']}" if row.get("reason") else ""
    return f"{row.get('source')}: {row.get('status')}{reason}"


def _image(row: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    return f"{row.get('source')}: {row.get('class')} ({row.get('score')})"


def _hit(row: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    return f"{row.get('rank')}. {row.get('source')}, score {row.get('score')}, bounds {row.get('bounds')}"


def _place(row: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    return f"{row.get('rank')}. {row.get('source')}, row {row.get('row')}, column {row.get('col')}: {row.get('guess')}?"


def _stratum(row: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    return f"{row.get('name')}: {row.get('points')} points"


def _preset(row: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    return f"{row.get('name')}: {row.get('note')} ({row.get('licence')})"


_LINES = {
    "classes": _class, "scenes": _scene, "images": _image, "results": _hit, "places": _place, "strata": _stratum,
    "presets": _preset,
}  # fmt: skip
"""List of a report to how its rows are told."""
