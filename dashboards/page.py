"""What all pages share: a template with escaping on, a policy that lets nothing be fetched, and plotly's script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def plotly_script() -> str:
    """plotly.js, to stand inside a page."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("\r\n", "\n")


def policy(scripts: Sequence[str]) -> str:
    """Content security policy: these very scripts may run, and nothing may be fetched or sent."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def markup(text: str) -> Any:
    """Text that goes into the page as it is: our own files, and JSON that `escape_script` made safe."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704


def template(folder: Path, name: str, **tests: Callable[[Any], bool]) -> Any:
    """A page's template with its own tests; what is put into it is escaped, and a name that it lacks is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests.update(tests)
    return environment.get_template(name)
