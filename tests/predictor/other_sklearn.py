"""The same predictions under another version of scikit-learn.

    python other_sklearn.py write FILE     under the one: fits a predictor and writes it
    python other_sklearn.py compare FILE   under the other: reads it, fits again, and compares

What was written is read and evaluated exactly alike. What the other version fits on the same rows
may grow other trees, but must say nearly the same.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import sklearn

from latlas.predictor import file
from latlas.predictor.fit import fit
from latlas.predictor.observations import NetworkObservation, Observations
from latlas.profiler.fold import fold
from latlas.profiler.fusion import rules_for
from latlas.profiler.kernel import Kernel, split
from latlas.profiler.target import Target
from latlas.search import zoo

TARGET = Target("a simulated phone", "litert 2.3.0", "cpu", "xnnpack")
KNOWN = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mnasnet_a1", "mnasnet_b1", "moga_a")
NEW = ("fairnas_a", "proxylessnas_mobile")


def kernels(name: str) -> tuple[Kernel, ...]:
    return split(fold(zoo.build(name)), rules_for("cpu"))


def kernel_us(kernel: Kernel) -> float:
    return 2 + kernel.op.madds(kernel.inputs[:1]) / 20_000


def observations() -> Observations:
    networks = []
    for name in KNOWN:
        parts = kernels(name)
        times = tuple(map(kernel_us, parts))
        networks.append(NetworkObservation(name, parts, 1.1 * sum(times) + 30, times))
    return Observations(TARGET, tuple(networks), {})


def main() -> None:
    command, path = sys.argv[1], Path(sys.argv[2])
    expected = path.with_suffix(".npy")
    new = [kernel for name in NEW for kernel in kernels(name)]
    here = replace(fit(observations()), table_us={})
    if command == "write":
        file.save(fit(observations()), path)
        np.save(expected, here.kernels_us(new)[0])
        return
    read = replace(file.load(path), table_us={}).kernels_us(new)[0]
    written = np.load(expected)
    assert (read == written).all(), "a predictor that was read predicts something else"
    again = here.kernels_us(new)[0]
    off = float(np.abs(again / written - 1).mean())
    assert off < 0.02, f"kernels fitted by scikit-learn {sklearn.__version__} are {off:.1%} off"
    print(
        f"scikit-learn {sklearn.__version__}: {len(new)} kernels alike, fitted anew {off:.2%} off"
    )


if __name__ == "__main__":
    main()
