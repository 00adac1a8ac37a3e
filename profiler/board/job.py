"""A run on a board as its agent tells of it: started, waited for, signalled, forgotten."""

from __future__ import annotations

import getpass
import json
import secrets
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from edgeprof.profiler.agent.remote_protocol import PROTOCOL
from edgeprof.profiler.agent.spec import RunSpec
from edgeprof.profiler.board.channel import ANSWER_SECONDS
from edgeprof.profiler.board.connection import Connection
from edgeprof.profiler.board.errors import NewerAgent, Nonsense
from edgeprof.profiler.board.fields import JOB, RUN, Fields

Stage = Literal["starting", "running", "ended", "failed", "interrupted"]

SIGNAL_SECONDS = 8.0
"""For the board to take a signal: whoever has pressed Ctrl-C does not want to wait."""
MOST_JOBS = 10_000
_SENTENCE = 8192


@dataclass(frozen=True)
class JobState:
    """What became of a job.

    Attributes:
        job: its id.
        state: ``interrupted``: its process is gone without a word, as after a reboot.
        capture: the capture directory's name; None before there is one.
        exit_code, signal: how the workload ended.
        error: why it failed, or was interrupted.
        owner: who started it.
        started: when, by the board's clock.
        boot_id: of the board's kernel then; empty: not known.
    """

    job: str
    state: Stage
    capture: str | None
    exit_code: int | None
    signal: int | None
    error: str | None
    owner: str | None
    started: str | None
    boot_id: str

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.state not in ("starting", "running")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def new_id() -> str:
    """An id that no other job has."""
    return secrets.token_hex(8)


def whoami() -> str:
    """The user and the desk, for the reservation."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def start(connection: Connection, job: str, spec: RunSpec, cwd: str | None, wait: float) -> None:
    """Start a run; it goes on whatever becomes of the connection.

    Args:
        cwd: folder on the board; None: the user's home.
        wait: seconds to wait for another run that has reserved the board.

    Raises:
        Refused: the board says why not; its exit code tells a reserved board.
    """
    content = spec.to_dict()
    del content["folder"]
    request = {"job": job, "spec": content, "cwd": cwd, "owner": whoami(), "wait": wait}
    answer = connection.ask(
        "starting the run", "start", data=json.dumps(request).encode() + b"\n", seconds=ANSWER_SECONDS + wait
    )
    if answer.matching("job", JOB) != job:
        raise Nonsense(connection.board.name, "it started another job than it was asked to")


def wait(connection: Connection, job: str) -> JobState:
    """Wait until a job is over, however long; nothing crosses the network meanwhile."""
    return read_state(connection, connection.ask("the run", "wait", job, seconds=None))


def state(connection: Connection, job: str, seconds: float = ANSWER_SECONDS) -> JobState:
    """A job's state now.  Raises Refused where there is no such job."""
    return read_state(connection, connection.ask("asking for the run", "state", job, seconds=seconds))


def jobs(connection: Connection, say: Callable[[str], None] = lambda line: None) -> list[JobState]:
    """All jobs that the board keeps, oldest first; those of a newer edgeprof are told, and left out."""
    states = []
    for fields in connection.answers("asking for runs", "jobs", most=MOST_JOBS):
        try:
            states.append(read_state(connection, fields))
        except NewerAgent as error:
            say(str(error))
    return states


def send_signal(connection: Connection, job: str, name: str) -> None:
    """Pass a signal, such as ``INT``, to a job."""
    connection.ask("ending the run", "signal", job, name, seconds=SIGNAL_SECONDS)


def forget(connection: Connection, job: str) -> None:
    """Remove a job and its capture from the board."""
    connection.ask("removing the run there", "forget", job)


def read_state(connection: Connection, fields: Fields) -> JobState:
    """A job's state from an answer.  Raises NewerAgent, Nonsense."""
    job = fields.matching("job", JOB)
    protocol = fields.whole("protocol", 1 << 31)
    if protocol > PROTOCOL:
        raise NewerAgent(connection.board.name, f"run {job}", protocol)
    stage = fields.text("state", 40)
    if stage not in get_args(Stage):
        raise fields.wrong("state")
    return JobState(
        job=job,
        state=stage,  # type: ignore[arg-type]  # it is one of them
        capture=None if fields.values.get("capture") is None else fields.matching("capture", RUN),
        exit_code=fields.maybe_whole("exit_code", 255),
        signal=fields.maybe_whole("signal", 127),
        error=fields.maybe_text("error", _SENTENCE),
        owner=fields.maybe_text("owner", 256),
        started=fields.maybe_text("started", 64),
        boot_id=fields.maybe_text("boot_id", 64) or "",
    )
