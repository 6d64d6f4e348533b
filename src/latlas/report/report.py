"""A report on whatever is given: tables, predictors, studies, and models on their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from latlas.console import load_models, printable
from latlas.predictor import file
from latlas.predictor.families import Families
from latlas.profiler.errors import UsageError
from latlas.profiler.table import JOURNAL, Table
from latlas.report.comparison_report import comparison_report
from latlas.report.figure import Section
from latlas.report.table_report import table_report

if TYPE_CHECKING:
    from latlas.predictor.predictor import LatencyPredictor
    from latlas.profiler.graph import Graph
    from latlas.search.study import Study

MAX_COMPARED = 4
"""Of more tables, not every pair is shown side by side, but each beside the first."""


@dataclass(frozen=True)
class Sources:
    """What a report is about, each by the name that the user gives it.

    Attributes:
        tables: to be shown.
        predictors: to be shown.
        studies: to be shown.
        evaluated: tables on which predictors are evaluated.
        models: whose time is broken down on the targets of tables and predictors.
        families: by which networks are left out together.
    """

    tables: Mapping[str, Table]
    predictors: Mapping[str, LatencyPredictor]
    studies: Mapping[str, Study]
    evaluated: Mapping[str, Table]
    models: Mapping[str, Graph]
    families: Families


def open_sources(
    paths: Sequence[Path],
    evaluated: Sequence[Path] = (),
    models: Sequence[Path] = (),
    input_shape: Sequence[str] = (),
    families: Families | None = None,
) -> Sources:
    """Open what a user names.

    Args:
        paths: tables, predictors and studies, told apart by what they are.
        evaluated: tables to evaluate predictors on.
        models: .tflite files, and folders of them.
        input_shape: see `latlas.console.load_models`.
        families: by which networks are left out together, to evaluate predictors.

    Raises:
        UsageError: something is none of these, or does not fit the rest.
        LatlasError: something cannot be read.
    """
    from latlas.search.study import Study

    tables: dict[str, Table] = {}
    predictors: dict[str, LatencyPredictor] = {}
    studies: dict[str, Study] = {}
    for path in paths:
        name = printable(path)
        if (path / "study.json").exists():
            studies[name] = Study.open(path)
        elif (path / JOURNAL).exists():
            tables[name] = Table.open(path)
        elif path.is_file():
            if path.suffix in (".tflite", ".onnx", ".keras", ".h5", ".pt2"):
                raise UsageError(f"{path} is a model: give it with --model, beside a table")
            predictors[name] = file.load(path)
        else:
            raise UsageError(
                f"{path} is no table ({JOURNAL}), no study (study.json) and no predictor's file"
            )
    if evaluated and not predictors:
        raise UsageError("--table says what predictors are evaluated on, and none is given")
    if models and not (tables or predictors):
        raise UsageError("--model needs a table or a predictor that knows a target's latencies")
    return Sources(
        tables,
        predictors,
        studies,
        {printable(path): Table.open(path) for path in evaluated},
        load_models(models, input_shape) if models else {},
        families or Families(),
    )


def report(sources: Sources) -> tuple[str, list[Section]]:
    """Return the title and the sections of a report.

    Raises:
        LatlasError: something holds what it should not, or nothing can be said of it.
    """
    from latlas.report.model_report import model_report
    from latlas.report.predictor_report import predictor_report
    from latlas.report.study_report import study_report

    sections: list[Section] = []
    for name, graph in sources.models.items():
        sections += model_report(graph, name, sources.tables, sources.predictors)
    for name, study in sources.studies.items():
        sections += study_report(study, name)
    for name, predictor in sources.predictors.items():
        sections += predictor_report(
            *(predictor, name, sources.evaluated, sources.families),
            progress=partial(tqdm, unit="fit", disable=None),
        )
    pairs = list(combinations(sources.tables.items(), 2))
    if len(sources.tables) > MAX_COMPARED:
        pairs = pairs[: len(sources.tables) - 1]
    for (a, first), (b, second) in pairs:
        sections += comparison_report(first, second, (a, b))
    for name, table in sources.tables.items():
        sections += table_report(table, name)
    subjects = [section.title for section in sections if section.level == 1]
    title = subjects[0] if len(subjects) == 1 else f"latlas report: {len(subjects)} parts"
    return title, sections
