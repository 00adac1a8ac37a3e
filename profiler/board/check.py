"""Asks a board what it is, what can be captured there, and how its clock runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgeprof.profiler.board.clock import Reading
from edgeprof.profiler.board.connection import Connection, Hello
from edgeprof.profiler.board.errors import Nonsense, told
from edgeprof.profiler.board.fields import Fields

LOW_SPACE = 256 << 20
"""Free bytes below which a longer capture does not fit."""
FAR_APART_NS = 60 * 10**9
"""By how much the day's time may differ before a person is told."""

_TEXTS: Mapping[str, tuple[str, ...]] = {
    "machine": ("name", "value", "remedy"),
    "sensors": ("kind", "name", "reason", "remedy"),
    "collectors": ("name", "reason", "remedy"),
}
_FLAGS: Mapping[str, str] = {"machine": "good", "sensors": "readable", "collectors": "available"}
_MOST = 10_000
_KEPT = 200
"""Characters of what a board says of itself that the address book keeps."""


@dataclass(frozen=True)
class Holder:
    """Who has reserved the board for a run."""

    held: bool
    owner: str | None
    job: str | None
    since: str | None


@dataclass(frozen=True)
class Check:
    """What a board said.

    Attributes:
        pushed: the agent was sent just now.
        start_seconds: of one command of the agent's, network and Python's own start included.
        clock: board against desk.
        holder: who runs something there now.
        examination: as `edgeprof doctor --json` there.
        warnings: sentences on what may spoil a run.
    """

    board: str
    address: str
    hello: Hello
    agent: str
    pushed: bool
    start_seconds: float
    clock: Reading
    holder: Holder
    examination: dict[str, Any]
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def seen(self) -> dict[str, Any]:
        """What the address book keeps: short texts, whatever the board has said."""
        identity = self.examination["board"]
        words = {
            "hostname": self.hello.hostname,
            "machine": self.hello.machine,
            "kernel": self.hello.kernel,
            "python": self.hello.python,
            "model": identity.get("name"),
            "system": identity.get("system"),
        }
        kept = {name: told(text)[:_KEPT] if isinstance(text, str) else None for name, text in words.items()}
        return {**kept, "checked": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def check(connection: Connection) -> Check:
    """Ask a connected board.  Raises EdgeprofError."""
    began = time.monotonic()
    holder = _holder(connection.ask("asking who runs there", "who"))
    start_seconds = time.monotonic() - began
    clock = connection.read_clock()
    found = examination(connection.board.name, connection.ask("examining the board", "examine"))
    return Check(
        board=connection.board.name,
        address=connection.board.address,
        hello=connection.hello,
        agent=connection.agent.sha256,
        pushed=connection.pushed,
        start_seconds=start_seconds,
        clock=clock,
        holder=holder,
        examination=found,
        warnings=_warnings(connection.hello, holder, clock),
    )


def _holder(fields: Fields) -> Holder:
    return Holder(
        fields.flag("held"),
        fields.maybe_text("owner", 256),
        fields.maybe_text("job", 256),
        fields.maybe_text("since", 64),
    )


def _warnings(hello: Hello, holder: Holder, clock: Reading) -> list[str]:
    found = []
    if holder.held:
        found.append(
            f"reserved for a run of {told(holder.owner or 'somebody')} since {told(holder.since or 'some time')};"
            " yours can wait for it: --board-wait SECONDS"
        )
    if hello.free_bytes is not None and hello.free_bytes < LOW_SPACE:
        found.append(
            f"only {hello.free_bytes >> 20} MiB are free below {told(hello.home)}; a longer capture needs more"
        )
    if abs(clock.realtime_offset_ns) > FAR_APART_NS:
        found.append(
            f"its clock is {abs(clock.realtime_offset_ns) / 1e9:.0f} s "
            f"{clock_side(clock)} the desk's: runs get its times as their names; "
            "set it (timedatectl set-ntp true)"
        )
    return found


def clock_side(clock: Reading) -> str:
    """Where the board's clock is, seen from the desk's."""
    return "ahead of" if clock.realtime_offset_ns > 0 else "behind"


def examination(board: str, fields: Fields) -> dict[str, Any]:
    """The doctor's answer, if it has the doctor's shape: it will be printed.  Raises Nonsense."""
    found = dict(fields.values)
    if not isinstance(found.get("board"), dict):
        raise fields.wrong("board")
    for part, texts in _TEXTS.items():
        items = found.get(part)
        if not isinstance(items, list) or len(items) > _MOST:
            raise Nonsense(board, f"{part} of its examination is no list")
        for item in items:
            if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in texts):
                raise Nonsense(board, f"an entry of {part} has not what it should have")
            if not isinstance(item.get(_FLAGS[part]), bool | None):
                raise Nonsense(board, f"an entry of {part} has a wrong {_FLAGS[part]}")
    return found
