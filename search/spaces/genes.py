"""Chromosomes: small integers, one choice each; checks, text, change of a gene."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from latlas.profiler.errors import SearchError
from latlas.search.protocols import Genes

MAX_GENES = 4096
"""No chromosome has more genes."""

_TEXT = re.compile(r"[0-9]{1,6}(?:[ ,]+[0-9]{1,6})*")


def require_genes(name: str, choices: Sequence[int], genes: Sequence[int]) -> None:
    """Raise `SearchError` unless genes are one choice each."""
    if len(genes) == len(choices) and all(
        gene in range(count) for gene, count in zip(genes, choices, strict=True)
    ):
        return
    most = sorted({count - 1 for count in choices})
    bounds = f"0…{most[0]}" if len(most) == 1 else f"0…{most[0]} to 0…{most[-1]}"
    raise SearchError(
        f"a chromosome of {name} is {len(choices)} integers in {bounds}, not {tuple(genes)}"
    )


def format_genes(genes: Sequence[int]) -> str:
    """Return a chromosome as text.

    >>> format_genes((3, 0, 11))
    '3,0,11'
    """
    return ",".join(map(str, genes))


def parse_genes(text: str) -> Genes:
    """Read a chromosome: integers between commas or spaces. The space that it is for checks it.

    >>> parse_genes("3, 0, 11") == parse_genes("3 0 11") == (3, 0, 11)
    True

    Raises:
        SearchError: the text is no chromosome.
    """
    text = text.strip()
    if len(text) > 8 * MAX_GENES or not _TEXT.fullmatch(text):
        raise SearchError(
            f"a chromosome is integers between commas or spaces, e.g. 3,0,11, not {text!r:.80}"
        )
    genes = tuple([int(word) for word in text.replace(",", " ").split()])
    if len(genes) > MAX_GENES:
        raise SearchError(f"a chromosome has at most {MAX_GENES} genes, not {len(genes)}")
    return genes


def mutate_gene(
    genes: Sequence[int],
    choices: Sequence[int],
    positions: Sequence[int],
    rng: np.random.Generator,
) -> Genes:
    """Give one gene another of its choices; which gene and which choice are equally likely.

    Args:
        genes: a chromosome.
        choices: number of choices of every gene.
        positions: of the genes that may change; those with one choice never do.
        rng: source of randomness.

    >>> mutate_gene((0, 1, 0), (2, 2, 1), (0, 2), np.random.default_rng(0))
    (1, 1, 0)

    Raises:
        SearchError: none of them has another choice.
    """
    free = [position for position in positions if choices[position] > 1]
    if not free:
        raise SearchError("there is nothing to mutate: every gene has a single choice")
    position = free[int(rng.integers(len(free)))]
    count = choices[position]
    # One of the others: 1 … n-1 steps further on the circle of choices.
    other = (genes[position] + 1 + int(rng.integers(count - 1))) % count
    return (*genes[:position], other, *genes[position + 1 :])
