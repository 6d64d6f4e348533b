import numpy as np
import pytest

from latlas.profiler.errors import SearchError
from latlas.search.pareto import hypervolume, minimised, pareto_front


def test_front_by_hand() -> None:
    points = [[0.9, 10.0], [0.9, 12.0], [0.8, 5.0], [0.7, 5.0], [0.95, 30.0]]
    assert pareto_front(points, ["max", "min"]).tolist() == [0, 2, 4]


def test_equal_points_are_all_kept_and_failures_are_not() -> None:
    points = [[1.0, 1.0], [float("nan"), 0.0], [1.0, 1.0], [2.0, 2.0]]
    assert pareto_front(points, ["min", "min"]).tolist() == [0, 2]
    assert pareto_front(np.zeros((0, 2)), ["min", "min"]).tolist() == []


def test_agrees_with_pymoo() -> None:
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    values = np.random.default_rng(1).integers(0, 12, (200, 3)).astype(float)
    wanted = NonDominatedSorting().do(values, only_non_dominated_front=True)
    assert pareto_front(values, ["min"] * 3).tolist() == sorted(wanted)
    assert pareto_front(-values, ["max"] * 3).tolist() == sorted(wanted)


def test_hypervolume_in_the_users_units() -> None:
    assert hypervolume([[0.9, 10.0]], ["max", "min"], [0.5, 20.0]) == pytest.approx(0.4 * 10)
    assert hypervolume([[0.4, 10.0]], ["max", "min"], [0.5, 20.0]) == 0
    # The true front of ZDT1, f2 = 1 - sqrt(f1).
    line = np.linspace(0, 1, 4000)
    front = np.column_stack([line, 1 - np.sqrt(line)])
    assert hypervolume(front, ["min", "min"], [1.1, 1.1]) == pytest.approx(0.876667, abs=2e-4)


def test_directions_are_checked() -> None:
    with pytest.raises(SearchError, match="directions"):
        minimised([[1.0, 2.0]], ["max", "up"])  # type: ignore[list-item]
    with pytest.raises(SearchError, match=r"shape \(3, 2\)"):
        minimised([[1.0, 2.0]] * 3, ["max"] * 3)
    with pytest.raises(SearchError, match="reference"):
        hypervolume([[1.0, 2.0]], ["min", "min"], [1.0])
