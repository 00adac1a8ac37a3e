"""Starts a job on a board: a process of its own that no end of the desk's connection disturbs.

The command that the desk called waits until that process has reserved the machine, and is all that tells it so.
"""

import json
import os
import select
import shutil
import signal
import sys
import time
from typing import Any, Dict, List, NoReturn

from edgeprof.collectors.helper import start_time
from edgeprof.profiler.agent import journal
from edgeprof.profiler.agent.remote_job import ENDED, FAILED, RUNNING, SIGNALS, STARTING, Job
from edgeprof.profiler.agent.remote_protocol import (
    INTERNAL,
    Refused,
    checked_name,
    home,
    no_storage,
    private_folder,
    refusal,
)
from edgeprof.profiler.agent.reserve import Reservation
from edgeprof.profiler.agent.spec import CaptureError, RunSpec

_LONGEST_WAIT = 7 * 86400.0
_PASSED_ON = {getattr(signal, "SIG" + name) for name in SIGNALS if name != "KILL"}
"""What comes before the capture takes signals waits, and reaches the workload as it starts."""

_SENTENCE = 1000
"""Characters of an error or note that are kept in a job's state."""


def start(request: Dict[str, Any]) -> str:
    """Start a job as the desk asks for it, and wait until it has the machine; the job's name.

    Args:
        request: ``job`` (its name), ``spec`` (a RunSpec's fields, of which ``folder`` is ignored), ``cwd`` (None, a
            folder that was received, or an absolute path), ``owner``, ``wait`` (seconds for the reservation).

    Raises:
        Refused, CaptureError, OSError: nothing was started, and nothing is left of it.
    """
    job = Job(checked_name(request.get("job"), "job"))
    owner, wait = request.get("owner") or "", request.get("wait") or 0
    if not isinstance(owner, str) or isinstance(wait, bool) or not isinstance(wait, (int, float)):
        raise Refused("the request has a wrong 'owner' or 'wait'")
    if not 0 <= wait <= _LONGEST_WAIT:
        raise Refused("nobody waits {} s for a board".format(wait))
    if not isinstance(request.get("spec"), dict):
        raise Refused("the request has no 'spec'")
    spec = RunSpec.from_json(json.dumps(dict(request["spec"], folder=job.captures)))
    cwd = _working_folder(request.get("cwd"))
    private_folder("jobs")
    try:
        os.mkdir(job.folder, 0o700)
    except FileExistsError:
        raise Refused("there is a job {} on this board already".format(job.name)) from None
    try:
        lock = job.take_lock()  # before anything says that there is a job
        os.mkdir(job.captures, 0o700)
        with open(os.path.join(job.folder, "spec.json"), "w") as file:
            json.dump(spec.to_dict(), file)
        began = {"owner": owner[:200], "started": _utc(), "boot_id": journal.boot_id(), "cwd": cwd}
        job.write_state(state=STARTING, **began)
        sys.stdout.flush()
        _check_desk()  # once there is a state: the desk that has gone may ask another command what became of the job
        answers, write_end = os.pipe()
        if os.fork() == 0:
            _detach(job, spec, began, float(wait), [answers], write_end)
        os.close(write_end)
        os.close(lock)
        os.wait()
        _await(answers)
    except BaseException:
        shutil.rmtree(job.folder, ignore_errors=True)
        raise
    return job.name


def _working_folder(cwd: Any) -> str:
    """Where the workload starts."""
    if cwd is None:
        return os.path.expanduser("~")
    if not isinstance(cwd, str) or "\0" in cwd:
        raise Refused("the request has a wrong 'cwd'")
    if os.path.isabs(cwd):
        path = cwd
    else:
        top = os.path.realpath(os.path.join(home(), "sync"))
        path = os.path.realpath(os.path.join(top, cwd))
        if not path.startswith(top + os.sep):
            raise Refused("the folder {!r:.200} is not below {}".format(cwd, top))
    if not os.path.isdir(path):
        raise Refused("there is no folder {!r:.200} on the board".format(path))
    return path


def _check_desk() -> None:
    """Raises BrokenPipeError where the desk has gone."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # an error is told all the same
    if poll.poll(0):
        raise BrokenPipeError


def _await(answers: int) -> None:
    """Read whether the job's process has the machine; when the desk goes away before, the process is ended.

    Raises:
        Refused: it has not, and is gone.
    """
    poll = select.poll()
    poll.register(answers, select.POLLIN)
    poll.register(sys.stdout.fileno(), 0)  # an error is told all the same: the desk has gone
    pid = 0
    text = b""
    while True:
        ready = dict(poll.poll())
        if answers in ready:
            part = os.read(answers, 65536)
            text += part
            head, line, rest = text.partition(b"\n")
            if line and not pid:
                pid = int(head)
            if rest.endswith(b"\n"):
                answer = json.loads(rest)
                break
            if not part:
                raise Refused("the job's process ended before it began", INTERNAL)
        elif pid:  # unless it has begun just now
            os.kill(pid, signal.SIGKILL)
            raise BrokenPipeError
    os.close(answers)
    if "error" in answer:
        raise Refused(answer["error"], answer["exit_code"])


def _detach(job: Job, spec: RunSpec, began: Dict[str, Any], wait: float, unneeded: List[int], answers: int) -> NoReturn:
    """In the first child: leave the desk's session, and go on in a grandchild that nobody waits for."""
    try:
        for file in unneeded:
            os.close(file)
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        _redirect(job)
        # As a login leaves them, for the workload, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(began["cwd"])
        os.write(answers, b"%d\n" % os.getpid())
        began = dict(began, pid=os.getpid(), start_time=start_time(os.getpid()))
        reservation = Reservation(began["owner"], job.name, wait)
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
        job.write_state(state=RUNNING, **began)
    except BaseException as error:
        try:
            known = error if isinstance(error, Exception) else Refused("the job's process was ended", INTERNAL)
            os.write(answers, json.dumps(refusal(known)).encode() + b"\n")
        finally:
            os._exit(1)
    try:
        os.write(answers, b"{}\n")
        os.close(answers)
    except OSError:  # the desk has gone: the run goes on, and can be fetched later
        pass
    try:
        _capture(job, spec, began)
        reservation.release()
    finally:
        os._exit(0)


def _redirect(job: Job) -> None:
    """Standard streams of the workload: nothing comes in, and what goes out is kept."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for target, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(os.path.join(job.folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, target)
        os.close(file)


def _capture(job: Job, spec: RunSpec, began: Dict[str, Any]) -> None:
    """Capture, and write down how it ended; whatever happens, there is a state."""
    from edgeprof import __version__
    from edgeprof.profiler.agent.capture import capture

    notes: List[str] = []
    ending: Dict[str, Any] = {"state": FAILED}
    try:
        outcome = capture(spec, announce=lambda line: notes.append(line[:_SENTENCE]), version=__version__)
        ending = {"state": ENDED, "exit_code": outcome.exit_code, "signal": outcome.signal}
    except CaptureError as error:
        ending.update(error=str(error)[:_SENTENCE], exit_code=error.exit_code)
    except OSError as error:
        ending.update(error=no_storage(error)[:_SENTENCE], exit_code=refusal(error)["exit_code"])
    except BaseException as error:
        ending.update(error="a bug in edgeprof's agent: {!r:.500}".format(error), exit_code=INTERNAL)
    job.write_state(**began, **ending, capture=job.capture(), notes=notes[:4])


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
