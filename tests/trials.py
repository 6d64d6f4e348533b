from math import nan

from latlas.search.protocols import Genes, Trial


def trial_with(
    genes: Genes,
    accuracy: float = nan,
    latency_ms: float = nan,
    params: float = nan,
    *,
    error: str = "",
) -> Trial:
    values = {"accuracy": accuracy, "latency_ms": latency_ms, "params": params}
    return Trial(genes, values, error)
