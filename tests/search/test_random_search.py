import json

import numpy as np
import pytest
from trials import trial_with

from latlas.profiler.errors import SearchError
from latlas.search.protocols import Genes
from latlas.search.random_search import RandomSearch


def asked(searcher: RandomSearch, batches: int) -> list[list[Genes]]:
    found = []
    for _ in range(batches):
        found.append(searcher.ask())
        searcher.tell([trial_with(genes, 0.5) for genes in found[-1]])
    return found


def test_draws_are_uniform_and_new() -> None:
    genes = [
        one for batch in asked(RandomSearch((3, 12, 1, 50, 40), batch=100), 40) for one in batch
    ]
    assert len(set(genes)) == 4000
    assert all(type(gene) is int for one in genes for gene in one)
    shares = np.bincount([one[1] for one in genes], minlength=12) / 4000
    assert shares == pytest.approx(np.full(12, 1 / 12), abs=0.02)


def test_the_seed_decides_everything() -> None:
    first = asked(RandomSearch((9,) * 5, seed=1), 4)
    assert asked(RandomSearch((9,) * 5, seed=1), 4) == first
    assert asked(RandomSearch((9,) * 5, seed=2), 4) != first
    json.dumps(RandomSearch((9,)).identity)


def test_a_small_space_runs_dry() -> None:
    searcher = RandomSearch((2, 2), batch=3)
    batches = asked(searcher, 2)
    assert sorted(batches[0] + batches[1]) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert searcher.ask() == []


def test_misuse_is_refused() -> None:
    with pytest.raises(SearchError, match="batch"):
        RandomSearch((2,), batch=0)
    with pytest.raises(SearchError, match="choice"):
        RandomSearch(())
    searcher = RandomSearch((2, 2), batch=2)
    with pytest.raises(SearchError, match="call ask"):
        searcher.tell([])
    with pytest.raises(SearchError, match="order"):
        searcher.tell([trial_with(genes, 0.5) for genes in searcher.ask()[::-1]])
