"""Latencies of real phones that others published, as observations.

Reads ``tflite_gpu_kernels.csv`` (fused kernels of CNNs in execution order) and
``tflite_cnn_models.csv`` (the same CNNs end to end) of qed-usc/mobile-ml-benchmark, or files of the
same form, into what a user's own table becomes: kernels and networks.
"""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from latlas.predictor.observations import NetworkObservation, Observations
from latlas.profiler.errors import LatlasError
from latlas.profiler.fusion import rules_for
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.ops import (
    Activation,
    Binary,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Op,
    Pool,
    Shape,
)
from latlas.profiler.target import Target

KERNELS = "tflite_gpu_kernels.csv"
MODELS = "tflite_cnn_models.csv"

ADAPTERS = {"pixel4": "Adreno (TM) 640", "mi8se": "Adreno (TM) 616", "iphone7": "PowerVR GT7600"}
"""GPUs of known phones. Of others, the names of their kernels tell the family."""

FAMILIES = (
    ("residual", r"(?!.*squeeze).*(resnet|resnext|diracnet|bagnet|dla|hrnet)"),
    ("mobilenet_v3", r"mobilenetv3"),
    ("mobilenet_v2", r"mobilenetv2"),
    ("mobilenet_v1", r"(fd)?mobilenet"),
    ("regnet", r"regnet"),
    ("nas", r"mnasnet|fbnet|proxyless|spnas|efficientnet"),
    ("squeeze", r"squeeze"),
    ("others", r""),
)

_WORDS = re.compile(r"linked_:_(add|mul|relu|sigmoid|hard_swish|minimum)")
_ACTIVATIONS: dict[str, Any] = {
    "relu": "relu",
    "minimum": "relu6",
    "sigmoid": "logistic",
    "hard_swish": "hard_swish",
}

Row = dict[str, str]


def family(model: str) -> str:
    """Return which of the eight families a model belongs to.

    >>> [family(name) for name in ("squeezeresnet_v1_0", "resnet18", "fdmobilenet_w1")]
    ['squeeze', 'residual', 'mobilenet_v1']
    """
    return next(name for name, pattern in FAMILIES if re.match(pattern, model))


def read_rows(path: Path) -> list[Row]:
    """Read a CSV file with a header."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def devices(kernels: list[Row], models: list[Row]) -> list[str]:
    """Return the devices of which both the kernels and the models were measured on the GPU."""
    listed = [column.removesuffix("_us") for column in kernels[0] if column.endswith("_us")]
    return [device for device in listed if f"{device}|gpu|float|mean" in models[0]]


def observations(kernels: list[Row], models: list[Row], device: str) -> Observations:
    """Return what was measured on a device; of networks that cannot be read, only why not."""
    whole_us = {row["model"]: _number(row[f"{device}|gpu|float|mean"]) for row in models}
    by_model: dict[str, list[Row]] = defaultdict(list)
    for row in kernels:
        by_model[row["model"]].append(row)
    networks = []
    left_out = {}
    for model, rows in by_model.items():
        times = [_number(row[f"{device}_us"]) for row in rows]
        latency_us = whole_us.get(model, 0.0)
        if latency_us <= 0 or min(times) <= 0:
            left_out[model] = "it was not measured whole"
            continue
        try:
            found = _kernels(rows)
        except (ValueError, LookupError, TypeError, AttributeError, LatlasError) as problem:
            left_out[model] = f"its kernels cannot be read: {problem}"
            continue
        networks.append(NetworkObservation(model, found, latency_us, tuple(times)))
    return Observations(_target(kernels, device), tuple(networks), {}, 0.0, left_out)


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _target(kernels: list[Row], device: str) -> Target:
    names = [row.get(f"{device}_kernel") or "" for row in kernels]
    guess = "Mali" if any("winograd" in name for name in names) else "Adreno (TM) 640"
    adapter = ADAPTERS.get(device, guess)
    return Target(device, "tflite 2.10", "gpu", "opencl", adapter, precision="fp16")


def _kernels(rows: list[Row]) -> tuple[Kernel, ...]:
    """Return the kernels of one model."""
    made: set[int] = set()
    found = []
    for row in rows:
        config = {key: _integer(value) for key, value in json.loads(row["config"]).items()}
        size = config["Input_shape"]
        made = made or {size}
        # Zeros around an input are counted into its size, but run inside the kernel: a size that
        # nothing before has made is one that some kernel did make, and zeros.
        inner = size if size in made else max([m for m in made if m < size], default=size)
        found.append(_kernel(row, config, inner))
        if row["operation"] != "MEAN":  # whose output has channels only
            made.add(config["Output_shape"])
    return tuple(found)


def _integer(value: object) -> int:
    return int(str(value)) if str(value).isdigit() else 0


def _kernel(row: Row, config: dict[str, int], inner: int) -> Kernel:
    """Return the kernel of a row whose input has `inner` rows and columns without zeros."""
    channels = config["Input_channel"]
    inputs: list[Shape] = [(1, inner, inner, channels)]
    op: Op
    match row["operation"]:
        case "FULLY_CONNECTED":
            op, inputs = FullyConnected(config["Filter"]), [(1, channels)]
        case "MEAN":
            op = Mean()
        case "CONCATENATION":
            op, inputs = Concat(), [(1, inner, inner, part) for part in _parts(config)]
        case operation:
            op = _windowed(operation, config, inner)
    fused = _fused(row, op.infer(tuple(inputs)))
    others = [op.infer(tuple(inputs)) for each, alone in fused if not alone]
    b = GraphBuilder(*inputs, *others)
    x = b.apply(op, *range(len(inputs)))
    other = iter(range(len(inputs), len(inputs) + len(others)))
    for each, alone in fused:
        x = b.apply(each, x, *([] if alone else [next(other)]))
    (kernel,) = split(b.build(x), rules_for("gpu"))
    return kernel


def _fused(row: Row, shape: Shape) -> list[tuple[Op, bool]]:
    """Return the operators merged into a kernel, and whether each reads nothing else.

    Kernels are named after what is merged into them. A multiplication is by a constant, of a batch
    normalisation if an addition follows; other additions are of another tensor.
    """
    columns = [name for key, name in row.items() if key.endswith("_kernel") and name]
    words = max((_WORDS.findall(name) for name in columns), key=len, default=[])
    found: list[tuple[Op, bool]] = []
    for index, word in enumerate(words):
        before, after = words[index - 1 : index], words[index + 1 : index + 2]
        if word == "mul" and after != ["add"]:
            found.append((Binary("mul", value=1.0), True))
        elif word == "mul" or (word, before) == ("add", ["mul"]):
            found.append((Binary(word, constant=shape[-1:]), True))
        elif word == "add":
            found.append((Binary("add"), False))
        else:
            found.append((Activation(_ACTIVATIONS[word]), True))
    return found


def _windowed(operation: str, config: dict[str, int], inner: int) -> Op:
    size, step = config["Kernel"], config["Stride"]
    needed = (config["Output_shape"] - 1) * step + size
    missing = max(needed, config["Input_shape"]) - inner
    before = max(missing, 0) // 2
    after = max(missing, 0) - before
    window, stride, padding = (size, size), (step, step), (before, after, before, after)
    match operation:
        case "CONV_2D" | "CONV_2D_GROUP":
            groups = max(config["Group"], 1)
            return Conv2D(config["Filter"], window, stride, padding, groups=groups)
        case "DEPTHWISE_CONV_2D":
            return DepthwiseConv2D(window, stride, padding, multiplier=config["Filter"])
        case "MAX_POOL_2D":
            return Pool("max", window, stride, padding)
        case "AVERAGE_POOL_2D":
            return Pool("average", window, stride, padding)
    raise ValueError(f"the operation {operation!r} is not known")


def _parts(config: dict[str, int]) -> list[int]:
    """Return channels of the inputs of a concatenation, of which only the first is recorded."""
    total, first, count = config["Filter"], config["Input_channel"], max(config["Kernel"], 2)
    rest, more = divmod(max(total - first, count - 1), count - 1)
    return [first, *(rest + (index < more) for index in range(count - 1))]
