"""Starts the workload: held before its exec until everything that watches it is in place.

The workload stays in edgeprof's process group and terminal, with its own standard streams, so that Ctrl-C,
Ctrl-Z and pipes work as without edgeprof.  It is not tied to edgeprof's life: when edgeprof is killed, the
workload finishes undisturbed.
"""

import ctypes
import errno
import os
import shutil
import signal
import struct
from typing import Any, Dict, NamedTuple, NoReturn, Optional, Sequence

from edgeprof.profiler.agent.spec import LAUNCH, CaptureError

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


_HINTS = {
    errno.ENOEXEC: "; name its interpreter first, as in `sh FILE`, or begin it with #!",
    errno.ENOENT: "; the interpreter that its first line names is missing",
}


class Exit(NamedTuple):
    """How the workload ended: exit code or signal, and the rusage of it and the children it waited for."""

    exit_code: Optional[int]
    signal: Optional[int]
    usage: Dict[str, float]


def find_program(command: Sequence[str], environment: Dict[str, str]) -> str:
    """The path of the program to run.  Raises CaptureError when there is none."""
    if not command or not command[0]:
        raise CaptureError("nothing to run; give a command after --, as in `edgeprof run -- python train.py`", 120)
    program = command[0]
    path = shutil.which(program, path=environment.get("PATH", os.defpath))
    if path is None:
        if os.path.isdir(program):
            raise CaptureError("cannot run {}: it is a folder".format(program), LAUNCH)
        if os.path.exists(program):
            hint = "make it executable with chmod +x, or name its interpreter first"
            raise CaptureError("cannot run {}: it is not executable; {}".format(program, hint), LAUNCH)
        raise CaptureError("cannot run {}: no such program on PATH or at that path".format(program), LAUNCH)
    return path


class HeldProcess:
    """A forked child that waits before its exec.

    ``release`` lets it go; ``abandon`` ends it unexecuted.
    """

    def __init__(self, program: str, command: Sequence[str]) -> None:
        # The gate carries the environment late: collectors add to it only once they have started.
        gate_read, self._gate = os.pipe2(os.O_CLOEXEC)
        self._failure, failure_write = os.pipe2(os.O_CLOEXEC)
        self._environment: Dict[str, str] = {}
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._gate)
            os.close(self._failure)
            _child(program, command, gate_read, failure_write)
        os.close(gate_read)
        os.close(failure_write)

    def release(self, environment: Dict[str, str]) -> None:
        """Let the child exec with ``environment``.  Raises CaptureError when the exec fails."""
        blob = b"\0".join(os.fsencode(name) + b"=" + os.fsencode(value) for name, value in environment.items())
        view = memoryview(struct.pack("<Q", len(blob)) + blob)
        try:
            while view:
                view = view[os.write(self._gate, view) :]
        except BrokenPipeError:
            pass  # the child was killed meanwhile: its exit says so
        os.close(self._gate)
        self._gate = -1
        message = b""
        while True:
            part = os.read(self._failure, 4096)
            if not part:
                break
            message += part
        os.close(self._failure)
        if message:
            os.waitpid(self.pid, 0)
            raise CaptureError("cannot run the workload: {}".format(message.decode("utf-8", "replace")), LAUNCH)

    def abandon(self) -> None:
        """End the child before its exec."""
        if self._gate >= 0:
            os.close(self._gate)
            os.close(self._failure)
            self._gate = -1
            os.waitpid(self.pid, 0)


def _child(program: str, command: Sequence[str], gate: int, failure: int) -> NoReturn:
    """The child's side; nothing here may return into the parent's code."""
    try:
        blob = b""
        while True:
            part = os.read(gate, 65536)
            if not part:
                break
            blob += part
        if len(blob) < 8 or len(blob) != 8 + struct.unpack_from("<Q", blob)[0]:
            os._exit(LAUNCH)  # the agent died, or gave up, before it let us go
        variables = dict(item.split(b"=", 1) for item in blob[8:].split(b"\0") if item)
        # As a shell would leave them: Python ignores SIGPIPE and SIGXFSZ, and the agent blocks what it waits for.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # unless it was ignored, as under nohup
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.execve(program, list(command), variables)  # noqa: S606  (running the user's program is the purpose)
    except OSError as error:
        os.write(failure, "{}: {}{}".format(program, error.strerror, _HINTS.get(error.errno or 0, "")).encode())
    except BaseException as error:
        os.write(failure, repr(error).encode())
    finally:
        os._exit(LAUNCH)


def wait_for(pid: int) -> Exit:
    """Reap the workload's first process; it has ended."""
    _, status, usage = os.wait4(pid, 0)
    figures = {
        "utime": usage.ru_utime,
        "stime": usage.ru_stime,
        "minor_faults": usage.ru_minflt,
        "major_faults": usage.ru_majflt,
        "peak_rss_bytes": usage.ru_maxrss * 1024,
        "read_bytes": usage.ru_inblock * 512,
        "write_bytes": usage.ru_oublock * 512,
        "voluntary_context_switches": usage.ru_nvcsw,
        "involuntary_context_switches": usage.ru_nivcsw,
    }
    if os.WIFSIGNALED(status):
        return Exit(None, os.WTERMSIG(status), figures)
    return Exit(os.WEXITSTATUS(status), None, figures)


def ended(pid: int) -> bool:
    """Whether the process has ended; it stays a zombie, so its last figures can still be read."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def adopt_orphans() -> None:
    """Without a cgroup the run is a process tree: keep orphaned descendants below this process."""
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
