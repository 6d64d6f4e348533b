"""One batch of models on a phone: sent together, run by one script, their outputs as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from latlas.profiler.adb.phone import FOLDER, Phone
from latlas.profiler.benchmark_model.command import Execution, benchmark_command
from latlas.profiler.benchmark_model.installation import Installation
from latlas.profiler.benchmark_model.script import (
    NO_AFFINITY,
    BatchReader,
    CommandOutput,
    batch_command,
    new_word,
)
from latlas.profiler.cores import format_cores
from latlas.profiler.errors import (
    DamagedTransfer,
    DeviceCommandError,
    DeviceError,
    DeviceTimeout,
    RunnerError,
)
from latlas.profiler.runner import Job

_PUSH_S = 60.0
_PUSH_BYTES_PER_S = 1e6  # slower than any cable that works
_ANSWER_S = 10.0
_SEND_TRIES = 3


class JobTimeout(Exception):
    """One model did not end in time, on a phone that is there."""


@dataclass
class Batch:
    """Models to be run one after the other.

    Args:
        phone: where.
        installation: of the benchmark binary.
        execution: how it runs the models.
        mask: affinity as a hexadecimal number without 0x; empty for no wish.
        lists_operators: whether jobs that want it are run once more, profiled.
        result_file: that the binary is to write and that is brought back; empty for none.
        timeout_s: seconds that a model may take beyond twice what its effort allows.
        say: told what people should know.
        jobs: at least one.

    Attributes:
        began: whether a model may have been run.
        spent_s: seconds that the binary has run, process starts included, by the phone's clock.
    """

    phone: Phone
    installation: Installation
    execution: Execution
    mask: str
    lists_operators: bool
    result_file: str
    timeout_s: float
    say: Callable[[str], None]
    jobs: Sequence[Job]
    began: bool = False
    spent_s: float = 0.0

    def outputs(self) -> Iterator[tuple[CommandOutput, ...]]:
        """Run the jobs once; yield the outputs of each, the timed run's and the profiled one's.

        Raises:
            JobTimeout: the first job without outputs did not end in time.
            RunnerError: that job disturbed the batch.
            DeviceError: the phone is gone or refuses.
        """
        word = new_word()
        folder = f"{FOLDER}/run-{word}"
        self._send({f"{folder}/{i}.tflite": job.model for i, job in enumerate(self.jobs)})
        commands = self._commands()
        command = batch_command(word, self.mask, folder, commands, self.result_file)
        name = f"{self.installation.path} for {len(self.jobs)} models"
        reader = BatchReader(word, self.mask)
        done: list[CommandOutput] = []
        ahead = list(self.jobs)
        seconds = self._allowance_s(ahead[0])
        try:
            with self.phone.transport.start(command, seconds, name) as running:
                self.began = True
                for stream, data in running.output():
                    for output in reader.feed(stream, data):
                        self.spent_s += output.spent_s or 0.0
                        done.append(output)
                        if len(done) < len(self._passes(ahead[0])):
                            continue
                        yield tuple(done)
                        done = []
                        del ahead[0]
                        if ahead:
                            running.allow(self._allowance_s(ahead[0]))
                if ahead and running.exit_code == NO_AFFINITY:
                    mask = int(self.mask, 16)
                    cores = format_cores(i for i in range(mask.bit_length()) if mask >> i & 1)
                    raise running.failure(
                        f"it refuses the cores {cores} (mask {self.mask}): choose others, "
                        "`latlas devices --json` lists them"
                    )
                if ahead:
                    raise RunnerError(f"it ended the batch: {running.failure()}")
        except DeviceTimeout as late:
            # Is it the model that hangs, or the phone?
            self._remove(folder)
            if ahead:
                seconds = self._allowance_s(ahead[0])
                text = f"it did not end within {seconds:.0f} s, and was ended"
                raise JobTimeout(text) from late
        except (RunnerError, DeviceCommandError):  # it did not come to its last line
            with suppress(DeviceError):
                self._remove(folder)
            raise

    def _remove(self, folder: str) -> None:
        self.phone.transport.run(["rm", "-rf", folder], _ANSWER_S)

    def _send(self, contents: Mapping[str, bytes]) -> None:
        """Send models; a transfer that arrives damaged is repeated."""
        seconds = _PUSH_S + sum(map(len, contents.values())) / _PUSH_BYTES_PER_S
        for attempt in range(_SEND_TRIES):
            try:
                self.phone.transport.push_files(contents, seconds)
                return
            except DamagedTransfer as problem:
                if attempt == _SEND_TRIES - 1:
                    raise
                self.say(f"sent again: {problem}")

    def _commands(self) -> list[list[str]]:
        return [
            benchmark_command(
                self.installation.path,
                f"{i}.tflite",
                job.effort,
                self.execution,
                profile=profile,
                result_file=self.result_file,
            )
            for i, job in enumerate(self.jobs)
            for profile in self._passes(job)
        ]

    def _passes(self, job: Job) -> tuple[bool, ...]:
        """Return whether each of a job's runs is profiled."""
        return (False, True) if job.profile and self.lists_operators else (False,)

    def _allowance_s(self, job: Job) -> float:
        effort, passes = job.effort, len(self._passes(job))
        return self.timeout_s + 2 * passes * (effort.warmup_ms + effort.max_ms) / 1e3
