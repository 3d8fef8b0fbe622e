"""Few-shot heads where the published formulas say nothing: unequal classes, classes without words, many examples.

What the formulas do say is compared with the authors' code in `tests/parity/fewshot.py`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.models.fewshot import HEADS, LinearHead, fit_linear_probe, fit_lp_plus, fit_prototypes
from earthwords.models.fewshot.coop import PLACES, assemble
from earthwords.models.fewshot.linear_head import TYPICAL_COSINE, accuracy, shot_set
from earthwords.models.fewshot.linear_probe import GRID, search_strength
from earthwords.models.fewshot.tip_adapter import TipAdapterHead, search

DIM = 48
SIZES = (3, 40, 150)


def made(sizes: tuple[int, ...], seed: int = 0, noise: float = 0.8) -> tuple[Tensor, Tensor, Tensor]:
    """Features, classes and words as CLIP's are: images resemble each other far more than they do any word."""
    fixed, drawn = torch.Generator().manual_seed(7), torch.Generator().manual_seed(seed)
    common, gap = (F.normalize(torch.randn(DIM, generator=fixed), dim=0) for _ in range(2))
    centres = torch.randn(len(sizes), DIM, generator=fixed) / DIM**0.5
    words = F.normalize(2 * gap + common + 0.4 * centres, dim=1)
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    own = centres[labels] + noise * torch.randn(len(labels), DIM, generator=drawn) / DIM**0.5
    return F.normalize(2 * common + own, dim=1), labels, words


X, Y, WORDS = made(SIZES)
TEST = made((60, 60, 60), seed=1)[:2]


@pytest.mark.parametrize("name", HEADS)
def test_examples_help_where_words_are_weak(name: str) -> None:
    """Two words were exchanged, as where a word means another thing in the model than on the ground."""
    wrong = WORDS[[1, 0, 2]]
    before = accuracy(TEST[0] @ wrong.T, TEST[1])
    head = HEADS[name](shot_set(*made((8, 8, 8), seed=3)[:2], wrong), validation=made((4, 4, 4), seed=4)[:2], seed=0)
    assert before < 50 < 85 < accuracy(head.logits(TEST[0]), TEST[1])


@pytest.mark.parametrize("name", HEADS)
def test_a_class_without_a_word_is_found_and_takes_nothing_from_others(name: str) -> None:
    few = made((12, 12, 12), seed=5)[:2]
    nothing = WORDS.clone()
    nothing[1] = 0
    head = HEADS[name](shot_set(*few, nothing, has_words=torch.tensor([True, False, True])), seed=0)
    found = head.logits(TEST[0]).argmax(dim=1)
    shares = [float((found[TEST[1] == k] == k).float().mean()) for k in range(3)]
    assert min(shares) > 0.7, shares


def test_what_stands_in_for_a_word_fits_as_words_do() -> None:
    known = torch.tensor([True, False, True])
    nothing = WORDS.clone()
    nothing[1] = 5.0  # is not read
    shots = shot_set(X, Y, nothing, has_words=known)
    own = torch.stack([(X[k == Y] @ shots.words[k]).mean() for k in range(3)])
    assert float(own[1]) == pytest.approx(float(own[[0, 2]].mean()), rel=1e-5)
    assert torch.equal(shots.words[known], WORDS[known])
    none = shot_set(X, Y, nothing, has_words=torch.zeros(3, dtype=torch.bool))
    fit = torch.stack([(X[k == Y] @ none.words[k]).mean() for k in range(3)])
    assert fit.tolist() == pytest.approx([TYPICAL_COSINE] * 3, rel=1e-5)


@pytest.mark.parametrize("name", ["prototypes", "tip", "lp++", "taskres", "linear"])
def test_an_example_that_counts_twice_is_an_example_given_twice(name: str) -> None:
    x, y, words = made((30, 20, 25), seed=6)
    weights = torch.ones(len(y))
    weights[[2, 33, 60]] = 2.0
    again = torch.tensor([2, 33, 60])
    once = HEADS[name](shot_set(x, y, words, weights=weights), seed=0).logits(TEST[0])
    twice = HEADS[name](shot_set(torch.cat([x, x[again]]), torch.cat([y, y[again]]), words), seed=0)
    twice = twice.logits(TEST[0])
    if name == "tip":  # sums of votes; weights are of mean 1
        by_words = 100 * TEST[0] @ words.T
        once, twice = once - by_words, (twice - by_words) * len(y) / (len(y) + 3)
    loose = 0.04 if name == "linear" else 2e-3  # whose solver stops early
    torch.testing.assert_close(once, twice, rtol=loose, atol=loose)


def test_lp_plus_with_thousands_of_unequal_classes_examples() -> None:
    """Every class counting the same, the rare one is found; without, it is not lost altogether."""
    x, y, words = made((2_500, 20, 900), seed=2, noise=1.2)
    balanced = (1 / torch.bincount(y).float())[y]
    found = fit_lp_plus(shot_set(x, y, words, weights=balanced), seed=0).logits(TEST[0]).argmax(dim=1)
    rare = float((found[TEST[1] == 1] == 1).float().mean())
    assert rare > 0.9
    plain = fit_lp_plus(shot_set(x, y, words), seed=0)
    assert bool(plain.weight.isfinite().all()) and accuracy(plain.logits(x), y) > 97


def test_lp_plus_stays_within_bounds_where_classes_cannot_be_told_apart() -> None:
    x, y, words = made((400, 400), seed=2)
    drawn = torch.Generator().manual_seed(0)
    head = fit_lp_plus(shot_set(x, y[torch.randperm(len(y), generator=drawn)], words), seed=0)
    logits = head.logits(x)
    assert bool(logits.isfinite().all())
    assert float(F.cross_entropy(logits, y)) < 3


def test_validation_chooses_the_last_of_the_best_epochs() -> None:
    x, y, words = made((4, 4, 4), seed=8, noise=1.5)
    judge = made((9, 9, 9), seed=9, noise=1.5)[:2]
    heads = [fit_lp_plus(shot_set(x, y, words), epochs=n, seed=3) for n in range(1, 41)]
    found = [accuracy(head.logits(judge[0]), judge[1]) for head in heads]
    last = max(i for i, each in enumerate(found) if each == max(found))
    chosen = fit_lp_plus(shot_set(x, y, words), epochs=40, seed=3, validation=judge)
    torch.testing.assert_close(chosen.weight, heads[last].weight)
    assert not torch.equal(chosen.bias, fit_lp_plus(shot_set(x, y, words), epochs=40, seed=4, validation=judge).bias)


def test_the_search_takes_the_first_of_equal_ones_and_never_the_upper_end() -> None:
    x, y, words = made((3, 3, 3), seed=1, noise=0.01)
    head = TipAdapterHead(words=words, keys=x, values=F.one_hot(y).float())
    found = search(head, (x, y), scale=(3.1, 2.1), steps=(3, 2))
    assert (found.beta, found.alpha) == (0.1, 0.1)
    tried = [(b, a) for b in (0.1, 1.1, 2.1) for a in (0.1, 1.1)]
    judge = made((30, 30, 30), seed=2, noise=2.5)[:2]
    few = made((2, 2, 2), seed=4, noise=2.5)[:2]
    head = TipAdapterHead(words=words[[1, 0, 2]], keys=few[0], values=F.one_hot(few[1]).float())
    by_hand = {}
    for beta, alpha in tried:
        votes = np.exp(-beta * (1 - judge[0].numpy() @ few[0].numpy().T)) @ np.eye(3)[few[1]]
        logits = 100 * judge[0].numpy() @ words[[1, 0, 2]].numpy().T + alpha * votes
        by_hand[beta, alpha] = (logits.argmax(axis=1) == judge[1].numpy()).sum()
    best = max(tried, key=lambda pair: by_hand[pair])
    found = search(head, judge, scale=(3.1, 2.1), steps=(3, 2))
    assert (found.beta, found.alpha) == pytest.approx(best)


def test_the_linear_probe_is_scikit_learns() -> None:
    weights = torch.linspace(0.5, 2, len(Y))
    head = fit_linear_probe(shot_set(X, Y, WORDS, weights=weights))
    each = (weights / weights.mean()).numpy()
    oracle = LogisticRegression(C=100.0, max_iter=1000).fit(X.double().numpy(), Y.numpy(), each)
    expected = oracle.predict_proba(TEST[0].double().numpy())
    np.testing.assert_allclose(head.logits(TEST[0]).softmax(dim=1).numpy(), expected, atol=5e-3)


def test_the_strength_is_searched_for_around_the_first_peak() -> None:
    chosen, tried = search_strength(lambda strength: -abs(np.log10(strength) - 2.2))
    assert tuple(tried[:7]) == GRID and tried[7:9] == [10.0, 1000.0] and len(tried) == 7 + 16
    assert chosen == pytest.approx(10**2.2, rel=0.1)
    level, _ = search_strength(lambda strength: 1.0)
    assert level == 1e5, "of equal ones the largest of the grid, and then the left"


def test_prototypes_are_means() -> None:
    head = fit_prototypes(shot_set(X, Y, WORDS))
    for k in range(3):
        mean = X[k == Y].double().mean(dim=0)
        torch.testing.assert_close(head.weight[k].double(), 100 * mean / mean.norm(), rtol=1e-5, atol=1e-5)
    assert isinstance(head, LinearHead) and head.weight.dtype == torch.float32


def test_what_cannot_be_learned_from_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="Class 1 has no example"):
        shot_set(X[Y != 1], Y[Y != 1], WORDS)
    with pytest.raises(UsageError, match="needs two or more; there is 1"):
        shot_set(X[:3], Y[:3], WORDS[:1])
    with pytest.raises(UsageError, match="Labels must be from 0 to 1, got 0 to 2"):
        shot_set(X, Y, WORDS[:2])
    with pytest.raises(UsageError, match=r"do not fit words of shape \(3, 47\)"):
        shot_set(X, Y, WORDS[:, :47])
    with pytest.raises(UsageError, match="not finite"):
        shot_set(torch.where(torch.arange(DIM) == 5, torch.nan, X), Y, WORDS)
    with pytest.raises(UsageError, match="193 numbers above 0"):
        shot_set(X, Y, WORDS, weights=torch.zeros(len(Y)))


def test_prompts_of_a_context_of_their_own() -> None:
    """Every class its own context, names of unequal lengths; numbers tell where a token came from."""
    embedded = torch.arange(2 * 9).float().reshape(2, 9, 1)
    context = -torch.arange(1.0, 7).reshape(2, 3, 1)
    rows = {place: assemble(embedded, context, [1, 3], place)[..., 0].tolist() for place in PLACES}
    assert rows["end"] == [[0, -1, -2, -3, 4, 5, 6, 7, 8], [9, -4, -5, -6, 13, 14, 15, 16, 17]]
    assert rows["middle"] == [[0, -1, 4, -2, -3, 5, 6, 7, 8], [9, -4, 13, 14, 15, -5, -6, 16, 17]]
    assert rows["front"] == [[0, 4, -1, -2, -3, 5, 6, 7, 8], [9, 13, 14, 15, -4, -5, -6, 16, 17]]
    with pytest.raises(UsageError, match="not 'back'"):
        assemble(embedded, context, [1, 3], "back")
