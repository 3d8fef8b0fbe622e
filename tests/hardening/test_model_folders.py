"""A `config.json` that does not describe the weights beside it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from earthwords.errors import WeightsError
from earthwords.models.weights.table import load_clip

BAD: list[tuple[str, Any]] = [
    ("vision_config.num_hidden_layers", 99_999_999),
    ("vision_config.num_hidden_layers", -1),
    ("vision_config.hidden_size", 99_999_999),
    ("vision_config.hidden_size", 0),
    ("vision_config.num_attention_heads", 0),
    ("vision_config.num_attention_heads", -1),
    ("vision_config.num_attention_heads", 3),
    ("vision_config.patch_size", 0),
    ("vision_config.patch_size", 8),
    ("vision_config.image_size", 10**9),
    ("vision_config.layer_norm_eps", float("nan")),
    ("vision_config.hidden_act", "no such function"),
    ("vision_config.trunk", {"widths": [8, 8, 16, 16], "depths": [0, 0, 0, 10**9]}),
    ("vision_config.trunk", {"widths": [8, 8, 16, 16], "depths": [0, 0, 0, "x"]}),
    ("vision_config.trunk", {"widths": 3}),
    ("vision_config.trunk", "deep"),
    ("text_config.vocab_size", 10**12),
    ("text_config.vocab_size", 10),
    ("text_config.max_position_embeddings", 10**12),
    ("text_config.eos_token_id", 10**40),
    ("text_config.eos_token_id", -1),
    ("text_config.eos_token_id", None),
    ("text_config.eos_token_id", [1]),
    ("text_config", []),
    ("projection_dim", None),
    ("projection_dim", 1e999),
]


@pytest.fixture
def folder(micro: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(micro, tmp_path / "model"))


def rewrite(file: Path, key: str, value: Any) -> None:
    table = json.loads(file.read_text())
    *path, last = key.split(".")
    place = table
    for part in path:
        place = place[part]
    place[last] = value
    file.write_text(json.dumps(table))


@pytest.mark.parametrize(("key", "value"), BAD, ids=lambda value: str(value)[:40])
def test_configurations(folder: Path, key: str, value: Any, recwarn: pytest.WarningsRecorder) -> None:
    rewrite(folder / "config.json", key, value)
    began = time.perf_counter()
    with pytest.raises(WeightsError) as error:
        load_clip(str(folder))
    assert time.perf_counter() - began < 5
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert not list(recwarn)


@pytest.mark.parametrize(
    "value", [[0.5, 0.5], [0, 0, 0], [0.5, 0.5, -1], ["x"] * 3, 7, None, [float("nan")] * 3, [10**400] * 3], ids=str
)
def test_image_statistics(folder: Path, value: Any) -> None:
    rewrite(folder / "preprocessor_config.json", "image_std", value)
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json"):
        load_clip(str(folder))


@pytest.mark.parametrize("token", [10**6, -1, 3.5, None, "x", 10**40])
def test_tokens_that_the_weights_do_not_know(folder: Path, token: Any) -> None:
    rewrite(folder / "vocab.json", "a</w>", token)
    with pytest.raises(WeightsError, match="tokenizer in"):
        load_clip(str(folder))
