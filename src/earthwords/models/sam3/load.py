"""SAM 3 from transformers' folder (`facebook/sam3`) and from the authors' checkpoint (`sam3.pt`)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Sam3Config, Sam3Model

from earthwords.errors import EarthwordsError, WeightsError, brief
from earthwords.files.reading import read_json
from earthwords.models.clip.convert import check_fit, listed, load_strict
from earthwords.models.clip.folder import folder_state
from earthwords.models.sam3.author_names import from_authors, is_sam3
from earthwords.models.sam3.network import EPS, Sam3Backbone
from earthwords.models.transformers_config import folder_config, without_remarks
from earthwords.models.weights.checkpoint import read_state
from earthwords.models.weights.download import Report
from earthwords.models.weights.table import fetch, find
from earthwords.text.tokenizer import ClipTokenizer

_DETECTOR = "detector_model."
"""Before the names of the detector, in a folder that holds what follows videos, too."""
_MOST_LAYERS = 200


def load_sam3(
    name: str,
    *,
    offline: bool = False,
    device: str | torch.device = "cpu",
    report: Report = lambda done, total: None,
) -> Sam3Backbone:
    """A SAM 3: a name of the table, a Hugging Face id, a folder, or the checkpoint of SAM 3's authors.

    Raises:
        WeightsError: unknown, unreachable, unreadable or unfitting weights.
    """
    spec = find(name)
    path = fetch(spec, offline=offline, report=report)
    found = _from_folder(path, spec.name) if path.is_dir() else _from_checkpoint(path, spec.name)
    return found.to(device)


def sam3_of_authors(
    state: Mapping[str, Tensor], *, config: Sam3Config | None = None, path: Path | str = "The checkpoint"
) -> Sam3Model:
    """The network with the tensors of the authors' checkpoint.

    Args:
        config: of another size than the published one.
        path: where they lie, for errors.

    Raises:
        WeightsError: they do not fit.
    """
    return _filled(Sam3Config() if config is None else config, from_authors(state), path)


def _from_folder(path: Path, weights_id: str) -> Sam3Backbone:
    config = _config(path)
    state = {name.removeprefix(_DETECTOR): value for name, value in folder_state(path).items()}
    model = _filled(config, state, path / "config.json")
    text = model.config.text_config
    tokenizer = ClipTokenizer.from_folder(path, context=text.max_position_embeddings)
    if tokenizer.highest >= text.vocab_size:
        raise WeightsError(
            f"The tokenizer in {path} has token {tokenizer.highest}, the weights know {text.vocab_size}."
        )
    return Sam3Backbone(model, tokenizer=tokenizer, weights_id=weights_id)


def _from_checkpoint(path: Path, weights_id: str) -> Sam3Backbone:
    state = read_state(path)
    if not is_sam3(state):
        raise WeightsError(f"{path} is no checkpoint of the authors of SAM 3; first names: {listed(sorted(state))}.")
    model = sam3_of_authors(state, path=path)
    tokenizer = ClipTokenizer.openai(context=model.config.text_config.max_position_embeddings)
    return Sam3Backbone(model, tokenizer=tokenizer, weights_id=weights_id)


def _config(path: Path) -> Sam3Config:
    """Of the detector, which the published folder describes inside of what follows videos."""
    try:
        kind = read_json(path / "config.json").get("model_type")
        if kind == "sam3_video":
            with without_remarks():
                return Sam3Config.from_dict(read_json(path / "config.json")["detector_config"])
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} is no folder of transformers' SAM 3: {brief(error)}.") from error
    except MemoryError:
        raise
    except Exception as error:  # validation raises classes of its own, by the kind of mistake
        raise WeightsError(f"{path} is not a folder of transformers' Sam3Config: {brief(error)}.") from error
    if kind != "sam3":
        raise WeightsError(f"{path} holds a model of the kind {brief(repr(kind), most=60)}, not a SAM 3.")
    found: Sam3Config = folder_config(Sam3Config, path)
    return found


def _filled(config: Any, state: Mapping[str, Tensor], path: Path | str) -> Sam3Model:
    """A model with the tensors of a checkpoint, which may hold others too."""
    try:
        config.vision_config.backbone_config.layer_norm_eps = EPS
        _check_layers(config)
        with torch.device("meta"), warnings.catch_warnings(), without_remarks():
            warnings.simplefilter("ignore")  # about layers of no size, which will not fit
            empty = Sam3Model(config)
            own = empty.state_dict().keys()
            named = {name: value.float() for name, value in state.items() if name in own}
            check_fit(empty, named)  # before anything of a size that a file claims is allocated
        with without_remarks():
            model = Sam3Model(config)
    except (EarthwordsError, MemoryError):
        raise
    except Exception as error:  # any value of config.json may be wrong in a way of its own
        raise WeightsError(f"{path} does not describe a SAM 3: {brief(error)}.") from error
    load_strict(model, named)
    return model


def _check_layers(config: Any) -> None:
    """More layers than there can be would be built for hours."""
    counts = [
        config.vision_config.backbone_config.num_hidden_layers,
        config.text_config.num_hidden_layers,
        *(part.num_layers for part in (config.geometry_encoder_config, config.detr_encoder_config)),
        config.detr_decoder_config.num_layers,
    ]
    if not all(0 < count <= _MOST_LAYERS for count in counts):
        raise ValueError(f"layers {counts}")
