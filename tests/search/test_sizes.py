import numpy as np
import pytest

from latlas.profiler.count import count
from latlas.profiler.errors import SearchError
from latlas.search.sizes import BlockSizes, sizes_of
from latlas.search.spaces import SPACES, FairnasSpace, MnasnetSpace, MogaSpace, open_space


@pytest.mark.parametrize("space", [MogaSpace(), MnasnetSpace(96, 0.5, 10), FairnasSpace()])
def test_sizes_are_those_of_the_networks(space: MogaSpace | MnasnetSpace | FairnasSpace) -> None:
    sizes = BlockSizes(space)
    genes = space.sample(12, 0)
    expected = [count(space.decode(one)) for one in genes]
    for part in (genes[:3], genes, genes):
        found = sizes.counts(part).tolist()
        assert found == [[e.params, e.madds, e.se_madds] for e in expected[: len(part)]]
    assert sizes.params(genes).tolist() == [one.params for one in expected]
    none = np.zeros((0, len(space.choices)), int)
    assert sizes.params(none).shape == (0,)


def test_other_genes_are_refused() -> None:
    with pytest.raises(SearchError):
        BlockSizes(MogaSpace()).params([(12,) * 14])


@pytest.mark.parametrize("name", SPACES)
def test_sizes_of_every_space(name: str) -> None:
    space = open_space(name, resolution=64, classes=10)
    sizes = sizes_of(space)
    for genes in space.sample(4, seed=3):
        whole = count(space.decode(genes))
        assert sizes(genes) == {"params": whole.params, "madds": whole.madds}


def test_blocks_that_do_not_add_up_are_not_trusted() -> None:
    class Tied(MogaSpace):
        def block(self, index, values):
            return super().block(3 if index == 4 else index, values)

    space = Tied(resolution=32)
    whole = count(space.decode((5,) * 14))
    assert sizes_of(space)((5,) * 14) == {"params": whole.params, "madds": whole.madds}
