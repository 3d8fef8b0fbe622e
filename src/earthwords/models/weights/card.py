"""What is known of a preset or of weights, fact by fact, without loading them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthwords.errors import UsageError, WeightsError, did_you_mean

if TYPE_CHECKING:
    from earthwords.models.weights.spec import WeightSpec
    from earthwords.presets import SegmentPreset
    from earthwords.refer_presets import ReferPreset

Facts = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Facts about one name."""

    name: str
    kind: str
    facts: Facts
    """What, in words, to what is known of it."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "kind": self.kind, **self.facts}

    def table(self) -> tuple[str, Sequence[str], list[list[str]]]:
        """Title, columns, rows."""
        return f"{self.name} ({self.kind})", ["what", ""], [[what, value] for what, value in self.facts.items()]


def card(name: str) -> ModelCard:
    """Everything that is known of a preset, of weights of the table, or of a folder, file or Hugging Face id.

    Raises:
        UsageError: there is no such name.
        WeightsError: there is nothing at the path.
    """
    from earthwords.models.weights.soup_name import is_soup
    from earthwords.models.weights.table import WEIGHTS, find
    from earthwords.presets import SEGMENT_PRESETS, load_preset
    from earthwords.refer_presets import REFER_PRESETS

    if name in SEGMENT_PRESETS or name.endswith(".toml"):
        row = load_preset(name)
        return ModelCard(name=row.name, kind="segmentation preset", facts=_known(_segmenting(row)))
    if name in REFER_PRESETS:
        return ModelCard(name=name, kind="referring preset", facts=_known(_referring(REFER_PRESETS[name])))
    if name not in WEIGHTS and not is_soup(name) and "/" not in name and not Path(name).exists():
        near = did_you_mean(name, {*SEGMENT_PRESETS, *REFER_PRESETS, *WEIGHTS})
        hint = near if near.startswith("Did") else "`earthwords models` lists all."
        raise UsageError(f"Unknown model {name!r}. {hint}")
    spec = find(name)
    return ModelCard(name=name, kind=f"{spec.kind} weights", facts=_known(_weights(spec)))


def _known(facts: Facts) -> Facts:
    return {what: value for what, value in facts.items() if value}


def _segmenting(row: SegmentPreset) -> Facts:
    return {
        "what it is": row.note,
        "paper": row.paper,
        "weights": row.weights,
        "attention": row.attention,
        "upsampler": row.upsampler or ("none (logits are interpolated)" if row.head is None else "none (a head)"),
        "weights of the upsampler": row.upsampler_weights or "",
        "head": row.head or "",
        "prompts": row.templates,
        "windows": f"{row.tile_size} px, overlapping by {row.overlap} px, {row.blend}",
        "resolution": _range(row.gsd),
        "sensor": "radar" if row.radar else "",
        "words": words_of(row.weights),
        **_parts(row.weights, row.upsampler_weights, row.head),
    }


def _referring(row: ReferPreset) -> Facts:
    return {
        "what it is": row.note,
        "paper": row.paper,
        "weights": row.weights or "none are published: train with `earthwords train refer`",
        "segmenter": row.segmenter or "",
        "words by": row.words,
        "words": words_of(row.words),
        **_parts(row.segmenter, row.words, row.weights),
    }


def _parts(*names: str | None) -> Facts:
    """Source, licence, size and place of all weights that a preset needs."""
    from earthwords.models.weights.table import find

    parts = [find(name) for name in dict.fromkeys(filter(None, names))]
    origins = [_origin(part) for part in parts]
    if len(parts) == 1:
        return origins[0]
    return {
        what: "; ".join(
            f"{part.name}: {origin[what]}" for part, origin in zip(parts, origins, strict=True) if origin[what]
        )
        for what in origins[0]
    }


def _origin(spec: WeightSpec) -> Facts:
    return {
        "source": spec.source if spec.file is None else f"{spec.source}, {spec.file}",
        "licence": spec.licence,
        "gated": spec.gate,
        "size": _size(spec),
        "here": _place(spec),
    }


def _weights(spec: WeightSpec) -> Facts:
    return {
        "what it is": spec.note,
        "paper": spec.paper,
        "method": spec.method or "",
        "trained for": spec.backbone or "",
        "words": words_of(spec.name) if spec.kind == "clip" else "",
        "presets": ", ".join(_users(spec.name)),
        **_origin(spec),
        "sha256": spec.sha256 or "",
    }


def _users(weights: str) -> Iterator[str]:
    """Presets that need these weights."""
    from earthwords.presets import SEGMENT_PRESETS
    from earthwords.refer_presets import REFER_PRESETS

    for row in SEGMENT_PRESETS.values():
        if weights in (row.weights, row.upsampler_weights, row.head):
            yield row.name
    for other in REFER_PRESETS.values():
        if weights in (other.segmenter, other.words, other.weights):
            yield other.name


def words_of(weights: str) -> str:
    """How many words a model knows, where there is a list of them."""
    from earthwords.models.weights.table import find
    from earthwords.text.known_words import FILE, LEAST, read_words

    folder = local_copy(find(weights))
    words = read_words(folder) if folder is not None and folder.is_dir() else None
    if words is None or folder is None:
        return ""
    return f"{len(words):,} English words, each of {LEAST} pictures or more: {folder / FILE}"


def _range(gsd: tuple[float, float] | None) -> str:
    if gsd is None:
        return "any; scenes are worked on at their own"
    return f"{gsd[0]:g} to {gsd[1]:g} m a pixel"


def _place(spec: WeightSpec) -> str:
    """Where the weights are, or how they come here; the network is not asked."""
    found = local_copy(spec)
    return f"no; `earthwords models pull {spec.name}` downloads it" if found is None else str(found)


def local_copy(spec: WeightSpec) -> Path | None:
    """The file or folder on this machine; None: it has to be downloaded."""
    from earthwords.models.weights.table import fetch

    try:
        return fetch(spec, offline=True)
    except WeightsError:
        return None


def _size(spec: WeightSpec) -> str:
    """Of what is here, else as the table tells."""
    found = local_copy(spec)
    if found is None:
        return f"{spec.megabytes:,} MB" if spec.megabytes else "not known before it is downloaded"
    files = [found] if found.is_file() else [path for path in found.rglob("*") if path.is_file()]
    return f"{sum(path.stat().st_size for path in files) / 1e6:,.1f} MB"
