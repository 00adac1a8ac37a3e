"""One run on a board from beginning to end: send, compare clocks, start, wait, fetch; and runs that were left there.

While the workload runs, nothing crosses the network, unless somebody watches.  The run belongs to the board from its
start on: whatever becomes of the desk or the connection, it ends there in its own time, and can be fetched later.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeprof.collectors.helper import ForkedHelper
from edgeprof.profiler.agent import journal
from edgeprof.profiler.agent.capture import Outcome
from edgeprof.profiler.agent.remote_files import STREAMS
from edgeprof.profiler.agent.spec import RunSpec
from edgeprof.profiler.board import job as jobs
from edgeprof.profiler.board.arrival import Arrived, arrived, remember, remembered, settle
from edgeprof.profiler.board.clock import BoardClockError, Reading, fit
from edgeprof.profiler.board.connection import Connection
from edgeprof.profiler.board.errors import LOST, BoardError, ConnectionCut, Lost, Refused, told
from edgeprof.profiler.board.fetch import KEPT_FREE, Fetched, fetch, make_partial, partial_folder
from edgeprof.profiler.board.follow import follow
from edgeprof.profiler.board.job import JobState
from edgeprof.profiler.board.sync import sync
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.files import CannotWrite

RECONNECTS = 3
"""How often a run's connection that was cut is made anew."""
UNDONE_SECONDS = jobs.SIGNAL_SECONDS
"""For the board to give up a start."""

Say = Callable[[str], None]
Show = Callable[[str, int], None]
"""Shows a run until SIGTERM comes: its capture directory, and how far the board's clock is ahead of the desk's, ns."""
Printed = Callable[[str, Path], None]
"""Takes what the workload printed: ``stdout`` or ``stderr``, and the file."""


class Interrupted(EdgeprofError):
    """The user has pressed Ctrl-C."""

    exit_code = 130


class NothingStarted(Interrupted):
    """The user has given up before the run began."""

    def __init__(self, board: str) -> None:
        super().__init__(f"board {board}: interrupted; nothing was started there")


class LeftRunning(Interrupted):
    """The user has left the run alone."""

    def __init__(self, board: str, job: str) -> None:
        super().__init__(f"board {board}: the run goes on there; `edgeprof board pull {board} {job}` fetches it later")


class NoCapture(BoardError):
    """The run came to nothing on the board."""

    def __init__(self, board: str, state: JobState) -> None:
        super().__init__(board, told(state.error or "the run ended there without a capture, and without a reason"))
        code = state.exit_code or 120
        self.exit_code = LOST if state.state == "interrupted" else code if 120 <= code <= 125 else 120


@dataclass(frozen=True)
class Request:
    """What to do on a board.

    Attributes:
        spec: the capture; its folder is the desk's, where the capture arrives.
        sync: folder to send, in which the workload starts.
        wait: seconds to wait for somebody else's run there.
        show: shows the run while it goes on.
        printed: takes what the workload printed, when it has ended.
    """

    spec: RunSpec
    sync: Path | None = None
    wait: float = 0.0
    show: Show | None = None
    printed: Printed = lambda name, path: None


def run_on_board(connection: Connection, request: Request, say: Say) -> Outcome:
    """Run a command on a board that is connected, and fetch its capture.

    An interruption (Ctrl-C) asks the board to end the workload; a second one leaves it.

    Raises:
        EdgeprofError: nothing was run, or what was captured is on the board still; the sentence says which.
    """
    output = Path(request.spec.folder)
    job = jobs.new_id()
    folder = make_partial(output, job)
    began = False
    try:
        _check_room(folder)
        synced = sync(connection, request.sync, say) if request.sync else None
        before = connection.read_clock()
        facts = _facts(connection, job, synced.to_dict() if synced else None, before)
        remember(folder, facts)
        began = True
        with _leaving(connection, job):
            try:
                given_up = _start(connection, job, request, synced.name if synced else None)
            except (Refused, NothingStarted):
                began = False
                raise
            say(f"running on {connection.board.name} as job {job}")
            state = _until_over(connection, job, folder, request.show, before, say, given_up)
        return _take(connection, state, output, request.printed, say)
    finally:
        if not began:
            shutil.rmtree(folder, ignore_errors=True)


def pull(connection: Connection, state: JobState, output: Path, printed: Printed, say: Say) -> Outcome:
    """Fetch a run that is over, and that an earlier command has left on the board.

    Raises:
        Interrupted, Lost: it is on the board still, and so may be others.
        EdgeprofError: it cannot be had; others may.
    """
    make_partial(output, state.job)
    return _take(connection, state, output, printed, say)


def await_end(connection: Connection, job: str, say: Say) -> JobState:
    """Wait for a run that an earlier command has left.  Raises EdgeprofError."""
    with _leaving(connection, job):
        return _until_over(connection, job, None, None, None, say)


def _check_room(folder: Path) -> None:
    if shutil.disk_usage(folder).free < KEPT_FREE:
        raise CannotWrite(folder, OSError(28, "No space left on device"))


def _facts(connection: Connection, job: str, synced: dict[str, Any] | None, before: Reading) -> dict[str, Any]:
    """What is known as the run begins."""
    return {
        "board": connection.board.name,
        "address": connection.board.address,
        "job": job,
        "agent": connection.agent.sha256,
        "python": connection.hello.python,
        "sync": synced,
        "before": asdict(before),
        "desk_boot_id": journal.boot_id(),
    }


def _start(connection: Connection, job: str, request: Request, cwd: str | None) -> bool:
    """Start it; where the user gives up meanwhile, the board does as well, unless the run has begun just then: True."""
    try:
        jobs.start(connection, job, request.spec, cwd, request.wait)
    except KeyboardInterrupt:
        if _taken_back(connection, job):
            raise NothingStarted(connection.board.name) from None
        return True
    return False


def _taken_back(connection: Connection, job: str) -> bool:
    """Whether the board gives up a start whose channel was closed; it does not where the run had begun by then."""
    deadline = time.monotonic() + UNDONE_SECONDS
    try:
        # Killed, and not removed yet, it seems interrupted.
        while jobs.state(connection, job, UNDONE_SECONDS).state in ("starting", "interrupted"):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
    except Refused:  # there is no such job
        return True
    return False


# -- while it runs -----------------------------------------------------------------------------------------------------


@contextmanager
def _leaving(connection: Connection, job: str) -> Iterator[None]:
    """Errors of the block say that the run goes on."""
    board = connection.board.name
    try:
        yield
    except KeyboardInterrupt:
        raise LeftRunning(board, job) from None
    except Lost as error:
        raise error.advising(f"if the run has begun, it goes on: `edgeprof board pull {board}` fetches it") from None


def _until_over(
    connection: Connection,
    job: str,
    folder: Path | None,
    show: Show | None,
    before: Reading | None,
    say: Say,
    given_up: bool = False,
) -> JobState:
    """Wait; the first Ctrl-C (``given_up``: it came already) is passed on, and a cut connection is made anew."""
    asked, cuts = given_up, 0
    if given_up:
        _ask_to_end(connection, job, say)
    while True:
        try:
            if show is None or folder is None or before is None:
                return jobs.wait(connection, job)
            return _watched(connection, job, folder, show, before.offset_ns)
        except KeyboardInterrupt:
            if asked:
                raise
            asked = True
            _ask_to_end(connection, job, say)
        except ConnectionCut as error:
            cuts += 1
            if cuts > RECONNECTS:
                raise
            connection.open_again(error, say)


def _ask_to_end(connection: Connection, job: str, say: Say) -> None:
    say("asking the board to end the workload; Ctrl-C again leaves it running there")
    with suppress(Refused):  # it has just ended
        jobs.send_signal(connection, job, "INT")


def _watched(connection: Connection, job: str, folder: Path, show: Show, ahead_ns: int) -> JobState:
    shown: list[ForkedHelper] = []

    def begin(capture: Path) -> None:
        def in_its_own_process() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            show(str(capture), ahead_ns)

        shown.append(ForkedHelper(in_its_own_process))

    try:
        return follow(connection, job, folder, begin)
    finally:
        for helper in shown:
            helper.stop(signal.SIGTERM)


# -- when it is over ---------------------------------------------------------------------------------------------------


def _take(connection: Connection, state: JobState, output: Path, printed: Printed, say: Say) -> Outcome:
    """Fetch a run, give it its place, and only then remove it from the board."""
    board = connection.board.name
    kept = f"the run is kept there: `edgeprof board pull {board} {state.job}` fetches what is missing"
    unreadable = 0
    try:
        found = arrived(output, state.capture, state.job) if state.capture else None
        if found is None:
            found, unreadable = _bring(connection, state, output, printed, say)
        else:  # an earlier command has brought it, and could not remove it from the board
            shutil.rmtree(partial_folder(output, state.job), ignore_errors=True)
    except KeyboardInterrupt:
        raise Interrupted(f"board {board}: interrupted; {kept}") from None
    except Lost as error:
        raise error.advising(kept) from None
    if unreadable:
        say(
            f"board {board}: {unreadable} file(s) of the run could not be fetched: you may not read them there, or they"
            f" are too many, too deep or of odd names; the run stays in {told(connection.hello.home)}/jobs/{state.job}"
            f" until the next `edgeprof board pull {board}`"
        )
    else:
        _forget(connection, state.job, say)
    return _outcome(board, state, found, say)


def _bring(connection: Connection, state: JobState, output: Path, printed: Printed, say: Say) -> tuple[Arrived, int]:
    """Fetch a run and give it its place; how many files of it only the board has.  Raises NoCapture, too."""
    board = connection.board.name
    folder = partial_folder(output, state.job)
    facts = remembered(folder)
    clock = _clock(connection, state, facts, say)
    fetched = fetch(connection, state.job, output, say)
    for name in STREAMS:
        if (folder / name).is_file():
            printed(name, folder / name)
    if state.capture is None:
        shutil.rmtree(folder, ignore_errors=True)
        _forget(connection, state.job, say)
        raise NoCapture(board, state)
    return settle(board, folder, output, _remote(connection, state, facts, clock, fetched)), fetched.unreadable


def _clock(connection: Connection, state: JobState, facts: dict[str, Any], say: Say) -> dict[str, Any]:
    """Offset and drift from the reading before the run, where this boot of the desk has one, and one now."""
    before, reason = None, "there was no exchange before the run"
    if facts.get("desk_boot_id") == journal.boot_id():
        with suppress(KeyError, TypeError):
            before = Reading(**facts["before"])
    elif facts:
        reason = "the desk was started anew since the run began"
    try:
        after = _read_clock(connection, say)
    except BoardClockError as error:
        return fit(before, None, str(error)).to_dict() if before else {"reason": str(error)}
    if before is None:
        if state.boot_id and after.boot_id and state.boot_id != after.boot_id:  # its clock is not that of the capture
            return {"reason": f"{reason}, and the board was started anew since"}
        return fit(after, None, reason).to_dict()
    try:
        return fit(before, after).to_dict()
    except BoardClockError as error:
        return fit(before, None, str(error)).to_dict()


def _read_clock(connection: Connection, say: Say) -> Reading:
    """Compare the clocks; a connection that was cut is made anew for that.  Raises BoardError, BoardClockError."""
    try:
        return connection.read_clock()
    except Lost as error:
        connection.open_again(error, say)
        return connection.read_clock()


def _remote(
    connection: Connection, state: JobState, facts: dict[str, Any], clock: dict[str, Any], fetched: Fetched
) -> dict[str, Any]:
    """The manifest's ``remote``."""
    return {
        "board": connection.board.name,
        "address": connection.board.address,
        "job": state.job,
        "owner": state.owner,
        "state": state.state,
        "error": state.error,
        "agent": facts.get("agent"),
        "python": facts.get("python") or connection.hello.python,
        "sync": facts.get("sync"),
        "files": fetched.files,
        "bytes": fetched.total,
        "fetched_bytes": fetched.bytes,
        "unreadable": fetched.unreadable,
        "clock": clock,
    }


def _forget(connection: Connection, job: str, say: Say) -> None:
    """The capture is safe: what is left on the board is only in the way."""
    try:
        jobs.forget(connection, job)
    except BoardError as error:
        say(f"{error}; the run is still on the board, too: `edgeprof board pull {connection.board.name}` removes it")


def _outcome(board: str, state: JobState, arrived: Arrived, say: Say) -> Outcome:
    if state.state in ("ended",):
        return Outcome(str(arrived.path), state.exit_code, state.signal, arrived.manifest)
    say(str(NoCapture(board, state)))
    return Outcome(str(arrived.path), NoCapture(board, state).exit_code, None, arrived.manifest)
