from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import TARGET

from latlas.predictor.blocks import BlockTable, blocks_of, count_blocks, fit_blocks, signature_of
from latlas.predictor.calibration import PLAIN_SUM
from latlas.predictor.genes import GeneLatency
from latlas.profiler.errors import GraphError, PredictorError, UnknownKernelError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph, Node
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.measurement import Measurement
from latlas.profiler.ops import Softmax
from latlas.profiler.quantise import quantise
from latlas.profiler.table import Table
from latlas.profiler.workload import block_workload
from latlas.search.spaces import MnasnetSpace, MogaSpace, TomlSpace
from latlas.search.spaces.definition_file import check_definition

SPACE = MogaSpace(resolution=64, classes=10)


@pytest.fixture(scope="module")
def measurements(simulation) -> list[Measurement]:
    jobs = block_workload(
        (block for _, _, block in blocks_of(SPACE)), simulation.networks(12, seed=0)
    ).jobs
    return [
        simulation.measure(job.graph, job.unit, job.id.partition(":")[2] or job.name)
        for job in jobs
    ]


@pytest.fixture(scope="module")
def blocks(
    simulation, measurements: list[Measurement], tmp_path_factory: pytest.TempPathFactory
) -> Table:
    return simulation.write(tmp_path_factory.mktemp("blocks"), measurements)


@pytest.fixture(scope="module")
def block_table(blocks: Table) -> BlockTable:
    return fit_blocks(blocks)


@pytest.fixture(scope="module")
def compiled(block_table: BlockTable) -> GeneLatency:
    return block_table.compile(SPACE)


def test_every_choice_of_every_layer_is_one_job(measurements: list[Measurement]) -> None:
    units = [measurement.unit for measurement in measurements]
    # Layers 4 and 5, 7 to 9, and 13 and 14 have the same choices.
    assert units.count("block") == 2 + 12 * (14 - 4)
    assert units.count("probe") == 4
    assert units.count("network") == 12
    assert len({measurement.id for measurement in measurements}) == len(measurements)


@settings(max_examples=20, deadline=None)
@given(genes=st.lists(st.tuples(*[st.integers(0, 11)] * 14), min_size=1, max_size=3))
def test_chromosomes_and_graphs_are_alike(
    genes: list[tuple[int, ...]], block_table: BlockTable, compiled: GeneLatency, simulation
) -> None:
    graphs = [SPACE.decode(each) for each in genes]
    found = block_table.latency_ms(graphs)
    np.testing.assert_allclose(compiled.latency_ms(genes), found, rtol=1e-9)
    expected = [simulation.network_us(graph) / 1e3 for graph in graphs]
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_without_calibration_it_is_the_plain_sum(blocks: Table, simulation) -> None:
    plain = fit_blocks(blocks, calibrated=False)
    graph = SPACE.decode((3,) * 14)
    kernels_us = (simulation.network_us(graph) - 30) / 1.1
    assert plain.latency_ms([graph])[0] * 1e3 == pytest.approx(kernels_us, rel=0.01)


def test_what_is_no_chain_of_blocks_is_refused(block_table: BlockTable) -> None:
    other = MogaSpace(resolution=96, classes=10).decode((0,) * 14)
    with pytest.raises(UnknownKernelError, match=r"from node 0 \(conv2d\) on"):
        block_table.latency_ms([other])
    b = GraphBuilder((1, 64, 64, 3))
    stem = SPACE.block(0, ()).nodes
    for node in stem:
        b.apply(node.op, *node.inputs)
    longer = b.build(b.conv(len(stem), 7, 3))
    with pytest.raises(UnknownKernelError, match=r"from node 4 \(conv2d\) on"):
        block_table.latency_ms([longer])
    with pytest.raises(UnknownKernelError, match=r"lacks .* blocks of the space"):
        block_table.compile(MogaSpace(resolution=96, classes=10))


def test_quantised_networks_are_refused(block_table: BlockTable) -> None:
    with pytest.raises(GraphError, match="float32"):
        block_table.latency_ms([quantise(SPACE.decode((0,) * 14))])


def test_a_table_that_lacks_a_block(
    simulation, measurements: list[Measurement], tmp_path: Path
) -> None:
    gone = fold(SPACE.block(3, (5,))).to_text()
    rest = [m for m in measurements if m.graph != gone]
    table = fit_blocks(simulation.write(tmp_path, rest))
    with pytest.raises(UnknownKernelError, match=r"lacks 1 blocks .* choice \(5,\) of block 3"):
        table.compile(SPACE)


def test_a_table_of_kernels_has_no_blocks(table: Table) -> None:
    with pytest.raises(PredictorError, match="--granularity block"):
        fit_blocks(table)


def test_the_longest_block_that_leads_on_is_taken(block_table: BlockTable) -> None:
    """Blocks of MnasNet's space begin with what is a block by itself."""
    space = MnasnetSpace(resolution=32, filters=((16,), (24,), (32,), (64,), (96,), (160,), (320,)))
    genes = tuple(count - 1 for count in space.choices)
    short = (*genes[:11], 0, *genes[12:])
    known = {}
    for each in (genes, short):
        for index, group in enumerate(space.groups):
            block = fold(space.block(index, [each[position] for position in group]))
            known[signature_of(block)] = float(10**index * (1 if each is genes else 2))
    table = replace(block_table, blocks_us=known)
    found = table.blocks_in(fold(space.decode(genes)))
    # The second block is looked up as the one of three layers, not as one layer and a rest.
    assert found == [2.0, 20.0, 100.0, *(2.0 * 10**i for i in range(3, 9))]


def test_a_block_that_is_left_out_costs_nothing(block_table: BlockTable) -> None:
    blocks = [
        {"operator": "conv", "filters": 16, "stride": 2},
        {"filters": 16, "choices": [{"operator": "identity"}, {"operator": "mbconv6"}]},
    ]
    space = TomlSpace(resolution=32, definition=check_definition({"name": "a", "blocks": blocks}))
    parts = [fold(space.block(index, values)) for index, values in ((0, ()), (1, (1,)), (2, ()))]
    known = {signature_of(part): 10.0**index for index, part in enumerate(parts)}
    table = replace(block_table, blocks_us=known, calibration=PLAIN_SUM)
    found = table.compile(space).latency_ms([(0,), (1,)]) * 1e3
    assert found == pytest.approx([101, 111])
    graphs = [space.decode((0,)), space.decode((1,))]
    assert table.latency_ms(graphs) * 1e3 == pytest.approx([101, 111])
    assert count_blocks(space) == len(list(blocks_of(space))) == 4


def test_a_network_of_very_many_blocks_and_a_block_of_nothing() -> None:
    """A hostile table may hold both."""
    block, nothing = Graph.from_text("1x4 | softmax @0 | @1"), Graph.from_text("1x4 | @0")
    times_us = {signature_of(block): 2.0, signature_of(nothing): 1.0}
    count = 3000
    nodes = tuple(Node(Softmax(), (i,)) for i in range(count))
    chain = Graph(((1, 4),), nodes, (count,))
    table = BlockTable(TARGET, times_us, PLAIN_SUM)
    assert table.latency_ms([chain]) == pytest.approx(count * 2.0 / 1e3)
    other = Graph.from_text("1x4 | softmax @0 | activation kind=relu @1 | @2")
    with pytest.raises(UnknownKernelError, match="from node 1"):
        table.latency_ms([other])
    with pytest.raises(UnknownKernelError, match="from node 0"):
        BlockTable(TARGET, {signature_of(nothing): 1.0}, PLAIN_SUM).latency_ms([other])
