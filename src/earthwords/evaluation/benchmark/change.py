"""`evaluate change`: the words and the method of a request on sets of pairs whose changes are labelled."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.data.change.pairs import ChangePair, ChangePairs, find_pairs
from earthwords.data.segmentation.encoding import read_labels
from earthwords.errors import UsageError
from earthwords.evaluation.metrics.change import ChangeCounts, SemanticChangeCounts
from earthwords.evaluation.report.write import write_results
from earthwords.evaluation.results import ResultEntry, read_results
from earthwords.inference.change.dates.pair import PairSpec
from earthwords.inference.change.dates.request import ChangeRequest
from earthwords.inference.change.dates.windows import ChangeMethod, Comparison, PairWindow
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.jobs.job import Tick
from earthwords.jobs.progress import Console, going_on
from earthwords.text.vocabulary import parse_classes

TASK = "change"
LEFT_OUT = 255
"""Label of pixels that do not count."""
NAMES = {
    "f1_score_change": "F1", "iou_change": "IoU", "precision_change": "precision", "recall_change": "recall",
    "kappa": "kappa", "oa": "OA", "miou": "mIoU",
}  # fmt: skip
SEMANTIC_NAMES = {"sek": "SeK", "fscd": "Fscd", "score": "score"}


@dataclass(frozen=True, kw_only=True)
class ChangeMeasuring:
    """What is measured, and with what."""

    segmenter: Segmenter
    request: ChangeRequest
    """What is asked of each pair, whose files take the place of the sources; its classes those of the set where the set
    has classes and `own_words` is False."""
    own_words: bool
    """Whether words were asked for."""
    model: str
    """As results call it."""
    offline: bool = False

    def of(self, pairs: ChangePairs) -> ChangeMeasuring:
        """The same with the words of a set.

        Raises:
            UsageError: no words were asked for, and the set has none.
        """
        if self.own_words:
            return self
        if not pairs.spec.classes or pairs.spec.semantic is None:
            raise UsageError(f"{pairs.spec.title} has no classes of its own: name what changes with -t.")
        return replace(self, request=replace(self.request, vocabulary=parse_classes(pairs.spec.classes)))

    def settings(self, pairs: ChangePairs) -> dict[str, Any]:
        """Everything that the figures depend on."""
        from earthwords import __version__

        files = [path for pair in pairs for path in (pair.before, pair.after, pair.labels)]
        told = repr([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])
        return {
            "set": pairs.spec.title, "split": pairs.split, "pairs": len(pairs),
            "files": hashlib.sha256(told.encode()).hexdigest()[:16],
            **self.request.spec.settings(), **self.request.settings(self.segmenter), "earthwords": __version__,
        }  # fmt: skip

    def compared(self, pair: ChangePair, method: ChangeMethod) -> Comparison:
        """What the method says of a pair."""
        request = self.request.of(str(pair.before))
        request = replace(request, after=replace(request.after, source=str(pair.after)))
        with PairSpec(before=request.spec, after=request.after).open() as opened:
            request = request.found(opened)
        with request.open(self.segmenter) as dates:
            request = request.known(dates, self.segmenter, method)
            window = PairWindow(
                pair=dates, facts=request.facts, window=dates.region, segmenter=self.segmenter,
                bank=self.segmenter.text_bank(request.vocabulary), scales=request.asked_scales,
            )  # fmt: skip
            return placed(method(window), dates.region.slices, dates.before.native.shape)


def placed(found: Comparison, where: tuple[slice, slice], shape: tuple[int, int]) -> Comparison:
    """A comparison of a part of a picture as one of the whole: nothing changed elsewhere."""
    if found.seen.shape == shape:
        return found

    def whole(part: NDArray[Any]) -> NDArray[Any]:
        out = np.zeros(shape, part.dtype)
        out[where] = part
        return out

    parts = (whole(part) for part in (found.before, found.after, found.score, found.seen))
    before, after, score, seen = parts
    return Comparison(before=before, after=after, score=score, seen=seen)


def measure(measuring: ChangeMeasuring, pairs: ChangePairs, tick: Tick) -> dict[str, Any]:
    """Figures of a set, percent; pooled over its pairs.

    Raises:
        SourceError: a file is missing or damaged.
    """
    method = measuring.request.comparison(measuring.segmenter, offline=measuring.offline)
    spec = pairs.spec
    semantic = not measuring.own_words and spec.semantic is not None
    counts, by_class = ChangeCounts(), SemanticChangeCounts(classes=len(spec.classes))
    for pair in pairs:
        _, _, labels = pair.read()
        found = measuring.compared(pair, method)
        changed = (found.before != found.after) & found.seen
        counts.add(changed, labels == 1, counts=labels != LEFT_OUT)
        if semantic and spec.semantic is not None:
            for path, said in ((pair.earlier_labels, found.before), (pair.labels, found.after)):
                if path is not None:
                    truth = read_labels(path, spec.semantic)
                    by_class.add(np.where(changed, said + 1, 0), truth, counts=truth != LEFT_OUT)
        tick(1)
    figures = {name: 100 * counts.figures()[key] for key, name in NAMES.items()}
    if semantic:
        figures |= {name: 100 * by_class.figures()[key] for key, name in SEMANTIC_NAMES.items()}
    return {"images": f"{len(pairs):,}", **{name: round(value, 4) for name, value in figures.items()}}


def evaluate_pairs(
    folders: Sequence[str],
    out: Path,
    console: Console,
    load: Callable[[], ChangeMeasuring],
    *,
    split: str | None,
    resume: bool,
) -> tuple[tuple[ResultEntry, ...], int]:
    """Figures of every set, written down as they come, and how many were found done.

    Raises:
        UsageError: a folder holds no pairs, or its set has no words and none were asked for.
    """
    from earthwords import __version__

    sets = {folder: find_pairs(Path(folder), split=split) for folder in folders}
    loaded = load()
    every = {folder: loaded.of(pairs) for folder, pairs in sets.items()}
    kept = {entry.key: entry for entry in read_results(out)}
    done: list[ResultEntry] = []
    reused = 0

    def progress() -> str:
        return f"The same command goes on from here: {len(done)} of {len(sets)} sets are done." if done else ""

    with going_on(progress):
        for folder, pairs in sets.items():
            began, measuring = time.perf_counter(), every[folder]
            entry = ResultEntry(
                task=TASK, dataset=Path(folder).resolve().name, model=measuring.model,
                settings=measuring.settings(pairs), classes=(), figures={}, seconds=0.0,
            )  # fmt: skip
            before = kept.get(entry.key) if resume else None
            if before is not None and before.settings == entry.settings:
                done.append(before)
                reused += 1
                continue
            with console.bar(f"comparing, {entry.dataset}", len(pairs), unit="pairs") as tick:
                figures = measure(measuring, pairs, tick)
            entry = replace(entry, figures=figures, seconds=round(time.perf_counter() - began, 3))
            kept[entry.key] = entry
            done.append(entry)
            write_results(out, list(kept.values()), version=__version__)
    return tuple(done), reused
