"""The agent's commands on a board, called by the desk over SSH: ``python3 -I -B AGENT.pyz COMMAND [ARGUMENT]...``.

Structured input comes as lines of JSON on standard input, answers go to standard output, a line each; a failure is
one line ``{"error": sentence, "exit_code": 120..125}`` and exit code 3.  Each command's modules are imported when it is
called: a small board takes a second to compile them all.
"""

from __future__ import annotations

import os
import sys
import time

from edgeprof.profiler.agent.remote_protocol import ERROR_EXIT, PROTOCOL, Refused, answer, answer_at_once, home, refusal

TYPE_CHECKING = False  # as typing.TYPE_CHECKING
if TYPE_CHECKING:
    from typing import Callable, Dict, List, Tuple

USAGE_TEXT = "usage: python3 AGENT.pyz COMMAND [ARGUMENT]..., with one of these commands: {}"


def main(arguments: List[str]) -> int:
    """Do one command; the exit code."""
    name = arguments[0] if arguments else ""
    takes, command = _COMMANDS.get(name, (-1, None))
    if command is None or len(arguments) - 1 != takes:
        print(USAGE_TEXT.format(", ".join(_COMMANDS)), file=sys.stderr)
        return 2
    try:
        command(*arguments[1:])
    except BrokenPipeError:  # the desk has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python's end tries to flush
        return ERROR_EXIT
    except KeyboardInterrupt:
        return ERROR_EXIT
    except Exception as error:  # the desk shows a sentence, whatever happens here
        answer(refusal(error))
        return ERROR_EXIT
    return 0


def hello() -> None:
    """Who answers: what the desk has to know before it sends anything."""
    from edgeprof import __version__

    kernel = os.uname()
    answer_at_once(
        {
            "protocol": PROTOCOL,
            "edgeprof": __version__,
            "python": list(sys.version_info[:3]),
            "machine": kernel.machine,
            "kernel": kernel.release,
            "hostname": kernel.nodename,
            "uid": os.geteuid(),
            "home": home(),
            "free_bytes": _free_bytes(home()),
            "boot_id": _boot_id(),
            "monotonic_ns": time.monotonic_ns(),
            "realtime_ns": time.time_ns(),
        }
    )


def examine() -> None:
    """What this board can capture: the doctor's answer, and facts of the machine under ``host``."""
    from edgeprof.collectors.base import Roots
    from edgeprof.profiler.agent import doctor
    from edgeprof.profiler.agent.host import host_facts
    from edgeprof.profiler.agent.manifest import plain

    where = _existing(home())
    content = dict(doctor.examine(where).to_dict(), host=host_facts(Roots(), {"home": where}))
    answer(plain(content))


def clock() -> None:
    """For each line that comes, the clocks at that moment: ``<monotonic_ns> <realtime_ns> <boottime_ns>``."""
    lines, output = sys.stdin.buffer, sys.stdout.buffer
    while lines.readline(64):
        monotonic, realtime = time.monotonic_ns(), time.time_ns()
        output.write(b"%d %d %d\n" % (monotonic, realtime, time.clock_gettime_ns(time.CLOCK_BOOTTIME)))
        output.flush()


def start() -> None:
    """Start a job."""
    from edgeprof.profiler.agent.remote_compiled import use_compiled

    use_compiled()  # before the imports that follow, and those of the capture
    from edgeprof.profiler.agent.remote_protocol import read_request
    from edgeprof.profiler.agent.remote_start import start as start_job

    answer({"job": start_job(read_request(sys.stdin.buffer))})


def wait(job: str) -> None:
    """Block until a job is over; then its state."""
    from edgeprof.profiler.agent.remote_job import Job

    answer(Job(job).wait())


def state(job: str) -> None:
    """A job's state."""
    from edgeprof.profiler.agent.remote_job import Job

    answer(Job(job).told())


def jobs() -> None:
    """All jobs' states, a line each, oldest first."""
    from edgeprof.profiler.agent.remote_job import all_jobs

    for job in all_jobs():
        try:
            answer(job.told())
        except Refused:  # forgotten meanwhile
            continue


def send_signal(job: str, name: str) -> None:
    """Pass a signal to a job."""
    from edgeprof.profiler.agent.remote_job import Job

    Job(job).signal(name)
    answer({"sent": True})


def forget(job: str) -> None:
    """Remove a job that is over."""
    from edgeprof.profiler.agent.remote_job import Job

    Job(job).forget()
    answer({"forgotten": True})


def files(job: str) -> None:
    """What a job left, a line each file with size and SHA-256; then how many, their bytes, and how many are missing."""
    from edgeprof.profiler.agent.remote_files import listing, paths
    from edgeprof.profiler.agent.remote_job import Job

    folder = Job(job).folder
    found, unreadable = paths(folder)
    count = size = 0
    for item in listing(folder, found):
        if item["sha256"] is None:
            unreadable += 1
            continue
        answer(item)
        count += 1
        size += item["size"]
    answer({"files": count, "bytes": size, "unreadable": unreadable})


def send(job: str) -> None:
    """Send files from where the desk has them to."""
    from edgeprof.profiler.agent.remote_files import send as send_files
    from edgeprof.profiler.agent.remote_job import Job

    send_files(Job(job).folder, sys.stdin.buffer, sys.stdout.buffer)


def follow(job: str) -> None:
    """Send what a job appends to its files, about once a second, until it is over."""
    from edgeprof.profiler.agent.remote_follow import follow as follow_job
    from edgeprof.profiler.agent.remote_job import Job

    follow_job(Job(job), sys.stdout.buffer)


def receive(name: str) -> None:
    """Take a folder from the desk."""
    from edgeprof.profiler.agent.remote_sync import receive as receive_folder

    receive_folder(name, sys.stdin.buffer, answer)


def who() -> None:
    """Who has reserved this machine."""
    from edgeprof.profiler.agent.reserve import holder

    answer(holder().to_dict())


_COMMANDS: Dict[str, Tuple[int, Callable[..., None]]] = {
    "hello": (0, hello),
    "examine": (0, examine),
    "clock": (0, clock),
    "start": (0, start),
    "wait": (1, wait),
    "state": (1, state),
    "jobs": (0, jobs),
    "signal": (2, send_signal),
    "files": (1, files),
    "send": (1, send),
    "follow": (1, follow),
    "forget": (1, forget),
    "receive": (1, receive),
    "who": (0, who),
}
"""Command -> how many arguments it takes, and what does it."""


def _existing(path: str) -> str:
    """The path, or the nearest folder above it that exists."""
    while not os.path.isdir(path) and path != "/":
        path = os.path.dirname(path)
    return path


def _free_bytes(path: str) -> int:
    space = os.statvfs(_existing(path))
    return space.f_bavail * space.f_frsize


def _boot_id() -> str:
    """As `journal.boot_id`, whose module a ``hello`` need not import."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""
