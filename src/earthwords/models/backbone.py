"""What every network tells of itself that looks at windows for words."""

from __future__ import annotations

from typing import Protocol

import torch

from earthwords.text.known_words import Lexicon


class Backbone(Protocol):
    """A CLIP, a SigLIP, or a SAM 3."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Of red, green and blue, 0..1, in what it was trained on."""

    @property
    def std(self) -> tuple[float, ...]: ...

    @property
    def patch(self) -> int:
        """Windows are padded to multiples of so many pixels."""

    @property
    def any_language(self) -> bool:
        """Whether words go to it as they are typed, Chinese ones too."""

    @property
    def dim(self) -> int:
        """Numbers that a word is read as."""

    @property
    def device(self) -> torch.device: ...

    @property
    def weights_id(self) -> str:
        """Name of the weights."""

    @property
    def lexicon(self) -> Lexicon | None:
        """What it can read; None: nobody knows."""
