"""Builds the report of a run: one HTML file that holds all it needs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprof.dashboards.page import markup, policy, scripts, template
from edgeprof.dashboards.report import account, summary, theme
from edgeprof.dashboards.report.data import RunData
from edgeprof.dashboards.report.figures import SECTIONS
from edgeprof.dashboards.report.figures.base import Absent, Entry, Outcome, Picture
from edgeprof.dashboards.report.text import clean, escape_script, script_json
from edgeprof.profiler.files import replacing
from edgeprof.profiler.run import Run

FILE_NAME = "report.html"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class DrawnSection:
    """A heading and what came of its figures."""

    key: str
    title: str
    outcomes: Sequence[Outcome]


def build_report(run: Run) -> Path:
    """Write ``report.html`` into the run's folder, replacing an older one at once, and return its path.

    Whatever the run lacks (tables, metrics, a verdict, its end) is named in the report.  The capture from inside a
    virtual machine gets a report of its own.

    Raises:
        NotARun, DamagedManifest, NewerSchema: see `edgeprof.profiler.run.load_manifest`.
        CannotWrite: the run's folder does not let itself be written to.
    """
    if run.guest is not None:
        build_report(run.guest)
    page = render(run)
    path = run.path / FILE_NAME
    with replacing(path) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return path


def render(run: Run) -> str:
    """The report's HTML text."""
    data = RunData(run)
    sections = [
        DrawnSection(s.key, s.title, [draw(entry, data) for entry in s.entries]) for s in SECTIONS if s.concerns(data)
    ]
    running = scripts([_HERE / "report.js"])
    page: str = template(_HERE, "report.html", picture=lambda item: isinstance(item, Picture)).render(
        title=clean(data.manifest["run"].get("name") or run.path.name),
        command=shlex.join(clean(part) for part in _command(data)),
        status=account.status(data),
        started=clean(data.manifest["run"].get("started") or ""),
        host=clean((data.manifest.get("host") or {}).get("hostname") or ""),
        version=clean(data.manifest.get("edgeprof") or "unknown"),
        verdict=summary.verdict(data),
        tiles=summary.tiles(data),
        metrics=summary.metric_rows(data),
        sections=sections,
        specs={item.key: spec(item) for section in sections for item in section.outcomes if isinstance(item, Picture)},
        collectors=account.collector_lines(data),
        overhead=account.overhead_rows(data),
        facts=account.facts(data),
        marks=account.marks(data),
        notes=account.notes(data),
        style=markup((_HERE / "report.css").read_text("utf-8")),
        scripts=[markup(script) for script in running],
        policy=policy(running),
        themes=markup(
            script_json(
                {"light": theme.template(False), "dark": theme.template(True), "partners": theme.dark_partners()}
            )
        ),
    )
    return page


def _command(data: RunData) -> list[Any]:
    command = data.manifest["run"].get("command")
    return command if isinstance(command, list) else []


def draw(entry: Entry, data: RunData) -> Outcome:
    """One figure; a table with content that no collector writes makes an empty state, not a failed report."""
    try:
        return entry.build(data)
    except Exception as error:  # the other figures still tell about the run
        reason = f"it could not be drawn from this run's tables ({type(error).__name__}: {error})"
        return Absent(entry.key, entry.title, reason, "make the tables again with `edgeprof ingest`", failed=True)


def spec(picture: Picture) -> Any:
    """The figure as JSON for a script element; the page's theme takes the place of plotly's own template."""
    picture.figure.layout.template = None
    text = picture.figure.to_json(validate=False, engine="json")
    return markup(escape_script(text.encode("utf-8", "replace").decode("utf-8")))
