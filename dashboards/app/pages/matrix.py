"""A matrix: which factor matters, two factors at a time, its cells, and what is missing.

Addresses: ``matrix=PATH`` (of several), ``metric=NAME``, and ``x=AXIS`` and ``y=AXIS`` of the picture of two factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dash import html

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.figures import factors
from edgeprof.dashboards.app.kept import Kept
from edgeprof.dashboards.app.page import Context, Figure, Page
from edgeprof.dashboards.app.stamps import stamps
from edgeprof.dashboards.app.view import View, link
from edgeprof.dashboards.matrix_report import static
from edgeprof.dashboards.matrix_report.data import title
from edgeprof.dashboards.report.figures.base import Absent, Outcome
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.results import study
from edgeprof.profiler.matrix.state import Progress, read_state
from edgeprof.profiler.statistics.answer import Answer, MetricAnswer, answer
from edgeprof.profiler.statistics.cells import key_of, levels_of, varied
from edgeprof.profiler.statistics.scale import back, forward
from edgeprof.profiler.statistics.summary import ranked
from edgeprof.profiler.units import human

CELLS_SHOWN = 300


@dataclass(frozen=True)
class Found:
    """A matrix: where it is, how far it is, and its answer."""

    name: str
    path: Path
    progress: Progress
    answer: Answer


_answers: Kept[Found] = Kept(4)


def found(context: Context, view: View) -> Found:
    """The matrix that the address names, or the only one.

    Raises:
        EdgeprofError: there is none, or it cannot be read.
    """
    known = context.index.snapshot().matrices
    name = view.get("matrix") or (known[0] if known else "")
    if not name:
        raise EdgeprofError("no matrix was run in this folder; make one with `edgeprof matrix run SPEC.yaml`")
    path = context.folder if name == "." else context.path(name)

    def read() -> Found:
        try:
            return Found(name, path, read_state(path), answer(study(path, context.folder), view.get("metric") or None))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EdgeprofError(
                f"the state of the matrix {clean(name)} is damaged ({type(error).__name__}: {clean(error)});"
                " `edgeprof matrix run` its specification again writes it anew"
            ) from None

    return _answers.get((str(path), stamps(path), view.get("metric")), read)


def _metric(matrix: Found) -> MetricAnswer | None:
    return matrix.answer.metrics.get(matrix.answer.headline or "")


def _axes(matrix: Found, told: MetricAnswer, view: View) -> tuple[str, str]:
    """The factors of the picture of two: those chosen, else those that explain most."""
    names = [axis for _, axis, _ in varied(matrix.answer.study)] or list(matrix.answer.study.axes)
    order = [share.factors[0] for share in ranked(told)] + names
    order = list(dict.fromkeys(name for name in order if name in names)) or names
    x = view.get("x") if view.get("x") in names else order[0]
    y = view.get("y") if view.get("y") in names else next((name for name in order if name != x), x)
    return x, y


def _figure(key: str, heading: str, build: Any) -> Figure:
    def draw(context: Context, view: View) -> Outcome:
        matrix = found(context, view)
        told = _metric(matrix)
        if told is None:
            return Absent(key, heading, "no run of this matrix gave any figures", "see the runs that failed, below")
        return build(matrix, told, view)  # type: ignore[no-any-return]

    return Figure(key, heading, draw)


FIGURES = (
    _figure(
        "matrix-effects",
        "What each level does",
        lambda matrix, told, view: factors.effects("matrix-effects", "What each level does", told),
    ),
    _figure(
        "matrix-variance",
        "What explains the differences",
        lambda matrix, told, view: factors.variance("matrix-variance", "What explains the differences", told),
    ),
    _figure(
        "matrix-map",
        "Two factors at a time",
        lambda matrix, told, view: factors.two(
            "matrix-map", "Two factors at a time", matrix.answer.study, told, *_axes(matrix, told, view)
        ),
    ),
)


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    known = context.index.snapshot().matrices
    if not known and not view.get("matrix"):
        return parts.empty(
            "", "no matrix was run in this folder", "make one with `edgeprof matrix run SPEC.yaml -o FOLDER` in it"
        )
    choice = _which(known, view)
    try:
        matrix = found(context, view)
    except EdgeprofError as error:
        return [html.Div(choice, className="choices"), parts.notice(error)]
    told = _metric(matrix)
    return [
        html.P(_meta(matrix), className="meta"),
        _choices(choice, matrix, told, view),
        _summary(matrix),
        parts.section("factors", "Factors", *(parts.figure(figure) for figure in FIGURES)),
        parts.section("cells", "Cells", *_cells(context, matrix, told)),
        parts.section("gaps", "What is missing", *_gaps(matrix)),
    ]


def _which(known: Sequence[str], view: View) -> list[Any]:
    """A choice among several matrices; the one shown without a choice stands first."""
    if len(known) < 2:
        return []
    first, *others = known
    shown = view.having(matrix=None) if view.get("matrix") == first else view
    return [parts.select(shown, "matrix", "Matrix", [(name, name) for name in others], first)]


def _meta(matrix: Found) -> str:
    progress = matrix.progress
    counts = [progress.counts(cell) for cell in progress.cells]
    done, failed, left = (sum(count[place] for count in counts) for place in range(3))
    told = f"{clean(progress.plan['name'])}: {len(counts)} cells, {done} runs done, {failed} failed"
    return f"{told}, {left} left to run" if left else told


def _choices(first: list[Any], matrix: Found, told: MetricAnswer | None, view: View) -> Any:
    children = list(first)
    if told is not None:
        metrics = [(name, title(name)) for name in matrix.answer.metrics]
        children.append(parts.select(view, "metric", "Metric", metrics, "what matters most"))
        axes = [(axis, clean(axis)) for _, axis, _ in varied(matrix.answer.study)]
        children += [
            parts.select(view, "x", "Across", axes, "what explains most"),
            parts.select(view, "y", "Down", axes, "what explains most"),
        ]
    return html.Div(children, className="choices", role="group", **{"aria-label": "What is shown"})


def _summary(matrix: Found) -> Any:
    words = static.told(matrix.answer)
    block: list[Any] = [html.P(words.headline, className="headline")]
    if words.evidence:
        block += [html.H3("By how much"), html.Ul([html.Li(sentence) for sentence in words.evidence])]
    block += [html.H3("How sure"), html.Ul([html.Li(sentence) for sentence in words.sureness])]
    children = [html.Div(block, className="verdict" if words.sure else "verdict open"), parts.tiles(words.tiles)]
    if words.constant:
        same = ", ".join(f"{name} {level}" for name, level in words.constant)
        children.append(html.P(f"The same in all runs: {same}.", className="held"))
    return parts.section("summary", "Summary", *children)


def _cells(context: Context, matrix: Found, told: MetricAnswer | None) -> Sequence[Any]:
    """Every cell of the plan: its mean, and a link to each run."""
    axes = [axis for _, axis, _ in varied(matrix.answer.study)]
    about = told.about if told is not None else None
    by_cell: dict[tuple[str, ...], list[Any]] = {}
    for run in matrix.answer.study.cells:
        by_cell.setdefault(key_of(matrix.answer.study, run), []).append(run)
    rows = []
    for levels in list(matrix.progress.cells.values())[:CELLS_SHOWN]:
        key = tuple(levels.get(axis, "") for axis in matrix.answer.study.axes)
        runs = sorted(by_cell.get(key, []), key=lambda run: run.repeat)
        values = [
            run.metrics[about.name]
            for run in runs
            if about is not None and not run.failed and run.metrics.get(about.name) is not None
        ]
        mean = back(float(forward(factors.floats(values), told.scale).mean()), told.scale) if values and told else None
        rows.append(
            [
                *(clean(levels.get(axis, "")) for axis in axes),
                f"{len(values)} of {matrix.progress.plan.get('repeats', len(runs))}",
                "-" if mean is None or about is None else human(mean, about.unit),
                [_run(context, run) for run in runs],
            ]
        )
    heads = [*map(clean, axes), "Runs", f"{title(about.name)}, mean" if about else "Mean", "Its runs"]
    shown = [parts.table(heads, rows, "Cells", numbers=(len(axes), len(axes) + 1))]
    if len(matrix.progress.cells) > CELLS_SHOWN:
        shown.append(html.P(f"The first {CELLS_SHOWN} of {len(matrix.progress.cells)} cells.", className="limit"))
    return shown


def _run(context: Context, run: Any) -> Any:
    root = context.folder.resolve()
    words = f"{run.repeat}"
    if run.run_path is None or not run.run_path.resolve().is_relative_to(root):
        return html.Span(f"{words} ✕ " if run.failed else f"{words} ", title=clean(run.failed or "not in this folder"))
    name = f"repeat {run.repeat}{', failed' if run.failed else ''}"
    href = link("/run", run=run.run_path.resolve().relative_to(root).as_posix())
    return html.Span([parts.anchor(f"{words}{' ✕' if run.failed else ''}", href, title=name), " "])


def _gaps(matrix: Found) -> Sequence[Any]:
    """Runs that failed, cells that were left out of the plan or did not run yet, and what could not be computed."""
    words = static.told(matrix.answer)
    children: list[Any] = [html.H3("Runs that failed")]
    children.append(
        parts.table(["Cell", "Repeat", "Why"], words.failed, "Runs that failed")
        if words.failed
        else html.P("None.", className="why")
    )
    waiting = _waiting(matrix)
    if waiting:
        children += [
            html.H3("Not run yet"),
            parts.table(["Cell", "Repeats left"], waiting, "Not run yet", numbers=(1,)),
        ]
    left_out = [
        [clean(", ".join(f"{axis} {level}" for axis, level in item["levels"].items())), clean(item["reason"])]
        for item in matrix.progress.plan.get("left_out") or ()
    ]
    if left_out:
        children += [
            html.H3("Left out of the plan"),
            parts.table(["Cell", "Why"], left_out[:CELLS_SHOWN], "Left out of the plan"),
        ]
    if words.missing:
        children += [
            html.H3("What could not be computed"),
            parts.table(["What", "Why"], words.missing, "What could not be computed"),
        ]
    return children


def _waiting(matrix: Found) -> list[list[str]]:
    left = {cell: matrix.progress.counts(cell)[2] for cell in matrix.progress.cells}
    axes = list(levels_of(matrix.answer.study))
    cells = matrix.progress.cells
    return [
        [clean(", ".join(f"{axis} {cells[cell].get(axis, '')}" for axis in axes)), str(count)]
        for cell, count in left.items()
        if count
    ][:CELLS_SHOWN]


PAGE = Page("/matrix", "Matrix", layout, FIGURES)
