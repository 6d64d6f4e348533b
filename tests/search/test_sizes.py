import pytest

from latlas.profiler.count import count
from latlas.search.sizes import _BlockSizes, sizes_of
from latlas.search.spaces import SPACES, MogaSpace, open_space


@pytest.mark.parametrize("name", SPACES)
def test_sizes_are_those_of_the_networks(name: str) -> None:
    space = open_space(name, resolution=64, classes=10)
    sizes = sizes_of(space)
    for genes in space.sample(4, seed=3):
        whole = count(space.decode(genes))
        assert sizes(genes) == {"params": whole.params, "madds": whole.madds}


def test_blocks_that_do_not_add_up_are_not_trusted() -> None:
    class Tied(MogaSpace):
        def block(self, index, values):
            return super().block(3 if index == 4 else index, values)

    assert isinstance(sizes_of(MogaSpace(resolution=32)), _BlockSizes)
    assert not isinstance(sizes_of(Tied(resolution=32)), _BlockSizes)
