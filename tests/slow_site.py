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
    """Takes a while, and writes down in which process what was begun and finished."""

    def __init__(self, log: Path, seconds: float, name: str = "") -> None:
        self.log, self.seconds, self.name = log, seconds, name

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "slow"}

    def measure(self, genes: Sequence[Genes]) -> list[Outcome]:
        for one in genes:
            if one[0] == 66:
                os.abort()
            if self.name == "lost" or one[0] == 77:
                raise DeviceError("unplugged", serial=self.name)
            time.sleep(self.seconds)
            with self.log.open("a") as log:
                log.write(f"{self.name} {os.getpid()} {one[0]}\n")
        return [Outcome(one[0] / 100, note=self.name, seconds=self.seconds) for one in genes]


@contextmanager
def slow_site(log: Path, seconds: float, name: str = "") -> Iterator[SlowSite]:
    if name == "broken":
        raise DeviceError("no such phone", serial=name)
    yield SlowSite(log, seconds, name)
    with log.open("a") as closed:
        closed.write(f"{name} {os.getpid()} closed\n")
