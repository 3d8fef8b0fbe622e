"""SAM 3 from folders: what the hub has, what transformers saves, and what is neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam3Model

from earthwords.errors import WeightsError
from earthwords.models.sam3.load import load_sam3
from earthwords.models.sam3.network import EPS, Sam3Backbone
from earthwords.models.weights.table import WEIGHTS
from tests import hub
from tests.models.published.conftest import no_sockets
from tests.sam3 import SIDE, write_sam3

PIXELS = torch.randn((2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(3)).clamp(-1, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sam3(tmp_path_factory.mktemp("weights") / "sam3")


@pytest.fixture(scope="module")
def network(folder: Path) -> Sam3Backbone:
    return load_sam3(str(folder))


def maps(network: Sam3Backbone, words: list[str]) -> torch.Tensor:
    features, positions = network.see(PIXELS[:1])
    return network.answers((features, positions), network.encode_prompts(words)).semantic


def test_the_detector_alone_and_within_a_tracker_are_the_same(network: Sam3Backbone, tmp_path: Path) -> None:
    other = load_sam3(str(write_sam3(tmp_path / "detector", video=False)))
    assert torch.equal(maps(network, ["road", "water"]), maps(other, ["road", "water"]))


def test_the_row_of_the_table(network: Sam3Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the names of files that the hub has; what follows videos is not asked for a second time."""
    write_sam3(tmp_path / "repository")
    (tmp_path / "repository" / "sam3.pt").write_bytes(b"large")
    with hub.served({WEIGHTS["sam3"].source: tmp_path / "repository"}, tmp_path / "hub", monkeypatch) as asked:
        load_sam3("sam3")
        assert {"config.json", "model.safetensors"} <= asked.files and "sam3.pt" not in asked.files
    with no_sockets(monkeypatch):
        assert torch.equal(maps(load_sam3("sam3", offline=True), ["road"]), maps(network, ["road"]))


def test_it_differs_from_transformers_by_the_geometry_token(network: Sam3Backbone) -> None:
    words = ["road", "old house"]
    tokenizer = network.tokenizer
    assert tokenizer is not None
    ids = torch.from_numpy(tokenizer(words, truncate=False))
    valid = (torch.cumsum(ids == tokenizer.end, dim=1) - (ids == tokenizer.end).long()) == 0
    with torch.no_grad():
        bare = network.model(pixel_values=PIXELS[:1].expand(2, -1, -1, -1), input_ids=ids, attention_mask=valid.long())
    found = maps(network, words)
    assert bare.semantic_seg[:, 0].shape == found.shape
    assert float((bare.semantic_seg[:, 0] - found).abs().max()) > 0.01
    assert network.model.vision_encoder.backbone.layer_norm.eps == EPS


def test_prompts_answer_for_themselves(network: Sam3Backbone) -> None:
    """Whatever else is asked for, and whether words are long or short."""
    together = maps(network, ["road", "a very old house", "water"])
    for i, word in enumerate(["road", "a very old house", "water"]):
        assert torch.allclose(maps(network, [word])[0], together[i], atol=1e-5)
    assert float((together[0] - together[2]).abs().max()) > 0.01
    assert network.encode_prompts(["road"]).shape == (1, network.dim)


def test_windows_of_another_size_are_stretched_in_bytes(network: Sam3Backbone) -> None:
    grey = torch.randint(0, 256, (1, 3, 40, 56), generator=torch.Generator().manual_seed(1)).float()
    seen, _ = network.see(grey / 127.5 - 1)
    stretched = torch.nn.functional.interpolate(grey, (SIDE, SIDE), mode="bilinear", antialias=True).round() / 127.5 - 1
    expected, _ = network.see(stretched)
    assert all(torch.equal(one, other) for one, other in zip(seen, expected, strict=True))


def test_what_is_no_sam3(folder: Path, tmp_path: Path, micro: Path) -> None:
    with pytest.raises(WeightsError, match="holds a model of the kind 'clip', not a SAM 3"):
        load_sam3(str(micro))
    for name, change, words in (
        ("less", lambda state: state.pop("detector_model.text_projection.bias"), "text_projection.bias"),
        ("shape", lambda state: state.update({"detector_model.text_projection.bias": torch.zeros(5)}), "text_proj"),
    ):
        state = load_file(folder / "model.safetensors")
        change(state)
        broken = tmp_path / name
        write_sam3(broken)
        save_file(state, broken / "model.safetensors")
        with pytest.raises(WeightsError, match=words):
            load_sam3(str(broken))
    deep = write_sam3(tmp_path / "deep")
    config = json.loads((deep / "config.json").read_text())
    config["detector_config"]["detr_encoder_config"]["num_layers"] = 10**6
    (deep / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="does not describe a SAM 3: layers"):
        load_sam3(str(deep))
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no checkpoint of the authors of SAM 3"):
        load_sam3(str(tmp_path / "other.safetensors"))


def test_transformers_reads_the_folder_too(network: Sam3Backbone, tmp_path: Path) -> None:
    """So that its names are those of the library, not of this test."""
    network.model.save_pretrained(tmp_path)
    again = Sam3Model.from_pretrained(tmp_path, local_files_only=True)
    assert again.state_dict().keys() == network.model.state_dict().keys()
