"""A network for change as a folder: `change.json`, the settings and the encoder it belongs to, and
`change.safetensors`, what was learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from earthwords.errors import UsageError, WeightsError, brief
from earthwords.files.atomic import atomic_path
from earthwords.files.plaintext import write_json
from earthwords.files.reading import read_json
from earthwords.models.change.card import CARD, WEIGHTS_FILE
from earthwords.models.change.encoders import Encoder, encoder_hash, load_encoder
from earthwords.models.change.network import ChangeNetwork, ChangeSettings
from earthwords.models.clip.convert import check_finite, listed
from earthwords.models.weights.checkpoint import read_state
from earthwords.models.weights.store import write_safetensors


def make_network(settings: ChangeSettings, backbone: Encoder, *, seed: int = 0) -> ChangeNetwork:
    """A fresh network over an encoder, on its device."""
    torch.manual_seed(seed)
    return ChangeNetwork(backbone, settings).to(backbone.device)


def store_network(
    network: ChangeNetwork, folder: Path, *, encoder: str, base: str, threshold: float, notes: Mapping[str, Any]
) -> None:
    """Write the weights, then the card.

    Args:
        encoder: name or path of the encoder's weights.
        base: `encoder_hash` of it before anything was learned.
        threshold: least probability of a change.
        notes: more for the card, such as the number of steps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = network.state_dict()
    write_safetensors(folder / WEIGHTS_FILE, {n: state[n] for n in sorted(network.learned)}, about={"format": "pt"})
    told = {"settings": asdict(network.settings), "encoder": encoder, "base": base, "threshold": threshold, **notes}
    with atomic_path(folder / CARD, overwrite=True) as part:
        write_json(part, told, indent=2)


def load_network(
    folder: Path,
    *,
    device: torch.device,
    offline: bool = False,
    report: Callable[[int, int | None], None] = lambda done, total: None,
) -> tuple[ChangeNetwork, float]:
    """The network in a folder of `train change`, in evaluation mode, and the least probability of a change.

    Raises:
        WeightsError: there is none, it is damaged, or its encoder is missing or another one now.
    """
    try:
        card = read_json(folder / CARD)
        settings = ChangeSettings(tuning=str(card["settings"]["tuning"]), width=int(card["settings"]["width"]))
        encoder, base, threshold = str(card["encoder"]), str(card["base"]), float(card["threshold"])
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise WeightsError(f"{folder} is not a network of `train change`: {brief(error)}.") from error
    if not (folder / WEIGHTS_FILE).exists():
        raise WeightsError(f"There is no {WEIGHTS_FILE} in {folder}: the training did not finish.")
    backbone = load_encoder(encoder, offline=offline, device=device, report=report)
    if encoder_hash(backbone) != base:
        raise WeightsError(f"The network in {folder} was trained on other weights than {encoder} has now.")
    network = ChangeNetwork(backbone, settings)
    state = read_state(folder / WEIGHTS_FILE)
    check_finite(state)
    _fill(network, state, name=str(folder / WEIGHTS_FILE))
    return network.to(device).eval(), threshold


def _fill(network: ChangeNetwork, state: Mapping[str, torch.Tensor], *, name: str) -> None:
    """
    Raises:
        WeightsError: names or shapes do not fit.
    """
    own, wanted = network.state_dict(), network.learned
    strange = sorted(wanted ^ state.keys()) or [n for n in sorted(wanted) if own[n].shape != state[n].shape]
    if strange:
        raise WeightsError(f"{name} does not fit its card: {listed(strange)}; the files are of different trainings.")
    network.load_state_dict(dict(state), strict=False)
