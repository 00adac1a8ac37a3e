"""A board's Python that misbehaves: it runs the real agent, but for the commands that a test answers itself.

Also a program for ``EDGEPROF_SSH`` that runs what is for the board on this machine, without a server: what a board says
is the same over any transport.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

JOB = "0123456789abcdef"
RUN = "20260101T000000Z-x-abc123"
CONTENT = {
    "stdout": b"hello\n",
    "stderr": b"",
    f"capture/{RUN}/manifest.json": b"{}\n",
    f"capture/{RUN}/raw/procfs/samples.frames": bytes(range(256)) * 4000,
}
"""Files of a job."""

_SCRIPT = """\
#!{python} -IS
import json, os, signal, subprocess, sys, time
def say(*values):
    for value in values:
        data = value if isinstance(value, bytes) else (json.dumps(value) + "\\n").encode()
        while data:
            data = data[os.write(1, data):]
if sys.argv[1:] == ["-V"]:
    print({version!r})
    sys.exit()
name = sys.argv[4]
MARK = {folder!r} + "/" + name
exec(open({body!r}).read())
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


def stand_in(folder: Path, body: str, version: str = "Python 3.9.2") -> str:
    """Write the program; its path.

    ``body`` is Python that may look at ``name``, the agent's command, and answer with ``say``; what it leaves alone is
    done by the real agent.  ``MARK`` is a path of the command's own.  `answer` changes it.
    """
    path = folder / "python"
    text = _SCRIPT.format(python=sys.executable, version=version, folder=str(folder), body=str(folder / "body.py"))
    path.write_text(text)
    path.chmod(0o755)
    answer(folder, body)
    return str(path)


def answer(folder: Path, body: str) -> None:
    """From now on the program in ``folder`` does this."""
    (folder / "body.py").write_text(textwrap.dedent(body))


def job_state(**more: object) -> dict[str, object]:
    """The state of a job that is over, without what only the agent knows."""
    return {
        "state": "ended",
        "capture": RUN,
        "exit_code": 0,
        "signal": None,
        "error": None,
        "owner": "me@desk",
        "started": "2026-01-01T00:00:00Z",
        "boot_id": "",
        **more,
    }


def leave_job(home: Path, name: str = JOB, run: str = RUN, **state: object) -> Path:
    """A job that is over, as the agent of the board with this home leaves it; its folder."""
    job = home / "jobs" / name
    for path, data in CONTENT.items():
        place = job / path.replace(RUN, run)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    (job / "lock").touch()
    told = {**job_state(capture=run, **state), "pid": 1, "start_time": 1, "cwd": None, "notes": []}
    (job / "state.json").write_text(json.dumps(told))
    return job


def local_ssh(folder: Path) -> Path:
    """A program that is called as ssh is, and runs its last argument here as a login shell would."""
    path = folder / "local-ssh"
    path.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    path.chmod(0o755)
    return path
