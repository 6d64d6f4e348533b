"""Plots of comparisons of studies: searchers, targets against widths, fronts across targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latlas.profiler.errors import SearchError
from latlas.profiler.files import write_atomically
from latlas.search.across import Front
from latlas.search.best_means import TOPS, Progress
from latlas.search.scaling import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_STYLES = ("-", "--", ":")


def plot_progress(
    path: Path, progress: Mapping[str, Progress], *, tops: Sequence[int] = TOPS, score: str
) -> None:
    """Draw the best and the means of the best few over the evaluations (NASNet's figure 4).

    Args:
        path: of the PNG.
        progress: by study.
        tops: the columns of `Progress.top_means`.
        score: what the best are the best in, for the axis.

    Raises:
        SearchError: the file cannot be written.
    """
    figure = _figure(6.4)
    axes = figure.add_subplot()
    for index, (name, one) in enumerate(progress.items()):
        for column, top in enumerate(tops):
            axes.plot(
                np.arange(1, one.evaluations + 1),
                one.top_means[:, column],
                color=_COLOURS[index % len(_COLOURS)],
                linestyle=_STYLES[column % len(_STYLES)],
                lw=1.2,
                label=f"{name}, {'best' if top == 1 else f'mean of the best {top}'}",
            )
    axes.set_xlabel("architectures evaluated")
    axes.set_ylabel(score)
    axes.legend(fontsize=7, loc="lower right")
    _save(figure, path)


def plot_scaling(path: Path, searched: Sequence[Point], scaled: Sequence[Point]) -> None:
    """Draw searches at several targets beside one network at several widths (MnasNet's figure 5).

    Raises:
        SearchError: the file cannot be written.
    """
    figure = _figure(6.4)
    axes = figure.add_subplot()
    for colour, marker, label, points in (
        (_COLOURS[0], "o", "searched at each target", searched),
        (_COLOURS[1], "s", "one network, scaled", scaled),
    ):
        ordered = sorted(points, key=lambda point: point.latency_ms)
        latencies = [point.latency_ms for point in ordered]
        accuracies = [100 * point.accuracy for point in ordered]
        axes.plot(latencies, accuracies, marker=marker, color=colour, lw=1.2, ms=5, label=label)
        for point, latency, accuracy in zip(ordered, latencies, accuracies, strict=True):
            axes.annotate(
                point.name,
                (latency, accuracy),
                xytext=(4, -9),
                textcoords="offset points",
                fontsize=7,
            )
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("accuracy, %")
    axes.legend(fontsize=8, loc="lower right")
    _save(figure, path)


def plot_across(path: Path, fronts: Mapping[str, Front], targets: Sequence[str]) -> None:
    """Draw every front on every target, one panel a target.

    Raises:
        SearchError: the file cannot be written.
    """
    figure = _figure(5.2 * len(targets))
    for column, target in enumerate(targets):
        axes = figure.add_subplot(1, len(targets), column + 1)
        for index, (name, front) in enumerate(fronts.items()):
            axes.scatter(
                front.latency_ms[:, column],
                100 * front.accuracy,
                s=20,
                color=_COLOURS[index % len(_COLOURS)],
                label=f"front of {name}",
            )
        axes.set_title(target, fontsize=7)
        axes.set_xlabel("latency, ms")
        axes.set_ylabel("accuracy, %")
        axes.legend(fontsize=8, loc="lower right")
    _save(figure, path)


def _figure(width: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 4.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with write_atomically(path, SearchError) as file:
        figure.savefig(file, format="png")
