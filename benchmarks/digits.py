"""Do searches find more than luck does, end to end? Trained accuracy, measured latency.

    python benchmarks/digits.py -o FOLDER [--latency TABLE_OR_PREDICTOR] [--json] [--plot FILE]

Two searches, each against random search with as many evaluations, 3 seeds each:

- the space of MoGA with NSGA-II. Its objectives are the two that the result is about: more
  parameters as a third, as in MoGA, buy no hypervolume of accuracy and latency
  (benchmarks/analytic.py);
- the space of MnasNet with PPO, its reward MnasNet's soft one with the median latency of 1,000
  random architectures as the target.

Accuracies are those of supernets trained on scikit-learn's digits (benchmarks/digit_folds.py),
by repeated stratified folds of three fifths of the images. Fronts of accuracy and latency are then
scored again, by other supernets and on images that no search saw. Latencies are
those of the full networks (224x224, width 1) on this machine's CPU, from a table of kernels that is
measured first where none is given.

A result is the hypervolume of a front, as a fraction of the box between the reference point and
(1, 0 ms), twice: in the accuracies of the search, where the reference is the least of random
search, and in those of the report, where it is the least of 30 random architectures, drawn apart;
of latency, it is the largest of 1,000. What random search may come to is known from subsets of
everything that its seeds tried, as many architectures as one search evaluates: the interval holds
95% of them. Subsets of one pool are more alike than searches are; the interval is widened by as
much. A searcher is above random if the mean over its seeds is above the interval.

Everything is kept in the folder: a repeated command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from chosen_fronts import DIRECTIONS, interval, nearly_best, volume
from digit_folds import Folds, FoldsOracle, FoldsSource, open_folds
from numpy.typing import NDArray

from latlas.console import emit, say, table
from latlas.profiler.errors import SearchError
from latlas.profiler.files import write_atomically
from latlas.profiler.journal import JournalWriter
from latlas.profiler.target import Target
from latlas.search.latency import open_predicted, read_sources
from latlas.search.objectives import Objective
from latlas.search.pareto import pareto_front
from latlas.search.protocols import Genes, Trial
from latlas.search.rewards import MnasnetReward
from latlas.search.searchers import open_searcher
from latlas.search.spaces import open_space
from latlas.searching import Search, run_search

SEARCHERS = {"moga": "nsga2", "mnasnet": "ppo"}
OBJECTIVES = (Objective("accuracy", "max"), Objective("latency_ms", "min"))
SETTINGS: dict[str, dict[str, Any]] = {
    "ppo": {"learning_rate": 2e-3},
    "nsga2": {"population": 20},
    "random": {},
}
"""For hundreds of samples, not thousands: larger steps than NASNet's 3.5e-4, more generations."""
MAX_BETTER = 15
"""In a third of the pool, what 15 others are better than is on the front once in 400 times."""


@dataclass(frozen=True)
class Plan:
    """How much is done; the defaults took 82 minutes on two cores that others shared.

    Attributes:
        evaluations: of every search.
        seeds: of every searcher.
        folds: of the search, and how often its images are divided anew.
        report: the same, of what is reported.
        epochs: of supernets; None is the default of the space.
        drawn: random architectures whose least accuracy is the reference.
    """

    evaluations: int = 240
    seeds: int = 3
    folds: Folds = (2, 2)
    report: Folds = (2, 2)
    epochs: int | None = None
    drawn: int = 30


class Problem:
    """One space with its latencies and accuracies."""

    def __init__(self, name: str, latency: str, folder: Path, plan: Plan) -> None:
        self.name, self.folder, self.plan = name, folder / name, plan
        self.space = open_space(name)
        self.sources = read_sources([latency])
        predicted = open_predicted(self.sources[0], self.space)
        self.target = str(Target.from_json(predicted.identity["target"]))
        drawn_ms = predicted.latency.latency_ms(np.array(self.space.sample(1000, 123)))
        self.target_ms, self.largest_ms = float(np.median(drawn_ms)), float(drawn_ms.max())
        self.search, self.reported = open_folds(
            self.space, self.folder / "supernets", plan.folds, plan.report, plan.epochs
        )

    def run(self, kind: str, seed: int, accuracy: Opened) -> list[Trial]:
        """Run a search, or what is missing of it; return everything that it tried."""
        searcher = open_searcher(
            kind,
            self.space,
            objectives=OBJECTIVES,
            reward=MnasnetReward(self.target_ms) if kind == "ppo" else None,
            seed=seed,
            settings=SETTINGS[kind],
        )
        search = Search(
            *(self.space, searcher, self.sources, accuracy, OBJECTIVES),
            evaluations=self.plan.evaluations,
        )
        found = run_search(self.folder / f"{kind}-{seed}", search)
        return found.study.history[: self.plan.evaluations]


class Opened:
    """An `AccuracySource` that is opened once for all searches."""

    def __init__(self, source: FoldsSource) -> None:
        self.source = source

    @cached_property
    def identity(self) -> dict[str, Any]:
        return self.source.identity

    @cached_property
    def oracle(self) -> FoldsOracle:
        return self.source.open()

    def open(self) -> FoldsOracle:
        return self.oracle

    def report(self, oracle: FoldsOracle) -> dict[str, Any]:
        return self.source.report(oracle)

    def test(self, oracle: FoldsOracle, genes: Sequence[Genes]) -> NDArray[np.float64]:
        return self.source.test(oracle, genes)


def score_again(
    path: Path, accuracy: Opened, genes: Sequence[Genes], chunk: int = 16
) -> dict[Genes, float]:
    """Return the accuracies of architectures; they are kept in a journal."""
    known: dict[Genes, float] = {}
    header: list[Any] = []

    def replay(record: dict[str, Any]) -> None:
        if "identity" in record:
            header.append(record["identity"])
        else:
            known[tuple(record["genes"])] = record["accuracy"]

    with JournalWriter(path, replay, SearchError) as writer:
        if not header:
            writer.append([{"identity": accuracy.identity}])
        elif header[0] != accuracy.identity:
            raise SearchError(f"{path} holds scores of other supernets: choose another folder")
        missing = [one for one in dict.fromkeys(genes) if one not in known]
        for first in range(0, len(missing), chunk):
            part = missing[first : first + chunk]
            scores = accuracy.oracle.evaluate(part).tolist()
            found = zip(part, scores, strict=True)
            writer.append([{"genes": one, "accuracy": score} for one, score in found], sync=True)
            known.update(zip(part, scores, strict=True))
    return {one: known[one] for one in genes}


def points(trials: Sequence[Trial]) -> NDArray[np.float64]:
    """Return accuracies and latencies, shape (trials, 2)."""
    return np.array([(trial.accuracy, trial.latency_ms) for trial in trials])


def examine(problem: Problem) -> dict[str, Any]:
    """Run all searches of a problem and score what they found again."""
    began = time.monotonic()
    kind, seeds = SEARCHERS[problem.name], range(problem.plan.seeds)
    accuracy, again = Opened(problem.search), Opened(problem.reported)
    runs = {
        (name, seed): problem.run(name, seed, accuracy)
        for seed in seeds
        for name in (kind, "random")
    }
    values = {key: points(trials) for key, trials in runs.items()}
    pool = [trial for (name, _), trials in runs.items() if name == "random" for trial in trials]
    pooled = points(pool)
    chosen = {pool[i].genes for i in nearly_best(pooled, MAX_BETTER)}
    for key, trials in runs.items():
        chosen |= {trials[i].genes for i in pareto_front(values[key], DIRECTIONS)}
    drawn = problem.space.sample(problem.plan.drawn, 123)
    scores = score_again(problem.folder / "report.jsonl", again, [*drawn, *sorted(chosen)])
    least = float(pooled[:, 0].min()), problem.largest_ms
    corner = min(scores[one] for one in drawn), problem.largest_ms

    def again_of(trials: Sequence[Trial]) -> NDArray[np.float64]:
        return np.array([scores.get(trial.genes, np.nan) for trial in trials])

    searched = {key: found[:, 0] for key, found in values.items()}
    reported = {key: again_of(trials) for key, trials in runs.items()}
    size = problem.plan.evaluations
    return {
        "searcher": kind,
        "target_ms": problem.target_ms,
        "searched": _judge(
            values, searched, least, interval(pooled, pooled[:, 0], size, least), kind
        ),
        "reported": _judge(
            values, reported, corner, interval(pooled, again_of(pool), size, corner), kind
        ),
        "agreement": _agreement([*runs.values()], scores),
        "curves": {
            f"{name}-{seed}": _curve(found, least) for (name, seed), found in values.items()
        },
        "fronts": {
            f"{name}-{seed}": _front(runs[name, seed], scores) for name, seed in runs
        },
        "seconds": time.monotonic() - began,
    }  # fmt: skip


def _judge(
    values: Mapping[tuple[str, int], NDArray[np.float64]],
    scores: Mapping[tuple[str, int], NDArray[np.float64]],
    corner: tuple[float, float],
    random: tuple[float, float],
    kind: str,
) -> dict[str, Any]:
    """Return the hypervolumes of all runs, and where those of a searcher lie beside random ones.

    Args:
        values: accuracies by which fronts are chosen, and latencies, by searcher and seed.
        scores: accuracies by which they are judged.
        corner: the reference point.
        random: what 95% of random searches come to.
        kind: the searcher.
    """
    volumes: dict[str, list[float]] = {kind: [], "random": []}
    for (name, seed), found in values.items():
        volumes[name].append(volume(found, scores[name, seed], corner))
    mean = float(np.mean(volumes[kind]))
    return {
        "reference": list(corner),
        "hypervolume": volumes,
        "mean": mean,
        "random_interval": list(random),
        "verdict": "above" if mean > random[1] else "below" if mean < random[0] else "within",
    }


def _curve(found: NDArray[np.float64], corner: tuple[float, float]) -> list[float]:
    """Return the hypervolume in the search's own accuracies, after every 20 evaluations.

    Its reference is the least accuracy of random search.
    """
    return [
        volume(found[:count], found[:count, 0], corner) for count in range(20, len(found) + 1, 20)
    ]


def _front(trials: Sequence[Trial], scores: Mapping[Genes, float]) -> list[list[float]]:
    """Return accuracy, reported accuracy and latency of a front, the fastest first."""
    front = [trials[i] for i in pareto_front(points(trials), DIRECTIONS)]
    front.sort(key=lambda trial: trial.latency_ms)
    return [[one.accuracy, scores[one.genes], one.latency_ms] for one in front]


def _agreement(runs: Sequence[Sequence[Trial]], scores: Mapping[Genes, float]) -> dict[str, Any]:
    """Return how the search's accuracies and those reported rank what was scored twice."""
    from scipy.stats import kendalltau

    searched = {trial.genes: trial.accuracy for trials in runs for trial in trials}
    both = [(searched[one], score) for one, score in scores.items() if one in searched]
    tau, p_value = kendalltau(*np.array(both).T)
    return {"architectures": len(both), "tau": float(tau), "p_value": float(p_value)}


def plot(path: Path, document: Mapping[str, Any], target: str) -> None:
    """Draw how hypervolumes grew, and the fronts as they were scored again."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2 * len(document)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"digits, latency: {target}", fontsize=9)
    axes = figure.subplots(len(document), 2, squeeze=False)
    for (left, right), (space, found) in zip(axes, document.items(), strict=True):
        for name, colour in (("random", "#999999"), (found["searcher"], "#0072b2")):
            for key, curve in found["curves"].items():
                if not key.startswith(f"{name}-"):
                    continue
                left.plot(20 * np.arange(1, len(curve) + 1), curve, color=colour, lw=1.2)
                front = np.array(found["fronts"][key])
                right.plot(front[:, 2], 100 * front[:, 1], "o-", color=colour, ms=3.5, lw=0.7)
            left.plot([], [], color=colour, label=f"{name}, each seed")
            right.plot([], [], "o-", color=colour, ms=3.5, label=f"{name}, each seed")
        left.set_title(f"{space}: hypervolume in the search's own accuracies", fontsize=9)
        left.set_xlabel("architectures evaluated")
        right.set_title(f"{space}: fronts, on images that no search saw", fontsize=9)
        right.set_xlabel("latency, ms, predicted from measured kernels")
        right.set_ylabel("accuracy, %")
        for axis in (left, right):
            axis.legend(fontsize=8, loc="lower right")
    with write_atomically(path, SearchError) as out:
        figure.savefig(out, format="png")


def text_of(document: Mapping[str, Any]) -> str:
    """Return the results as a table."""

    def volumes(found: Mapping[str, Any], name: str) -> str:
        return " ".join(f"{one:.3f}" for one in found["hypervolume"][name])

    rows = [
        (
            space,
            found["searcher"],
            which,
            volumes(found[which], found["searcher"]),
            volumes(found[which], "random"),
            "{:.3f} - {:.3f}".format(*found[which]["random_interval"]),
            f"{found[which]['mean']:.3f}: {found[which]['verdict']}",
            f"{found['agreement']['tau']:.2f}",
        )
        for space, found in document.items()
        for which in ("searched", "reported")
    ]
    header = (
        *("space", "searcher", "accuracies", "hypervolumes", "random"),
        *("95% of random", "mean", "tau of both"),
    )
    return table(header, rows)


def measured_table(folder: Path) -> str:
    """Measure a table of this machine's CPU, or what is missing of it; return its folder."""
    where = str(folder / "table")
    command = [sys.executable, "-m", "latlas", "profile", "--space", "general", "--table", where]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return where


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--latency", help="a table or predictor; by default, one is measured")
    parser.add_argument("--space", nargs="+", choices=list(SEARCHERS), default=list(SEARCHERS))
    parser.add_argument("--evaluations", type=int, default=Plan.evaluations)
    parser.add_argument("--seeds", type=int, default=Plan.seeds)
    for name, default in (("--folds", Plan.folds), ("--report", Plan.report)):
        parser.add_argument(name, type=int, nargs=2, default=default)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    plan = Plan(
        *(arguments.evaluations, arguments.seeds, tuple(arguments.folds), tuple(arguments.report)),
        epochs=arguments.epochs,
    )
    arguments.output.mkdir(parents=True, exist_ok=True)
    latency = arguments.latency or measured_table(arguments.output)
    document, target = {}, ""
    for name in arguments.space:
        problem = Problem(name, latency, arguments.output, plan)
        target = problem.target
        document[name] = examine(problem)
        say(text_of(document))
    if arguments.plot:
        plot(arguments.plot, document, target)
    emit(
        {"target": target, **document}, arguments.json, f"latency: {target}\n\n{text_of(document)}"
    )


if __name__ == "__main__":
    main()
