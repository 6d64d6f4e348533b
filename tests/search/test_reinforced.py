import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latlas.search.reinforced import Policy


def test_an_untaught_policy_is_random_mutation() -> None:
    genes = np.full((20000, 3), 2)
    found = Policy([4, 4, 1]).mutate(genes, 0.25, np.random.default_rng(0))
    assert (found[:, 2] == 2).all()  # a gene with one choice stays as it is
    assert (found[:, :2] != 2).mean() == pytest.approx(0.25, abs=0.01)
    others = np.bincount(found[:, 0][found[:, 0] != 2], minlength=4)
    assert others[[0, 1, 3]] / others.sum() == pytest.approx(np.full(3, 1 / 3), abs=0.03)


def test_it_learns_what_survives() -> None:
    policy = Policy([4, 4], share=1.0)
    rng = np.random.default_rng(0)
    for _ in range(40):
        genes = policy.mutate(rng.integers(4, size=(40, 2)), 1.0, rng)
        rewards = (genes[:, 0] == 3).astype(float)
        policy.learn(genes, np.ones((40, 2), bool), rewards - rewards.mean())
    assert policy.probabilities(0)[3] > 0.8
    assert policy.probabilities(1).max() < 0.7
    found = policy.mutate(np.zeros((1000, 2), int), 1.0, rng)
    assert (found[:, 0] == 3).mean() > 0.8


def test_genes_that_were_not_changed_teach_nothing() -> None:
    policy = Policy([3, 3])
    policy.learn(np.array([[1, 1]]), np.array([[False, True]]), np.array([1.0]))
    assert policy.probabilities(0).tolist() == [1 / 3] * 3
    assert policy.probabilities(1)[1] > 1 / 3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.floats(0, 1), st.integers(0, 99))
def test_a_change_is_to_another_choice(choices: list[int], rate: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy = Policy(choices, share=1.0)
    genes = rng.integers(0, choices, size=(30, len(choices)))
    policy.learn(genes, np.ones(genes.shape, bool), 1e4 * rng.normal(size=30))  # certain of it
    found = policy.mutate(genes, rate, rng)
    assert (found >= 0).all() and (found < np.array(choices)).all()
    assert (policy.mutate(genes, 1.0, rng) != genes)[:, np.array(choices) > 1].all()
