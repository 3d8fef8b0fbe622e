"""Linear probes and few-shot against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from earthwords.errors import UsageError
from earthwords.evaluation.metrics import probes
from earthwords.evaluation.metrics.fewshot import draw, few_shot
from earthwords.evaluation.metrics.probes import cut, linear_probe, logistic, probe_sgd, sgd
from tests.evaluation.clouds import SIZES, cloud

MADE = cloud((61, 19, 44, 28), spread=0.7)
FIRST, REST = cut(MADE.labels, 0.6)
TRAIN, TEST = MADE.known(FIRST), MADE.known(REST)
CHOSEN, KEPT = (TRAIN.part(index) for index in cut(TRAIN.labels, 0.7, seed=5))


@pytest.fixture(autouse=True)
def few_decays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the optimum is well defined, so that two solvers meet."""
    monkeypatch.setattr(probes, "DECAYS", (1e-1, 1e-2, 1e-3, 1e-4))


def oracle(train: probes.LabelledVectors, decay: float) -> LogisticRegression:
    return LogisticRegression(C=1 / (decay * len(train)), tol=1e-6, max_iter=2_000).fit(
        train.vectors.astype(np.float64), train.labels
    )


@pytest.mark.parametrize("decay", [1e-1, 1e-3, 1e-5])
def test_logistic_regression_as_scikit_learn(decay: float) -> None:
    found, expected = logistic(TRAIN, classes=4, weight_decay=decay), oracle(TRAIN, decay)
    probability = np.exp(found(TEST.vectors))
    probability /= probability.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probability, expected.predict_proba(TEST.vectors.astype(np.float64)), atol=2e-3)
    assert found.accuracy(TEST) == pytest.approx(100 * expected.score(TEST.vectors, TEST.labels))


def test_settings_are_chosen_on_validation_and_then_both_are_learned() -> None:
    found = linear_probe(CHOSEN, KEPT, TEST, classes=4)
    scores = [100 * oracle(CHOSEN, decay).score(KEPT.vectors, KEPT.labels) for decay in probes.DECAYS]
    mine = [entry["accuracy"] for entry in found.tried]
    assert mine == pytest.approx(scores, abs=100 / len(KEPT) + 1e-9), "at most one image on a border"
    assert found.settings == {"weight_decay": probes.DECAYS[int(np.argmax(mine))]}
    assert found.selected_on == "validation" and "model" not in found.as_json()
    both = oracle(CHOSEN.with_also(KEPT), found.settings["weight_decay"])
    expected = 100 * both.score(TEST.vectors, TEST.labels)
    assert found.model.accuracy(TEST) == pytest.approx(expected, abs=100 / len(TEST) + 1e-9)


def test_selection_by_the_test_is_never_worse_and_says_so() -> None:
    honest = linear_probe(CHOSEN, KEPT, TEST, classes=4, refit=False)
    found = linear_probe(CHOSEN, None, TEST, classes=4, select="test")
    assert found.selected_on == "test"
    assert found.model.accuracy(TEST) == max(e["accuracy"] for e in found.tried) >= honest.model.accuracy(TEST)


def test_sgd_comes_near_the_optimum() -> None:
    found = sgd(TRAIN, classes=4, lr=0.8, weight_decay=1e-3, epochs=600)
    best = logistic(TRAIN, classes=4, weight_decay=1e-3)
    np.testing.assert_allclose(found.weight, best.weight - best.weight.mean(axis=0), atol=0.1)


def test_sgd_repeats_itself_and_draws_from_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "BATCH", 32)  # several batches, drawn
    first, again = (probe_sgd(CHOSEN, KEPT, classes=4, seed=4, epochs=12) for _ in range(2))
    assert np.array_equal(first.model.weight, again.model.weight) and first.tried == again.tried
    assert len(first.tried) == probes.DRAWS
    for entry in first.tried:
        assert entry["lr"] in probes.RATES and entry["weight_decay"] in probes.SGD_DECAYS
    chosen = probe_sgd(TRAIN, TEST, classes=4, seed=4, epochs=12, select="test")
    assert 1 <= chosen.settings["epoch"] <= 12
    assert chosen.model.accuracy(TEST) == max(e["accuracy"] for e in chosen.tried)


def test_the_grid_is_the_papers() -> None:
    assert sorted(probes.RATES)[0] == pytest.approx(0.01) and max(probes.RATES) == pytest.approx(0.8)
    assert len(probes.RATES) == 16 and len(probes.SGD_DECAYS) == 40
    assert min(probes.SGD_DECAYS) == pytest.approx(1e-9) and max(probes.SGD_DECAYS) == pytest.approx(8e-5)


def test_few_shot_as_scikit_learn() -> None:
    rows = few_shot(TRAIN, KEPT, TEST, classes=4, shots=(1, 4, 16), seeds=(7, 8))
    for row in rows:
        expected = []
        for seed in (7, 8):
            some = TRAIN.part(draw(TRAIN.labels, row["shots"], seed))
            judge = KEPT.part(draw(KEPT.labels, min(row["shots"], 4), seed))
            models = [oracle(some, decay) for decay in probes.DECAYS]
            best = models[int(np.argmax([m.score(judge.vectors, judge.labels) for m in models]))]
            expected.append(100 * best.score(TEST.vectors, TEST.labels))
        assert row["accuracies"] == pytest.approx(expected, abs=100 / len(TEST) + 1e-9), "one image on the border"
        assert row["mean"] == pytest.approx(np.mean(row["accuracies"]))
        assert row["std"] == pytest.approx(np.std(row["accuracies"], ddof=1))
    assert rows[0]["images"] == 4 and rows[2]["images"] == 3 * 16 + 11 and rows[2]["short"] == 1
    assert rows[0]["mean"] < rows[2]["mean"]


def test_shots_are_of_every_class_and_nested() -> None:
    few, more = draw(MADE.labels, 2, 1), draw(MADE.labels, 9, 1)
    assert np.bincount(MADE.labels[few]).tolist() == [2] * 4 and set(few) <= set(more)
    assert not np.array_equal(few, draw(MADE.labels, 2, 2))


def test_cuts_leave_something_of_every_class_on_either_side() -> None:
    labels = np.array([2, 0, 0, 2, 1, 2, 2, 0, 2])
    first, rest = cut(labels, 0.8)
    assert first.tolist() == [0, 1, 2, 3, 4, 5, 6] and rest.tolist() == [7, 8], "in order; one image cannot be cut"
    drawn, _ = cut(labels, 0.8, seed=1)
    assert len(drawn) == 7 and np.array_equal(drawn, cut(labels, 0.8, seed=1)[0])
    index = np.concatenate(cut(cloud().labels, 0.8, seed=9))
    assert sorted(index) == list(range(sum(SIZES)))


def test_probes_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="Did you mean 'logistic'"):
        linear_probe(CHOSEN, KEPT, TEST, classes=4, method="logstic")
    with pytest.raises(UsageError, match="needs validation images"):
        linear_probe(CHOSEN, None, TEST, classes=4)
    with pytest.raises(UsageError, match="needs train images"):
        linear_probe(CHOSEN.part(np.empty(0, int)), KEPT, TEST, classes=4)
    with pytest.raises(UsageError, match="images to select with"):
        linear_probe(CHOSEN, KEPT, TEST, classes=4, select="train")
    for wrong in ({"shots": (0, 1)}, {"shots": ()}, {"seeds": ()}):
        with pytest.raises(UsageError, match="shots of at least 1"):
            few_shot(CHOSEN, KEPT, TEST, classes=4, **wrong)
