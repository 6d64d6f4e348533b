"""Accuracies that were found out, in a journal, by all that they depend on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latlas.profiler.errors import SearchError
from latlas.profiler.journal import Fields, JournalWriter


def kept_accuracy(path: Path, identity: object, find_out: Callable[[], float]) -> float:
    """Return an accuracy from a journal; find it out and keep it where it is not there.

    Args:
        path: of the journal.
        identity: what the accuracy depends on, plain values as in JSON.
        find_out: returns it, a fraction; NaN where it failed, which may have been the machine's
            fault, and is not kept.

    Raises:
        SearchError: the journal is damaged, or another process writes it.
    """
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    known: dict[str, float] = {}

    def replay(record: Mapping[str, Any]) -> None:
        get = Fields(record, SearchError)
        known[get.text("key")] = get.number("accuracy", 0, 1)

    with JournalWriter(path, replay, SearchError) as writer:
        if key not in known:
            value = float(find_out())
            if not 0 <= value <= 1:
                return math.nan
            known[key] = value
            writer.append([{"key": key, "accuracy": value}], sync=True)
    return known[key]
