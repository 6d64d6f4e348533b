from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from latlas.search.cover import covering_genes

CHOICES = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(CHOICES, st.integers(0, 30), st.integers(0, 5))
def test_choices_are_balanced(choices: list[int], networks: int, seed: int) -> None:
    genes = covering_genes(choices, networks, seed)
    assert len(genes) == networks
    for column, count in zip(zip(*genes, strict=True), choices, strict=False):
        uses = Counter(column)
        assert set(uses) <= set(range(count))
        assert max(uses.values()) - min(uses[choice] for choice in range(count)) <= 1
    assert genes == covering_genes(choices, networks, seed)
    assert covering_genes(choices, networks + 7, seed)[:networks] == genes


def test_the_seed_matters_and_genes_are_not_coupled() -> None:
    genes = covering_genes((12,) * 14, 12, 0)
    assert genes != covering_genes((12,) * 14, 12, 1)
    assert len(set(zip(*genes, strict=True))) > 1
    assert all(type(gene) is int for each in genes for gene in each)
