"""KMLib: what it does on this machine, the models in the folder, and what they bring.

Addresses: ``card=PATH`` and ``score=NAME``; ``evaluation=PATH``, ``measure=NAME`` and ``contender=NAME``.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dash import html

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.figures import kml as figures
from edgeprof.dashboards.app.kept import Kept
from edgeprof.dashboards.app.kml import kernel
from edgeprof.dashboards.app.kml.files import LARGEST, Found, Item, discover, opened
from edgeprof.dashboards.app.kml.scores import (
    MEASURES,
    Ratio,
    by_whom,
    failed_of,
    goals_of,
    names_of,
    number,
    parts_of,
    ratios_of,
    title,
)
from edgeprof.dashboards.app.page import Context, Figure, Page
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report.figures.base import Absent, Outcome
from edgeprof.dashboards.report.text import clean, sentences
from edgeprof.profiler.units import human

FRESH = 5
"""Seconds for which what was found in the folder counts."""

_found: Kept[Found] = Kept(2)
_opened: Kept[Item] = Kept(2 * LARGEST, lambda item: item.stamp[2])
"""The card and the evaluation that are looked at, by the bytes of their files."""


def found(context: Context) -> Found:
    """What the folder holds, looked through again now and then."""
    return _found.get((str(context.folder), int(time.monotonic() / FRESH)), lambda: discover(context.folder.resolve()))


def _chosen(items: Sequence[Item], path: str) -> Item | None:
    """The one that the address names, else the first that can be shown, else any."""
    named = [item for item in items if item.path == path]
    sound = [item for item in items if not item.problem]
    return next(iter([*named, *sound, *items]), None)


def _card(context: Context, view: View) -> Item | None:
    return _with_content(context, _chosen(found(context).of("card"), view.get("card")))


def _evaluation(context: Context, view: View) -> Item | None:
    return _with_content(context, _chosen(found(context).of("evaluation"), view.get("evaluation")))


def _with_content(context: Context, item: Item | None) -> Item | None:
    if item is None or item.problem:
        return item
    folder = context.folder.resolve()
    return _opened.get((folder, item.file, item.stamp), lambda: opened(folder, item))


def _score(names: Sequence[str], view: View) -> str:
    usual = ("auc", "relative_throughput")
    wanted = (view.get("score"), *usual, *names)
    return next((name for name in wanted if name in names), "")


def _scores(key: str, heading: str) -> Figure:
    def build(context: Context, view: View) -> Outcome:
        card = _card(context, view)
        scored = parts_of(card.content) if card is not None else {}
        if not scored:
            return Absent(key, heading, "the card holds no scores", "train the model again with data to judge it by")
        return figures.scores(key, heading, scored, _score(names_of(scored), view))

    return Figure(key, heading, build)


def _candidates(key: str, heading: str) -> Figure:
    def build(context: Context, view: View) -> Outcome:
        card = _card(context, view)
        if card is None or card.problem:
            return Absent(key, heading, card.problem if card else "no model card is in this folder")
        return figures.candidates(key, heading, card.content)

    return Figure(key, heading, build)


def _ratios(key: str, heading: str, draw: Callable[..., Outcome]) -> Figure:
    def build(context: Context, view: View) -> Outcome:
        item = _evaluation(context, view)
        if item is None or item.problem:
            return Absent(key, heading, item.problem if item else "no evaluation is in this folder")
        ratios = ratios_of(item.content)
        if not ratios:
            return Absent(key, heading, "the evaluation holds no ratios", "make them with `edgeprof kml bench show`")
        contender, measure = _compared(ratios, item, view)
        return draw(key, heading, ratios, contender, measure, _baseline(item))

    return Figure(key, heading, build)


def _baseline(item: Item) -> str:
    return clean(item.content["plan"].get("baseline") or "the baseline")


def _compared(ratios: Sequence[Ratio], item: Item, view: View) -> tuple[str, str]:
    """The contender and the measure: those chosen, else KMLib's and the first."""
    contenders, measures = _known(ratios, item)
    own = [name for name in contenders if "kml" in name]
    contender = next(name for name in (view.get("contender"), *own, *contenders) if name in contenders)
    measure = next(name for name in (view.get("measure"), *measures) if name in measures)
    return contender, measure


def _known(ratios: Sequence[Ratio], item: Item) -> tuple[list[str], list[str]]:
    contenders = list(dict.fromkeys(ratio.contender for ratio in ratios if ratio.contender != _baseline(item)))
    having = {ratio.measure for ratio in ratios}
    return contenders or [ratios[0].contender], [name for name in MEASURES if name in having]


SCORES = _scores("kmlib-scores", "How good it is")
CANDIDATES = _candidates("kmlib-candidates", "What it was chosen from")
BENEFIT = _ratios("kmlib-benefit", "What it brings, by workload", figures.benefit)
OVERALL = _ratios(
    "kmlib-overall",
    "All contenders, over all workloads",
    lambda key, heading, ratios, contender, measure, base: figures.overall(key, heading, ratios, measure, base),
)


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    known = found(context)
    children: list[Any] = []
    if known.cut:
        children.append(
            parts.notice("This folder holds more than was looked through; serve a part of it to see the rest.")
        )
    if context.loopback:
        children.append(_kernel())
    children += _models(context, view, known.of("card"))
    children += _evaluations(context, view, known.of("evaluation"))
    for record in known.of("record"):
        children.append(_record(record))
    return children


def _kernel() -> Any:
    state = kernel.read()
    if not state.modules:
        what = parts.empty(
            "", "no module of KMLib is loaded in this machine's kernel", "load one with `edgeprof kml load`, as root"
        )
        return parts.section("kernel", "In this machine's kernel", what)
    blocks: list[Any] = [html.P(f"Modules loaded: {', '.join(state.modules)}.")]
    for table in state.tables:
        blocks.append(html.H3(table.title))
        if table.facts:
            blocks.append(parts.table(["What", "Now"], table.facts, table.title))
        if table.problem:
            blocks.append(html.P(f"{table.problem[0].upper()}{table.problem[1:]}.", className="limit"))
    if not state.tables:
        blocks.append(html.P("Nothing uses them yet.", className="why"))
    return parts.section("kernel", "In this machine's kernel", *blocks)


def _models(context: Context, view: View, cards: Sequence[Item]) -> list[Any]:
    if not cards:
        nothing = parts.empty(
            "", "no model card is in this folder", "train a model with `edgeprof kml train -o FILE` in it"
        )
        return [parts.section("models", "Models", nothing)]
    card = _card(context, view)
    assert card is not None
    children: list[Any] = [_choices([_select(view, "card", "Model", cards, card)])]
    if card.problem:
        return [parts.section("models", "Models", *children, parts.notice(f"{card.path}: {card.problem}"))]
    model = card.content["model"]
    scored = parts_of(card.content)
    names = names_of(scored)
    children.append(parts.tiles(_tiles(card.content)))
    if not (context.folder / card.path).with_suffix("").is_file():
        children.append(html.P("The model's file is not beside its card.", className="limit"))
    if names:
        first = _score(names, view.having(score=None))
        others = [(name, title(name)) for name in names if name != first]
        children.append(_choices([parts.select(view, "score", "Score", others, title(first))]))
    children.append(parts.figure(SCORES))
    children += [_score_table(name, part, names) for name, part in scored.items()]
    children.append(parts.figure(CANDIDATES))
    features = sentences(model.get("features"))
    if features:
        children.append(parts.details(f"{len(features)} features", html.P(", ".join(features))))
    return [parts.section("models", "Models", *children)]


def _select(view: View, name: str, words: str, items: Sequence[Item], chosen: Item) -> Any:
    """A choice among files; the one shown without a choice stands first."""
    first = _chosen(items, "")
    assert first is not None
    others = [(item.path, item.path) for item in items if item is not first]
    return parts.select(
        view if chosen.path == view.get(name) else view.having(**{name: None}), name, words, others, first.path
    )


def _choices(children: list[Any]) -> Any:
    return html.Div(children, className="choices")


def _tiles(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    model = card["model"]
    data = card.get("data")
    data = data if isinstance(data, Mapping) else {}
    training = card.get("training")
    training = training if isinstance(training, Mapping) else {}
    runs = data.get("runs")
    rows = number(training.get("rows"))
    count = float(len(runs)) if isinstance(runs, list | dict) else number(runs)
    return [
        ("Kind", clean(card.get("kind") or "-")),
        ("Model", clean(model.get("what") or model.get("name") or "-")),
        ("Memory", human(number(model.get("memory_bytes")), "bytes")),
        ("Instructions a prediction", human(number(model.get("instructions")), "count")),
        ("Examples learned from", human(rows, "count")),
        ("Runs", human(count, "count")),
    ]


def _score_table(name: str, part: Mapping[str, Any], names: Sequence[str]) -> Any:
    rows = [
        [by_whom(who), *(each[score].text() if score in each else "-" for score in names)] for who, each in part.items()
    ]
    table = parts.table(["By", *map(title, names)], rows, f"Scores, part {name}")
    return parts.details(f"All scores of part {name}", table)


def _evaluations(context: Context, view: View, items: Sequence[Item]) -> list[Any]:
    heading = "What it brings"
    if not items:
        nothing = parts.empty(
            "", "no evaluation is in this folder", "make one with `edgeprof kml bench schedulers -o FOLDER`"
        )
        return [parts.section("benefit", heading, nothing)]
    item = _evaluation(context, view)
    assert item is not None
    choice = _select(view, "evaluation", "Evaluation", items, item)
    if item.problem:
        return [parts.section("benefit", heading, _choices([choice]), parts.notice(f"{item.path}: {item.problem}"))]
    ratios = ratios_of(item.content)
    choices = [choice]
    children: list[Any] = []
    if ratios:
        contenders, measures = _known(ratios, item)
        contender, measure = _compared(ratios, item, view.having(contender=None, measure=None))
        choices += [
            parts.select(
                view, "measure", "Measure", [(m, MEASURES[m]) for m in measures if m != measure], MEASURES[measure]
            ),
            parts.select(view, "contender", "Contender", [(c, c) for c in contenders if c != contender], contender),
        ]
        children.append(parts.figure(BENEFIT))
        if any(not ratio.disk for ratio in ratios):
            children.append(parts.figure(OVERALL))
    else:
        children.append(
            parts.empty("", "the evaluation holds no ratios yet", "make them with `edgeprof kml bench show`")
        )
    goals = goals_of(item.content)
    if goals:
        heads = ["Contender", "Goal", "Where", "Figure", "Limit", "Ratio", ""]
        met = sum(row[-1] == "met" for row in goals)
        summary = f"Goals: {met} of {len(goals)} met"
        children.append(parts.details(summary, parts.table(heads, goals, "Goals")))
    failed = failed_of(item.content)
    if failed:
        children += [html.H3("Jobs that failed"), parts.table(["Job", "Why"], failed, "Jobs that failed")]
    return [parts.section("benefit", heading, _choices(choices), *children)]


def _record(record: Item) -> Any:
    """What `edgeprof tune` said, the newest last."""
    lines, count = record.content["lines"], record.content["count"]
    rows = [[_clock(line["time"]), line["sentence"]] for line in lines]
    more = [html.P(f"The last {len(lines)} of {count} lines.", className="limit")] if len(lines) < count else []
    table = parts.table(["When (UTC)", "What"], rows, f"What tune did, {record.path}")
    return parts.section(f"tune-{zlib.crc32(record.path.encode()):x}", f"What tune did: {record.path}", table, *more)


def _clock(seconds: float | None) -> str:
    try:
        return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "-"


PAGE = Page("/kmlib", "KMLib", layout, (SCORES, CANDIDATES, BENEFIT, OVERALL))
