"""What a page shows, as the address bar says it: a path and its parameters are a view's only state."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode

MOST_PARAMETERS, LONGEST_VALUE = 64, 2_000
"""What is longer was not made by this application."""

_NAME = re.compile(r"[a-z][a-z_]{0,31}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class View:
    """A page's path and its parameters in order; a name may come more than once.

    Whatever the address held, names here are lower-case words and values are printable text of bounded length.
    """

    path: str = "/"
    parameters: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, address: object) -> View:
        """The view of an address such as ``/run?run=ID&t=5,10``; what is malformed in it is left out."""
        path, _, search = str(address or "/").partition("#")[0].partition("?")
        try:
            pairs = parse_qsl(search, max_num_fields=MOST_PARAMETERS, errors="replace")
        except ValueError:
            pairs = []
        kept = [
            (name, value)
            for name, value in pairs
            if _NAME.fullmatch(name) and len(value) <= LONGEST_VALUE and not _UNPRINTABLE.search(value)
        ]
        return cls(path if path.startswith("/") else "/", tuple(kept))

    def get(self, name: str, default: str = "") -> str:
        """The first value of a parameter."""
        return next((value for key, value in self.parameters if key == name), default)

    def all(self, name: str) -> list[str]:
        """All values of a parameter, in order."""
        return [value for key, value in self.parameters if key == name]

    @property
    def window(self) -> tuple[float, float] | None:
        """Begin and end of the time shown, seconds since the run's start; None for the whole run."""
        begin, comma, end = self.get("t").partition(",")
        try:
            found = float(begin), float(end)
        except ValueError:
            return None
        return found if comma and all(map(math.isfinite, found)) and found[0] < found[1] else None

    def having(self, **changes: str | list[str] | tuple[str, ...] | None) -> View:
        """The same view with parameters replaced; None or "" removes one, a list gives several of a name."""
        kept = [(name, value) for name, value in self.parameters if name not in changes]
        for name, value in changes.items():
            kept += [(name, item) for item in ([value] if isinstance(value, str) else value or ()) if item]
        return replace(self, parameters=tuple(kept))

    def at(self, path: str, *keep: str) -> View:
        """Another page's view that keeps the parameters named."""
        return View(path, tuple(pair for pair in self.parameters if pair[0] in keep))

    @property
    def href(self) -> str:
        """The view as an address of this application."""
        search = urlencode(self.parameters, safe=",:~/")
        return f"{self.path}?{search}" if search else self.path


def link(path: str, **parameters: str | list[str] | tuple[str, ...] | None) -> str:
    """The address of a page, for a link to it."""
    return View(path).having(**parameters).href
