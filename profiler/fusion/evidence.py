"""What measurements say about fusion: for every pair of operators three times and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from latlas.profiler.fusion.detected import DetectedRules
from latlas.profiler.target import Target

FusionVerdict = Literal["fused", "not fused", "undecided"]
VERDICTS: tuple[FusionVerdict, ...] = ("fused", "not fused", "undecided")

Case = Literal["pair", "several readers", "second input", "broadcast", "chain"]
CASES: tuple[Case, ...] = ("pair", "several readers", "second input", "broadcast", "chain")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured of operators that follow each other.

    Attributes:
        case: ``pair`` is one operator behind another. In ``several readers`` the value between
            them has another reader, in ``second input`` it is not the first input of the second,
            in ``broadcast`` besides smaller than the result, and in ``chain`` there are three.
        types: of the operators, in order.
        first_us: what the operators before the last cost, microseconds.
        last_us: what the last one costs.
        joined_us: what all of them cost in one model.
        share: what the model saves, over the cheaper of the two.
        error: standard error of `share`.
        p: probability of a share that far from the threshold by chance; 1 where nothing was
            measured.
        verdict: whether they are run as one.
        reason: why it is undecided.
    """

    case: Case
    types: tuple[str, ...]
    first_us: float
    last_us: float
    joined_us: float
    share: float
    error: float
    p: float
    verdict: FusionVerdict
    reason: str = ""


@dataclass(frozen=True)
class FusionEvidence:
    """All that was found out about a delegate's fusion.

    Attributes:
        target: where it was measured.
        threshold: a share above it is fusion.
        elements: size of the values between the operators.
        evidence: one for each pair and case.
    """

    target: Target
    threshold: float
    elements: int
    evidence: tuple[Evidence, ...]

    def of(self, case: Case) -> tuple[Evidence, ...]:
        """Return the evidence of one case."""
        return tuple(each for each in self.evidence if each.case == case)

    @property
    def rules(self) -> DetectedRules:
        """The rules that the evidence amounts to; what is not decided does not merge."""
        return DetectedRules(
            fused=frozenset(
                (each.types[0], each.types[1])
                for each in self.of("pair")
                if each.verdict == "fused"
            ),
            several_readers=_always(self.of("several readers")),
            second_input=_always(self.of("second input")),
            broadcast=_always(self.of("broadcast")),
            chains=_always(self.of("chain")),
        )


def _always(cases: Sequence[Evidence]) -> bool:
    """Tell whether all cases that are decided, at least one, are fused."""
    decided = {each.verdict for each in cases} - {"undecided"}
    return decided == {"fused"}
