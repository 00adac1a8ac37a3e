"""A tool that runs beside the workload (perf, blktrace, tegrastats): journalled, and gone when the agent is gone."""

import ctypes
import os
import signal
import time
from typing import IO, Any, Dict, List, NamedTuple, Optional, Sequence, Union

from edgeprof.collectors.base import Journal

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def start_time(pid: int, proc: str = "/proc") -> int:
    """Field 22 of /proc/PID/stat, clock ticks since boot: with the pid it names one process for good.

    Raises:
        OSError: there is no such process.
    """
    with open("{}/{}/stat".format(proc, pid), "rb") as file:
        stat = file.read()
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def find_program(name: str) -> Optional[str]:
    """Full path of an executable on PATH (a name with a slash stands for itself); None when there is none."""
    folders = [""] if os.sep in name else os.environ.get("PATH", os.defpath).split(os.pathsep)
    for folder in folders:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


class Answer(NamedTuple):
    """What a tool that was asked once said; ``code`` is None when it was too slow and was killed."""

    code: Optional[int]
    stdout: str
    stderr: str


def ask(argv: Sequence[str], timeout: float, env: Optional[Dict[str, str]] = None) -> Answer:
    """Run a tool to its end and return what it printed; it gets ``timeout`` seconds.

    Raises:
        OSError: the program cannot be started.
    """
    import subprocess

    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            env=dict(os.environ, **env) if env else None,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(None, "", "")
    return Answer(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


class HelperProcess:
    """Starts a tool in a session of its own (Ctrl-C does not reach it) and stops it by a signal.

    The journal names it before it can do anything, and the kernel kills it when the agent dies.

    Args:
        argv: program and arguments; found on PATH.
        stdout, stderr: a path to append to, a descriptor, or None for /dev/null.
        pass_fds: descriptors that the tool inherits.
        cwd: its working folder.
        env: variables that it gets besides the agent's own.

    Raises:
        OSError: the program cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        journal: Optional[Journal] = None,
        stdout: Union[str, int, None] = None,
        stderr: Union[str, int, None] = None,
        pass_fds: Sequence[int] = (),
        cwd: Optional[str] = None,
        env: Optional[Dict[str, str]] = None,
    ) -> None:
        import subprocess

        libc = ctypes.CDLL(None, use_errno=True)
        parent = os.getpid()

        def die_with_agent() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(127)
            signal.pthread_sigmask(signal.SIG_SETMASK, set())

        files: List[Union[IO[Any], int]] = []
        try:
            files.extend(_writable(target) for target in (stdout, stderr))
            self._process: "subprocess.Popen[bytes]" = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=files[0],
                stderr=files[1],
                pass_fds=tuple(pass_fds),
                cwd=cwd,
                env=dict(os.environ, **env) if env else None,
                start_new_session=True,
                preexec_fn=die_with_agent,
            )
        finally:
            for target, file in zip((stdout, stderr), files):
                if not isinstance(target, int):
                    file.close()  # type: ignore[union-attr]
        self.pid = self._process.pid
        self.cpu_seconds = 0.0
        self._journal = journal
        self._entry = 0
        self._exit_code: Optional[int] = None
        if journal is not None:
            try:
                self._entry = journal.record("process", pid=self.pid, start_time=start_time(self.pid))
            except OSError:  # what cannot be journalled must not run
                self._journal = None
                self.stop(signal.SIGKILL)
                raise

    def alive(self) -> bool:
        """Whether the tool still runs."""
        if self._exit_code is None:
            self._reap(os.WNOHANG)
        return self._exit_code is None

    def stop(self, number: int = signal.SIGINT, timeout: float = 5.0) -> int:
        """Ask the tool to end with a signal, kill it after ``timeout`` seconds; its exit code (-N: signal N)."""
        if self.alive():
            os.kill(self.pid, number)
            deadline = time.monotonic() + timeout
            while self.alive():
                if time.monotonic() > deadline:
                    os.kill(self.pid, signal.SIGKILL)
                    self._reap(0)
                    break
                time.sleep(0.005)
        if self._journal is not None:
            self._journal.done(self._entry)
            self._journal = None
        assert self._exit_code is not None
        return self._exit_code

    def _reap(self, flags: int) -> None:
        try:
            pid, status, usage = os.wait4(self.pid, flags)
        except ChildProcessError:  # reaped elsewhere: its usage is not known any more
            self._exit_code = self._process.returncode = 0
            return
        if pid == self.pid:
            self._exit_code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            self._process.returncode = self._exit_code
            self.cpu_seconds = usage.ru_utime + usage.ru_stime


def _writable(target: Union[str, int, None]) -> Union[IO[Any], int]:
    if isinstance(target, int):
        return target
    return open(target or os.devnull, "ab")
