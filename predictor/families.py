"""Families of networks: what resembles each other so much that it must be left out together.

A predictor that has seen a MobileNetV2 of width 0.75 knows nearly everything about that of width
1.0. Only networks of families that it has not seen say how good it is on new ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from latlas.profiler.errors import UsageError

_GENERAL = re.compile(r"general-\d+-\d+-([a-z]+)")  # `latlas.profiler.samples.networks`
_VERSIONED = re.compile(r"([a-z]+?)[-_ ]?(v\d+)")
_WORD = re.compile(r"[a-z]+|\d+")


def leading_word(name: str) -> str:
    """Return the family that a network's name suggests: its leading word, with a version.

    Folders, ``.tflite`` and capitals do not count. A version is a ``v`` and digits. Random networks
    of ``--space general`` are of the family that their name ends with.

    >>> leading_word("models/mobilenet_v2_1.0.tflite"), leading_word("MobileNetV2_100")
    ('mobilenet_v2', 'mobilenet_v2')
    >>> leading_word("efficientnet_b0"), leading_word("resnet50"), leading_word("moga-0-012")
    ('efficientnet', 'resnet', 'moga')
    >>> leading_word("general-0-017-bottleneck")
    'bottleneck'
    """
    stem = re.split(r"[/\\]", name)[-1].lower().removesuffix(".tflite")
    general = _GENERAL.match(stem)
    if general:
        return general[1]
    versioned = _VERSIONED.match(stem)
    if versioned:
        return "_".join(versioned.groups())
    word = _WORD.match(stem)
    return word[0] if word else stem


@dataclass(frozen=True)
class Families:
    """Names of families by patterns of networks' names; `leading_word` where none matches.

    Attributes:
        patterns: regular expressions and the family that each stands for, tried in order; the
            first that occurs anywhere in the name wins.
    """

    patterns: tuple[tuple[re.Pattern[str], str], ...] = ()

    @staticmethod
    def parse(rules: Sequence[str]) -> Families:
        """Read rules of the form ``REGEX=NAME``; the last ``=`` separates them.

        >>> Families.parse(["^(?!.*squeeze).*resnet=residual"]).of("wide_resnet50")
        'residual'

        Raises:
            UsageError: a rule has another form, or no valid regular expression.
        """
        patterns = []
        for rule in rules:
            expression, separator, name = rule.rpartition("=")
            try:
                pattern = re.compile(expression)
            except (re.error, RecursionError, OverflowError) as problem:
                raise UsageError(
                    f"--family {rule!r}: {expression!r} is no regular expression: {problem}"
                ) from None
            if not (separator and expression and name.strip()):
                raise UsageError(
                    f"--family takes REGEX=NAME such as '^mobilenet_v2=mobilenet_v2', got {rule!r}"
                )
            patterns.append((pattern, name.strip()))
        return Families(tuple(patterns))

    def of(self, name: str) -> str:
        """Return the family of a network."""
        for pattern, family in self.patterns:
            if pattern.search(name):
                return family
        return leading_word(name)
