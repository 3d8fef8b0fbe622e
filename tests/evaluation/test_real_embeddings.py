"""Two real models on WHU-RS19: the published accuracies, and scikit-learn on the same vectors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from earthwords.evaluation.embeddings import StoredEmbeddings, read_stored
from earthwords.evaluation.metrics.fewshot import draw
from earthwords.evaluation.metrics.knn import NEIGHBOURS, TEMPERATURE, vote
from earthwords.evaluation.metrics.probes import logistic
from earthwords.evaluation.metrics.zeroshot import ENSEMBLES
from earthwords.evaluation.suite import TASKS, SuiteOptions, thirds
from earthwords.models.fewshot import HEADS
from earthwords.models.fewshot.linear_head import accuracy as percent
from earthwords.models.fewshot.linear_head import shot_set
from earthwords.text.templates import TEMPLATES
from tests.conftest import ROOT
from tests.parity.fewshot import thirds as stored_thirds
from tests.parity.fewshot import whu

MODELS = {"clip_vit-b-32": "CLIP ViT-B-32", "remoteclip_vit-b-32": "RemoteCLIP ViT-B-32"}


@pytest.fixture(scope="module")
def folder() -> Path:
    found = Path(os.environ.get("EARTHWORDS_DATA", ROOT.parent / "shared" / "data")) / "whu_rs19_embeddings"
    if not found.is_dir():
        pytest.skip(f"no real embeddings in {found}; set EARTHWORDS_DATA")
    return found


@pytest.fixture(scope="module")
def stored(folder: Path) -> dict[str, StoredEmbeddings]:
    return {each.model: each for each in read_stored(folder)}


def test_the_prompts_are_those_of_the_vectors(folder: Path) -> None:
    with safe_open(folder / "clip_vit-b-32.safetensors", "np") as file:
        listed = json.loads(file.metadata()["templates"])
    assert sorted(template.removesuffix(" {}") for template in TEMPLATES["rs-transclip"]) == sorted(listed)


@pytest.mark.parametrize("ensemble", ENSEMBLES)
@pytest.mark.parametrize("model", MODELS)
def test_published_accuracies(folder: Path, stored: dict[str, StoredEmbeddings], model: str, ensemble: str) -> None:
    expected = json.loads((folder / "reference.json").read_text())["reference"][MODELS[model]]
    options = SuiteOptions(ensemble=ensemble)
    assert TASKS["zero-shot"].run(stored[model], options)["top1"] == pytest.approx(expected["zero_shot_top1"], abs=1e-6)
    found = TASKS["transductive"].run(stored[model], options)
    assert found["top1"] == pytest.approx(expected["transductive_top1"], abs=1e-6)
    assert found["images"] == "all 1,005"


@pytest.mark.parametrize("model", MODELS)
def test_neighbours_and_probes_as_scikit_learn(stored: dict[str, StoredEmbeddings], model: str) -> None:
    train, validation, test, _ = thirds(stored[model], SuiteOptions())
    both = train.with_also(validation)
    assert len(both) + len(test) == 1005
    oracle = KNeighborsClassifier(
        NEIGHBOURS, metric="cosine", weights=lambda distance: np.exp((1 - distance) / TEMPERATURE)
    ).fit(both.vectors, both.labels)
    scores = vote(test.vectors, both.vectors, both.labels, classes=19)
    assert np.array_equal(scores.argmax(axis=1), oracle.predict(test.vectors))
    few = both.part(draw(both.labels, 4, 0))
    for known, decay in ((both, 1e-3), (few, 1e-4)):
        line = LogisticRegression(C=1 / (decay * len(known)), max_iter=2000).fit(
            known.vectors.astype(np.float64), known.labels
        )
        found = logistic(known, classes=19, weight_decay=decay)(test.vectors).argmax(axis=1)
        assert (found == line.predict(test.vectors.astype(np.float64))).mean() > 0.995


AUTHORS = {
    ("clip_vit-b-32", "tip"): {1: 87.92, 4: 90.00, 16: 92.08},
    ("clip_vit-b-32", "lp++"): {1: 88.33, 4: 93.33, 16: 97.92},
    ("clip_vit-b-32", "linear"): {1: 83.33},
    ("remoteclip_vit-b-32", "tip"): {1: 93.75, 4: 95.00, 8: 94.58},
    ("remoteclip_vit-b-32", "lp++"): {1: 97.50, 4: 98.33, 8: 97.08},
    ("remoteclip_vit-b-32", "tip-f"): {4: 97.92},
}
"""Percent of 240 test images by the authors' functions on these vectors; `tip-f` has its epoch selected on them."""


@pytest.mark.parametrize(("model", "method"), AUTHORS)
def test_few_shot_heads_as_their_authors(folder: Path, model: str, method: str) -> None:
    known = whu(model)
    for shots, expected in AUTHORS[model, method].items():
        rows = stored_thirds(known["labels"], shots)
        train, validation, test = ((known["images"][index], known["labels"][index]) for index in rows)
        chosen = {"chosen_on": test} if method == "tip-f" else {}
        head = HEADS[method](shot_set(*train, known["words"]), validation=validation, **chosen)
        assert len(test[1]) == 240
        assert percent(head.logits(test[0]), test[1]) == pytest.approx(expected, abs=100 / 240 + 0.01), "one image"
