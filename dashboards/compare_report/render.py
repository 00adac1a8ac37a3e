"""Builds the page of a comparison: one HTML file that holds all it needs."""

from __future__ import annotations

from pathlib import Path

from edgeprof import __version__
from edgeprof.dashboards.compare_report.figures import SECTIONS
from edgeprof.dashboards.compare_report.figures.differences import table
from edgeprof.dashboards.compare_report.sides import Sides
from edgeprof.dashboards.compare_report.told import told
from edgeprof.dashboards.page import markup, policy, scripts, template
from edgeprof.dashboards.report import theme
from edgeprof.dashboards.report.build import DrawnSection, spec
from edgeprof.dashboards.report.figures.base import Picture
from edgeprof.dashboards.report.text import clean, script_json
from edgeprof.profiler.files import replacing

_HERE = Path(__file__).parent


def build(sides: Sides, target: Path) -> Path:
    """Write the page as ``target``, replacing an older one at once, and return its path.

    Raises:
        CannotWrite: the folder does not let itself be written to.
    """
    page = render(sides)
    with replacing(target) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))
    return target


def heading(sides: Sides) -> str:
    """What is compared with what."""
    base, *others = (clean(side.name) for side in sides.sides)
    return f"{', '.join(others)} against {base}"


def render(sides: Sides) -> str:
    """The page's HTML text."""
    sections = [DrawnSection(s.key, s.title, [entry.draw(sides) for entry in s.entries]) for s in SECTIONS]
    running = scripts([_HERE.parent / "report" / "report.js"])
    page: str = template(_HERE, "compare.html", picture=lambda item: isinstance(item, Picture)).render(
        title=heading(sides),
        version=clean(__version__),
        sides=[(clean(side.name), len(side.group.processes)) for side in sides.sides],
        told=told(sides),
        metrics=table(sides),
        sections=sections,
        specs={item.key: spec(item) for section in sections for item in section.outcomes if isinstance(item, Picture)},
        style=markup((_HERE.parent / "report" / "report.css").read_text("utf-8")),
        scripts=[markup(script) for script in running],
        policy=policy(running),
        themes=markup(
            script_json(
                {"light": theme.template(False), "dark": theme.template(True), "partners": theme.dark_partners()}
            )
        ),
    )
    return page
