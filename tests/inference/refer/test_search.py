"""Which matches count, whatever the order in which views are done; what a journal keeps of them; one core a view."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from earthwords.geo.scene import open_scene
from earthwords.inference.refer.match import Match, ViewMatches
from earthwords.inference.refer.pyramid import View
from earthwords.inference.refer.referrer import Referrer
from earthwords.inference.refer.search import KEPT, Candidates
from earthwords.types import Window
from tests.micro import patchwork

WIDE = (False, True)


def match(sentence: int, *, level: int = 0, score: float = 0.5, similarity: float = 0.25, seed: int = 0) -> Match:
    window = Window(row=3, col=40, height=20, width=30)
    core = Window(row=5, col=44, height=7, width=11)
    probability = np.random.default_rng(seed).random((7, 11)).astype(np.float16)
    view = View(shape=(90, 130), window=window, core=core, level=level)
    return Match(
        sentence=sentence, view=view, part=core, probability=probability, score=score, similarity=similarity,
        presence=score / 2,
    )  # fmt: skip


def offers() -> Iterator[tuple[int, Match]]:
    """Of 40 views of three levels: number and match; some are equally good."""
    rng = np.random.default_rng(4)
    for number in range(40):
        for sentence in range(len(WIDE)):
            if rng.random() < 0.7:
                yield number, match(sentence, level=number // 20, score=round(0.5 + rng.random() / 2, 1))


@pytest.mark.parametrize("seed", range(5))
def test_candidates_do_not_depend_on_the_order(seed: int) -> None:
    offered = list(offers())
    candidates = Candidates(WIDE)
    kept = [offered[i] for i in np.random.default_rng(seed).permutation(len(offered)) if candidates.offer(*offered[i])]
    again = Candidates(WIDE)
    assert all(again.offer(*one) for one in kept), "what was dropped changes nothing"
    wanted = []
    for sentence, wide in enumerate(WIDE):
        own = [(m.view.level if wide else 0, m.rank, -number) for number, m in offered if m.sentence == sentence]
        top = sorted(own, reverse=True)[:KEPT]
        wanted += [f"sentence {sentence} in view {-minus}" for level, _, minus in top if level == top[0][0]]
    assert list(candidates.chosen()) == list(again.chosen()) == wanted
    assert len(kept) < len(offered), "few are remembered"


def test_what_was_found_comes_back_from_its_bytes() -> None:
    found = ViewMatches(
        matches=(match(0, seed=1, score=1 / 3), match(7, level=2, seed=2)), failures=("rows 0..7: \u00fc",)
    )
    back = ViewMatches.from_bytes(found.to_bytes())
    assert back.failures == found.failures and len(back.matches) == 2
    for one, other in zip(back.matches, found.matches, strict=True):
        assert {**vars(one), "probability": None} == {**vars(other), "probability": None}
        assert one.probability.dtype == np.float16 and (one.probability == other.probability).all()
    nothing = ViewMatches(matches=())
    assert ViewMatches.from_bytes(nothing.to_bytes()) == nothing


@pytest.fixture
def two_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_bits_do_not_depend_on_the_cores(two_cores: None) -> None:
    referrer = Referrer.from_preset("refseg-tiny", device="cpu")
    assert referrer.threads == 2
    found = []
    for cores in (2, 1):
        torch.set_num_threads(cores)
        with open_scene(patchwork(200, 300)) as scene:
            found.append(referrer.find(scene, ["the lake", "a red roof at the top"], every=True, threshold=0.2))
    assert len(found[0]) == len(found[1]) > 1
    for one, other in zip(*found, strict=True):
        assert (one.sentence, one.view, one.score, one.similarity) == (
            other.sentence, other.view, other.score, other.similarity,
        )  # fmt: skip
        np.testing.assert_array_equal(one.probability, other.probability)
