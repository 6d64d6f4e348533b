"""What ``latlas --help`` costs, in starts of a bare interpreter, in turn.

python benchmarks/startup.py [--json]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

from latlas.console import emit, table


def milliseconds(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    pairs = [
        (milliseconds("-c", "pass"), milliseconds("-m", "latlas", "--help"))
        for _ in range(arguments.repeats)
    ]
    document = {
        "bare_ms": statistics.median(bare for bare, _ in pairs),
        "help_ms": statistics.median(ours for _, ours in pairs),
        "ratio": statistics.median(ours / bare for bare, ours in pairs),
    }
    rows = [(name, f"{value:.1f}") for name, value in document.items()]
    emit(document, arguments.json, table(("latlas --help", ""), rows))


if __name__ == "__main__":
    main()
