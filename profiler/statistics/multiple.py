"""Several questions to one set of runs: p values corrected so that all answers together stay true."""

from __future__ import annotations

from collections.abc import Sequence

HOW = (
    "p values are corrected by Holm's method: the chance that anything at all is called different which is not"
    " stays at or below 5 %"
)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Corrected p values, in the order given; what has none stays None and is not counted.

    Holm's step-down method bounds the chance of one false finding among all, whatever hangs together with what
    (Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979).
    Benjamini and Hochberg's method, which bounds the share of false findings, would find more, but a gate in CI or a
    table that people act on should not be wrong in one line of twenty; and the metrics of a run hang together.
    """
    ranked = sorted((value, place) for place, value in enumerate(values) if value is not None)
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (value, place) in enumerate(ranked):
        highest = max(highest, min(1.0, value * (len(ranked) - rank)))
        corrected[place] = highest
    return corrected


def strictest(corrected: Sequence[float | None], alpha: float = 0.05) -> float:
    """The level at which the next finding would have been made: ``alpha`` / number of those not found.

    It is what the smallest difference that could have been shown is computed with.
    """
    left = sum(1 for value in corrected if value is not None and value > alpha)
    return alpha / max(left, 1)
