"""Weights for graphs that were never trained."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from latlas.profiler.graph import Array, Graph, Weights
from latlas.profiler.ops import (
    Gather,
)


def random_weights(graph: Graph, seed: int = 0) -> Weights:
    """Draw weights that keep activations finite and near unit variance (He et al. 2015).

    A timing needs real numbers: zeros, infinities and denormals run at speeds of their own. Values
    are cut from one pool of normal numbers, since drawing millions costs more than a measurement.
    """
    pool = _normal_pool(seed)
    shapes = graph.weight_shapes()
    sizes = [math.prod(shape) for shape in shapes.values()]
    memory = np.empty(sum(sizes), np.float32)  # one block: many of their own cost ten times more
    weights: dict[str, Array] = {}
    start = 0
    for (key, shape), size in zip(shapes.items(), sizes, strict=True):
        values = memory[start : start + size]
        start += size
        part = pool[: min(size, len(pool))]
        match key.rpartition("/")[2]:
            case "kernel":
                depthwise = shape[0] == 1 and len(shape) == 4
                fan_in = math.prod(shape[1:3]) if depthwise else math.prod(shape[1:])
                part = part * np.float32(math.sqrt(2 / fan_in))
            case "variance":
                part = np.abs(part) + np.float32(0.5)
            case "gamma" | "constant":
                part = 1 + np.float32(0.1) * part
            case "indices":
                continue  # below, since they depend on what is gathered from
            case _:
                part = np.float32(0.1) * part
        whole = size // len(part) * len(part)
        values[:whole].reshape(-1, len(part))[:] = part
        values[whole:] = part[: size - whole]
        weights[key] = values.reshape(shape)
    for node in graph.nodes:
        if isinstance(node.op, Gather):
            steps = np.linspace(0, graph.input_shapes(node)[0][node.op.axis] - 1, node.op.count)
            weights[f"{node.name}/indices"] = steps.astype(np.int32)
    return weights


@lru_cache(maxsize=4)
def _normal_pool(seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(1 << 16, dtype=np.float32)
