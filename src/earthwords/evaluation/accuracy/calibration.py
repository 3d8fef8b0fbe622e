"""Probabilities of a map against interpreted points, always fitted on some of them and judged on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.errors import Caution, UsageError
from earthwords.evaluation.metrics.calibration import (
    TEMPERATURES,
    calibration_error,
    f1,
    fit_isotonic,
    fit_temperature,
    fit_threshold,
    isotonic,
    reliability,
    tempered,
)
from earthwords.viz.area_chart import ReliabilityBin, reliability_chart

FEWEST = 20
"""Points without which nothing is fitted."""
_FEWEST_OF_CLASS = 10
_LEAST_SHARP, _MOST_SHARP = TEMPERATURES[0] * 1.2, TEMPERATURES[1] / 1.2
"""Temperatures beyond are no optimum, but where the search ends."""
_NOTABLE = 0.005
"""Gain of F1 below which a threshold is not worth its trouble."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbabilityPoints:
    """Probabilities at points with a known truth."""

    titles: tuple[str, ...]
    """Of the classes that have a band."""
    probabilities: NDArray[np.float64]
    """`(point, class)`, no NaN."""
    truth: NDArray[np.int64]
    """`(point,)` number in `titles`; -1: another class."""
    weight: NDArray[np.float64]
    """`(point,)` area that each stands for."""
    stratum: NDArray[np.int64]
    softmax: bool = True
    """Whether the classes compete; those of a head have probabilities of their own, which no temperature changes."""
    step: float = 0.0
    """Between probabilities that a raster of bytes can hold: its zeros mean less than half of that."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What probabilities are worth, and what makes them worth more. Errors are shares, 0..1."""

    points: int
    temperature: float | None
    """Fitted on all points, for probabilities of classes that sum to 1; None where the halves did not gain by one."""
    error_before: float
    """Expected calibration error of the probabilities as they are."""
    error_tempered: float
    """On the half of the points that the temperature was not fitted on, and the other way round, together."""
    error_isotonic: float
    """Likewise of the share that is right by isotonic regression."""
    thresholds: dict[str, float]
    """Least probabilities (after the temperature) of classes whose F1 gains by it on the other half."""
    f1_before: dict[str, float]
    f1_after: dict[str, float]
    """Likewise, of every class: on the half not fitted on."""
    curve_before: tuple[ReliabilityBin, ...]
    curve_tempered: tuple[ReliabilityBin, ...]
    knots: tuple[tuple[float, float], ...]
    """Isotonic regression on all points: probability, share that is right."""
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "points": self.points, "temperature": self.temperature,
            "expected_calibration_error": {
                "before": self.error_before, "temperature": self.error_tempered, "isotonic": self.error_isotonic
            },
            "thresholds": self.thresholds, "f1_before": self.f1_before, "f1_after": self.f1_after,
            "isotonic": [list(pair) for pair in self.knots],
            "reliability": [[b.confidence, b.accuracy, b.share] for b in self.curve_before],
            "notes": list(self.notes),
        }  # fmt: skip

    def plot(self) -> Image.Image:
        """Share that is right against probability, as a PIL image."""
        curves = [("as it is", self.curve_before), ("with the temperature", self.curve_tempered)]
        title = f"Expected calibration error {self.error_before:.1%}, {self.error_tempered:.1%} by a temperature"
        return reliability_chart(curves[: 1 if self.temperature is None else 2], title=title)


def calibrate(given: ProbabilityPoints, *, seed: int = 0) -> Calibration:
    """Fit on one half, judge on the other, and the other way round; what is delivered is fitted on all.

    Raises:
        UsageError: too few points.
    """
    if len(given.truth) < FEWEST:
        raise UsageError(
            f"{len(given.truth)} points with probabilities are too few to calibrate by: at least {FEWEST}."
        )
    half = _halves(given.stratum, seed)
    before = _confidence(given, given.probabilities)
    held, level = np.zeros_like(given.probabilities), np.zeros(len(half))
    for fold in (0, 1):
        fit, rest = half != fold, half == fold
        held[rest] = _warm(given, given.probabilities[rest], _temperature(given, fit))
        level[rest] = isotonic(before[0][rest], fit_isotonic(before[0][fit], before[1][fit], given.weight[fit]))
    after = _confidence(given, held)
    error_before = calibration_error(*before, given.weight)
    error_after = calibration_error(*after, given.weight)
    temperature: float | None = _temperature(given, np.ones(len(half), bool))
    notes = []
    bound = temperature is not None and not _LEAST_SHARP < temperature < _MOST_SHARP
    if given.softmax and bound:
        notes.append("From these points no temperature can be told, as where all are right: the scale stays.")
        temperature, held, after, error_after = None, given.probabilities, before, error_before
        given = replace(given, softmax=False)
    elif not given.softmax:
        temperature = None
        notes.append("Classes have probabilities of their own here, so no temperature was fitted; thresholds were.")
    elif error_after >= error_before:
        notes.append(
            f"On points not fitted on, a temperature does not help (error {error_before:.1%}, with it "
            f"{error_after:.1%}): the scale stays."
        )
        temperature, held, after, error_after = None, given.probabilities, before, error_before
        given = replace(given, softmax=False)
    final = _warm(given, given.probabilities, temperature or 1.0)
    thresholds, f1_before, f1_after = _thresholds(given, held, final, half)
    if len(half) < 100:
        notes.append(Caution(f"{len(half)} points are few to calibrate by: the errors themselves are uncertain."))
    knots = fit_isotonic(*before, given.weight)
    return Calibration(
        points=len(half), temperature=temperature, error_before=error_before, error_tempered=error_after,
        error_isotonic=calibration_error(level, before[1], given.weight), thresholds=thresholds, f1_before=f1_before,
        f1_after=f1_after, curve_before=_curve(before, given.weight), curve_tempered=_curve(after, given.weight),
        knots=tuple(zip(knots[0].tolist(), knots[1].tolist(), strict=True)), notes=tuple(notes),
    )  # fmt: skip


def _halves(stratum: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """0 or 1 for each point, evenly within every stratum."""
    order = np.random.default_rng(seed).permutation(len(stratum))
    order = order[np.argsort(stratum[order], kind="stable")]
    half = np.zeros(len(stratum), np.int64)
    half[order] = np.arange(len(stratum)) % 2
    return half


def _temperature(given: ProbabilityPoints, part: NDArray[np.bool_]) -> float:
    if not given.softmax:
        return 1.0
    floor = np.maximum(given.probabilities[part], given.step / 4)
    return fit_temperature(floor, given.truth[part], given.weight[part])


def _warm(given: ProbabilityPoints, rows: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    return tempered(np.maximum(rows, given.step / 4), temperature) if given.softmax else rows


def _confidence(
    given: ProbabilityPoints, probabilities: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probability of the best class, and whether that is right."""
    return probabilities.max(axis=1), given.probabilities.argmax(axis=1) == given.truth


def _curve(
    found: tuple[NDArray[np.float64], NDArray[np.bool_]], weight: NDArray[np.float64]
) -> tuple[ReliabilityBin, ...]:
    bins = reliability(*found, weight)
    return tuple(ReliabilityBin(confidence=mean, accuracy=hits, share=share) for mean, hits, share in bins)


def _thresholds(
    given: ProbabilityPoints, held: NDArray[np.float64], final: NDArray[np.float64], half: NDArray[np.int64]
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Of each class, and its F1 on halves not fitted on before and after."""
    best = given.probabilities.argmax(axis=1)
    kept: dict[str, float] = {}
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    for i, title in enumerate(given.titles):
        chosen, true = best == i, given.truth == i
        level = np.zeros(len(half))
        for fold in (0, 1):
            fit = half != fold
            level[half == fold] = fit_threshold(held[fit, i], chosen[fit], true[fit], given.weight[fit])
        before[title] = f1(held[:, i], chosen, true, given.weight, 0.0)
        after[title] = f1(held[:, i] - level, chosen, true, given.weight, 0.0)
        if min(chosen.sum(), true.sum()) >= _FEWEST_OF_CLASS and after[title] > before[title] + _NOTABLE:
            found = fit_threshold(final[:, i], chosen, true, given.weight)
            if found > 0:
                kept[title] = round(found, 4)
    return kept, before, after


def preset_text(
    *,
    base: str,
    made_by: str,
    logit_scale: float | None,
    changed: Mapping[str, str | int],
    found: Calibration,
    had_thresholds: bool = False,
) -> str:
    """The lines of a preset.

    Args:
        base: the preset that it begins from.
        made_by: the map and the truth.
        logit_scale: None: that of the base, whose probabilities stay what they are.
        changed: other keys that differ from the base.
        found: the thresholds, and figures for the comments.
        had_thresholds: the base has some, which go.
    """
    lines = [
        f"# Calibrated by `earthwords assess` on {found.points} points: {made_by}",
        f"# expected calibration error {found.error_before:.1%} before, {found.error_tempered:.1%} after",
        f"base = {_quoted(base)}",
    ]
    lines += [f"{key} = {_quoted(value) if isinstance(value, str) else value}" for key, value in changed.items()]
    if logit_scale is not None:
        lines += [f"logit_scale = {logit_scale!r}", "sum_to_one = true"]
    if found.thresholds or had_thresholds:
        pairs = ", ".join(f"{_quoted(title)} = {value!r}" for title, value in found.thresholds.items())
        lines += ["# least probabilities of classes; they hold for the very words that the map was asked for",
                  f"thresholds = {{ {pairs} }}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def titles_of(bands: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    """The class of each band: by name, or in their order where bands have no names and there are as many.

    Raises:
        UsageError: neither fits.
    """
    if all(bands) and set(bands) & set(classes):
        return tuple(bands)
    if len(bands) == len(classes):
        return tuple(classes)
    raise UsageError(
        f"The probabilities have {len(bands)} bands ({', '.join(filter(None, bands)) or 'without names'}) and the map "
        f"{len(classes)} classes ({', '.join(classes)}): bands must bear the names of classes, or be as many."
    )
