"""Every preset: how a published system is put together, one frozen row each.

Rows show descent: `SEGEARTH_OV = replace(CLEARCLIP, ...)`. Users write rows of their own as TOML files, see
`load_preset`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from earthwords.errors import UsageError, brief, did_you_mean, unknown
from earthwords.files.plaintext import read_text
from earthwords.files.reading import parse_toml
from earthwords.segment_preset import Attention, Blend, Precision, SegmentPreset

__all__ = ["SEGMENT_PRESETS", "Attention", "Blend", "Precision", "SegmentPreset", "as_toml", "load_preset"]

_CLIP = "openai-vit-b-16"

CLIP = SegmentPreset(
    name="clip",
    weights=_CLIP,
    attention="vanilla",
    keep_residual=True,
    paper="https://arxiv.org/abs/2103.00020",
    note="CLIP as it was trained: weak at segmentation, the point of departure",
)
MASKCLIP = replace(
    CLIP,
    name="maskclip",
    attention="maskclip",
    keep_residual=False,
    paper="https://arxiv.org/abs/2112.01071",
    note="values of the last block",
)
SCLIP = replace(
    MASKCLIP,
    name="sclip",
    attention="sclip",
    paper="https://arxiv.org/abs/2312.01597",
    note="q-q and k-k attention",
)
GEM = replace(
    MASKCLIP,
    name="gem",
    attention="gem",
    paper="https://arxiv.org/abs/2312.00878",
    note="normalised q-q, k-k and v-v attention, iterated",
)
CLEARCLIP = replace(
    MASKCLIP,
    name="clearclip",
    attention="clearclip",
    paper="https://arxiv.org/abs/2407.12442",
    note="q-q attention",
)
NACLIP = replace(
    MASKCLIP,
    name="naclip",
    attention="naclip",
    paper="https://arxiv.org/abs/2404.08181",
    note="k-k attention with a Gaussian neighbourhood",
)
SEGEARTH_OV = replace(
    CLEARCLIP,
    name="segearth-ov",
    attention="segearth",
    upsampler="simfeatup",
    upsampler_weights="simfeatup-million-aid",
    cls_weight=-0.3,
    paper="https://arxiv.org/abs/2410.01768",
    note="q-q, k-k and v-v attention, SimFeatUp, global bias subtracted",
)
SEGEARTH_OV2 = replace(
    SEGEARTH_OV,
    name="segearth-ov-2",
    paper="https://arxiv.org/abs/2508.18067",
    note="of optical images as segearth-ov; radar has segearth-ov-2-sar",
)
SEGEARTH_OV2_SAR = replace(
    SEGEARTH_OV2,
    name="segearth-ov-2-sar",
    weights="alignearth-sar-vit-b-16",
    attention="sclip",
    last_n=2,
    radar=True,
    note="radar images: AlignEarth's image tower, q-q and k-k attention summed over the last two blocks, SimFeatUp",
)
REMOTECLIP_B32 = replace(
    SEGEARTH_OV,
    name="remoteclip-b-32",
    weights="remoteclip-vit-b-32",
    upsampler=None,
    upsampler_weights=None,
    paper="https://arxiv.org/abs/2306.11029",
    note="SegEarth-OV's attention and bias on RemoteCLIP; logits interpolated",
)
REMOTECLIP_L14 = replace(REMOTECLIP_B32, name="remoteclip-l-14", weights="remoteclip-vit-l-14")
GEORSCLIP_B32 = replace(
    REMOTECLIP_B32,
    name="georsclip-b-32",
    weights="georsclip-vit-b-32",
    paper="https://arxiv.org/abs/2306.11300",
    note="SegEarth-OV's attention and bias on GeoRSCLIP; logits interpolated",
)
GEORSCLIP_L14 = replace(GEORSCLIP_B32, name="georsclip-l-14", weights="georsclip-vit-l-14")
SKYCLIP_B32 = replace(
    REMOTECLIP_B32,
    name="skyclip-b-32",
    weights="skyclip-vit-b-32",
    paper="https://arxiv.org/abs/2312.12856",
    note="SegEarth-OV's attention and bias on SkyCLIP; logits interpolated",
)
SIGLIP2 = SegmentPreset(
    name="siglip2",
    weights="siglip2-base-patch16-224",
    attention="maskclip",
    keep_residual=True,
    paper="https://arxiv.org/abs/2502.14786",
    note="SigLIP 2: every pixel through the values and the feed-forward network of the pooling head; many languages; "
    "raw SigLIP is weak at pixels, teach it or train a head on it",
)
SIGLIP2_QQ = replace(
    SIGLIP2, name="siglip2-qq", attention="clearclip", note="as siglip2, with q-q attention in the head"
)
SIGLIP2_L = replace(SIGLIP2, name="siglip2-l", weights="siglip2-large-patch16-256", tile_size=256, overlap=128)
SIGLIP2_SO400M = replace(SIGLIP2_L, name="siglip2-so400m", weights="siglip2-so400m-patch16-256")
METACLIP2 = replace(
    SIGLIP2,
    name="metaclip2",
    weights="metaclip-2-worldwide-b16",
    attention="segearth",
    keep_residual=False,
    cls_weight=-0.3,
    paper="https://arxiv.org/abs/2507.22062",
    note="SegEarth-OV's attention and bias on MetaCLIP 2: Chinese words are read as they are; logits interpolated",
)
METACLIP2_L = replace(METACLIP2, name="metaclip2-l", weights="metaclip-2-worldwide-l14")
SEGEARTH_OV3 = SegmentPreset(
    name="segearth-ov3",
    weights="sam3",
    fusion="max",
    confidence=0.4,
    threshold=0.3,
    templates="none",
    tile_size=1008,
    overlap=252,
    paper="https://arxiv.org/abs/2512.08730",
    note="SAM 3: the larger of semantic map and instances, times presence; untested with the real weights",
)
PROC_SAM3 = replace(
    SEGEARTH_OV3,
    name="procsam3",
    fusion="pgrf",
    threshold=0.1,
    prompts="general",
    paper="https://github.com/YanghuiSong/ProC-SAM3",
    note="SAM 3: more words for each class, instances gated by agreement and presence; untested with the real weights",
)
TINY = SegmentPreset(
    name="tiny",
    weights="tiny",
    attention="segearth",
    templates="aerial",
    logit_scale=14.0,
    nothing=-0.05,
    gsd=(0.25, 4.0),
    blend="tukey",
    note="embedded in the package, works offline; see docs/models/tiny.md",
)

SEGMENT_PRESETS: dict[str, SegmentPreset] = {
    p.name: p
    for p in (
        TINY,
        SEGEARTH_OV,
        SEGEARTH_OV2,
        SEGEARTH_OV2_SAR,
        CLEARCLIP,
        SCLIP,
        MASKCLIP,
        GEM,
        NACLIP,
        CLIP,
        REMOTECLIP_B32,
        REMOTECLIP_L14,
        GEORSCLIP_B32,
        GEORSCLIP_L14,
        SKYCLIP_B32,
        SIGLIP2,
        SIGLIP2_QQ,
        SIGLIP2_L,
        SIGLIP2_SO400M,
        METACLIP2,
        METACLIP2_L,
        SEGEARTH_OV3,
        PROC_SAM3,
    )
}
DEFAULT_PRESET = "tiny"


_MOST_BASES = 16
_PATHS = ("weights", "upsampler_weights", "head", "taught", "templates", "prompts")
PRESET_FILE = "preset.toml"
"""Of the folders that trainings leave: such a folder is a preset, too."""
_LISTS = {"taught_bands": (int, str)}
"""Lists of any length, of what."""
_WORDS = {
    "thresholds": "a table of classes with numbers, such as { road = 0.4 }",
    "taught_bands": "a list of numbers or names of bands, such as [4, 3, 2]",
}
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "last_n": (lambda value: value >= 1, "at least 1"),
    "confidence": (lambda value: 0 <= value <= 1, "between 0 and 1"),
    "energy": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "cls_weight": (lambda value: abs(value) <= 100, "between -100 and 100"),
    "logit_scale": (lambda value: 0 < value <= 1e4, "above 0 and at most 10,000"),
    "nothing": (lambda value: -1 <= value <= 1, "between -1 and 1"),
    "threshold": (lambda value: 0 <= value <= 1, "between 0 and 1"),
    "thresholds": (
        lambda value: all(0 <= level <= 1 for level in value.values()),
        "between 0 and 1 for every class",
    ),
    "tile_size": (lambda value: 1 <= value <= 2**16, "between 1 and 65,536 pixels"),
    "overlap": (lambda value: 0 <= value < 2**16, "between 0 and 65,535 pixels"),
    "taught_gsd": (lambda value: 0 < value <= 1e7, "a positive number of metres"),
    "gsd": (
        lambda value: 0 < value[0] <= value[1] <= 1e7,
        "two positive numbers of metres, the finer one first",
    ),
}
"""What a number may be, as a test that NaN fails, and in words."""


def load_preset(name: str, *, within: tuple[Path, ...] = ()) -> SegmentPreset:
    """A preset by name, or from a TOML file whose keys are the fields of `SegmentPreset`, or a folder with one.

    A file may begin from another preset with `base = "segearth-ov"`; its name is the file's stem unless
    it gives one. With other weights it does not inherit the upsampler, with another upsampler not its weights;
    `upsampler = "none"` takes it away. With a head it inherits no upsampler and no `cls_weight`, with other weights or
    an upsampler no head. Paths with a slash or a dot are looked for beside the file first. `within`: the
    files that are being read, one the base of the other.

    Raises:
        UsageError: unknown preset, unreadable file, unknown key, a value of the wrong type or out of range.
    """
    if name in SEGMENT_PRESETS:
        return SEGMENT_PRESETS[name]
    path = Path(name)
    if path.suffix != ".toml" and (path / PRESET_FILE).is_file():
        path = path / PRESET_FILE
    if path.suffix != ".toml":
        raise unknown("preset", name, SEGMENT_PRESETS)
    place = Path(os.path.realpath(path))  # which, unlike resolve(), does not fail at a link to itself
    if place in within:
        raise UsageError(f"The preset {name} is its own base; begin from another one.")
    if len(within) == _MOST_BASES:
        raise UsageError(
            f"The preset {within[0]} has a base that has a base, and so on, more than {_MOST_BASES} times."
        )
    table = _read_toml(path)
    base = None
    if "base" in table:
        base = load_preset(_beside(path, str(table.pop("base"))), within=(*within, place))
    return _from_table(path, base, table)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(read_text(path))
    except (OSError, ValueError) as error:
        raise UsageError(f"Cannot read the preset {path}: {brief(error)}.") from error


def _beside(path: Path, value: str) -> str:
    """`value` as a path in the folder of the file `path`, if there is such a thing; bare names are left alone."""
    if "\0" in value:
        raise UsageError(f"{path}: {brief(repr(value), most=100)} holds a NUL character; no name or path does.")
    if "/" not in value and "." not in value:
        return value
    try:
        there = path.parent / value
        return str(there) if there.exists() else value
    except OSError:  # too long for a path
        return value


def _from_table(path: Path, base: SegmentPreset | None, table: dict[str, Any]) -> SegmentPreset:
    known = {f.name: str(f.type) for f in fields(SegmentPreset)}
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"{path}: unknown key {brief(repr(key), most=100)}. {did_you_mean(key[:100], known)}")
        listed = _LISTS.get(key)
        if not (_fits(value, known[key]) if listed is None else _is_list(value, listed)):
            what = _WORDS.get(key, known[key])
            raise UsageError(f"{path}: {key} must be {what}, got {brief(repr(value), most=100)}.")
        _check_range(path, key, value)
        if isinstance(value, dict):
            table[key] = tuple((title, float(level)) for title, level in value.items())
        elif isinstance(value, list):
            table[key] = tuple(value)
        elif key in _PATHS:
            table[key] = _beside(path, value)
    if table.get("upsampler") == "none":  # as on the command line
        table["upsampler"] = None
    table.setdefault("name", path.stem)
    if base is None and "weights" not in table:
        raise UsageError(f'{path}: name the weights, or a preset to begin from: base = "segearth-ov".')
    if "weights" in table:
        table.setdefault("upsampler", None)  # the base's belongs to the base's weights
        table.setdefault("head", None)
        table |= {f.name: table.get(f.name) for f in fields(SegmentPreset) if f.name.startswith("taught")}
        table.setdefault("nothing", None)
        table.setdefault("radar", False)
        table.setdefault("thresholds", ())
    if table.get("head") is not None:
        table = {"upsampler": None, "cls_weight": 0.0, **table}
    if "upsampler" in table:
        table.setdefault("upsampler_weights", None)
    if table.get("upsampler") is not None:
        table.setdefault("head", None)
    row = replace(base, **table) if base else SegmentPreset(**table)
    if row.overlap >= row.tile_size:
        raise UsageError(f"{path}: overlap must be smaller than tile_size ({row.tile_size}), got {row.overlap}.")
    return row


def as_toml(row: SegmentPreset) -> str:
    """The lines of a file that `load_preset` reads as this row; paths are kept as they are."""
    values = {f.name: getattr(row, f.name) for f in fields(row)}
    if row.upsampler is None:
        values["upsampler"] = "none"
    if row.thresholds:
        inner = ", ".join(f"{json.dumps(title)} = {level!r}" for title, level in row.thresholds)
        values["thresholds"] = None
        lines = [f"thresholds = {{ {inner} }}\n"]
    else:
        values["thresholds"], lines = None, []
    for name, value in values.items():
        if value is not None:
            number = repr(value) if isinstance(value, float) else None  # nan, which JSON writes NaN
            lines.append(f"{name} = {number or json.dumps(list(value) if isinstance(value, tuple) else value)}\n")
    return "".join(lines)


def _check_range(path: Path, key: str, value: Any) -> None:
    fits, words = _RANGES.get(key, (lambda value: True, ""))
    if not fits(value):
        raise UsageError(f"{path}: {key} must be {words}, got {brief(repr(value), most=100)}.")


def _is_list(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) in kinds for item in value)


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("tuple[tuple"):
        return isinstance(value, dict) and all(_fits(level, "float") for level in value.values())
    if kind.startswith("tuple"):
        return isinstance(value, list) and len(value) == 2 and all(_fits(v, "float") for v in value)
    accepted: tuple[type, ...] = {
        "str": (str,),
        "bool": (bool,),
        "int": (int,),
        "float": (int, float),
    }[kind.removesuffix(" | None")]
    return isinstance(value, accepted) and (isinstance(value, bool) == (kind == "bool"))
