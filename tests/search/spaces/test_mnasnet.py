from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.profiler.count import count
from latlas.profiler.errors import SearchError
from latlas.profiler.fold import fold
from latlas.profiler.ops import Binary, Conv2D, DepthwiseConv2D, Pool
from latlas.search import zoo
from latlas.search.spaces import MnasnetSpace
from latlas.search.spaces.mnasnet import (
    ARCHITECTURES,
    BASE_LAYERS,
    DECISIONS,
    FILTERS,
    PUBLISHED_FILTERS,
    Block,
)

PUBLISHED = MnasnetSpace(filters=PUBLISHED_FILTERS)
GENES = st.tuples(*(st.integers(0, count - 1) for count in MnasnetSpace().choices))


def test_its_size() -> None:
    space = MnasnetSpace()
    assert space.size == 432**7
    assert len(space.choices) == 7 * DECISIONS
    assert FILTERS[4] == (72, 96, 120)


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("mnasnet_a1", (3_887_038, 311_325_344, 253_728)),
        ("mnasnet_b1", (4_383_312, 314_415_872, 0)),
    ],
)
def test_published_networks(name: str, exact: tuple[int, int, int]) -> None:
    graph = PUBLISHED.decode(PUBLISHED.encode(ARCHITECTURES[name]))
    found = count(graph)
    assert (found.params, found.madds, found.se_madds) == exact
    assert graph == zoo.build(name)
    with pytest.raises(SearchError, match=r"block \d is not in this space"):
        MnasnetSpace().encode(ARCHITECTURES[name])


@settings(max_examples=20)
@given(genes=GENES)
def test_every_gene_makes_its_block(genes: tuple[int, ...]) -> None:
    space = MnasnetSpace(resolution=64, classes=10)
    graph = space.decode(genes)
    assert count(fold(graph)).madds == count(graph).madds
    assert graph.shapes[-1] == (1, 10)
    operators, kernels, squeezes, _, filters, layers = (genes[i::DECISIONS] for i in range(6))
    depths = [max(base - 1 + more, 1) for base, more in zip(BASE_LAYERS, layers, strict=True)]
    depthwise = [n.op.kernel[0] for n in graph.nodes if isinstance(n.op, DepthwiseConv2D)]
    assert depthwise == [
        3 + 2 * kernel
        for kernel, operator, depth in zip(kernels, operators, depths, strict=True)
        if operator
        for _ in range(depth)
    ]
    multiplications = [n for n in graph.nodes if n.op == Binary("mul")]
    assert len(multiplications) == sum(
        depth for depth, squeeze in zip(depths, squeezes, strict=True) if squeeze
    )
    head = next(n for n in reversed(graph.nodes) if isinstance(n.op, Conv2D))
    assert graph.input_shapes(head)[0][3] == FILTERS[6][filters[6]]


@pytest.mark.parametrize("skip", ["pool", "identity", "none"])
def test_skips_are_where_they_fit(skip: str) -> None:
    plain = [
        Block("mbconv3", 3, 0.0, "none", filters[1], layers)
        for filters, layers in zip(FILTERS[2:], BASE_LAYERS[2:], strict=True)
    ]
    first = Block("mbconv3", 3, 0.0, skip, 24, 1)
    strided = Block("mbconv3", 3, 0.0, skip, 24, 3)
    space = MnasnetSpace(resolution=32)
    graph = space.decode(space.encode([first, strided, *plain]))
    pools = [n.op.stride for n in graph.nodes if isinstance(n.op, Pool)]
    added = sum(isinstance(n.op, Binary) for n in graph.nodes)
    assert added == {"pool": 3, "identity": 2, "none": 0}[skip]
    assert pools == ([(2, 2), (1, 1), (1, 1)] if skip == "pool" else [])


def test_what_is_not_of_the_space_is_refused() -> None:
    with pytest.raises(SearchError, match=r"mnasnet is 42 integers in 0…1 to 0…3"):
        MnasnetSpace().decode((0,) * 41 + (3,))
    with pytest.raises(SearchError, match="7 blocks, not 1"):
        MnasnetSpace().encode(ARCHITECTURES["mnasnet_a1"][:1])
