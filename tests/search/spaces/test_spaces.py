"""What holds for every space."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from latlas.profiler.errors import UsageError
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.kernel import split
from latlas.profiler.target import Delegate
from latlas.search.spaces import SPACES, BlockwiseSpace, MogaSpace, open_space

BLOCKWISE = [name for name, space in SPACES.items() if issubclass(space, BlockwiseSpace)]


def test_spaces_by_name() -> None:
    assert open_space("moga", resolution=32, classes=5) == MogaSpace(resolution=32, classes=5)
    with pytest.raises(UsageError, match="known are fairnas, mnasnet, moga, nasnet"):
        open_space("nothing")


@pytest.mark.parametrize("name", SPACES)
def test_samples_are_seeded_and_of_the_space(name: str) -> None:
    space = open_space(name, resolution=32, classes=3)
    genes = space.sample(3, seed=1)
    assert genes == space.sample(3, seed=1) != space.sample(3, seed=2)
    for each in genes:
        graph = space.decode(each)
        assert graph.inputs == ((1, 32, 32, 3),)
        assert graph.shapes[graph.outputs[0]] == (1, 3)


@pytest.mark.parametrize("name", BLOCKWISE)
@pytest.mark.parametrize("delegate", ["cpu", "gpu"])
def test_blocks_make_the_network(name: str, delegate: Delegate) -> None:
    rules = rules_for(delegate)
    space = SPACES[name](resolution=33, width=0.5, classes=3)
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
