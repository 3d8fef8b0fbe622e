"""A scene searched from fine to coarse: which views are looked at, which matches count, which are looked at again.

Every view is looked at once for all sentences, and the view whose mask is surest and most like the sentence is looked
at again with the mask in its middle, at the finest resolution that shows it whole. Of a sentence about the scene
(`scene_level`) the coarsest level that shows anything decides. `every` takes all masks of the finest level instead.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from earthwords.inference.refer.match import Match, ViewMatches
from earthwords.inference.refer.pointing import Task
from earthwords.inference.refer.pyramid import View
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.jobs.job import Tick
from earthwords.jobs.journal import Journal

KEPT = 3
"""Views that are looked at again, of every sentence."""
VIEW = "view"
"""Names of first looks in a journal begin so."""

Compute: TypeAlias = Callable[[Sequence[Task]], Iterator[tuple[int, ViewMatches]]]
"""Number and result of every task, in any order."""
Keep: TypeAlias = Callable[[int, ViewMatches], ViewMatches]
"""Takes the result of a task; gives what of it may still count."""


class Candidates:
    """The best matches of each sentence, whatever the order in which they are offered."""

    def __init__(self, wide: Sequence[bool]) -> None:
        """`wide`: which sentences are about the scene as a whole."""
        self.wide = wide
        self._best: list[list[tuple[int, float, int, Match]]] = [[] for _ in wide]

    def offer(self, number: int, match: Match) -> bool:
        """Whether a match of a view is among the best so far; if not, it never will be."""
        best = self._best[match.sentence]
        level = match.view.level if self.wide[match.sentence] else 0
        offered = level, match.rank, -number, match
        if len(best) < KEPT:
            heapq.heappush(best, offered)
            return True
        return heapq.heappushpop(best, offered) is not offered

    def chosen(self) -> dict[str, Match]:
        """Those of the coarsest level, by sentence and then the best first, under names of their own."""
        names: dict[str, Match] = {}
        for best in self._best:
            for level, _, minus, match in sorted(best, reverse=True):
                if level == max(best)[0]:
                    names[f"sentence {match.sentence} in view {-minus}"] = match
        return names


@dataclass(frozen=True, kw_only=True)
class ViewSearch:
    """The search for some sentences, and what it remembers."""

    views: Sequence[View]
    """The finest first."""
    compute: Compute
    policy: FailurePolicy
    journal: Journal | None = None
    """What an earlier run has found."""
    tick: Tick = lambda views: None
    skip: Tick = lambda views: None
    """Told of views that an earlier run has looked at."""

    def every(self) -> list[Match]:
        """What was found in all views, in their order."""
        matches: dict[int, tuple[Match, ...]] = {}

        def keep(number: int, found: ViewMatches) -> ViewMatches:
            matches[number] = found.matches
            return found

        self._look(keep)
        return [match for number in sorted(matches) for match in matches[number]]

    def best(self, wide: Sequence[bool]) -> list[Match]:
        """The best match of each sentence, as a second look gives it; none where nothing was found.

        Args:
            wide: which sentences are about the scene as a whole.
        """
        candidates = Candidates(wide)

        def keep(number: int, found: ViewMatches) -> ViewMatches:
            return replace(found, matches=tuple(m for m in found.matches if candidates.offer(number, m)))

        self._look(keep)
        return self._refine(candidates.chosen())

    def _look(self, keep: Keep) -> None:
        tasks = {f"{VIEW} {number}": view for number, view in enumerate(self.views)}
        self.skip(0 if self.journal is None else sum(name in self.journal for name in tasks))
        self._do(tasks, keep, tick=self.tick)

    def _refine(self, firsts: Mapping[str, Match]) -> list[Match]:
        """The best of the second looks for each sentence."""
        seconds: dict[int, Match] = {}

        def keep(number: int, found: ViewMatches) -> ViewMatches:
            (seconds[number],) = found.matches
            return found

        self._do(firsts, keep)
        matches = [seconds[number] for number in sorted(seconds)]
        sentences = dict.fromkeys(match.sentence for match in matches)
        return [max((m for m in matches if m.sentence == i), key=lambda match: match.rank) for i in sentences]

    def _do(self, tasks: Mapping[str, Task], keep: Keep, *, tick: Tick = lambda tasks: None) -> None:
        """Compute what is not in the journal yet, and note what could not be read, in the order of the tasks."""
        names, failures = list(tasks), {}
        for number, name in enumerate(names):
            if self.journal is not None and name in self.journal:
                failures[number] = keep(number, ViewMatches.from_bytes(self.journal.read(name))).failures
        missing = [number for number in range(len(names)) if number not in failures]
        for place, found in self.compute([tasks[names[number]] for number in missing]):
            number = missing[place]
            kept = keep(number, found)
            failures[number] = kept.failures
            if self.journal is not None:
                self.journal.save(names[number], kept.to_bytes())
            tick(1)
        listed = [failure for number in sorted(failures) for failure in failures[number]]
        self.policy.failures[:] = dict.fromkeys([*self.policy.failures, *listed])
