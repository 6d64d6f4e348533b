"""What a campaign measures, and in which order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from latlas.profiler.graph import Graph
from latlas.profiler.kernel import Kernel
from latlas.profiler.runner import Effort

DEFAULT_EFFORT = Effort()


@dataclass(frozen=True, slots=True)
class CampaignJob:
    """A graph to be measured.

    Attributes:
        id: names the job in the table, unique and stable over sessions.
        name: for people.
        unit: ``kernel``, ``network``, ``probe`` …; every unit is spread over the whole campaign.
        graph: in inference form.
        effort: how long it is run.
        profile: whether per-operator times are wanted.
    """

    id: str
    name: str
    unit: str
    graph: Graph
    effort: Effort = DEFAULT_EFFORT
    profile: bool = False


def network_id(name: str) -> str:
    """Return the id of the job that measures a whole network."""
    return f"network:{name}"


def kernel_id(kernel: Kernel) -> str:
    """Return the id of the job that measures a kernel alone."""
    return f"kernel:{kernel.text}"


def interleave(jobs: Sequence[CampaignJob], seed: int) -> list[CampaignJob]:
    """Return jobs in random order, those of every unit spread evenly over the whole.

    Few networks among many kernels would otherwise cluster by chance, and a table is calibrated
    on them: they should see every state that the device went through.
    """
    rng = random.Random(seed)
    units: dict[str, list[CampaignJob]] = {}
    for job in jobs:
        units.setdefault(job.unit, []).append(job)
    placed: list[tuple[float, str, CampaignJob]] = []
    for members in units.values():
        rng.shuffle(members)
        places = ((i + rng.random()) / len(members) for i in range(len(members)))
        placed += [(place, job.id, job) for place, job in zip(places, members, strict=True)]
    return [job for _, _, job in sorted(placed, key=lambda item: item[:2])]
