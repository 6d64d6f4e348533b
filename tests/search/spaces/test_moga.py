from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.profiler.count import count
from latlas.profiler.errors import LatlasError, SearchError
from latlas.profiler.fold import fold
from latlas.profiler.ops import DepthwiseConv2D
from latlas.search import zoo
from latlas.search.spaces import MogaSpace
from latlas.search.spaces.moga import ARCHITECTURES, CHOICES

GENES = st.tuples(*[st.integers(0, 11)] * 14)


def test_its_size() -> None:
    space = MogaSpace()
    assert space.choices == (12,) * 14
    assert space.size == 12**14
    assert len(set(CHOICES)) == 12


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_published_networks(name: str) -> None:
    space = MogaSpace()
    genes = space.encode(ARCHITECTURES[name])
    assert space.decode(genes) == zoo.build(name)
    chosen = tuple((CHOICES[g].expansion, CHOICES[g].kernel, int(CHOICES[g][2])) for g in genes)
    assert chosen == ARCHITECTURES[name]


@settings(max_examples=25)
@given(genes=GENES)
def test_every_gene_makes_its_layer(genes: tuple[int, ...]) -> None:
    graph = MogaSpace(resolution=32, classes=10).decode(genes)
    depthwise = [n.op for n in graph.nodes if isinstance(n.op, DepthwiseConv2D)][1:]
    assert [op.kernel[0] for op in depthwise] == [CHOICES[gene].kernel for gene in genes]
    found = count(graph)
    assert (found.se_madds > 0) == any(CHOICES[gene].squeeze_excite for gene in genes)
    assert count(fold(graph)).madds == found.madds


@given(genes=GENES, other=GENES)
def test_different_genes_are_different_networks(
    genes: tuple[int, ...], other: tuple[int, ...]
) -> None:
    space = MogaSpace(resolution=32)
    assert (space.decode(genes) == space.decode(other)) == (genes == other)


def test_width_and_resolution() -> None:
    genes = (0,) * 14
    narrow = MogaSpace(resolution=96, width=0.5, classes=3).decode(genes)
    assert narrow.inputs == ((1, 96, 96, 3),)
    assert narrow.shapes[1] == (1, 48, 48, 8)
    assert narrow.shapes[-1] == (1, 3)
    assert count(narrow).params < count(MogaSpace(resolution=96, classes=3).decode(genes)).params


@pytest.mark.parametrize(
    "genes",
    [(), (0,) * 13, (0,) * 15, (0,) * 13 + (12,), (0,) * 13 + (-1,), (0.5,) * 14, ("a",) * 14],
)
def test_what_is_no_chromosome_is_refused(genes: tuple[int, ...]) -> None:
    with pytest.raises(SearchError, match="14 integers"):
        MogaSpace().decode(genes)


@pytest.mark.parametrize("layer", [(4, 3, 0), (6, 9, 0), (6, 3, 2)])
def test_what_is_no_layer_is_refused(layer: tuple[int, int, int]) -> None:
    with pytest.raises(SearchError, match="not an architecture"):
        MogaSpace().encode([layer] * 14)


def test_the_number_of_layers_is_checked() -> None:
    with pytest.raises(SearchError):
        MogaSpace().encode([(6, 3, 0)] * 13)


@pytest.mark.parametrize("arguments", [{"resolution": 0}, {"classes": 0}])
def test_impossible_sizes_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(LatlasError):
        MogaSpace(**arguments).decode((0,) * 14)
