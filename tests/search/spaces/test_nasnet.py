from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.profiler.count import count
from latlas.profiler.errors import SearchError
from latlas.profiler.fold import fold
from latlas.search.spaces import NasnetSpace
from latlas.search.spaces.nasnet import NASNET_A, OPERATORS, STACKINGS, Combination

SMALL = NasnetSpace(resolution=33, cells=1, filters=12, classes=5, stem_reductions=1)
GENES = st.tuples(*(st.integers(0, count - 1) for count in SMALL.choices))


def test_its_size() -> None:
    assert len(OPERATORS) == 13
    assert len(SMALL.choices) == 50
    assert SMALL.size == pytest.approx(5.23e36, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("nasnet_a_mobile", (5_289_978, 563_638_816)),
        ("nasnet_a_large", (88_753_150, 23_783_414_658)),
        ("nasnet_a_cifar", (3_346_538, 544_333_312)),
    ],
)
def test_published_networks(name: str, exact: tuple[int, int]) -> None:
    space = STACKINGS[name]
    found = count(space.decode(space.encode(*NASNET_A)))
    assert (found.params, found.madds) == exact


@settings(max_examples=30, deadline=None)
@given(genes=GENES)
def test_every_chromosome_is_a_network(genes: tuple[int, ...]) -> None:
    graph = SMALL.decode(genes)
    assert graph.shapes[-1] == (1, 5)
    assert count(fold(graph)).madds == count(graph).madds


def test_genes_and_cells() -> None:
    cell = tuple(Combination(0, state + 1, OPERATORS[state], "max_5x5") for state in range(5))
    genes = SMALL.encode(cell, cell)
    assert genes[:10] == (0, 1, 0, 6, 0, 0, 2, 1, 6, 0)
    with pytest.raises(SearchError, match="nasnet is 50 integers"):
        SMALL.encode(cell[:4], cell)
    with pytest.raises(SearchError, match="nasnet is 50 integers"):
        SMALL.decode((2,) * 50)  # the first state has two inputs to read, 0 and 1
    with pytest.raises(SearchError, match="not a cell"):
        SMALL.encode((cell[0]._replace(left_operator="conv_9x9"), *cell[1:]), cell)
