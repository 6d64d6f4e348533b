"""What holds for every space."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.profiler.count import count
from latlas.profiler.errors import SearchError, UsageError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.kernel import split
from latlas.profiler.target import Delegate
from latlas.search import zoo
from latlas.search.spaces import (
    BlockwiseSpace,
    MogaSpace,
    Space,
    label_of,
    open_space,
    restore_space,
)

SMALL_CELLS: dict[str, Any] = {"N": 1, "F": 12, "stem_filters": 8, "stem_reductions": 1}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "fairnas": ("fairnas", {}),
    "mnasnet": ("mnasnet", {}),
    "mnasnet of 5": ("mnasnet", {"blocks": 5}),
    "mnasnet as published": ("mnasnet", {"widths": "published"}),
    "mnasnet of own widths": ("mnasnet", {"blocks": 5, "widths": "8/16,24/32/48/64,72"}),
    "moga": ("moga", {}),
    "file": (f"toml:{Path(__file__).parents[3] / 'examples' / 'mobilenet_v3.toml'}", {}),
    "nasnet": ("nasnet", SMALL_CELLS),
    "nasnet b": ("nasnet", SMALL_CELLS | {"kind": "b"}),
    "nasnet c": ("nasnet", SMALL_CELLS | {"kind": "c", "kept": "authors"}),
}
SIZES = {
    "fairnas": 6**19,
    "mnasnet": 432**7,
    "mnasnet of 5": 432**5,
    "moga": 12**14,
}


def form(name: str, **common: Any) -> Space:
    family, chosen = FORMS[name]
    return open_space(family, settings=chosen, **common)


def described(space: Any, genes: tuple[int, ...]) -> Any:
    return space.describe(genes)


def encoded(space: Any, words: Any) -> tuple[int, ...]:
    found: tuple[int, ...] = (
        space.encode(*words) if space.family == "nasnet" else space.encode(words)
    )
    return found


BLOCKWISE = [name for name in FORMS if isinstance(form(name), BlockwiseSpace)]


def test_spaces_by_name() -> None:
    assert open_space("moga", resolution=32, classes=5) == MogaSpace(resolution=32, classes=5)
    with pytest.raises(UsageError, match="known are fairnas, mnasnet, moga, nasnet"):
        open_space("nothing")


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_published(name: str) -> None:
    assert form(name).size == SIZES[name]


@pytest.mark.parametrize("name", FORMS)
def test_samples_are_seeded_and_of_the_space(name: str) -> None:
    space = form(name, resolution=32, classes=3)
    genes = space.sample(3, seed=1)
    assert genes == space.sample(3, seed=1) != space.sample(3, seed=2)
    for each in genes:
        graph = space.decode(each)
        assert graph.inputs == ((1, 32, 32, 3),)
        assert graph.shapes[graph.outputs[0]] == (1, 3)


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=8, deadline=None)
@given(
    resolution=st.integers(8, 70),
    width=st.sampled_from([0.3, 0.75, 1.0, 1.4]),
    classes=st.integers(1, 20),
    seed=st.integers(0, 1000),
)
def test_every_chromosome_is_a_network(
    name: str, resolution: int, width: float, classes: int, seed: int
) -> None:
    space = form(name, resolution=resolution, width=width, classes=classes)
    rng = np.random.default_rng(seed)
    (genes,) = space.sample(1, seed)
    other = space.mutate(genes, rng)
    assert sum(one != two for one, two in zip(genes, other, strict=True)) == 1
    space.require(other)
    for each in (genes, other):
        graph = space.decode(each)
        assert graph.shapes[graph.outputs[0]] == (1, classes)
        assert count(fold(graph)).madds == count(graph).madds
        # Two choices may be the same number, so that words are of the first of them.
        assert space.decode(encoded(space, described(space, each))) == graph


@pytest.mark.parametrize("name", FORMS)
def test_identity_is_json_and_makes_the_space_again(name: str) -> None:
    space = form(name, resolution=40, width=0.5, classes=7)
    assert restore_space(json.loads(json.dumps(space.identity))) == space
    assert space.identity != form(name, resolution=40, width=0.5, classes=8).identity


def test_labels_keep_spaces_apart() -> None:
    labels = {label_of(form(name)) for name in FORMS}
    assert len(labels) == len(FORMS)
    assert label_of(open_space("nasnet")) == "nasnet"
    assert label_of(open_space("moga", width=0.5)).startswith("moga-")


@pytest.mark.parametrize(
    "identity",
    [
        None,
        [],
        {},
        {"name": "moga"},
        MogaSpace().identity | {"name": "nothing"},
        MogaSpace().identity | {"resolution": 0},
        MogaSpace().identity | {"width": float("nan")},
        MogaSpace().identity | {"settings": {"N": 4}},
        open_space("nasnet").identity | {"settings": {"kept": [[1], [3]]}},
    ],
)
def test_damaged_identities_are_refused(identity: object) -> None:
    with pytest.raises(SearchError):
        restore_space(identity)


@pytest.mark.parametrize("name", FORMS)
def test_published_networks_lie_in_their_spaces(name: str) -> None:
    space = form(name)
    for reference, genes in space.references.items():
        if reference != "nasnet_a":
            assert space.decode(genes) == zoo.build(reference)
    wanted = {
        "fairnas": {"fairnas_a", "fairnas_b", "fairnas_c"},
        "mnasnet as published": {"mnasnet_a1", "mnasnet_b1"},
        "moga": {"moga_a", "moga_a_fig", "moga_b", "moga_c"},
        "nasnet": {"nasnet_a"},
        "nasnet c": {"nasnet_a"},
    }
    assert set(space.references) == wanted.get(name, set())


@pytest.mark.parametrize(
    ("name", "chosen", "words"),
    [
        ("moga", {"N": "4"}, "moga has no setting 'N'; it has none"),
        ("mnasnet", {"N": "4"}, "known are blocks, widths"),
        ("mnasnet", {"blocks": "6"}, "blocks of the space mnasnet must be 5 or 7, got '6'"),
        ("mnasnet", {"blocks": "5", "widths": "published"}, "widths of the space mnasnet"),
        ("mnasnet", {"widths": "16/24"}, "for each of 7 blocks"),
        ("mnasnet", {"widths": "/".join("0" * 7)}, "for each of 7 blocks"),
        ("mnasnet", {"widths": 16}, "for each of 7 blocks"),
        ("nasnet", {"kind": "d"}, "one of a, b, c"),
        ("nasnet", {"F": "4"}, "from 8 to 4096"),
        ("nasnet", {"kind": "b", "kept": "authors"}, "unread where kind is b"),
        ("nasnet", {"kind": "b", "skip_reduction": "yes"}, "no where kind is b"),
        ("nasnet", {"kept": "7/1"}, "unread, authors or states"),
    ],
)
def test_wrong_settings(name: str, chosen: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_space(name, settings=chosen)


@pytest.mark.parametrize("name", BLOCKWISE)
@pytest.mark.parametrize("delegate", ["cpu", "gpu"])
def test_blocks_make_the_network(name: str, delegate: Delegate) -> None:
    rules = rules_for(delegate)
    space = form(name, resolution=33, width=0.5, classes=3)
    assert isinstance(space, BlockwiseSpace)
    for genes in space.sample(3, seed=0):
        whole = Counter(split(fold(space.decode(genes)), rules))
        blocks = [
            space.block(index, [genes[position] for position in group])
            for index, group in enumerate(space.groups)
        ]
        assert sum((Counter(split(fold(block), rules)) for block in blocks), Counter()) == whole
        for before, block in pairwise(blocks):
            assert block.inputs == (before.shapes[before.outputs[0]],)
