from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import TARGET, kernel, measured, network, references, write

from latlas.profiler.comparison import beyond_noise, compare
from latlas.profiler.measurement import Measurement
from latlas.profiler.table import Table

NETWORKS, KERNELS = 20, 60


def campaign(
    folder: Path, seed: int, *, factor: float = 1.0, kernels: float = 1.0, worse: int = -1
) -> Table:
    """Write a campaign of a device that is noisy by 1%.

    `factor` slows all of it, `kernels` every fourth kernel, `worse` is a network of twice the time.
    """
    rng = np.random.default_rng(seed)

    def noisy(time_us: float) -> float:
        return float(factor * time_us * np.exp(0.01 * rng.standard_normal()))

    measurements: list[Measurement] = [
        kernel(i + 1, noisy(10.0 * (i + 1)) * (kernels if i % 4 == 0 else 1.0))
        for i in range(KERNELS)
    ]
    measurements += [
        network(f"n{i}", noisy(1000.0 * (i + 1)) * (2.0 if i == worse else 1.0))
        for i in range(NETWORKS)
    ]
    return write(folder, [*measurements, *references(*[noisy(100.0) for _ in range(20)])])


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_nothing(tmp_path: Path, seed: int) -> None:
    before, after = campaign(tmp_path / "a", 2 * seed), campaign(tmp_path / "b", 2 * seed + 1)
    found = compare(before, after)
    assert len(found.changes) == NETWORKS + KERNELS
    assert not found.slower()
    assert not found.faster()
    assert not any(group.significant for group in found.groups)


def test_one_network_and_a_quarter_of_the_kernels(tmp_path: Path) -> None:
    before = campaign(tmp_path / "a", 1)
    found = compare(before, campaign(tmp_path / "b", 2, kernels=1.5, worse=3))
    slower = found.slower()
    assert [each.name for each in slower if each.unit == "network"] == ["n3"]
    assert len([each for each in slower if each.unit == "kernel"]) == KERNELS // 4
    assert slower[0].change == pytest.approx(1.0, abs=0.1)
    assert not found.slower(above=2.0)
    back = compare(campaign(tmp_path / "c", 2, kernels=1.5, worse=3), before)
    assert len(back.faster()) == len(slower)


def test_all_of_it_by_the_same_factor(tmp_path: Path) -> None:
    before, after = campaign(tmp_path / "a", 1), campaign(tmp_path / "b", 2, factor=1.2)
    found = compare(before, after)
    assert found.reference == pytest.approx(0.2, abs=0.02)
    assert all(group.significant for group in found.groups)
    assert {(group.unit, group.slower) for group in found.groups} == {
        ("network", NETWORKS),
        ("kernel", KERNELS),
    }
    relative = compare(before, after, relative=True)
    assert not relative.slower()
    assert relative.reference == found.reference


def test_what_fails_now(tmp_path: Path) -> None:
    failed = replace(kernel(1, 10.0, verdict="failed", reason="crashed: boom"), summary=None)
    failed = replace(failed, samples_us=())
    works = write(tmp_path / "a", [kernel(1, 10.0), kernel(2, 20.0)])
    fails = write(tmp_path / "b", [failed, kernel(3, 30.0)])
    found = compare(works, fails)
    assert found.broken == {failed.id: "failed: crashed: boom"}
    assert (found.only_before, found.only_after, found.changes) == (1, 1, ())
    assert compare(fails, works).mended == (failed.id,)
    assert found.reference is None


def test_targets_and_graphs_that_differ(tmp_path: Path) -> None:
    older = replace(TARGET, runtime="litert 2.2.0")
    before = write(tmp_path / "a", [network("n", 10.0), network("m", 10.0)], older)
    other = measured("network", "n", "1x8x8x3 | mean @0 | @1", 10.0)
    found = compare(before, write(tmp_path / "b", [other, network("m", 10.0)]))
    assert found.targets == ("runtime: 'litert 2.2.0' against 'litert 2.3.0'",)
    assert [each.name for each in found.changes] == ["m"]
    assert (found.only_before, found.only_after) == (1, 1)


def test_tables_without_anything(tmp_path: Path) -> None:
    empty = write(tmp_path / "a", [])
    found = compare(empty, empty)
    assert (found.changes, found.groups, found.broken) == ((), (), {})


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=50),
    st.floats(1e-3, 1),
    st.floats(0.001, 0.5),
)
def test_the_larger_the_change_the_sooner_it_counts(
    ratios: list[float], noise: float, rate: float
) -> None:
    values = np.array(ratios)
    found = beyond_noise(values, np.full(len(values), noise), false_discoveries=rate)
    if found.any():
        assert found[np.abs(values) >= np.abs(values[found]).min()].all()
    mirrored = beyond_noise(-values, np.full(len(values), noise), false_discoveries=rate)
    assert (mirrored == found).all()


def test_false_discoveries_are_as_rare_as_promised() -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        noise = rng.uniform(0.01, 0.1, 300)
        ratios = noise * rng.standard_t(4, 300)
        ratios[:60] += 0.5
        found = beyond_noise(ratios, noise)
        shares.append(found[60:].sum() / max(found.sum(), 1))
    assert np.mean(shares) < 0.06
