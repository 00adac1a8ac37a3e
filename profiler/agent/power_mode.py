"""The power mode of the machine: read, set for a run, and put back through the undo journal.

It is nvpmodel's where there is that tool (Jetson), else the cpufreq governor of all policies, else the platform's
profile.  (Documentation/admin-guide/pm/cpufreq.rst and ABI/testing/sysfs-platform_profile of the kernel.)
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional

from edgeprof.collectors.base import Journal, Roots
from edgeprof.collectors.sysfs import children, put, read_text
from edgeprof.profiler.agent import nvpmodel
from edgeprof.profiler.agent.journal import boot_id
from edgeprof.profiler.agent.nvpmodel import PROGRAM
from edgeprof.profiler.agent.spec import USAGE, CaptureError

NVPMODEL, GOVERNOR, PROFILE = "nvpmodel", "governor", "profile"

_PROFILE = "firmware/acpi/platform_profile"
_USERSPACE = "userspace"
"""The governor that holds the clock that somebody has written to scaling_setspeed."""


class PowerMode(NamedTuple):
    """A machine's power mode.

    Attributes:
        kind: ``nvpmodel``, ``governor`` or ``profile``: what sets it.
        name: of the mode; of governors that differ, all of them.  None: it is not known.
        number: nvpmodel's; None elsewhere.
        governors: governor by cpufreq policy, such as ``policy0``.
        reason: why it is not known; empty where it is.
    """

    kind: str
    name: Optional[str]
    number: Optional[int] = None
    governors: Dict[str, str] = {}  # noqa: RUF012  (a NamedTuple default; never changed in place)
    reason: str = ""

    def described(self) -> Dict[str, Any]:
        """For the manifest."""
        return dict(self._asdict())

    def __str__(self) -> str:
        if self.name is None:
            return "an unknown mode ({})".format(self.reason)
        return self.name if self.number is None else "{} ({})".format(self.name, self.number)


class Tools(NamedTuple):
    """The program that is called as nvpmodel; the options ``power_mode`` of a RunSpec."""

    nvpmodel: str = PROGRAM


def read(roots: Roots = Roots(), tools: Tools = Tools()) -> Optional[PowerMode]:
    """The mode now; None: this machine has nothing of the kind."""
    program = nvpmodel.find(tools.nvpmodel)
    if program is not None:
        try:
            found = nvpmodel.query(program)
        except OSError as error:
            return PowerMode(NVPMODEL, None, reason=error.strerror or str(error))
        return PowerMode(NVPMODEL, found.name, found.number)
    governors = _governors(roots)
    if governors:
        named = {os.path.basename(os.path.dirname(path)): value for path, value in governors.items()}
        if any(folder == "cpufreq" for folder in named):  # before policies had folders: cpu0/cpufreq
            named = {path.split(os.sep)[-3]: value for path, value in governors.items()}
        return PowerMode(GOVERNOR, ", ".join(sorted(set(named.values()))), governors=named)
    profile = read_text(os.path.join(roots.sys, _PROFILE))
    return PowerMode(PROFILE, profile) if profile else None


def available(roots: Roots = Roots(), tools: Tools = Tools()) -> List[str]:
    """The names that `change` takes here: of nvpmodel as ``NAME (NUMBER)``."""
    if nvpmodel.find(tools.nvpmodel) is not None:
        return ["{} ({})".format(*mode) for mode in nvpmodel.modes(roots.etc)]
    return [*_governors_offered(roots), *_profiles_offered(roots)]


def change(wanted: str, journal: Journal, roots: Roots = Roots(), tools: Tools = Tools()) -> List[int]:
    """Set a mode by name, or number on a Jetson; what undoes it is in the journal before anything is changed.

    Returns the numbers of the journal's entries, none where the mode was set already.

    Raises:
        CaptureError: there is no such mode, or it cannot be set; entries already written are still to be undone.
    """
    program = nvpmodel.find(tools.nvpmodel)
    if program is not None:
        return _change_nvpmodel(program, wanted, journal, roots)
    if wanted in _governors_offered(roots):
        return _write_all(wanted, _governors(roots), "governor", journal)
    if wanted in _profiles_offered(roots):
        path = os.path.abspath(os.path.join(roots.sys, _PROFILE))
        return _write_all(wanted, {path: read_text(path) or ""}, "platform profile", journal)
    raise _unknown(wanted, available(roots, tools))


def _unknown(wanted: str, there: List[str]) -> CaptureError:
    if not there:
        return CaptureError(
            "cannot set the power mode {}: this machine has none to choose from (no nvpmodel, no cpufreq governors, no "
            "platform profile); leave --power-mode out".format(wanted),
            USAGE,
        )
    return CaptureError("there is no power mode {!r} here; there are: {}".format(wanted, ", ".join(there)), USAGE)


def _change_nvpmodel(program: str, wanted: str, journal: Journal, roots: Roots) -> List[int]:
    number = _number_of(wanted, roots)
    try:
        before = nvpmodel.query(program)
    except OSError as error:
        raise CaptureError(
            "the power mode could not be put back, since the present one cannot be read: {}; set one with `sudo "
            "nvpmodel -m N` first".format(error.strerror)
        ) from None
    if before.number is None:
        raise CaptureError(
            "the power mode could not be put back: nvpmodel gives no number for {}; set one with `sudo nvpmodel -m "
            "N` first".format(before.name)
        )
    if before.number == number:  # nvpmodel may want a reboot even for the mode that is set
        return []
    entry = journal.record(
        "power_mode",
        program=os.path.abspath(program),
        number=before.number,
        name=before.name,
        set=number,
        boot_id=boot_id(),
    )
    try:
        nvpmodel.switch(program, number)
    except OSError as error:
        root = "" if os.geteuid() == 0 else "; only root may set it: run edgeprof with sudo"
        raise CaptureError("cannot set the power mode {}: {}{}".format(wanted, error.strerror, root)) from None
    return [entry]


def _number_of(wanted: str, roots: Roots) -> int:
    """nvpmodel's number of a mode; without its configuration, only a number can be told."""
    there = nvpmodel.modes(roots.etc)
    for mode in there:
        if mode.number is not None and wanted in (mode.name, str(mode.number)):
            return mode.number
    for mode in there:
        if mode.number is not None and wanted.lower() == (mode.name or "").lower():
            return mode.number
    if not there and wanted.isdecimal():
        return int(wanted)
    if not there:
        raise CaptureError(
            "cannot look up the power mode {}: {}/{} names no modes; give its number".format(
                wanted, roots.etc, nvpmodel.CONFIGURATION
            ),
            USAGE,
        )
    raise _unknown(wanted, ["{} ({})".format(*mode) for mode in there])


def _write_all(wanted: str, files: Dict[str, str], what: str, journal: Journal) -> List[int]:
    entries = []
    for path, old in files.items():
        if old == wanted:
            continue
        if old == _USERSPACE:
            entries += _keep_speed(os.path.dirname(path), journal)
        entries.append(journal.record("write", path=path, old=old))
        try:
            put(path, wanted)
        except OSError as error:
            root = "; only root may set it: run edgeprof with sudo" if isinstance(error, PermissionError) else ""
            raise CaptureError(
                "cannot set the {} {}: {} ({}){}".format(what, wanted, error.strerror, path, root)
            ) from None
        now = read_text(path)
        if now != wanted:
            raise CaptureError("cannot set the {} {}: it was written, but {} says {}".format(what, wanted, path, now))
    return entries


def _keep_speed(policy: str, journal: Journal) -> List[int]:
    """Journal the clock that the governor userspace holds: started again, it takes the clock that it then finds.

    It is journalled before the governor, and so put back after it: only then can it be set.
    """
    path = os.path.join(policy, "scaling_setspeed")
    speed = read_text(path) or ""
    return [journal.record("write", path=path, old=speed)] if speed.isdecimal() else []


def _governors(roots: Roots) -> Dict[str, str]:
    """File -> governor of each policy; one whose processors are off answers with an error, and is left out."""
    cpu = os.path.abspath(os.path.join(roots.sys, "devices/system/cpu"))
    folders = children(os.path.join(cpu, "cpufreq"), "policy[0-9]*")
    folders = folders or [os.path.join(folder, "cpufreq") for folder in children(cpu, "cpu[0-9]*")]
    paths = [os.path.join(folder, "scaling_governor") for folder in folders]
    return {path: value for path, value in ((path, read_text(path)) for path in paths) if value}


def _governors_offered(roots: Roots) -> List[str]:
    """The governors that every policy takes."""
    offered: Optional[List[str]] = None
    for path in _governors(roots):
        names = (read_text(os.path.join(os.path.dirname(path), "scaling_available_governors")) or "").split()
        offered = names if offered is None else [name for name in offered if name in names]
    return [name for name in offered or [] if name != _USERSPACE]  # which leaves the clock to whoever sets it


def _profiles_offered(roots: Roots) -> List[str]:
    return (read_text(os.path.join(roots.sys, _PROFILE + "_choices")) or "").split()
