"""Do the searchers search? A problem with a known formula, and measured latency.

    python benchmarks/analytic.py --latency TABLE_OR_PREDICTOR [-o FOLDER] [--json] [--plot FILE]

The accuracy is that of benchmarks/analytic_problem.py, on the spaces of MoGA and MnasNet.

1. One number to maximise: MnasNet's hard reward, its target the median latency of 1,000 random
   architectures. Random search (10,000 samples), regularised evolution (2,000) and PPO (5,000), 5
   seeds each: does the worst run of a searcher end above the best of random search?
2. A front: NSGA-II, 60 generations of 70, 10 seeds. The hypervolume of (accuracy, latency) of
   everything that was tried, as a fraction of the box between the reference point (the least
   accuracy and the largest latency of those 1,000) and (1, 0 ms), for MoGA's 2:2:1, for equal
   weights, without parameters as an objective, with reinforced mutation, and for random search.
   Differences from 2:2:1 are between runs of the same seed, which begin with the same population;
   intervals are of 95%, by Student's t.

With -o, finished runs are kept, and a repeated command goes on with those that are missing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from analytic_problem import AnalyticProblem
from numpy.typing import NDArray
from scipy.stats import t as student

from latlas.console import emit, say, table
from latlas.predictor import file
from latlas.predictor.fit import fit
from latlas.predictor.genes import gene_latency
from latlas.predictor.observations import observe
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.errors import SearchError
from latlas.profiler.files import write_atomically
from latlas.profiler.journal import JournalWriter
from latlas.profiler.table import Table
from latlas.search.nsga2 import WeightedNSGA2
from latlas.search.objectives import DEFAULT_OBJECTIVES, Objective
from latlas.search.pareto import Direction, hypervolume
from latlas.search.protocols import Genes, Searcher, Trial
from latlas.search.random_search import RandomSearch
from latlas.search.rewards import MnasnetReward
from latlas.search.searchers import open_searcher
from latlas.search.spaces import MnasnetSpace, MogaSpace

SPACES = {"moga": MogaSpace, "mnasnet": MnasnetSpace}
SAMPLES = {"random": 10_000, "evolution": 2_000, "ppo": 5_000}
VERSION = 1
POPULATION, GENERATIONS = 70, 60
PROJECTION: tuple[Direction, Direction] = ("max", "min")
COLOURS = ("#999999", "#0072b2", "#d55e00", "#009e73", "#cc79a7")


class Problem(AnalyticProblem):
    """The problem with what 1,000 random architectures say of it."""

    def __init__(self, space: MogaSpace | MnasnetSpace, predictor: LatencyPredictor) -> None:
        super().__init__(space, gene_latency(space, predictor))
        drawn = np.array(space.sample(1000, 123))
        latency_ms = self.latency.latency_ms(drawn)
        self.target_ms = float(np.median(latency_ms))
        self.corner = (float(self.accuracy(drawn).min()), float(latency_ms.max()))

    def volume(self, trials: Sequence[Trial]) -> float:
        """Return the hypervolume of the projection, as a fraction of its box."""
        points = [(trial.accuracy, trial.latency_ms) for trial in trials]
        box = (1 - self.corner[0]) * self.corner[1]
        return hypervolume(points, PROJECTION, self.corner) / box


def fronts(choices: Sequence[int], seed: int) -> dict[str, Searcher]:
    """Return the searchers whose fronts are compared, by name."""

    def nsga2(objectives: Sequence[Objective], operator: Any = "random") -> WeightedNSGA2:
        return WeightedNSGA2(
            choices, objectives, population=POPULATION, seed=seed, operator=operator
        )

    equal = [Objective(one.metric, one.direction) for one in DEFAULT_OBJECTIVES]
    return {
        "weighted 2:2:1": nsga2(DEFAULT_OBJECTIVES),
        "unweighted": nsga2(equal),
        "without params": nsga2(equal[:2]),
        "reinforced mutation": nsga2(DEFAULT_OBJECTIVES, "reinforced"),
        "random": RandomSearch(choices, batch=POPULATION, seed=seed),
    }


def maximise(problem: Problem, name: str, seed: int) -> dict[str, Any]:
    """Return how the best reward grew, and the architecture that has it."""
    reward = MnasnetReward.hard(problem.target_ms)
    searcher = open_searcher(name, problem.space, reward=reward, seed=seed)
    rewards: list[float] = []
    best: tuple[float, Genes] = (-1.0, ())
    while len(rewards) < SAMPLES[name]:
        trials = problem.trials(searcher.ask())
        rewards += map(reward, trials)
        best = max(best, max((reward(trial), trial.genes) for trial in trials))
        searcher.tell(trials)
    curve = np.maximum.accumulate(rewards[: SAMPLES[name]])[19::20]
    terms = float(problem.terms(np.array([best[1]]))[0])
    return {"curve": np.round(curve, 6).tolist(), "genes": list(best[1]), "terms": terms}


def spread(problem: Problem, name: str, seed: int) -> dict[str, Any]:
    """Return how the hypervolume of the projection grew, after every generation."""
    searcher = fronts(problem.space.choices, seed)[name]
    front: list[Trial] = []
    curve = []
    for _ in range(GENERATIONS):
        trials = problem.trials(searcher.ask())
        searcher.tell(trials)
        front = _undominated([*front, *trials])
        curve.append(round(problem.volume(front), 6))
    return {"curve": curve}


def _undominated(trials: Sequence[Trial]) -> list[Trial]:
    """Return the front of accuracy and latency."""
    kept: list[Trial] = []
    for trial in sorted(trials, key=lambda one: (one.latency_ms, -one.accuracy)):
        if not kept or trial.accuracy > kept[-1].accuracy:
            kept.append(trial)
    return kept


def run_all(
    folder: Path, problems: dict[str, Problem], settings: dict[str, Any], seeds: int, pairs: int
) -> dict[tuple[str, str, str, int], dict[str, Any]]:
    """Return the results of all runs by part, space, searcher and seed; kept in a journal."""
    found: dict[tuple[str, str, str, int], dict[str, Any]] = {}
    header: list[dict[str, Any]] = []

    def replay(record: dict[str, Any]) -> None:
        if "settings" in record:
            header.append(record["settings"])
        else:
            found[record["part"], record["space"], record["name"], record["seed"]] = record

    wanted = [("maximise", s, n, i) for s in problems for n in SAMPLES for i in range(seeds)]
    wanted += [("spread", s, n, i) for s in problems for n in fronts((2,), 0) for i in range(pairs)]
    with JournalWriter(folder / "runs.jsonl", replay, SearchError) as writer:
        if not header:
            writer.append([{"settings": settings}])
        elif header[0] != settings:
            raise SearchError(
                f"{folder} holds runs of other settings ({header[0]}, not {settings}): choose "
                "another folder"
            )
        for key in wanted:
            if key in found:
                continue
            part, space, name, seed = key
            began = time.perf_counter()
            result = (maximise if part == "maximise" else spread)(problems[space], name, seed)
            record = {
                "part": part,
                "space": space,
                "name": name,
                "seed": seed,
                **result,
                "seconds": round(time.perf_counter() - began, 2),
            }
            writer.append([record], sync=True)
            found[key] = record
            say(f"{space}: {name}, seed {seed}: {result['curve'][-1]:.4f}")
    return {key: found[key] for key in wanted}


def mean_and_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return a mean, and how far its 95% interval reaches to either side."""
    n = len(values)
    if n < 2:
        return float(values.mean()), float("nan")
    return float(values.mean()), float(student.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))


def summary(
    runs: dict[tuple[str, str, str, int], dict[str, Any]], problems: dict[str, Problem]
) -> dict[str, Any]:
    """Return what the runs show, as plain values."""

    def curves(part: str, space: str, name: str) -> NDArray[np.float64]:
        return np.array([r["curve"] for key, r in runs.items() if key[:3] == (part, space, name)])

    document: dict[str, Any] = {}
    for space, problem in problems.items():
        bar = float(curves("maximise", space, "random")[:, -1].max())
        maximised = {}
        for name in SAMPLES:
            best = curves("maximise", space, name)
            above = best > bar
            first = np.where(above.any(axis=1), 20 * (1 + above.argmax(axis=1)), 0)
            maximised[name] = {
                "samples": SAMPLES[name],
                "best": best[:, -1].tolist(),
                "all_above_random": bool(above[:, -1].all()),
                "samples_to_pass_random": first.tolist(),  # 0: never
                "terms": [
                    r["terms"] for k, r in runs.items() if k[:3] == ("maximise", space, name)
                ],
            }
        base = curves("spread", space, "weighted 2:2:1")[:, -1]
        volumes = {}
        for name in fronts((2,), 0):
            last = curves("spread", space, name)[:, -1]
            mean, margin = mean_and_interval(last)
            difference, reach = mean_and_interval(last - base)
            volumes[name] = {
                "hypervolume": mean,
                "margin": margin,
                "difference": difference,
                "difference_margin": reach,
                "runs": last.tolist(),
            }
        document[space] = {
            "target_ms": problem.target_ms,
            "reference": list(problem.corner),
            "largest_terms": problem.terms.best()[0],
            "maximise": maximised,
            "fronts": volumes,
        }
    return document


def plot(
    path: Path, runs: dict[tuple[str, str, str, int], dict[str, Any]], spaces: Sequence[str]
) -> None:
    """Draw the best rewards and the hypervolumes as they grew."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2 * len(spaces)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(spaces), 2, squeeze=False)
    for (left, right), space in zip(axes, spaces, strict=True):
        for (part, names, axis) in (
            ("maximise", list(SAMPLES), left),
            ("spread", list(fronts((2,), 0)), right),
        ):  # fmt: skip
            for name, colour in zip(names, COLOURS if part == "maximise" else COLOURS[::-1]):  # noqa: B905
                lines = [r["curve"] for k, r in runs.items() if k[:3] == (part, space, name)]
                step = 20 if part == "maximise" else POPULATION
                x = step * np.arange(1, len(lines[0]) + 1)
                if part == "maximise":
                    for line in lines:
                        axis.plot(x, line, color=colour, lw=0.9)
                    axis.plot([], [], color=colour, label=name)
                else:
                    mean = np.mean(lines, axis=0)
                    axis.plot(x, mean, color=colour, label=name)
        left.set_xscale("log")
        left.set_ylabel("best reward (MnasNet's hard reward)")
        right.set_ylabel("hypervolume of (accuracy, latency)")
        for axis in (left, right):
            axis.set_title(space, fontsize=9)
            axis.set_xlabel("architectures tried")
            axis.legend(fontsize=8, loc="lower right")
    with write_atomically(path, SearchError) as out:
        figure.savefig(out, format="png")


def text_of(document: dict[str, Any]) -> str:
    """Return the summary as tables."""
    rows, fronts_rows = [], []
    for space, found in document.items():
        for name, row in found["maximise"].items():
            best = np.array(row["best"])
            passed = row["samples_to_pass_random"]
            reached = f"{min(passed)} - {max(passed)}" if all(passed) else "not by all seeds"
            rows.append(
                (
                    space,
                    name,
                    row["samples"],
                    f"{best.min():.4f} - {best.max():.4f}",
                    "" if name == "random" else reached,
                    f"{np.mean(row['terms']) / found['largest_terms']:.0%}",
                )
            )
        for name, row in found["fronts"].items():
            fronts_rows.append(
                (
                    space,
                    name,
                    f"{row['hypervolume']:.4f} ± {row['margin']:.4f}",
                    f"{row['difference']:+.4f} ± {row['difference_margin']:.4f}",
                )
            )
    first = table(
        ("space", "searcher", "samples", "best rewards", "random passed at", "of largest terms"),
        rows,
    )  # fmt: skip
    second = table(("space", "searcher", "hypervolume", "less weighted 2:2:1"), fronts_rows)
    return f"{first}\n\n{second}"


def open_predictor(path: Path) -> LatencyPredictor:
    """Return the predictor of a file, or of a table."""
    return fit(observe(Table.open(path))) if path.is_dir() else file.load(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=Path, required=True)
    parser.add_argument("--space", nargs="+", choices=list(SPACES), default=list(SPACES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--front-seeds", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    predictor = open_predictor(arguments.latency)
    problems = {name: Problem(SPACES[name](), predictor) for name in arguments.space}
    settings = {"version": VERSION, "latency": predictor.digest}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.output or Path(temporary)
        runs = run_all(folder, problems, settings, arguments.seeds, arguments.front_seeds)
    document = summary(runs, problems)
    if arguments.plot:
        plot(arguments.plot, runs, arguments.space)
    emit(
        {"target": str(predictor.target), **document},
        arguments.json,
        f"latency: {predictor.target}\n\n{text_of(document)}",
    )


if __name__ == "__main__":
    main()
