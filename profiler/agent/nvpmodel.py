"""Talks to nvpmodel, the power mode tool of Jetson boards: which modes there are, which one is set, and another one.

``nvpmodel -q`` prints ``NV Power Mode: NAME`` and the number on the next line, with warnings before or after;
``nvpmodel -m N`` sets a mode, and keeps it over reboots.  Some changes need a reboot: nvpmodel then asks whether to
reboot now, takes anything but yes for no, and leaves the mode as it was.  It is always answered no.
(NVIDIA Jetson Linux Developer Guide, chapter on power and performance.)
"""

import errno
import os
import re
import time
from typing import Any, Dict, List, NamedTuple, Optional

from edgeprof.collectors.clocks.capture import power_mode
from edgeprof.collectors.helper import Answer, ask, find_program
from edgeprof.collectors.sysfs import read_text
from edgeprof.profiler.agent.journal import boot_id

PROGRAM = "nvpmodel"
CONFIGURATION = "nvpmodel.conf"
"""Below /etc."""
ASK_SECONDS = 5.0
SET_SECONDS = 60.0
"""Setting a mode takes processors and engines on and off."""

_FOLDERS = ("/usr/sbin", "/sbin")
"""Not on the PATH of every user, nor of a command over SSH."""
_MODEL = re.compile(r"<\s*POWER_MODEL\s+ID=(\d{1,6})\s+NAME=([^>\n]{1,200}?)\s*>")
_MOST_MODES = 256


class NvpMode(NamedTuple):
    """A mode by name and number; either is None where nvpmodel does not say it."""

    name: Optional[str]
    number: Optional[int]


def find(program: str = PROGRAM) -> Optional[str]:
    """The tool's path; None: there is none here."""
    found = find_program(program)
    if found is None and "/" not in program:
        found = next(filter(None, (find_program("{}/{}".format(folder, program)) for folder in _FOLDERS)), None)
    return found


def modes(etc: str = "/etc") -> List[NvpMode]:
    """The modes that the tool's configuration names; empty where it cannot be read."""
    found = _MODEL.findall(_without_comments(read_text(os.path.join(etc, CONFIGURATION)) or ""))
    return [NvpMode(name, int(number)) for number, name in found[:_MOST_MODES]]


def _without_comments(text: str) -> str:
    return "\n".join(line.partition("#")[0] for line in text.splitlines())


def query(program: str) -> NvpMode:
    """The mode now; an ordinary user gets it too, with complaints on what else could not be read.

    Raises:
        OSError: the tool cannot be started, or says no mode.
    """
    answer = ask([program, "-q"], ASK_SECONDS, {"LC_ALL": "C"})
    found = query_text(answer.stdout)
    if found.name is None:
        raise OSError(errno.EIO, "nvpmodel -q names no power mode ({})".format(_complaint(answer)))
    return found


def query_text(text: str) -> NvpMode:
    """The mode that ``nvpmodel -q`` names in what it prints."""
    found = power_mode(text)
    return NvpMode(found["name"], found["number"])


def switch(program: str, number: int) -> None:
    """Set a mode, and see that it is set.

    Raises:
        OSError: it is not set: the tool wants a reboot for it, refuses, takes too long, or lies.
    """
    answer = ask([program, "-m", str(number)], SET_SECONDS, {"LC_ALL": "C"}, "no\n")
    said = answer.stdout + answer.stderr
    now = query(program).number
    if now == number and answer.code == 0:
        return
    if "reboot" in said.lower():
        raise OSError(
            errno.EBUSY,
            "nvpmodel sets it only with a reboot; `sudo nvpmodel -m {}`, answered yes, does that".format(number),
        )
    if answer.code is None:
        raise OSError(errno.ETIMEDOUT, "nvpmodel -m {} took more than {:g} s".format(number, SET_SECONDS))
    if answer.code == 0:
        raise OSError(errno.EIO, "nvpmodel -m {} went well by its own account, but the mode is {}".format(number, now))
    raise OSError(errno.EIO, "nvpmodel -m {} failed ({})".format(number, _complaint(answer)))


def undo(entry: Dict[str, Any]) -> str:
    """Set the mode that was there before the entry was written.

    After a reboot, a mode that is not the run's own has been chosen since, and stays.

    Raises:
        OSError: it cannot be set.
    """
    _wait_for_others(str(entry["program"]))
    program, old, ours = str(entry["program"]), int(entry["number"]), int(entry["set"])
    now = query(program).number
    if now == old or (entry["boot_id"] != boot_id() and now != ours):
        return ""
    switch(program, old)
    return "set the power mode back to {}".format(entry.get("name") or old)


def _wait_for_others(program: str) -> None:
    """An nvpmodel that outlived its edgeprof may be about to set its mode: wait until it has.  Raises OSError."""
    deadline = time.monotonic() + SET_SECONDS
    while _sets(program):
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, "an nvpmodel that sets another mode still runs")
        time.sleep(0.05)


def _sets(program: str) -> bool:
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open("/proc/{}/cmdline".format(pid), "rb") as file:
                words = file.read(4096).split(b"\0")
        except OSError:
            continue
        if os.fsencode(program) in words[:2] and b"-m" in words[1:3]:
            return True
    return False


def _complaint(answer: Answer) -> str:
    lines = [line.strip() for line in (answer.stdout + "\n" + answer.stderr).splitlines() if line.strip()]
    if answer.code is None:
        return "it took too long"
    return (lines[-1][:200] if lines else "it said nothing") + ", exit code {}".format(answer.code)
