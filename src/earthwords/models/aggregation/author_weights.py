"""Aggregations from checkpoints of GSNet's and RSKT-Seg's authors: their sizes are read from the shapes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from earthwords.errors import WeightsError, brief
from earthwords.models.aggregation.model import GUIDES, Aggregation, AggregationConfig
from earthwords.models.clip.convert import check_finite, listed
from earthwords.models.weights.checkpoint import read_state

_ANCHOR = "text_guidance_projection.0.weight"
"""What stands before this name stands before all of them, such as `sem_seg_head.predictor.transformer.`"""
_COMPUTED = ".attn_mask"
"""Buffers that follow from the grid."""
_WINDOW = 12


def load_aggregation(path: Path, *, heads: int = 4) -> Aggregation:
    """The aggregation in a whole checkpoint or alone in a file; its towers are left aside.

    Args:
        heads: of GSNet's attention, which the file does not tell.

    Raises:
        WeightsError: unreadable, damaged, or something else.
    """
    found = own_part(read_state(path), name=str(path))
    config = config_of(found, name=str(path), heads=heads)
    return fill(lambda: Aggregation(config), found, name=str(path))


def own_part(state: Mapping[str, Tensor], *, name: str) -> dict[str, Tensor]:
    """The tensors of the aggregation under their own names.

    Raises:
        WeightsError: there is none, or more than one.
    """
    before = [n.removesuffix(_ANCHOR) for n in state if n.endswith(_ANCHOR)]
    if len(before) != 1:
        raise WeightsError(
            f"{name} holds {len(before)} aggregations of GSNet or RSKT-Seg, expected one; "
            f"first names: {listed(sorted(state))}."
        )
    (prefix,) = before
    return {n.removeprefix(prefix): value for n, value in state.items() if n.startswith(prefix)}


def config_of(state: Mapping[str, Tensor], *, name: str, heads: int = 4) -> AggregationConfig:
    """The sizes that a checkpoint's shapes tell.

    Raises:
        WeightsError: it lacks what every aggregation has.
    """
    try:
        first, text = state["conv1.weight"].shape, state[_ANCHOR].shape
        prompts = state["conv2.weight"].shape[1] if "conv2.weight" in state else 1
        pairs = {
            tower: [state[f"{start}.{stage}.0.weight"].shape for stage in (0, 1)]
            for tower, start in GUIDES.items()
            if f"{start}.0.0.weight" in state
        }
        return AggregationConfig(
            aggregator="gsnet" if any(".swin_block." in n for n in state) else "rskt-seg",
            features=text[1],
            guides={tower: (one[1], two[1]) for tower, (one, two) in pairs.items()},
            projected_guides={tower: (one[0], two[0]) for tower, (one, two) in pairs.items()},
            dim=first[0],
            layers=len(list(takewhile(lambda i: any(n.startswith(f"layers.{i}.") for n in state), count()))),
            prompts=prompts,
            rotations=max(1, first[1] // prompts),
            second="conv2.weight" in state,
            appearance=state["guidance_projection.0.weight"].shape[0],
            text=text[0],
            decoder=(_outputs(state, 1), _outputs(state, 2)),
            heads=heads,
            window=_window(state),
        )
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"{name} is no aggregation of GSNet or RSKT-Seg: it has no proper {error}.") from error


Module = TypeVar("Module", bound=nn.Module)


def fill(make: Callable[[], Module], state: Mapping[str, Tensor], *, name: str) -> Module:
    """What `make` gives, with these weights and in evaluation mode; nothing is allocated before they fit.

    Raises:
        WeightsError: names or shapes differ, or numbers are not finite.
    """
    own = {n: value.float() for n, value in state.items() if not n.endswith(_COMPUTED)}
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about layers of no size, which will not fit
            module = make()
    except (RuntimeError, ValueError, IndexError, KeyError) as error:  # sizes that no module can have
        raise WeightsError(f"{name} does not describe an aggregation: {brief(error)}.") from error
    expected = module.state_dict()
    wrong = [n for n in expected if n not in own or own[n].shape != expected[n].shape]
    if wrong or own.keys() - expected.keys():
        first = listed([*wrong, *sorted(own.keys() - expected.keys())])
        raise WeightsError(f"{name} does not fit an aggregation; first names that differ: {first}.")
    check_finite(own)
    module.to_empty(device="cpu").load_state_dict(own)
    return module.eval()


def _outputs(state: Mapping[str, Tensor], stage: int) -> int:
    return state[f"Fusiondecoder{stage}.conv.double_conv.0.weight"].shape[0]


def _window(state: Mapping[str, Tensor]) -> int:
    """Tokens a side of GSNet's windows, from the mask of a shifted block."""
    sizes = [value.shape[-1] for n, value in state.items() if n.endswith(_COMPUTED)]
    return max(2, math.isqrt(sizes[0])) if sizes else _WINDOW
