"""RSRefSegs put together from base weights, written after a training, and read again.

A folder of ours has `refseg.json`, the preset's fields with the ids of the base weights, and `refseg.safetensors`, what
was learned and nothing else. The authors' checkpoints (DeepSpeed's `module`, towers wrapped by peft) hold everything.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Sam2Model, SamModel, SiglipConfig, SiglipModel

from earthwords.errors import UsageError, WeightsError, brief, unknown
from earthwords.files.atomic import atomic_path
from earthwords.files.paths import trouble
from earthwords.files.plaintext import write_json
from earthwords.files.reading import read_json
from earthwords.models.architectures import referrer, sam2_config, sam_config, siglip_config
from earthwords.models.clip.conv_trunk import ConvTrunk
from earthwords.models.clip.convert import check_finite, listed, load_strict
from earthwords.models.clip.folder import folder_state
from earthwords.models.refseg.adapters import SAM2_TARGETS, VISION2_TARGETS, Lora, adapt, learned_names
from earthwords.models.refseg.author_names import from_authors, is_authors
from earthwords.models.refseg.cascaded_prompter import CascadedPrompter
from earthwords.models.refseg.encoders import ClipWords, SiglipWords, Tokenize, Words
from earthwords.models.refseg.model import SAM_MEAN, SAM_STD, RefSeg, RefSegOptions
from earthwords.models.refseg.presence import Presence
from earthwords.models.refseg.prompter import AttnPrompter
from earthwords.models.refseg.rsrefseg2 import RefSeg2
from earthwords.models.sam.load import sam2_of_folder, sam_of_folder
from earthwords.models.transformers_config import folder_config
from earthwords.models.weights.checkpoint import read_state
from earthwords.models.weights.fingerprint import weights_hash
from earthwords.models.weights.store import write_safetensors
from earthwords.models.weights.table import fetch, fetch_tokenizer, find, load_clip, no_referrer
from earthwords.refer_presets import REFER_PRESETS, ReferPreset
from earthwords.text.siglip import SiglipTokenizer

CARD, WEIGHTS_FILE = "refseg.json", "refseg.safetensors"
_MOST_RANK = 4096
_TIED = "sam.prompt_encoder.shared_embedding.positional_embedding"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model and what it was made by."""

    model: RefSeg
    preset: ReferPreset
    presence: Presence | None = None
    """How its folder tells that a thing is there; None: the mask alone tells it."""


def refer_preset(name: str) -> ReferPreset:
    """A preset by name."""
    if name not in REFER_PRESETS:
        raise unknown("preset", name, REFER_PRESETS)
    return REFER_PRESETS[name]


def assemble(preset: ReferPreset, *, seed: int = 0, offline: bool = False, base: bool = True) -> RefSeg:
    """Base weights with a fresh prompter and fresh adapters, frozen where training does not reach.

    Args:
        seed: of what is fresh.
        base: False gives the towers of a SigLIP preset random weights too, for checkpoints that hold everything and for
            measuring.

    Raises:
        WeightsError: base weights are not reachable or do not fit.
    """
    row = referrer(preset.architecture)
    torch.manual_seed(seed)
    words = _words(preset, row, offline=offline, base=base)
    torch.manual_seed(seed)
    sam = _sam(preset, row, words, offline=offline, base=base)
    options = RefSegOptions(**{f.name: getattr(preset, f.name) for f in fields(RefSegOptions)})
    prompt_dim = int(sam.config.prompt_encoder_config.hidden_size)
    statistics = {"mean": SAM_MEAN, "std": SAM_STD} if preset.segmenter else {"mean": words.mean, "std": words.std}
    lora = Lora(rank=preset.lora_rank, alpha=preset.lora_alpha, dropout=preset.lora_dropout)
    if "sam2" in row:
        cascade = CascadedPrompter(words.dim, prompt_dim, words.grid, norm=options.norm)
        model: RefSeg = RefSeg2(sam, words, cascade, options=options, **statistics)
        lora = replace(lora, sam=SAM2_TARGETS, vision=VISION2_TARGETS)
    else:
        prompter = AttnPrompter(words.dim, prompt_dim, norm=options.norm)
        model = RefSeg(sam, words, prompter, options=options, **statistics)
    adapt(model, lora, fresh_sam=preset.segmenter is None, learn_calibration=preset.learn_calibration)
    return model.eval()


def kept(model: RefSeg, preset: ReferPreset) -> frozenset[str]:
    """Names of what a training changes: what a checkpoint and a folder hold."""
    return learned_names(model, fresh_sam=preset.segmenter is None)


def store_refseg(
    model: RefSeg,
    preset: ReferPreset,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write what was learned, and the ids of the rest.

    Args:
        dtype: of the file: float16 halves it, and is read back as float32.
        notes: more for `refseg.json`, such as the number of steps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names, state = kept(model, preset), model.state_dict()
    tensors = {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items() if name in names
    }
    write_safetensors(folder / WEIGHTS_FILE, tensors, about={"format": "pt"})
    card = {"preset": {**asdict(preset), "weights": None}, "base": base_hash(model, preset), **(notes or {})}
    with atomic_path(folder / CARD, overwrite=True) as part:
        write_json(part, card, indent=2)


def load_refseg(
    name: str, *, preset: str | None = None, offline: bool = False, device: str | torch.device = "cpu"
) -> Loaded:
    """A trained model: a preset that has weights, a folder of `train refer`, or a checkpoint of the authors.

    Args:
        preset: of a checkpoint, whose names do not say it: `rsrefseg-b` or `rsrefseg-l`.

    Raises:
        UsageError: unknown preset, or one that nobody has trained.
        WeightsError: files are missing, damaged, or do not fit.
    """
    if name in REFER_PRESETS:
        found = REFER_PRESETS[name]
        if found.weights is None:
            raise UsageError(f"{name} has no trained weights: train it with `train refer`, or give a folder of that.")
        path = fetch(find(found.weights), offline=offline)
    else:
        path = Path(name)
    if not path.exists():
        if os.path.islink(path):
            raise WeightsError(f"Cannot read {path}: it {trouble(path)}.")
        raise no_referrer(name)
    read = _from_folder(path, offline=offline) if path.is_dir() else _from_checkpoint(path, preset, offline=offline)
    read.model.to(device).eval()
    if name in REFER_PRESETS and read.preset.gsd is None:  # its card was written before there was such a row
        return replace(read, preset=replace(read.preset, gsd=REFER_PRESETS[name].gsd))
    return read


def _from_folder(path: Path, *, offline: bool) -> Loaded:
    try:
        card = read_json(path / CARD)
        preset, presence = _row_of(card["preset"]), Presence.of_card(card.get("presence"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is not a folder of `train refer`: {brief(error)}.") from error
    if not (path / WEIGHTS_FILE).exists():
        raise WeightsError(f"There is no {WEIGHTS_FILE} in {path}: the training did not finish.")
    state = {name: _floats(value) for name, value in read_state(path / WEIGHTS_FILE).items()}
    model = assemble(preset, offline=offline)
    _load(model, state, kept(model, preset), path)
    if card.get("base") not in (None, base_hash(model, preset)):
        raise WeightsError(f"{path} was trained on other weights of {preset.words} than there are now; train it again.")
    return Loaded(model=model, preset=preset, presence=presence)


def base_hash(model: RefSeg, preset: ReferPreset) -> str | None:
    """Of the frozen weights of a dual encoder of ours, which a later version may replace; None: of a published one."""
    if not isinstance(model.words, ClipWords):
        return None
    learned = kept(model, preset)
    frozen = {name: value for name, value in model.words.state_dict(prefix="words.").items() if name not in learned}
    return weights_hash(frozen)


def _row_of(table: dict[str, Any]) -> ReferPreset:
    """The preset of a card, whose values are of the right kinds.

    Raises:
        KeyError, TypeError, ValueError: they are not.
    """
    row = ReferPreset(**{**table, "losses": tuple(table["losses"])})
    for one in fields(ReferPreset):
        value, kind = getattr(row, one.name), str(one.type)
        fits: dict[str, bool] = {
            "str": isinstance(value, str),
            "bool": isinstance(value, bool),
            "int": isinstance(value, int) and 0 <= value <= _MOST_RANK,
            "float": isinstance(value, (int, float)),
        }
        if not fits.get(kind.removesuffix(" | None"), True) and not (value is None and kind.endswith("None")):
            raise ValueError(f"{one.name} is {brief(repr(value), most=60)}")
    return row


def _from_checkpoint(path: Path, preset: str | None, *, offline: bool) -> Loaded:
    state = read_state(path)
    if not is_authors(state):
        raise WeightsError(f"{path} is not a checkpoint of RSRefSeg; first names: {listed(sorted(state))}.")
    if preset is None:
        raise UsageError(f"{path} does not say its architecture: name one with --preset, such as rsrefseg-b.")
    named = {name: _floats(value) for name, value in from_authors(state).items()}
    row = _as_trained(refer_preset(preset), named)
    model = assemble(row, base=False)
    own = model.state_dict().keys()
    named = {_without_adapter(name, own): value for name, value in named.items()}
    _load(model, named, frozenset(model.state_dict()), path)
    assert isinstance(model.words, SiglipWords)
    model.words.tokenize = _late_tokenizer(row.words, offline=offline)
    return Loaded(model=model, preset=row)


def _as_trained(preset: ReferPreset, state: Mapping[str, Tensor]) -> ReferPreset:
    """The authors' preset with the rank of the adapters in a checkpoint; their scale is 1."""
    ranks = {len(value) for name, value in state.items() if ".lora_A." in name}
    if len(ranks) != 1:
        raise WeightsError(f"The checkpoint has adapters of {len(ranks)} different ranks, expected one.")
    (rank,) = ranks
    return replace(preset.faithful(), lora_rank=rank, lora_alpha=rank)


def _load(model: RefSeg, state: dict[str, Tensor], names: frozenset[str], path: Path) -> None:
    """Give `model` its tensors `names`; adapters that the checkpoint has not are as good as none."""
    own = model.state_dict()
    shared = own.keys() & {_TIED}
    missing = [n for n in names - shared if n not in state and not _idle(n)]
    extra = [n for n in state if n not in own]
    shapes = [n for n in state if n in own and own[n].shape != state[n].shape]
    for what, wrong in (("missing", missing), ("of another shape", shapes), ("unknown", extra)):
        if wrong:
            first = listed(sorted(wrong))
            raise WeightsError(f"{path} does not fit: {len(wrong)} names {what}, first {first}.")
    check_finite(state)
    model.load_state_dict(state, strict=False)


def _without_adapter(name: str, own: Collection[str]) -> str:
    """A layer's own weight, where the checkpoint has it without an adapter and the model with one."""
    stem, _, kind = name.rpartition(".")
    wrapped = f"{stem}.base_layer.{kind}"
    return wrapped if name not in own and wrapped in own else name


def _idle(name: str) -> bool:
    """Adapters that only some settings have and that begin as nothing: B is 0."""
    return ".lora_" in name and any(part in name for part in (".neck.", ".head."))


def _floats(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _words(preset: ReferPreset, row: dict[str, Any], *, offline: bool, base: bool) -> Words:
    if "siglip" not in row:
        return ClipWords(load_clip(preset.words, offline=offline), side=int(row["words_side"]))
    if not base:
        return SiglipWords(SiglipModel(siglip_config(row)))
    path = fetch(find(preset.words), offline=offline)
    model = SiglipModel(folder_config(SiglipConfig, path))
    load_strict(model, {name: value.float() for name, value in folder_state(path).items()})
    tokenizer = SiglipTokenizer.from_folder(path)
    if tokenizer.highest >= model.config.text_config.vocab_size:
        most = model.config.text_config.vocab_size
        raise WeightsError(f"The tokenizer in {path} has token {tokenizer.highest}, the weights know {most}.")
    return SiglipWords(model, tokenize=tokenizer, pad=tokenizer.pad, end=tokenizer.end)


def _sam(preset: ReferPreset, row: dict[str, Any], words: Words, *, offline: bool, base: bool) -> SamModel | Sam2Model:
    if preset.segmenter is None:
        return _fresh_sam(row, words)
    second = "sam2" in row
    if not base:
        return Sam2Model(sam2_config(row)) if second else SamModel(sam_config(row))
    path = fetch(find(preset.segmenter), offline=offline)
    return sam2_of_folder(path) if second else sam_of_folder(path)


def _fresh_sam(row: dict[str, Any], words: Words) -> SamModel:
    """An untrained SAM behind a convolutional stem, which begins as the stem of the dual encoder if they are alike."""
    sam = SamModel(sam_config(row))
    config = sam.config.vision_config
    nn.init.normal_(sam.shared_image_embedding.positional_embedding)  # transformers would take 96, which is noise
    sam.prompt_encoder.shared_embedding.positional_embedding = sam.shared_image_embedding.positional_embedding
    trunk = ConvTrunk(**row["trunk"], dim=config.hidden_size)
    if isinstance(words, ClipWords):
        stem = words.clip.model.vision_model.embeddings.patch_embedding.state_dict()
        theirs = {name.removeprefix("levels."): value for name, value in stem.items()}
        own = trunk.state_dict()
        last = f"{len(trunk) - 1}."
        alike = {n: v for n, v in theirs.items() if n in own and own[n].shape == v.shape and not n.startswith(last)}
        trunk.load_state_dict(alike, strict=False)
    sam.vision_encoder.patch_embed.projection = trunk
    return sam


def _late_tokenizer(words: str, *, offline: bool) -> Tokenize:
    """That of the base weights, which a checkpoint does not hold; fetched, without them, for the first sentence."""
    found: list[Tokenize] = []

    def tokenize(texts: Sequence[str]) -> Sequence[Sequence[int]]:
        if not found:
            found.append(SiglipTokenizer.from_folder(fetch_tokenizer(find(words), offline=offline)))
        return found[0](texts)

    return tokenize
