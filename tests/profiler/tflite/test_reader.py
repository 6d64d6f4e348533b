from __future__ import annotations

import copy
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.profiler.errors import LatlasError, ModelFileError, UnsupportedOpError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.ops import (
    Activation,
    BatchMatmul,
    Binary,
    Broadcast,
    Concat,
    Constant,
    DepthToSpace,
    Gather,
    Prelu,
    Reduce,
    Select,
    Slice,
    Tile,
    TransposeConv2D,
)
from latlas.profiler.random_weights import random_weights
from latlas.profiler.tflite import integers, model
from latlas.profiler.tflite.reader import load_tflite, read_tflite
from latlas.profiler.tflite.schema import Code
from latlas.profiler.tflite.writer import to_tflite


def written(*shape: int) -> tuple[GraphBuilder, int]:
    b = GraphBuilder(shape or (1, 8, 8, 4))
    return b, b.input


def text_after(b: GraphBuilder, *outputs: int) -> str:
    """Return the nodes of a graph after writing and reading."""
    text = read_tflite(to_tflite(b.build(*outputs))).to_text()
    return text.partition(" | ")[2].rpartition(" | ")[0]


# Random networks


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    height, width = draw(st.integers(3, 9)), draw(st.integers(3, 9))
    # a constant of one element comes back as a number: from two channels up
    b = GraphBuilder((draw(st.integers(1, 2)), height, width, draw(st.integers(2, 4))))
    x = b.input
    for _ in range(draw(st.integers(1, 6))):
        kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        padding = draw(st.sampled_from(["same", (1, 1, 1, 1), (0, 2, 1, 2)]))
        kind = draw(
            st.sampled_from(["conv", "depthwise", "add", "mul", "pool", "act", "norm", "se"])
        )
        shape = b.shape(x)
        if kind == "conv":
            x = b.conv(x, draw(st.integers(2, 4)), kernel, stride=stride, padding=padding)
        elif kind == "depthwise":
            x = b.depthwise(x, kernel, stride=stride, padding=padding)
        elif kind in ("add", "mul"):
            operation = b.add if kind == "add" else b.mul
            x = operation(
                x, b.conv(x, shape[3], 1), activation=draw(st.sampled_from(["none", "relu"]))
            )
        elif kind == "pool":
            pool = draw(st.sampled_from([b.average_pool, b.max_pool]))
            x = pool(x, kernel, stride=stride)
        elif kind == "norm":
            x = b.batch_norm(x)
        elif kind == "se":
            x = b.mul(x, b.hard_sigmoid(b.conv(b.relu(b.conv(b.mean(x), 2, 1)), shape[3], 1)))
        else:
            kinds = ["relu", "relu6", "hard_swish", "hard_sigmoid", "logistic", "tanh"]
            x = b.activation(x, draw(st.sampled_from(kinds)))
    if draw(st.booleans()):
        x = b.softmax(b.fully_connected(b.mean(x, keepdims=False), 3))
    graph = b.build(x)
    return graph.with_weights(random_weights(graph, draw(st.integers(0, 3))))


def check_shapes(graph: Graph) -> None:
    """The reader works out shapes and types as it goes: they are those that a graph infers."""
    anew = Graph(graph.inputs, graph.nodes, graph.outputs, input_types=graph.input_types)
    assert (graph.shapes, graph.types) == (anew.shapes, anew.types)


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_what_is_written_is_read_again(graph: Graph) -> None:
    folded = fold(graph)
    read = read_tflite(to_tflite(folded))
    check_shapes(read)
    again = fold(read)
    assert again.to_text() == folded.to_text()
    assert folded.weights is not None and again.weights is not None
    shapes = folded.weight_shapes()
    assert [*again.weight_shapes().values()] == [*shapes.values()]
    for key, mine in zip(again.weight_shapes(), shapes, strict=True):
        # a hard-sigmoid's 3 is taken from the bias and added again
        np.testing.assert_allclose(again.weights[key], folded.weights[mine], rtol=1e-6, atol=1e-6)


# Spelling


def test_padding_that_a_file_spells_out_stays_an_operator() -> None:
    b, x = written()
    x = b.conv(b.pad(x, (1, 2, 0, 1)), 4, 3, stride=2, padding="valid")
    assert text_after(b, x).startswith("pad padding=1x2x0x1 @0 | conv2d")


HARD_SIGMOID = "activation kind=hard_sigmoid @0"
HARD_SWISH = "activation kind=hard_swish @0"


def sixth(b: GraphBuilder, x: int) -> int:
    return b.apply(Binary("mul", value=0.16666667), x)


def shifted(b: GraphBuilder, x: int) -> int:
    return b.apply(Binary("add", "relu6", value=3.0), x)


def test_hard_sigmoid_is_recognised() -> None:
    b, x = written()
    assert text_after(b, sixth(b, shifted(b, x))) == HARD_SIGMOID
    b, x = written()
    apart = b.relu6(b.apply(Binary("add", value=3.0), x))
    assert text_after(b, sixth(b, apart)) == HARD_SIGMOID


@pytest.mark.parametrize("layer", ["conv", "depthwise", "fully_connected"])
def test_hard_sigmoid_is_recognised_in_a_bias(layer: str) -> None:
    b, x = written()
    if layer == "fully_connected":
        x = b.fully_connected(x, 3)
    else:
        x = b.conv(x, 4, 1) if layer == "conv" else b.depthwise(x, 3)
    graph = b.build(b.hard_sigmoid(x))
    graph = graph.with_weights(random_weights(graph))
    again = read_tflite(to_tflite(fold(graph)))
    assert again.to_text() == graph.to_text()
    for node, other in zip(again.nodes[:1], graph.nodes[:1], strict=True):
        mine, theirs = again.weight(node, "bias"), graph.weight(other, "bias")
        assert mine is not None and theirs is not None
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_hard_sigmoid_is_left_alone_where_something_else_reads_its_parts() -> None:
    b, x = written()
    middle = shifted(b, x)
    assert "hard_sigmoid" not in text_after(b, sixth(b, middle), middle)
    b, x = written()
    middle = b.conv(x, 4, 1, activation="relu6")
    assert "hard_sigmoid" not in text_after(b, b.add(sixth(b, middle), middle))


def test_hard_swish_is_recognised() -> None:
    b, x = written()
    assert text_after(b, b.mul(x, sixth(b, shifted(b, x)))) == HARD_SWISH
    b, x = written()
    assert text_after(b, b.mul(sixth(b, shifted(b, x)), x)) == HARD_SWISH
    b, x = written()
    assert text_after(b, sixth(b, b.mul(x, shifted(b, x)))) == HARD_SWISH
    b, x = written()  # the gate of another value is no hard-swish
    y = b.relu(x)
    assert "hard_swish" not in text_after(b, b.mul(y, sixth(b, shifted(b, x))))


def test_names_are_unique_and_weights_are_views() -> None:
    b, x = written()
    data = to_tflite(b.build(b.conv(b.conv(x, 4, 3), 4, 3)))
    graph = read_tflite(data)
    assert len({node.name for node in graph.nodes}) == len(graph.nodes)
    assert graph.weights is not None
    for array in graph.weights.values():
        assert not array.flags.owndata and not array.flags.writeable


def test_axis_and_constants_have_one_spelling() -> None:
    b, x = written()
    assert text_after(b, b.apply(Concat(3), x, x)) == "concat @0,0"
    b, x = written()
    assert text_after(b, b.apply(Binary("mul", constant=(1, 1, 1, 1)), x)).startswith(
        "binary kind=mul value="
    )
    b, x = written()
    y = b.apply(Binary("mul", constant=(1, 1, 1, 4)), x)
    assert text_after(b, y) == "binary kind=mul constant=4 @0"


# Files that others write, made from ours with the schema's object API


def edited(graph: Graph, edit: Callable[[schema.ModelT, schema.SubGraphT], None]) -> bytes:
    import flatbuffers

    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(to_tflite(graph), 0))
    edit(whole, whole.subgraphs[0])
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def relu_graph() -> Graph:
    b, x = written()
    return b.build(b.relu(x))


def test_a_dynamic_batch_is_one_and_a_dynamic_size_must_be_given() -> None:
    def batch(_: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        subgraph.tensors[0].shapeSignature = [-1, 8, 8, 4]
        subgraph.tensors[1].shape = [1, 1, 1, 4]  # such files hold nonsense here

    data = edited(relu_graph(), batch)
    assert read_tflite(data).shapes == ((1, 8, 8, 4),) * 2
    assert read_tflite(data, [(3, 8, 8, 4)]).shapes == ((3, 8, 8, 4),) * 2
    with pytest.raises(ModelFileError, match=r"\(-1, 8, 8, 4\) \(-1 is any size\), not \(1, 9"):
        read_tflite(data, [(1, 9, 8, 4)])
    with pytest.raises(ModelFileError, match="1 input"):
        read_tflite(data, [])

    def everything(_: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        subgraph.tensors[0].shape = [1, 1, 1, 4]
        subgraph.tensors[0].shapeSignature = [-1, -1, -1, 4]

    data = edited(relu_graph(), everything)
    with pytest.raises(ModelFileError, match=r"dynamic shape.*input_shapes"):
        read_tflite(data)
    assert read_tflite(data, [(1, 5, 6, 4)]).shapes[-1] == (1, 5, 6, 4)


def set_code(number: int) -> Callable[[schema.ModelT, schema.SubGraphT], None]:
    def edit(whole: schema.ModelT, _: schema.SubGraphT) -> None:
        whole.operatorCodes[0].builtinCode = number
        whole.operatorCodes[0].deprecatedBuiltinCode = min(number, 127)
        whole.operatorCodes[0].customCode = "Fancy" if number == 32 else None

    return edit


def test_unknown_operators_are_all_named_with_their_number() -> None:
    b, x = written()
    graph = b.build(b.relu(b.relu(x)))
    with pytest.raises(UnsupportedOpError, match=r"read: MIRROR_PAD x2; it reads.*CONV_2D"):
        read_tflite(edited(graph, set_code(100)))
    with pytest.raises(UnsupportedOpError, match="CUSTOM 'Fancy' x2"):
        read_tflite(edited(graph, set_code(32)))
    with pytest.raises(UnsupportedOpError, match="SIGN x2"):
        read_tflite(edited(graph, set_code(158)))
    with pytest.raises(UnsupportedOpError, match="operator 9999 x2"):
        read_tflite(edited(graph, set_code(9999)))


@pytest.mark.parametrize("name", ["UINT8", "INT16"])
def test_other_integers_are_refused(name: str) -> None:
    def quantise(_: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        for tensor in subgraph.tensors:
            tensor.type = getattr(schema.TensorType, name)

    with pytest.raises(UnsupportedOpError, match=rf"RELU of {name} x1.*quantise to int8 or not"):
        read_tflite(edited(relu_graph(), quantise))


def test_control_flow_is_refused() -> None:

    def double(whole: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        whole.subgraphs.append(subgraph)

    with pytest.raises(ModelFileError, match=r"2 subgraphs.*control flow"):
        read_tflite(edited(relu_graph(), double))


def test_operators_out_of_order_are_refused() -> None:
    b, x = written()
    graph = b.build(b.relu(b.relu6(x)))

    def turn(_: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        subgraph.operators.reverse()

    with pytest.raises(ModelFileError, match=r"operator 0 \(RELU\).*before it is computed"):
        read_tflite(edited(graph, turn))

    def loop(_: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        subgraph.operators[0].inputs = subgraph.operators[1].outputs

    with pytest.raises(ModelFileError, match="before it is computed"):
        read_tflite(edited(graph, loop))

    def twice(_: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        subgraph.operators[1].outputs = subgraph.operators[0].outputs

    with pytest.raises(ModelFileError, match="computed twice"):
        read_tflite(edited(graph, twice))


def test_constants_may_stand_left() -> None:
    def swap(_: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        operator = subgraph.operators[0]
        operator.inputs = list(operator.inputs)[::-1]

    for kind in ("add", "mul"):
        b, x = written()
        graph = b.build(b.apply(Binary(kind, value=2.0), x))  # type: ignore[arg-type]
        assert read_tflite(edited(graph, swap)).to_text() == graph.to_text()
    b, x = written()
    graph = b.build(b.apply(Binary("sub", value=2.0), x))
    assert read_tflite(edited(graph, swap)).nodes[0].op == Binary("sub", value=2.0, swapped=True)


def test_activations_fused_where_a_graph_has_none_come_apart() -> None:
    def fuse(_: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        subgraph.operators[0].builtinOptions.fusedActivationFunction = 1

    b, x = written()
    graph = read_tflite(edited(b.build(b.average_pool(x, 2)), fuse))
    assert [node.op.name for node in graph.nodes] == ["pool", "activation"]
    assert graph.outputs == (2,)
    b, x = written()
    graph = read_tflite(edited(b.build(b.concat([x, x])), fuse))
    assert graph.nodes[1].op == Activation("relu")


def test_strided_slices_of_activations_become_slices() -> None:
    b, x = written()
    graph = b.build(b.slice(x, (0, 1, 1, 0), (1, 7, 7, 4)))

    def strided(end_mask: int, strides: list[int]) -> bytes:
        def edit(whole: schema.ModelT, subgraph: schema.SubGraphT) -> None:
            whole.operatorCodes[0].builtinCode = Code.STRIDED_SLICE
            whole.operatorCodes[0].deprecatedBuiltinCode = Code.STRIDED_SLICE
            operator = subgraph.operators[0]
            operator.builtinOptionsType = schema.BuiltinOptions.StridedSliceOptions
            operator.builtinOptions = schema.StridedSliceOptionsT()
            operator.builtinOptions.beginMask = 0b1001
            operator.builtinOptions.endMask = end_mask
            buffer, tensor = schema.BufferT(), schema.TensorT()
            buffer.data = np.array(strides, np.int32).view(np.uint8)
            tensor.shape, tensor.type, tensor.buffer = [4], 2, len(whole.buffers)
            whole.buffers.append(buffer)
            subgraph.tensors.append(tensor)
            operator.inputs = [*operator.inputs, len(subgraph.tensors) - 1]

        return edited(graph, edit)

    assert read_tflite(strided(0b1111, [1, 1, 1, 1])).nodes[0].op == graph.nodes[0].op
    assert read_tflite(strided(0b0011, [1] * 4)).nodes[0].op == Slice((0, 1, 1, 0), (1, 7, 6, 4))
    every_other = read_tflite(strided(0b1111, [1, 2, 1, 1])).nodes[0].op
    assert every_other == Slice((0, 1, 1, 0), (1, 4, 7, 4), (1, 2, 1, 1))
    with pytest.raises(UnsupportedOpError, match="goes backwards"):
        read_tflite(strided(0b1111, [1, -1, 1, 1]))
    with pytest.raises(UnsupportedOpError, match="stands still"):
        read_tflite(strided(0b1111, [1, 0, 1, 1]))


@pytest.mark.parametrize("axes", [[], [0, 1]])
def test_a_split_has_one_axis(axes: list[int]) -> None:
    b, x = written()

    def split(whole: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        set_code(Code.SPLIT)(whole, subgraph)
        shape = subgraph.tensors[subgraph.operators[0].inputs[1]]
        shape.shape = [len(axes)]
        whole.buffers[shape.buffer].data = np.array(axes, np.int32).view(np.uint8)
        subgraph.operators[0].inputs = list(subgraph.operators[0].inputs)[::-1]
        subgraph.operators[0].builtinOptions = None

    with pytest.raises(ModelFileError, match="names the axes"):
        read_tflite(edited(b.build(b.reshape(x, (1, 256))), split))


def test_integer_arithmetic() -> None:
    shape = np.array([1, 7, 5, 3])
    masks = dict.fromkeys(
        ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask", "offset"),
        0,
    )
    one = [np.array([value]) for value in (1, 2, 1)]
    width = integers.evaluate(Code.STRIDED_SLICE, [shape, *one], {**masks, "shrink_axis_mask": 1})
    assert width == 7
    packed = integers.evaluate(Code.PACK, [np.array(1), width, shape[3]], {"axis": 0})
    assert packed.tolist() == [1, 7, 3]
    taken = integers.evaluate(Code.GATHER, [shape, np.array([3, 0])], {"axis": 0, "batch_dims": 0})
    assert taken.tolist() == [3, 1]
    total = integers.evaluate(Code.REDUCE_PROD, [shape, np.array([0])], {"keep_dims": 0})
    assert total == 105
    with pytest.raises(ValueError, match="integers"):
        integers.evaluate(Code.CONCATENATION, [shape] * 20, {"axis": 0})


# Anything else


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty; expected a .tflite file"),
        (b"hello", "only 5 bytes"),
        (b"# A text file\nwith words", "starts with b'# A text', without TFL3"),
        (b"PK\x03\x04 and so on", "zip archive.*convert it first"),
        (b"\x89HDF\r\n\x1a\n and so on", "HDF5.*convert it first"),
        (b"\0\0\0\0TFL3", "damaged or cut off after 8 bytes"),
    ],
)
def test_what_is_not_a_tflite_file_is_told_clearly(data: bytes, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_tflite(data)


def test_paths_that_hold_no_file_are_told_clearly(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"missing\.tflite does not exist"):
        load_tflite(tmp_path / "missing.tflite")
    with pytest.raises(ModelFileError, match="is not a file"):
        load_tflite(tmp_path)
    with pytest.raises(ModelFileError, match=r"not a path|does not exist"):
        load_tflite("a\0b")
    file = tmp_path / "text.tflite"
    file.write_text("no network at all")
    with pytest.raises(ModelFileError, match=r"text\.tflite: the file starts with"):
        load_tflite(file)
    file.write_bytes(to_tflite(relu_graph()))
    assert load_tflite(str(file)) == relu_graph()


def small_file() -> bytes:
    b, x = written(1, 6, 6, 2)
    y = b.conv(b.conv(b.pad(x, (1, 1, 1, 1)), 4, 3, padding="valid"), 2, 1, padding=(1, 1, 0, 0))
    y = b.concat([b.slice(y, (0, 0, 0, 0), (1, 6, 6, 2)), x])
    y = sixth(b, shifted(b, b.resize(b.max_pool(y, 2), (4, 4))))
    y = b.reshape(b.mean(y, keepdims=False), (1, 4))
    return to_tflite(b.build(b.softmax(b.fully_connected(y, 3))))


def transformer_file() -> bytes:
    """Return a file with the operators that transformers bring."""
    b = GraphBuilder((1, 6, 8))
    x = b.concat([b.input, b.apply(Constant((1, 1, 8)))], axis=1)
    x = b.apply(Binary("add", constant=(7, 8)), x)
    spread = b.apply(Binary("squared_difference"), x, b.apply(Reduce("mean", (2,)), x))
    x = b.mul(x, b.activation(b.apply(Reduce("mean", (2,)), spread), "rsqrt"))
    q = b.transpose(b.reshape(b.dense(x, 8), (1, 7, 2, 4)), (0, 2, 1, 3))
    scores = b.matmul(q, q, adj_y=True)
    guard = b.apply(Select(), scores, scores)
    x = b.matmul(b.softmax(guard), b.apply(Gather(2, 7), q))
    x = b.apply(BatchMatmul(constant=(4, 3)), b.activation(x, "gelu_tanh"))
    x = b.apply(Slice((0, 0, 0, 0), (1, 2, 3, 2), (1, 1, 2, 2)), x)
    x = b.apply(Tile((1, 1, 2, 2)), b.apply(Prelu((2,)), x))
    x = b.apply(TransposeConv2D(4, (3, 3), (2, 2), (4, 12)), x)
    x = b.apply(DepthToSpace(2), b.activation(x, "elu"))
    return to_tflite(b.build(b.apply(Broadcast((2, 8, 24, 1)), x)))


def try_to_read(data: bytes) -> None:
    started = time.monotonic()
    try:
        graph = read_tflite(data)
    except LatlasError as error:
        assert isinstance(error, ModelFileError)
        assert str(error)
    else:
        check_shapes(graph)
        fold(graph)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("file", [small_file, transformer_file])
def test_truncated_files_raise_one_kind_of_error(file: Callable[[], bytes]) -> None:
    data = file()
    read_tflite(data)
    for length in range(0, len(data), 7):
        try_to_read(data[:length])


@pytest.mark.parametrize("file", [small_file, transformer_file])
def test_damaged_files_raise_one_kind_of_error(file: Callable[[], bytes]) -> None:
    data = file()
    rng = np.random.default_rng(0)
    values = np.array([0, 1, 2, 3, 4, 127, 128, 254, 255], np.uint8)
    for _ in range(2500):
        damaged = np.frombuffer(data, np.uint8).copy()
        where = rng.integers(8, len(data), rng.integers(1, 4))
        damaged[where] = rng.choice(values, len(where))
        try_to_read(damaged.tobytes())
    for offset in range(8, len(data) - 4, 4):  # every word becomes huge
        try_to_read(data[:offset] + b"\xff\xff\xff\x7f" + data[offset + 4 :])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_raise_one_kind_of_error(tail: bytes) -> None:
    with pytest.raises(ModelFileError):
        read_tflite(b"\x10\0\0\0TFL3" + tail)


def test_tensors_that_grow_without_end_are_refused() -> None:
    b, x = written(1, 2)
    for _ in range(3):
        x = b.apply(Tile((1, 1)), x)

    def grow(whole: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        (multiples,) = {operator.inputs[1] for operator in subgraph.operators[:3]}
        buffer = whole.buffers[subgraph.tensors[multiples].buffer]
        buffer.data = np.array([2**31 - 1] * 2, np.int32).view(np.uint8)
        whole.operatorCodes[1].builtinCode = Code.SHAPE
        whole.operatorCodes[1].deprecatedBuiltinCode = Code.SHAPE
        subgraph.tensors[subgraph.operators[3].outputs[0]].type = schema.TensorType.INT32

    with pytest.raises(ModelFileError, match=r"operator 0 \(TILE\): its output has the impossible"):
        read_tflite(edited(b.build(b.relu(x)), grow))


@pytest.mark.parametrize("shape", [(2**31 - 1,) * 7 + (2,), (2**29, 2)])
@pytest.mark.parametrize("place", ["bias", "addend", "threshold", "output"])
def test_a_constant_that_is_repeated_very_often_takes_no_memory(
    shape: tuple[int, ...], place: str
) -> None:
    b, x = written(1, 2)
    spread = b.apply(Broadcast((1, 2)), b.apply(Constant((2,))))
    graph, operand = {
        "bias": lambda: (b.build(b.fully_connected(x, 4)), 2),
        "addend": lambda: (b.build(b.apply(Binary("add", constant=(2,)), x)), 1),
        "threshold": lambda: (b.build(b.apply(Select(), x, x)), 1),
        "output": lambda: (b.build(b.relu(x), spread), None),
    }[place]()

    def repeat(whole: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        first, second = subgraph.operators[:2]
        sizes = subgraph.tensors[first.inputs[1]]
        sizes.shape = [len(shape)]
        whole.buffers[sizes.buffer].data = np.array(shape, np.int32).view(np.uint8)
        if operand is not None:
            second.inputs = [
                *second.inputs[:operand],
                *first.outputs,
                *second.inputs[operand + 1 :],
            ]

    data = edited(graph, repeat)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError):
            read_tflite(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_large_constants_are_not_compared_with_one_number_again_and_again() -> None:
    b, x = written(1, 2)
    for _ in range(60):
        x = b.apply(Select(), x, x)

    def enlarge(whole: schema.ModelT, subgraph: schema.SubGraphT) -> None:
        values = subgraph.tensors[subgraph.operators[0].inputs[1]]
        whole.buffers[values.buffer].data = np.zeros(1 << 20, np.float32).view(np.uint8)
        for operator in subgraph.operators[::2]:
            own = copy.copy(values)
            own.shape = [1 << 20]
            subgraph.tensors.append(own)
            operator.inputs = [operator.inputs[0], len(subgraph.tensors) - 1]
        values.shape = [1 << 20]

    with pytest.raises(ModelFileError, match="share their weights too often"):
        read_tflite(edited(b.build(x), enlarge))


def test_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_file()
    monkeypatch.setattr(model, "MAX_OPERANDS", 5)
    with pytest.raises(ModelFileError, match="more than 5 operands"):
        read_tflite(data)
    monkeypatch.setattr(model, "MAX_OPERATORS", 3)
    with pytest.raises(ModelFileError, match="more than the 3 that are read"):
        read_tflite(data)
