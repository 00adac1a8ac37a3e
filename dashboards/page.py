"""What all pages share: a template with escaping on, a policy that lets nothing be fetched, and the first scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


def scripts(own: Sequence[Path]) -> list[str]:
    """What stands inside a page: plotly.js, the choice of a theme, and the page's own."""
    from plotly.offline import get_plotlyjs

    plotly: str = get_plotlyjs()
    return [plotly.replace("\r\n", "\n"), *(path.read_text("utf-8") for path in (_HERE / "theme.js", *own))]


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
        loader=FileSystemLoader((folder, _HERE)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests.update(tests)
    return environment.get_template(name)
