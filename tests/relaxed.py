"""Runs a script where any measurement is good enough: `python relaxed.py SCRIPT [ARGUMENT]…`.

Tables of a few networks, measured beside everything else, would be refused else.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from latlas.profiler.campaign_settings import CampaignSettings
from latlas.profiler.fusion import bench


@contextmanager
def relaxed() -> Iterator[pytest.MonkeyPatch]:
    """Take every measurement as it is, in the block; give what patches, for more."""
    gates = {"throttle": 1e9, "spread_floor": 1e9, "drift_floor": 1e9, "cpu_share": 0.0}
    settings = CampaignSettings(max_attempts=1, patience_s=0.0, **gates)
    rounds = replace(bench.SETTINGS, max_attempts=1, patience_s=0.0, warmup_ms=0.0, **gates)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("campaign", "campaign_settings"):
            name = f"latlas.profiler.{module}.CampaignSettings"
            patch.setattr(name, lambda **given: replace(settings, **given))
        patch.setattr(bench, "SETTINGS", rounds)
        patch.setattr("latlas.predictor.observations.PASSES_AGREE", 1e9)
        yield patch


if __name__ == "__main__":
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    with relaxed():
        runpy.run_path(sys.argv[0], run_name="__main__")
