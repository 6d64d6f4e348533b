"""A device of your own: a runner that a campaign measures with.

    python examples/own_runner.py FOLDER

It calls LiteRT in this process; yours may talk to any board that runs .tflite files. One network is
measured; a predictor needs five at least, so give `workload` more before `latlas fit`.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from timeit import repeat

from ai_edge_litert.interpreter import Interpreter

from latlas.profiler.campaign import Campaign, CampaignReport
from latlas.profiler.runner import Job, Result
from latlas.profiler.target import Target
from latlas.profiler.workload import workload
from latlas.search.spaces import open_space


class OwnRunner:
    """Runs models on the board; every figure is valid for `target` alone."""

    def __init__(self) -> None:
        self.target = Target("my board", "litert by hand", "cpu", "xnnpack")
        self.environment: Mapping[str, str] = {"firmware": "1.0"}
        self.fresh_process = self.lists_operators = False

    def unwell(self) -> str:
        return ""  # or why the board should rest now, for instance that it is hot

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Measure one job after the other; one that fails says so and stops no other."""
        for job in jobs:
            try:
                model = Interpreter(model_content=job.model, num_threads=1)
                model.allocate_tensors()
                *_, once_s = repeat(model.invoke, number=1, repeat=3)  # the first run is slow
                runs = max(job.effort.min_runs, round(job.effort.min_ms / 1e3 / once_s))
                times_s = repeat(model.invoke, number=1, repeat=runs)
                yield Result(job.id, tuple(1e6 * time_s for time_s in times_s))
            except (RuntimeError, ValueError) as problem:
                yield Result(job.id, error=str(problem), kind="failed")

    def close(self) -> None:
        """Give the board back."""


def main(folder: Path, kernels: int | None = None) -> CampaignReport:
    """Measure a network's kernels into a table; run again, it goes on where it was."""
    network = open_space("moga", resolution=32, classes=10).decode((0,) * 14)
    jobs = workload({"one": network}, "cpu", vocabulary=False, listed=False).jobs
    return Campaign(OwnRunner(), folder, jobs[:kernels]).run()


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
