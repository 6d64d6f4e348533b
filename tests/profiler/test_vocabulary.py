from __future__ import annotations

import pytest

from latlas.profiler.litert.local import LocalRunner
from latlas.profiler.runner import Effort, Job
from latlas.profiler.tflite.writer import to_tflite
from latlas.profiler.vocabulary import vocabulary_kernels

ONCE = Effort(min_runs=1, min_ms=0.0, warmup_ms=0.0)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_runtime_runs_every_type(precision: str) -> None:
    smallest = {}
    for kernel in vocabulary_kernels(precision=precision):
        known = smallest.setdefault(kernel.type, kernel)
        if kernel.inputs < known.inputs:
            smallest[kernel.type] = kernel
    jobs = [Job(kernel.text, to_tflite(kernel.graph), ONCE) for kernel in smallest.values()]
    with LocalRunner("cpu") as runner:
        failed = {result.job_id: result.error for result in runner.run(jobs) if result.error}
    assert failed == {}
