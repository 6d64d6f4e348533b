"""Everything that goes wrong between here and a phone, or on it, in the middle of a campaign.

None may hang, lose what was finished, or count anything twice.
"""

from __future__ import annotations

import hashlib
import shlex
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from phone.campaigns import (
    QUICK,
    Sabotaged,
    check_table,
    make_jobs,
    open_runner,
    run_campaign,
    within,
)
from phone.conftest import ABI, LAST_CORE
from phone_lab import build
from phone_lab.lab import LabPhone, lab_phone, wait_for

from latlas.profiler.benchmark_model.binary import RunnerBinary, find_binary
from latlas.profiler.benchmark_model.command import Execution
from latlas.profiler.errors import (
    DeviceCommandError,
    DeviceError,
    DeviceLost,
    NotDelegatedError,
    RunnerError,
    TargetMismatchError,
    UsageError,
)
from latlas.profiler.graph_builder import GraphBuilder
from latlas.profiler.jobs import CampaignJob
from latlas.profiler.litert.local import GpuProbe
from latlas.profiler.runner import Effort, Job
from latlas.profiler.table import Table
from latlas.profiler.tflite.writer import to_tflite

MIDDLE = 8
"""Results after which something happens: in the middle of a batch, behind the references."""


def wrapped(tool: Path, folder: Path, script: str) -> RunnerBinary:
    """Return a program that does something before, or instead of, the real one."""
    path = folder / "wrapper"
    path.write_text(f"#!/system/bin/sh\ntool=/data/local/tmp/real\n{script}\n")
    return find_binary(ABI, path=path)


def bring(phone: LabPhone, tool: Path) -> None:
    """Put the real tool where `wrapped` ones look for it."""
    phone.server.adb("-s", phone.serial, "push", str(tool), "/data/local/tmp/real")


def cut(phone: LabPhone) -> None:
    phone.link.cut()


def freeze(phone: LabPhone) -> None:
    phone.link.frozen = True
    threading.Timer(6.0, setattr, (phone.link, "frozen", False)).start()
    threading.Timer(6.0, phone.link.cut).start()  # as adb does when it finds a phone wedged


def unplug(phone: LabPhone) -> None:
    phone.link.refuse = True
    phone.link.cut()
    threading.Timer(2.0, setattr, (phone.link, "refuse", False)).start()


def kill_server(phone: LabPhone) -> None:
    phone.server.stop()


def reboot(phone: LabPhone) -> None:
    phone.reboot(down_s=1.5)


@pytest.mark.parametrize("fault", [cut, freeze, unplug, kill_server, reboot])
def test_the_phone_goes_away_and_comes_back(
    weak_phone: LabPhone, binary: RunnerBinary, tmp_path: Path, fault: Callable[[LabPhone], None]
) -> None:
    jobs, messages = make_jobs(), list[str]()
    with within(60), open_runner(weak_phone.serial, binary, messages=messages) as runner:
        sabotaged = Sabotaged(runner, MIDDLE, lambda: fault(weak_phone))
        report = run_campaign(sabotaged, tmp_path / "table", jobs)
    assert (report.measured, report.failed, report.left) == (len(jobs), 0, 0)
    check_table(tmp_path / "table", jobs)


def test_the_cable_is_pulled_during_a_push(
    weak_phone: LabPhone, binary: RunnerBinary, tmp_path: Path
) -> None:
    jobs = make_jobs()

    def soon() -> None:
        weak_phone.link.cut_after = 20_000  # in the middle of the next batch's models

    with within(60), open_runner(weak_phone.serial, binary) as runner:
        report = run_campaign(Sabotaged(runner, 12, soon), tmp_path / "table", jobs)
    assert weak_phone.link.cut_after is None
    assert report.measured == len(jobs)
    check_table(tmp_path / "table", jobs)


def test_a_phone_that_does_not_come_back(
    weak_phone: LabPhone, binary: RunnerBinary, tmp_path: Path
) -> None:
    jobs, messages = make_jobs(), list[str]()

    def gone() -> None:
        weak_phone.link.refuse = True
        weak_phone.link.cut()

    folder = tmp_path / "table"
    runner = open_runner(weak_phone.serial, binary, messages=messages, wait_s=3.0)
    with within(30), pytest.raises(DeviceLost, match="did not come back within 3 s") as caught:
        run_campaign(Sabotaged(runner, 15, gone), folder, jobs)
    assert caught.value.serial == weak_phone.serial
    assert "the same command again" in str(caught.value)
    assert any("waiting for the phone" in text for text in messages)
    runner.close()
    kept = {m.id for m in Table.open(folder).measurements}
    assert 0 < len(kept) < len(jobs)

    weak_phone.link.refuse = False
    weak_phone.attach()
    with open_runner(weak_phone.serial, binary) as again:
        report = run_campaign(again, folder, jobs)
    assert (report.skipped, report.measured) == (len(kept), len(jobs) - len(kept))
    check_table(folder, jobs)


@pytest.mark.parametrize("state", ["unauthorized", "offline", "not attached"])
def test_a_phone_that_cannot_be_used_is_an_error_at_once(
    weak_phone: LabPhone, binary: RunnerBinary, state: str
) -> None:
    if state == "offline":
        weak_phone.offline()
    else:
        weak_phone.detach()
    if state == "unauthorized":
        weak_phone.link.unauthorized = True
        weak_phone.server.adb("connect", weak_phone.serial)
        wait_for(lambda: weak_phone.server.state(weak_phone.serial) == state, "the question")
    with within(15), pytest.raises(DeviceLost, match="latlas devices") as caught:
        _ = open_runner(weak_phone.serial, binary).target
    assert caught.value.serial == weak_phone.serial
    assert caught.value.command


def test_a_phone_that_asks_again_in_the_middle(
    weak_phone: LabPhone, binary: RunnerBinary, tmp_path: Path
) -> None:
    jobs, messages = make_jobs(), list[str]()

    def ask() -> None:
        weak_phone.link.unauthorized = True
        weak_phone.link.cut()
        threading.Timer(4.0, accept).start()

    def accept() -> None:
        weak_phone.link.unauthorized = False
        weak_phone.link.cut()

    with within(60), open_runner(weak_phone.serial, binary, messages=messages) as runner:
        run_campaign(Sabotaged(runner, MIDDLE, ask), tmp_path / "table", jobs)
    check_table(tmp_path / "table", jobs)


def test_the_phone_is_full(weak_phone: LabPhone, binary: RunnerBinary, tmp_path: Path) -> None:
    b = GraphBuilder((1, 1024))
    large = CampaignJob("large", "large", "kernel", b.build(b.fully_connected(0, 1000)), QUICK)
    jobs, folder = [*make_jobs(5), large], tmp_path / "table"
    with open_runner(weak_phone.serial, binary) as runner:
        run_campaign(runner, folder, jobs[:5])
        weak_phone.fill(1_000_000)
        with within(30), pytest.raises(DeviceCommandError, match="No space left") as caught:
            run_campaign(runner, folder, jobs)
    assert caught.value.command.startswith("push ")
    assert caught.value.serial == weak_phone.serial
    weak_phone.free()
    with open_runner(weak_phone.serial, binary) as again:
        assert run_campaign(again, folder, jobs).skipped == 5
    check_table(folder, jobs)
    assert "run-" not in weak_phone.sh("ls /data/local/tmp/latlas")


def test_a_payload_is_damaged_on_the_way(
    weak_phone: LabPhone, binary: RunnerBinary, tmp_path: Path
) -> None:
    jobs, messages = make_jobs(), list[str]()

    def damage() -> None:
        weak_phone.link.corrupt_after = 20_000

    with open_runner(weak_phone.serial, binary, messages=messages) as runner:
        run_campaign(Sabotaged(runner, 12, damage), tmp_path / "table", jobs)
    assert weak_phone.link.corrupt_after is None
    assert any("damaged on the way" in text for text in messages)
    check_table(tmp_path / "table", jobs)


@pytest.mark.parametrize(
    ("content", "exit_codes"),
    [
        # For another processor; shells do not agree on what that is.
        (b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHI", 2, 183, 1) + bytes(200), (1, 126)),
        (b"#!/no/such/interpreter\n", (126, 127)),
        (b"#!/system/bin/sh\nexit 7\n", (7,)),
        (b"#!/system/bin/sh\nkill -SEGV $$\n", (139,)),
    ],
)
def test_a_binary_that_cannot_be_executed(
    weak_phone: LabPhone, tmp_path: Path, content: bytes, exit_codes: tuple[int, ...]
) -> None:
    path = tmp_path / "benchmark_model"
    path.write_bytes(content)
    # What a phone says of its processor is not always true.
    wrong = RunnerBinary(path, content, hashlib.sha256(content).hexdigest())
    with within(20), pytest.raises(DeviceCommandError, match="--runner-binary") as caught:
        _ = open_runner(weak_phone.serial, wrong).target
    assert caught.value.serial == weak_phone.serial
    assert caught.value.exit_code in exit_codes
    assert "--help" in caught.value.command


def test_a_binary_for_another_processor_is_refused_before_it_is_sent(tool: Path) -> None:
    with pytest.raises(UsageError, match="built for x86_64, not for arm64-v8a"):
        find_binary("arm64-v8a", path=tool)


@pytest.mark.parametrize(("signal", "word"), [("KILL", "SIGKILL"), ("SEGV", "SIGSEGV")])
def test_a_process_that_dies_on_the_phone(
    host_phone: LabPhone, tool: Path, tmp_path: Path, signal: str, word: str
) -> None:
    bring(host_phone, tool)
    # The third model of every batch is fatal.
    script = f'case "$1" in *=2.tflite) kill -{signal} $$;; esac\nexec $tool "$@"'
    jobs = [Job(str(i), to_tflite(job.graph), job.effort) for i, job in enumerate(make_jobs(5))]
    with open_runner(host_phone.serial, wrapped(tool, tmp_path, script)) as runner:
        results = list(runner.run(jobs))
    assert [result.kind for result in results] == ["ok", "ok", "crashed", "ok", "ok"]
    assert word in results[2].error


def test_a_process_that_hangs(host_phone: LabPhone, tool: Path, tmp_path: Path) -> None:
    bring(host_phone, tool)
    script = 'case "$1" in *=1.tflite) exec sleep 4321;; esac\nexec $tool "$@"'
    jobs = [Job(str(i), to_tflite(job.graph), job.effort) for i, job in enumerate(make_jobs(3))]
    options = {"timeout_s": 1.0}
    with (
        within(30),
        open_runner(host_phone.serial, wrapped(tool, tmp_path, script), **options) as runner,
    ):
        results = list(runner.run(jobs))
    # The model after it is the second of the next batch, and hangs as well.
    assert [result.kind for result in results] == ["ok", "timeout", "ok"]
    wait_for(lambda: "4321" not in host_phone.sh("ps -A -o args"), "the process to be killed", 5)


def test_a_model_that_takes_the_phone_down_is_given_up(
    weak_phone: LabPhone, tool: Path, tmp_path: Path
) -> None:
    bring(weak_phone, tool)
    jobs = [Job(str(i), to_tflite(job.graph), job.effort) for i, job in enumerate(make_jobs(3))]
    # One model, known by its size, leaves word; then the link is cut, as if the phone went down.
    fatal = f"[ $(wc -c < ${{1#*=}}) = {len(jobs[1].model)} ]"
    word = "/data/local/tmp/word"
    script = f'case $1 in --graph=*) {fatal} && touch {word} && sleep 60;; esac\nexec $tool "$@"'
    over = threading.Event()

    def cut_at_word() -> None:
        while not over.wait(0.2):
            if word in weak_phone.sh(f"ls {word} && rm {word}"):
                weak_phone.link.cut()

    watcher = threading.Thread(target=cut_at_word)
    watcher.start()
    try:
        faulty = wrapped(tool, tmp_path, script)
        with within(60), open_runner(weak_phone.serial, faulty, timeout_s=30.0) as runner:
            results = list(runner.run(jobs))
    finally:
        over.set()
        watcher.join()
    assert [result.kind for result in results] == ["ok", "crashed", "ok"]
    assert "went away every time" in results[1].error


def test_flags_that_an_older_binary_does_not_know(
    host_phone: LabPhone, tool: Path, tmp_path: Path
) -> None:
    bring(host_phone, tool)
    older = wrapped(tool, tmp_path, 'exec $tool "$@" --no_such_flag=1')
    with pytest.raises(RunnerError, match="does not know --no_such_flag=1"):
        _ = open_runner(host_phone.serial, older).target


def test_a_gpu_that_is_answered_on_the_cpu(host_phone: LabPhone, tmp_path: Path) -> None:
    without = find_binary(ABI, path=build.build_without_gpu(tmp_path))
    with pytest.raises(NotDelegatedError, match="built without the GPU delegate"):
        _ = open_runner(host_phone.serial, without, execution=Execution("gpu")).target


def test_a_model_that_the_gpu_takes_in_part(
    host_phone: LabPhone, binary: RunnerBinary, gpu: GpuProbe, partly_supported: bytes
) -> None:
    good = to_tflite(make_jobs(1)[0].graph)
    jobs = [Job("a", good, QUICK), Job("b", partly_supported, QUICK), Job("c", good, QUICK)]
    with open_runner(host_phone.serial, binary, execution=Execution("gpu")) as runner:
        results = list(runner.run(jobs))
    assert [result.kind for result in results] == ["ok", "not_delegated", "ok"]
    assert results[1].summary is None


def test_a_gpu_backend_that_is_not_there(host_phone: LabPhone, binary: RunnerBinary) -> None:
    execution = Execution("gpu", gpu_backend="cl")
    with pytest.raises(NotDelegatedError, match="OpenCL"):
        _ = open_runner(host_phone.serial, binary, execution=execution).target


def test_a_gpu_that_changes_its_backend(
    host_phone: LabPhone, tool: Path, tmp_path: Path, gpu: GpuProbe
) -> None:
    bring(host_phone, tool)
    other = '{ $tool "$@" 2>&1 >&3 | sed s/OpenGL/OpenCL/ >&2; } 3>&1; exit'
    changing = wrapped(tool, tmp_path, f'case "$1" in *=1.tflite) {other};; esac\nexec $tool "$@"')
    jobs = [Job(str(i), to_tflite(job.graph), job.effort) for i, job in enumerate(make_jobs(3))]
    with open_runner(host_phone.serial, changing, execution=Execution("gpu")) as runner:
        results = list(runner.run(jobs))
    assert runner.target.backend == "opengl"
    assert [result.kind for result in results] == ["ok", "not_delegated", "ok"]
    assert "through opencl, not through opengl" in results[1].error


def test_a_model_that_disturbs_its_batch(host_phone: LabPhone, tool: Path, tmp_path: Path) -> None:
    bring(host_phone, tool)
    script = 'case "$1" in *=1.tflite) yes | head -c 9000000;; *=2.tflite) kill -9 $PPID;; esac'
    disturbing = wrapped(tool, tmp_path, f'{script}\nexec $tool "$@"')
    jobs = [Job(str(i), to_tflite(job.graph), job.effort) for i, job in enumerate(make_jobs(6))]
    # Nine megabytes take a busy machine longer than the usual five seconds.
    with within(180), open_runner(host_phone.serial, disturbing, timeout_s=50.0) as runner:
        results = list(runner.run(jobs))
    # After each disturbance a batch begins, whose first model is number 0 again.
    assert [result.kind for result in results] == [
        "ok",
        "crashed",
        "ok",
        "crashed",
        "ok",
        "crashed",
    ]
    assert "printed more than" in results[1].error


def test_models_that_somebody_removes(
    weak_phone: LabPhone, binary: RunnerBinary, tmp_path: Path
) -> None:
    jobs, messages = make_jobs(), list[str]()

    def remove() -> None:
        weak_phone.sh("rm -rf /data/local/tmp/latlas/run-*")

    with within(60), open_runner(weak_phone.serial, binary, messages=messages) as runner:
        run_campaign(Sabotaged(runner, MIDDLE, remove), tmp_path / "table", jobs)
    check_table(tmp_path / "table", jobs)


def test_a_phone_whose_health_cannot_be_asked(
    weak_phone: LabPhone, binary: RunnerBinary, tmp_path: Path
) -> None:
    with open_runner(weak_phone.serial, binary) as runner:
        _ = runner.target
        assert runner.unwell() == ""
        runner.phone.timeout_s = 1.0
        weak_phone.sh(
            "rm -f /system/fixture/dumpsys/battery.txt; mkfifo /system/fixture/dumpsys/battery.txt"
        )
        runner._looked = None
        with within(10):
            assert "it does not answer" in runner.unwell()


def test_a_phone_is_put_back_after_it_was_lost(weak_phone: LabPhone, binary: RunnerBinary) -> None:
    stay_on = "settings get global stay_on_while_plugged_in"
    runner = open_runner(weak_phone.serial, binary, wait_s=1.0)
    _ = runner.target
    assert weak_phone.sh(stay_on) == "15\n"
    weak_phone.link.refuse = True
    weak_phone.link.cut()
    with pytest.raises(DeviceLost):
        list(runner.run([Job("a", to_tflite(make_jobs(1)[0].graph))]))
    weak_phone.link.refuse = False
    weak_phone.attach()
    runner.close()
    assert weak_phone.sh(stay_on) == "null\n"


def test_a_phone_that_no_longer_holds_its_clocks(
    weak_phone: LabPhone, binary: RunnerBinary, tmp_path: Path
) -> None:
    def refuse() -> None:
        weak_phone.set_property("lab.power_hal", "none")
        weak_phone.link.cut()

    with open_runner(weak_phone.serial, binary, fixed_performance=True) as runner:
        assert runner.target.clocks == "fixed"
        with pytest.raises(DeviceError, match="without fixed performance mode"):
            run_campaign(Sabotaged(runner, MIDDLE, refuse), tmp_path / "table", make_jobs())


def test_a_result_file_is_brought_back(host_phone: LabPhone, binary: RunnerBinary) -> None:
    job = make_jobs(1)[0]
    with open_runner(host_phone.serial, binary) as runner:
        _ = runner.target
        runner._result_file = "result.pb"  # of the classic tool, whose text says the same
        (result,) = runner.run([Job("a", to_tflite(job.graph), Effort(min_runs=30, min_ms=5.0))])
    assert result.kind == "ok" and result.summary is not None and result.summary.n >= 30


def test_two_phones_of_the_same_model(
    weak_phone: LabPhone, binary: RunnerBinary, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    jobs = make_jobs(4)
    with lab_phone(weak_phone.server, tmp_path / "second", cores="host") as second:
        for phone, name in ((weak_phone, "a"), (second, "b")):
            with open_runner(phone.serial, binary) as runner:
                run_campaign(runner, tmp_path / name, jobs)
            check_table(tmp_path / name, jobs)
        headers = [Table.open(tmp_path / name).header for name in "ab"]
        assert headers[0].target == headers[1].target
        assert headers[0].environment["unit"] != headers[1].environment["unit"]
        with (
            open_runner(second.serial, binary) as runner,
            pytest.raises(TargetMismatchError, match="another phone of the same model"),
        ):
            run_campaign(runner, tmp_path / "a", make_jobs(6))


@pytest.mark.parametrize("name", ["ro.build.fingerprint", "ro.serialno"])
def test_a_phone_that_comes_back_as_another(
    weak_phone: LabPhone, binary: RunnerBinary, tmp_path: Path, name: str
) -> None:
    def update() -> None:
        weak_phone.set_property(name, "another")
        weak_phone.link.cut()

    with (
        open_runner(weak_phone.serial, binary) as runner,
        pytest.raises(DeviceError, match="came back as another one"),
    ):
        run_campaign(Sabotaged(runner, MIDDLE, update), tmp_path / "table", make_jobs())


@pytest.mark.parametrize(
    "name", ["a b", "it's", 'say "x"', "; touch pwned;", "$(touch pwned)", "a\nb"]
)
def test_names_that_a_shell_would_run(
    host_phone: LabPhone, tool: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    path = folder / "benchmark_model"
    path.write_bytes(tool.read_bytes())
    jobs = make_jobs(2)
    models = [Job(f"{name} {job.id}", to_tflite(job.graph), job.effort) for job in jobs]
    with open_runner(host_phone.serial, find_binary(ABI, path=path), cores=LAST_CORE) as runner:
        results = list(runner.run(models))
    assert [(result.job_id, result.kind) for result in results] == [
        (model.id, "ok") for model in models
    ]
    found = host_phone.sh(f"find /data /tmp -name {shlex.quote('*pwned*')}")
    assert "pwned" not in found
