"""Does the delegate change which architectures are the best? MoGA's figure 2.

    python benchmarks/fronts.py -o FOLDER [--phone-data DIR] [--json] [--plot FILE]

The same 100 random architectures of MoGA's space on two delegates of this machine: XNNPACK on the
CPU, and ML Drift on whatever GPU it finds; where that is SwiftShader or another software adapter,
the plot says so, for it is no GPU. Each architecture is measured on both right after each other, in
random order, in several passes; its latency is the least of the passes' fastest tenths, which other
programs disturb least. The folder keeps what was measured, and a repeated command goes on.

DIR holds ``tflite_gpu_kernels.csv`` and ``tflite_cnn_models.csv`` (benchmarks/phone_data.py). With
it, the same architectures are predicted for the GPU of Pixel 4 from what others measured there.

Fronts are of latency and parameters, MoGA's stand-in for accuracy: nothing is trained here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import phone_recordings as recordings
from numpy.typing import NDArray

from latlas.console import emit, table
from latlas.predictor.fit import fit
from latlas.profiler.errors import DeviceError, SearchError
from latlas.profiler.files import write_atomically
from latlas.profiler.fold import fold
from latlas.profiler.graph import Graph
from latlas.profiler.journal import JournalWriter
from latlas.profiler.runner import Effort, Job, Runner
from latlas.profiler.target import Target
from latlas.profiler.tflite.writer import to_tflite
from latlas.search.pareto import pareto_front
from latlas.search.protocols import Genes
from latlas.search.sizes import sizes_of
from latlas.search.spaces import MogaSpace
from latlas.targets import DeviceChoice, open_runner

PHONE = "pixel4"
EFFORTS = {
    "cpu": Effort(min_runs=15, min_ms=30.0, warmup_ms=10.0),
    "gpu": Effort(min_runs=5, min_ms=30.0, warmup_ms=5.0),
}
RESAMPLES = 2000
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#b0b0b0"

Floats = NDArray[np.float64]


def measure(
    path: Path, genes: Sequence[Genes], space: MogaSpace, passes: int
) -> tuple[dict[str, Target], dict[str, Floats]]:
    """Measure networks on both delegates, or what is missing of that.

    Args:
        path: of the journal.
        genes: the networks.
        space: that decodes them.
        passes: how often everything is measured.

    Returns:
        Both targets, and by delegate the fastest tenths in microseconds, shape (passes, networks).
    """
    known: dict[tuple[str, int, Genes], float] = {}
    header: list[dict[str, Any]] = []

    def replay(record: dict[str, Any]) -> None:
        if "targets" in record:
            header.append(record)
        else:
            known[record["delegate"], record["pass"], tuple(record["genes"])] = record["fast_us"]

    runners: dict[str, Runner] = {}
    try:
        runners["cpu"] = open_runner(DeviceChoice(delegates=("cpu",)))
        runners["gpu"] = open_runner(DeviceChoice(delegates=("gpu",)))
        targets = {name: runner.target for name, runner in runners.items()}
        begun = {
            "targets": {name: target.to_json() for name, target in targets.items()},
            "resolution": space.resolution,
        }
        with JournalWriter(path, replay, SearchError) as writer:
            if not header:
                writer.append([begun])
            elif header[0] != begun:
                raise SearchError(
                    f"{path} holds figures of {header[0]}, not {begun}: choose another folder"
                )
            for turn in range(passes):
                for index in np.random.default_rng(turn).permutation(len(genes)):
                    one = genes[index]
                    missing = [name for name in runners if (name, turn, one) not in known]
                    model = to_tflite(fold(space.decode(one))) if missing else b""
                    for name in missing:
                        (result,) = runners[name].run([Job("network", model, EFFORTS[name])])
                        if result.error:
                            raise DeviceError(f"{one} on {name}: {result.error}")
                        fast_us = float(np.quantile(result.samples_us, 0.1))
                        record = {"delegate": name, "pass": turn, "genes": one}
                        writer.append([record | {"fast_us": fast_us}])
                        known[name, turn, one] = fast_us
                print(f"pass {turn + 1} of {passes} is done", file=sys.stderr, flush=True)
    finally:
        for runner in runners.values():
            runner.close()
    return targets, {
        name: np.array([[known[name, turn, one] for one in genes] for turn in range(passes)])
        for name in runners
    }


def predict_phone(folder: Path, graphs: Sequence[Graph]) -> tuple[Target, Floats, dict[str, Any]]:
    """Return the phone's GPU, the networks' predicted latencies in ms, and how sure they are."""
    kernels, models = (
        recordings.read_rows(folder / name) for name in (recordings.KERNELS, recordings.MODELS)
    )
    predictor = fit(recordings.observations(kernels, models, PHONE))
    found = predictor.predict(graphs, accept_unknown=True)
    widths = [one.high_ms / one.latency_ms - 1 for one in found]
    sure = {
        "interval": float(np.median(widths)),
        "unknown_kernels": sorted({kernel for one in found for kernel in one.unknown}),
        "extrapolated_share": float(
            np.mean([len(one.extrapolated) / one.kernels for one in found])
        ),
    }
    return predictor.target, np.array([one.latency_ms for one in found]), sure


def rank_agreement(first: Floats, second: Floats) -> dict[str, Any]:
    """Return rank correlations, Spearman's with its 95% interval over resampled networks.

    >>> rank_agreement(np.arange(9.0), np.arange(9.0) ** 2)["spearman"]
    1.0
    """
    from scipy.stats import kendalltau, spearmanr

    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(first), size=len(first)) for _ in range(RESAMPLES)]
    resampled = [float(spearmanr(first[index], second[index])[0]) for index in drawn]
    low, high = np.quantile(resampled, (0.025, 0.975))
    return {
        "spearman": float(round(spearmanr(first, second)[0], 9)),
        "interval": [float(low), float(high)],
        "kendall": float(kendalltau(first, second)[0]),
    }


def front(latency_ms: Floats, params: Floats) -> set[int]:
    """Return the positions of the networks that no other is both faster and larger than.

    >>> sorted(front(np.array([1.0, 2.0, 3.0]), np.array([5.0, 9.0, 7.0])))
    [0, 1]
    """
    values = np.stack([latency_ms, params], axis=1)
    return set(pareto_front(values, ("min", "max")).tolist())


def pairs(
    latencies: Mapping[str, Floats], params: Floats, base: str = "cpu"
) -> dict[str, dict[str, Any]]:
    """Compare one set of latencies with every other.

    Args:
        latencies: in ms, by name, shape (networks,).
        params: of the networks.
        base: what the others are compared with.
    """
    fronts = {name: front(values, params) for name, values in latencies.items()}
    return {
        name: {
            **rank_agreement(latencies[base], values),
            "front": len(fronts[name]),
            f"front_{base}": len(fronts[base]),
            "front_both": len(fronts[name] & fronts[base]),
        }
        for name, values in latencies.items()
        if name != base
    }


def passes_agree(times_us: Floats) -> float:
    """Return the mean rank correlation of passes, the most that targets can be asked for."""
    count = len(times_us)
    found = [
        rank_agreement(times_us[i], times_us[j])["spearman"] for i in range(count) for j in range(i)
    ]
    return float(np.mean(found)) if found else 1.0


def plot(
    path: Path, latencies: Mapping[str, Floats], labels: Mapping[str, str], params: Floats
) -> None:
    """Draw the latencies of one delegate against those of the others, with their fronts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    others = [name for name in latencies if name != "cpu"]
    figure = Figure(figsize=(5.6 * len(others), 5.0), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    cpu, on_cpu = latencies["cpu"], front(latencies["cpu"], params)
    for axis, name in zip(
        figure.subplots(1, len(others), squeeze=False)[0], others, strict=True
    ):  # fmt: skip
        values, on_other = latencies[name], front(latencies[name], params)
        sets = (
            (set(range(len(cpu))) - on_cpu - on_other, GREY, "on neither front"),
            (on_cpu - on_other, BLUE, "on the front of x alone"),
            (on_other - on_cpu, ORANGE, "on the front of y alone"),
            (on_cpu & on_other, GREEN, "on both"),
        )
        for members, colour, label in sets:
            chosen = sorted(members)
            text = f"{label} ({len(chosen)})"
            axis.scatter(cpu[chosen], values[chosen], s=22, color=colour, label=text)
        found = rank_agreement(cpu, values)
        axis.set_title(
            f"Spearman {found['spearman']:.2f}, Kendall {found['kendall']:.2f}", fontsize=9
        )
        axis.set_xlabel(labels["cpu"], fontsize=8)
        axis.set_ylabel(labels[name], fontsize=8)
        axis.legend(fontsize=7, title="fronts of latency and parameters", title_fontsize=7)
    with write_atomically(path, SearchError) as out:
        figure.savefig(out, format="png")


def labels_of(targets: Mapping[str, Target], resolution: int) -> dict[str, str]:
    """Return what the axes say."""
    gpu = targets["gpu"]
    where = f"on a software adapter, {gpu.adapter}" if gpu.software else f"on {gpu.adapter}"
    return {
        "cpu": f"XNNPACK, measured, {resolution} px, ms",
        "gpu": f"ML Drift {where},\nmeasured, {resolution} px, ms",
        "phone": f"Pixel 4's GPU (TFLite's OpenCL delegate),\npredicted, {resolution} px, ms",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--phone-data", type=Path)
    parser.add_argument("--architectures", type=int, default=100)
    parser.add_argument("--resolution", type=int, default=96)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    space = MogaSpace(resolution=arguments.resolution)
    genes = space.sample(arguments.architectures, seed=0)
    sizes = sizes_of(space)
    params = np.array([sizes(one)["params"] for one in genes])
    arguments.output.mkdir(parents=True, exist_ok=True)
    targets, times_us = measure(arguments.output / "measured.jsonl", genes, space, arguments.passes)
    latencies = {name: values.min(axis=0) / 1e3 for name, values in times_us.items()}
    sure: dict[str, Any] = {}
    if arguments.phone_data:
        graphs = [space.decode(one) for one in genes]
        targets["phone"], latencies["phone"], sure = predict_phone(arguments.phone_data, graphs)
    found = pairs(latencies, params)
    if arguments.plot:
        plot(arguments.plot, latencies, labels_of(targets, space.resolution), params)
    agree = {name: passes_agree(values) for name, values in times_us.items()}
    document = {
        "targets": {name: str(target) for name, target in targets.items()},
        "passes_agree": agree,
        "against_cpu": found,
        "phone": sure,
        "latency_ms": {name: values.tolist() for name, values in latencies.items()},
        "genes": genes,
    }
    rows = [
        (
            str(targets[name]),
            f"{row['spearman']:.3f}",
            "{:.2f} - {:.2f}".format(*row["interval"]),
            f"{row['kendall']:.3f}",
            f"{row['front_cpu']}, {row['front']}, {row['front_both']}",
        )
        for name, row in found.items()
    ]
    header = ("against the CPU", "Spearman", "95%", "Kendall", "on the fronts: CPU, this, both")
    shown = ", ".join(f"{name} {value:.3f}" for name, value in agree.items())
    text = f"CPU: {targets['cpu']}\n\n{table(header, rows)}\n\npasses among each other: {shown}"
    emit(document, arguments.json, text)


if __name__ == "__main__":
    main()
