"""`change --network`: a trained network says where, the words what, and its card what it is worth."""

# ruff: noqa: F811  (fixtures of another file are arguments here)

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from earthwords.errors import Caution, WeightsError
from earthwords.models.change.card import network_note
from earthwords.models.change.folder import make_network, store_network
from earthwords.models.change.network import ChangeSettings
from earthwords.models.weights.fingerprint import tower_hash
from earthwords.models.weights.table import load_clip
from tests.conftest import Command
from tests.tasks.test_change import WORDS, after, before  # noqa: F401, fixtures


def test_a_network_says_where_and_the_words_what(
    micro: Path, command: Command, before: Path, after: Path, tmp_path: Path
) -> None:
    """Its own threshold holds unless another is given, and 0 of it calls everything changed."""
    network = make_network(ChangeSettings(tuning="frozen", width=8), load_clip(str(micro)), seed=4)
    base = tower_hash(network.backbone, "vision")
    store_network(network, tmp_path / "net", encoder=str(micro), base=base, threshold=1.0, notes={})
    how = ["--model", micro, "--tile-size", 64, "--device", "cpu", "--offline", "--quiet", "--json"]
    how += ["--network", tmp_path / "net"]
    done = command("change", before, after, tmp_path / "none.tif", *WORDS, *how)
    assert done.code == 0 and json.loads(done.out)["changed_share"] == 0, done.err
    unknown = f"The network {tmp_path / 'net'} was never measured on held-out pairs: what it is worth is unknown."
    assert unknown in json.loads(done.out)["notes"]
    command("change", before, after, tmp_path / "strict.tif", *WORDS, *how, "--strict").failed(2, "never measured")
    done = command("change", before, after, tmp_path / "all.tif", *WORDS, *how, "--threshold", 0)
    assert done.code == 0 and json.loads(done.out)["changed_share"] == 1, done.err
    with rasterio.open(tmp_path / "all.tif") as made:
        assert made.tags()["EARTHWORDS_METHOD"] == "learned" and "net" in made.tags()["EARTHWORDS_NETWORK"]
        assert len(np.unique(made.read(1))) == 1  # one connected change, from one class to one class
    store_network(network, tmp_path / "net", encoder=str(micro), base=base, threshold=0.0, notes={})
    done = command("change", before, after, tmp_path / "anew.tif", *WORDS, *how)
    assert done.code == 0 and json.loads(done.out)["changed_share"] == 1, done.err  # trained anew, it is loaded anew


@pytest.mark.parametrize(("f1", "weak"), [(33.7, True), (81.2, False)])
def test_what_a_network_was_worth(f1: float, weak: bool, tmp_path: Path) -> None:
    card = {"held_out": {"pairs": 40, "f1": f1, "iou": 21.4}}
    (tmp_path / "change.json").write_text(json.dumps(card))
    note = network_note(str(tmp_path))
    assert note == f"The network {tmp_path} had F1 {f1:.0f} % (IoU 21 %) on 40 held-out pairs."
    assert isinstance(note, Caution) is weak
    (tmp_path / "change.json").write_text('{"held_out": {"pairs": 40}}')
    with pytest.raises(WeightsError, match="is not a network of `train change`"):
        network_note(str(tmp_path))
