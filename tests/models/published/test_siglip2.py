"""SigLIP and SigLIP 2 as they lie on the hub, small: fetched, loaded, and the numbers of transformers' own forward."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Siglip2Model, SiglipConfig, SiglipModel

from earthwords.errors import UsageError, WeightsError
from earthwords.models.clip.convert import filled
from earthwords.models.clip.model import DenseMethod
from earthwords.models.refseg.encoders import ClipWords
from earthwords.models.siglip.config import siglip_settings
from earthwords.models.siglip.model import SiglipBackbone
from earthwords.models.siglip.towers import Siglip
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.models.weights.table import WEIGHTS, load_clip
from tests import hub, published
from tests.models.published.conftest import no_sockets, small
from tests.models.published.test_weights import SIGLIPS
from tests.published_naflex import write_naflex
from tests.referring import _TOWER

WORDS = ["a road", "The Roof, left of the lake!", "roof " * 80]
GENERATOR = torch.Generator().manual_seed(7)
FETCHED = {"config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"}
ALONE = DenseMethod(attention="maskclip", keep_residual=True)


def write(folder: Path, name: str) -> Any:
    return write_naflex(folder) if name.endswith("naflex") else published.write_siglip(folder, second=True)


def pooled(model: Any, pixels: Tensor) -> Tensor:
    """The image embedding of transformers, of any shape."""
    if isinstance(model, SiglipModel):
        return model.get_image_features(pixel_values=pixels, interpolate_pos_encoding=True).pooler_output
    patch = model.config.vision_config.patch_size
    blocks = pixels.unfold(2, patch, patch).unfold(3, patch, patch)  # (batch, 3, rows, cols, patch, patch)
    flat = blocks.permute(0, 2, 3, 4, 5, 1).flatten(1, 2).flatten(2)
    rows, cols = blocks.shape[2:4]
    shapes = torch.tensor([[rows, cols]] * len(pixels))
    mask = torch.ones(flat.shape[:2], dtype=torch.int64)
    return model.get_image_features(pixel_values=flat, pixel_attention_mask=mask, spatial_shapes=shapes).pooler_output


def agrees(found: SiglipBackbone, model: SiglipModel | Siglip2Model) -> None:
    """It sees and reads as transformers' model does, squares and others."""
    side = found.patch * 4
    with torch.inference_mode():
        for shape in ((side, side), (side // 2, side // 2), (side, 2 * side), (3 * side // 4, side // 2)):
            pixels = torch.randn(2, 3, *shape, generator=GENERATOR)
            torch.testing.assert_close(found.encode_image(pixels), pooled(model, pixels), atol=2e-5, rtol=2e-5)
        ids = torch.from_numpy(found.tokenizer(WORDS))
        assert ids.shape == (3, 64) and (ids[:2, -1] == found.tokenizer.pad).all() and ids[2, -1] == found.tokenizer.end
        text = model.get_text_features(input_ids=ids).pooler_output
        torch.testing.assert_close(found.encode_text(WORDS), text, atol=2e-5, rtol=2e-5)
        assert (text[0] - text[1]).abs().max() > 1e-3
        assert found.logit_scale == pytest.approx(float(model.logit_scale.exp()))
        assert found.pair_bias == pytest.approx(float(model.logit_bias))
        one = torch.randn(1, 3, found.patch, found.patch, generator=GENERATOR)  # an image of one token is that token
        dense = found.encode_dense(one, ALONE).values.flatten(1)
        torch.testing.assert_close(dense, pooled(model, one), atol=2e-5, rtol=2e-5)


def test_sources() -> None:
    """All are read alike, so one of each layout is fetched below."""
    assert {WEIGHTS[name].source for name in SIGLIPS} == {f"google/{name}" for name in SIGLIPS}
    assert {WEIGHTS[name].licence for name in SIGLIPS} == {"Apache-2.0"}


@pytest.mark.parametrize("name", ["siglip2-base-patch16-224", "siglip2-base-patch16-naflex"])
def test_rows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write(tmp_path / "repository", name)
    small(name, monkeypatch)
    with hub.served({WEIGHTS[name].source: tmp_path / "repository"}, tmp_path / "hub", monkeypatch) as asked:
        load_clip(name)
        assert FETCHED <= asked.files <= {*FETCHED, "special_tokens_map.json"}
    with no_sockets(monkeypatch):
        found = load_clip(name, offline=True)
    assert isinstance(found, SiglipBackbone) and found.weights_id == name
    agrees(found, model)


def test_gated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says where to accept the licence and how to give a token; with the token it comes."""
    write(tmp_path / "repository", "siglip2")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with hub.served({"some/gated": tmp_path / "repository"}, tmp_path / "hub", monkeypatch, token="hf_abc") as asked:
        with pytest.raises(WeightsError) as error:
            load_clip("some/gated")
        told = str(error.value)
        assert told.startswith("some/gated is gated: accept its licence at https://huggingface.co/some/gated, make a")
        assert "HF_TOKEN" in told and "\n" not in told
        monkeypatch.setenv("HF_TOKEN", "hf_abc")
        load_clip("some/gated")
        assert asked.files >= FETCHED


def test_towers_of_different_widths() -> None:
    """The giant's text tower is narrower than its image tower, and ends in the joint space."""
    text = {**_TOWER, "hidden_size": 48, "num_attention_heads": 3, "vocab_size": 99, "projection_size": 32}
    vision = {**_TOWER, "image_size": 32, "patch_size": 16}
    model = published.spread(SiglipModel(SiglipConfig(vision_config=vision, text_config=text)))
    made = filled(siglip_settings(model.config.to_dict()), model.state_dict(), build=Siglip)
    ids = torch.randint(0, 99, (3, 64), generator=GENERATOR)
    with torch.inference_mode():
        found = SiglipBackbone(made).encode_tokens(ids)
        assert found.shape == (3, 32)
        torch.testing.assert_close(found, model.get_text_features(input_ids=ids).pooler_output, atol=2e-5, rtol=2e-5)


def test_siglip_without_2(tmp_path: Path) -> None:
    """English alone, by a tokenizer that drops punctuation."""
    model = published.write_siglip(tmp_path / "first")
    found = load_clip(str(tmp_path / "first"))
    assert isinstance(found, SiglipBackbone)
    agrees(found, model)
    assert found.lexicon is not None and "script" in str(found.lexicon.doubt("屋顶", "it"))
    assert (found.tokenizer(["The roof!"]) == found.tokenizer(["the roof"])).all()


def test_languages_and_case(tmp_path: Path) -> None:
    published.write_siglip(tmp_path / "second", second=True)
    found = load_clip(str(tmp_path / "second"))
    assert found.lexicon is not None
    assert found.lexicon.doubt("屋顶", "it") is None and found.lexicon.doubt("12", "it") == "holds no word"
    one, other, third = (found.tokenizer([text]) for text in ("The ROOF", "the roof", "the roof."))
    assert (one == other).all() and not (other == third).all()


@pytest.mark.parametrize("attention", ["vanilla", "maskclip", "sclip", "gem", "clearclip", "naclip", "segearth"])
def test_every_attention_in_the_head(attention: str, tmp_path: Path) -> None:
    """Each gives a map of its own, of oblong windows too; the class token is the pooled image."""
    published.write_siglip(tmp_path / "second", second=True)
    found = load_clip(str(tmp_path / "second"))
    pixels = torch.randn(2, 3, 32, 80, generator=GENERATOR)
    with torch.inference_mode():
        dense = found.encode_dense(pixels, DenseMethod(attention=attention))
        plain = found.encode_dense(pixels, DenseMethod(attention="maskclip"))
        assert dense.values.shape == (2, found.dim, 2, 5)
        assert torch.equal(dense.values, plain.values) == (attention == "maskclip")
        torch.testing.assert_close(dense.cls, found.encode_image(pixels))
        single, _ = found.encode_guided(pixels, ALONE)
        torch.testing.assert_close(single.values, found.encode_dense(pixels, ALONE).values)
        assert [tuple(level.shape) for level in found.encode_levels(pixels)] == [
            (2, width, 2, 5) for width in found.level_widths
        ]
        first, mixed = found.encode_mixed(pixels, ALONE, images=1)
        torch.testing.assert_close(first, found.encode_image(pixels[:1]))
        torch.testing.assert_close(mixed.values, found.encode_dense(pixels[1:], ALONE).values)
        assert found.encode_penultimate(pixels).values.shape == (2, found.dim, 2, 5)


def test_what_a_siglip_does_not_do(tmp_path: Path) -> None:
    published.write_siglip(tmp_path / "second", second=True)
    found = load_clip(str(tmp_path / "second"))
    with pytest.raises(UsageError, match="last_n must be 1, got 2"):
        found.encode_dense(torch.zeros(1, 3, 32, 32), DenseMethod(last_n=2))
    with pytest.raises(UsageError, match=r"Referring is made for CLIPs, and .* is a SigLIP"):
        ClipWords(found, side=64)


def test_hashes_of_towers(tmp_path: Path) -> None:
    published.write_siglip(tmp_path / "one", second=True)
    found = load_clip(str(tmp_path / "one"))
    vision, text = tower_hash(found, "vision"), tower_hash(found, "text")
    with torch.no_grad():
        found._head.probe += 1
    assert tower_hash(found, "vision") != vision and tower_hash(found, "text") == text


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_hidden_layers", 10**9), ("patch_size", 0), ("image_size", 7), ("layer_norm_eps", 5.0), ("hidden_size", 7)],
)
def test_settings_that_lie(key: str, value: float, tmp_path: Path) -> None:
    """One sentence, before anything of a size that they claim is made."""
    published.write_siglip(tmp_path / "one", second=True)
    table = json.loads((tmp_path / "one" / "config.json").read_text())
    table["vision_config"][key] = value
    (tmp_path / "one" / "config.json").write_text(json.dumps(table))
    with pytest.raises(WeightsError, match=r"SigLIP|does not fit"):
        load_clip(str(tmp_path / "one"))
