"""What is known of published weights, as a row of the table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WeightSpec:
    """Published weights."""

    name: str
    source: str
    """A Hugging Face id, a URL, or `package` for weights that come with earthwords."""
    licence: str
    paper: str
    file: str | None = None
    """File in a Hugging Face repository, or in a zip; None: the whole folder in transformers' layout."""
    activation: str | None = None
    """`quickgelu` or `gelu` for OpenAI / open_clip state dicts, which do not say; None: not needed."""
    sha256: str | None = None
    """Of the file, as several users of it have recorded it; None: not known, then that of the download is kept."""
    hashed: str | None = None
    """In a folder: the file that `sha256` is of."""
    megabytes: int = 0
    kind: str = "clip"
    """`clip`, `upsampler`, `head` (of `models.aggregation`), `referring`, `vision` (`models.dino`), `masks`
    (`models.sam`) or `prompted` (`models.sam3`)."""
    method: str | None = None
    """Of an upsampler: the file of `models.upsamplers` that takes it when no weights are named; None: none does."""
    backbone: str | None = None
    """Of an upsampler: the row whose features it was trained on and is the default for; None: any backbone's."""
    gated: bool | None = False
    """Whether the hub gives them only to whom has accepted their licence there; None: nobody knows."""
    any_language: bool = False
    """Words go to the model as they are typed, Chinese ones too; else Chinese is translated first."""
    note: str = ""

    @property
    def gate(self) -> str:
        """`yes`, `no` or `not known`."""
        return "not known" if self.gated is None else "yes" if self.gated else "no"
