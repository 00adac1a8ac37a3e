"""A tool that runs beside the workload (perf, blktrace, tegrastats): journalled, and gone when the agent is gone."""

import ctypes
import os
import signal
import time
from typing import IO, Any, Callable, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Union

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


def ask(argv: Sequence[str], timeout: float, env: Optional[Dict[str, str]] = None, reply: str = "") -> Answer:
    """Run a tool to its end and return what it printed; it gets ``timeout`` seconds, and ``reply`` to what it asks.

    Raises:
        OSError: the program cannot be started.
    """
    import subprocess

    try:
        done = subprocess.run(
            list(argv),
            input=reply.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            env=dict(os.environ, **env) if env else None,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(None, "", "")
    return Answer(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


class Helper:
    """A process of edgeprof's own beside the workload; the journal names it, so that it is ended whatever happens.

    Attributes:
        pid: its process id.
        cpu_seconds: what it used; known once it has ended.
    """

    def __init__(self, pid: int, journal: Optional[Journal]) -> None:
        self.pid = pid
        self.cpu_seconds = 0.0
        self._journal = journal
        self._entry = 0
        self._exit_code: Optional[int] = None
        if journal is not None:
            try:
                self._entry = journal.record("process", pid=pid, start_time=start_time(pid))
            except OSError:  # what cannot be journalled must not run
                self._journal = None
                self.stop(signal.SIGKILL)
                raise

    def alive(self) -> bool:
        """Whether the process still runs."""
        if self._exit_code is None:
            self._reap(os.WNOHANG)
        return self._exit_code is None

    def cpu_seconds_so_far(self, proc: str = "/proc") -> Optional[float]:
        """CPU time that its first thread has used by now (sched-stats.rst), s; None where the kernel does not tell."""
        try:
            with open("{}/{}/schedstat".format(proc, self.pid), "rb") as file:
                return int(file.read().split()[0]) / 1e9
        except (OSError, ValueError, IndexError):
            return None

    def stop(self, number: int = signal.SIGINT, timeout: float = 5.0) -> int:
        """Ask the process to end with a signal, kill it after ``timeout`` seconds; its exit code (-N: signal N)."""
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
            self._exit_code = 0
            return
        if pid == self.pid:
            self._exit_code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            self.cpu_seconds = usage.ru_utime + usage.ru_stime


class HelperProcess(Helper):
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
        super().__init__(self._process.pid, journal)

    def _reap(self, flags: int) -> None:
        super()._reap(flags)
        self._process.returncode = self._exit_code


class ForkedHelper(Helper):
    """A function in a forked process of its own: no second interpreter has to start beside the workload.

    It begins in a session of its own with nothing open but standard error, at the lowest priority.  The kernel sends
    it SIGTERM when the agent dies; the agent's signal mask is its own, too.

    Raises:
        OSError: no process can be made, or journalled.
    """

    def __init__(self, function: Callable[[], None], journal: Optional[Journal] = None) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _run_forked(function, parent)
        super().__init__(pid, journal)


def _run_forked(function: Callable[[], None], parent: int) -> NoReturn:
    """The child's side; nothing here may return into the parent's code."""
    code = 1
    try:
        os.setsid()
        for name in os.listdir("/proc/self/fd"):
            if int(name) != 2:
                try:
                    os.close(int(name))
                except OSError:  # it was the listing's own
                    continue
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        os.nice(19)
        if os.getppid() == parent:
            function()
        code = 0
    finally:
        os._exit(code)


def _writable(target: Union[str, int, None]) -> Union[IO[Any], int]:
    if isinstance(target, int):
        return target
    return open(target or os.devnull, "ab")
