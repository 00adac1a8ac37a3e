"""The words of the page: what its script does not draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprof.dashboards.matrix_report.data import title
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.statistics import summary
from edgeprof.profiler.statistics.answer import Answer
from edgeprof.profiler.statistics.cells import Key, cells_of, key_of, levels_of, name_of
from edgeprof.profiler.statistics.scale import back, forward
from edgeprof.profiler.units import human


@dataclass(frozen=True)
class Told:
    """The page in words.

    Attributes:
        tiles: title and value of each key figure.
        failed: cell, repeat and reason of each run without figures.
        missing: what could not be computed, and why.
        constant: axes with one level, with that level.
    """

    headline: str
    sure: bool
    evidence: Sequence[str]
    sureness: Sequence[str]
    tiles: Sequence[tuple[str, str]]
    failed: Sequence[tuple[str, str, str]]
    missing: Sequence[tuple[str, str]]
    constant: Sequence[tuple[str, str]]
    method: Sequence[str]


def told(found: Answer) -> Told:
    """Everything that is said in words, clean of control characters."""
    main = found.metrics.get(found.headline or "")
    return Told(
        headline=_words(summary.headline(found, lambda name: title(name).lower())),
        sure=main is not None and any(effect.shown for effect in main.effects),
        evidence=[_words(sentence) for sentence in summary.evidence(found)],
        sureness=[_words(sentence) for sentence in summary.sureness(found)],
        tiles=_tiles(found),
        failed=[
            (cell_name(found, key_of(found.study, run)), str(run.repeat), clean(run.failed)) for run in found.failed
        ],
        missing=_missing(found),
        constant=[
            (clean(axis), clean(levels[0])) for axis, levels in levels_of(found.study).items() if len(levels) == 1
        ],
        method=summary.METHOD,
    )


def _words(text: str) -> str:
    """A sentence whose numbers are not parted from their percent signs at the end of a line."""
    return clean(text).replace(" %", "\u00a0%")


def cell_name(found: Answer, key: Key) -> str:
    """A cell's name, clean."""
    return clean(name_of(found.study, key))


def _tiles(found: Answer) -> list[tuple[str, str]]:
    ran = len(found.study.cells) - len(found.failed)
    tiles = [
        ("Runs with figures", human(ran, "count")),
        ("Failed", human(len(found.failed), "count")),
        ("Cells", human(found.cells, "count")),
    ]
    main = found.metrics.get(found.headline or "")
    if main is None or main.cells < 2:
        return tiles
    means = {
        key: back(float(forward(values, main.scale).mean()), main.scale) or 0.0
        for key, values in cells_of(found.study, main.about.name).items()
    }
    names = ("Lowest", "Highest") if main.about.better is None else ("Best cell", "Worst cell")
    ends = [min(means, key=means.__getitem__), max(means, key=means.__getitem__)]
    if main.about.better == "higher":
        ends.reverse()
    for name, key in zip(names, ends, strict=True):
        tiles.append((f"{name}: {cell_name(found, key)}", human(means[key], main.about.unit)))
    return tiles


def _missing(found: Answer) -> list[tuple[str, str]]:
    lines = [(title(name), clean(reason)) for name, reason in found.absent.items()]
    main = found.metrics.get(found.headline or "")
    if main is not None:
        lines += [
            (
                f"Effect of {clean(effect.factor)} {clean(effect.level)} on {title(main.about.name).lower()}",
                clean(effect.reason),
            )
            for effect in main.effects
            if effect.reason and not effect.shown and not (effect.estimate and effect.estimate.value == 0)
        ]
        if main.variance.reason:
            lines.append((f"Variance of {title(main.about.name).lower()}", clean(main.variance.reason)))
    return lines
