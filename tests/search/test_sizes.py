import numpy as np
import pytest

from latlas.profiler.count import count
from latlas.profiler.errors import SearchError
from latlas.search.sizes import BlockSizes
from latlas.search.spaces import FairnasSpace, MnasnetSpace, MogaSpace


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
