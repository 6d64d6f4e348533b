"""``latlas report``: a page about tables, models, predictors and studies."""

from __future__ import annotations

from pathlib import Path

import click

from latlas.console import FILE, FOLDER, emit, input_shapes_option, json_option, own_space_option


@click.command("report")
@click.argument(
    "sources",
    metavar="TABLE|PREDICTOR|STUDY...",
    type=click.Path(path_type=Path),
    nargs=-1,
    required=True,
)
@click.option("-o", "--output", type=FILE, help="The page, an .html file.")
@click.option("--png", type=FOLDER, help="Write every figure as a PNG into this folder.")
@click.option(
    "--model",
    "models",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Show where the time of these models goes, on the target of every table and predictor "
    "given: files that latlas predict takes, or folders of them.",
)
@click.option(
    "--table",
    "evaluated",
    type=FOLDER,
    multiple=True,
    help="Evaluate predictors on this table: every family of networks is left out in turn.",
)
@click.option(
    "--family",
    "rules",
    metavar="REGEX=NAME",
    multiple=True,
    help="Networks whose name matches are of the family NAME, for --table; as in latlas evaluate.",
)
@own_space_option
@input_shapes_option
@json_option
def main(
    sources: tuple[Path, ...],
    output: Path | None,
    png: Path | None,
    models: tuple[Path, ...],
    evaluated: tuple[Path, ...],
    rules: tuple[str, ...],
    input_shape: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write one page about latency tables, predictors and studies; it works offline.

    \b
    latlas report tables/pixel8-cpu tables/pixel8-gpu -o phone.html
    latlas report tables/pixel8-cpu gpu.latlas --model model.tflite -o model.html
    latlas report cpu.latlas --table tables/pixel8-cpu -o predictor.html
    latlas report studies/first -o study.html --png figures
    """
    from latlas.predictor.families import Families
    from latlas.profiler.errors import UsageError
    from latlas.report.page import write_page
    from latlas.report.png import write_figures
    from latlas.report.report import open_sources, report

    if output is None and png is None:
        raise UsageError("a report needs a place: -o PAGE.html, --png FOLDER, or both")
    families = Families.parse(rules)
    title, sections = report(open_sources(sources, evaluated, models, input_shape, families))
    document: dict[str, object] = {"title": title}
    text = []
    if output is not None:
        write_page(output, title, sections)
        document["page"] = str(output)
        text.append(f"page: {output}")
    if png is not None:
        files = write_figures(png, sections)
        document["figures"] = [str(file) for file in files]
        text.append(f"{len(files)} figures in {png}")
    emit(document, as_json, "\n".join(text))
