"""The verdict: what a run was bound by, with the figures that say so and what to try.

Each rule looks at one resource and returns a `Finding` only when captured figures
support it: nothing is concluded from what was not captured.  The finding that
explains the largest share of the run's time wins; the others are added as evidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeprof.profiler.analysis.data import RunData
from edgeprof.profiler.analysis.rules import (
    CLEAR_STALL,
    INPUT_STALL,
    IO_PRESSURE,
    MEMORY_PRESSURE,
    RULES,
    Finding,
    percent,
)
from edgeprof.profiler.analysis.symptoms import Symptoms

FEW_STEPS = 20
"""With fewer steps, warm-up weighs too much for high confidence."""


def judge(metrics: Iterable[Mapping[str, Any]], data: RunData) -> dict[str, Any]:
    """The verdict on a run.

    Args:
        metrics: rows of ``metrics.parquet`` (name, value, unit, phase, reason, how).
        data: the run's manifest and tables.

    Returns:
        ``bound_by`` (input, compute, memory, writeback, thermal or unknown), ``confidence``
        (high, medium, low), ``evidence`` and ``advice`` (sentences).
    """
    symptoms = Symptoms.of(metrics, data)
    found = [finding for rule in RULES if (finding := rule(symptoms))]
    if not found:
        return _unknown(symptoms)
    best = max(found, key=lambda finding: finding.share)
    others = [finding for finding in found if finding is not best]
    evidence = [*best.evidence, *(f"Also {other.bound_by}: {_lower(other.evidence[0])}" for other in others)]
    confidence = _confidence(best, others, symptoms)
    return {"bound_by": best.bound_by, "confidence": confidence, "evidence": evidence, "advice": list(best.advice)}


def with_roles(verdict: dict[str, Any], sentences: Sequence[str]) -> dict[str, Any]:
    """The verdict on a run of several programs: what each role waited for comes first."""
    if not sentences:
        return verdict
    advice = [
        "Leave the role that used most of what others waited for out, or limit it (fewer threads, a lower rate), and"
        " run again: the difference is the proof."
    ]
    evidence = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences]
    if verdict["bound_by"] != "unknown":
        evidence += verdict["evidence"]
        advice += verdict["advice"]
    return {**verdict, "evidence": evidence, "advice": advice}


def _confidence(best: Finding, others: list[Finding], seen: Symptoms) -> str:
    rival = max((other.share for other in others), default=0.0)
    if not best.strong or (seen.interrupted and best.share < CLEAR_STALL):
        return "low" if rival > 0.7 * best.share else "medium"
    if rival > 0.7 * best.share or (seen.steps is not None and seen.steps < FEW_STEPS):
        return "medium"
    return "high"


def _lower(sentence: str) -> str:
    return sentence if sentence[1:2].isupper() else sentence[0].lower() + sentence[1:]


def _unknown(seen: Symptoms) -> dict[str, Any]:
    evidence, advice = [], []
    for name, threshold, what in (
        ("data_stall", INPUT_STALL, "The wait for input"),
        ("psi_memory_some", MEMORY_PRESSURE, "The wait for memory"),
        ("psi_io_some", IO_PRESSURE, "The wait for I/O"),
    ):
        value = seen.value(name)
        if value is None:
            evidence.append(f"{what[0].upper()}{what[1:]} is not known: {seen.reason(name)}.")
        elif value < threshold:
            evidence.append(f"{what[0].upper()}{what[1:]} took {percent(value)}, too little to explain much.")
        else:
            evidence.append(
                f"{what[0].upper()}{what[1:]} took {percent(value)}, which nothing else that was seen explains."
            )
    if seen.value("data_stall") is None:
        advice.append("Run PyTorch programs with --auto, or call edgeprof.phase() and edgeprof.step().")
    if seen.value("psi_io_some") is None:
        advice.append("`edgeprof doctor` says how to get pressure stall information on this machine.")
    if seen.seconds is not None and seen.seconds < 2:
        advice.append(f"The run took only {seen.seconds:.2g} s; a longer one gives more samples.")
    advice = advice or ["Nothing that was captured was near its limit: compare with a run that has one thing changed."]
    return {"bound_by": "unknown", "confidence": "low", "evidence": evidence, "advice": advice}
