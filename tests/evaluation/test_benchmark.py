"""Counts, figures, and pictures of a benchmark, against numpy written out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import distance_transform_cdt

from earthwords.data.segmentation.spec import find_spec
from earthwords.evaluation.benchmark.counts import CountingRule, Counts, at
from earthwords.evaluation.benchmark.examples import DARK, LIGHT, fitted, painted
from earthwords.evaluation.benchmark.scores import choose, figures_of, total

NONE = 255
Image = tuple[np.ndarray, np.ndarray, np.ndarray]


def images(classes: int, absent: int) -> list[Image]:
    """Truth, best class and its probability: ignored pixels, a class that is nowhere, pixels without a class, one image
    that does not count at all and one without an ignored pixel."""
    rng = np.random.default_rng(11)
    made = []
    for number, shape in enumerate([(23, 40), (31, 17), (12, 19), (28, 28)]):
        truth = np.kron(rng.integers(0, classes, (8, 8)), np.ones((5, 6), int))[: shape[0], : shape[1]].astype(np.uint8)
        best = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, classes, shape)).astype(np.uint8)
        truth[truth == absent], best[best == absent] = 0, 0
        if number != 3:
            truth[rng.random(shape) < 0.1] = NONE
        if number == 2:
            truth[:] = NONE
        probability = rng.random(shape, np.float32)
        probability[:2, :2] = np.float32(0.3)  # exactly the threshold: not below
        best[:3, -4:] = NONE
        made.append((truth, best, probability))
    return made


def by_hand(made: list[Image], classes: int, threshold: float, background: int | None) -> dict[str, object]:
    """All figures at a threshold, class by class and mask by mask."""
    hit, true, said, near, either = (np.zeros(classes) for _ in range(5))
    for truth, best, probability in made:
        labels = best.astype(int)
        low = (probability < np.float32(threshold)) & (labels != NONE)
        labels[low] = NONE if background is None else background
        seen = truth != NONE
        width = max(1, round(0.02 * float(np.hypot(*truth.shape))))
        for c in range(classes):
            t, p = seen & (truth == c), seen & (labels == c)
            hit[c], true[c], said[c] = hit[c] + (t & p).sum(), true[c] + t.sum(), said[c] + p.sum()
            a, b = (m & (distance_transform_cdt(np.pad(m, 1))[1:-1, 1:-1] <= width) for m in (t, p))
            near[c], either[c] = near[c] + (a & b).sum(), either[c] + (a | b).sum()
    with np.errstate(all="ignore"):
        iou, recall, precision = hit / (true + said - hit), hit / true, hit / said
        f1 = 2 * precision * recall / (precision + recall)
        edges = near / either
        accuracy = hit.sum() / true.sum()
    keep = [c for c in range(classes) if c != background]
    return {
        "mIoU": np.nanmean(iou), "foreground_IoU": None if background is None else np.nanmean(iou[keep]),
        "aAcc": accuracy, "mAcc": np.nanmean(recall), "mF1": np.nanmean(f1), "boundary_IoU": np.nanmean(edges),
        "IoU": iou, "precision": precision, "recall": recall, "F1": f1,
    }  # fmt: skip


def same(found: object, wanted: object) -> None:
    """Equal in percent to 1e-12, None for what is no number."""
    if isinstance(wanted, np.ndarray):
        assert isinstance(found, list) and len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            same(one, other)
    elif wanted is None or np.isnan(wanted):
        assert found is None
    else:
        assert abs(found - 100 * wanted) <= 1e-12 * 100, (found, wanted)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["udd5", "dubai", "xbd"])
def test_figures_are_those_by_hand(name: str) -> None:
    spec = find_spec(name)
    size, background = len(spec.classes), spec.background
    made = images(size, absent=size - 2 if size > 2 else NONE)
    rule = CountingRule(classes=size, background=background, tuned=0.3, fixed=0.0)
    told = [json.loads(json.dumps(Counts(rule).add(*image).as_json())) for image in made]
    counts, scores = total(rule, zip("badc", [told["abcd".index(name)] for name in "badc"], strict=True))
    found = json.loads(json.dumps(figures_of(counts, spec, ["a", "b", "c", "d"], scores)))
    for which, threshold in (("tuned", 0.3), ("fixed", 0.0)):
        wanted = by_hand(made, size, threshold, background)
        assert found[which].pop("threshold") == threshold
        assert found[which].keys() == wanted.keys()
        for key, value in wanted.items():
            same(found[which][key], value)
    assert found["images"] == 4 and found["metric"] == ("IoU" if name == "xbd" else "mIoU")
    for (label, score), image in zip(found["image_scores"], made, strict=True):
        assert (label == "c") == (score is None)
        if score is not None:
            same(score, by_hand([image], size, 0.3, background)["mIoU"])
    confusion = np.array(found["confusion"])
    assert confusion.shape == (size, size + 1)
    assert confusion.sum() == sum(int((truth != NONE).sum()) for truth, _, _ in made)
    assert found["published"] == [
        {"method": p.method, "value": p.value, "metric": p.metric, "source": p.source, "verified": p.verified}
        for p in spec.published
    ]


def test_the_order_of_images_does_not_matter() -> None:
    rule = CountingRule(classes=4, background=1, tuned=0.5, fixed=0.2)
    told = [(str(i), Counts(rule).add(*image).as_json()) for i, image in enumerate(images(4, absent=2))]
    (first, one), (second, other) = total(rule, told), total(rule, told[::-1])
    assert first.as_json() == second.as_json() and one == other


def test_a_set_of_nothing_but_ignored_pixels_has_no_figures() -> None:
    rule = CountingRule(classes=2, background=0, tuned=0.6, fixed=0.0)
    truth = np.full((5, 9), NONE, np.uint8)
    told = Counts(rule).add(truth, truth * 0, np.ones((5, 9), np.float32)).as_json()
    counts, scores = total(rule, [("a", told)])
    part = figures_of(counts, find_spec("xbd"), ["a"], scores)["tuned"]
    assert scores == {"a": None} and part["mIoU"] is None and part["aAcc"] is None and part["IoU"] == [None, None]


def test_labels_at_a_threshold() -> None:
    best = np.array([[0, 1, 2, 255]], np.uint8)
    probability = np.array([[0.1, 0.4, 0.1, 0.0]], np.float32)
    rule = CountingRule(classes=3, background=1, tuned=0.1, fixed=0.4)
    assert at(0.4, best, probability, rule).tolist() == [[1, 1, 1, 3]]
    assert at(0.1, best, probability, rule).tolist() == [[0, 1, 2, 3]]
    plain = CountingRule(classes=3, background=None, tuned=0.1, fixed=0.4)
    assert at(0.4, best, probability, plain).tolist() == [[3, 1, 3, 3]]


def test_classes_with_a_threshold_of_their_own() -> None:
    """It holds instead of both: a lower one keeps what both would drop, a higher one drops what both would keep."""
    best = np.array([[0, 0, 1, 1, 2, 2, 255]], np.uint8)
    probability = np.array([[0.2, 0.25, 0.6, 0.7, 0.3, 0.5, 0.0]], np.float32)
    rule = CountingRule(classes=3, background=None, tuned=0.4, fixed=0.0, levels=(0.25, 0.7, None))
    assert at(0.4, best, probability, rule).tolist() == [[3, 0, 3, 1, 3, 2, 3]]
    assert at(0.0, best, probability, rule).tolist() == [[3, 0, 3, 1, 2, 2, 3]]
    counts = Counts(rule).add(np.array([[0, 0, 1, 1, 2, 2, 2]], np.uint8), best, probability)
    assert [int(counts.pixels.at(t).missed.sum()) for t in (0.4, 0.0)] == [4, 3]
    assert np.diag(counts.pixels.at(0.4).counts).tolist() == [1, 1, 1]
    assert np.diag(counts.pixels.at(0.0).counts).tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("scores", "count", "kinds"),
    [
        ([50.0, None, 10.0, 30.0], 3, {"best": [0], "median": [3], "worst": [2]}),
        ([], 3, {}),
        ([None], 3, {}),
        ([7.0], 3, {"best": [0]}),
        ([7.0, 9.0], 3, {"best": [1], "worst": [0]}),
        ([5.0] * 4, 1, {"best": [0], "median": [2], "worst": [1]}),
        ([1.0, 2.0], 0, {}),
        ([float(i) for i in range(20)], 3, {"best": [19, 18, 17], "median": [8, 9, 10], "worst": [0, 1, 2]}),
    ],
)
def test_examples(scores: list[float | None], count: int, kinds: dict[str, list[int]]) -> None:
    found = choose(scores, count)
    assert {kind: [e.number for e in found if e.kind == kind] for kind in dict.fromkeys(e.kind for e in found)} == kinds
    assert all(example.score == scores[example.number] for example in found)


def test_pictures_have_the_colours_of_classes_and_stripes_elsewhere() -> None:
    labels = np.array([[0, 1, 255], [1, 0, 3]])
    pixels = np.asarray(painted(np.kron(labels, np.ones((20, 20), int)), [(10, 20, 30), (200, 0, 7)]))
    assert pixels.shape == (40, 60, 3)
    assert (pixels[:20, :20] == (10, 20, 30)).all() and (pixels[20:, :20] == (200, 0, 7)).all()
    assert set(np.unique(pixels[:, 40:])) == {LIGHT, DARK}
    wide = painted(np.arange(2000)[None, :].repeat(500, 0) // 1000, [(1, 2, 3), (4, 5, 6)])
    assert wide.size == (640, 160)
    assert np.asarray(wide)[0, [0, 319, 320, 639], 0].tolist() == [1, 1, 4, 4]
    ramp = np.repeat(np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[:, None], 1300, 1)[..., None], 3, -1)
    assert fitted(ramp).size == (640, 49)
    assert fitted(ramp[:, :50]).size == (50, 100) and np.array_equal(np.asarray(fitted(ramp[:, :50])), ramp[:, :50])
