"""Networks that a search chose, on their way to files: trained fully, converted, scored.

Every network has a folder of its own; each step leaves a file there when it is done, and is not
done again where that file is. Killed at any moment, the next run goes on from there::

    network.txt       the network, as text
    checkpoint.npz    where training is
    weights.npz       where it came to, with the accuracy on the images of the final test
    float.tflite …    the files
    scores.json       what each file scores on the same images
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latlas.profiler.arrays import ROOM_BYTES, read_arrays
from latlas.profiler.errors import SearchError
from latlas.profiler.files import write_atomically
from latlas.profiler.graph import Array, Graph, Weights
from latlas.search.protocols import Genes

if TYPE_CHECKING:
    from latlas.search.conversion import Format
    from latlas.search.training import TrainingResult

REPRESENTATIVE_IMAGES = 200
"""Training images that the ranges of an int8 network are taken from."""


@dataclass(frozen=True, eq=False)
class Exported:
    """A network on its way.

    Attributes:
        rank: on the front of the study, from 1.
        genes: the architecture.
        graph: the training form.
        folder: where its files are.
    """

    rank: int
    genes: Genes
    graph: Graph
    folder: Path


def label_for(identity: Mapping[str, Any]) -> str:
    """Return a name for what a network, its data, recipe and seed come to; another for others.

    >>> label_for({"seed": 0}) == label_for({"seed": 1})
    False
    """
    text = json.dumps(dict(identity), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def begin(network: Exported) -> None:
    """Write what the network is.

    Raises:
        SearchError: the folder cannot be written.
    """
    with write_atomically(network.folder / "network.txt", SearchError) as file:
        file.write(network.graph.to_text().encode() + b"\n")


def trained(
    network: Exported, train: Callable[[Graph, Path], TrainingResult]
) -> tuple[Weights, float]:
    """Return trained weights and their accuracy; train where that was not done yet.

    Args:
        network: what to train.
        train: trains a network, with a checkpoint.

    Raises:
        SearchError: training failed, or a file is damaged or cannot be written.
    """
    path = network.folder / "weights.npz"
    if path.exists():
        return read_weights(path, network.graph)
    checkpoint = network.folder / "checkpoint.npz"
    result = train(network.graph, checkpoint)
    if result.error:
        raise SearchError(f"network {network.rank} could not be trained: {result.error}")
    write_weights(path, result.weights, result.accuracy)
    checkpoint.unlink(missing_ok=True)  # much larger than what it came to
    return result.weights, result.accuracy


def write_weights(path: Path, weights: Weights, accuracy: float) -> None:
    """Write trained weights.

    Raises:
        SearchError: the file cannot be written.
    """
    names = sorted(weights)
    arrays = {f"weight{number}": weights[name] for number, name in enumerate(names)}
    with write_atomically(path, SearchError) as file:
        np.savez(
            file,
            allow_pickle=False,
            names=np.array(names),
            accuracy=np.array(accuracy),
            **arrays,
        )


def read_weights(path: Path, graph: Graph) -> tuple[Weights, float]:
    """Return the weights of a network that `write_weights` wrote, and their accuracy.

    Raises:
        SearchError: the file is damaged, or of another network.
    """
    shapes = graph.weight_shapes()
    size = 4 * sum(map(math.prod, shapes.values()))
    try:
        arrays = read_arrays(path, size + ROOM_BYTES)
        names = arrays["names"].tolist()
        found = {name: arrays[f"weight{number}"] for number, name in enumerate(names)}
        accuracy = float(arrays["accuracy"])
        if not all(array.dtype == np.float32 for array in found.values()):
            raise ValueError("its weights are not float32")
    except (OSError, TypeError, ValueError, KeyError) as problem:
        raise SearchError(f"cannot read {path} ({problem}): delete it to train anew") from problem
    if {name: array.shape for name, array in found.items()} != shapes:
        raise SearchError(f"{path} holds the weights of another network: delete it to train anew")
    return found, accuracy


def converted(
    network: Exported,
    weights: Weights,
    formats: Sequence[Format],
    images: Callable[[], Sequence[Array]],
) -> dict[Format, Path]:
    """Return the files of a trained network; write those that are missing.

    Args:
        network: what was trained.
        weights: its weights.
        formats: which files.
        images: gives what int8 takes its ranges from, each of shape (1, height, width, channels).

    Raises:
        SearchError: the network cannot be converted, or a file cannot be written.
    """
    from latlas.search.conversion import Converter

    files = {form: network.folder / f"{form}.tflite" for form in formats}
    missing = [form for form, path in files.items() if not path.exists()]
    if missing:
        converter = Converter(network.graph.with_weights(weights))
        for form in missing:
            data = converter.convert(form, images() if form == "int8" else ())
            with write_atomically(files[form], SearchError) as file:
                file.write(data)
    return files


def untrained(network: Exported, formats: Sequence[Format]) -> dict[Format, Path]:
    """Return files of a network with random weights, good for its latency alone; no TensorFlow.

    There is no file of float16 weights among them, as latencies need none.

    Raises:
        SearchError: a file cannot be written.
    """
    from latlas.profiler.quantise import for_precision
    from latlas.profiler.tflite.writer import to_tflite

    files: dict[Format, Path] = {}
    for form in formats:
        if form == "fp16":
            continue
        files[form] = path = network.folder / f"{form}.tflite"
        if not path.exists():
            graph = for_precision(network.graph, "int8" if form == "int8" else "fp32")
            with write_atomically(path, SearchError) as file:
                file.write(to_tflite(graph))
    return files


def scored(
    network: Exported, files: Mapping[Format, Path], score: Callable[[bytes], float]
) -> dict[str, float]:
    """Return what files score, by format; score those that were not yet.

    Args:
        network: whose files they are.
        files: by format.
        score: of a file's bytes, a fraction.

    Raises:
        SearchError: a file cannot be read or written.
    """
    path = network.folder / "scores.json"
    known = _read_scores(path)
    for form, file in files.items():
        if form in known:
            continue
        try:
            known[form] = score(file.read_bytes())
        except OSError as problem:
            raise SearchError(f"cannot read {file}: {problem}") from problem
        with write_atomically(path, SearchError) as output:
            output.write(json.dumps(known, allow_nan=False).encode() + b"\n")
    return {form: known[form] for form in files}


def _read_scores(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_bytes()) if path.exists() else {}
        scores = {str(form): float(score) for form, score in found.items()}
        if not all(math.isfinite(score) for score in scores.values()):
            raise ValueError("a score is no number")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as problem:
        raise SearchError(f"cannot read {path} ({problem}): delete it to score anew") from problem
    return scores
