"""Plots of a study: the front, and predicted against measured latency."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path

import numpy as np

from latlas.profiler.errors import SearchError
from latlas.profiler.files import write_atomically
from latlas.search.protocols import Trial

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#b0b0b0"  # told apart by the colour-blind too


def plot_study(
    path: Path,
    trials: Sequence[Trial],
    front: Sequence[Trial],
    measured_ms: Sequence[float],
    *,
    target: str,
    metric: str = "latency_ms",
) -> None:
    """Draw a study as a PNG.

    Args:
        path: the file.
        trials: everything that was tried, grey.
        front: the Pareto front, in colour.
        measured_ms: measured latency of every network of the front, shape (front,); empty if they
            were not measured, then only the front is drawn.
        target: what the latencies are valid for, for the title.
        metric: which latency of the trials.

    Raises:
        SearchError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    both = len(measured_ms) > 0
    figure = Figure(figsize=(11 if both else 5.5, 4.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(target, fontsize=9)
    left = figure.add_subplot(1, 2 if both else 1, 1)
    done = [trial for trial in trials if not (trial.error or isnan(trial.accuracy))]
    left.scatter(
        [t.value(metric) for t in done],
        [100 * t.accuracy for t in done],
        s=10,
        c=_GREY,
        label=f"{len(done)} tried",
    )
    left.scatter(
        [t.value(metric) for t in front],
        [100 * t.accuracy for t in front],
        s=24,
        c=_BLUE,
        label=f"Pareto front ({len(front)})",
    )
    left.set_xlabel("predicted latency, ms")
    left.set_ylabel("accuracy, %")
    left.legend(fontsize=8, loc="lower right")
    if both:
        predicted = np.array([t.value(metric) for t in front])
        measured = np.asarray(measured_ms, np.float64)
        right = figure.add_subplot(1, 2, 2)
        low, high = min(predicted.min(), measured.min()), max(predicted.max(), measured.max())
        line = np.array([0.95 * low, 1.05 * high])
        right.plot(line, line, color="black", lw=0.8)
        right.fill_between(line, 0.9 * line, 1.1 * line, color=_GREY, alpha=0.3, label="±10%")
        right.scatter(measured, predicted, s=24, c=_ORANGE, zorder=3)
        right.set_xlabel("measured latency, ms")
        right.set_ylabel("predicted latency, ms")
        error = float(np.mean(np.abs(predicted / measured - 1)))
        right.set_title(f"mean absolute error {error:.1%}", fontsize=9)
        right.legend(fontsize=8, loc="lower right")
    with write_atomically(path, SearchError) as file:
        figure.savefig(file, format="png")
