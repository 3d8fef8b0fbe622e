"""What a preset of segmentation is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Attention = Literal["vanilla", "maskclip", "sclip", "gem", "clearclip", "naclip", "segearth"]
"""A name of `models.clip.attention.ATTENTION`."""
Precision = Literal["fp32", "bf16"]
"""A name of `kernels.linear.PRECISIONS`."""
Blend = Literal["mean", "linear", "cosine", "tukey"]
"""A name of `kernels.blend.BLENDS`."""


@dataclass(frozen=True, kw_only=True)
class SegmentPreset:
    """An open-vocabulary segmenter, put together by names.

    Example:
        >>> from dataclasses import replace
        >>> own = replace(earthwords.load_preset("tiny"), name="plain", upsampler=None, upsampler_weights=None)
        >>> earthwords.Segmenter.from_preset(own)
    """

    name: str
    weights: str
    """A row of `models.weights.table.WEIGHTS`, a Hugging Face id, a folder or a checkpoint file."""
    attention: str = "vanilla"
    """A name of `models.clip.attention.ATTENTION`."""
    keep_residual: bool = False
    """Keep the residual connection and the feed-forward network of the last block."""
    last_n: int = 1
    """Sum the attention output of the last n blocks."""
    upsampler: str | None = None
    """A file of `models.upsamplers`; None interpolates the logits of the tokens bilinearly."""
    upsampler_weights: str | None = None
    """A row of `models.weights.table.WEIGHTS` or a checkpoint file."""
    head: str | None = None
    """A folder of `train segment`: an aggregation that judges all words of a window jointly, instead of an upsampler.
    Probabilities are those of each word by itself then: `logit_scale` does not count, and `threshold` is of them."""
    taught: str | None = None
    """A folder of `teach`: classes as marks have taught them, beside those that words alone name."""
    taught_bands: tuple[int | str, ...] | None = None
    """Bands that the marked scenes were read by; others are, too, unless told otherwise."""
    taught_gsd: float | None = None
    """Ground sample distance, metres, that the marked scenes were worked at; likewise."""
    taught_nodata: float | None = None
    taught_stretch: str | None = None
    """Values without observation, and the stretch, that the marked scenes were read with; likewise."""
    energy: float = 1.0
    """Share of the energy of a window's tokens that `jbu` and `simfeatup` keep, 0..1; 1 is exact, 0.9999 faster."""
    cls_weight: float = 0.0
    """Weight of the class token's cosine added to every pixel; negative takes the global bias away."""
    fusion: str | None = None
    """Of a SAM 3, which takes the place of a CLIP: a rule of `models.sam3.fusion.RULES` that makes one map of the
    semantic map and the instances of a prompt. Probabilities are those of each word by itself then."""
    confidence: float = 0.5
    """Of a SAM 3: instances that are not more probable are left out."""
    prompts: str | None = None
    """Of a SAM 3: more words for classes, `general` or a file; see `text.prompt_bank`."""
    logit_scale: float = 50.0
    sum_to_one: bool = False
    """Probabilities of classes are shares of the sum of their best words', so that synonyms take nothing away, as
    `assess --calibrate` fits them; else of the sum of all words' (the papers)."""
    sigmoid: bool = False
    """Probability of each word by itself, the sigmoid of its cosine with the scale and the bias that the weights
    learned for pairs (SigLIP has both; `logit_scale` does not count), instead of a softmax over all words. The most
    probable class is the same; what a threshold means is not."""
    threshold: float = 0.0
    """Pixels whose best probability is lower become background (or nodata without one)."""
    thresholds: tuple[tuple[str, float], ...] = ()
    """Titles of classes, each with a threshold of its own, as `assess --calibrate` finds them: of these very words,
    since words compete. In TOML: `thresholds = { road = 0.4 }`."""
    nothing: float | None = None
    """Cosine of a word that stands for nothing of what is asked for: pixels that every word fits less become background
    (or nodata without one). For weights that learned it (`train clip --class-dropout`), about 0."""
    templates: str = "openai80"
    """A set of `text.templates.TEMPLATES` or a file."""
    tile_size: int = 224
    """Side of the windows, pixels of the working resolution."""
    overlap: int = 112
    """Pixels that neighbouring windows share."""
    blend: str = "mean"
    """Weight of a pixel where windows overlap: `mean` (all windows alike, as in the papers), `linear`, `cosine` or
    `tukey` (flat in the middle, less towards the borders)."""
    precision: str = "fp32"
    """A name of `kernels.linear.PRECISIONS`: what the image tower's linear layers and convolutions are computed in.
    `bf16` is faster where the processor has instructions for it; elsewhere it is computed in fp32, and said."""
    gsd: tuple[float, float] | None = None
    """Ground sample distances (finest, coarsest), metres, the weights were trained on. A finer scene is
    worked on at the finest, unless `--gsd` says otherwise; None works at the scene's own."""
    radar: bool = False
    """The weights learned radar images: what has colours is told, instead of what is grey."""
    activation: str | None = None
    """`quickgelu` or `gelu`, for a checkpoint file that does not say; None: as its row, else quickgelu."""
    paper: str = ""
    note: str = ""

    def reading(self, *, bands: Any, nodata: float | None, stretch: str) -> tuple[Any, float | None, str]:
        """How a scene is read: as given (`stretch` unless it is `auto`), else as the marked scenes were."""
        return (
            self.taught_bands if bands is None else bands,
            self.taught_nodata if nodata is None else nodata,
            self.taught_stretch if stretch == "auto" and self.taught_stretch is not None else stretch,
        )

    def rivals(self, against: Any) -> Any:
        """Words that compete: those asked for; by default none where no word takes from another (SAM 3)."""
        return "none" if against is None and self.fusion is not None else against

    @property
    def taught_options(self) -> str:
        """How the marked scenes were read, as options of a command line; empty: as any scene."""
        bands = None if self.taught_bands is None else ",".join(map(str, self.taught_bands))
        given = {"bands": bands, "gsd": self.taught_gsd, "nodata": self.taught_nodata, "stretch": self.taught_stretch}
        shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in given.items()}
        return " ".join(f"--{name} {value}" for name, value in shown.items() if value is not None)
