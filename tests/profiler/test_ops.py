import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import every_op

from latlas.profiler.errors import GraphError
from latlas.profiler.ops import (
    OPS,
    BatchNorm,
    Binary,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Op,
    Pad,
    Pool,
    Reshape,
    Resize,
    Shape,
    Slice,
    same_padding,
)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "padding"),
    [  # as tf.nn.conv2d documents "SAME": the odd zero goes to the bottom and to the right
        ((224, 224), (3, 3), (2, 2), (1, 1), (0, 1, 0, 1)),
        ((7, 7), (5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
        ((7, 8), (3, 3), (2, 2), (1, 1), (1, 1, 0, 1)),
        ((9, 9), (3, 3), (1, 1), (2, 2), (2, 2, 2, 2)),
        ((5, 5), (1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
        ((1, 1), (5, 3), (2, 2), (1, 1), (2, 2, 1, 1)),
        ((4, 4), (2, 2), (1, 1), (1, 1), (0, 1, 0, 1)),
    ],
)
def test_same_padding(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> None:
    assert same_padding(size, kernel, stride, dilation) == padding


@given(*[st.tuples(st.integers(1, 40), st.integers(1, 40))] * 2, st.integers(1, 5))
def test_same_padding_divides_the_size_by_the_stride(
    size: tuple[int, int], kernel: tuple[int, int], stride: int
) -> None:
    padding = same_padding(size, kernel, (stride, stride))
    op = Conv2D(4, kernel, (stride, stride), padding)
    assert op.infer(((1, *size, 3),)) == (1, -(-size[0] // stride), -(-size[1] // stride), 4)


@pytest.mark.parametrize(
    ("op", "inputs", "output"),
    [
        (Conv2D(8, (3, 3)), [(1, 10, 12, 3)], (1, 8, 10, 8)),
        (Conv2D(8, (3, 3), (2, 2)), [(1, 10, 12, 3)], (1, 4, 5, 8)),
        (Conv2D(8, (3, 3), dilation=(2, 3)), [(1, 10, 12, 3)], (1, 6, 6, 8)),
        (Conv2D(8, (3, 3), (2, 2), (1, 2, 0, 3)), [(2, 10, 12, 3)], (2, 6, 7, 8)),
        (Conv2D(6, (1, 1), groups=3), [(1, 4, 4, 9)], (1, 4, 4, 6)),
        (DepthwiseConv2D((3, 3), (2, 2), (0, 1, 0, 1)), [(1, 8, 8, 5)], (1, 4, 4, 5)),
        (DepthwiseConv2D((5, 1), multiplier=3), [(1, 8, 8, 5)], (1, 4, 8, 15)),
        (FullyConnected(10), [(1, 2, 2, 5)], (1, 10)),
        (BatchNorm(), [(1, 2, 2, 5)], (1, 2, 2, 5)),
        (Binary("add"), [(1, 4, 4, 8), (1, 1, 1, 8)], (1, 4, 4, 8)),
        (Binary("sub"), [(1, 1, 1, 8), (2, 4, 4, 1)], (2, 4, 4, 8)),
        (Binary("mul"), [(1, 4, 4, 8), (8,)], (1, 4, 4, 8)),
        (Binary("mul", constant=(4, 8)), [(1, 1, 1, 8)], (1, 1, 4, 8)),
        (Binary("add", constant=()), [(1, 4)], (1, 4)),
        (Concat(), [(1, 4, 4, 3), (1, 4, 4, 5)], (1, 4, 4, 8)),
        (Concat(1), [(1, 4, 4, 3), (1, 2, 4, 3)], (1, 6, 4, 3)),
        (Pool("max", (3, 3), (2, 2)), [(1, 9, 8, 4)], (1, 4, 3, 4)),
        (Mean(), [(1, 7, 7, 4)], (1, 1, 1, 4)),
        (Mean(keepdims=False), [(1, 7, 7, 4)], (1, 4)),
        (Reshape((1, 12)), [(1, 2, 2, 3)], (1, 12)),
        (Pad((1, 2, 3, 4)), [(1, 5, 5, 2)], (1, 8, 12, 2)),
        (Slice((0, 1, 1, 0), (1, 3, 2, 4)), [(1, 4, 4, 4)], (1, 3, 2, 4)),
        (Resize((3, 9)), [(1, 4, 4, 4)], (1, 3, 9, 4)),
    ],
)
def test_output_shapes(op: Op, inputs: list[Shape], output: Shape) -> None:
    assert op.infer(tuple(inputs)) == output


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (Conv2D(8, (5, 5)), [(1, 4, 4, 3)], "larger than its padded input"),
        (Conv2D(8, (3, 3), groups=2), [(1, 4, 4, 3)], "groups do not divide"),
        (Conv2D(9, (3, 3), groups=2), [(1, 4, 4, 4)], "groups do not divide"),
        (Conv2D(0, (3, 3)), [(1, 4, 4, 3)], "positive"),
        (Conv2D(4, (3, 3), groups=0), [(1, 4, 4, 3)], "positive"),
        (Conv2D(4, (1, 1), (0, 1)), [(1, 4, 4, 3)], "positive"),
        (Conv2D(4, (1, 1), padding=(-1, 0, 0, 0)), [(1, 4, 4, 3)], "negative"),
        (Conv2D(4, (1, 1)), [(1, 4, 3)], "rank 4"),
        (Conv2D(4, (1, 1)), [(1, 4, 4, 3)] * 2, "1 input"),
        (DepthwiseConv2D((1, 1), multiplier=0), [(1, 4, 4, 3)], "positive"),
        (FullyConnected(4), [(4,)], "batch"),
        (Binary("add"), [(1, 4)], "2 input"),
        (Binary("add"), [(1, 4), (1, 3)], "broadcast"),
        (Binary("add", constant=(1,), value=1.0), [(1, 4)], "not both"),
        (Concat(), [(1, 4, 4, 3), (1, 4, 5, 3)], "differ"),
        (Concat(4), [(1, 4, 4, 3)], "outside the rank"),
        (Concat(), [], "at least one"),
        (Reshape((1, 5)), [(1, 4)], "as many elements"),
        (Reshape((-2, -2)), [(1, 4)], "as many elements"),
        (Pad((0, 0, 0, -1)), [(1, 4, 4, 3)], "negative"),
        (Slice((0, 1), (1, 4)), [(1, 4)], "outside its input"),
        (Slice((0,), (1,)), [(1, 4)], "rank"),
        (Resize((0, 4)), [(1, 4, 4, 3)], "positive"),
    ],
)
def test_wrong_shapes_are_refused(op: Op, inputs: list[Shape], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        op.infer(tuple(inputs))


def test_multiply_adds_and_weights() -> None:
    shape = ((1, 8, 8, 6),)
    assert Conv2D(4, (3, 3), padding=(1, 1, 1, 1)).madds(shape) == 8 * 8 * 4 * 3 * 3 * 6
    assert Conv2D(4, (3, 3), padding=(1, 1, 1, 1), groups=2).madds(shape) == 8 * 8 * 4 * 3 * 3 * 3
    assert DepthwiseConv2D((3, 3), (2, 2)).madds(shape) == 3 * 3 * 6 * 9
    assert FullyConnected(10).madds(shape) == 8 * 8 * 6 * 10
    assert Conv2D(4, (3, 5), groups=2).weights(shape) == {"kernel": (4, 3, 5, 3), "bias": (4,)}
    assert DepthwiseConv2D((3, 5), multiplier=2, bias=False).weights(shape) == {
        "kernel": (1, 3, 5, 12)
    }
    assert FullyConnected(10, bias=False).weights(shape) == {"kernel": (10, 384)}


def test_every_operator_is_tried() -> None:
    assert {op.name for op in every_op()} == set(OPS)
