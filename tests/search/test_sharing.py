from __future__ import annotations

from latlas.profiler.count import count
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import Activation, Pool
from latlas.search.sharing import shared
from latlas.search.spaces.nasnet import NASNET_A, STACKINGS


def test_what_is_equal_is_one() -> None:
    b = GraphBuilder((1, 8, 8, 4))
    left, right = b.average_pool(b.relu(0), 3), b.average_pool(b.relu(0), 3)
    other = b.average_pool(b.relu6(0), 3)
    found = shared(b.build(b.add(left, right), b.add(other, left)))
    assert [(node.op.name, node.inputs) for node in found.nodes] == [
        *(("activation", (0,)), ("pool", (1,)), ("activation", (0,)), ("pool", (3,))),
        *(("binary", (2, 2)), ("binary", (4, 2))),
    ]
    assert found.outputs == (5, 6)


def test_weights_are_their_own() -> None:
    b = GraphBuilder((1, 8, 8, 4))
    graph = b.build(b.add(b.conv(0, 4, 3), b.conv(0, 4, 3)))
    assert shared(graph) == graph


def test_noise_of_training_does_not_change_what_is_measured() -> None:
    def network(*rates: float) -> Graph:
        b = GraphBuilder((1, 8, 8, 4))
        return b.build(b.add(*[b.apply(Activation("relu"), 0, drop_path=rate) for rate in rates]))

    noisy = shared(network(0.1, 0.1))
    assert [node.drop_path for node in noisy.nodes] == [0.1, 0]
    assert fold(noisy) == fold(shared(network(0.0, 0.0)))


def test_nasnet_reads_a_state_through_one_relu() -> None:
    space = STACKINGS["nasnet_a_mobile"]
    graph = space.decode(space.encode(*NASNET_A))
    assert shared(graph) == graph
    plain = [
        (node.op, node.inputs) for node in graph.nodes if isinstance(node.op, Activation | Pool)
    ]
    assert len(set(plain)) == len(plain)
    assert count(graph).params == 5_289_978
