"""What `evaluate segmentation` measures: presets, or a preset with one part exchanged again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from earthwords.data.segmentation.spec import DatasetSpec, Setting
from earthwords.errors import UsageError, unknown
from earthwords.presets import SegmentPreset, load_preset

REFERENCE = "segearth-ov"
"""Preset whose setting for a set is taken where a set has none of one's own."""
BIASES = (0.0, -0.1, -0.2, -0.3, -0.4, -0.5)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to put a segmenter together."""

    label: str
    """What reports call it."""
    preset: SegmentPreset
    model: str | None = None
    """Other CLIP weights."""
    about: Mapping[str, str] = field(default_factory=dict)
    """`compare`, `base` and `variant` of one that is compared with others."""
    offline: bool = False
    """Only what is here already is tried."""

    def on(self, spec: DatasetSpec) -> SegmentPreset:
        """The preset for a set: one that takes the global bias away takes as much as was found best there."""
        setting = setting_of(spec, self.preset.name)
        if setting is None or self.preset.cls_weight == 0 or self.about.get("compare") == "bias":
            return self.preset
        return replace(self.preset, cls_weight=setting.cls_weight)


def setting_of(spec: DatasetSpec, preset: str) -> Setting | None:
    """How a preset was set for a set: its own setting, else SegEarth-OV's."""
    return spec.settings.get(preset) or spec.settings.get(REFERENCE)


def find_variants(
    presets: Sequence[str],
    *,
    model: str | None = None,
    templates: str | None = None,
    compare: str | None = None,
    backbones: Sequence[str] = (),
) -> list[Variant]:
    """The presets named, each once; with `compare` the variants of each.

    Raises:
        UsageError: an unknown preset, part, backbone or template set.
    """
    from earthwords.text.templates import load_templates

    if backbones and compare != "backbone":
        raise UsageError("--backbones names what --compare backbone goes through; give both or neither.")
    if compare is not None and compare not in COMPARED:
        raise unknown("part to compare", compare, COMPARED)
    if templates is not None:
        load_templates(templates)
    rows = []
    for name in dict.fromkeys(presets):
        row = load_preset(name)
        row = row if templates is None else replace(row, templates=templates)
        label = row.name if model is None else f"{row.name}+model={model}"
        rows.append(Variant(label=label, preset=row, model=model))
    if not rows:
        raise UsageError("Name at least one --preset.")
    labels = [row.label for row in rows]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice is not None:
        raise UsageError(f"Two presets are called {twice!r}; give one of the files another name.")
    if compare is None:
        return rows
    return [
        replace(found, label=f"{row.label}+{compare}={name}", about=_about(compare, row.label, name))
        for row in rows
        for name, found in COMPARED[compare](row, backbones)
    ]


def _about(compare: str, base: str, variant: str) -> dict[str, str]:
    return {"compare": compare, "base": base, "variant": variant}


Named = Iterator[tuple[str, Variant]]


def _attention(base: Variant, backbones: Sequence[str]) -> Named:
    """Every method; one without a class token has no bias to take away."""
    from earthwords.models.clip.attention import ATTENTION

    for name in ATTENTION:
        weight = 0.0 if name == "gem" else base.preset.cls_weight
        yield name, replace(base, preset=replace(base.preset, attention=name, cls_weight=weight))


def _bias(base: Variant, backbones: Sequence[str]) -> Named:
    for weight in BIASES:
        yield f"{weight:g}", replace(base, preset=replace(base.preset, cls_weight=weight))


def _upsampler(base: Variant, backbones: Sequence[str]) -> Named:
    """None, and all that there are; those without weights for the backbone do not load."""
    from earthwords import plugins

    yield "none", replace(base, preset=replace(base.preset, upsampler=None, upsampler_weights=None))
    for name in sorted(plugins.names("earthwords.models.upsamplers"), key=lambda name: name != "bilinear"):
        own = base.preset.upsampler_weights if name == base.preset.upsampler else None
        yield name, replace(base, preset=replace(base.preset, upsampler=name, upsampler_weights=own))


def _templates(base: Variant, backbones: Sequence[str]) -> Named:
    """Bare words first."""
    from earthwords.text.templates import TEMPLATES

    for name in sorted(TEMPLATES, key=lambda name: name != "none"):
        yield name, replace(base, preset=replace(base.preset, templates=name))


def _backbone(base: Variant, backbones: Sequence[str]) -> Named:
    """Those named, else the preset's own and all of the table that are here already."""
    from earthwords.models.weights.table import WEIGHTS

    own = base.model or base.preset.weights
    known = [own, *(spec.name for spec in WEIGHTS.values() if spec.kind == "clip" and spec.name != own)]
    for name in dict.fromkeys(backbones or known):
        yield name, replace(base, model=name, offline=not backbones)


COMPARED: dict[str, Callable[[Variant, Sequence[str]], Named]] = {
    "attention": _attention,
    "upsampler": _upsampler,
    "bias": _bias,
    "templates": _templates,
    "backbone": _backbone,
}
"""Part of a preset -> what it is exchanged for, the first what the others are compared with."""
