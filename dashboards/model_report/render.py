"""Builds the report of a model: one HTML file that holds all it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeprof import __version__
from edgeprof.dashboards.model_report.figures import figures
from edgeprof.dashboards.page import markup, policy, scripts, template
from edgeprof.dashboards.report import theme
from edgeprof.dashboards.report.text import clean, script_json
from edgeprof.profiler.files import replacing
from edgeprof.profiler.units import human

_HERE = Path(__file__).parent

TITLES = {
    "mae": "Error, log2",
    "mae_us": "Error, µs",
    "r2": "R²",
    "auc": "ROC-AUC",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "action": "Right action",
}
"""What the scores are called; others by their own name."""


def build(card: Mapping[str, Any], metrics: Mapping[str, Any], curves: Mapping[str, Any], target: Path) -> Path:
    """Write the report of a model as ``target``, replacing an older one at once, and return its path.

    Args:
        card: the model's.
        metrics: part -> figures of the model and its baselines, as the card has them.
        curves: part -> what is drawn.

    Raises:
        CannotWrite: the folder does not let itself be written to.
    """
    drawn = figures(curves)
    running = scripts([_HERE / "page.js"])
    page: str = template(_HERE, "model.html").render(
        title=clean(card["model"]["name"]),
        version=clean(__version__),
        tiles=_tiles(card),
        tables=[_table(part, found) for part, found in metrics.items()],
        candidates=card["training"]["candidates"],
        figures=drawn,
        style=markup((_HERE.parent / "report/report.css").read_text("utf-8")),
        scripts=[markup(script) for script in running],
        policy=policy(running),
        embedded=markup(script_json([asdict(figure) for figure in drawn])),
        themes=markup(script_json(_themes())),
    )
    with replacing(target) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return target


def _themes() -> dict[str, Any]:
    partners = theme.dark_partners()
    dark_ramp = [[place, partners[str(colour)]] for place, colour in theme.DENSITY]
    return {
        "light": {"template": theme.template(False), "ramp": theme.DENSITY},
        "dark": {"template": theme.template(True), "ramp": dark_ramp},
    }


def _tiles(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    about, data = card["model"], card["data"]
    return [
        ("Model", clean(about["what"])),
        ("Memory", human(about["memory_bytes"], "bytes")),
        ("Instructions", human(about["instructions"], "count")),
        ("Learned from", f"{human(data['rows']['train'], 'count')} examples"),
        ("Runs", human(len(data["runs"]), "count")),
        ("Workloads", human(len(data["workloads"]), "count")),
    ]


def _table(part: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """A part's figures as text; a figure that is not there says why."""
    if found.get("reason"):
        return {"part": clean(part), "reason": clean(found["reason"])}
    scores: Mapping[str, Mapping[str, Any]] = found["scores"]
    names = list(next(iter(scores.values())))
    return {
        "part": clean(part),
        "reason": None,
        "names": [TITLES.get(name, name) for name in names],
        "rows": [(clean(by), [_score(each[name]) for name in names]) for by, each in scores.items()],
    }


def _score(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return clean(figure["reason"])
    text = f"{figure['value']:.3f}"
    return text if figure["low"] is None else f"{text} ({figure['low']:.3f} to {figure['high']:.3f})"
