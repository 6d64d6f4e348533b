"""Measures the models of a detection by campaigns into a table, so that it can go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from latlas.profiler.campaign import Campaign, CampaignSettings
from latlas.profiler.graph import Graph
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.progress import Progress
from latlas.profiler.runner import Effort, Runner
from latlas.profiler.table import Table
from latlas.profiler.target import Target

EFFORT = Effort(min_runs=20, min_ms=5.0, max_ms=2000.0, warmup_ms=2.0)
GPU_EFFORT = Effort(min_runs=40, min_ms=40.0, max_ms=2000.0, warmup_ms=5.0)
"""A GPU takes longer to compile a model than to run it, and its times spread more."""

UNIT = "fusion"
"""The unit of these measurements."""

SETTINGS = CampaignSettings(
    max_attempts=2,
    check_every_s=5.0,
    patience_s=20.0,
    spread_floor=0.3,
    drift_floor=0.1,
    cpu_share=0.3,
)
"""Fast runs and many rounds are looked at, so that less is asked of the device than for a table."""

RULES = "not known"
"""What stands in such a table's header instead of a version of fusion rules."""


class CampaignBench:
    """Measures graphs in rounds; what the table holds already is not measured again.

    The time of a graph in one round is the 5th percentile of its runs: what disturbs a run makes
    it slower, never faster.

    Args:
        runner: runs the models.
        folder: the table, of such measurements alone.
        settings: how the device is watched.
        effort: how long every model is run in one round; None for what suits the delegate.
        progress: makes a display, as for `Campaign`.
    """

    def __init__(
        self,
        runner: Runner,
        folder: Path,
        settings: CampaignSettings | None = None,
        effort: Effort | None = None,
        progress: Callable[[int, int], Progress] | None = None,
    ) -> None:
        self.runner = runner
        self.folder = folder
        self.settings = settings or SETTINGS
        gpu = runner.target.delegate == "gpu"
        self.effort = effort or (GPU_EFFORT if gpu else EFFORT)
        self.progress = progress
        self._rounds: dict[str, int] = {}
        self._times_us: dict[str, list[float]] = {}
        self._problems: dict[str, str] = {}

    @property
    def target(self) -> Target:
        """What the times are valid for."""
        return self.runner.target

    def measure(self, graphs: Sequence[Graph], rounds: int) -> None:
        """Measure each of the graphs so many times more than before, all in random order.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was finished is kept.
            RunnerError: the reference kernel cannot be measured.
            DeviceError: the device is gone.
            TableError: the table is in use, damaged, or holds something else.
        """
        jobs = []
        for text, graph in {graph.to_text(): graph for graph in graphs}.items():
            if text in self._problems:
                continue
            done = self._rounds.get(text, 0)
            self._rounds[text] = done + rounds
            jobs += [self._job(text, graph, done + i) for i in range(rounds)]
        campaign = Campaign(
            self.runner,
            self.folder,
            jobs,
            self.settings,
            fusion_rules=RULES,
            progress=self.progress,
        )
        if campaign.run().interrupted:
            raise KeyboardInterrupt
        self._read({job.id for job in jobs})

    def times_us(self, graph: Graph) -> Sequence[float]:
        """Return the times of a graph, one a round; none where it cannot be measured."""
        return self._times_us.get(graph.to_text(), ())

    def problem(self, graph: Graph) -> str:
        """Return why a graph cannot be measured, or an empty string."""
        return self._problems.get(graph.to_text(), "")

    def _job(self, text: str, graph: Graph, number: int) -> CampaignJob:
        return CampaignJob(f"{UNIT}:{number}:{text}", "fusion", UNIT, graph, self.effort)

    def _read(self, wanted: set[str]) -> None:
        for measurement in Table.open(self.folder).measurements:
            if measurement.id not in wanted:
                continue
            if measurement.summary is None:
                self._problems[measurement.graph] = measurement.reason
            else:
                times = self._times_us.setdefault(measurement.graph, [])
                times.append(measurement.summary.p05_us)
