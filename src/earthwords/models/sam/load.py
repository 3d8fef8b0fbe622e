"""SAM and SAM 2.1 from transformers' folders and from the authors' checkpoints."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import Sam2Config, Sam2Model, SamConfig, SamModel

from earthwords.errors import EarthwordsError, WeightsError, brief
from earthwords.files.reading import read_json
from earthwords.models.clip.convert import check_fit, listed, load_strict
from earthwords.models.clip.folder import folder_state
from earthwords.models.sam.author_names import DECODER_HEADS, authors_config, from_authors, is_sam, with_positions
from earthwords.models.sam.author_names2 import TRUNKS, Trunk, authors_config2, from_authors2, is_sam2
from earthwords.models.sam.predictor import Sam1Predictor, Sam2Predictor, SamPredictor
from earthwords.models.transformers_config import folder_config
from earthwords.models.weights.checkpoint import read_state
from earthwords.models.weights.download import Report
from earthwords.models.weights.table import fetch, find

Model = TypeVar("Model", SamModel, Sam2Model)
SECOND = ("sam2", "sam2_video")
"""What the configurations of SAM 2.1 call themselves."""


def load_sam(
    name: str,
    *,
    offline: bool = False,
    device: str | torch.device = "cpu",
    report: Report = lambda done, total: None,
) -> SamPredictor:
    """A SAM or SAM 2.1: a name of the table, a Hugging Face id, a folder, or a checkpoint of SAM's authors.

    Raises:
        WeightsError: unknown, unreachable, unreadable or unfitting weights.
    """
    path = fetch(find(name), offline=offline, report=report)
    found = _from_folder(path) if path.is_dir() else _from_checkpoint(path)
    found.model.to(device)
    return found


def sam_of_folder(path: Path) -> SamModel:
    """SAM with the weights of transformers' folder.

    Raises:
        WeightsError: it is none, or its weights do not fit.
    """
    return _filled(SamModel, folder_config(SamConfig, path), folder_state(path), path / "config.json")


def sam2_of_folder(path: Path) -> Sam2Model:
    """The same of SAM 2.1, which is published with a memory for videos."""
    return _filled(Sam2Model, folder_config(Sam2Config, path), folder_state(path), path / "config.json", more=True)


def sam_of_authors(
    state: dict[str, Tensor], *, decoder_heads: int = DECODER_HEADS, path: Path | str = "The checkpoint"
) -> SamModel:
    """SAM with the tensors of the authors' checkpoint.

    Args:
        decoder_heads: heads of the mask decoder, where they are not those of the published ones.
        path: where they lie, for errors.
    """
    return _filled(SamModel, authors_config(state, decoder_heads=decoder_heads), from_authors(state), path)


def sam2_of_authors(
    state: dict[str, Tensor], *, path: Path | str = "The checkpoint", trunks: tuple[Trunk, ...] = TRUNKS, **sizes: int
) -> Sam2Model:
    """SAM 2 or 2.1 with the tensors of the authors' checkpoint; `trunks` and `sizes` as of `authors_config2`."""
    return _filled(Sam2Model, authors_config2(state, trunks=trunks, **sizes), from_authors2(state), path, more=True)


def _filled(kind: type[Model], config: Any, state: dict[str, Tensor], path: Path | str, *, more: bool = False) -> Model:
    """A model with the tensors of a checkpoint.

    Args:
        path: what describes the model, for errors.
        more: the checkpoint may hold others too.
    """
    named = with_positions({name: value.float() for name, value in state.items()})
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about layers of no size, which will not fit
            empty = kind(config)
            own = empty.state_dict().keys()
            named = {name: value for name, value in named.items() if name in own or not more}
            check_fit(empty, named)  # before anything of a size that a file claims is allocated
        model = kind(config)
    except (EarthwordsError, MemoryError):
        raise
    except Exception as error:  # any value of config.json may be wrong in a way of its own
        raise WeightsError(f"{path} does not describe a SAM: {brief(error)}.") from error
    load_strict(model, named)
    return model


def _from_folder(path: Path) -> SamPredictor:
    try:
        kind = read_json(path / "config.json").get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} is no folder of transformers' SAM: {brief(error)}.") from error
    if kind in SECOND:
        return Sam2Predictor(sam2_of_folder(path))
    if kind != "sam":
        raise WeightsError(f"{path} holds a {kind}, not a SAM or SAM 2.1.")
    return Sam1Predictor(sam_of_folder(path))


def _from_checkpoint(path: Path) -> SamPredictor:
    state = read_state(path)
    if is_sam2(state):
        return Sam2Predictor(sam2_of_authors(state, path=path))
    if not is_sam(state):
        raise WeightsError(
            f"{path} is no checkpoint of the authors of SAM or SAM 2; first names: {listed(sorted(state))}."
        )
    return Sam1Predictor(sam_of_authors(state, path=path))
