"""Does a supernet rank architectures as training each of them alone does?

    python benchmarks/supernet_ranking.py --space moga --folder DIR [--json]

Twenty architectures of a space are drawn. A supernet is trained on digits, with checkpoints, and
scores them; then each is trained alone, from several seeds. Both are accuracies on images that no
training saw: those for the search, and those for the test too, since nothing is chosen here.

Alone means: with the supernet's layers, batches and batch-norm calibration, but with one
architecture in every step, from weights of its own. The folder keeps what was trained; an
interrupted run goes on there. The noise of training alone is told by comparing its seeds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latlas.commands.search import open_supernet
from latlas.console import emit, table
from latlas.profiler.errors import SearchError
from latlas.profiler.journal import JournalWriter
from latlas.search.data import Dataset
from latlas.search.protocols import Genes
from latlas.search.spaces import open_space
from latlas.search.supernet import Supernet

RESAMPLES = 2000


def kendall(first: NDArray[np.float64], second: NDArray[np.float64], seed: int = 0) -> Agreement:
    """Return Kendall's tau, its p-value, and the 95% interval over resampled architectures."""
    from scipy.stats import kendalltau

    tau, p_value = kendalltau(first, second)
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(len(first), size=len(first)) for _ in range(RESAMPLES)]
    resampled = [kendalltau(first[index], second[index])[0] for index in drawn]
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    return {"tau": float(tau), "p_value": float(p_value), "interval": [float(low), float(high)]}


Agreement = dict[str, Any]


def correct(net: Supernet, genes: Sequence[Genes], data: Dataset) -> dict[str, list[float]]:
    """Return accuracies on the images for the search, and on those and the test's."""
    search, test = net.correct(genes, data.search), net.correct(genes, data.test)
    both = np.concatenate([search, test], axis=1)
    return {"search": search.mean(axis=1).tolist(), "both": both.mean(axis=1).tolist()}


def train_alone(
    net: Supernet, data: Dataset, genes: Sequence[Genes], seeds: int, epochs: int, path: Path
) -> dict[str, NDArray[np.float64]]:
    """Return accuracies of architectures trained alone, each of shape (seeds, architectures)."""
    known: dict[tuple[Genes, int], dict[str, float]] = {}

    def replay(record: dict[str, Any]) -> None:
        if record["epochs"] != epochs:
            raise SearchError(f"{path} holds trainings of {record['epochs']} epochs, not {epochs}")
        known[tuple(record["genes"]), record["seed"]] = record["accuracy"]

    supernet = net.config
    with JournalWriter(path, replay, SearchError) as journal:
        for seed in range(seeds):
            for one in genes:
                if (one, seed) in known:
                    continue
                start = time.monotonic()
                net.restart(replace(supernet, epochs=epochs, seed=1000 + seed))
                net.fit(data, only=one, progress=False)
                accuracy = {name: values[0] for name, values in correct(net, [one], data).items()}
                record = {"genes": one, "seed": seed, "epochs": epochs, "accuracy": accuracy}
                journal.append([record | {"seconds": time.monotonic() - start}])
                replay(record)
                print(len(known), accuracy, file=sys.stderr, flush=True)
    return {
        name: np.array([[known[one, seed][name] for one in genes] for seed in range(seeds)])
        for name in ("search", "both")
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--architectures", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3, help="of training alone")
    parser.add_argument("--epochs-alone", type=int, default=10)
    parser.add_argument("--epochs", type=int, help="of the supernet")
    parser.add_argument("--json", action="store_true", dest="as_json")
    arguments = parser.parse_args()
    oracle = open_supernet("digits", open_space(arguments.space), arguments.epochs)
    net, data = oracle.supernet, oracle.dataset
    choices = net.space.choices
    drawn = np.random.default_rng(0).integers(choices, size=(arguments.architectures, len(choices)))
    genes: list[Genes] = [tuple(one) for one in drawn.tolist()]
    start = time.monotonic()
    net.fit(data, arguments.folder / "supernet")
    seconds = time.monotonic() - start
    shared = correct(net, genes, data)
    alone = train_alone(
        *(net, data, genes, arguments.seeds, arguments.epochs_alone),
        arguments.folder / "alone.jsonl",
    )
    found = {
        name: kendall(np.array(shared[name]), alone["both"].mean(axis=0))
        for name in ("search", "both")
    }
    if arguments.seeds > 1:
        half = arguments.seeds // 2
        parts = alone["both"][:half].mean(axis=0), alone["both"][half:].mean(axis=0)
        found["alone against alone"] = kendall(*parts)
    document = {
        "space": arguments.space,
        "supernet_seconds": seconds,
        "supernet": shared,
        "alone": {name: values.tolist() for name, values in alone.items()},
        "agreement": found,
    }
    rows = [
        (name, f"{a['tau']:.2f}", f"{a['p_value']:.2g}", "{:.2f} to {:.2f}".format(*a["interval"]))
        for name, a in found.items()
    ]
    summary = [
        f"{what}: {np.min(values):.1%} to {np.max(values):.1%}, median {np.median(values):.1%}"
        for what, values in (("supernet", shared["both"]), ("alone", alone["both"].mean(axis=0)))
    ]
    text = table(("images of the supernet", "tau", "p", "95% interval"), rows)
    emit(document, arguments.as_json, "\n".join([text, "", *summary]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
