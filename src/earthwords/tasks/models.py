"""Presets and weights: what there is, and downloading it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

from earthwords.jobs.progress import Console
from earthwords.models.weights.card import ModelCard, card
from earthwords.tasks import _options as opt

if TYPE_CHECKING:
    from earthwords.models.weights.spec import WeightSpec
    from earthwords.presets import SegmentPreset
    from earthwords.refer_presets import ReferPreset


@dataclass(frozen=True, kw_only=True)
class ModelList:
    """Presets with the weights they use, and all known weights."""

    presets: tuple[dict[str, str], ...]
    weights: tuple[dict[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        columns = ["name", "kind", "size", "licence", "gated", "weights, source and note"]
        rows = [
            [p["name"], "preset", p["size"], p["licence"], p["gated"], f"{p['weights']}: {p['note']}"]
            for p in self.presets
        ]
        rows += [[w["name"], w["kind"], w["size"], w["licence"], w["gated"], w["source"]] for w in self.weights]
        return "Presets and weights", columns, rows


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """Weights that are on this machine now."""

    name: str
    path: str

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        return "Ready", ["name", "path"], [[self.name, self.path]]


def models() -> ModelList:
    """List presets and weights with size, licence, whether the hub asks to accept it first (gated), and source."""
    from earthwords.models.weights.table import WEIGHTS
    from earthwords.presets import SEGMENT_PRESETS
    from earthwords.refer_presets import REFER_PRESETS

    rows: list[tuple[SegmentPreset | ReferPreset, str, list[str]]] = [
        (p, p.weights, [n for n in (p.weights, p.upsampler_weights, p.head) if n]) for p in SEGMENT_PRESETS.values()
    ]
    for row in REFER_PRESETS.values():
        bases = [n for n in (row.segmenter, row.words) if n]
        rows.append((row, " + ".join(bases), [*bases, *([row.weights] if row.weights else [])]))
    return ModelList(
        presets=tuple(
            {"name": p.name, "weights": weights, "note": p.note, "paper": p.paper, **_together(parts)}
            for p, weights, parts in rows
        ),
        weights=tuple(
            {
                "name": w.name,
                "kind": w.kind,
                "size": _megabytes(w),
                "licence": w.licence,
                "gated": w.gate,
                "source": w.source,
                "sha256": w.sha256 or "",
                "paper": w.paper,
                "note": w.note,
            }
            for w in WEIGHTS.values()
        ),
    )


def _megabytes(spec: WeightSpec) -> str:
    return f"{spec.megabytes:,} MB" if spec.megabytes else "small" if spec.kind == "upsampler" else "-"


def _together(names: Sequence[str]) -> dict[str, str]:
    """Size, licence and gate of all weights that a preset needs."""
    from earthwords.models.weights.table import find

    parts = [find(name) for name in dict.fromkeys(names)]
    size = sum(part.megabytes for part in parts)
    gates = {part.gate for part in parts}
    return {
        "size": f"{size:,} MB" if size else "-",
        "licence": "; ".join(dict.fromkeys(part.licence for part in parts)),
        "gated": "yes" if "yes" in gates else "not known" if "not known" in gates else "no",
    }


@opt.documented
def show_model(name: Annotated[str, opt.ARGUMENTS]) -> ModelCard:
    """Tell what is known of a preset or of weights: licence, source, paper, resolution, size, whether it is here.

    Args:
        name: A preset (or its TOML file), weights of `earthwords models`, a folder, a file or a Hugging Face id.

    Returns:
        Fact by fact; nothing is downloaded.

    Raises:
        UsageError: there is no such name.
        WeightsError: there is nothing at the path.

    Example:
        >>> earthwords.show_model("segearth-ov").facts["licence of openai-vit-b-16"]
    """
    return card(name)


@opt.documented
def pull(name: Annotated[str, opt.ARGUMENTS], *, quiet: opt.Quiet = False) -> Pulled:
    """Download weights into the cache and verify their sha256 where it is known.

    Args:
        name: Weights, a preset (then all it needs), or a Hugging Face id.

    Returns:
        Where they are.

    Raises:
        WeightsError: the download failed, or is not what it should be.

    Example:
        >>> earthwords.pull("segearth-ov").path
    """
    from earthwords.models.weights.soup_name import is_soup, parse_soup
    from earthwords.models.weights.table import fetch, find
    from earthwords.presets import SEGMENT_PRESETS
    from earthwords.refer_presets import REFER_PRESETS

    console = Console(quiet=quiet)
    needed = [name]
    if name in SEGMENT_PRESETS:
        preset = SEGMENT_PRESETS[name]
        needed = [n for n in (preset.weights, preset.upsampler_weights, preset.head) if n]
    elif name in REFER_PRESETS:
        row = REFER_PRESETS[name]
        needed = [n for n in (row.segmenter, row.words, row.weights) if n]
    needed = [part for each in needed for part in ([p for p, _ in parse_soup(each)] if is_soup(each) else [each])]
    paths = []
    for each in needed:
        with console.download(f"loading {each}") as report:
            paths.append(str(fetch(find(each), report=report)))
    return Pulled(name=name, path=", ".join(paths))
