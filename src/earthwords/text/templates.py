"""Prompt templates: the sentences around a class name.

Sources: the ImageNet prompts of https://github.com/openai/CLIP (notebooks/Prompt_Engineering_for_ImageNet),
as used by SegEarth-OV (https://github.com/likyoo/SegEarth-OV), the five of MaskCLIP, those of RemoteCLIP
(its paper, https://arxiv.org/abs/2306.11029, and the sets of its codebase, https://github.com/ChenDelong1999/ITRA) and
those of RS-TransCLIP (https://github.com/elkhouryk/RS-TransCLIP).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from earthwords.errors import UsageError, brief, unknown
from earthwords.files.paths import trouble
from earthwords.files.plaintext import Unreadable, read_text

OPENAI_80 = (
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
)

_KINDS = ("remote sensing image", "aerial image", "satellite image")
_LOOKS = ("bad", "black and white", "blurry", "bright", "close-up", "cropped", "dark", "good", "jpeg corrupted",
          "low resolution")  # fmt: skip
_SIZES = ("cool", "hard to see", "large", "nice", "small", "weird")

RS_TRANSCLIP = (
    "a satellite photo of a {}",
    *(f"a {look} {kind} of {word} {{}}" for look in _LOOKS for kind in _KINDS for word in ("a", "the")),
    *(
        f"{'an' if kind.startswith('aerial') else 'a'} {kind} of {words} {{}}"
        for kind in _KINDS
        for words in ("a", "the", "many", *(f"{word} {size}" for word in ("a", "the") for size in _SIZES))
    ),
)  # fmt: skip
"""106; whether the authors end them with a full stop is not known to us."""

TEMPLATES: dict[str, tuple[str, ...]] = {
    "openai80": OPENAI_80,
    "openai7": (
        "itap of a {}.",
        "a bad photo of a {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
    "maskclip5": (
        "there is a {} in the scene.",
        "there is the {} in the scene.",
        "this is a {} in the scene.",
        "this is the {} in the scene.",
        "this is one {} in the scene.",
    ),
    "aerial": (
        "an aerial photo of {}.",
        "a satellite image of {}.",
        "{} seen from above.",
    ),
    "remoteclip": ("a satellite photo of {}.",),
    "remoteclip5": (
        "a centered satellite photo of a {}.",
        "a centered satellite photo of the {} taken from above.",
        "an overhead view of the {}.",
        "an overhead view of a {}.",
        "an overhead view of {}.",
    ),
    "remoteclip-eurosat": tuple(f"a centered satellite photo of {word}{{}}." for word in ("", "a ", "the ")),
    "remoteclip-resisc45": tuple(
        f"{source} {what} of {word}{{}}."
        for source in ("satellite", "aerial")
        for what in ("imagery", "photo", "view")
        for word in ("", "a ", "the ")
    ),
    "rs-transclip": RS_TRANSCLIP,
    "photo": ("a photo of a {}.",),
    "none": ("{}",),
}


def load_templates(name: str) -> tuple[str, ...]:
    """The templates of a set by name, or of a text file: one a line, `{}` stands for the class name."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    path = Path(name)
    if trouble(path) == "does not exist":
        raise unknown("template set", name, TEMPLATES)
    try:
        text = read_text(path)
    except Unreadable as error:
        raise UsageError(f"Cannot read the template file {name}: {error}.") from error
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    without = [brief(repr(line), most=80) for line in lines if line.count("{}") != 1]
    if not lines or without:
        got = without[0] if without else "none"
        raise UsageError(f"Template file {name}: every line needs exactly one {{}} for the class name, got {got}.")
    return lines


def fill(templates: Sequence[str], word: str) -> list[str]:
    """Every template with `word` in it."""
    return [t.replace("{}", word) for t in templates]
