"""A CLIP in transformers' layout: a folder with `config.json`, weights, tokenizer files, image statistics."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from torch import Tensor

from earthwords.errors import EarthwordsError, WeightsError, brief
from earthwords.files.reading import read_json
from earthwords.models.clip.config import CONFIG, ClipConfig, read_config
from earthwords.models.clip.conv_trunk import trunk_stride
from earthwords.models.clip.convert import filled
from earthwords.models.clip.model import CLIP_MEAN, CLIP_STD, ClipBackbone
from earthwords.models.clip.towers import LARGEST, Clip
from earthwords.models.weights.checkpoint import read_state
from earthwords.text.known_words import read_words
from earthwords.text.tokenizer import ClipTokenizer

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def load_folder(path: Path, *, weights_id: str) -> ClipBackbone:
    """A CLIP in transformers' layout: `config.json`, weights, tokenizer files, image statistics."""
    model = read_towers(path)
    text = model.text_model.config
    tokenizer = ClipTokenizer.from_folder(path, context=text.max_position_embeddings)
    if tokenizer.highest >= text.vocab_size:
        raise WeightsError(
            f"The tokenizer in {path} has token {tokenizer.highest}, the weights know {text.vocab_size}."
        )
    if text.eos_token_id != tokenizer.end:  # sentences are read there, whatever `config.json` says
        text.eos_token_id = LARGEST if tokenizer.end == tokenizer.highest else tokenizer.end
    mean, std = image_statistics(path)
    words = read_words(path)
    return ClipBackbone(model, tokenizer=tokenizer, weights_id=weights_id, mean=mean, std=std, words=words)


def read_towers(path: Path, *, build: Callable[[ClipConfig], Clip] = Clip) -> Clip:
    """The towers of a folder, without tokenizer and image statistics.

    Args:
        build: makes them of their settings, without weights.

    Raises:
        WeightsError: something is missing, damaged, or does not fit.
    """
    if not os.path.lexists(path / CONFIG):
        raise WeightsError(f"{path} is not a CLIP folder of transformers: it holds no {CONFIG}.")
    try:
        config = read_config(path)
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path} is not a CLIP folder of transformers: {brief(error)}.") from error
    state = {name: value.float() for name, value in folder_state(path).items()}
    _check_sizes(path, config, state)
    try:
        return filled(config, state, build=build)
    except (EarthwordsError, MemoryError):
        raise
    except Exception as error:  # any value of config.json may be wrong in a way of its own
        raise WeightsError(f"{path / 'config.json'} does not describe a CLIP: {brief(error)}.") from error


def _check_sizes(path: Path, config: ClipConfig, state: dict[str, Tensor]) -> None:
    """What the shapes of the weights do not tell; more layers than tensors would be built for hours."""
    try:
        right = _fits(config, most_layers=len(state))
    except (TypeError, AttributeError, KeyError):
        right = False
    if not right:
        raise WeightsError(f"{path / 'config.json'} does not describe the CLIP whose weights lie beside it.")


def _fits(config: ClipConfig, *, most_layers: int) -> bool:
    vision, text = config.vision_config, config.text_config
    assert text is not None
    trunk = vision.trunk
    layers = [vision.num_hidden_layers, text.num_hidden_layers, *(trunk["depths"] if trunk else ())]
    return (
        all(0 <= number <= most_layers for number in layers)
        and all(0 < tower.layer_norm_eps < 1 for tower in (vision, text))
        and (vision.patch_size == trunk_stride(trunk) if trunk else vision.patch_size >= 1)
        and 0 <= text.eos_token_id < text.vocab_size
    )


def folder_state(path: Path) -> dict[str, Tensor]:
    """The tensors of one file, or of several that an index names."""
    for name in ("model.safetensors", _INDEXES[0], "pytorch_model.bin", _INDEXES[1]):
        if os.path.lexists(path / name):
            parts = _shards(path / name) if name in _INDEXES else [path / name]
            return {name: value for part in parts for name, value in read_state(part).items()}
    raise WeightsError(f"Cannot read weights from {path}: no model.safetensors and no pytorch_model.bin is there.")


def _shards(index: Path) -> Iterable[Path]:
    try:
        names = set(read_json(index)["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"Cannot read {index}: {brief(error)}.") from error
    for name in sorted(names, key=str):
        if not isinstance(name, str) or Path(name).name != name or not (index.parent / name).is_file():
            raise WeightsError(f"{index} names {name!r}, which is no file beside it.")
        yield index.parent / name


Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of pixels."""


def image_statistics(path: Path, *, default: Statistics = (CLIP_MEAN, CLIP_STD)) -> Statistics:
    """Those of a folder.

    Raises:
        WeightsError: they cannot be read, or are none.
    """
    file = path / "preprocessor_config.json"
    if not os.path.lexists(file):
        return default
    try:
        table = read_json(file)
        mean, std = (
            tuple(map(float, table.get(k, d))) for k, d in (("image_mean", default[0]), ("image_std", default[1]))
        )
    except (OSError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise WeightsError(f"Cannot read {file}: {brief(error)}.") from error
    if not (len(mean) == len(std) == 3 and all(map(math.isfinite, mean + std)) and min(std) > 0):
        raise WeightsError(f"{file}: image_mean and image_std must be three numbers each, image_std above 0.")
    return mean, std
