"""A container's standard streams, signals and end, passed between the engine's sockets and this process.

Format: Docker Engine API, ContainerAttach, "Stream format": 8 bytes (1 or 2 for output or error, three zeros, the
length as a big-endian number), then the bytes.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import struct
import time
from types import TracebackType
from typing import Any

from edgeprof.profiler.agent.engine import Connection, Engine, send

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_HEADER = struct.Struct(">BxxxI")
_CHUNK = 1 << 16
_DRAIN_SECONDS = 10.0
"""For output that is still under way when the container has ended."""


class Lost(Exception):
    """The engine went away while the container ran."""

    def __init__(self) -> None:
        super().__init__("the container engine ended before the container did, so how that ended is not known")


class Streams:
    """Passes streams and signals from `attach` until the container's end; a context manager."""

    exit: http.client.HTTPResponse

    def __init__(self, path: str, name: str) -> None:
        self._path, self._name = path, name
        self._engine = Engine(path)
        self._parent = os.getppid()
        self._signals: list[int] = []
        self._wake_read, self._wake_write = os.pipe()
        self._connection: Connection | None = None
        self._socket: socket.socket | None = None
        self._stdin = -1
        self._pidfd = -1
        self._input = b""
        self._output = bytearray()
        self._gone: set[int] = set()

    def __enter__(self) -> Streams:
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in PASSED_ON:
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                signal.signal(number, lambda received, frame: self._signals.append(received))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def attach(self, stdin: bool) -> None:
        """Connect to the streams of a container that has not been started.  Raises OSError."""
        self._connection = Connection(self._path, timeout=30.0)
        ways = {"stream": "1", "stdout": "1", "stderr": "1", **({"stdin": "1"} if stdin else {})}
        send(self._connection, "POST", f"/containers/{self._name}/attach", **ways)
        self._socket = self._connection.sock
        self._stdin = 0 if stdin else -1

    def detach(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._socket = None

    def watch(self, pid: int) -> None:
        """Tell the agent when this process, the container's first, has ended: before the engine removes its cgroup."""
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError:  # before Linux 5.3, or it has ended
            self._pidfd = -1

    def attend(self, waiting: Connection) -> int:
        """Pass everything until the container has ended and its output is through; returns its exit code.

        Raises:
            Lost: the engine went away.
        """
        waiting_socket = waiting.sock
        assert waiting_socket is not None
        ended_at = 0.0
        while self._socket is not None or not ended_at:
            if ended_at and time.monotonic() > ended_at + _DRAIN_SECONDS:
                break
            poller = select.poll()
            poller.register(self._wake_read, select.POLLIN)
            if not ended_at:
                poller.register(waiting_socket, select.POLLIN)
            if self._pidfd >= 0:
                poller.register(self._pidfd, select.POLLIN)
            if self._socket is not None:
                poller.register(self._socket, select.POLLIN | (select.POLLOUT if self._input else 0))
                if self._stdin >= 0 and not self._input:
                    poller.register(self._stdin, select.POLLIN)
            ready = dict(poller.poll(1000))
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            self._pass_signals()
            if self._pidfd in ready:
                self._tell_agent()
            if self._stdin in ready:
                self._read_input()
            if self._socket is not None and self._socket.fileno() in ready:
                self._pass(ready[self._socket.fileno()])
            if not ended_at and waiting_socket.fileno() in ready:
                ended_at = time.monotonic()
        return self._exit_code()

    def _exit_code(self) -> int:
        try:
            answer: Any = json.loads(self.exit.read())
            return int(answer["StatusCode"]) & 0xFF
        except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
            raise Lost from None

    def _pass_signals(self) -> None:
        while self._signals:
            self._kill(self._signals.pop(0))

    def _kill(self, number: int) -> None:
        try:
            self._engine.call("POST", f"/containers/{self._name}/kill", signal=str(number))
        except OSError:
            pass  # it has just ended, or the engine has: the loop will see

    def _tell_agent(self) -> None:
        os.close(self._pidfd)
        self._pidfd = -1
        if os.getppid() == self._parent:  # else edgeprof was killed
            os.kill(self._parent, signal.SIGCHLD)

    def _read_input(self) -> None:
        assert self._socket is not None
        self._input = os.read(self._stdin, _CHUNK)
        if not self._input:
            self._stdin = -1
            self._socket.shutdown(socket.SHUT_WR)

    def _pass(self, events: int) -> None:
        """One turn of the connection: input to it, output from it."""
        assert self._socket is not None
        try:
            if events & select.POLLOUT and self._input:
                self._input = self._input[self._socket.send(self._input, socket.MSG_DONTWAIT) :]
            if not events & ~select.POLLOUT:
                return
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.detach()
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Write what is whole of the output, whatever the pieces it comes in."""
        self._output += data
        while len(self._output) >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self._output)
            if len(self._output) < _HEADER.size + length:
                break
            payload = bytes(self._output[_HEADER.size : _HEADER.size + length])
            del self._output[: _HEADER.size + length]
            self._write(2 if stream == 2 else 1, payload)

    def _write(self, descriptor: int, payload: bytes) -> None:
        view = memoryview(payload)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except BrokenPipeError:
            if descriptor not in self._gone:
                self._gone.add(descriptor)
                self._kill(signal.SIGPIPE)  # as the kernel does to a workload whose reader has gone
        except BlockingIOError:
            select.select([], [descriptor], [])
            self._write(descriptor, bytes(view))
