"""What README and docs/ show for phones runs, on the tests' phone.

Pages are walked from their first command to their last, each on what those before have left: the
guide of the first phone whole and by itself, of the others what asks a phone, on small real things.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from phone.conftest import ABI, LAST_CORE
from phone_lab.lab import LabPhone, lab_phone
from running import (
    NEEDS_A_PHONE,
    Prototypes,
    command_text,
    read_by,
    run,
    short,
)
from shown import PAGES, ROOT, Shown, shell_commands

from latlas.profiler.litert.local import GpuProbe

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("runner")]
GUIDE = ROOT / "docs" / "first-phone.md"
NOT_HERE = r"--fetch-runner"
"""What downloads: tests/cli/test_doctor.py."""
LITTLE = (
    # pattern of a command, options that make it short on a phone
    (r" --space moga", "--resolution 32 --classes 10"),
    (r"^latlas profile (?!.*--plan)", "--budget 2m --networks 8 --samples 40 --warmup-ms 0"),
    (r"^latlas profile (?!.*--plan)", "--no-vocabulary"),
    (r"^latlas fit --few-shot", "--few-shot 6"),
    (r"^latlas fusion detect .*gpu", "--types relu6 --elements 262144"),
    (r"--fusion-rules", "--budget 5s"),
    (r"^latlas verify .*gpu", "--most 1"),
    (r"^latlas search .*device:", "--evaluations 2"),
)


@pytest.fixture
def other(host_phone: LabPhone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabPhone]:
    """A second phone beside the first."""
    folder = tmp_path_factory.mktemp("other")
    with lab_phone(host_phone.server, folder, cores="host") as phone:
        phone.set_property("ro.product.cpu.abi", ABI)
        phone.set_property("ro.product.model", "Another")
        yield phone


def on(text: str, phone: LabPhone, other: LabPhone) -> str:
    """Return a command for phones that are there: their serial numbers, cores and GPU."""
    text = text.replace("SERIAL", phone.serial).replace("--cores 8", f"--cores {LAST_CORE}")
    text = text.replace("OTHER", other.serial)
    return re.sub(r"\bcpu-8\b", f"cpu-{LAST_CORE}", text).replace("gpu-opencl", "gpu-opengl")


def little(text: str) -> list[str]:
    more = [options.split() for pattern, options in LITTLE if re.search(pattern, text)]
    return [*short(text), *chain(*more)]


def same(text: str) -> str:
    """Return a command without what it reads and writes, and on which phone.

    Several sources are as good as one: tests/cli/test_fit.py learns from two.
    """
    text = re.sub(r"tables/\S+|\S+\.latlas", "FILE", text.replace("OTHER", "SERIAL"))
    return re.sub("( --from FILE)+", " --from FILE", text)


def shown_for_phones() -> dict[str, list[Shown]]:
    """Return what is walked by page: all of the guide, and of the others what asks a phone.

    What differs from a command of the guide by its files alone is left out.
    """
    pages: dict[str, list[Shown]] = {}
    walked: set[str] = set()
    for page in sorted(PAGES, key=lambda path: path != GUIDE):
        for shown in shell_commands(page):
            text = command_text(shown)
            asks = re.search(NEEDS_A_PHONE, text) and same(text) not in walked
            if (asks or page == GUIDE) and not re.search(NOT_HERE, text):
                pages.setdefault(shown.page, []).append(shown)
                walked.add(same(text))
    return pages


WALKS = shown_for_phones()


@pytest.mark.parametrize("page", WALKS)
def test_page(
    page: str,
    host_phone: LabPhone,
    other: LabPhone,
    gpu: GpuProbe,
    prototypes: Prototypes,
    tmp_path: Path,
) -> None:
    for shown in WALKS[page]:
        text = command_text(shown)
        here = on(text, host_phone, other)
        words = [*Shown(shown.page, shown.line, "sh", here).words, *little(text)]
        if page != f"docs/{GUIDE.name}":
            prototypes.put(read_by(words), tmp_path)
        try:
            status = run(words, tmp_path)
        except Exception as problem:
            raise AssertionError(f"{shown}\ndoes not run: {problem!r}") from problem
        assert not status, f"{shown}: exit code {status}"
