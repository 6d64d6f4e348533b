"""The peak of this process' resident memory."""

from __future__ import annotations

from pathlib import Path

from latlas.profiler.litert.memory import forget_peak, peak_mb


def test_a_peak_is_seen_and_forgotten() -> None:
    for size_mb in (100, 10):  # the second must not be hidden by what the first left
        before_mb = forget_peak()
        assert before_mb is not None and before_mb > 1
        data = bytearray(b"x") * (size_mb << 20)
        del data
        peak = peak_mb()
        assert peak is not None
        assert 0.9 * size_mb < peak - before_mb < size_mb + 30


def test_a_kernel_that_does_not_say(tmp_path: Path) -> None:
    assert forget_peak(tmp_path / "none") is None
    assert peak_mb(tmp_path) is None
    (tmp_path / "status").write_text("VmHWM:\tmuch\n")
    assert peak_mb(tmp_path) is None
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t    2048 kB\n")
    assert peak_mb(tmp_path) == 2.0
