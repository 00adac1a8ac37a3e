"""Makes text that comes from the run harmless wherever the report shows it.

Three places need three forms: HTML (the template engine escapes it), plotly's labels
(a subset of HTML: tags and entities), and JSON inside a script element.
"""

from __future__ import annotations

import json
import re
from typing import Any

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff]")
"""Control characters, and marks that reorder the text around them (a path could pose as another)."""

_SCRIPT_ESCAPES = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def clean(value: object) -> str:
    """Any value as text that UTF-8 can hold and that shows what is in it: � for control characters."""
    text = (
        str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace") if _encodable(value) else repr(value)
    )
    return _UNPRINTABLE.sub("\ufffd", text)


def _encodable(value: object) -> bool:
    try:
        str(value).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return False
    return True


def sentences(value: object) -> list[str]:
    """A list of the manifest as clean text; anything else is no sentence."""
    return [clean(item) for item in value] if isinstance(value, list) else []


def label(value: object, limit: int = 60) -> str:
    """Text for a plotly label (legend, tick, hover, annotation): its tags and entities show as themselves.

    Longer text is cut in the middle, so that a path keeps its file name.
    """
    text = clean(value).replace("\n", " ")
    if len(text) > limit:
        text = f"{text[: limit // 2 - 1]}…{text[-(limit // 2) :]}"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def script_json(value: Any) -> str:
    """JSON that can stand in a script element: it cannot end the element, nor a line of script."""
    return escape_script(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def escape_script(text: str) -> str:
    """Escape JSON text for a script element; the characters concerned occur in its strings only."""
    for character, escaped in _SCRIPT_ESCAPES.items():
        text = text.replace(character, escaped)
    return text
