"""Operators as text: every one is read back, anything else is refused."""

import pytest
from random_graphs import every_op

from latlas.profiler.errors import GraphError
from latlas.profiler.op_text import from_text, to_text
from latlas.profiler.ops import Op


@pytest.mark.parametrize("op", every_op(), ids=lambda op: to_text(op).partition(" ")[0])
def test_text_round_trip(op: Op) -> None:
    assert from_text(to_text(op)) == op


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "conv3d",
        "softmax axis=1",
        "conv2d filters=8",
        "conv2d filters= kernel=3x3",
        "conv2d filters kernel=3x3",
        "conv2d filters=8 filters=9 kernel=3x3",
        "conv2d filters=8 kernel=3",
        "conv2d filters=8 kernel=3x3x3",
        "conv2d filters=٣ kernel=3x3",
        "conv2d filters=1_0 kernel=3x3",
        "conv2d filters=+8 kernel=3x3",
        "conv2d filters=8.0 kernel=3x3",
        "conv2d filters=99999999999 kernel=3x3",
        "conv2d filters=8 kernel=3x3 bias=2",
        "conv2d filters=8 kernel=3x3 activation=hard_swish",
        "activation kind=none",
        "activation kind=Literal",
        "batch_norm epsilon=nan",
        "batch_norm epsilon=inf",
        "batch_norm epsilon=1e999",
        "binary kind=add constant=",
        "reshape shape=1x1x1x1x1x1x1x1x1",
    ],
)
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(GraphError):
        from_text(text)


@pytest.mark.parametrize(
    "text",
    [
        f"conv2d filters={'9' * 100_000} kernel=3x3",
        f"binary kind=mul value={'9' * 100_000}",
        f"binary kind=mul value=1e{'9' * 100_000}",
        f"reshape shape={'x'.join(['9' * 9] * 10_000)}",
        f"{'a' * 100_000}",
        f"softmax {' '.join(f'a{i}=1' for i in range(20_000))}",
    ],
    ids=lambda text: text[:30],
)
@pytest.mark.timeout(20)
def test_long_text_is_refused_at_once_and_briefly(text: str) -> None:
    with pytest.raises(GraphError) as caught:
        from_text(text)
    assert len(str(caught.value)) < 1000
