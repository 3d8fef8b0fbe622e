"""Groups of links are those of scipy, numbers too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array, csgraph

from earthwords.geo.vectors.connected import connected


@pytest.mark.parametrize("links", [0, 1, 40, 400])
def test_the_groups_of_scipy(links: int) -> None:
    rng = np.random.default_rng(links)
    first, second = rng.integers(0, 300, (2, links))
    graph = coo_array((np.ones(links), (first, second)), shape=(300, 300))
    count, groups = csgraph.connected_components(graph, directed=False)
    found, group = connected(first, second, 300)
    assert found == count and np.array_equal(group, groups)
