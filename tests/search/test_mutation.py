import numpy as np
import pytest

from latlas.search.mutation import resample_genes, resample_one


def test_mutation_rate_and_uniformity() -> None:
    rng = np.random.default_rng(0)
    genes = np.full((20000, 3), 2)
    found = resample_genes(genes, [4, 4, 1], 0.25, rng)
    assert (found[:, 2] == 0).sum() == 0  # a gene with one choice stays as it is
    assert (found[:, :2] != 2).mean() == pytest.approx(0.25, abs=0.01)
    others = np.bincount(found[:, 0][found[:, 0] != 2], minlength=4)
    assert others[[0, 1, 3]] / others.sum() == pytest.approx(np.full(3, 1 / 3), abs=0.03)


def test_one_gene_changes() -> None:
    rng = np.random.default_rng(0)
    mutate = resample_one([3, 1, 4])
    seen = {mutate((2, 0, 1), rng) for _ in range(200)}
    assert seen == {(0, 0, 1), (1, 0, 1), (2, 0, 0), (2, 0, 2), (2, 0, 3)}
    assert resample_one([1, 1])((0, 0), rng) == (0, 0)
