"""A board's CLOCK_MONOTONIC against the desk's: offset and drift from a timed exchange before a run and one after.

The desk asks and the board answers with its clocks, several times; the quickest answer counts, and half of its round
trip bounds the error (`edgeprof.profiler.guest.clock` says why).  Between the two exchanges the clocks' difference is
taken as a straight line: two crystals of steady temperature, of which neither is being corrected by much.

CLOCK_MONOTONIC starts anew with each boot and stops while a machine sleeps.  Readings of two boots, and readings
between which one side slept or ran away, are refused: no line goes through them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from edgeprof.profiler.agent.host import clock_triplet
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.guest import clock as exchanges
from edgeprof.profiler.guest.clock import Times

ROUNDS = exchanges.ROUNDS

MOST_DRIFT_PPM = 2000.0
"""Two crystals differ by some 100 ppm, and each side may be slewed by 500 ppm (adjtimex(2)) twice: what is more is no
drift.  Where only one reading is to be had, the error grows by as much."""

_MOST_NS = 1 << 63
"""No clock of the kernel reaches it (time_t, 64 bits of ns)."""

_SLEEP_NS = 1_000_000
"""Less is no sleep; and a board reads its clocks one after the other, within one round."""


_ROUNDING_NS = 3


class BoardClockError(EdgeprofError):
    """The clocks cannot be compared."""


class OtherBoot(BoardClockError):
    """The board was started anew between the readings."""


@dataclass(frozen=True)
class Reading:
    """One exchange.  Nanoseconds.

    Attributes:
        desk_ns: CLOCK_MONOTONIC of the desk, in the middle of the quickest round.
        offset_ns: board - desk, CLOCK_MONOTONIC of both.
        error_ns: bound of the error of ``offset_ns``: half of the quickest round trip.
        realtime_offset_ns: board - desk, of the clocks that tell the day (CLOCK_REALTIME); off by ``error_ns``, too.
        board_realtime_ns: CLOCK_REALTIME - CLOCK_MONOTONIC of the board; changes where its clock is set.
        board_slept_ns: CLOCK_BOOTTIME - CLOCK_MONOTONIC of the board: asleep since its start.
        desk_slept_ns: the same of the desk.
        boot_id: of the board; empty: not known.
    """

    desk_ns: int
    offset_ns: int
    error_ns: int
    realtime_offset_ns: int
    board_realtime_ns: int
    board_slept_ns: int
    desk_slept_ns: int
    boot_id: str = ""


@dataclass(frozen=True)
class BoardClock:
    """The line through two readings.

    Attributes:
        desk_ns: CLOCK_MONOTONIC of the desk at the first reading.
        offset_ns: board - desk then.
        drift_ppm: change of the offset, microseconds a second of the desk's; None: one reading only, see ``reason``.
        drift_error_ppm: bound of its error.
        error_ns: bound of the error of `to_desk`, for times between the readings.
        realtime_offset_ns: how far the board's CLOCK_REALTIME was before the desk's at the first reading.
        realtime_step_ns: how far the board's CLOCK_REALTIME was set between the readings (or slewed by NTP); off by
            twice both readings' errors; None: one reading only.
        before, after: the readings.
        reason: why there is no drift.
    """

    desk_ns: int
    offset_ns: int
    drift_ppm: float | None
    drift_error_ppm: float | None
    error_ns: int
    realtime_offset_ns: int
    realtime_step_ns: int | None
    before: Reading
    after: Reading | None
    reason: str | None = None

    def to_desk(self, board_ns: Times) -> Times:
        """Times of the board's CLOCK_MONOTONIC, one or an array of int64, as times of the desk's, ns."""
        facts = {"host_ns": self.desk_ns, "offset_ns": self.offset_ns, "drift": (self.drift_ppm or 0.0) * 1e-6}
        return exchanges.to_host(facts, board_ns)

    def error_at(self, desk_ns: int) -> int:
        """Bound of the error of `to_desk` at a time of the desk's; it grows outside of the readings, ns."""
        end_ns = self.after.desk_ns if self.after else self.desk_ns
        outside = max(self.desk_ns - desk_ns, desk_ns - end_ns, 0)
        ppm = MOST_DRIFT_PPM if self.drift_error_ppm is None else self.drift_error_ppm
        return self.error_ns + math.ceil(outside * ppm * 1e-6 * _stretch(self.drift_ppm or 0.0))

    def to_dict(self) -> dict[str, Any]:
        """As it goes into a manifest."""
        return asdict(self)


def _stretch(drift_ppm: float) -> float:
    """An error of the offset, as one of a time of the desk's: at most so many times as large."""
    return 1 / (1 - min(abs(drift_ppm) * 1e-6, 0.9))


def exchange(
    ask: Callable[[], tuple[int, int, int]],
    rounds: int = ROUNDS,
    boot_id: str = "",
    clock: Callable[[], int] = time.monotonic_ns,
) -> Reading:
    """Compare the clocks, for two seconds at most.

    Args:
        ask: returns the board's CLOCK_MONOTONIC, CLOCK_REALTIME and CLOCK_BOOTTIME, ns.
        rounds: how often, at least once.
        boot_id: of the board's kernel.
        clock: the desk's CLOCK_MONOTONIC.

    Raises:
        BoardClockError: an answer is no time.
    """
    answers: dict[int, tuple[int, int, int]] = {}

    def ask_once() -> int:
        answer = ask()
        if not all(0 <= value < _MOST_NS for value in answer):
            raise BoardClockError(f"the board tells times that no clock has: {answer}")
        return answers.setdefault(answer[0], answer)[0]

    best = exchanges.exchange(ask_once, max(rounds, 1), clock)
    monotonic, realtime, boottime = answers[best.host_ns + best.offset_ns]
    desk = clock_triplet("exchange")
    return Reading(
        desk_ns=best.host_ns,
        offset_ns=best.offset_ns,
        error_ns=math.ceil(best.error_ns * (1 + MOST_DRIFT_PPM * 1e-6)),  # they drift in a round, too
        realtime_offset_ns=realtime - monotonic + best.offset_ns - (desk["realtime_ns"] - desk["monotonic_ns"]),
        board_realtime_ns=realtime - monotonic,
        board_slept_ns=boottime - monotonic,
        desk_slept_ns=desk["boottime_ns"] - desk["monotonic_ns"],
        boot_id=boot_id,
    )


def fit(before: Reading, after: Reading | None, reason: str | None = None) -> BoardClock:
    """The line through the readings.

    Args:
        after: None: it could not be had, for the ``reason``.

    Raises:
        OtherBoot: the board was started anew between them.
        BoardClockError: one side slept, or the clocks do not run alike.
    """
    drift: float | None = None
    drift_error: float | None = None
    step: int | None = None
    error = before.error_ns
    if after is not None:
        apart = after.desk_ns - before.desk_ns
        if apart <= 0:
            raise ValueError("the second reading must be later than the first")
        error = max(error, after.error_ns)
        change = after.offset_ns - before.offset_ns
        _check(before, after, apart, change)
        drift = change / apart * 1e6
        drift_error = (before.error_ns + after.error_ns) / apart * 1e6
        error = math.ceil(error * _stretch(drift)) + _ROUNDING_NS
        step = after.board_realtime_ns - before.board_realtime_ns
    return BoardClock(
        desk_ns=before.desk_ns,
        offset_ns=before.offset_ns,
        drift_ppm=drift,
        drift_error_ppm=drift_error,
        error_ns=error,
        realtime_offset_ns=before.realtime_offset_ns,
        realtime_step_ns=step,
        before=before,
        after=after,
        reason=None if after is not None else reason or "there was no exchange after the run",
    )


def _check(before: Reading, after: Reading, apart: int, change: int) -> None:
    backwards = after.desk_ns + after.offset_ns < before.desk_ns + before.offset_ns
    if backwards or (before.boot_id and after.boot_id and before.boot_id != after.boot_id):
        raise OtherBoot("the board was started anew during the run: its clock cannot be followed across that")
    errors = before.error_ns + after.error_ns
    for side, slept in (
        ("board", after.board_slept_ns - before.board_slept_ns),
        ("desk", after.desk_slept_ns - before.desk_slept_ns),
    ):
        if slept > _SLEEP_NS + 2 * errors:
            raise BoardClockError(
                f"the {side} slept for {slept / 1e9:.3f} s during the run, and its monotonic clock with it:"
                " keep it awake while a run lasts"
            )
    allowed = errors + apart * MOST_DRIFT_PPM * 1e-6
    if abs(change) > allowed:
        raise BoardClockError(
            f"the clocks of board and desk ran apart by {abs(change) / 1e6:.3f} ms in {apart / 1e9:.3f} s:"
            " more than crystals do; is the board's clock source stable?"
        )
