"""Presets of segmenters that a sentence points with: how a published system is put together, one frozen row each."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class ReferPreset:
    """A segmenter that a sentence points with. Fields below `architecture` say where it leaves its authors' code."""

    name: str
    architecture: str
    """A row of `models.architectures.REFERRERS`."""
    segmenter: str | None
    """SAM's weights: a Hugging Face id or a folder in transformers' layout; None: trained with the rest."""
    words: str
    """The dual encoder: SigLIP's weights likewise, or a CLIP of `models.weights.table.WEIGHTS`."""
    weights: str | None = None
    """A folder that `train refer` wrote; None: nobody publishes trained weights."""
    gsd: tuple[float, float] | None = None
    """Ground sample distances (finest, coarsest), metres, it was trained on; None: nobody knows."""
    lora_rank: int = 16
    lora_alpha: int = 16
    lora_dropout: float = 0.1
    learn_calibration: bool = False
    """Scale and bias of cosines learn too."""
    padding: str = "fixed"
    """Of sentences: to the length the text tower was trained with; `longest` of the batch (authors)."""
    norm: str = "group"
    """Of the prompter: `group`, for any batch; `batch` (authors)."""
    local: str = "words"
    """Tokens that local attention averages over: `words`, as the paper says; `all`, as the code does (authors)."""
    dense: bool = True
    """SAM gets the global activation as a mask prompt."""
    antialias: bool = False
    """Pixels are averaged where an image is shrunk; the authors sample."""
    word_prompts: int = 0
    """Prompts that the words themselves make, besides the authors'."""
    fuse: bool = False
    """SAM sees the dual encoder's features too."""
    losses: tuple[str, ...] = ("bce",)
    """Names of `training.referring.LOSSES`."""
    lr: float = 1e-4
    """Learning rate of a training."""
    warmup: float = 5 / 200
    """Share of the steps."""
    hold: float = 0.0
    """Share of the steps before the cosine may begin."""
    span: float = 1.0
    """Length of the whole cosine, in trainings."""
    floor: float = 0.001
    """Share of the rate that the cosine ends at."""
    ema: float = 0.0
    """Decay of the average of the weights that a training delivers; 0: the last ones."""
    clip_norm: float = 0.0
    """Greatest norm of the gradient; 0: any."""
    paper: str = ""
    note: str = ""

    def faithful(self) -> ReferPreset:
        """As the authors' code does it."""
        return replace(
            self, padding="longest", norm="batch", local="all", antialias=False, word_prompts=0, fuse=False, ema=0.0
        )


RSREFSEG_B = ReferPreset(
    name="rsrefseg-b",
    architecture="rsrefseg-b",
    segmenter="facebook/sam-vit-base",
    words="google/siglip-so400m-patch14-384",
    paper="https://arxiv.org/abs/2501.06809",
    note="SigLIP points, SAM-B draws; base weights only: to be trained with `train refer`",
)
RSREFSEG_L = replace(
    RSREFSEG_B,
    name="rsrefseg-l",
    architecture="rsrefseg-l",
    segmenter="facebook/sam-vit-large",
    note="SigLIP points, SAM-L draws; base weights only: to be trained with `train refer`",
)
REFSEG_TINY = replace(
    RSREFSEG_B,
    name="refseg-tiny",
    architecture="refseg-tiny",
    segmenter=None,
    words="tiny",
    weights="refseg-tiny",
    gsd=(0.25, 4.0),
    lora_dropout=0.0,
    learn_calibration=True,
    padding="longest",
    antialias=True,
    word_prompts=8,
    fuse=True,
    losses=("bce", "dice"),
    lr=1e-3,
    ema=0.999,
    clip_norm=1.0,
    note="RSRefSeg's layout on `tiny`, with a small SAM trained from scratch",
)
RSREFSEG2 = replace(
    RSREFSEG_B,
    name="rsrefseg2",
    architecture="rsrefseg2",
    segmenter="facebook/sam2.1-hiera-large",
    words="google/siglip2-so400m-patch16-512",
    lora_dropout=0.0,
    learn_calibration=True,
    losses=("bce", "dice", "apart", "contrast"),
    warmup=5 / 300,
    hold=0.1,
    span=1.3,
    floor=0.01,
    clip_norm=3.0,
    paper="https://arxiv.org/abs/2507.06231",
    note="SigLIP 2 points in two steps, SAM 2.1 draws; rebuilt from its description, not compared with its code",
)

REFER_PRESETS: dict[str, ReferPreset] = {p.name: p for p in (REFSEG_TINY, RSREFSEG_B, RSREFSEG_L, RSREFSEG2)}
