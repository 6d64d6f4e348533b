"""The peak of this process' resident memory."""

from __future__ import annotations

from mmap import mmap
from pathlib import Path

from latlas.profiler.litert.memory import Resident, forget_peak, growth_mb


def test_a_peak_is_seen_and_forgotten() -> None:
    for size_mb in (100, 10):  # the second must not be hidden by what the first left
        before = forget_peak()
        assert before is not None and before.total_mb > before.files_mb > 1
        with mmap(-1, size_mb << 20) as pages:  # new ones: an allocator may have some to spare
            for _ in range(size_mb):
                pages.write(b"x" * (1 << 20))
        grown_mb = growth_mb(before)
        assert grown_mb is not None
        assert 0.9 * size_mb < grown_mb < size_mb + 20


def test_code_that_is_loaded_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t    20480 kB\nRssFile:\t    5120 kB\n")
    assert growth_mb(Resident(8.0, 2.0), tmp_path) == 9.0
    assert growth_mb(Resident(19.0, 2.0), tmp_path) == 0.0


def test_a_kernel_that_does_not_say(tmp_path: Path) -> None:
    assert forget_peak(tmp_path / "none") is None
    assert growth_mb(Resident(1.0, 1.0), tmp_path) is None
    (tmp_path / "status").write_text("VmHWM:\tmuch\nRssFile:\t1 kB\n")
    assert growth_mb(Resident(1.0, 1.0), tmp_path) is None
