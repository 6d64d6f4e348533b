"""Active rounds against random ones, at equal numbers of measurements.

    python benchmarks/active.py --data DIR [--seeds 2] [--json]
    python benchmarks/active.py --table TABLE [--seeds 2] [--json]

With ``--data`` (the folder of ``phone_data.py``), recorded kernels of phones' GPUs are measured one
by one, as on a target that lists no operators, and every family of networks is left out in turn.
With ``--table``, the networks of a latency table are measured whole, and every fifth is left out.
The error is that of ``latlas profile --rounds``: of the kernels of the networks left out, relative
to the networks' latency. Both methods start with the same designed sample; then ``random`` draws
what is measured next, and ``active`` chooses it by what it is unsure of.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import phone_recordings as recordings

from latlas.console import emit, table
from latlas.predictor.active import Candidate, choose, held_out_errors, no_longer_falls
from latlas.predictor.evaluation import remaining
from latlas.predictor.fit import fit
from latlas.predictor.latencies import kernel_latencies
from latlas.predictor.observations import NetworkObservation, Observations, observe
from latlas.profiler.kernel import Kernel
from latlas.profiler.sampler import designed_kernels, rough_us
from latlas.profiler.table import Table

METHODS = ("random", "active")
TREES = 40


@dataclass(frozen=True)
class Case:
    """What can be measured, and what the errors are counted on.

    Attributes:
        candidates: what can be measured.
        held_out: names of the networks left out.
        uses: how often the other networks run a kernel.
        first, step: candidates that are measured at the start, and in every round.
        observed: from the ids of what was measured to observations.
    """

    candidates: Sequence[Candidate]
    held_out: Collection[str]
    uses: Counter[Kernel]
    first: int
    step: int
    observed: Callable[[Collection[str]], Observations]


def phone_cases(folder: Path) -> Iterator[tuple[str, Case]]:
    """Yield every family of networks, left out, on every device."""
    kernels = recordings.read_rows(folder / recordings.KERNELS)
    models = recordings.read_rows(folder / recordings.MODELS)
    for device in recordings.devices(kernels, models):
        seen = recordings.observations(kernels, models, device)
        time_us = kernel_latencies(seen).latency_us
        families = defaultdict(list)
        for network in seen.networks:
            families[recordings.family(network.name)].append(network.name)
        for held_out in families.values():
            yield device, _phone_case(seen, time_us, frozenset(held_out))


def _phone_case(
    seen: Observations, time_us: Mapping[Kernel, float], held_out: frozenset[str]
) -> Case:
    others = [network for network in seen.networks if network.name not in held_out]
    secret = {k for n in seen.networks if n.name in held_out for k in n.kernels}
    uses = Counter(kernel for network in others for kernel in network.kernels)
    networks = tuple(n if n.name in held_out else replace(n, listed_us=None) for n in seen.networks)

    def observed(ids: Collection[str]) -> Observations:
        alone_us = {k: t for k, t in time_us.items() if k not in secret and k.text in ids}
        return replace(seen, networks=networks, alone_us=alone_us)

    candidates = [Candidate(kernel.text, (kernel,)) for kernel in uses if kernel not in secret]
    return Case(candidates, held_out, uses, 100, 50, observed)


def table_cases(folder: Path, seeds: int) -> Iterator[tuple[str, Case]]:
    """Yield the networks of a table, every fifth left out, another fifth each time."""
    seen = observe(Table.open(folder))
    listed = [network for network in seen.networks if network.listed_us is not None]
    for part in range(min(seeds, 5)):
        held_out = frozenset(network.name for network in listed[part::5])
        others = [network for network in listed if network.name not in held_out]

        def observed(ids: Collection[str], held_out: Collection[str] = held_out) -> Observations:
            kept: tuple[NetworkObservation, ...] = tuple(
                n for n in listed if n.name in ids or n.name in held_out
            )
            return replace(seen, networks=kept)

        uses = Counter(kernel for network in others for kernel in network.kernels)
        candidates = [Candidate(n.name, n.kernels) for n in others]
        yield str(folder), Case(candidates, held_out, uses, 6, 6, observed)


def curve(case: Case, method: str, seed: int, rounds: int) -> tuple[list[float], int]:
    """Return the error after every round, and the round after which latlas would stop."""
    rng = np.random.default_rng(seed)
    ids = _start(case, seed)
    history: list[dict[str, float]] = []
    stop = rounds
    for number in range(rounds):
        observations = case.observed(ids)
        predictor = fit(remaining(observations, case.held_out), trees=TREES, seed=seed)
        history.append(held_out_errors(predictor, observations, case.held_out))
        if no_longer_falls(history):
            stop = min(stop, number)
        left = [candidate for candidate in case.candidates if candidate.id not in ids]
        if method == "active":
            more = choose(predictor, left, case.uses, case.step)
        else:
            count = min(case.step, len(left))
            more = [left[i] for i in rng.choice(len(left), count, replace=False)]
        ids |= {candidate.id for candidate in more}
    return [float(np.mean(list(errors.values()))) for errors in history], stop


def _start(case: Case, seed: int) -> set[str]:
    if any(len(candidate.kernels) > 1 for candidate in case.candidates):
        rng = np.random.default_rng((seed, 1))
        first = min(case.first, len(case.candidates))
        chosen = rng.choice(len(case.candidates), first, replace=False)
        return {case.candidates[i].id for i in chosen}
    kernels = [candidate.kernels[0] for candidate in case.candidates]
    weights = {kernel: case.uses[kernel] * rough_us(kernel) for kernel in kernels}
    return {kernel.text for kernel in designed_kernels(weights, case.first, seed=seed)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    curves: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    stops: dict[str, list[int]] = defaultdict(list)
    cases: list[tuple[str, Case]] = []
    if arguments.data is not None:
        cases += phone_cases(arguments.data)
    if arguments.table is not None:
        cases += table_cases(arguments.table, 5)
    for place, (name, case) in enumerate(cases):
        for method in METHODS:
            for seed in range(arguments.seeds):
                found, stop = curve(case, method, seed, arguments.rounds)
                curves[name][method].append(found)
                stops[method].append(stop)
        print(f"{place + 1}/{len(cases)} {name}", file=sys.stderr, flush=True)
    document = {
        name: {method: np.mean(each, axis=0).tolist() for method, each in methods.items()}
        for name, methods in curves.items()
    }
    rows = [
        (name, method, *(f"{error:.1%}" for error in errors))
        for name, methods in document.items()
        for method, errors in methods.items()
    ]
    stopped = {method: float(np.mean(each)) for method, each in stops.items()}
    header = ("device", "method", *(f"round {i}" for i in range(arguments.rounds)))
    text = f"{table(header, rows)}\n\nrounds before the stop, on average: {stopped}"
    emit({"errors": document, "stops": stopped}, arguments.as_json, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
