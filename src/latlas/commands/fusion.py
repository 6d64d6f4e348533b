"""``latlas fusion``: find out which operators a delegate runs as one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.console import FILE, FOLDER, emit, json_option, say, table
from latlas.targets import DeviceChoice, device_options, open_runner

if TYPE_CHECKING:
    from latlas.profiler.fusion.evidence import Evidence, FusionEvidence

_SIGNS = {"fused": "+", "not fused": ".", "undecided": "?"}


@click.group("fusion")
def main() -> None:
    """Find out which operators a delegate runs as one, and look at what was found.

    \b
    latlas fusion detect --device SERIAL --delegate gpu --table tables/fusion -o rules.toml
    latlas fusion show rules.toml
    """


@main.command("detect")
@device_options
@click.option("-o", "--output", type=FILE, required=True, help="The rule file to write (TOML).")
@click.option(
    "--types",
    metavar="conv2d,relu6,…",
    help="Types of operators to pair; all there are samples of, if unset.",
)
@click.option(
    "--table",
    "folder",
    type=FOLDER,
    help="Keep the measurements here, so that an interrupted detection can go on.",
)
@click.option(
    "--rounds",
    type=click.IntRange(3, 1000),
    default=5,
    show_default=True,
    help="How often each model is measured; pairs that this leaves open get twice as many more.",
)
@click.option(
    "--elements",
    type=click.IntRange(1 << 10, 1 << 22),
    help="Size of the values between operators; found out, if unset.",
)
@json_option
def detect(
    choice: DeviceChoice,
    output: Path,
    types: str | None,
    folder: Path | None,
    rounds: int,
    elements: int | None,
    as_json: bool,
) -> None:
    """Measure pairs of operators alone and joined, decide, and write a rule file.

    `latlas fusion show FILE` explains it, `latlas profile --fusion-rules FILE` splits networks by
    it. Every model is compiled once for each round: with all types that is 450 models, and by
    default 2,200 runs of a second or less; three times as many where the device is not quiet.

    \b
    latlas fusion detect --device SERIAL --delegate gpu --table tables/fusion -o rules.toml
    latlas fusion detect --types conv2d,relu6,add -o few.toml
    """
    from latlas.profiler.fusion import rules_file
    from latlas.profiler.fusion.bench import CampaignBench
    from latlas.profiler.fusion.detect import Detection, DetectionSettings

    chosen = _parse_types(types)
    pairs = tuple(product(chosen, chosen))
    settings = DetectionSettings(rounds=rounds, more_rounds=2 * rounds, elements=elements or 0)
    with tempfile.TemporaryDirectory() as temporary, open_runner(choice) as runner:
        say(f"target: {runner.target}")
        where = folder or Path(temporary) / "fusion"
        found = Detection(CampaignBench(runner, where), pairs, settings, say).run()
    rules_file.save(found, output)
    document = describe(found) | {"rules": str(output)}
    emit(document, as_json, f"{report_text(found)}\nwrote {output}")


@main.command("show")
@click.argument("rules", type=FILE)
@json_option
def show(rules: Path, as_json: bool) -> None:
    """Print what the rule file RULES says.

    \b
    latlas fusion show rules.toml
    """
    from latlas.profiler.fusion import rules_file

    found = rules_file.load(rules)
    emit(describe(found) | {"rules": str(rules)}, as_json, report_text(found))


def _parse_types(text: str | None) -> Sequence[str]:
    from latlas.profiler.errors import UsageError
    from latlas.profiler.fusion.probes import TYPES

    if text is None:
        return TYPES
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in TYPES]:
        raise UsageError(
            f"no sample of operators of type {unknown[0]!r:.60}; there are {', '.join(TYPES)}"
        )
    return names


def describe(found: FusionEvidence) -> dict[str, Any]:
    """Return what was found as a plain dictionary."""
    rules = found.rules
    return {
        "version": rules.version,
        "target": found.target.to_json(),
        "threshold": found.threshold,
        "elements": found.elements,
        "several_readers": rules.several_readers,
        "second_input": rules.second_input,
        "broadcast": rules.broadcast,
        "chains": rules.chains,
        "evidence": [asdict(each) for each in found.evidence],
    }


def report_text(found: FusionEvidence) -> str:
    """Return what was found for people: a matrix of pairs, the cases, and what is open."""
    rules = found.rules
    pairs = found.of("pair")
    cases = [each for each in found.evidence if each.case != "pair"]
    open_ = [each for each in found.evidence if each.verdict == "undecided"]
    lines = [
        f"target: {found.target}",
        f"fusion begins where {found.threshold:.0%} of the cheaper operator are saved "
        f"(values of {found.elements:,} elements)",
        "",
        _matrix(pairs),
        "rows are run before columns: + as one, . apart, ? undecided, empty: cannot follow",
        "",
    ]
    if cases:
        lines += [_rows(cases), ""]
    if open_:
        lines += ["undecided, taken as apart:", _rows(open_), ""]
    lines.append(
        f"rules {rules.version.partition(' ')[0]}: {len(rules.fused)} pairs; with several readers: "
        f"{_yes(rules.several_readers)}; through a second input: {_yes(rules.second_input)}; "
        f"if that is broadcast: {_yes(rules.broadcast)}; chains: {_yes(rules.chains)}"
    )
    return "\n".join(lines)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _matrix(pairs: Sequence[Evidence]) -> str:
    names = list(dict.fromkeys(name for each in pairs for name in each.types))
    signs = {each.types: _SIGNS[each.verdict] for each in pairs}
    rows = [(a, *(signs.get((a, b), "") for b in names)) for a in names]
    return table(("", *(name[:8] for name in names)), rows)


def _rows(evidence: Sequence[Evidence]) -> str:
    rows = [
        (
            " + ".join(each.types),
            each.case,
            f"{each.first_us:.2f}",
            f"{each.last_us:.2f}",
            f"{each.joined_us:.2f}",
            f"{each.share:.2f} ± {each.error:.2f}",
            each.verdict if not each.reason else f"{each.verdict}: {each.reason:.60}",
        )
        for each in evidence
    ]
    header = ("operators", "case", "first us", "last us", "joined us", "saved share", "verdict")
    return table(header, rows)
