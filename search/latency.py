"""Where a search takes latencies from: predictors, tables, or devices themselves.

On the command line, a source is a predictor's file, a table's folder (of kernels or of blocks), or
``device:SERIAL/DELEGATE``; several phones of one model, ``device:A,B/gpu``, measure as one. The
first is the metric ``latency_ms``; every further one has a name, ``NAME=SOURCE``, and is the metric
``latency_ms@NAME``.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from latlas.predictor import file
from latlas.predictor.blocks import BlockTable, fit_blocks
from latlas.predictor.fit import fit
from latlas.predictor.genes import BlockSpace, ChromosomeLatency, gene_latency
from latlas.predictor.observations import observe
from latlas.predictor.oracle import DeviceOracle, Figure
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import DeviceError, UsageError
from latlas.profiler.table import Table
from latlas.profiler.target import Target
from latlas.search.evaluation import MAX_ERROR, Outcome, Site, measure_with
from latlas.search.protocols import Genes, SearchSpace

LATENCY = "latency_ms"
"""The metric of the first source."""

_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,39})=(.+)", re.DOTALL)
_DEVICE = "device:"


@dataclass(frozen=True)
class LatencySource:
    """What a user says about one source.

    Attributes:
        metric: its name in trials.
        name: what the user calls it, or "".
        where: a path, or ``device:…``.
    """

    metric: str
    name: str
    where: str

    @property
    def devices(self) -> tuple[tuple[str, ...], str]:
        """The devices and the delegate of ``device:A,B/gpu``; no devices where it is none.

        Raises:
            UsageError: the text begins like a device and names none.
        """
        if not self.where.startswith(_DEVICE):
            return (), ""
        names, _, delegate = self.where.removeprefix(_DEVICE).rpartition("/")
        devices = tuple(dict.fromkeys(filter(None, map(str.strip, names.split(",")))))
        if not devices:
            raise UsageError(
                f"--latency {self.where}: a device is written device:local/cpu or device:SERIAL/gpu"
            )
        return devices, delegate


def read_sources(texts: Sequence[str]) -> list[LatencySource]:
    """Read what ``--latency`` was given.

    >>> [source.metric for source in read_sources(["cpu=tables/a", "gpu=b.latlas"])]
    ['latency_ms', 'latency_ms@gpu']

    Raises:
        UsageError: there is none, or a further one has no name of its own.
    """
    sources: list[LatencySource] = []
    for text in texts:
        match = None if Path(text).exists() else _NAMED.fullmatch(text)
        name, where = match.groups() if match else ("", text)
        if sources and (not name or name in {source.name for source in sources}):
            raise UsageError(
                f"--latency {text}: with several sources each needs a name of its own, e.g. "
                "--latency cpu=tables/a --latency gpu=b.latlas"
            )
        sources.append(LatencySource(f"{LATENCY}@{name}" if sources else LATENCY, name, where))
    if not sources:
        raise UsageError("--latency is missing: a predictor, a table, or device:local/cpu")
    return sources


class Predicted:
    """A predictor's or a table's latencies of a space's networks; a `Site`."""

    def __init__(self, latency: ChromosomeLatency, identity: dict[str, Any], metric: str) -> None:
        self.latency = latency
        self.identity = identity
        self.measure = measure_with(latency.latency_ms, metric)


def open_predicted(source: LatencySource, space: SearchSpace) -> Predicted:
    """Return the latencies that a file or a folder gives.

    Raises:
        UsageError: there is none, or the space has no blocks and the table nothing else.
        PredictorError: it knows too little about the space.
        TableError: the table is damaged.
    """
    path = Path(source.where)
    if path.is_dir():
        table = Table.open(path)
        if any(measurement.unit == "block" for measurement in table.measurements):
            return _of_blocks(fit_blocks(table), space, source)
        return _of_kernels(fit(observe(table)), space, source)
    if path.exists():
        return _of_kernels(file.load(path), space, source)
    raise UsageError(
        f"--latency {source.where}: no such predictor file or table, and not a device such as "
        "device:local/cpu"
    )


def _of_kernels(
    predictor: LatencyPredictor, space: SearchSpace, source: LatencySource
) -> Predicted:
    identity = {
        "kind": "predictor",
        "sha256": predictor.digest,
        "target": predictor.target.to_json(),
    }
    return Predicted(gene_latency(space, predictor), identity, source.metric)


def _of_blocks(table: BlockTable, space: SearchSpace, source: LatencySource) -> Predicted:
    if not isinstance(space, BlockSpace):
        raise UsageError(
            f"--latency {source.where} is a table of blocks, and the networks of this space are no "
            "chains of blocks: profile kernels instead"
        )
    times = sorted((repr(block), time_us) for block, time_us in table.blocks_us.items())
    digest = hashlib.sha256(repr((times, table.calibration)).encode()).hexdigest()
    identity = {"kind": "blocks", "sha256": digest, "target": table.target.to_json()}
    return Predicted(table.compile(space), identity, source.metric)


class OnDevice:
    """Networks measured on a device, straight from their graphs; a `Site`."""

    def __init__(self, oracle: DeviceOracle, space: SearchSpace) -> None:
        self.oracle = oracle
        self.space = space

    @property
    def identity(self) -> dict[str, Any]:
        """The device's target: whichever phone of its model measures, figures are alike."""
        return {"kind": "device", "target": self.oracle.target.to_json()}

    def measure(self, genes: Sequence[Genes]) -> list[Outcome]:
        """Return the latencies of architectures on the device, in milliseconds."""
        began = time.perf_counter()
        figures = self.oracle.measure([self.space.decode(one) for one in genes])
        seconds = (time.perf_counter() - began) / max(len(genes), 1)
        return [replace(_outcome(figure), seconds=seconds) for figure in figures]


def _outcome(figure: Figure) -> Outcome:
    note = f"noisy, {figure.noise}" if figure.noise else ""
    return Outcome(figure.latency_ms, figure.error[:MAX_ERROR], note)


class Together:
    """Several devices of one target that measure as one; a `Site`.

    A device that goes away for good leaves its networks to the others.

    Args:
        sites: the devices, by what they are called.
        tell: told which device was lost.

    Raises:
        TargetMismatchError: they are of different targets.
    """

    def __init__(self, sites: Mapping[str, Site], tell: Callable[[str], None]) -> None:
        self.sites = dict(sites)
        self.tell = tell
        first, *others = self.sites
        target = Target.from_json(self.sites[first].identity["target"])
        for name in others:
            target.require_same(
                Target.from_json(self.sites[name].identity["target"]),
                f"{name}, which would measure beside {first},",
            )
        self._identity = self.sites[first].identity

    @property
    def identity(self) -> dict[str, Any]:
        """What all have in common."""
        return self._identity

    def measure(self, genes: Sequence[Genes]) -> list[Outcome]:
        """Let every device take the next network when it is done with one.

        Raises:
            DeviceError: the last device is gone.
        """
        found: dict[Genes, Outcome] = {}
        waiting = list(dict.fromkeys(genes))[::-1]
        with ThreadPoolExecutor(len(self.sites)) as threads:
            running: dict[Future[Sequence[Outcome]], tuple[str, Genes]] = {}

            def begin(name: str) -> None:
                if waiting:
                    one = waiting.pop()
                    running[threads.submit(self.sites[name].measure, [one])] = name, one

            for name in self.sites:
                begin(name)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name, one = running.pop(future)
                    try:
                        (found[one],) = future.result()
                    except DeviceError as problem:
                        if len(self.sites) == 1:
                            raise
                        self.tell(f"{name} is lost, the others go on without it: {problem}")
                        del self.sites[name]
                        waiting.append(one)
                        name = next((n for n in self.sites if not _busy(n, running)), "")
                    if name:
                        begin(name)
        return [found[one] for one in genes]


def _busy(name: str, running: dict[Future[Sequence[Outcome]], tuple[str, Genes]]) -> bool:
    return any(name == other for other, _ in running.values())
