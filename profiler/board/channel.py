"""One command's streams: written and read with bounds on size and time, whatever the other side does."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

from edgeprof.profiler.board.errors import ConnectionCut, Lost, NoAnswer, Nonsense

ANSWER_SECONDS = 60.0
LINE_BYTES = 1 << 20
SLOWEST = 16 << 10
"""Bytes a second below which a transfer is given up, after `ANSWER_SECONDS`."""
CUT = 255
"""What ssh exits with for a failure of its own: ssh(1)."""

_NOISE = 64 << 10
"""Bytes that a shell's start-up files may print."""
_BLOCK = 64 << 10
_COMPLAINT = 16 << 10
"""Bytes of standard error that are kept: the last ones."""
_GRACE = 5.0


class Channel:
    """A running ssh and the command at its far end.

    Raises (all methods that read or write):
        NoAnswer: nothing came in time.
        Nonsense: more came than may.
        ConnectionCut: ssh ended in the middle.
    """

    def __init__(self, board: str, doing: str, process: subprocess.Popen[bytes]) -> None:
        self.board = board
        self.doing = doing
        self._process = process
        assert process.stdin and process.stdout and process.stderr
        self._in, self._out, self._err = process.stdin, process.stdout, process.stderr
        for stream in (self._in, self._out, self._err):
            os.set_blocking(stream.fileno(), False)
        self._buffer = bytearray()
        self._ended = False
        self._complaint = bytearray()
        self._mute = False

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End ssh, whatever it is doing."""
        for stream in (self._in, self._out, self._err):
            with suppress(OSError):
                stream.close()
        try:
            self._process.wait(0.2)  # it has nothing to read or write any more
        except subprocess.TimeoutExpired:
            self._process.terminate()
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    # -- writing ---------------------------------------------------------------------------------------------------

    def write(self, data: bytes, seconds: float = ANSWER_SECONDS) -> None:
        """Send bytes; what the far side says meanwhile stays to be read."""
        deadline = time.monotonic() + seconds + len(data) / SLOWEST
        view = memoryview(data)
        while view:
            self._wait(deadline, seconds, writing=True)
            try:
                view = view[os.write(self._in.fileno(), view[:_BLOCK]) :]
            except BlockingIOError:
                continue
            except OSError:  # it is gone, or reads no more: what it said before tells why
                raise self.broken() from None

    def close_input(self) -> None:
        """Tell the far side that nothing more comes."""
        with suppress(OSError):
            self._in.close()

    # -- reading ---------------------------------------------------------------------------------------------------

    def line(self, seconds: float | None = ANSWER_SECONDS, most: int = LINE_BYTES) -> bytes | None:
        """The next line without its end, after at most ``seconds`` (None: whenever it comes); None: no more comes."""
        deadline = None if seconds is None else time.monotonic() + seconds
        seen = 0
        while True:
            at = self._buffer.find(b"\n", seen)
            if (at if at >= 0 else len(self._buffer)) > most:
                raise Nonsense(self.board, f"a line of more than {most} bytes")
            if at >= 0:
                line = bytes(self._buffer[:at])
                del self._buffer[: at + 1]
                return line
            if self._ended:
                if self._buffer:
                    raise self.broken()
                return None
            seen = len(self._buffer)
            self._read(deadline, seconds)

    def exactly(self, size: int, seconds: float = ANSWER_SECONDS) -> Iterator[bytes]:
        """The next ``size`` bytes, in blocks as they come."""
        deadline = time.monotonic() + seconds + size / SLOWEST
        left = size
        while left:
            if not self._buffer:
                if self._ended:
                    raise self.broken()
                self._read(deadline, seconds)
                continue
            block = bytes(self._buffer[: min(left, _BLOCK)])
            del self._buffer[: len(block)]
            left -= len(block)
            yield block

    def skip_to(self, mark: bytes, seconds: float = ANSWER_SECONDS) -> bool:
        """Drop all lines up to the one that is ``mark``; False: there is none."""
        deadline = time.monotonic() + seconds
        dropped = 0
        while (line := self._noise(deadline)) is not None:
            if line == mark:
                return True
            dropped += len(line) + 1
            if dropped > _NOISE:
                raise Nonsense(self.board, f"its shell prints more than {_NOISE} bytes before it begins")
        return False

    def _noise(self, deadline: float) -> bytes | None:
        try:
            return self.line(max(0.0, deadline - time.monotonic()), _NOISE)
        except ConnectionCut:
            return None

    # -- the end ---------------------------------------------------------------------------------------------------

    def end(self, seconds: float = ANSWER_SECONDS) -> int:
        """Wait for the far side to end, dropping what it still says, up to a bound; ssh's exit code."""
        self.close_input()
        deadline = time.monotonic() + seconds
        dropped = 0
        while not self._ended:
            self._read(deadline, seconds)
            dropped += len(self._buffer)
            self._buffer.clear()
            if dropped > LINE_BYTES:
                raise Nonsense(self.board, "it does not stop to answer")
        try:
            return self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise NoAnswer(self.board, self.doing, seconds) from None

    def complaint(self) -> str:
        """What came on standard error, the end of it."""
        while not self._mute and select.select([self._err], [], [], 0)[0]:
            self._read_complaint()
        return self._complaint.decode("utf-8", "replace")

    def broken(self) -> Lost | Nonsense:
        """The error for an answer that ended too early."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        code = self._process.poll()
        if code in (CUT, None) or code < 0:
            return ConnectionCut(self.board, self.doing)
        words = self.complaint().strip().splitlines()
        why = f": {words[-1]}" if words else ""
        return Nonsense(self.board, f"{self.doing} ended with {code} in the middle{why}")

    # -- below -----------------------------------------------------------------------------------------------------

    def _read(self, deadline: float | None, seconds: float | None) -> None:
        self._wait(deadline, seconds, writing=False)
        try:
            data = os.read(self._out.fileno(), _BLOCK)
        except BlockingIOError:
            return
        if data:
            self._buffer += data
        else:
            self._ended = True

    def _wait(self, deadline: float | None, seconds: float | None, *, writing: bool) -> None:
        """Until the stream is ready; standard error is taken meanwhile, so that ssh never waits for it."""
        wanted = self._in if writing else self._out
        while True:
            reading = [] if self._mute else [self._err.fileno()]
            if not writing:
                reading.append(wanted.fileno())
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise NoAnswer(self.board, self.doing, seconds or 0)
            if wanted.closed:
                raise self.broken()
            ready, writable, _ = select.select(reading, [wanted.fileno()] if writing else [], [], left)
            if self._err.fileno() in ready:
                self._read_complaint()
            if wanted.fileno() in ready or writable:
                return

    def _read_complaint(self) -> None:
        try:
            data = os.read(self._err.fileno(), _BLOCK)
        except BlockingIOError:
            return
        self._mute = not data
        self._complaint += data
        del self._complaint[:-_COMPLAINT]
