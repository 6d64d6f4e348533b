import gc
import os
from pathlib import Path

import numpy as np
import pytest

from latlas.profiler.errors import RunnerError
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.litert.native import CompiledModel, summarise
from latlas.profiler.tflite.writer import to_tflite


def floats(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.float32)


def test_it_computes_with_inputs_that_are_not_trivial() -> None:
    b = GraphBuilder((1, 4, 4, 8))
    with CompiledModel(to_tflite(b.build(b.activation(b.input, "tanh")))) as model:
        model.invoke()
        (output,) = model.outputs()
    values = np.arctanh(floats(output).astype(float))
    assert len(np.unique(values)) > 100
    assert values.min() < -0.5 < 0.5 < values.max()
    assert np.abs(values).max() < 1.01


def test_inputs_are_the_same_every_time(small: bytes) -> None:
    outputs = []
    for _ in range(2):
        with CompiledModel(small) as model:
            model.invoke()
            outputs.append(model.outputs())
    assert outputs[0] == outputs[1]


def test_a_dynamic_batch_is_one(dynamic_batch: bytes) -> None:
    with CompiledModel(dynamic_batch) as model:
        assert model.input_shapes == ((1, 16, 16, 8),)
        assert model.output_shapes == ((1, 16, 16, 8),)
        model.invoke()
        sums = floats(model.outputs()[0]).reshape(-1, 8).sum(axis=1)
    np.testing.assert_allclose(sums, 1, atol=1e-5)


def test_other_dynamic_sizes_are_refused(dynamic_size: bytes) -> None:
    with pytest.raises(RunnerError, match=r"\(-1, -1, -1, 8\).*fixed input shape"):
        CompiledModel(dynamic_size)


@pytest.mark.parametrize("data", [b"", b"not a model", bytes(1000)])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(RunnerError, match="LiteRT"):
        CompiledModel(data)


def test_a_truncated_model_is_refused(small: bytes) -> None:
    with pytest.raises(RunnerError, match="flatbuffer"):
        CompiledModel(small[: len(small) // 2])


def test_threads_are_taken(small: bytes) -> None:
    def tasks(threads: int) -> int:
        with CompiledModel(small, threads=threads) as model:
            model.invoke()
            return len(os.listdir("/proc/self/task"))  # noqa: PTH208 — no Path API is cheaper

    one = tasks(1)
    assert tasks(4) == one + 3


def test_profile_lists_the_operators_in_order(small: bytes) -> None:
    left = iter([True] * 9)
    with CompiledModel(small, profile=True) as model:
        profile = model.profile(lambda: next(left, False))
    assert profile.runs == 10
    assert profile.kernels == 0
    kinds = [op.name.split()[0] for op in profile.ops]
    assert kinds == ["Convolution", "Add", "Softmax"]


def test_profile_tells_the_runtimes_own_kernels(partly_supported: bytes) -> None:
    with CompiledModel(partly_supported, profile=True) as model:
        assert not model.fully_delegated
        profile = model.profile(lambda: False)
    assert [op.name for op in profile.ops][1] == "kernel:L2_NORMALIZATION"
    assert profile.kernels == 1


def test_profile_needs_a_profiler(small: bytes) -> None:
    with CompiledModel(small) as model:
        assert model.fully_delegated
        with pytest.raises(RunnerError, match="profile=True"):
            model.profile(lambda: False)


def test_summary_averages_operators_over_runs() -> None:
    def run(first: int, second: int) -> list[tuple[int, str, int]]:
        return [(1, "Invoke", first + second), (8, "Conv", first), (32, "Invoke", 1 << 32),
                (2, "PAD", second)]  # fmt: skip

    profile = summarise([run(10, 1), run(12, 2)])
    assert [(op.name, op.mean_us) for op in profile.ops] == [("Conv", 11), ("kernel:PAD", 1.5)]
    assert profile.invoke_us == 12.5


def test_summary_is_not_moved_by_an_interruption() -> None:
    profile = summarise([[(8, "Conv", us)] for us in (10, 11, 10, 11, 10, 11, 10, 4000)])
    assert profile.ops[0].mean_us == 10.5


def test_summary_refuses_runs_that_differ() -> None:
    with pytest.raises(RunnerError, match="differ"):
        summarise([[(8, "Conv", 1)], [(8, "Add", 1)]])


def test_closing_gives_memory_back(large: bytes) -> None:
    def resident_kb() -> int:
        gc.collect()
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def use() -> None:
        with CompiledModel(large) as model:
            model.invoke()

    for _ in range(20):
        use()
    before = resident_kb()
    for _ in range(100):
        use()
    # One model takes megabytes; a leak of any handle's memory would show.
    assert resident_kb() - before < 20_000
