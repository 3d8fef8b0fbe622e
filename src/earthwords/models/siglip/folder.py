"""A SigLIP or SigLIP 2 in transformers' layout: a folder with `config.json`, weights, tokenizer, image statistics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from earthwords.errors import EarthwordsError, WeightsError, brief
from earthwords.files.reading import read_json
from earthwords.models.clip.config import CONFIG
from earthwords.models.clip.convert import filled
from earthwords.models.clip.folder import folder_state, image_statistics
from earthwords.models.siglip.config import FIXED, FLEXIBLE, SiglipTowers, siglip_settings
from earthwords.models.siglip.model import HALF, SiglipBackbone
from earthwords.models.siglip.towers import Siglip
from earthwords.text.siglip import PaddedTokenizer, SiglipTokenizer

State = dict[str, Tensor]
_PATCHES = "vision_model.embeddings.patch_embedding.weight"


def load_folder(path: Path, *, weights_id: str) -> SiglipBackbone:
    """A SigLIP in transformers' layout.

    Raises:
        WeightsError: something is missing, damaged, or does not fit.
    """
    try:
        config = siglip_settings(read_json(path / CONFIG))
    except (OSError, ValueError, TypeError, ArithmeticError) as error:
        raise WeightsError(f"{path} is not a SigLIP folder of transformers: {brief(error)}.") from error
    state = {name: value.float() for name, value in folder_state(path).items()}
    _check_sizes(path, config, state)
    try:
        model = filled(config, as_stored(config, state), build=Siglip)
    except (EarthwordsError, MemoryError):
        raise
    except Exception as error:  # any value of config.json may be wrong in a way of its own
        raise WeightsError(f"{path / CONFIG} does not describe a SigLIP: {brief(error)}.") from error
    assert isinstance(model, Siglip)
    text = model.text_model.config
    tokenizer = PaddedTokenizer(SiglipTokenizer.from_folder(path), context=text.max_position_embeddings)
    if tokenizer.highest >= text.vocab_size:
        raise WeightsError(
            f"The tokenizer in {path} has token {tokenizer.highest}, the weights know {text.vocab_size}."
        )
    mean, std = image_statistics(path, default=(HALF, HALF))
    return SiglipBackbone(model, tokenizer=tokenizer, weights_id=weights_id, mean=mean, std=std)


def as_stored(config: SiglipTowers, state: State) -> State:
    """Tensors as the towers here have them, by how their kind stores them."""
    return _STORED[config.vision_config.resize](config, state)  # type: ignore[attr-defined]


def _convolved(config: SiglipTowers, state: State) -> State:
    """NaFlex multiplies flattened patches, colours fastest, by a matrix: a convolution in other words."""
    patch = config.vision_config.patch_size
    matrix = state[_PATCHES]
    return {**state, _PATCHES: matrix.unflatten(1, (patch, patch, -1)).permute(0, 3, 1, 2).contiguous()}


_STORED: dict[str, Callable[[SiglipTowers, State], State]] = {FIXED: lambda config, state: state, FLEXIBLE: _convolved}


def _check_sizes(path: Path, config: SiglipTowers, state: State) -> None:
    """What the shapes of the weights do not tell; more layers than tensors would be built for hours."""
    vision: Any = config.vision_config
    towers: tuple[Any, Any] = (vision, config.text_config)
    fits = (
        vision.resize in _STORED
        and _PATCHES in state
        and 0 < vision.patch_size <= vision.image_size
        and all(0 <= tower.num_hidden_layers <= len(state) and 0 < tower.layer_norm_eps < 1 for tower in towers)
    )
    if not fits:
        raise WeightsError(f"{path / CONFIG} does not describe the SigLIP whose weights lie beside it.")
