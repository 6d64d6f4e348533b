"""Latency as an objective, or as a constraint, in a study of Optuna's.

    pip install 'optuna>=5'
    latlas fit tables/pixel8-cpu -o pixel8-cpu.latlas
    python examples/optuna_latency.py pixel8-cpu.latlas

The network is described with latlas's `GraphBuilder`; any model that `load_predictor(…).predict`
takes will do, such as a Keras model. `accuracy` stands for your training and is made up here.
"""

import math
import sys

import optuna

from latlas import load_predictor
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder

LIMIT_MS = 5.0


def network(trial: optuna.Trial) -> Graph:
    """Return a plain network of four stages, of widths and kernel sizes that Optuna chooses."""
    b = GraphBuilder((1, 64, 64, 3))
    x = b.conv(b.input, 16, 3, stride=2, activation="relu6")
    for stage in range(4):
        kernel = trial.suggest_categorical(f"kernel{stage}", [3, 5, 7])
        width = trial.suggest_int(f"width{stage}", 16, 128, step=16)
        x = b.depthwise(x, kernel, stride=2, activation="relu6")
        x = b.conv(x, width, 1, activation="relu6")
    return b.build(b.dense(b.mean(x, keepdims=False), 10))


def accuracy(graph: Graph) -> float:
    """Return a made-up accuracy that grows with the number of weights: train and validate here."""
    weights = sum(math.prod(shape) for shape in graph.weight_shapes().values())
    return weights / (weights + 20_000)


def main(predictor_file: str, trials: int = 100) -> optuna.Study:
    """Look for accurate and fast networks; those over the limit are told to be infeasible."""
    predictor = load_predictor(predictor_file)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        graph = network(trial)
        latency_ms = predictor.predict(graph, accept_unknown=True)
        trial.set_constraint("latency_ms", latency_ms - LIMIT_MS)  # feasible where <= 0
        return accuracy(graph), latency_ms

    sampler = optuna.samplers.NSGAIISampler(seed=0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


if __name__ == "__main__":
    for best in main(sys.argv[1]).best_trials:
        print(f"{best.values[0]:.3f} {best.values[1]:.3f} ms {best.params}")
