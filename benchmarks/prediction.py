"""Predictions per second: from graphs in memory, from .tflite files, and from chromosomes.

    python benchmarks/prediction.py TABLE [--json]

Every graph and every file is another network, and each is predicted by a call of its own, so that
no result serves twice. TABLE is a latency table of the MoGA space. The networks are MnasNet-like
and random, so that most kernels have to be predicted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from latlas.console import emit, table
from latlas.predictor.fit import fit
from latlas.predictor.genes import compile_genes
from latlas.predictor.observations import observe
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph, GraphBuilder
from latlas.profiler.table import Table
from latlas.profiler.tflite.reader import load_tflite
from latlas.profiler.tflite.writer import to_tflite
from latlas.search.blocks import classifier, conv_bn, mbconv
from latlas.search.spaces import MogaSpace


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--graphs", type=int, default=400)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--genes", type=int, default=200_000)
    arguments = parser.parse_args()
    predictor = fit(observe(Table.open(arguments.table)))
    rng = np.random.default_rng(0)
    graphs = [random_network(rng) for _ in range(arguments.graphs)]
    assert len({graph.to_text() for graph in graphs}) == len(graphs)
    predictor.predict(graphs[:1])

    start = time.perf_counter()
    for graph in graphs:
        predictor.predict([graph])
    graphs_per_s = len(graphs) / (time.perf_counter() - start)

    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for index, graph in enumerate(graphs[: arguments.files]):
            paths.append(Path(folder) / f"{index}.tflite")
            paths[-1].write_bytes(to_tflite(fold(graph)))
        megabytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
        start = time.perf_counter()
        for path in paths:
            predictor.predict([load_tflite(path)])
        files_per_s = len(paths) / (time.perf_counter() - start)

    space = MogaSpace()
    compiled = compile_genes(space, predictor)
    genes = rng.integers(0, space.choices, size=(arguments.genes, len(space.choices)))
    start = time.perf_counter()
    compiled.latency_ms(genes)
    genes_per_s = arguments.genes / (time.perf_counter() - start)

    document = {
        "target": str(predictor.target),
        "graphs_per_s": graphs_per_s,
        "ops_per_graph": sum(len(graph.nodes) for graph in graphs) / len(graphs),
        "files_per_s": files_per_s,
        "megabytes_per_file": megabytes,
        "genes_per_s": genes_per_s,
    }
    rows = [
        ("distinct graphs in memory", f"{graphs_per_s:,.0f}"),
        (f".tflite files of {megabytes:.1f} MB", f"{files_per_s:,.0f}"),
        ("MoGA chromosomes", f"{genes_per_s:,.0f}"),
    ]
    emit(document, arguments.json, table(("predicted", "per second"), rows))


if __name__ == "__main__":
    main()
