"""The workload's own cgroup, on v2, v1 and hybrid hosts.

On v1 and hybrid hosts each controller has a hierarchy of its own, and the run gets a folder in each, below the
one edgeprof is in; hybrid hosts also get one in the ``unified`` (v2) hierarchy, which has pressure files.
On pure v2 hosts a cgroup with controllers may not sit below one that has processes in it (cgroup-v2.rst, "no
internal process constraint"): root makes it below the real root cgroup, which is exempt; an ordinary user
needs a delegated cgroup that edgeprof is alone in (``systemd-run --user --scope -p Delegate=yes edgeprof ...``).
"""

import errno
import os
import time
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple, Union

from edgeprof.collectors.base import SHORT_READ, Journal, Roots
from edgeprof.collectors.sysfs import put
from edgeprof.profiler.agent.journal import open_entries
from edgeprof.profiler.agent.spec import LAUNCH, CaptureError
from edgeprof.profiler.agent.undo import undo

BELOW_INTERVAL = 1.0
"""Seconds between two looks for cgroups below those just below the run's."""
_MEMBERS_BYTES = 1 << 16

V1_CONTROLLERS = ("memory", "blkio", "cpu", "cpuacct", "pids", "perf_event")
V2_CONTROLLERS = ("memory", "io", "cpu", "pids")


_NOT_ALONE = (
    "other processes are in it; start edgeprof in a cgroup of its own (`systemd-run --scope -p Delegate=yes edgeprof "
    "run ...`), or as the only process of its container"
)


class Hierarchy(NamedTuple):
    """One mounted cgroup hierarchy and the folder in it that this process belongs to."""

    version: int
    controllers: Tuple[str, ...]
    mount: str
    home: str


def hierarchies(roots: Roots = Roots()) -> List[Hierarchy]:
    """All cgroup hierarchies that are mounted and that this process can see itself in.

    Reads /proc/self/mountinfo (proc_pid_mountinfo(5)) and /proc/self/cgroup (cgroups(7)).
    """
    own = _own_paths(roots)
    found: List[Hierarchy] = []
    with open(roots.proc + "/self/mountinfo") as file:
        lines = file.read().splitlines()
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers: Tuple[str, ...] = ()
        inside, mount = _unescape(fields[3]), _unescape(fields[4])
        if kind[0] == "cgroup2":
            version, key = 2, ""
        else:
            names = set(kind[2].split(","))
            controllers = tuple(name for name in V1_CONTROLLERS if name in names)
            if not controllers:
                continue
            version, key = 1, controllers[0]
        if key not in own:
            continue
        relative = os.path.relpath(own[key], inside)
        home = mount if relative.startswith("..") else os.path.normpath(os.path.join(mount, relative))
        if not any(item.controllers == controllers and item.version == version for item in found):
            found.append(Hierarchy(version, controllers, mount, home))
    return found


def _mounts_v1(roots: Roots) -> List[str]:
    """Where cgroup v1 hierarchies of whatever controller are mounted."""
    found = []
    with open(roots.proc + "/self/mountinfo") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if after.startswith("cgroup ") and len(before.split()) > 4:
                found.append(_unescape(before.split()[4]))
    return found


def _own_paths(roots: Roots) -> Dict[str, str]:
    paths: Dict[str, str] = {}
    with open(roots.proc + "/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                paths[controller] = path
    return paths


def _unescape(text: str) -> str:
    """Mount paths write space, tab, newline and backslash as octal escapes."""
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escape, character)
    return text


class RunCgroup:
    """The folders of one run: ``paths`` maps controller names, and ``unified`` for v2, to them.

    ``mode`` is ``v1``, ``v2``, ``hybrid`` or ``none``; then ``reason`` says why there is none, or what it lacks.
    ``state`` is the folder of the runs' journals, which tells what other runs switched on.  With ``at_root`` (root
    only) it lies at the top of each hierarchy, whatever edgeprof's own place there is: a container engine knows one
    path for all of them.
    """

    def __init__(
        self, name: str, journal: Journal, roots: Roots = Roots(), state: str = "", at_root: bool = False
    ) -> None:
        self.paths: Dict[str, str] = {}
        self.reason = ""
        self.mode = "none"
        self._journal = journal
        self._state = state
        self._at_root = at_root and os.geteuid() == 0
        self._members_file = self._folder_file = -1
        self._below: List[str] = []
        self._below_due = 0.0
        self._inside = 0
        self._entries: List[Dict[str, Any]] = []
        self._limited: Set[str] = set()
        try:
            mounted = hierarchies(roots)
        except (OSError, ValueError) as error:
            self.reason = "cgroups cannot be read: {}".format(error)
            return
        versions = {item.version for item in mounted}
        if not mounted:
            self.reason = "no cgroup file system is mounted"
        for item in mounted:
            try:
                self._create(item, name, pure=versions == {2})
            except OSError as error:
                self.reason = "no cgroup could be made in {}: {}; {}".format(
                    item.home, error.strerror or error, _remedy(versions == {2})
                )
        if self._at_root and versions != {2}:
            self._expect(name, roots)
        if self.paths:
            self.mode = "hybrid" if "unified" in self.paths and len(self.paths) > 1 else ""
            self.mode = self.mode or ("v2" if "unified" in self.paths else "v1")

    def _create(self, item: Hierarchy, name: str, pure: bool) -> None:
        if item.version == 2 and pure:
            self._create_delegated(item, name)
            return
        path = os.path.join(item.mount if self._at_root else item.home, name)
        self._make(path, item.home)
        for controller in item.controllers or ("unified",):
            self.paths[controller] = path

    def _expect(self, name: str, roots: Roots) -> None:
        """The engine makes the same path in v1 hierarchies that edgeprof does not use, and leaves it behind."""
        known = {os.path.dirname(path) for path in self.paths.values()}
        for mount in _mounts_v1(roots):
            if mount not in known:
                self._record("cgroup", path=os.path.join(mount, name), home=mount)

    def _create_delegated(self, item: Hierarchy, name: str) -> None:
        """Make a v2 folder and switch on the controllers for it; another run that ends keeps them on once it is there.

        The journal's order is the other one: controllers are switched off when the folder is gone.
        """
        parent, home = self._delegated_parent(item, name)
        wanted = set(V2_CONTROLLERS) & set(_get(parent, "cgroup.controllers").split())
        ours = wanted & (_switched_on_by_runs(self._state, parent) | (wanted - _controllers_for_children(parent)))
        entry = self._record("controllers", path=parent, names=sorted(ours)) if ours else None
        path = os.path.join(parent, name)
        try:
            self._make(path, home)
        except OSError:
            if entry is not None:
                self._strike(entry)
            raise
        self.paths["unified"] = path
        missing = sorted(wanted - _controllers_for_children(parent))
        if missing:
            try:
                _put(parent, "cgroup.subtree_control", " ".join("+" + controller for controller in missing))
            except OSError as error:
                if entry is not None and set(missing) == ours:
                    self._strike(entry)
                why = "{}; {}".format(error.strerror, _remedy(True)) if error.errno != errno.EBUSY else _NOT_ALONE
                self.reason = "controllers {} cannot be switched on in {}: {}".format(", ".join(missing), parent, why)

    def _delegated_parent(self, item: Hierarchy, name: str) -> Tuple[str, str]:
        """A v2 folder whose children may have controllers, and where those go who outlive the run."""
        is_real_root = not os.path.exists(os.path.join(item.mount, "cgroup.type"))
        if os.geteuid() == 0 and is_real_root:
            return item.mount, item.home
        with open(os.path.join(item.home, "cgroup.procs")) as file:
            members = file.read().split()
        if members == [str(os.getpid())]:  # alone in a delegated scope: step aside into a leaf
            leaf = os.path.join(item.home, name + "-agent")
            self._make(leaf, item.home)
            _put(leaf, "cgroup.procs", str(os.getpid()))
            return item.home, leaf  # and from there back, once the controllers are off
        return item.home, item.home

    def _make(self, path: str, home: str) -> None:
        entry = self._record("cgroup", path=path, home=home)
        try:
            os.mkdir(path)
        except OSError:
            self._strike(entry)
            raise

    def _record(self, kind: str, **details: Any) -> Dict[str, Any]:
        entry = dict(details, kind=kind, n=self._journal.record(kind, **details))
        self._entries.append(entry)
        return entry

    def _strike(self, entry: Dict[str, Any]) -> None:
        self._journal.done(entry["n"])
        self._entries.remove(entry)

    def limit(self, memory: Optional[int], cpus: Optional[float]) -> None:
        """Set the user's limits.  Raises CaptureError when one cannot be set: a limit is a promise, not a wish."""
        if memory is not None:
            self._limit("memory", "memory.max", "memory.limit_in_bytes", str(memory))
        if cpus is not None:
            period = 100000
            quota = max(1000, int(cpus * period))  # the kernel's smallest quota is 1 ms
            if "cpu" in self.paths:
                self._limit("CPU time", "", "cpu.cfs_period_us", str(period))
                self._limit("CPU time", "", "cpu.cfs_quota_us", str(quota))
            else:
                self._limit("CPU time", "cpu.max", "", "{} {}".format(quota, period))

    def _limit(self, what: str, v2_file: str, v1_file: str, text: str) -> None:
        candidates = [("memory" if what == "memory" else "cpu", v1_file), ("unified", v2_file)]
        for controller, file in candidates:
            folder = self.paths.get(controller)
            if folder and file and os.path.exists(os.path.join(folder, file)):
                try:
                    _put(folder, file, text)
                    self._limited.add(controller)
                    return
                except OSError as error:
                    raise CaptureError(
                        "cannot limit {}: writing {!r} to {}/{} gave {}".format(
                            what, text, folder, file, error.strerror
                        ),
                        LAUNCH,
                    ) from None
        why = self.reason or "the cgroup has no such controller; {}".format(_remedy(self.mode == "v2"))
        raise CaptureError("cannot limit {}: {}".format(what, why), LAUNCH)

    def add(self, pid: int) -> None:
        """Move a process into all folders; a hierarchy that refuses is dropped, with its reason.

        Raises:
            CaptureError: the one that refuses holds a limit.
        """
        for controller, folder in sorted(self.paths.items()):
            try:
                _put(folder, "cgroup.procs", str(pid))
            except OSError as error:
                del self.paths[controller]
                self.reason = "{} refused the workload: {}".format(folder, error.strerror)
                if controller in self._limited:
                    raise CaptureError("cannot limit the workload: {}".format(self.reason), LAUNCH) from None
        if not self.paths:
            self.mode = "none"

    def members(self) -> List[int]:
        """Processes in the run's cgroup and in cgroups below it, without order; called at each tick."""
        unified = self.paths.get("unified")
        folder = unified or next(iter(self.paths.values()), None)
        if folder is None:
            return []
        # Kept open: opening a file costs ten times as much as reading it.
        try:
            if self._members_file < 0 and unified:  # v1 lists a file's members only once
                self._members_file = os.open(unified + "/cgroup.procs", os.O_RDONLY | os.O_CLOEXEC)
            if self._folder_file < 0:
                self._folder_file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return []
        found = _pids(self._members_file) if unified else _members_of(folder)
        now = time.monotonic()
        inside = _links(self._folder_file)
        if inside != self._inside or now >= self._below_due:
            self._below, self._below_due = _folders_below(folder), now + BELOW_INTERVAL
            self._inside = inside
        for inner in self._below:
            found.extend(_members_of(inner))
        return found

    def remove(self) -> List[str]:
        """Undo all that was made, newest first; whoever still lives in the folders goes to where edgeprof came from.

        Returns a sentence for each that could not be removed; its journal entry stays.
        """
        for descriptor in (self._members_file, self._folder_file):
            if descriptor >= 0:
                os.close(descriptor)
        self._members_file = self._folder_file = -1
        problems = []
        for entry in reversed(self._entries):
            try:
                undo(entry)
                self._journal.done(entry["n"])
            except OSError as error:
                problems.append("{} could not be undone: {}".format(entry["path"], error.strerror))
        self._entries = []
        return problems


def _controllers_for_children(folder: str) -> Set[str]:
    return set(_get(folder, "cgroup.subtree_control").split())


def _switched_on_by_runs(state: str, parent: str) -> Set[str]:
    """Controllers that runs which have not ended switched on in ``parent``: the last of them switches them off."""
    names: Set[str] = set()
    for entry in open_entries(state, "controllers") if state else ():
        if entry.get("path") == parent and isinstance(entry.get("names"), list):
            names.update(name for name in entry["names"] if isinstance(name, str))
    return names


def _pids(descriptor: int) -> List[int]:
    try:
        listed = os.pread(descriptor, _MEMBERS_BYTES, 0)
        while len(listed) > SHORT_READ:
            more = os.pread(descriptor, _MEMBERS_BYTES, len(listed))
            if not more:
                break
            listed += more
        return [int(line) for line in listed.split()]
    except OSError:  # ENODEV: it was removed meanwhile
        return []


def _members_of(folder: str) -> List[int]:
    try:
        descriptor = os.open(folder + "/cgroup.procs", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return _pids(descriptor)
    finally:
        os.close(descriptor)


def _links(folder: Union[str, int]) -> int:
    """2 and the number of cgroups inside, as kernfs counts them; 0 for one that is gone."""
    try:
        return os.stat(folder).st_nlink
    except OSError:
        return 0


def _folders_below(folder: str) -> List[str]:
    """Cgroups that a container engine, or the workload itself, made below the run's."""
    if _links(folder) <= 2:
        return []
    try:
        below = [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return below + [path for inner in below for path in _folders_below(inner)]


def _remedy(pure_v2: bool) -> str:
    if os.geteuid() == 0:
        return "in a container, give it a writable cgroup (docker run --privileged --cgroupns=private)"
    if pure_v2:
        return "run as root, or `systemd-run --user --scope -p Delegate=yes edgeprof run ...`"
    return "run as root"


def _get(folder: str, name: str) -> str:
    with open(os.path.join(folder, name)) as file:
        return file.read()


def _put(folder: str, name: str, text: str) -> None:
    put(os.path.join(folder, name), text)
