"""Spaces that files define: the published ones written as files, and files that are damaged."""

from __future__ import annotations

import copy
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latlas.predictor.blocks import blocks_of
from latlas.predictor.genes import BlockSpace
from latlas.profiler.errors import LatlasError, SearchError, UsageError
from latlas.search import zoo
from latlas.search.spaces import BlockwiseSpace, TomlSpace, label_of, open_space, restore_space
from latlas.search.spaces.definition import DECISIONS
from latlas.search.spaces.definition_file import (
    BLOCK_KEYS,
    MAX_BLOCKS,
    MAX_BYTES,
    TAIL_KEYS,
    check_definition,
    parse_definition,
)

EXAMPLES = Path(__file__).parents[3] / "examples"
PUBLISHED = ("fairnas", "mnasnet", "moga")
BASE: dict[str, Any] = {
    "name": "mine",
    "blocks": [
        {"operator": "conv", "filters": 8, "stride": 2},
        {"operator": "mbconv6", "filters": 8, "kernel": [3, 5]},
    ],
}


def example(name: str, **common: Any) -> TomlSpace:
    space = open_space(f"toml:{EXAMPLES / name}.toml", **common)
    assert isinstance(space, TomlSpace)
    return space


def space_of(document: dict[str, Any], **common: Any) -> TomlSpace:
    return TomlSpace(**common, definition=check_definition(document))


def changed(*changes: dict[str, Any], **top: Any) -> dict[str, Any]:
    """Return `BASE` with changes to its second block, None removing a key, and to the rest."""
    document = copy.deepcopy(BASE) | top
    for change in changes:
        block = document["blocks"][1] | change
        document["blocks"][1] = {key: each for key, each in block.items() if each is not None}
    return document


@pytest.mark.parametrize("name", PUBLISHED)
@settings(max_examples=10, deadline=None)
@given(
    resolution=st.integers(8, 64),
    width=st.sampled_from([0.35, 1.0, 1.3]),
    seed=st.integers(0, 1000),
)
def test_published_spaces_as_files(name: str, resolution: int, width: float, seed: int) -> None:
    common: dict[str, Any] = {"resolution": resolution, "width": width, "classes": 10}
    space, published = example(name, **common), open_space(name, **common)
    assert isinstance(published, BlockwiseSpace)
    assert (space.choices, space.groups) == (published.choices, published.groups)
    for genes in published.sample(2, seed):
        assert space.decode(genes) == published.decode(genes)
        for index, group in enumerate(space.groups):
            values = [genes[position] for position in group]
            assert space.block(index, values) == published.block(index, values)


def test_mobilenet_v3_lies_in_its_example() -> None:
    space = example("mobilenet_v3")
    narrow = {"operator": "mbconv", "expansion": 2.3, "kernel": 3}
    chosen: list[dict[str, Any]] = [
        {"kernel": 3, "expansion": 4},
        {"kernel": 3, "expansion": 3},
        *[{"kernel": 5, "expansion": 3, "se": 0.25}] * 3,
        {"kernel": 3, "filters": 80},
        {"kernel": 3, "expansion": 2.5},
        *[{"choices": narrow}] * 2,
        {"kernel": 3, "se": 0.25, "layers": 2},
        *[{"kernel": 5, "se": 0.25}] * 3,
    ]
    genes = space.encode(chosen)
    assert space.describe(genes) == tuple(chosen)
    assert space.decode(genes) == zoo.build("mobilenet_v3_large")
    shallow = space.encode([*chosen[:7], *[{"choices": {"operator": "identity"}}] * 2, *chosen[9:]])
    assert len(space.decode(shallow).nodes) < len(space.decode(genes).nodes)
    for wrong in (chosen[1:], [{}, *chosen[1:]], [{"kernel": 9, "expansion": 4}, *chosen[1:]]):
        with pytest.raises(SearchError, match=r"mobilenet_v3"):
            space.encode(wrong)


@pytest.mark.parametrize("name", [*PUBLISHED, "mobilenet_v3"])
def test_they_are_spaces_like_others(name: str, tmp_path: Path) -> None:
    space = example(name, resolution=17, width=0.5, classes=3)
    assert isinstance(space, BlockSpace)
    rng = np.random.default_rng(0)
    for genes in space.sample(5, seed=0):
        assert space.decode(space.encode(space.describe(genes))) == space.decode(genes)
        other = space.mutate(genes, rng)
        assert sum(a != b for a, b in zip(genes, other, strict=True)) == 1
        assert space.decode(other).shapes[-1] == (1, 3)
    # A study finds its space again without the file.
    again = restore_space(json.loads(json.dumps(space.identity)))
    assert again == space
    assert label_of(again) == label_of(space) != space.name
    copied = tmp_path / "renamed.toml"
    copied.write_bytes((EXAMPLES / f"{name}.toml").read_bytes().replace(b"\n", b"\r\n"))
    common = {"resolution": 17, "width": 0.5, "classes": 3}
    assert open_space(f"toml:{copied}", **common) == space  # type: ignore[arg-type]


def test_a_block_that_is_left_out_has_no_nodes() -> None:
    space = example("mobilenet_v3", resolution=32)
    empty = [(index, values) for index, values, block in blocks_of(space) if not block.nodes]
    assert len(empty) == 2


@pytest.mark.parametrize("genes", ["separate", "joint"])
def test_genes_are_in_a_fixed_order(genes: str) -> None:
    block = {"activation": ["relu", "relu6"], "filters": [8, 16, 24], "genes": genes}
    space = space_of(changed(block), resolution=16)
    values = {"kernel": 5, "filters": 16, "activation": "relu6"}
    expected = {"separate": ((2, 3, 2), (1, 1, 1)), "joint": ((12,), ((1 * 3 + 1) * 2 + 1,))}
    assert (space.choices, space.encode([values])) == expected[genes]
    assert (
        space.groups
        == {
            "separate": ((), (0, 1, 2), (1,)),
            "joint": ((), (0,), (0,)),
        }[genes]
    )
    assert space.block(2, space.encode([values])[:1] if genes == "joint" else (1,)).inputs == (
        (1, 8, 8, 16),
    )


def test_choices_may_decide_the_filters() -> None:
    tables = [{"filters": 8, "operator": "conv"}, {"filters": 16, "operator": "mbconv3"}]
    document = changed({"choices": tables, "operator": None, "filters": None})
    space = space_of(document, resolution=16)
    assert space.choices == (2, 2)
    assert space.groups == ((), (0, 1), (0,))
    assert space.decode((1, 0)).shapes[-3] == (1, 8, 8, 16)


def test_defaults_hold_for_every_block() -> None:
    document = changed(defaults={"kernel": 7, "activation": "elu"})
    text = space_of(document, resolution=16).decode((0,)).to_text()
    assert "kernel=7x7 stride=2x2" in text
    assert text.count("kind=elu") == 3


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({}, r"name must be small letters"),
    (changed(name="My Space"), r"name must be .*, got 'My Space'"),
    (changed(notes=3), r"notes must be text, got 3"),
    (changed(blokcs=[]), r"unknown key 'blokcs'; known are name, notes"),
    (changed(blocks=[]), r"blocks must be tables"),
    (changed(blocks=[3]), r"block 1: must be a table, got 3"),
    (changed(defaults=[]), r"defaults: must be a table"),
    (changed(defaults={"kernel": [3, 5]}), r"defaults: kernel must be an odd integer, 1 to 31"),
    (changed(defaults={"layer": 3}), r"defaults: unknown key 'layer'"),
    (changed(tail={"features": -1}), r"tail: features must be an integer, 0 to 16384, got -1"),
    (changed(tail={"dropout": float("nan")}), r"tail: dropout must be a number, 0 to 0.99"),
    (changed({"kernel": [3, 4]}), r"block 2: every kernel must be an odd integer.*got 4"),
    (changed({"kernel": []}), r"block 2: kernel has 1 to 64 values, not 0"),
    (changed({"kernel": [3, 3]}), r"block 2: kernel has a value twice"),
    (changed({"kernel": 3}), r"nothing is to be chosen"),
    (changed({"kernel": True}), r"block 2: kernel must be an odd integer"),
    (changed({"stride": [1, 2]}), r"block 2: stride must be an integer, 1 to 4, got \[1, 2\]"),
    (changed({"filters": None}), r"block 2: filters is missing"),
    (changed({"operator": None}), r"block 2: operator is missing"),
    (changed({"operator": "mbconv"}), r"block 2: expansion is missing"),
    (changed({"operator": ["mbconv3", "mbconv"]}), r"block 2: expansion is missing"),
    (changed({"expansion": 3}), r"block 2: mbconv6 says its expansion: remove"),
    (changed({"expansion": [3, 6]}), r"block 2: mbconv6 says its expansion: remove"),
    (changed({"operator": "mbconv99"}), r"block 2: expansion of mbconv99 must be a number"),
    (changed({"operator": "deconv"}), r"block 2: operator must be conv, separable"),
    (changed({"repeat": 0}), r"block 2: repeat must be an integer, 1 to 200"),
    (changed({"repeat": MAX_BLOCKS}), r"more than 200 blocks"),
    (changed({"repeat": 10, "layers": [1, 64]}), r"up to 641 layers, more than 400"),
    (changed({"genes": "both"}), r"block 2: genes must be separate or joint, got 'both'"),
    (
        changed({"genes": "joint", "filters": [*range(1, 33)], "layers": [*range(1, 20)]}),
        r"a gene of 1216 choices, more than 1024",
    ),
    (changed({"choices": [{"kernel": 3}]}), r"block 2: kernel is in choices and beside them"),
    (changed({"choices": [{"skip": "up"}]}), r"block 2: choice 1: skip must be one of"),
    (changed({"choices": [{"stride": 2}]}), r"choice 1: stride and scale cannot be chosen"),
    (changed({"choices": [3]}), r"block 2: choice 1: must be a table, got 3"),
    (changed({"choices": [{"choices": []}]}), r"choice 1: unknown key 'choices'"),
    (changed({"choices": {"skip": "none"}}), r"block 2: choices must be a list of tables"),
    (changed({"operator": ["conv", "identity"], "stride": 2}), r"an identity has stride 1, not 2"),
    (changed({"operator": ["conv", "identity"], "filters": 16}), r"filters of an identity must"),
    (changed({"operator": ["conv", "identity"], "scale": False}), r"filters of an identity must"),
    (changed({"operator": ["conv", "identity"], "filters": [8, 16]}), r"filters of an identity"),
    (
        {"name": "a", "blocks": [{"operator": ["conv", "identity"], "filters": 8}]},
        r"block 1: the filters of an identity .*there is none",
    ),
]


@pytest.mark.parametrize(("document", "words"), FAULTS, ids=[words for _, words in FAULTS])
def test_faults_name_the_file_and_the_key(
    document: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "space.toml"
    path.write_text(tomli_w.dumps(document))
    with pytest.raises(SearchError, match=words) as raised:
        open_space(f"toml:{path}")
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff", "not TOML"),
        (b"name = ", "not TOML"),
        (b"x = " + b"[" * 30_000, "not TOML"),
        (b"x = " + b"9" * 30_000, "not TOML|unknown key"),
        (b"a." * 5_000 + b"a = 1", "dots"),
        (b"#" * (MAX_BYTES + 1), "longer than 65536 bytes"),
        (b"name = 1979-05-27", "name must be"),
        (b'name = "a"\n[[blocks]]\noperator = ' + b"[" * 200 + b"]" * 200, "operator"),
    ],
)
def test_hostile_bytes(data: bytes, words: str) -> None:
    with pytest.raises(SearchError, match=words):
        parse_definition(data)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    for path in (tmp_path / "absent.toml", tmp_path, pipe, "a\0b"):
        with pytest.raises(SearchError, match=r"no file|cannot read"):
            open_space(f"toml:{path}")
    with pytest.raises(UsageError, match="no setting 'N'"):
        open_space(f"toml:{EXAMPLES / 'moga.toml'}", settings={"N": "4"})
    with pytest.raises(SearchError, match="must be a table"):
        open_space("toml")


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 40) | st.just(10**400),
    st.floats(),
    st.sampled_from(["conv", "identity", "mbconv", "mbconv6", "mbconv0", "none", "joint", ""]),
)
LISTS = VALUES | st.lists(VALUES, max_size=4) | st.dictionaries(st.text(max_size=3), VALUES)
KEYS = sorted(
    {
        *("operator", "filters", "kernel", "expansion", "se", "skip", "layers", "activation"),
        *("stride", "se_of", "gate", "scale", "repeat", "genes", "choices", "other"),
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    first=st.dictionaries(st.sampled_from(KEYS), LISTS, max_size=4),
    second=st.dictionaries(st.sampled_from(KEYS), LISTS, max_size=4),
    tail=st.dictionaries(st.sampled_from(["features", "bias", "dropout", "x"]), VALUES),
)
def test_any_document_is_a_space_or_refused(
    first: dict[str, Any], second: dict[str, Any], tail: dict[str, Any]
) -> None:
    document = {
        "name": "mine",
        "blocks": [BASE["blocks"][0] | first, BASE["blocks"][1] | second],
        "tail": tail,
    }
    try:
        space = space_of(document, resolution=9, classes=2)
    except LatlasError as problem:
        assert isinstance(problem, SearchError)
        return
    for genes in space.sample(2, seed=0):
        graph = space.decode(genes)
        assert graph.shapes[-1] == (1, 2)
        assert space.decode(space.encode(space.describe(genes))) == graph
        x = (1, 9, 9, 3)
        for index, group in enumerate(space.groups):
            block = space.block(index, [genes[position] for position in group])
            assert block.inputs == (x,)
            x = block.shapes[block.outputs[0]]


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_any_bytes_are_a_definition_or_refused(data: bytes, place: int) -> None:
    whole = (EXAMPLES / "mobilenet_v3.toml").read_bytes()
    for each in (data, whole[:place] + data[:3] + whole[place + 3 :]):
        try:
            parse_definition(each)
        except LatlasError as problem:
            assert isinstance(problem, SearchError)


def test_examples_are_what_tomllib_reads() -> None:
    for path in EXAMPLES.glob("*.toml"):
        document = tomllib.loads(path.read_text())
        assert check_definition(document) == parse_definition(path.read_bytes())


def test_the_reference_names_every_key_and_its_example_is_read() -> None:
    text = (EXAMPLES.parent / "docs" / "spaces.md").read_text()
    reference = text[text.index("## Your own") :]
    for key in (*BLOCK_KEYS, *TAIL_KEYS):
        assert f"\n| `{key}` |" in reference
    (written,) = re.findall(r"```toml\n(.*?)```", reference, re.DOTALL)
    space = TomlSpace(resolution=32, classes=2, definition=parse_definition(written.encode()))
    assert space.choices == (6, 6, 6, 6, 2)
    assert space.decode(space.sample(1, seed=0)[0]).shapes[-1] == (1, 2)
    assert f"`{'`, `'.join(DECISIONS[:6])}`,\n`{'`, `'.join(DECISIONS[6:])}`" in reference


def test_the_python_example_of_the_reference_runs() -> None:
    text = (EXAMPLES.parent / "docs" / "spaces.md").read_text()
    written, _ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(written, "spaces.md", "exec"), {})
