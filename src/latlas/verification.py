"""A study's front, measured: predicted latencies beside what a device takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latlas.console import table
from latlas.studies import space_of, target_of

if TYPE_CHECKING:
    from latlas.profiler.graph import Graph
    from latlas.profiler.runner import Runner
    from latlas.search.protocols import Trial
    from latlas.search.study import Study


def verified_folder(study: Study, metric: str) -> Path:
    """Return the table of what was measured of a latency of a study."""
    return study.folder / "-".join(["verify", *metric.split("@")[1:]])


def verified_id(genes: Sequence[int]) -> str:
    """Return the id of an architecture's job in that table."""
    from latlas.profiler.jobs import network_id

    return network_id("-".join(map(str, genes)))


def verify(
    study: Study,
    runner: Runner,
    most: int = 20,
    patience_s: float = 60.0,
    metric: str = "latency_ms",
) -> dict[str, Any]:
    """Measure a study's front on a device and write ``predicted_vs_measured.png`` beside it.

    Args:
        study: whose front is measured.
        runner: measures it; on the target that the study's latencies are valid for.
        most: so many networks at most, spread over the latencies of the front.
        patience_s: seconds that the campaign waits for a machine that is slower than it was.
        metric: which latency is verified, where the study has several.

    Returns:
        Every network with predicted and measured milliseconds, those that could not be measured
        with the reason, the mean absolute percentage error, and the rank correlation.

    Raises:
        SearchError: the study is damaged, has no front, or none of it could be measured.
        TargetMismatchError: the runner measures on another target.
        KeyboardInterrupt: Ctrl-C; what was measured is kept.
    """
    import numpy as np
    from scipy.stats import kendalltau

    from latlas.profiler.campaign import Campaign, CampaignSettings
    from latlas.profiler.errors import SearchError
    from latlas.profiler.jobs import CampaignJob
    from latlas.profiler.quantise import for_precision
    from latlas.profiler.runner import Effort
    from latlas.profiler.table import Table
    from latlas.search.objectives import front_of
    from latlas.search.plot import plot_study

    target = target_of(study, metric)
    target.require_same(runner.target, f"the device that is to verify {study.folder}")
    trials = study.history
    front = sorted(
        front_of(trials, study.objectives, study.constraints), key=lambda trial: trial.value(metric)
    )
    if not front:
        raise SearchError(f"{study.folder} has no front yet: run `latlas search -o` it first")
    chosen = [front[i] for i in np.unique(np.linspace(0, len(front) - 1, most).round().astype(int))]
    space = space_of(study)
    effort = Effort(min_runs=20, min_ms=200.0, max_ms=4000.0, warmup_ms=20.0)
    jobs = {verified_id(trial.genes): trial for trial in chosen}

    def network(trial: Trial) -> Graph:
        return for_precision(space.decode(trial.genes), target.precision)

    folder = verified_folder(study, metric)
    report = Campaign(
        runner,
        folder,
        [
            CampaignJob(name, name, "network", network(trial), effort)
            for name, trial in jobs.items()
        ],
        CampaignSettings(check_every_jobs=4, patience_s=patience_s),
    ).run()
    if report.interrupted:
        raise KeyboardInterrupt
    found = {m.id: m for m in Table.open(folder).measurements}
    networks = []
    unmeasured = []
    for name, trial in jobs.items():
        measurement = found[name]
        if measurement.summary is None:
            unmeasured.append({"genes": list(trial.genes), "reason": measurement.reason})
            continue
        measured_ms = measurement.summary.median_us / 1e3
        networks.append(
            {
                "genes": list(trial.genes),
                "accuracy": trial.accuracy,
                "params": int(trial.params),
                "predicted_ms": trial.value(metric),
                "measured_ms": measured_ms,
                "error": trial.value(metric) / measured_ms - 1,
                "verdict": measurement.verdict,
            }
        )
    if not networks:
        raise SearchError(
            f"no network of {study.folder} could be measured: {unmeasured[0]['reason']}"
        )
    predicted = [n["predicted_ms"] for n in networks]
    measured = [n["measured_ms"] for n in networks]
    tau = float(kendalltau(predicted, measured).statistic) if len(networks) > 2 else np.nan
    suffix = folder.name.removeprefix("verify")
    plot = study.folder / f"predicted_vs_measured{suffix}.png"
    measured_trials = [jobs[verified_id(n["genes"])] for n in networks]
    plot_study(plot, trials, measured_trials, measured, target=str(runner.target), metric=metric)
    return {
        "study": str(study.folder),
        "target": runner.target.to_json(),
        "metric": metric,
        "networks": networks,
        "unmeasured": unmeasured,
        "mape": float(np.mean([abs(n["error"]) for n in networks])),
        "kendall_tau": tau if np.isfinite(tau) else None,
        "plot": str(plot),
    }


def verify_text(document: dict[str, Any]) -> str:
    """Return the comparison for people."""
    rows = [
        (
            f"{n['accuracy']:.1%}",
            f"{n['params'] / 1e6:.2f}",
            f"{n['predicted_ms']:.3f}",
            f"{n['measured_ms']:.3f}",
            f"{n['error']:+.1%}",
            n["verdict"],
            " ".join(map(str, n["genes"])),
        )
        for n in document["networks"]
    ]
    header = ("accuracy", "params M", "predicted ms", "measured ms", "error", "verdict", "genes")
    tau = document["kendall_tau"]
    return "\n".join(
        [
            table(header, rows),
            "",
            *(f"could not be measured: {n['reason']}" for n in document["unmeasured"]),
            f"mean absolute percentage error {document['mape']:.1%}"
            + (f", Kendall's tau {tau:.2f}" if tau is not None else "")
            + f" on {len(rows)} networks",
            f"plot: {document['plot']}",
        ]
    )
