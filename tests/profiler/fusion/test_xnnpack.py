"""The rules against what XNNPACK really lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from latlas.profiler.fold import fold
from latlas.profiler.fusion.xnnpack import XnnpackRules
from latlas.profiler.graph import Graph, Node
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import split
from latlas.profiler.litert.local import LocalRunner
from latlas.profiler.ops import (
    BatchMatmul,
    Binary,
    Broadcast,
    Concat,
    Constant,
    Gather,
    Pool,
    Reduce,
    Resize,
    Select,
    Slice,
    Softmax,
    Tile,
    TransposeConv2D,
)
from latlas.profiler.quantise import quantise
from latlas.profiler.runner import Effort, Job
from latlas.profiler.samples.networks import designed_networks
from latlas.profiler.tflite.reader import read_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.search import zoo

RULES = XnnpackRules()
QUICK = Effort(min_runs=2, min_ms=0, max_ms=500, warmup_ms=0)


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    with LocalRunner("cpu") as runner:
        yield runner


def listed(runner: LocalRunner, graph: Graph) -> list[str]:
    (result,) = runner.run([Job("job", to_tflite(graph), QUICK, profile=True)])
    assert result.kind == "ok", result.error
    return [op.name for op in result.ops if op.name not in RULES.unowned_operators]


def check(runner: LocalRunner, graph: Graph) -> None:
    folded = fold(graph)
    expected = [(k.text, RULES.operators(k)) for k in split(folded, RULES)]
    names = listed(runner, folded)
    assert len(names) == sum(count for _, count in expected), (names, expected)


def _map(append: Callable[[GraphBuilder], int], *shapes: tuple[int, ...]) -> Graph:
    b = GraphBuilder(*(shapes or ((1, 8, 8, 4),)))
    return b.build(append(b))


SMALL = (1, 1, 1, 4)
TOKENS = (1, 7, 32)
HEADS, TURNED = (1, 2, 7, 16), (1, 2, 16, 7)
MAP = (1, 8, 8, 4)
ALONE: dict[str, Graph] = {
    "conv": _map(lambda b: b.conv(0, 6, 3)),
    "strided conv": _map(lambda b: b.conv(0, 6, 3, stride=2, activation="relu6")),
    "conv of odd padding": _map(lambda b: b.conv(0, 6, 3, padding=(1, 0, 2, 0))),
    "conv of a 1x1 map": _map(lambda b: b.conv(0, 6, 1), SMALL),
    "grouped conv": _map(lambda b: b.conv(0, 8, 3, groups=2)),
    "dilated conv": _map(lambda b: b.conv(0, 6, 3, dilation=2)),
    "depthwise": _map(lambda b: b.depthwise(0, 3, stride=2, activation="relu")),
    "depthwise multiplier": _map(lambda b: b.depthwise(0, 3, multiplier=2)),
    "fully connected": _map(lambda b: b.fully_connected(0, 6), (1, 8)),
    "fully connected of a map": _map(lambda b: b.fully_connected(0, 6)),
    "add": _map(lambda b: b.add(0, 1), MAP, MAP),
    "add relu": _map(lambda b: b.add(0, 1, activation="relu"), MAP, MAP),
    "mul": _map(lambda b: b.mul(0, 1), MAP, SMALL),
    "mul relu6": _map(lambda b: b.mul(0, 1, activation="relu6"), MAP, SMALL),
    "sub": _map(lambda b: b.apply(Binary("sub"), 0, 1), MAP, MAP),
    "sub relu": _map(lambda b: b.apply(Binary("sub", "relu"), 0, 1), MAP, MAP),
    "mul by a value": _map(lambda b: b.apply(Binary("mul", value=1 / 6), 0)),
    "add of a value, relu6": _map(lambda b: b.apply(Binary("add", "relu6", value=3.0), 0)),
    "batch norm alone": _map(lambda b: b.batch_norm(0)),
    "concat of 2": _map(lambda b: b.concat([0, 1]), MAP, MAP),
    "concat of 5": _map(lambda b: b.concat([0, 1] * 2 + [0]), MAP, MAP),
    "concat over rows": _map(lambda b: b.apply(Concat(1), 0, 1), MAP, MAP),
    "average pool": _map(lambda b: b.average_pool(0, 3)),
    "global average pool": _map(lambda b: b.average_pool(0, 8, padding="valid")),
    "max pool": _map(lambda b: b.max_pool(0, 3, stride=2)),
    "mean": _map(lambda b: b.mean(0)),
    "mean without axes": _map(lambda b: b.mean(0, keepdims=False)),
    "mean of a 1x1 map": _map(lambda b: b.mean(0), SMALL),
    "pad": _map(lambda b: b.pad(0, (1, 1, 2, 0))),
    "pad and pool": _map(lambda b: b.max_pool(b.pad(0, (1, 1, 1, 1)), 3, padding="valid")),
    "pad and conv": _map(lambda b: b.conv(b.pad(0, (1, 1, 1, 1)), 4, 3, padding="valid")),
    "slice": _map(lambda b: b.slice(0, (0, 1, 1, 0), (1, 5, 5, 4))),
    "resize": _map(lambda b: b.resize(0, (16, 16))),
    "resize, half pixels": _map(lambda b: b.resize(0, (16, 16), half_pixel_centers=True)),
    "resize to the nearest": _map(lambda b: b.apply(Resize((16, 16), "nearest"), 0)),
    "softmax": _map(lambda b: b.softmax(0), (1, 10)),
    "softmax of a map": _map(lambda b: b.apply(Softmax(), 0)),
    "reshape": _map(lambda b: b.relu(b.reshape(b.relu(0), (1, 256)))),
    "average pool relu": _map(lambda b: b.relu(b.average_pool(0, 3))),
    "relu relu6": _map(lambda b: b.relu6(b.relu(0))),
    "conv maximum minimum": _map(
        lambda b: b.apply(
            Binary("minimum", value=4.0), b.apply(Binary("maximum", value=0.5), b.conv(0, 4, 3))
        )
    ),
    "mul maximum": _map(lambda b: b.apply(Binary("maximum", value=0.5), b.mul(0, 1)), MAP, MAP),
    "transposed conv relu": _map(
        lambda b: b.relu(b.apply(TransposeConv2D(6, (3, 3), (2, 2), (16, 16)), 0))
    ),
    "matmul": _map(lambda b: b.matmul(0, 1), HEADS, TURNED),
    "matmul adj_x": _map(lambda b: b.matmul(0, 1, adj_x=True), TURNED, TURNED),
    "matmul adj_y": _map(lambda b: b.matmul(0, 1, adj_y=True), HEADS, HEADS),
    "matmul constant": _map(lambda b: b.apply(BatchMatmul(constant=(16, 3)), 0), HEADS),
    "matmul relu": _map(lambda b: b.relu(b.matmul(0, 1)), HEADS, TURNED),
    "matmul of a transpose": _map(
        lambda b: b.matmul(0, b.transpose(1, (0, 1, 3, 2))), HEADS, HEADS
    ),
    "matmul of heads": _map(
        lambda b: b.matmul(0, b.transpose(1, (0, 2, 3, 1))), HEADS, (1, 7, 2, 16)
    ),
    "left matmul of a transpose": _map(
        lambda b: b.matmul(b.transpose(0, (0, 1, 3, 2)), 1), TURNED, TURNED
    ),
    "dense": _map(lambda b: b.dense(0, 5), TOKENS),
    "square": _map(lambda b: b.mul(0, 0), TOKENS),
    "transpose of 7 axes": _map(
        lambda b: b.transpose(0, (0, 2, 1, 3, 5, 4, 6)), (1, 2, 2, 2, 2, 2, 3)
    ),
    "add of 6 axes": _map(lambda b: b.add(0, 1), (2, 2, 2, 2, 2, 3), (2, 2, 2, 2, 2, 1)),
    "concat with a constant": _map(
        lambda b: b.concat([0, b.apply(Constant((1, 1, 32)))], axis=1), TOKENS
    ),
    "strided slice": _map(lambda b: b.apply(Slice((0,) * 4, (1, 4, 4, 4), (1, 2, 2, 1)), 0)),
    "select": _map(lambda b: b.apply(Select(), 0, 1), TOKENS, TOKENS),
    "gather between": _map(lambda b: b.logistic(b.apply(Gather(1, 3), b.logistic(0)))),
    "tile": _map(lambda b: b.apply(Tile((1, 2, 1)), 0), TOKENS),
    "broadcast": _map(lambda b: b.apply(Broadcast((1, 7, 32)), 0), (1, 1, 32)),
    **{
        f"reduce {kind}": _map(lambda b, kind=kind: b.apply(Reduce(kind, (2,)), 0), TOKENS)  # type: ignore[misc]
        for kind in ("mean", "sum", "max", "min", "prod")
    },
    **{
        f"binary {kind}": _map(lambda b, kind=kind: b.apply(Binary(kind), 0, 1), TOKENS, TOKENS)  # type: ignore[misc]
        for kind in ("div", "maximum", "minimum", "squared_difference", "pow")
    },
    **{
        kind: _map(lambda b, kind=kind: b.activation(0, kind))  # type: ignore[misc]
        for kind in ("gelu", "gelu_tanh", "elu", "exp", "log", "neg", "rsqrt", "sqrt", "abs")
    },
    **{
        kind: _map(lambda b, kind=kind: b.activation(0, kind))  # type: ignore[misc]
        for kind in ("relu", "relu6", "hard_swish", "hard_sigmoid", "logistic", "tanh")
    },
}


@pytest.mark.parametrize("name", ALONE)
def test_every_operator(name: str, runner: LocalRunner) -> None:
    check(runner, ALONE[name])


def test_a_network_of_every_kind(runner: LocalRunner) -> None:
    b = GraphBuilder((1, 16, 16, 4))
    x = b.relu6(b.batch_norm(b.conv(0, 8, 3, stride=2, bias=False)))
    y = b.hard_swish(b.batch_norm(b.depthwise(x, 5, bias=False)))
    gate = b.hard_sigmoid(b.conv(b.relu(b.conv(b.mean(y), 2, 1)), 8, 1))
    x = b.add(x, b.mul(y, gate), activation="relu")
    x = b.concat([b.average_pool(x, 3), b.max_pool(x, 3), b.apply(Binary("sub"), x, y)])
    x = b.conv(b.pad(x, (1, 1, 1, 1)), 8, 3, padding="valid")
    x = b.resize(b.slice(x, (0, 1, 1, 0), (1, 6, 6, 8)), (12, 12))
    x = b.add(b.activation(x, "tanh"), b.logistic(x))
    x = b.reshape(b.mean(b.batch_norm(x)), (1, 8))
    check(runner, b.build(b.softmax(b.fully_connected(x, 5))))


NETWORKS = [name for name in zoo.names() if name != "nasnet_a_large"]
"""The same cells as in the mobile one, and 350 MB of weights."""


@pytest.mark.parametrize("name", NETWORKS)
def test_reference_networks(name: str, runner: LocalRunner) -> None:
    check(runner, zoo.build(name, 64))


def test_reshapes_are_no_kernels() -> None:
    b = GraphBuilder((1, 4, 4, 4))
    x = b.relu(b.reshape(b.conv(0, 4, 1), (1, 64)))
    assert RULES.groups(b.build(x)) == [(0,), (2,)]


LISTED = {
    "add": "Add (ND)",
    "average_pool": "kernel:AVERAGE_POOL_2D",
    "batch_matmul": "kernel:BATCH_MATMUL",
    "concat": ("Copy (NC, X8)", "kernel:CONCATENATION"),  # of up to five, and of more
    "conv2d": ("Convolution (NHWC, QC8)", "Fully Connected (NC, QS8"),
    "depthwise_conv2d": "Convolution (NHWC, QC8)",
    "dequantize": "Convert (NC)",
    "fully_connected": "Fully Connected (NC, QS8",
    "gelu": "kernel:GELU",
    "gelu_tanh": "kernel:GELU",
    "hard_swish": "kernel:HARD_SWISH",
    "logistic": "Sigmoid (NC)",
    "lookup": "Invalid Unary Op",  # XNNPACK has no name for its tables
    "max_pool": "Max Pooling (NHWC, S8)",
    "mean": "Mean (ND)",
    "mul": "Multiply (ND)",
    "neg": "kernel:NEG",
    "pad": "Constant Pad (ND",
    "slice": "Slice (ND",
    "quantize": "Convert (NC)",
    "reduce_mean": "Mean (ND)",
    "relu": "kernel:RELU",
    "rsqrt": "kernel:RSQRT",
    "softmax": "kernel:SOFTMAX",
    "squared_difference": "kernel:SQUARED_DIFFERENCE",
    "sub": "Subtract (ND)",
    "symmetric batch_matmul": "Batch Matrix Multiply (NC, QS8)",
    "transpose": "Transpose (ND",
}


def check_order(runner: LocalRunner, graph: Graph) -> None:
    """Compare the names of listed operators with kernels, one by one."""
    kernels = split(graph, RULES)
    names = iter(listed(runner, graph))
    for kernel in kernels:
        first, *others = [next(names) for _ in range(RULES.operators(kernel))]
        symmetric = "symmetric " if "symmetric=1" in kernel.text else ""
        name = LISTED[symmetric + kernel.type.partition(":")[0]]
        assert first.startswith(name), (kernel.text, first)
        assert others in ([], ["Clamp (NC)"])
    assert next(names, None) is None


NOT_OF_INT8 = {
    "binary div",  # TFLite refuses to divide by the zeros among random inputs,
    "sqrt",  # and to take roots of what is negative
    "rsqrt",
    "binary pow",  # it has none for int8
    "concat with a constant",  # `quantise` refuses stored tensors
    "select",  # and choices
}


@pytest.mark.parametrize("name", [name for name in ALONE if name not in NOT_OF_INT8])
def test_every_operator_of_int8(name: str, runner: LocalRunner) -> None:
    check(runner, quantise(ALONE[name], int8_ends=True))


ATTENTION = designed_networks(6, seed=1, families=("transformer", "hybrid"), int8=True)


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_of_int8(name: str, runner: LocalRunner) -> None:
    """TFLite runs half of its operators itself, which changes the order of all."""
    check_order(runner, quantise(ATTENTION[name]))


@pytest.mark.parametrize("constant", [None, (32, 32)])
@pytest.mark.parametrize("adj_x", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_products_of_int8_whose_right_operand_has_the_zero_point_0(
    symmetric: bool, adj_x: bool, constant: tuple[int, ...] | None, runner: LocalRunner
) -> None:
    shape = (1, 4, 32, 32)
    operands = 1 if constant else 2
    product = BatchMatmul(adj_x, False, constant, symmetric)
    b = GraphBuilder(*[shape] * operands)
    graph = quantise(b.build(b.apply(product, *range(operands))), int8_ends=True)
    check(runner, graph)
    ours = any(name.startswith("Batch Matrix Multiply") for name in listed(runner, graph))
    assert ours == symmetric
    (node,) = read_tflite(to_tflite(graph)).nodes
    assert node.op == product


@pytest.mark.parametrize("name", NETWORKS)
def test_reference_networks_of_int8(name: str, runner: LocalRunner) -> None:
    check_order(runner, quantise(zoo.build(name, 64)))


def test_what_xnnpack_does_not_take_changes_the_order(runner: LocalRunner) -> None:
    b = GraphBuilder((1, 8, 8, 4))
    x = b.conv(0, 4, 3)
    branches = [b.average_pool(x, 3), b.conv(x, 4, 1), b.relu(x), b.hard_swish(b.conv(x, 4, 3))]
    branches += [b.depthwise(branches[0], 3), b.add(branches[1], branches[2], activation="relu")]
    graph = quantise(b.build(b.concat(branches[2:])))
    assert [group[0] for group in RULES.groups(graph)] != list(range(len(graph.nodes)))
    check_order(runner, graph)


def test_a_chain_of_int8_is_one_table(runner: LocalRunner) -> None:
    b = GraphBuilder((1, 8, 8, 4))
    x = b.conv(0, 4, 3)
    x = b.mul(x, b.logistic(x))
    x = b.conv(x, 4, 1)
    x = b.apply(Binary("add", value=0.5), b.apply(Binary("mul", value=0.1), x))
    y = b.logistic(x)  # has two readers, of which one is no part of the chain
    graph = quantise(b.build(b.add(y, b.conv(y, 4, 1))))
    assert [k.type for k in split(graph, RULES)].count("lookup:int8") == 2
    check_order(runner, graph)


@pytest.mark.parametrize("kind", ["average", "max"])
def test_a_pooling_of_single_elements(kind: str, runner: LocalRunner) -> None:
    op = Pool("average" if kind == "average" else "max", (1, 1), (2, 2))
    graph = _map(lambda b: b.conv(b.apply(op, 0), 4, 1))
    names = listed(runner, graph)
    assert len(names) == 2
    assert names[0].startswith("kernel:"), names


def test_a_stored_tensor_in_a_quantised_network_is_no_kernel() -> None:
    """Where a network goes on in float32, arithmetic on what is stored may follow."""
    graph = Graph.from_text(
        "1x4:int8 | dequantize @0 | constant shape=1x4 @ | binary kind=add @1,2 | quantize @3 | @4"
    )
    assert [kernel.type for kernel in split(graph, RULES)] == ["dequantize:int8", "add", "quantize"]


def test_a_network_of_a_hostile_file_is_split_in_time_that_grows_with_it() -> None:
    """Every second operator is left to TFLite, and the last value is returned very often."""
    count = 20_000
    nodes = [Node(Tile((1, 1)) if i % 2 else Softmax(), (i,)) for i in range(count)]
    graph = Graph(((1, 1),), tuple(nodes), (count,) * count)
    started = time.process_time()
    assert [group for (group,) in RULES.groups(graph)] == list(range(count))
    assert time.process_time() - started < 5
