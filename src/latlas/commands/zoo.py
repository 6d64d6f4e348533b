"""``latlas zoo``: reference networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from latlas.console import FILE, emit, json_option, say, table


@click.command("zoo")
@click.argument("name", required=False)
@click.option("--tflite", type=FILE, help="Write the network with random weights to this file.")
@click.option("--resolution", type=click.IntRange(1, 4096), help="Height and width of the input.")
@click.option("--classes", type=click.IntRange(1, 1 << 20), default=1000, show_default=True)
@json_option
def main(
    name: str | None, tflite: Path | None, resolution: int | None, classes: int, as_json: bool
) -> None:
    """List reference networks with parameters and multiply-adds, or write NAME as .tflite."""
    from latlas.profiler.count import count
    from latlas.profiler.errors import ModelFileError, UsageError
    from latlas.profiler.files import write_atomically
    from latlas.profiler.fold import fold
    from latlas.profiler.tflite.writer import to_tflite
    from latlas.search import zoo

    if tflite is not None and name is None:
        raise UsageError("--tflite needs the name of a network; `latlas zoo` lists them")
    networks: list[dict[str, Any]] = []
    for each in [name] if name else zoo.names():
        graph = zoo.build(each, resolution, classes)
        size = count(graph)
        networks.append(
            {
                "name": each,
                "params": size.params,
                "madds": size.madds,
                "se_madds": size.se_madds,
                "resolution": graph.inputs[0][1],
                "classes": classes,
                "source": zoo.source(each),
            }
        )
        if tflite is not None:
            with write_atomically(tflite, ModelFileError) as file:
                file.write(to_tflite(fold(graph)))
            say(f"wrote {tflite}: {each}, random weights")
    rows = [
        (
            n["name"],
            f"{n['params']:,}",
            f"{n['madds'] / 1e6:,.1f}",
            f"{n['se_madds'] / 1e6:.2f}",
            n["resolution"],
            n["source"],
        )
        for n in networks
    ]
    header = ("network", "params", "MAdds M", "SE MAdds M", "resolution", "source")
    emit({"networks": networks}, as_json, table(header, rows))
