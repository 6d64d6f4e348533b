"""Predictions per second: from graphs in memory, from .tflite files, and from chromosomes.

    python benchmarks/prediction.py TABLE [--json]

Every graph and every file is another network: MnasNet-like ones of random widths, so that most of
their kernels have to be predicted and no result serves twice. Graphs are predicted 100 at a time,
in the training form and in the inference form, files one by one. Beside them, in the same run, a
naive loop predicts the same graphs one kernel at a time, as predictors of models usually do. TABLE
is a latency table of ``--space general`` on the CPU. Chromosomes are predicted through what the
predictor is compiled to for their space. Loading is timed with a full set, too: 12 kernel types,
each fitted on 2,000 kernels, whose texts and latencies the file holds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from latlas.console import emit, table
from latlas.predictor import features, file
from latlas.predictor.fit import fit
from latlas.predictor.forest import Forest
from latlas.predictor.genes import compile_genes
from latlas.predictor.kernel_texts import KernelTexts
from latlas.predictor.observations import observe
from latlas.predictor.predictor import LatencyPredictor
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import split
from latlas.profiler.table import Table
from latlas.profiler.tflite.reader import load_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.search.blocks import classifier, conv_bn, mbconv
from latlas.search.spaces import FairnasSpace, MnasnetSpace, MogaSpace

BATCH = 100
"""Graphs in one call."""

KINDS, ROWS = 12, 2000
"""Of a full set."""


def random_network(rng: np.random.Generator) -> Graph:
    """Return an inverted-residual network whose widths no other network has."""
    b = GraphBuilder((1, 224, 224, 3))
    x = conv_bn(b, b.input, 8 * int(rng.integers(2, 6)), 3, stride=2, act="relu6")
    for stride, base, layers in ((2, 24, 3), (2, 40, 3), (2, 80, 4), (1, 112, 3), (2, 160, 3)):
        filters = base + 4 * int(rng.integers(-3, 4))
        for layer in range(layers):
            expanded = b.shape(x)[3] * int(rng.integers(2, 7))
            kernel = int(rng.choice([3, 5, 7]))
            x = mbconv(b, x, filters, kernel, expanded=expanded, stride=stride if not layer else 1)
    x = b.mean(conv_bn(b, x, 1280, 1, act="relu6"))
    return b.build(classifier(b, x, 1000))


def per_second(count: int, work: Callable[[], object]) -> float:
    """Return how many are done per second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def operators(graphs: Sequence[Graph]) -> float:
    """Return how many operators the graphs have on average."""
    return sum(len(graph.nodes) for graph in graphs) / len(graphs)


def naive(predictor: LatencyPredictor, graphs: Iterable[Graph]) -> None:
    """Predict one network after the other, kernel by kernel."""
    rules = predictor.rules
    for graph in graphs:
        kernels = split(fold(graph), rules)
        total_us = sum(float(predictor.kernels_us([kernel])[0][0]) for kernel in kernels)
        predictor.calibration.apply(np.array([total_us]), np.array([len(kernels)]))


def batched(predictor: LatencyPredictor, graphs: Sequence[Graph]) -> None:
    """Predict `BATCH` networks at a time."""
    for start in range(0, len(graphs), BATCH):
        predictor.predict(graphs[start : start + BATCH])


def full_set(predictor: LatencyPredictor) -> LatencyPredictor:
    """Return a predictor as large as one of everything: forests, and the kernels they saw."""
    rng = np.random.default_rng(0)
    kinds = list(predictor.forests)[:KINDS]
    assert len(kinds) == KINDS, f"the table has {len(kinds)} kernel types: give a larger one"
    forests = {}
    for kind in kinds:
        x = rng.standard_normal((ROWS, len(features.NAMES))).astype(np.float32)
        y = x @ rng.standard_normal(x.shape[1]) + rng.standard_normal(ROWS)
        forests[kind] = Forest.grow(x, y, np.ones(ROWS))
    kernels = [
        f"1x{size}x{size}x{channels} | depthwise_conv2d kernel={window}x{window} @0 | @1"
        for window in range(1, 2 * KINDS, 2)
        for size in rng.permutation(range(2 * KINDS, 225))[:20]
        for channels in rng.permutation(1024)[: ROWS // 20] + 1
    ]
    times_us = rng.uniform(1, 1e4, len(kernels)).tolist()
    table_us = KernelTexts(kernels, times_us, "a full set")
    return replace(predictor, forests=forests, table_us=table_us)


def loading(predictor: LatencyPredictor, folder: Path) -> dict[str, float]:
    """Return the size of a predictor's file, and how long reading it takes, also of a CPU."""
    path = folder / "predictor.latlas"
    file.save(predictor, path)
    start_s = time.process_time()
    rate = per_second(1, lambda: file.load(path))
    return {
        "megabytes": path.stat().st_size / 1e6,
        "seconds": 1 / rate,
        "cpu_seconds": time.process_time() - start_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--naive", type=int, default=50, help="Graphs of the naive loop.")
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--genes", type=int, default=200_000)
    arguments = parser.parse_args()
    predictor = fit(observe(Table.open(arguments.table)))
    rng = np.random.default_rng(0)
    graphs = [random_network(rng) for _ in range(arguments.graphs)]
    assert len({graph.to_text() for graph in graphs}) == len(graphs)
    folded = [fold(graph) for graph in graphs]
    predictor.predict(graphs[:1])
    rates = {
        "graphs_per_s": per_second(len(graphs), lambda: batched(predictor, graphs)),
        "folded_graphs_per_s": per_second(len(folded), lambda: batched(predictor, folded)),
        "naive_graphs_per_s": per_second(
            arguments.naive, lambda: naive(predictor, graphs[: arguments.naive])
        ),
    }

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = [folder / f"{index}.tflite" for index in range(arguments.files)]
        for path, graph in zip(paths, folded, strict=False):
            path.write_bytes(to_tflite(graph))
        megabytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
        rates["files_per_s"] = per_second(
            len(paths), lambda: [predictor.predict([load_tflite(path)]) for path in paths]
        )
        rates["naive_files_per_s"] = per_second(
            len(paths), lambda: naive(predictor, map(load_tflite, paths))
        )
        loaded = {
            "this": loading(predictor, folder),
            "full": loading(full_set(predictor), folder),
        }

    spaces = {}
    for space in (MogaSpace(), FairnasSpace(), MnasnetSpace()):
        start = time.perf_counter()
        compiled = compile_genes(space, predictor)
        compile_s = time.perf_counter() - start
        count = arguments.genes
        genes = rng.integers(0, space.choices, size=(count, len(space.choices)))
        spaces[space.name] = {
            "compile_s": compile_s,
            "per_s": per_second(count, lambda: compiled.latency_ms(genes)),  # noqa: B023
            "naive_per_s": per_second(
                arguments.naive,
                lambda: naive(
                    predictor,
                    [space.decode(one) for one in genes[: arguments.naive].tolist()],  # noqa: B023
                ),
            ),
        }

    document = {
        "target": str(predictor.target),
        **rates,
        "ops_per_graph": operators(graphs),
        "ops_per_folded_graph": operators(folded),
        "megabytes_per_file": megabytes,
        "spaces": spaces,
        "loading": loaded,
    }
    rows = [
        (
            f"distinct graphs in memory, {operators(graphs):.0f} operators",
            f"{rates['graphs_per_s']:,.0f}",
        ),
        ("the same, kernel by kernel", f"{rates['naive_graphs_per_s']:,.0f}"),
        (
            f"the same in the inference form, {operators(folded):.0f} operators",
            f"{rates['folded_graphs_per_s']:,.0f}",
        ),
        (f".tflite files of {megabytes:.1f} MB", f"{rates['files_per_s']:,.0f}"),
        ("the same, kernel by kernel", f"{rates['naive_files_per_s']:,.0f}"),
        *(
            (f"chromosomes of {name}{how}", f"{each[rate]:,.0f}")
            for name, each in spaces.items()
            for how, rate in (("", "per_s"), (", kernel by kernel", "naive_per_s"))
        ),
    ]
    lines = [
        table(("predicted", "per second"), rows),
        "",
        *(f"compiling {name}: {each['compile_s']:.1f} s" for name, each in spaces.items()),
        *(
            f"loading {name} predictor, {each['megabytes']:.1f} MB: {each['seconds']:.2f} s"
            for name, each in (("this", loaded["this"]), ("a full", loaded["full"]))
        ),
    ]
    emit(document, arguments.json, "\n".join(lines))


if __name__ == "__main__":
    main()
