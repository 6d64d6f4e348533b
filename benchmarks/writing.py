"""Writing .tflite files: our writer against Keras and TensorFlow's converter, in one run.

    python benchmarks/writing.py [--json]

The same kernels are written by both, in turn; a network of MobileNet's size by us alone.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from latlas.console import emit, table
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.tflite.writer import to_tflite
from latlas.search import zoo

KERNELS: dict[str, tuple[int, int, str, int, int]] = {
    # name: map, channels, kind, kernel, filters
    "conv 1x1 14x14x112 -> 672": (14, 112, "conv", 1, 672),
    "conv 3x3 28x28x40 -> 40": (28, 40, "conv", 3, 40),
    "depthwise 5x5 28x28x240": (28, 240, "depthwise", 5, 0),
}
NETWORKS = ("mobilenet_v2", "mobilenet_v3_large", "mnasnet_a1")


def ours(size: int, channels: int, kind: str, kernel: int, filters: int) -> bytes:
    b = GraphBuilder((1, size, size, channels))
    x = b.conv(0, filters, kernel) if kind == "conv" else b.depthwise(0, kernel)
    return to_tflite(fold(b.build(b.relu6(x))))


def converter(size: int, channels: int, kind: str, kernel: int, filters: int) -> bytes:
    import keras
    import tensorflow as tf

    x = inputs = keras.Input((size, size, channels), batch_size=1)
    if kind == "conv":
        x = keras.layers.Conv2D(filters, kernel, padding="same")(x)
    else:
        x = keras.layers.DepthwiseConv2D(kernel, padding="same")(x)
    model = keras.Model(inputs, keras.layers.ReLU(6.0)(x))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it exports
        return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def milliseconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    kernels = []
    for name, kernel in KERNELS.items():
        converter(*kernel)  # TensorFlow's start is not what is compared
        ours(*kernel)
        pairs = [
            (milliseconds(partial(ours, *kernel)), milliseconds(partial(converter, *kernel)))
            for _ in range(arguments.repeats)
        ]
        kernels.append(
            {
                "kernel": name,
                "latlas_ms": statistics.median(a for a, _ in pairs),
                "converter_ms": statistics.median(b for _, b in pairs),
                "ratio": statistics.median(b / a for a, b in pairs),
            }
        )
    networks = []
    for name in NETWORKS:
        graph: Graph = fold(zoo.build(name))
        times = [milliseconds(partial(to_tflite, graph)) for _ in range(2 * arguments.repeats)]
        networks.append(
            {"network": name, "latlas_ms": statistics.median(times), "max_ms": max(times)}
        )
    text = "\n\n".join(
        [
            table(
                ("kernel", "latlas ms", "Keras + converter ms", "ratio"),
                [
                    (
                        k["kernel"],
                        f"{k['latlas_ms']:.2f}",
                        f"{k['converter_ms']:.0f}",
                        f"{k['ratio']:.0f}x",
                    )
                    for k in kernels
                ],
            ),
            table(
                ("network", "latlas ms", "slowest"),
                [(n["network"], f"{n['latlas_ms']:.0f}", f"{n['max_ms']:.0f}") for n in networks],
            ),
        ]
    )
    emit({"kernels": kernels, "networks": networks}, arguments.json, text)


if __name__ == "__main__":
    main()
