"""Presets and weights: what there is, and downloading it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from earthwords.jobs.progress import Console
from earthwords.models.weights.card import ModelCard, card
from earthwords.tasks import _options as opt


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
        columns = ["name", "kind", "weights or size", "licence", "source or note"]
        rows = [[p["name"], "preset", p["weights"], "", p["note"]] for p in self.presets]
        rows += [[w["name"], w["kind"], w["size"], w["licence"], w["source"]] for w in self.weights]
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
    """List presets and weights with size, licence and source."""
    from earthwords.models.weights.table import WEIGHTS
    from earthwords.presets import SEGMENT_PRESETS
    from earthwords.refer_presets import REFER_PRESETS

    rows = [(p.name, p.weights, p.note, p.paper) for p in SEGMENT_PRESETS.values()]
    rows += [
        (p.name, " + ".join(filter(None, (p.segmenter, p.words))), p.note, p.paper) for p in REFER_PRESETS.values()
    ]
    return ModelList(
        presets=tuple(
            {"name": name, "weights": weights, "note": note, "paper": paper} for name, weights, note, paper in rows
        ),
        weights=tuple(
            {
                "name": w.name,
                "kind": w.kind,
                "size": f"{w.megabytes:,} MB" if w.megabytes else "small" if w.kind == "upsampler" else "-",
                "licence": w.licence,
                "source": w.source,
                "sha256": w.sha256 or "",
                "paper": w.paper,
                "note": w.note,
            }
            for w in WEIGHTS.values()
        ),
    )


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
    paths = []
    for each in needed:
        with console.download(f"loading {each}") as report:
            paths.append(str(fetch(find(each), report=report)))
    return Pulled(name=name, path=", ".join(paths))
