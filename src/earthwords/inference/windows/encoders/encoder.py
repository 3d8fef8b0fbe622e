"""What a segmenter asks of whatever turns windows and words into maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from earthwords.inference.windows.failures import FailurePolicy
from earthwords.models.backbone import Backbone
from earthwords.presets import SegmentPreset
from earthwords.types import Mixture, TextBank, Vocabulary


class WindowEncoder(ABC):
    """Pixels of windows to logits, or probabilities, of words."""

    backbone: Backbone

    @property
    @abstractmethod
    def gives_probabilities(self) -> bool:
        """Whether what comes out are probabilities already, of each word by itself."""

    @property
    def least(self) -> int:
        """Tokens a side that a window must have."""
        return 1

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of all weights that pixels meet."""

    @abstractmethod
    def text_bank(self, vocabulary: Vocabulary, templates: Sequence[str]) -> TextBank:
        """Words as vectors."""

    def scale_and_bias(self, preset: SegmentPreset) -> tuple[float, float | None]:
        """Of probabilities, where none are given; see `class_probabilities`."""
        return preset.logit_scale, None

    @abstractmethod
    def logits(
        self,
        pixels: Tensor,
        queries: Tensor,
        *,
        note: Callable[[Any], None] = lambda told: None,
        mixture: Mixture | None = None,
    ) -> Tensor:
        """`(batch, query, H, W)` of normalised pixels `(batch, 3, H, W)` and vectors `(query, dim)`.

        Args:
            note: told what is remarkable of the windows, see `noted_in`.
            mixture: of the scene's tokens, where there are such.
        """

    @abstractmethod
    def noted_in(self, policy: FailurePolicy, query_class: NDArray[Any]) -> Callable[[Any], None]:
        """What `logits` tells, kept in `policy`."""

    @abstractmethod
    def word_notes(self, vocabulary: Vocabulary, *, model: str) -> tuple[str, ...]:
        """What is known of the words before anything is looked at."""

    @abstractmethod
    def tags(self, preset: SegmentPreset, *, taught: str | None) -> dict[str, str]:
        """How it works, for outputs; `taught`: the method, where marks have taught classes."""

    @abstractmethod
    def described(self, preset: SegmentPreset) -> str:
        """The same in a few words."""

    @abstractmethod
    def window_bytes(self, tile: int, queries: int) -> int:
        """Memory that it takes to compute a window, about."""
