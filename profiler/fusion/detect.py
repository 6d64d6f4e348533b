"""Find out by measuring which operators a delegate runs as one.

For every pair of operators the models of `latlas.profiler.fusion.probes` are measured in several
rounds, all in random order, under the watch of a campaign. What a pair saves is set against the
cheaper of its two operators: a share of 1 means that one of them has become free.

Where that share begins to mean fusion differs from device to device. Operators that are run one
after the other find their data in the cache (a share up to 0.6 was seen on a CPU), and an operator
that is fused still has its arithmetic to do (down to 0.4 on a GPU in software). The threshold is
therefore put in the widest gap between pairs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from statistics import median
from typing import Protocol

from latlas.profiler.errors import RunnerError
from latlas.profiler.fusion.evidence import Case, Evidence, FusionEvidence
from latlas.profiler.fusion.probes import TYPES, Sample, alone, ending, joined, reader, writer
from latlas.profiler.graph import Graph
from latlas.profiler.ops import Activation, Binary
from latlas.profiler.statistics import fast_level
from latlas.profiler.target import Target

LOWEST, HIGHEST = 0.25, 0.85
"""The threshold lies between these shares."""

WELL_KNOWN = 0.1
"""Pairs whose share has a larger standard error do not show where the threshold is."""

STANDS_OUT = 40.0
"""The cheapest operator takes so many times its own standard error."""

SIZES = tuple(1 << power for power in range(13, 20))
"""Sizes of values that are tried."""


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """How much is measured.

    Attributes:
        rounds: how often every model is measured.
        more_rounds: how often the models of a pair that is not decided are, once more; if that
            is not enough, three times as often.
        elements: size of the values between operators; 0 finds one that is large enough.
        growth: by which factor the values of pairs are larger that more rounds do not decide.
        significance: probability of a wrong verdict by chance, for one pair.
        cases: pairs that are looked at for each further rule.
    """

    rounds: int = 5
    more_rounds: int = 10
    elements: int = 0
    growth: int = 4
    significance: float = 1e-3
    cases: int = 4


class Bench(Protocol):
    """Measures models in rounds."""

    @property
    def target(self) -> Target:
        """What the times are valid for."""
        ...

    def measure(self, graphs: Sequence[Graph], rounds: int) -> None:
        """Measure each of the graphs so many times more than before."""
        ...

    def times_us(self, graph: Graph) -> Sequence[float]:
        """Return the times of a graph, one a round; none where it cannot be measured."""
        ...

    def problem(self, graph: Graph) -> str:
        """Return why a graph cannot be measured, or an empty string."""
        ...


@dataclass(frozen=True, slots=True)
class Estimate:
    """A time and its standard error, in microseconds."""

    us: float
    error_us: float


def estimate(times_us: Sequence[float], noise: float = 0.0) -> Estimate:
    """Return the fast level of repeated times: what disturbs a round makes it slower.

    Args:
        times_us: at least one.
        noise: relative standard error that one time has at least: few times may agree by chance.

    >>> estimate([10.0, 10.1, 9.9, 10.0, 14.0]).us
    9.9
    """
    us, error_us = fast_level(times_us)
    return Estimate(us, max(error_us, noise * us / math.sqrt(len(times_us))))


def gap(shares: Sequence[tuple[float, float]]) -> float:
    """Return the threshold between pairs that are fused and pairs that are not.

    It is the middle of the widest gap between the shares of pairs that are known well; 0 and 1,
    where pairs should be, count as pairs.

    Args:
        shares: what each pair saves, with its standard error.

    >>> gap([(0.02, 0.01), (0.3, 0.01), (0.9, 0.01), (1.0, 0.01), (0.6, 0.5)])
    0.6
    """
    known = sorted(share for share, error in shares if error <= WELL_KNOWN and 0 < share < 1)
    low, high = max(pairwise([0.0, *known, 1.0]), key=lambda pair: pair[1] - pair[0])
    return min(max((low + high) / 2, LOWEST), HIGHEST)


CUTS = tuple(alone(writer("relu", SIZES[0]), cuts=cuts) for cuts in (1, 2))
"""Models that differ by what one more slice costs: on a GPU as much as a small operator."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question: are these operators run as one?

    Attributes:
        case: what sort of question.
        chain: the operators.
        elements: size of the values between them.
    """

    case: Case
    chain: tuple[Sample, ...]
    elements: int

    @property
    def types(self) -> tuple[str, ...]:
        """Types of the operators."""
        return tuple(sample.type for sample in self.chain)

    @property
    def whole(self) -> Graph:
        """The model in which they follow each other."""
        position = 1 if self.case in ("second input", "broadcast") else 0
        return joined(*self.chain, position=position, exposed=self.case == "several readers")

    @property
    def before(self) -> Graph:
        """The model without the last operator."""
        if self.case == "several readers":
            return alone(self.chain[0], cuts=2)
        return joined(*self.chain[:-1])

    @property
    def last(self) -> Graph:
        """The last operator alone."""
        return alone(self.chain[-1])

    @property
    def between(self) -> Graph:
        """The slice of the value that the last operator reads."""
        return ending(self.chain[-2].output)

    @property
    def inputs(self) -> tuple[Graph, Graph]:
        """The slices of what the first and the last operator read."""
        return ending(*self.chain[0].inputs), ending(*self.chain[-1].inputs)

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """All models that the question takes."""
        return (self.whole, self.before, self.last, self.between, *self.inputs, *CUTS)


def probe_pair(first: str, second: str, elements: int) -> Probe | None:
    """Return the question about two types, or None where the second cannot read the first.

    >>> probe_pair("conv2d", "relu6", 1 << 13).types
    ('conv2d', 'relu6')
    """
    sample = writer(first, elements)
    follower = reader(second, sample.output)
    return None if follower is None else Probe("pair", (sample, follower), elements)


@dataclass
class Detection:
    """Asks a bench about pairs of operators.

    Args:
        bench: measures.
        pairs: types of operators, in order; those where the second cannot read the first are
            left out.
        settings: how much is measured.
        say: takes a line about what is done.
    """

    bench: Bench
    pairs: Sequence[tuple[str, str]] = tuple(product(TYPES, TYPES))
    settings: DetectionSettings = field(default_factory=DetectionSettings)
    say: Callable[[str], None] = lambda text: None

    def run(self) -> FusionEvidence:
        """Measure until every pair is decided, or more would not help.

        Raises:
            RunnerError: nothing can be measured.
            DeviceError: the device is gone.
        """
        settings = self.settings
        elements = settings.elements or self.find_elements()
        pairs = [probe_pair(first, second, elements) for first, second in self.pairs]
        probes = [probe for probe in pairs if probe is not None]
        self.ask(probes, settings.rounds, f"{len(probes)} pairs, values of {elements} elements")
        found, threshold = self.judge_pairs(probes)
        for rounds in (settings.more_rounds, 3 * settings.more_rounds):
            if open_ := _undecided(probes, found):
                self.ask(open_, rounds, f"{len(open_)} pairs once more")
                found, threshold = self.judge_pairs(probes)
        if open_ := _undecided(probes, found):
            size = elements * settings.growth
            larger = [probe_pair(p.chain[0].type, p.chain[1].type, size) for p in open_]
            grown = [probe for probe in larger if probe is not None]
            self.ask(grown, settings.more_rounds, f"{len(grown)} pairs with larger values")
            found |= {
                p.types: new
                for p in grown
                if (new := self.judge(p, threshold)).verdict != "undecided"
            }
        evidence = [*found.values(), *self.look_at_cases(probes, found, threshold)]
        return FusionEvidence(self.bench.target, threshold, elements, tuple(evidence))

    def find_elements(self) -> int:
        """Return the size at which the cheapest operator stands out of the noise, or nearly so.

        Not more than that: what lies in the cache is not read from memory, whether fused or not.

        Raises:
            RunnerError: it cannot be measured.
        """
        samples = {n: writer("relu", n) for n in SIZES}
        probes = {n: (alone(s), ending(*s.inputs)) for n, s in samples.items()}
        self.say(f"finding the size of values: {2 * len(SIZES)} models")
        graphs = [graph for pair in probes.values() for graph in pair]
        self.bench.measure(graphs, self.settings.rounds)
        clear = {}
        for elements, pair in probes.items():
            times = [self.bench.times_us(graph) for graph in pair]
            if all(times):
                whole, slices = (estimate(each, 1e-3) for each in times)
                error_us = math.hypot(whole.error_us, slices.error_us)
                clear[elements] = (whole.us - slices.us) / error_us
        if not clear:
            raise RunnerError(
                f"a relu cannot be measured on {self.bench.target}: "
                f"{self.bench.problem(graphs[0]) or 'there is no result'}"
            )
        best = max(clear.values())
        enough = min(STANDS_OUT, 0.8 * best, best)  # of a best below 0, 0.8 would be more
        return next(elements for elements, ratio in clear.items() if ratio >= enough)

    def ask(self, probes: Sequence[Probe], rounds: int, text: str) -> None:
        """Measure what questions take."""
        graphs = {graph.to_text(): graph for probe in probes for graph in probe.graphs}
        self.say(f"{text}: {len(graphs)} models, {rounds} rounds")
        self.bench.measure(tuple(graphs.values()), rounds)

    def judge_pairs(self, probes: Sequence[Probe]) -> tuple[dict[tuple[str, ...], Evidence], float]:
        """Return the evidence on all pairs and the threshold that they show."""
        noise = self.noise(probes)
        raw = [self.weigh(probe, noise) for probe in probes]
        threshold = gap([(each.share, each.error) for each in raw if not each.reason])
        return {e.types: self.decide(e, threshold) for e in raw}, threshold

    def judge(self, probe: Probe, threshold: float) -> Evidence:
        """Return the evidence on one question."""
        return self.decide(self.weigh(probe, self.noise([probe])), threshold)

    def noise(self, probes: Iterable[Probe]) -> float:
        """Return the relative standard error that one time of a model typically has."""
        graphs = {graph.to_text(): graph for probe in probes for graph in probe.graphs}
        found = []
        for graph in graphs.values():
            times_us = self.bench.times_us(graph)
            if times_us and (known := estimate(times_us)).us:  # a phone prints 0 for less than 1 us
                found.append(known.error_us / known.us * math.sqrt(len(times_us)))
        return median(found) if found else 0.0

    def weigh(self, probe: Probe, noise: float) -> Evidence:
        """Work out what a question's operators cost and save."""
        times = [self.bench.times_us(graph) for graph in probe.graphs]
        if not all(times):
            missing = [g for g, t in zip(probe.graphs, times, strict=True) if not t]
            reason = self.bench.problem(missing[0]) or "a model was not measured"
            return _unknown(probe, reason)
        estimates = [estimate(each, noise) for each in times]
        whole, before, last, between, first_in, last_in, one, two = estimates
        parts = whole, before, last, between
        # Every input beyond the first has a slice of its own, which the operator's model has not.
        cut_us = max(two.us - one.us, 0.0)
        extra = [cut_us * (len(probe.chain[place].inputs) - 1) for place in (0, -1)]
        if probe.case == "several readers":
            extra[0] -= cut_us
        first = _difference(before, first_in, extra[0])
        second = _difference(last, last_in, extra[1])
        least = min(first, second, key=lambda each: each.us)
        if least.us < 5 * least.error_us or least.us <= 0:
            return _unknown(probe, "one of the operators costs too little to be seen")
        saved_us = before.us + last.us - between.us - whole.us
        share = saved_us / least.us
        error_us = math.sqrt(sum(part.error_us**2 for part in parts))
        error = math.hypot(error_us, share * least.error_us) / least.us
        return Evidence(
            probe.case,
            probe.types,
            first.us,
            second.us,
            whole.us - first_in.us + extra[0],
            share,
            error,
            1.0,
            "undecided",
        )

    def decide(self, found: Evidence, threshold: float) -> Evidence:
        """Compare a share with the threshold."""
        if found.reason:
            return found
        return decide(found, threshold, self.settings.significance)

    def look_at_cases(
        self,
        probes: Sequence[Probe],
        found: Mapping[tuple[str, ...], Evidence],
        threshold: float,
    ) -> list[Evidence]:
        """Ask about several readers, second inputs and chains of pairs that are fused."""
        fused = [probe for probe in probes if found[probe.types].verdict == "fused"]
        fused.sort(key=lambda probe: found[probe.types].p)
        kinds = several_readers(fused), second_inputs(fused), broadcasts(fused), chains(fused)
        cases = [probe for kind in kinds for probe in varied(kind, self.settings.cases)]
        if not cases:
            return []
        rounds = self.settings.rounds + self.settings.more_rounds
        self.ask(cases, rounds, f"{len(cases)} cases")
        noise = self.noise(cases)
        return [self.decide(self.weigh(probe, noise), threshold) for probe in cases]


def several_readers(fused: Sequence[Probe]) -> list[Probe]:
    """Return pairs that are fused, asked again with another reader of the value between them."""
    return [replace(probe, case="several readers") for probe in fused]


def second_inputs(fused: Sequence[Probe]) -> list[Probe]:
    """Return pairs that are fused, asked again with the value as the second input."""
    return [
        replace(probe, case="second input") for probe in fused if len(probe.chain[-1].inputs) > 1
    ]


def broadcasts(fused: Sequence[Probe]) -> list[Probe]:
    """Return pairs that are fused, asked again with a value of one pixel that scales a map."""
    found = []
    for probe in fused:
        first, last = (sample.op for sample in probe.chain)
        if isinstance(first, Activation) and isinstance(last, Binary):
            pixel = (1, 1, 1, probe.elements)
            chain = Sample(first, (pixel,)), Sample(last, ((1, 2, 2, probe.elements), pixel))
            found.append(Probe("broadcast", chain, probe.elements))
    return found


def chains(fused: Sequence[Probe]) -> list[Probe]:
    """Return three operators in a row of which each two that are neighbours are fused."""
    pairs = {probe.types for probe in fused}
    found = []
    for probe in fused:
        first, second = probe.chain
        for _, third in sorted(types for types in pairs if types[0] == second.type):
            follower = reader(third, second.output)
            if follower is not None:
                found.append(Probe("chain", (first, second, follower), probe.elements))
    return found


def varied(probes: Sequence[Probe], count: int) -> list[Probe]:
    """Return some of the questions, with as many different operators as can be.

    >>> pairs = [("conv2d", "relu"), ("conv2d", "tanh"), ("max_pool", "tanh")]
    >>> probes = [p for p in (probe_pair(a, b, 1 << 13) for a, b in pairs) if p]
    >>> [probe.types for probe in varied(probes, 2)]
    [('conv2d', 'relu'), ('max_pool', 'tanh')]
    """
    left, chosen = list(probes), list[Probe]()
    seen: Counter[tuple[int, str]] = Counter()
    while left and len(chosen) < count:
        best = min(left, key=lambda probe: sum(seen[place] for place in enumerate(probe.types)))
        left.remove(best)
        chosen.append(best)
        seen.update(enumerate(best.types))
    return chosen


def decide(found: Evidence, threshold: float, significance: float) -> Evidence:
    """Return evidence with its verdict: fused above the threshold, if that is significant."""
    z = (found.share - threshold) / max(found.error, 1e-9)
    p = math.erfc(abs(z) / math.sqrt(2))
    if p > significance:
        reason = "too close to the threshold"
        return replace(found, p=p, verdict="undecided", reason=reason)
    return replace(found, p=p, verdict="fused" if z > 0 else "not fused")


def _difference(model: Estimate, slices: Estimate, extra_us: float) -> Estimate:
    error_us = math.hypot(model.error_us, slices.error_us)
    return Estimate(model.us - slices.us + extra_us, error_us)


def _unknown(probe: Probe, reason: str) -> Evidence:
    return Evidence(probe.case, probe.types, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, "undecided", reason)


def _undecided(probes: Sequence[Probe], found: Mapping[tuple[str, ...], Evidence]) -> list[Probe]:
    return [probe for probe in probes if found[probe.types].verdict == "undecided"]
