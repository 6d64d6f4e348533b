import itertools
from typing import Any

import numpy as np
import pytest
from scripts import benchmark

from latlas.profiler.count import count
from latlas.search.spaces import MnasnetSpace, MogaSpace


@pytest.fixture(scope="module")
def problem() -> Any:
    return benchmark("analytic_problem")


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_largest_terms_are_found(problem: Any, stride: int) -> None:
    choices = (2, 3, 2, 4, 3, 2, 3)
    terms = problem.draw_terms(choices, stride, 5)
    every = np.array(list(itertools.product(*map(range, choices))))
    sums = terms(every)
    value, genes = terms.best()
    assert value == pytest.approx(sums.max())
    assert genes == tuple(every[sums.argmax()])


@pytest.mark.parametrize("space", [MogaSpace(), MnasnetSpace()])
def test_the_formula(problem: Any, space: MogaSpace | MnasnetSpace) -> None:
    class Latency:
        def latency_ms(self, genes: Any) -> Any:
            return np.full(len(genes), 3.0)

    found = problem.AnalyticProblem(space, Latency(), seed=1)
    genes = space.sample(3, 0)
    for one, trial in zip(genes, found.trials(genes), strict=True):
        params = count(space.decode(one)).params
        terms = float(found.terms(np.array([one]))[0])
        assert trial.params == params
        assert trial.accuracy == pytest.approx(0.6 + 0.05 * np.log2(params / 1e6) + terms)
    drawn = np.array(space.sample(4000, 2))
    assert found.terms(drawn).std() == pytest.approx(0.02 * np.sqrt(2), rel=0.1)
