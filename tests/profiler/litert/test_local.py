import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from latlas.profiler.cores import allowed_cores, choose_cores, format_cores, parse_cores
from latlas.profiler.errors import DeviceError, RunnerError, RunnerTimeout, UsageError
from latlas.profiler.litert.frames import Channel, Closed
from latlas.profiler.litert.local import GpuProbe, LocalRunner, probe_gpu
from latlas.profiler.litert.worker import time_model, time_runs, warm_up
from latlas.profiler.runner import Effort, Job, Result

QUICK = Effort(min_runs=5, min_ms=1, max_ms=500, warmup_ms=0.5)
ENDLESS = Effort(min_runs=1, min_ms=60_000, max_ms=60_000)


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    with LocalRunner("cpu") as runner:
        yield runner


def run_one(runner: LocalRunner, job: Job) -> Result:
    (result,) = runner.run([job])
    assert result.job_id == job.id
    return result


def test_every_job_gets_its_result(runner: LocalRunner, small: bytes, large: bytes) -> None:
    jobs = [Job("a", small, QUICK), Job("b", large, QUICK), Job("c", small, QUICK)]
    results = list(runner.run(jobs))
    assert [result.job_id for result in results] == ["a", "b", "c"]
    for result in results:
        assert result.kind == "ok"
        assert not result.error
        assert len(result.samples_us) >= 5
        assert min(result.samples_us) > 0
        assert result.init_ms > 0
        assert result.warmup_ms >= 0.5
        assert result.cpu_share > 0  # over so short a run its clock is coarse
    small_us, large_us = (statistics.median(results[i].samples_us) for i in (0, 1))
    assert large_us > small_us


def test_target_says_how_it_was_measured(runner: LocalRunner) -> None:
    target = runner.target
    assert target.runtime.startswith("litert 2.")
    assert (target.delegate, target.backend, target.precision) == ("cpu", "xnnpack", "fp32")
    assert (target.threads, target.cores) == (1, str(max(allowed_cores())))
    assert target.device
    assert not target.adapter
    assert os.sched_getaffinity(runner.worker_pid) == {max(allowed_cores())}


def test_more_threads_are_not_pinned(small: bytes) -> None:
    with LocalRunner("cpu", threads=2) as runner:
        assert (runner.target.threads, runner.target.cores) == (2, "")
        assert os.sched_getaffinity(runner.worker_pid) == allowed_cores()
        assert run_one(runner, Job("a", small, QUICK)).kind == "ok"


def test_profile_adds_up_to_about_the_wall_time(runner: LocalRunner, large: bytes) -> None:
    result = run_one(runner, Job("a", large, Effort(min_runs=20), profile=True))
    assert len(result.ops) == 4
    total = sum(op.mean_us for op in result.ops)
    wall = statistics.median(result.samples_us)
    assert wall / 3 < total < 3 * wall


def test_no_profile_unless_asked(runner: LocalRunner, small: bytes) -> None:
    assert run_one(runner, Job("a", small, QUICK)).ops == ()


def test_a_refused_model_fails_and_the_worker_lives(runner: LocalRunner, small: bytes) -> None:
    pid = runner.worker_pid
    bad, good = runner.run([Job("bad", b"not a model", QUICK), Job("good", small, QUICK)])
    assert bad.kind == "failed"
    assert "flatbuffer" in bad.error
    assert not bad.samples_us
    assert good.kind == "ok"
    assert runner.worker_pid == pid


def test_dynamic_shapes(runner: LocalRunner, dynamic_batch: bytes, dynamic_size: bytes) -> None:
    batch, size = runner.run([Job("b", dynamic_batch, QUICK), Job("s", dynamic_size, QUICK)])
    assert batch.kind == "ok"
    assert size.kind == "failed"
    assert "fixed input shape" in size.error


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_costs_one_job(runner: LocalRunner, small: bytes, number: signal.Signals) -> None:
    pid, target = runner.worker_pid, runner.target
    killer = threading.Timer(0.3, os.kill, (pid, number))
    killer.start()
    crashed, after = runner.run([Job("crash", small, ENDLESS), Job("after", small, QUICK)])
    killer.join()
    assert crashed.kind == "crashed"
    assert number.name in crashed.error
    assert after.kind == "ok"
    assert runner.worker_pid != pid
    assert runner.target == target


def test_memory_is_of_one_model_whatever_ran_before(
    runner: LocalRunner, small: bytes, large: bytes
) -> None:
    sizes = [Job("a", small), Job("b", large), Job("c", small), Job("d", large), Job("e", small)]
    jobs = [replace(job, effort=QUICK, memory=job.id != "e") for job in sizes]
    first, large_mb, second, again_mb, unasked = (r.peak_memory_mb for r in runner.run(jobs))
    assert first is not None and second is not None and unasked is None
    assert large_mb is not None and again_mb is not None
    assert large_mb > len(large) / 2**20 > max(first, second)
    assert again_mb == pytest.approx(large_mb, rel=0.2)


def test_a_hang_costs_one_job(small: bytes, large: bytes) -> None:
    with LocalRunner("cpu", timeout_s=0.5) as runner:
        pid = runner.worker_pid
        os.kill(pid, signal.SIGSTOP)
        # The large model does not even fit the pipe that nobody empties.
        hung, after = runner.run([Job("hang", large, QUICK), Job("after", small, QUICK)])
        assert hung.kind == "timeout"
        assert after.kind == "ok"
        assert runner.worker_pid != pid


def test_an_abandoned_run_leaves_no_answer_behind(runner: LocalRunner, small: bytes) -> None:
    for _ in runner.run(Job(name, small, QUICK) for name in "abc"):
        break
    assert run_one(runner, Job("d", small, QUICK)).kind == "ok"


def test_the_worker_ends_with_its_runner(small: bytes) -> None:
    with LocalRunner("cpu") as runner:
        pid = runner.worker_pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_cores_that_do_not_exist(small: bytes) -> None:
    with LocalRunner("cpu", cores="4000") as runner, pytest.raises(DeviceError, match="4000"):
        run_one(runner, Job("a", small, QUICK))


@pytest.mark.parametrize("number", [0, -1])
def test_threads_must_be_positive(number: int) -> None:
    with LocalRunner("cpu", threads=number) as runner, pytest.raises(DeviceError, match="threads"):
        _ = runner.target


def test_effort_is_honoured() -> None:
    def naps(milliseconds: float) -> tuple[int, float]:
        samples, _ = time_runs(lambda: time.sleep(milliseconds / 1000) or 0, effort)
        return len(samples), sum(samples) / 1e6

    effort = Effort(min_runs=7, min_ms=0, max_ms=10_000)
    assert naps(0.1)[0] == 7
    effort = Effort(min_runs=1, min_ms=20, max_ms=10_000)
    assert naps(1)[1] >= 20
    effort = Effort(min_runs=1000, min_ms=1000, max_ms=30)
    count, spent = naps(1)
    assert count <= 30
    assert spent >= 30


def test_more_samples_than_room() -> None:
    samples, _ = time_runs(lambda: None, Effort(min_runs=5000, min_ms=0))
    assert len(samples) == 5000
    assert sum(samples) < 5e9


class Disturbed:
    """A model of a millisecond, whose calibration other processes come between."""

    def __init__(self, *costs_ns: int) -> None:
        self.costs_ns = list(costs_ns)

    def call(self) -> int:
        time.sleep(0.001)
        return 0

    def call_cost_ns(self) -> int:
        return self.costs_ns.pop(0)

    def refresher(self) -> Callable[[], object]:
        return lambda: None


def test_a_run_is_no_shorter_than_the_call_itself() -> None:
    effort = Effort(min_runs=5, min_ms=0)
    second = 10**9
    samples, cost_ns, _ = time_model(Disturbed(second, second, 1000), effort)
    assert (cost_ns, len(samples)) == (1000, 5)
    assert min(samples) > 500_000
    with pytest.raises(RunnerError, match="too busy to measure on"):
        time_model(Disturbed(*[second] * 3), effort)


def test_an_idle_processor_shows_in_the_cpu_share() -> None:
    _, share = time_runs(lambda: time.sleep(0.005), Effort(min_runs=5, min_ms=0))
    assert share < 0.5


def test_warm_up_runs_at_least_once() -> None:
    runs: list[int] = []
    assert warm_up(lambda: runs.append(1), Effort(warmup_ms=0)) >= 0
    assert runs == [1]


def test_gpu_runs(gpu: GpuProbe, small: bytes, dynamic_batch: bytes) -> None:
    with LocalRunner("gpu") as runner:
        target = runner.target
        assert (target.delegate, target.backend) == ("gpu", "webgpu")
        assert (target.adapter, target.software) == (gpu.adapter, gpu.software)
        assert target.precision in ("fp16", "fp32")
        assert runner.init_ms > 0
        for model in (small, dynamic_batch):
            result = run_one(runner, Job("a", model, QUICK, profile=True))
            assert result.kind == "ok", result.error
            assert len(result.samples_us) >= 5
            assert result.ops == ()


def test_gpu_precision_is_what_was_asked_for(gpu: GpuProbe) -> None:
    with LocalRunner("gpu", precision="fp32") as runner:
        assert runner.target.precision == "fp32"
    if "SwiftShader" in gpu.adapter:
        with LocalRunner("gpu", precision="fp16") as runner:
            assert runner.target.precision == "fp16"


def test_swiftshader_is_called_software(gpu: GpuProbe) -> None:
    assert gpu.software == ("SwiftShader" in gpu.adapter or "llvmpipe" in gpu.adapter)


def test_a_partly_delegated_model_is_not_gpu(gpu: GpuProbe, partly_supported: bytes) -> None:
    with LocalRunner("gpu") as runner:
        result = run_one(runner, Job("a", partly_supported, QUICK))
    assert result.kind == "not_delegated"
    assert "L2_NORMALIZATION" in result.error
    assert not result.samples_us


def test_a_partly_delegated_model_runs_on_the_cpu(
    runner: LocalRunner, partly_supported: bytes
) -> None:
    result = run_one(runner, Job("a", partly_supported, QUICK, profile=True))
    assert result.kind == "ok"
    assert "kernel:L2_NORMALIZATION" in [op.name for op in result.ops]


def test_no_gpu_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", "/nowhere/icd.json")
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nowhere/icd.json")
    probe = probe_gpu()
    assert not probe.adapter
    assert "VK_DRIVER_FILES" in probe.problem
    with LocalRunner("gpu") as runner, pytest.raises(DeviceError, match="no GPU"):
        _ = runner.target


def test_cores_are_read_and_written() -> None:
    assert parse_cores("0,2-3") == {0, 2, 3}
    assert parse_cores("") == frozenset()
    for digits in ("9" * 5000, "1-" + "9" * 5000):
        with pytest.raises(UsageError, match="cores are written like"):
            parse_cores(digits)
    assert format_cores([3, 0, 1, 5]) == "0-1,3,5"
    assert choose_cores("", 2) == frozenset()
    for text in ("x", "3-1", "1-", "-1", "0-99999999999"):
        with pytest.raises(UsageError):
            parse_cores(text)


def test_a_channel_carries_any_bytes() -> None:
    (read_a, write_a), (read_b, write_b) = os.pipe(), os.pipe()
    here, there = Channel(read_a, write_b, deadlines=True), Channel(read_b, write_a)
    payload = bytes(range(256)) * 10_000
    received: list[tuple[dict[str, object], bytes]] = []
    reader = threading.Thread(target=lambda: received.append(there.receive()))
    reader.start()
    here.send({"text": "ä\n"}, payload, time.monotonic() + 30)
    reader.join()
    assert received == [({"text": "ä\n"}, payload)]
    with pytest.raises(RunnerTimeout):
        here.receive(time.monotonic() + 0.01)
    os.close(write_a)
    with pytest.raises(Closed):
        here.receive(time.monotonic() + 30)
    for descriptor in (read_a, read_b, write_b):
        os.close(descriptor)
