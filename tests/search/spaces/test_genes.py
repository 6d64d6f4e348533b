from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latlas.profiler.errors import LatlasError, SearchError
from latlas.search.spaces.genes import MAX_GENES, format_genes, mutate_gene, parse_genes


@given(
    st.lists(st.integers(0, 999_999), min_size=1, max_size=60), st.sampled_from([",", " ", ", "])
)
def test_text_and_back(genes: list[int], separator: str) -> None:
    assert parse_genes(format_genes(genes)) == tuple(genes)
    assert parse_genes(f" {separator.join(map(str, genes))}\n") == tuple(genes)


@pytest.mark.parametrize("text", ["", "a", "1;2", "-1", "1.5", "1,", "٣", "9" * 7, "1," * 20_000])
def test_what_is_no_chromosome(text: str) -> None:
    with pytest.raises(SearchError, match="integers between commas"):
        parse_genes(text)


def test_a_chromosome_is_bounded() -> None:
    with pytest.raises(SearchError, match="at most"):
        parse_genes(" ".join("0" for _ in range(MAX_GENES + 1)))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert parse_genes(text)
    except LatlasError as problem:
        assert isinstance(problem, SearchError)


def test_places_and_choices_are_equally_likely() -> None:
    rng = np.random.default_rng(0)
    genes, choices = (0, 2, 0, 1), (2, 3, 1, 4)
    found = [mutate_gene(genes, choices, (0, 1, 2), rng) for _ in range(2000)]
    assert all(new[2:] == genes[2:] for new in found)
    changed = [new[:2] for new in found]
    counts = {new: changed.count(new) for new in set(changed)}
    assert set(counts) == {(1, 2), (0, 0), (0, 1)}
    assert counts[1, 2] == pytest.approx(1000, abs=120)
    assert counts[0, 0] == pytest.approx(500, abs=120)


def test_where_nothing_can_change() -> None:
    with pytest.raises(SearchError, match="single choice"):
        mutate_gene((0, 0), (1, 3), (0,), np.random.default_rng(0))
