from __future__ import annotations

import json
from pathlib import Path

import pytest
from tables import kernel, measured, write

from latlas.predictor.blocks import blocks_of
from latlas.predictor.lookup_table import key_of, lookup_table
from latlas.profiler.errors import TableError
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.quantise import quantise
from latlas.search.spaces import FairnasSpace, MogaSpace


def key(text: str, dialect: str = "proxylessnas") -> str | None:
    return key_of(Graph.from_text(text), "ofa" if dialect == "ofa" else "proxylessnas")


def test_blocks_of_fairnas_have_the_keys_of_proxylessnas() -> None:
    space = FairnasSpace()
    keys = {
        (index, values): key_of(fold(block), "proxylessnas")
        for index, values, block in blocks_of(space)
        if block.nodes
    }
    assert keys[1, (0,)] == (
        "expanded_conv-input:112x112x16-output:56x56x32-expand:3-kernel:3-stride:2-idskip:0"
    )
    assert keys[2, (5,)] == (
        "expanded_conv-input:56x56x32-output:56x56x32-expand:6-kernel:7-stride:1-idskip:1"
    )
    # The stem and the tail are more than one layer there.
    last = len(space.choices) + 1
    assert {index for (index, _), key in keys.items() if key is None} == {0, last}


def test_blocks_of_moga_have_the_keys_of_ofa() -> None:
    blocks = {(i, v): fold(block) for i, v, block in blocks_of(MogaSpace())}
    keys = {at: key_of(block, "ofa") for at, block in blocks.items()}
    plain, squeezed = (
        "expanded_conv-input:112x112x16-output:56x56x24-expand:48-kernel:3-stride:2-idskip:0"
        f"-se:{squeeze}-hs:0"
        for squeeze in (0, 1)
    )
    assert (keys[1, (0,)], keys[1, (1,)]) == (plain, squeezed)
    named = [key for key in keys.values() if key is not None]
    assert sum("-hs:1" in key for key in named) > 0
    assert sum("-idskip:1" in key for key in named) > 0
    assert len(named) == len(keys) - 2
    assert key_of(blocks[1, (1,)], "proxylessnas") is None


@pytest.mark.parametrize(
    ("text", "proxylessnas", "ofa"),
    [
        (
            "1x224x224x3 | conv2d filters=32 kernel=3x3 stride=2x2 padding=0x1x0x1 "
            "activation=relu6 @0 | @1",
            "Conv-input:224x224x3-output:112x112x32",
            "Conv-input:224x224x3-output:112x112x32",
        ),
        (
            "1x7x7x320 | conv2d filters=1280 kernel=1x1 activation=relu6 @0 | @1",
            "Conv_1-input:7x7x320-output:7x7x1280",
            "Conv_1-input:7x7x320-output:7x7x1280",
        ),
        (
            "1x7x7x1280 | mean keepdims=0 @0 | fully_connected units=1000 @1 | @2",
            "Logits-input:7x7x1280-output:1000",
            None,
        ),
        ("1x1280 | fully_connected units=1000 @0 | @1", None, "Logits-input:1x1x1280-output:1000"),
        ("1x7x7x960 | mean @0 | @1", None, "AvgPool2D-input:7x7x960-output:1x1x960"),
        (
            "1x1x1x960 | conv2d filters=1280 kernel=1x1 @0 | activation kind=hard_swish @1 | @2",
            None,
            "Conv_2-input:1x1x960-output:1x1x1280",
        ),
        ("1x7x7x960 | conv2d filters=8 kernel=3x3 padding=1x1x1x1 @0 | @1", None, None),
        ("2x7x7x960 | conv2d filters=8 kernel=1x1 @0 | @1", None, None),
        ("1x7x7x8,1x7x7x8 | binary kind=add @0,1 | @2", None, None),
    ],
)
def test_keys_of_single_layers(text: str, proxylessnas: str | None, ofa: str | None) -> None:
    assert (key(text), key(text, "ofa")) == (proxylessnas, ofa)


def test_int8_has_no_keys() -> None:
    graph = Graph.from_text("1x7x7x320 | conv2d filters=1280 kernel=1x1 @0 | @1")
    assert key_of(quantise(graph, int8_ends=True), "ofa") is None


def test_figures(tmp_path: Path) -> None:
    chains = [measured("probe", f"chain of {n}", _chain(n), 5.0 + 10.0 * n) for n in (1, 2, 4)]
    layers = [
        measured("kernel", "conv2d", f"1x8x8x8 | conv2d filters=4 kernel=1x1{act} @0 | @1", time_us)
        for act, time_us in (("", 105.0), (" activation=relu", 205.0))
    ]
    table = write(tmp_path / "t", [*chains, *layers, measured("kernel", "relu", _RELU, 7.0)])
    found = lookup_table(table, "ofa")
    assert json.loads(found.to_yaml()) == {
        "Conv_1-input:8x8x8-output:8x8x4": {"mean": 0.15, "count": 42}
    }
    assert found.left_out == {f"kernel {_RELU}": "no layer of its own there"}


_RELU = "1x8x8x8 | activation kind=relu @0 | @1"


def _chain(length: int) -> str:
    nodes = " | ".join(f"conv2d filters=4 kernel=1x1 @{i}" for i in range(length))
    return f"1x8x8x4 | {nodes} | @{length}"


def test_a_table_without_such_layers(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="--granularity block"):
        lookup_table(write(tmp_path / "t", [measured("kernel", "relu", _RELU, 7.0)]), "ofa")
    assert lookup_table(write(tmp_path / "u", [kernel(3, 7.0)]), "ofa").entries
