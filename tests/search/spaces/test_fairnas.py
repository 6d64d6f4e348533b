from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.profiler.count import count
from latlas.profiler.errors import SearchError
from latlas.profiler.ops import DepthwiseConv2D
from latlas.search import zoo
from latlas.search.spaces import FairnasSpace
from latlas.search.spaces.fairnas import ARCHITECTURES, CHOICES

GENES = st.tuples(*[st.integers(0, 5)] * 19)


def test_its_size() -> None:
    assert FairnasSpace().size == 6**19
    assert len(set(CHOICES)) == 6


@pytest.mark.parametrize(
    ("name", "params", "madds"),
    [
        ("fairnas_a", 4_651_352, 388_122_848),
        ("fairnas_b", 4_506_272, 345_297_632),
        ("fairnas_c", 4_397_864, 321_024_992),
    ],
)
def test_published_networks(name: str, params: int, madds: int) -> None:
    space = FairnasSpace()
    graph = space.decode(space.encode(ARCHITECTURES[name]))
    found = count(graph)
    assert (found.params, found.madds, found.se_madds) == (params, madds, 0)
    assert graph == zoo.build(name)


@settings(max_examples=25)
@given(genes=GENES)
def test_every_gene_makes_its_layer(genes: tuple[int, ...]) -> None:
    graph = FairnasSpace(resolution=32, classes=10).decode(genes)
    depthwise = [n.op for n in graph.nodes if isinstance(n.op, DepthwiseConv2D)][1:]
    assert [op.kernel[0] for op in depthwise] == [CHOICES[gene].kernel for gene in genes]
    assert graph.shapes[-1] == (1, 10)


def test_what_is_not_of_the_space_is_refused() -> None:
    with pytest.raises(SearchError, match=r"fairnas is 19 integers in 0…5"):
        FairnasSpace().decode((6,) * 19)
    with pytest.raises(SearchError, match="not an architecture"):
        FairnasSpace().encode([(4, 3)] * 19)
    with pytest.raises(SearchError, match="19 layers"):
        FairnasSpace().encode([(3, 3)] * 18)
