"""Rule files: round trips, changed verdicts, and files that are none."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_bench import TARGET

from latlas.profiler.errors import UsageError
from latlas.profiler.fusion import rules_file
from latlas.profiler.fusion.evidence import CASES, VERDICTS, Evidence, FusionEvidence

PAIR = Evidence("pair", ("conv2d", "relu6"), 1.0, 2.0, 1.5, 0.99, 0.01, 1e-9, "fused")
FOUND = FusionEvidence(TARGET, 0.6, 1 << 14, (PAIR,))
TEXT = rules_file.to_toml(FOUND)

kinds = st.sampled_from(["conv2d", "relu6", "batch_matmul", "gelu"])
us = st.integers(-10_000, 10_000_000).map(lambda number: number / 1000)


@st.composite
def pieces(draw: st.DrawFn) -> Evidence:
    case = draw(st.sampled_from(CASES))
    count = 3 if case == "chain" else 2
    return Evidence(
        case,
        tuple(draw(st.lists(kinds, min_size=count, max_size=count))),
        draw(us),
        draw(us),
        draw(us),
        draw(st.integers(-99, 99)) / 100,
        draw(st.integers(0, 99)) / 100,
        draw(st.sampled_from([0.0, 1.2e-300, 0.5, 1.0])),
        draw(st.sampled_from(VERDICTS)),
        draw(st.text(st.characters(exclude_categories=("Cs",)), max_size=20)),
    )


@given(st.lists(pieces(), max_size=10, unique_by=lambda each: (each.case, each.types)))
def test_round_trip(evidence: list[Evidence]) -> None:
    found = replace(FOUND, evidence=tuple(evidence))
    assert rules_file.from_toml(rules_file.to_toml(found)) == found


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rules.toml"
    rules_file.save(FOUND, path)
    assert rules_file.load(path) == FOUND
    assert rules_file.load(path).rules.fused == {("conv2d", "relu6")}


def test_a_verdict_may_be_changed() -> None:
    changed = rules_file.from_toml(TEXT.replace('verdict = "fused"', 'verdict = "not fused"'))
    assert not changed.rules.fused
    assert changed.rules.version != FOUND.rules.version


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("latlas fusion rules", "something else", "field 'format'"),
        ("version = 1", "version = 2", "upgrade latlas"),
        ("threshold = 0.6", "threshold = nan", "field 'threshold'"),
        ("threshold = 0.6", "threshold = 7", "from 0 to 1"),
        ("elements = 16384", "elements = true", "field 'elements'"),
        ('case = "pair"', 'case = "chain"', "evidence 1: field 'types' must be 3 names"),
        ('case = "pair"', 'case = "odd"', "one of pair, several readers"),
        ('verdict = "fused"', 'verdict = "perhaps"', "one of fused, not fused"),
        ('"relu6"', '"re lu"', "names of types"),
        ("share = 0.99", 'share = "x"', "evidence 1: field 'share'"),
        ("share = 0.99", "share = inf", "field 'share'"),
        ("share = 0.99", f"share = {'9' * 5000}", "not TOML|share"),
        ("p = 1e-09", "p = -1.0", "field 'p'"),
        ('delegate = "gpu"', 'delegate = "npu"', "delegate"),
        ("threads = 1", "threads = [1]", "threads"),
        ("threshold", "[", "not TOML"),
    ],
)
def test_what_is_refused(before: str, after: str, message: str) -> None:
    assert before in TEXT
    with pytest.raises(UsageError, match=message):
        rules_file.from_toml(TEXT.replace(before, after, 1))


def test_twice_the_same() -> None:
    twice = rules_file.to_toml(replace(FOUND, evidence=(PAIR, PAIR)))
    with pytest.raises(UsageError, match="conv2d and relu6 is there twice"):
        rules_file.from_toml(twice)


@pytest.mark.parametrize(
    "text",
    ["", "a" * (1 << 21), "a" + ".a" * 10_000 + " = 1", "a = " + "[" * 100_000, "evidence = 1"],
)
def test_in_bounded_time(text: str) -> None:
    with pytest.raises(UsageError):
        rules_file.from_toml(text)


@given(st.integers(0, len(TEXT) - 1), st.text(max_size=3), st.integers(0, 5))
def test_damage_is_an_error_of_our_own(at: int, text: str, cut: int) -> None:
    with suppress(UsageError):
        rules_file.from_toml(TEXT[:at] + text + TEXT[at + cut :])


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        rules_file.load(tmp_path / "missing.toml")
    with pytest.raises(UsageError, match="no file"):
        rules_file.load(tmp_path)
    binary = tmp_path / "rules.toml"
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(UsageError, match="not TOML"):
        rules_file.load(binary)
