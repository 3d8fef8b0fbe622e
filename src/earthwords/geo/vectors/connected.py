"""Groups of linked nodes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.compiling import compiled

Array: TypeAlias = NDArray[Any]


def connected(first: Array, second: Array, count: int) -> tuple[int, Array]:
    """Number of groups, and the group of each of `count` nodes `(count,)` int32, given links between nodes.

    Groups are numbered by their first nodes, as `scipy.sparse.csgraph.connected_components` does, which takes longer to
    import than a small scene to be outlined.
    """
    group = np.arange(count, dtype=np.int32)
    return int(_join(first.astype(np.int32), second.astype(np.int32), group)), group


@compiled(nogil=True)
def _join(first: Array, second: Array, group: Array) -> int:
    """Turns the nodes of `group` into the numbers of their groups; a node points to itself or to one before it."""
    for i in range(len(first)):
        a, b = first[i], second[i]
        while group[a] != a:
            group[a] = group[group[a]]
            a = group[a]
        while group[b] != b:
            group[b] = group[group[b]]
            b = group[b]
        group[max(a, b)] = min(a, b)
    count = 0
    for i in range(len(group)):
        if group[i] == i:
            group[i] = count
            count += 1
        else:
            group[i] = group[group[i]]
    return count
