"""Fusion found out by measuring, against what is known about this machine's delegates.

    python benchmarks/fusion.py [--delegate gpu] [--rules rules.toml] [--rounds 5] [--json]

On the CPU, the truth is what XNNPACK itself lists for every pair of operators: where two are run
as one, it lists one operator less. A reshape behind an operator counts as run with it where what is
listed for it takes next to no time. On a GPU, which lists nothing here, verdicts are set against
the rules in the source of TFLite's GPU delegate.

With `--rules` nothing is measured anew but what XNNPACK lists.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from latlas.console import emit, say, table
from latlas.profiler.fusion import GpuDelegateRules, rules_file
from latlas.profiler.fusion.bench import CampaignBench
from latlas.profiler.fusion.detect import Detection, DetectionSettings, Probe, probe_pair
from latlas.profiler.fusion.evidence import FusionEvidence
from latlas.profiler.fusion.probes import TYPES
from latlas.profiler.graph import Graph
from latlas.profiler.litert.local import LocalRunner
from latlas.profiler.runner import Effort, Job, OpTime
from latlas.profiler.tflite.writer import to_tflite
from latlas.targets import DeviceChoice, open_local

RESHAPE = "Static Reshape (NC)"
QUICK = Effort(min_runs=20, min_ms=1.0, warmup_ms=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--delegate", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--rules", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    started = time.monotonic()
    with open_local(DeviceChoice(delegates=(arguments.delegate,))) as runner:
        found = rules_file.load(arguments.rules) if arguments.rules else None
        if found is None:
            found = detect(runner, arguments.rounds)
        wall_s = time.monotonic() - started
        truth = Listed(runner).fused if arguments.delegate == "cpu" else by_source
        document = compare(found, truth)
    document["wall_s"] = None if arguments.rules else wall_s
    emit(document, arguments.json, report(document))


def detect(runner: LocalRunner, rounds: int) -> FusionEvidence:
    with tempfile.TemporaryDirectory() as folder:
        settings = DetectionSettings(rounds=rounds, more_rounds=2 * rounds)
        bench = CampaignBench(runner, Path(folder) / "fusion")
        return Detection(bench, tuple(product(TYPES, TYPES)), settings, say).run()


class Listed:
    """What XNNPACK lists for pairs of operators."""

    def __init__(self, runner: LocalRunner) -> None:
        self.runner = runner
        self.known: dict[str, tuple[OpTime, ...]] = {}

    def operators(self, graph: Graph) -> tuple[OpTime, ...]:
        text = graph.to_text()
        if text not in self.known:
            (result,) = self.runner.run([Job("listed", to_tflite(graph), QUICK, profile=True)])
            self.known[text] = result.ops
        return self.known[text]

    def count(self, graph: Graph) -> int:
        return sum(op.name != RESHAPE for op in self.operators(graph))

    def reshape_us(self, graph: Graph) -> float:
        return sum(op.mean_us for op in self.operators(graph) if op.name == RESHAPE)

    def fused(self, probe: Probe) -> bool:
        if probe.types[1] == "reshape":
            larger = probe_pair(probe.types[0], probe.types[1], 1 << 19)
            assert larger is not None  # whole microseconds are listed: it must take many
            probe = larger
            before = self.reshape_us(probe.before)
            return self.reshape_us(probe.whole) - before < 0.2 * self.reshape_us(probe.last)
        apart = self.count(probe.before) + self.count(probe.last) - self.count(probe.between)
        return self.count(probe.whole) < apart


def by_source(probe: Probe) -> bool:
    rules = GpuDelegateRules()
    return len(rules.groups(probe.whole)) < len(probe.whole.nodes)


def compare(found: FusionEvidence, truth: Any) -> dict[str, Any]:
    pairs = found.of("pair")
    agree, wrong, open_ = 0, [], []
    for each in pairs:
        probe = probe_pair(each.types[0], each.types[1], found.elements)
        assert probe is not None
        fused = truth(probe)
        row = {"types": each.types, "share": each.share, "error": each.error, "fused": fused}
        if each.verdict == "undecided":
            open_.append(row | {"reason": each.reason})
        elif (each.verdict == "fused") == fused:
            agree += 1
        else:
            wrong.append(row)
    return {
        "target": str(found.target),
        "threshold": found.threshold,
        "elements": found.elements,
        "pairs": len(pairs),
        "fused": sum(each.verdict == "fused" for each in pairs),
        "agree": agree,
        "disagree": wrong,
        "undecided": open_,
        "rules": found.rules.version,
    }


def report(document: dict[str, Any]) -> str:
    lines = [
        f"target: {document['target']}",
        f"{document['pairs']} pairs: {document['agree']} agree ({document['fused']} are fused), "
        f"{len(document['disagree'])} disagree, {len(document['undecided'])} undecided; "
        f"threshold {document['threshold']:.2f}, values of {document['elements']:,} elements",
    ]
    if document["wall_s"] is not None:
        lines.append(f"took {document['wall_s']:.0f} s")
    for name in ("disagree", "undecided"):
        if document[name]:
            rows = [
                (" + ".join(r["types"]), f"{r['share']:.2f} ± {r['error']:.2f}", r["fused"])
                for r in document[name]
            ]
            lines += ["", table((name, "saved share", "fused in truth"), rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
