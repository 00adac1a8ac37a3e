"""Comparison of runs, each against the first: differences of metrics, factors and host facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.conditions import caution
from edgeprof.profiler.dataset import metrics_of

if TYPE_CHECKING:
    from edgeprof.profiler.run import Run

CAUTION = "One run each says nothing on significance: repeat both, interleaved, before concluding from a difference."

_NOT_COMPARED = {"mounts", "cmdline", "swaps", "kernel_version"}
"""Host facts that differ without meaning, or are told by others."""


def compare(runs: Sequence[Run]) -> dict[str, Any]:
    """Compare runs with the first of them.

    Returns:
        ``runs`` (id, name, path of each), ``metrics`` (name, unit, ``values`` of each run, and
        ``differences`` and ``relative`` differences of each further run from the first, with
        ``reasons`` of values that are null), ``factors`` and ``host`` (name, values; only those
        that differ), ``caution``, ``marked`` (a sentence for each run that is marked).

    Raises:
        DamagedMetrics: the metrics of one of them cannot be read.
    """
    return {
        "runs": [_identity(run) for run in runs],
        "metrics": _metric_rows([metrics_of(run.inside) for run in runs]),
        "factors": differing([run.manifest.get("factors") or {} for run in runs]),
        "host": differing([comparable(run.manifest.get("host") or {}) for run in runs]),
        "caution": CAUTION,
        "marked": caution(runs),
    }


def _identity(run: Run) -> dict[str, Any]:
    part = run.manifest["run"]
    return {"id": part.get("id"), "name": part.get("name"), "path": str(run.path)}


def _metric_rows(metrics: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(name for each in metrics for name in each))
    rows = []
    for name in names:
        entries = [each.get(name) for each in metrics]
        values = [entry["value"] if entry else None for entry in entries]
        base, others = values[0], values[1:]
        rows.append(
            {
                "name": name,
                "unit": next(entry["unit"] for entry in entries if entry),
                "values": values,
                "differences": [_difference(base, other) for other in others],
                "relative": [_relative(base, other) for other in others],
                "reasons": [entry["reason"] if entry else "the run has no such metric" for entry in entries],
            }
        )
    return rows


def _difference(base: float | None, other: float | None) -> float | None:
    return None if base is None or other is None else other - base


def _relative(base: float | None, other: float | None) -> float | None:
    """(other - base) / |base|; None where that has no meaning, also from 0 to something."""
    difference = _difference(base, other)
    if difference is None or base is None:
        return None
    if base == 0:
        return 0.0 if difference == 0 else None
    return difference / abs(base)


def comparable(host: Mapping[str, Any]) -> dict[str, Any]:
    """Host facts, flat or not, without those that differ without meaning."""
    return {key: value for key, value in host.items() if key.partition(".")[0] not in _NOT_COMPARED}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one level with dotted names; lists stay as they are."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def differing(trees: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Names whose values are not the same in all trees, with the value in each (None where absent)."""
    flats = [flatten(tree) for tree in trees]
    names = list(dict.fromkeys(name for flat in flats for name in flat))
    rows = [{"name": name, "values": [flat.get(name) for flat in flats]} for name in names]
    return [row for row in rows if any(value != row["values"][0] for value in row["values"][1:])]
