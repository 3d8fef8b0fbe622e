"""MetaCLIP 2 as it lies on the hub, small: its numbers are those of transformers' own forward, its words any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from earthwords.errors import UsageError, WeightsError
from earthwords.models.clip.model import DenseMethod
from earthwords.models.metaclip2.model import MetaClip2Backbone
from earthwords.models.refseg.encoders import ClipWords
from earthwords.models.weights.languages import reads_any_language
from earthwords.models.weights.table import WEIGHTS, load_clip
from tests import hub
from tests.models.published.conftest import no_sockets, small
from tests.models.published.test_weights import METACLIPS
from tests.published_metaclip2 import tokenizer, write_metaclip2

WORDS = ["a road", "The Roof, left of the lake!", "道路", "屋顶 water 草地", "", "  two   spaces ", "road " * 40]
GENERATOR = torch.Generator().manual_seed(7)


def test_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows are read alike."""
    assert {WEIGHTS[name].source for name in METACLIPS} == {f"facebook/{name}" for name in METACLIPS}
    name = METACLIPS[0]
    model = write_metaclip2(tmp_path / "repository")
    small(name, monkeypatch)
    with hub.served({WEIGHTS[name].source: tmp_path / "repository"}, tmp_path / "hub", monkeypatch):
        load_clip(name)
    with no_sockets(monkeypatch):
        found = load_clip(name, offline=True)
    assert isinstance(found, MetaClip2Backbone) and found.weights_id == name
    own = tokenizer()
    expected = own(WORDS, padding="max_length", truncation=True, max_length=24, return_tensors="pt").input_ids
    assert torch.equal(torch.from_numpy(found.tokenizer(WORDS, truncate=False)), expected)
    with torch.inference_mode():
        for shape in ((64, 64), (64, 64)):
            pixels = torch.randn(2, 3, *shape, generator=GENERATOR)
            image = model.get_image_features(pixel_values=pixels).pooler_output
            torch.testing.assert_close(found.encode_image(pixels), image, atol=2e-5, rtol=2e-5)
        text = model.get_text_features(input_ids=expected).pooler_output
        torch.testing.assert_close(found.encode_text(WORDS), text, atol=2e-5, rtol=2e-5)
        assert (text[2] - text[3]).abs().max() > 1e-3
        assert found.encode_dense(torch.randn(1, 3, 32, 80), DenseMethod()).values.shape == (1, 16, 2, 5)


def test_it_reads_any_language(tmp_path: Path, micro: Path) -> None:
    write_metaclip2(tmp_path / "one")
    found = load_clip(str(tmp_path / "one"))
    assert found.any_language and found.lexicon is not None and found.lexicon.doubt("道路", "it") is None
    assert all(map(reads_any_language, (str(tmp_path / "one"), METACLIPS[0], f"facebook/{METACLIPS[0]}")))
    assert not any(map(reads_any_language, (str(micro), "tiny", f"soup:{micro},{tmp_path / 'one'}", "nobody/knows")))
    with pytest.raises(UsageError, match="Referring is made for CLIPs"):
        ClipWords(found, side=64)


def test_another_end_than_the_weights_read_at(tmp_path: Path) -> None:
    write_metaclip2(tmp_path / "one")
    table = json.loads((tmp_path / "one" / "config.json").read_text())
    table["text_config"]["eos_token_id"] = 5
    (tmp_path / "one" / "config.json").write_text(json.dumps(table))
    with pytest.raises(WeightsError, match=r"ends a text with token 2, config\.json reads it at token 5"):
        load_clip(str(tmp_path / "one"))
    (tmp_path / "one" / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}, "merges": []}}')
    with pytest.raises(WeightsError, match="not that of MetaCLIP 2"):
        load_clip(str(tmp_path / "one"))
