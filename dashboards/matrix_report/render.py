"""Builds the report of a study: one HTML file that holds all it needs, and links to the reports of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprof import __version__
from edgeprof.dashboards.matrix_report import data, static
from edgeprof.dashboards.page import markup, policy, scripts, template
from edgeprof.dashboards.report import theme
from edgeprof.dashboards.report.text import clean, script_json
from edgeprof.profiler.files import replacing
from edgeprof.profiler.statistics.answer import Answer, answer
from edgeprof.profiler.statistics.study import Study

SCRIPTS = ("format.js", "figures.js", "table.js", "page.js")
STYLES = ("report/report.css", "matrix_report/matrix.css")
DATA_LIMIT = 1_000_000
"""Characters of JSON; with plotly's 4.8 MB the page stays below 6 MB."""

_HERE = Path(__file__).parent


def build(study: Study, target: Path) -> Path:
    """Write the report of a study as ``target``, replacing an older one at once, and return its path.

    What failed and what could not be computed is named in the page.

    Raises:
        CannotWrite: the folder does not let itself be written to.
    """
    page = render(study, target)
    with replacing(target) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return target


def render(study: Study, target: Path) -> str:
    """The page's HTML text; links are made to be followed from ``target``."""
    found = answer(study)
    content, left_out = _fitting(found, target)
    running = scripts([_HERE / name for name in SCRIPTS])
    page: str = template(_HERE, "matrix.html").render(
        title=clean(study.name),
        version=clean(__version__),
        answer=found,
        told=static.told(found),
        content=content,
        left_out=left_out,
        style=markup("\n".join((_HERE.parent / name).read_text("utf-8") for name in STYLES)),
        scripts=[markup(script) for script in running],
        policy=policy(running),
        embedded=markup(script_json(content)),
        themes=markup(script_json(_themes())),
    )
    return page


def _fitting(found: Answer, target: Path) -> tuple[dict[str, Any], Sequence[str]]:
    """What is embedded, and the metrics left out because of their size: those that matter least stand last."""
    names = sorted(found.metrics, key=lambda name: name != found.headline)
    content = data.content(found, target, names)
    while len(names) > 1 and len(script_json(content)) > DATA_LIMIT:
        names = names[: len(names) * 3 // 4]
        content = data.content(found, target, names)
    return content, [data.title(name) for name in found.metrics if name not in names]


def _themes() -> dict[str, Any]:
    partners = theme.dark_partners()
    dark_ramp = [[place, partners[str(colour)]] for place, colour in theme.DENSITY]
    return {
        "light": {"template": theme.template(False), "colours": theme.LIGHT, "ramp": theme.DENSITY},
        "dark": {"template": theme.template(True), "colours": theme.DARK, "ramp": dark_ramp},
    }
