"""One measured graph: what a latency table is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from latlas.profiler.errors import GraphError, TableError
from latlas.profiler.graph import Graph
from latlas.profiler.journal import Fields
from latlas.profiler.runner import OpTime, Result
from latlas.profiler.statistics import (
    MAX_US,
    VERDICTS,
    Judgement,
    Summary,
    Verdict,
    thin,
)
from latlas.profiler.temperature import MAX_C, MIN_C, Temperature

MAX_SAMPLES = 200
"""More samples are thinned to this many quantiles before they are stored."""

REFERENCE = "reference"
"""The unit of the campaign's own reference measurements."""

LEAST_US = 0.001
"""A time below a nanosecond is still a time, of a nanosecond."""

_MAX_COUNT = 1 << 53
_MAX_SENSOR = 100
_SUMMARY_FIELDS = tuple(field.name for field in fields(Summary) if field.name != "n")
_NEED_SAMPLES = ("iqr_us", "mad_us")


@dataclass(frozen=True, slots=True)
class Measurement:
    """What measuring one graph gave.

    Attributes:
        id: the job.
        attempt: how often the job had been tried, this time included.
        unit: what the graph is: ``kernel``, ``network``, ``reference``, ``probe`` …
        name: for people, e.g. the kernel's type or the network's name.
        graph: the graph in inference form, as `Graph.to_text` writes it.
        summary: the distribution of all samples; None where there are none.
        samples_us: the samples, at most `MAX_SAMPLES`, to 0.01 us; none where the device gave
            only their summary.
        ops: per-operator times, in execution order.
        init_ms: reading, compiling and allocating.
        cpu_share: CPU time over wall time of the timed runs.
        verdict: what the figure is worth.
        reason: why it is not ``stable``.
        at_s: seconds of measuring since the campaign began; an interruption does not count.
        reference_us: the reference kernel's median before this measurement; 0 when unknown.
        drift: by which share that was above the reference's running median.
        peak_memory_mb: see `latlas.profiler.runner.Result`; to 0.01 MB.
        temperatures_c: of the device at this time, in degrees Celsius; kept of the reference's
            measurements, the others lie between them.
    """

    id: str
    attempt: int
    unit: str
    name: str
    graph: str
    summary: Summary | None
    samples_us: tuple[float, ...]
    ops: tuple[OpTime, ...]
    init_ms: float
    cpu_share: float
    verdict: Verdict
    reason: str
    at_s: float
    reference_us: float
    drift: float
    peak_memory_mb: float | None = None
    temperatures_c: tuple[Temperature, ...] = ()

    def to_graph(self) -> Graph:
        """Return the graph that was measured.

        Raises:
            TableError: the text is not a graph.
        """
        try:
            return Graph.from_text(self.graph)
        except GraphError as problem:
            raise TableError(f"measurement {self.id!r}: {problem}") from problem

    def judged(self, verdict: Verdict, reason: str) -> Measurement:
        """Return the same measurement under another verdict."""
        return replace(self, verdict=verdict, reason=reason)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        summary = self.summary
        known: dict[str, Any] = {}  # tables that were written before there were these have neither
        if self.peak_memory_mb is not None:
            known["peak_memory_mb"] = self.peak_memory_mb
        if self.temperatures_c:
            known["temperatures_c"] = {one.name: one.celsius for one in self.temperatures_c}
        return {
            "id": self.id,
            "attempt": self.attempt,
            "unit": self.unit,
            "name": self.name,
            "graph": self.graph,
            "summary": None if summary is None else asdict(summary),
            "samples_us": list(self.samples_us),
            "ops": [[op.name, op.mean_us] for op in self.ops],
            "init_ms": self.init_ms,
            "cpu_share": self.cpu_share,
            "verdict": self.verdict,
            "reason": self.reason,
            "at_s": self.at_s,
            "reference_us": self.reference_us,
            "drift": self.drift,
        } | known

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Measurement:
        """Read what `to_json` wrote.

        Raises:
            TableError: a field is missing, of another type, or impossible.
        """
        get = Fields(data)
        verdict = next((known for known in VERDICTS if known == data.get("verdict")), None)
        if verdict is None:
            raise get.fail("verdict", f"one of {', '.join(VERDICTS)}")
        summary = None if data.get("summary") is None else _read_summary(get.mapping("summary"))
        if summary is None and verdict not in ("failed", "not_delegated"):
            raise get.fail("summary", f"an object in a {verdict} measurement")
        samples = get.items("samples_us")
        if any(type(s) not in (int, float) or not 0 <= s < MAX_US for s in samples):
            raise get.fail("samples_us", f"a list of numbers from 0 to {MAX_US:g}")
        return Measurement(
            id=get.text("id"),
            attempt=get.integer("attempt", 1, _MAX_COUNT),
            unit=get.text("unit"),
            name=get.text("name"),
            graph=get.text("graph"),
            summary=summary,
            samples_us=tuple(map(float, samples)),
            ops=tuple(_read_op(op) for op in get.items("ops")),
            init_ms=get.number("init_ms", 0, MAX_US),
            cpu_share=get.number("cpu_share", 0, 1e6),
            verdict=verdict,
            reason=get.text("reason"),
            at_s=get.number("at_s", 0, MAX_US),
            reference_us=get.number("reference_us", 0, MAX_US),
            drift=get.number("drift", -1, MAX_US),
            peak_memory_mb=(
                get.number("peak_memory_mb", 0, MAX_US) if "peak_memory_mb" in data else None
            ),
            temperatures_c=(
                _read_temperatures(get.mapping("temperatures_c"))
                if "temperatures_c" in data
                else ()
            ),
        )


def measurement_from(
    result: Result,
    judgement: Judgement,
    *,
    attempt: int,
    unit: str,
    name: str,
    graph: str,
    at_s: float,
    reference_us: float = 0.0,
    drift: float = 0.0,
) -> Measurement:
    """Build a measurement from a result and its judgement, as precisely as a table stores it.

    Times are rounded to 0.01 us, a summary's to 0.001 us. Samples without a summary, which are
    impossible ones, are not kept.
    """
    summary, peak_mb = judgement.summary, result.peak_memory_mb
    return Measurement(
        id=result.job_id,
        attempt=attempt,
        unit=unit,
        name=name,
        graph=graph,
        summary=None if summary is None else _rounded(summary),
        samples_us=() if summary is None else _hundredths(result.samples_us),
        ops=tuple(OpTime(op.name, round(_bounded(op.mean_us), 2)) for op in result.ops),
        init_ms=round(_bounded(result.init_ms), 3),
        cpu_share=round(_bounded(result.cpu_share, 1e6), 3),
        verdict=judgement.verdict,
        reason=judgement.reason,
        at_s=round(at_s, 3),
        reference_us=round(reference_us, 2),
        drift=round(drift, 4),
        peak_memory_mb=None if peak_mb is None else round(_bounded(peak_mb), 2),
        temperatures_c=result.temperatures_c if unit == REFERENCE else (),
    )


def _rounded(summary: Summary) -> Summary:
    known = {name: getattr(summary, name) for name in _SUMMARY_FIELDS}
    figures: dict[str, Any] = {
        name: None if us is None else round(us, 3) for name, us in known.items()
    }
    figures["median_us"] = max(figures["median_us"], LEAST_US)
    return Summary(n=summary.n, **figures)


def _hundredths(samples_us: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(sample, 2) for sample in thin(samples_us, MAX_SAMPLES))


def _bounded(value: float, high: float = MAX_US) -> float:
    """Return what a table can hold of a side figure: a NaN from a runtime is no reason to stop."""
    return min(value, high) if value > 0 else 0.0


def _read_summary(data: Mapping[str, Any]) -> Summary:
    get = Fields(data)
    if set(data) != {"n", *_SUMMARY_FIELDS}:
        raise TableError(f"a summary has the fields n, {', '.join(_SUMMARY_FIELDS)}")
    figures: dict[str, Any] = {
        name: None if name in _NEED_SAMPLES and data[name] is None else get.number(name, 0, MAX_US)
        for name in _SUMMARY_FIELDS
    }
    if figures["median_us"] < LEAST_US:
        raise get.fail("median_us", f"at least {LEAST_US}")
    return Summary(n=get.integer("n", 1, _MAX_COUNT), **figures)


def _read_temperatures(data: Mapping[str, Any]) -> tuple[Temperature, ...]:
    get = Fields(data)
    for name in data:
        if not name.isprintable() or len(name) > _MAX_SENSOR:
            raise TableError(f"no name of a sensor: {name[:_MAX_SENSOR]!a}")
    return tuple(Temperature(name, get.number(name, MIN_C, MAX_C)) for name in data)


def _read_op(data: object) -> OpTime:
    if not (isinstance(data, list) and len(data) == 2):
        raise TableError("an operator is a pair of name and mean_us")
    get = Fields({"name": data[0], "mean_us": data[1]})
    return OpTime(get.text("name"), get.number("mean_us", 0, MAX_US))
