"""DINO's towers: positions as their authors sample them, pixels beyond whole patches, folders that do not fit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from earthwords.errors import WeightsError
from earthwords.models.dino import DinoBackbone, load_dino
from tests import published


def positions_of_dino(table: Tensor, height: int, width: int, patch: int) -> Tensor:
    """`interpolate_pos_encoding` of facebookresearch/dino, of an image that is not of the trained size."""
    side = math.sqrt(table.shape[1] - 1)
    square = table[:, 1:].reshape(1, int(side), int(side), -1).permute(0, 3, 1, 2)
    scale = ((height // patch + 0.1) / side, (width // patch + 0.1) / side)
    return nn.functional.interpolate(square, scale_factor=scale, mode="bicubic").flatten(2)


@pytest.mark.parametrize(("height", "width"), [(48, 80), (32, 128), (64, 64), (64, 70)])
def test_positions(height: int, width: int) -> None:
    config = ViTConfig(hidden_size=8, num_hidden_layers=0, num_attention_heads=1, image_size=64, patch_size=16)
    model = ViTModel(config, add_pooling_layer=False)
    model.layernorm = nn.Identity()
    table = torch.randn(1, 17, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.embeddings.position_embeddings.copy_(table)
        for weight in model.embeddings.patch_embeddings.parameters():
            weight.zero_()
    found = DinoBackbone(model).encode_dense(torch.zeros(2, 3, height, width))
    assert found.shape == (2, 8, height // 16, width // 16)
    grid = (height // 16, width // 16)
    expected = table[:, 1:].transpose(1, 2) if grid == (4, 4) else positions_of_dino(table, height, width, 16)
    torch.testing.assert_close(found[1].flatten(1), expected[0])


@pytest.mark.parametrize("second", [False, True])
def test_pixels_that_fill_no_patch_are_not_seen(second: bool, tmp_path: Path) -> None:
    published.write_dino(tmp_path / "dino", second=second)
    found = load_dino(str(tmp_path / "dino"))
    pixels = torch.randn(2, 3, 3 * found.patch + 5, 4 * found.patch + 9, generator=torch.Generator().manual_seed(2))
    whole = pixels[..., : 3 * found.patch, : 4 * found.patch]
    assert found.encode_dense(pixels).shape == (2, found.dim, 3, 4)
    assert torch.equal(found.encode_dense(pixels), found.encode_dense(whole))
    with pytest.raises(WeightsError, match=f"patches of {found.patch} pixels, and the image has 9 x 200"):
        found.encode_dense(torch.zeros(1, 3, 200, 9))


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    folder = tmp_path / "dino"
    published.write_dino(folder, second=True)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))

    def refused(words: str, **changed: object) -> None:
        (folder / "config.json").write_text(json.dumps({**config, **changed}), encoding="utf-8")
        with pytest.raises(WeightsError, match=words):
            load_dino(str(folder))

    refused("of the kind 'clip'; DINO is vit, dinov2 or dinov3_vit", model_type="clip")
    refused("does not describe a DINO: 100000 layers", num_hidden_layers=100_000)
    refused("does not fit: [0-9]+ names missing", num_hidden_layers=3)
    refused("of another shape", hidden_size=48)
    (folder / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match="is not a folder of DINO"):
        load_dino(str(folder))
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    state = load_file(folder / "model.safetensors")
    state["layernorm.weight"][0] = float("nan")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(WeightsError, match="NaN or infinite"):
        load_dino(str(folder))
    with pytest.raises(WeightsError, match="is a file"):
        load_dino(str(folder / "model.safetensors"))
