"""What workers of the cluster's tests evaluate with; they import it by name."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latlas.profiler.errors import DeviceError
from latlas.search.evaluation import Outcome
from latlas.search.protocols import Genes


class SlowSite:
    """Takes a while, and writes down in which process what was begun and finished.

    It begins when so many processes are open: on a busy machine the first may be done with all
    tasks before there is another.
    """

    def __init__(self, log: Path, seconds: float, name: str = "", processes: int = 1) -> None:
        self.log, self.seconds, self.name, self.processes = log, seconds, name, processes

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "slow"}

    def measure(self, genes: Sequence[Genes]) -> list[Outcome]:
        deadline = time.monotonic() + 60
        while len([*self.log.parent.glob("open-*")]) < self.processes:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for one in genes:
            if one[0] == 66:
                os.abort()
            if self.name == "lost" or one[0] == 77:
                raise DeviceError("unplugged", serial=self.name)
            time.sleep(self.seconds)
            with self.log.open("a") as log:
                log.write(f"{self.name} {os.getpid()} {one[0]}\n")
        note = self.name
        if self.name == "gpu":
            note = f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}"
        return [Outcome(one[0] / 100, note=note, seconds=self.seconds) for one in genes]


@contextmanager
def slow_site(log: Path, seconds: float, name: str = "", processes: int = 1) -> Iterator[SlowSite]:
    if name == "broken":
        raise DeviceError("no such phone", serial=name)
    (log.parent / f"open-{os.getpid()}").touch()
    yield SlowSite(log, seconds, name, processes)
    with log.open("a") as closed:
        closed.write(f"{name} {os.getpid()} closed\n")
