"""``latlas zoo``: reference networks."""

from __future__ import annotations

from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latlas.console import FILE, emit, json_option, say, table

if TYPE_CHECKING:
    from collections.abc import Sequence

_FIGURES = {
    "params": "{:,} params",
    "madds": "{:,} multiply-adds",
    "top1_percent": "top-1 {:g}%",
    "map_percent": "mAP {:g}%",
    "pixel1_ms": "Pixel 1 {:g} ms",
}


@click.command("zoo")
@click.argument("name", required=False)
@click.option("--tflite", type=FILE, help="Write the network with random weights to this file.")
@click.option("--resolution", type=click.IntRange(1, 4096), help="Height and width of the input.")
@click.option(
    "--classes",
    type=click.IntRange(1, 1 << 20),
    help="Number of classes.  [default: of the data set it was published for]",
)
@json_option
def main(
    name: str | None,
    tflite: Path | None,
    resolution: int | None,
    classes: int | None,
    as_json: bool,
) -> None:
    """List reference networks beside what is published about them, or write NAME as .tflite.

    NAME may have wildcards ('mobilenet_v2*'), or be another width and resolution of a network
    (mnasnet_a1_0.75_160) or a detector on it (moga_a_ssdlite_320). Multiply-adds are those of
    convolutions and fully connected layers, with squeeze-and-excitation; figures off are ours
    compared with the published ones.

    \b
    latlas zoo 'mobilenet_v2*'
    latlas zoo mobilenet_v3_large --tflite v3.tflite
    """
    from latlas.profiler.count import count
    from latlas.profiler.errors import ModelFileError, UsageError
    from latlas.profiler.files import write_atomically
    from latlas.profiler.fold import fold
    from latlas.profiler.tflite.writer import to_tflite
    from latlas.search import zoo

    if tflite is not None and name is None:
        raise UsageError("--tflite needs the name of a network; `latlas zoo` lists them")
    chosen = _chosen(name, zoo.names(variants=True))
    if tflite is not None and len(chosen) > 1:
        raise UsageError(f"--tflite takes one network, and {name} is {len(chosen)} of them")
    networks: list[dict[str, Any]] = []
    for each in chosen:
        graph = zoo.build(each, resolution, classes)
        size = count(graph)
        published = zoo.published(each) if resolution is None and classes is None else ()
        networks.append(
            {
                "name": each,
                "params": size.params,
                "madds": size.madds,
                "se_madds": size.se_madds,
                "resolution": graph.inputs[0][1],
                "classes": zoo.classes_of(each) if classes is None else classes,
                "source": zoo.source(each),
                "published": [asdict(figures) for figures in published],
            }
        )
        if tflite is not None:
            with write_atomically(tflite, ModelFileError) as file:
                file.write(to_tflite(fold(graph)))
            say(f"wrote {tflite}: {each}, random weights")
    header = (
        *("network", "resolution", "params", "published", "off", "MAdds M", "published", "off"),
        *("top-1 or mAP %", "Pixel 1 ms", "published in"),
    )
    text = table(header, [_row(each) for each in networks])
    if len(networks) == 1:
        text += "".join(_described(figures) for figures in networks[0]["published"])
    emit({"networks": networks}, as_json, text)


def _chosen(name: str | None, known: Sequence[str]) -> list[str]:
    from latlas.profiler.errors import UsageError

    if name is None:
        return list(known)
    if not any(letter in name for letter in "*?["):
        return [name]
    chosen = [each for each in known if fnmatchcase(each, name)]
    if not chosen:
        raise UsageError(f"no network of the zoo is like {name!r}; `latlas zoo` lists them")
    return chosen


def _row(network: dict[str, Any]) -> tuple[object, ...]:
    published = network["published"]
    madds = network["madds"] + network["se_madds"]
    first: dict[str, float | None] = published[0] if published else {}
    return (
        network["name"],
        network["resolution"],
        f"{network['params']:,}",
        *_compared(network["params"], first.get("params"), 2),
        f"{madds / 1e6:,.1f}",
        *_compared(madds, first.get("madds"), 1),
        _first(published, "top1_percent", "map_percent"),
        _first(published, "pixel1_ms"),
        first.get("source") or network["source"],
    )


def _compared(ours: float, theirs: float | None, digits: int) -> tuple[str, str]:
    """Return a published figure in millions, and how far off ours is."""
    if theirs is None:
        return "-", "-"
    return f"{theirs / 1e6:,.{digits}f}", f"{ours / theirs - 1:+.1%}"


def _first(published: Sequence[dict[str, Any]], *columns: str) -> str:
    """Return the figure of the first source that has one."""
    found = (each[column] for column in columns for each in published)
    return next((f"{figure:g}" for figure in found if figure is not None), "-")


def _described(figures: dict[str, Any]) -> str:
    """Return one source's figures as a line of text."""
    parts = [
        text.format(figures[key]) for key, text in _FIGURES.items() if figures[key] is not None
    ]
    if figures["status"] != "primary":
        parts.append(figures["status"])
    note = f"; {figures['note']}" if figures["note"] else ""
    return f"\n{figures['source']}: {', '.join(parts)}{note}"
