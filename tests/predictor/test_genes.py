from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.predictor.genes import GeneLatency, compile_genes, gene_latency
from latlas.predictor.predictor import LatencyPredictor
from latlas.predictor.residency import Residency
from latlas.profiler.errors import SearchError, UnknownKernelError
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import split
from latlas.profiler.quantise import quantise
from latlas.search.cover import covering_genes
from latlas.search.spaces import MnasnetSpace, MogaSpace, NasnetSpace, TomlSpace
from latlas.search.spaces.definition_file import check_definition

SPACE = MogaSpace(resolution=64, classes=10)
GENES = st.tuples(*[st.integers(0, 11)] * 14)


@pytest.fixture(scope="module")
def compiled(predictor: LatencyPredictor) -> GeneLatency:
    return compile_genes(SPACE, predictor)


@settings(max_examples=30)
@given(genes=st.lists(GENES, min_size=1, max_size=4))
def test_it_equals_the_prediction_of_the_graphs(
    genes: list[tuple[int, ...]], predictor: LatencyPredictor, compiled: GeneLatency
) -> None:
    expected = [p.latency_ms for p in predictor.predict([SPACE.decode(each) for each in genes])]
    np.testing.assert_allclose(compiled.latency_ms(genes), expected, rtol=1e-9)


def test_arrays_and_tuples_are_alike(compiled: GeneLatency) -> None:
    genes = np.random.default_rng(0).integers(0, 12, (100, 14))
    found = compiled.latency_ms(genes)
    assert found.shape == (100,)
    assert (found == compiled.latency_ms([tuple(row) for row in genes.tolist()])).all()


@pytest.mark.parametrize(
    "genes",
    [[(0,) * 13], [(0,) * 15], [(12,) + (0,) * 13], [(-1,) + (0,) * 13], (0,) * 14, [(0.5,) * 14]],
)
def test_what_is_no_chromosome_is_refused(compiled: GeneLatency, genes: list) -> None:
    with pytest.raises(SearchError):
        compiled.latency_ms(genes)


class Interacting:
    """Two genes whose product is the number of filters."""

    choices = (3, 3)

    def decode(self, genes: Sequence[int]) -> Graph:
        b = GraphBuilder((1, 8, 8, 8))
        return b.build(b.conv(0, 8 * (genes[0] + 1) * (genes[1] + 1), 1))


class Conjunction:
    """A layer that is there only if both genes are zero: it would be taken off twice."""

    choices = (2, 2)

    def decode(self, genes: Sequence[int]) -> Graph:
        b = GraphBuilder((1, 8, 8, 8))
        x = b.conv(0, 8, 1)
        return b.build(x if any(genes) else b.depthwise(x, 3))


class Chained:
    """The second layer's input is the first layer's choice."""

    choices = (2, 2)

    def decode(self, genes: Sequence[int]) -> Graph:
        b = GraphBuilder((1, 8, 8, 8))
        return b.build(b.conv(b.conv(0, 8 + 8 * genes[0], 1), 8 + 8 * genes[1], 1))


@pytest.mark.parametrize("space", [Interacting(), Conjunction(), Chained()])
def test_a_space_whose_genes_interact_is_refused(space, predictor: LatencyPredictor) -> None:
    with pytest.raises(SearchError, match=f"{type(space).__name__} are not a sum over its genes"):
        compile_genes(space, predictor)


class Depth:
    """A gene that leaves layers out, and one that does nothing."""

    choices = (3, 2)

    def decode(self, genes: Sequence[int]) -> Graph:
        b = GraphBuilder((1, 8, 8, 8))
        x = b.conv(0, 8, 3)
        for _ in range(genes[0]):
            x = b.depthwise(x, 3)
        return b.build(x)


def test_a_gene_may_change_the_number_of_kernels(predictor: LatencyPredictor) -> None:
    space = Depth()
    compiled = compile_genes(space, predictor)
    genes = [(depth, other) for depth in range(3) for other in range(2)]
    expected = [p.latency_ms for p in predictor.predict([space.decode(each) for each in genes])]
    np.testing.assert_allclose(compiled.latency_ms(genes), expected, rtol=1e-9)


def test_unknown_kernels_are_refused(predictor: LatencyPredictor) -> None:
    without = replace(
        predictor,
        table_us={k: v for k, v in predictor.table_us.items() if k.type != "depthwise_conv2d"},
        forests={k: v for k, v in predictor.forests.items() if k != "depthwise_conv2d"},
    )
    with pytest.raises(UnknownKernelError, match="depthwise_conv2d"):
        compile_genes(SPACE, without)


MNASNET = MnasnetSpace(
    resolution=64,
    classes=10,
    filters=((16, 24), (24,), (32, 40), (64,), (96,), (160,), (320,)),
)


def test_a_space_whose_blocks_depend_on_their_neighbours(predictor: LatencyPredictor) -> None:
    compiled = compile_genes(MNASNET, predictor)
    genes = MNASNET.sample(10, seed=0)
    expected = [p.latency_ms for p in predictor.predict([MNASNET.decode(each) for each in genes])]
    np.testing.assert_allclose(compiled.latency_ms(genes), expected, rtol=1e-9)


def test_blocks_of_quantised_networks(predictor: LatencyPredictor) -> None:
    """Only the ends of a network convert, not every block."""
    rules = rules_for("cpu")
    networks = [quantise(SPACE.decode(each)) for each in covering_genes(SPACE.choices, 12, seed=0)]
    kernels = dict.fromkeys(kernel for graph in networks for kernel in split(graph, rules))
    known = {kernel: float(index + 1) for index, kernel in enumerate(kernels)}
    int8 = replace(
        predictor,
        target=replace(predictor.target, precision="int8"),
        table_us=known,
        forests={},
    )
    genes = SPACE.sample(5, seed=0)
    expected = [p.latency_ms for p in int8.predict([SPACE.decode(each) for each in genes])]
    np.testing.assert_allclose(compile_genes(SPACE, int8).latency_ms(genes), expected)


FILE = TomlSpace(
    resolution=64,
    classes=10,
    definition=check_definition(
        {
            "name": "mine",
            "blocks": [
                {"operator": "conv", "filters": 16, "stride": 2},
                {"operator": "mbconv3", "kernel": [3, 5], "filters": [16, 24]},
                {"operator": "mbconv3", "filters": 24},
                {
                    "repeat": 2,
                    "filters": 24,
                    "choices": [{"operator": "identity"}, {"operator": "mbconv6"}],
                },
            ],
        }
    ),
)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_blocks_that_may_be_left_out(predictor: LatencyPredictor, precision: str) -> None:
    genes = FILE.sample(10, seed=0)
    networks = [FILE.decode(each) for each in genes]
    if precision == "int8":
        rules = rules_for("cpu")
        every = itertools.product(*map(range, FILE.choices))
        kernels = [k for each in every for k in split(quantise(FILE.decode(each)), rules)]
        predictor = replace(
            predictor,
            target=replace(predictor.target, precision="int8"),
            table_us={kernel: float(i + 1) for i, kernel in enumerate(dict.fromkeys(kernels))},
            forests={},
        )
    expected = [p.latency_ms for p in predictor.predict(networks)]
    found = compile_genes(FILE, predictor).latency_ms(genes)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_what_the_cache_saves_is_not_told_by_changes_of_a_network(
    predictor: LatencyPredictor,
) -> None:
    saving = replace(predictor, residency=Residency(1.0, 0.0, (0.0, 20.0, 0.0, 0.0, 20.0)))
    with pytest.raises(SearchError, match="the cache saves"):
        compile_genes(Depth(), saving)
    found = gene_latency(Depth(), saving).latency_ms([(2, 0)])
    assert found[0] == saving.predict([Depth().decode((2, 0))])[0].latency_ms


def test_a_space_that_cannot_be_compiled_goes_through_graphs(predictor: LatencyPredictor) -> None:
    space = NasnetSpace(resolution=32, cells=1, filters=12, classes=10, stem_reductions=1)
    with pytest.raises(SearchError, match="not a sum"):
        compile_genes(space, predictor)
    genes = space.sample(3, seed=0)
    found = gene_latency(space, predictor).latency_ms(genes)
    expected = [p.latency_ms for p in predictor.predict([space.decode(each) for each in genes])]
    np.testing.assert_allclose(found, expected)
    with pytest.raises(SearchError, match="outside the choices"):
        gene_latency(space, predictor).latency_ms([(12,) * 50])


def test_too_many_tuples_are_refused(predictor: LatencyPredictor) -> None:
    class Wide:
        choices = (1000, 1000)
        groups = ((0, 1),)

        def decode(self, genes: Sequence[int]) -> Graph:
            return SPACE.decode((0,) * 14)

        def block(self, index: int, values: Sequence[int]) -> Graph:
            return self.decode(values)

    with pytest.raises(SearchError, match="1,000,000 tuples"):
        compile_genes(Wide(), predictor)


def test_blocks_that_do_not_make_the_network_are_refused(predictor: LatencyPredictor) -> None:
    class Torn(MogaSpace):
        def block(self, index: int, values: Sequence[int]) -> Graph:
            return super().block(max(index, 1), values or (0,))

    with pytest.raises(SearchError, match="kernels of Torn"):
        compile_genes(Torn(resolution=64, classes=10), predictor)
