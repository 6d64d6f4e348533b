"""A picture of an evaluation: predicted against measured latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from latlas.predictor.evaluation import NetworkResult
from latlas.profiler.errors import PredictorError
from latlas.profiler.files import write_atomically

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999")
"""Okabe and Ito's, told apart by the colour-blind too."""
_MARKERS = "os^Dv"
MOST_FAMILIES = len(_COLOURS) * len(_MARKERS) - 1
"""More families look alike: the smallest of them are drawn as one."""


def plot_evaluation(
    path: Path, families: Mapping[str, Sequence[NetworkResult]], *, title: str
) -> None:
    """Draw predicted against measured latency as a PNG, both axes logarithmic.

    Bars are the bounds of every prediction, the grey band is ±10%.

    Args:
        path: the file.
        families: networks by family, each with a colour and a marker of its own.
        title: what the latencies are valid for.

    Raises:
        PredictorError: there is no network, or the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    networks = [network for members in families.values() for network in members]
    if not networks:
        raise PredictorError("there is no network to draw: none could be predicted")
    figure = Figure(figsize=(7.8, 6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(1, 1, 1, xscale="log", yscale="log", aspect="equal")
    latencies = [n.measured_ms for n in networks] + [n.prediction.latency_ms for n in networks]
    line = np.array([0.85 * min(latencies), 1.18 * max(latencies)])
    axes.plot(line, line, color="black", lw=0.8)
    axes.fill_between(line, 0.9 * line, 1.1 * line, color="#b0b0b0", alpha=0.4, lw=0, label="±10%")
    for index, (family, members) in enumerate(drawn_families(families).items()):
        predicted = np.array([n.prediction.latency_ms for n in members])
        low = np.array([n.prediction.low_ms for n in members])
        high = np.array([n.prediction.high_ms for n in members])
        axes.errorbar(
            [n.measured_ms for n in members],
            predicted,
            # A bound of zero would be infinitely far down.
            yerr=(predicted - np.maximum(low, line[0] / 2), high - predicted),
            fmt=_MARKERS[index // len(_COLOURS)],
            color=_COLOURS[index % len(_COLOURS)],
            markersize=4,
            elinewidth=0.6,
            label=f"{family} ({len(members)})",
        )
    axes.set(xlim=line, ylim=line, xlabel="measured latency, ms", ylabel="predicted latency, ms")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=8)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    with write_atomically(path, PredictorError) as file:
        figure.savefig(file, format="png")


def drawn_families(
    families: Mapping[str, Sequence[NetworkResult]],
) -> dict[str, Sequence[NetworkResult]]:
    """Return at most `MOST_FAMILIES` families and one for all others, the largest first."""
    ordered = sorted(families.items(), key=lambda item: -len(item[1]))
    drawn = dict(ordered[:MOST_FAMILIES])
    rest = ordered[MOST_FAMILIES:]
    if rest:
        drawn[f"{len(rest)} other families"] = [n for _, members in rest for n in members]
    return drawn
