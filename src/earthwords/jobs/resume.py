"""What is not in the journal yet is computed and goes there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from earthwords.jobs.executor import Executor, Place, Task, nowhere, without_worker
from earthwords.jobs.journal import Journal
from earthwords.jobs.progress import Bar


def compute_missing(
    journal: Journal,
    executor: Executor,
    function: Callable[[Task], bytes],
    tasks: Mapping[str, Task],
    *,
    bar: Bar,
    again: Collection[str] = (),
    place: Place = nowhere,
) -> None:
    """Have all parts in the journal, those that are missing as soon as each is done.

    Args:
        function: what the executor makes of a task.
        tasks: name of a part -> task; a name must change with all that the part depends on beside the settings.
        bar: told of the parts, those of an earlier run left out.
        again: names of parts that do not count, although they are there.
        place: see `Executor.run`.

    Raises:
        Exception: as `Executor.run` and `Journal.save`.
    """
    missing = [name for name in tasks if name not in journal or name in again]
    bar.skip(len(tasks) - len(missing))
    computed = executor.run(partial(without_worker, function), map(tasks.__getitem__, missing), place=place)
    for number, result in computed:
        journal.save(missing[number], result)
        bar(1)


def done_among(names: Collection[str]) -> Callable[[Journal], int]:
    """How many of some parts a journal has; there may be others, of sources that have changed since."""
    return lambda journal: sum(name in journal for name in names)
