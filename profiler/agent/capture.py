"""One capture from beginning to end: prepare, launch, watch, collect, write down, restore.

`capture` is the agent.  The order is fixed: the journal is open before the machine is changed, all
collectors run before the workload's exec, and the manifest is final before anything is said to be done.
"""

import gc
import json
import os
import resource
import secrets
import signal
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from edgeprof.collectors import registry
from edgeprof.collectors.base import Context, Roots
from edgeprof.collectors.helper import ForkedHelper, start_time
from edgeprof.profiler.agent import host, launch, manifest
from edgeprof.profiler.agent.cgroups import RunCgroup
from edgeprof.profiler.agent.conditions import Conditions
from edgeprof.profiler.agent.drive import Driven, make, start_all
from edgeprof.profiler.agent.governor import Governor
from edgeprof.profiler.agent.journal import UndoJournal, state_folder
from edgeprof.profiler.agent.signals import Received, SignalWait
from edgeprof.profiler.agent.spec import LAUNCH, STORAGE, USAGE, CaptureError, RunSpec, is_right
from edgeprof.profiler.agent.undo import clean_all, descendants, undo_all

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that edgeprof hands to the workload when they were sent to edgeprof alone."""

CGROUP_VARIABLE = "EDGEPROF_CGROUP"
"""In the environment of a stand-in: the run's cgroup; see `RunSpec`."""

_SI_USER = 0
_SI_KERNEL = 0x80  # asm-generic/siginfo.h: the terminal sent it, to the whole process group
_GRACE = 0.5
"""Seconds that processes get to end after the workload's first process, such as DataLoader's helpers."""
_FILES = 8192
"""Files that edgeprof may have open: several for each process of the run."""
BESIDE_AFTER = 4.0
"""Seconds that a run lasts before what is to go on beside it begins: its start takes about 20 ms of CPU time, which is
too large a share of a shorter run."""
_LOW_SPACE = 32 << 20
"""Free bytes below which sampling stops, so that the run itself does not meet a full disk because of edgeprof."""


class Outcome(NamedTuple):
    """Where the capture is, how the workload ended, and the final manifest."""

    path: str
    exit_code: Optional[int]
    signal: Optional[int]
    manifest: Dict[str, Any]

    def code(self) -> int:
        """What edgeprof should exit with: the workload's code, or 128 + its signal as shells do."""
        return 128 + self.signal if self.signal is not None else int(self.exit_code or 0)


def capture(
    spec: RunSpec,
    announce: Callable[[str], None] = lambda line: None,
    version: str = "",
    beside: Optional[Callable[[str], None]] = None,
) -> Outcome:
    """Run ``spec.command`` and capture it.

    Args:
        spec: what to do.
        announce: told in one line what the user should know as the run starts.
        version: edgeprof's version, for the manifest.
        beside: called with the capture directory in a process of its own while the run goes on, such as to show it;
            it returns when SIGTERM comes, which it finds blocked (`SignalWait`).

    Raises:
        CaptureError: nothing was run, and the machine is as before.
    """
    began = time.monotonic()
    program = launch.find_program(spec.command, dict(os.environ, **spec.environment))
    _check(spec)
    _clean_up_after_others(announce)
    session = _Session(spec, program, version, began, beside)
    try:
        return session.run(announce)
    finally:
        for sentence in session.close():
            announce(sentence + "; `edgeprof clean` tries again")


def _clean_up_after_others(announce: Callable[[str], None]) -> None:
    try:
        result = clean_all()
    except OSError as error:
        raise CaptureError(
            "cannot keep an undo journal: {} ({}); set EDGEPROF_STATE to a folder of yours".format(
                error.strerror, error.filename
            ),
            STORAGE,
        ) from None
    for sentence in result.undone:
        announce("left by an interrupted run: " + sentence)
    for sentence in result.failed:
        announce(sentence)


def _check(spec: RunSpec) -> None:
    if not 0 < spec.rate <= 1000:
        raise CaptureError("--rate must be above 0 and at most 1000 samples a second", USAGE)
    for field, option in (("steady", "--steady"), ("idle", "--idle"), ("power_mode", "--power-mode")):
        if not is_right(field, getattr(spec, field)):
            raise CaptureError("{} cannot be {!r}".format(option, getattr(spec, field)), USAGE)
    unknown = [name for name in spec.collect if name not in registry.NAMES]
    if unknown:
        raise CaptureError(
            "there is no collector {!r}; there are: {}".format(unknown[0], ", ".join(registry.NAMES)), USAGE
        )
    for name in spec.factors:
        wrong = manifest.wrong_factor(name)
        if wrong:
            raise CaptureError(wrong, USAGE)


class _Session:
    """The state of one capture; see `capture`."""

    def __init__(
        self, spec: RunSpec, program: str, version: str, began: float, beside: Optional[Callable[[str], None]] = None
    ) -> None:
        self.spec = spec
        self.program = program
        self.version = version
        self.began = began
        self.beside = beside
        self.beside_process: Optional[ForkedHelper] = None
        self.roots = Roots(**spec.roots)
        name = _safe_name(spec.name or os.path.basename(spec.command[0]))
        self.id = "{}-{}-{}".format(time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), name, secrets.token_hex(3))
        self.path = os.path.abspath(os.path.join(spec.folder, self.id))
        try:
            os.makedirs(os.path.join(self.path, "raw"))
        except OSError as error:
            raise CaptureError(
                "cannot write captures to {}: {}; choose another folder with --output".format(
                    os.path.abspath(spec.folder), error.strerror
                ),
                STORAGE,
            ) from None
        self.journal: Optional[UndoJournal] = None
        self.child: Optional[launch.HeldProcess] = None
        self.cgroup: Optional[RunCgroup] = None
        self.conditions: Optional[Conditions] = None
        self.driven: List[Driven] = []
        self.sampled: List[Driven] = []
        self.notes: List[str] = []
        self.launched = False
        self.old_mask: Optional[Set[Any]] = None
        self.old_handler: Any = None
        self.old_files: Optional[Tuple[int, int]] = None
        self.setup_cpu = 0.0
        self.run_cpu = 0.0
        self.low_space = False
        self._space_due = 0
        self.hold_seconds = 0.0
        self.end_ns = 0
        self.stretch = 1
        self.facts: Dict[str, Any] = {}
        self.clocks: List[Dict[str, Any]] = []

    # -- the flow ------------------------------------------------------------------------------------------

    def run(self, announce: Callable[[str], None]) -> Outcome:
        try:
            self._prepare(announce)
        except OSError as error:
            where = " ({})".format(error.filename) if error.filename else ""
            raise CaptureError(
                "cannot prepare the capture: {}{}".format(error.strerror or error, where), STORAGE
            ) from None
        announce(self._headline())
        start_ns = self._launch()
        self._watch(start_ns)
        ending = self._collect(start_ns)
        return self._write_down(start_ns, *ending)

    def _prepare(self, announce: Callable[[str], None]) -> None:
        """Journal, folders, cgroup, held child, collectors; up to here the workload has not run."""
        manifest.reserve_space(self.path)
        self.journal = UndoJournal(state_folder(), self.id, self.path)
        # Blocked before the fork: the loop below takes them one by one, and none can arrive unseen.
        self.old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, signal.SIGCHLD})
        state = os.path.dirname(self.journal.path)
        self.cgroup = RunCgroup("edgeprof-" + self.id, self.journal, self.roots, state, self.spec.stand_in)
        if self.spec.stand_in and not self.cgroup.paths:
            raise CaptureError("what runs in a container cannot be told: {}".format(self.cgroup.reason), LAUNCH)
        self.cgroup.limit(self.spec.memory_limit, self.spec.cpus)
        self.child = launch.HeldProcess(self.program, self.spec.command)
        self._adapt_after_fork()
        self.journal.record("workload", pid=self.child.pid, start_time=start_time(self.child.pid))
        if not self.spec.stand_in:
            self.cgroup.add(self.child.pid)
        if not self.cgroup.paths:
            launch.adopt_orphans()
            self.notes.append("the run has no cgroup of its own: {}".format(self.cgroup.reason))
        self.conditions = Conditions(self.spec, self.journal, self.path, self.roots)
        self.conditions.prepare(announce)
        self.facts = host.host_facts(self.roots, {"cwd": os.getcwd(), "capture": self.path})
        self.clocks = [host.clock_triplet("start")]
        self._start_collectors(self.child.pid)
        manifest.write_json(self.path, manifest.PARTIAL, self._manifest(None, None))

    def _adapt_after_fork(self) -> None:
        """What edgeprof needs, and the workload, which is forked already, must not inherit."""
        # Where the caller ignores SIGCHLD, the kernel reaps children by itself and their exit codes are lost.
        self.old_handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.old_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        soft, hard = self.old_files
        enough = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < enough:
            resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))

    def _start_collectors(self, pid: int) -> None:
        assert self.cgroup is not None
        names = self.spec.collect or registry.NAMES
        shared: Dict[str, Any] = {}
        for name in names:
            raw = os.path.join(self.path, "raw", name)
            os.makedirs(raw, exist_ok=True)
            options = dict(self.spec.options.get(name, {}), auto=self.spec.auto)
            context = Context(
                raw=raw,
                roots=self.roots,
                pid=pid,
                cgroups=self.cgroup.paths,
                pids=self.pids,
                journal=self.journal,
                rate=self.spec.rate,
                budget_bytes=self.spec.budget_bytes,
                budget_cpu=self.spec.budget_cpu,
                deep=self.spec.deep,
                options=options,
                shared=shared,
            )
            self.driven.append(Driven(make(name, context)))
        start_all(self.driven)
        self.sampled = [item for item in self.driven if item.active and item.samples]

    def _launch(self) -> int:
        assert self.child is not None
        environment = dict(os.environ, **self.spec.environment)
        for item in self.driven:
            environment.update(item.environment())
        if self.spec.stand_in and self.cgroup is not None:
            environment[CGROUP_VARIABLE] = json.dumps(self.cgroup.paths)
        self.setup_cpu = cpu_seconds()
        now = time.monotonic_ns()
        self._sample_all(now)  # so that a workload of any length has a first sample
        self.hold_seconds = time.monotonic() - self.began - (self.conditions.seconds if self.conditions else 0.0)
        start_ns = time.monotonic_ns()
        self.child.release(environment)
        self.launched = True
        return start_ns

    def _watch(self, start_ns: int) -> None:
        """The one loop: a timer that signals can interrupt; ends when the workload's first process has ended."""
        assert self.child is not None
        pid = self.child.pid
        signals = SignalWait({*PASSED_ON, signal.SIGCHLD})
        interval = int(1e9 / self.spec.rate)
        governor = Governor(self.spec.budget_cpu)
        gc.freeze()  # what is there now lives as long as the run: the collector need not look at it again
        due = start_ns + interval
        ticks = 0
        while not launch.ended(pid):
            received = signals.wait((due - time.monotonic_ns()) / 1e9)
            if received is not None:
                self._receive(received, pid)
                continue
            now = time.monotonic_ns()
            self._sample_all(now, drain_only=ticks % governor.stretch != 0)
            if self.beside is not None and now - start_ns >= BESIDE_AFTER * 1e9:
                self._start_beside(self.beside)
            governor.update()
            ticks += 1
            due = max(due + interval, now)
        self.end_ns = time.monotonic_ns()
        self.run_cpu = cpu_seconds() - self.setup_cpu
        self.stretch = governor.worst

    def _start_beside(self, beside: Callable[[str], None]) -> None:
        self.beside = None
        try:
            self.beside_process = ForkedHelper(lambda: beside(self.path), self.journal)
        except OSError as error:
            self.notes.append("what goes on beside the run could not be started: {}".format(error.strerror or error))

    def _stop_beside(self) -> None:
        if self.beside_process is not None:
            self.beside_process.stop(signal.SIGTERM)

    def _receive(self, received: Received, pid: int) -> None:
        if received.number == signal.SIGCHLD:
            if self.spec.stand_in and received.sender == pid and received.code == _SI_USER:
                for item in self.driven:  # the engine removes the container's cgroup, and its counters, any moment
                    item.last(time.monotonic_ns())
            if self.cgroup is not None and not self.cgroup.paths:
                _reap_orphans({pid, *self._helper_pids()})
        elif received.code != _SI_KERNEL and received.sender not in self.pids():  # one of the run: it meant us
            try:
                os.kill(pid, received.number)
            except ProcessLookupError:
                pass

    def _sample_all(self, now_ns: int, drain_only: bool = False) -> None:
        if self.low_space:
            return
        for item in self.sampled:
            item.sample(now_ns, drain_only)
        if now_ns < self._space_due:
            return
        self._space_due = now_ns + 1000000000
        try:
            space = os.statvfs(self.path)
        except OSError:  # the folder was moved or removed meanwhile: the manifest's writing will tell
            return
        if space.f_bavail * space.f_frsize < _LOW_SPACE:
            self.low_space = True
            self.notes.append(
                "sampling stopped at {} because fewer than {} MiB were free where the capture is kept".format(
                    manifest.utc(time.time_ns()), _LOW_SPACE >> 20
                )
            )

    def _collect(self, start_ns: int) -> Tuple[launch.Exit, List[Dict[str, Any]]]:
        """Last sample while the workload's figures can still be read, then stop everything."""
        assert self.child is not None and self.cgroup is not None
        now = time.monotonic_ns()
        for item in self.driven:
            item.last(now)
        ending = launch.wait_for(self.child.pid)
        self._stop_beside()
        left = self._left_running()
        for item in reversed(self.driven):
            item.stop()
        self.clocks.append(host.clock_triplet("end"))
        if self.conditions is not None:
            self.conditions.finish()
        for number, facts in host.devices(self.roots).items():  # those that came during the run, such as loop devices
            self.facts["devices"].setdefault(number, facts)
        self.notes.extend(self.cgroup.remove())
        return ending, left

    def _left_running(self) -> List[Dict[str, Any]]:
        deadline = time.monotonic() + _GRACE
        while True:
            left = [pid for pid in self.pids() if not _is_zombie(pid)]
            if not left or time.monotonic() > deadline:
                break
            signal.sigtimedwait({signal.SIGCHLD}, 0.02)
        answer = [{"pid": pid, "comm": host.read_text("/proc/{}/comm".format(pid))} for pid in left]
        if answer:
            self.notes.append(
                "{} process(es) of the run were still alive at its end and go on outside its cgroup: {}; their later "
                "I/O is not in this capture".format(len(answer), ", ".join(str(item["comm"]) for item in answer))
            )
        return answer

    def _write_down(self, start_ns: int, ending: launch.Exit, left: List[Dict[str, Any]]) -> Outcome:
        content = self._manifest(start_ns, ending)
        content["processes"]["left_running"] = left
        manifest.free_reserve(self.path)
        try:
            manifest.write_json(self.path, manifest.FINAL, content)
            os.unlink(os.path.join(self.path, manifest.PARTIAL))
        except OSError as error:
            raise CaptureError(
                "the workload ended ({}), but the manifest could not be written: {}; what was captured is in {}: free "
                "some space, then `edgeprof ingest` reads it".format(_how_ended(ending), error.strerror, self.path),
                STORAGE,
            ) from None
        return Outcome(self.path, ending.exit_code, ending.signal, content)

    def close(self) -> List[str]:
        """Restore the machine, whatever happened; returns a sentence for each thing that could not be."""
        problems = []
        self._stop_beside()
        for item in reversed(self.driven):
            item.stop()
        if not self.launched and self.child is not None:
            self.child.abandon()
        if self.conditions is not None:
            problems += self.conditions.close()
        if self.journal is not None:
            _, failed = undo_all(list(self.journal.open_entries.values()))
            problems += [sentence for _, sentence in failed]
            if failed:
                self.journal.close()
            else:
                self.journal.remove()
        if not self.launched:
            _remove_tree(self.path)
        if self.old_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, self.old_files)
        if self.old_handler is not None:
            signal.signal(signal.SIGCHLD, self.old_handler)
        if self.old_mask is not None:
            # What came as the workload ended was meant for it, or reached it too: it must not end edgeprof now.
            while signal.sigtimedwait(PASSED_ON, 0) is not None:
                pass
            signal.pthread_sigmask(signal.SIG_SETMASK, self.old_mask)
        return problems

    # -- what is known -------------------------------------------------------------------------------------

    def pids(self) -> List[int]:
        """The run's processes now."""
        assert self.child is not None and self.cgroup is not None
        if self.cgroup.paths:
            return self.cgroup.members()
        helpers = {os.getpid(), *self._helper_pids()}
        orphans = [pid for pid in descendants(os.getpid()) if pid not in helpers]
        return orphans or [self.child.pid]

    def _helper_pids(self) -> List[int]:
        entries = self.journal.open_entries.values() if self.journal else ()
        kinds = ("process", "workload") if self.spec.stand_in else ("process",)
        return [int(entry["pid"]) for entry in entries if entry["kind"] in kinds]

    def _headline(self) -> str:
        missing = [item.name for item in self.driven if not item.active]
        running = [item.name for item in self.driven if item.active]
        text = "capturing {}".format(", ".join(running))
        return text + ("; not here: {} (`edgeprof doctor` says why)".format(", ".join(missing)) if missing else "")

    def _manifest(self, start_ns: Optional[int], ending: Optional[launch.Exit]) -> Dict[str, Any]:
        assert self.child is not None and self.cgroup is not None
        usage = manifest.AgentUsage(
            cpu_seconds=cpu_seconds(),
            setup_cpu_seconds=self.setup_cpu,
            run_cpu_seconds=self.run_cpu,
            wall_added_seconds=self.hold_seconds + time.monotonic() - self.end_ns / 1e9 if ending else None,
            sampling_stretch=self.stretch,
            beside_cpu_seconds=self.beside_process.cpu_seconds if self.beside_process else 0.0,
        )
        return manifest.build(
            run_id=self.id,
            version=self.version,
            spec=self.spec,
            pid=self.child.pid,
            start_ns=start_ns,
            end_ns=self.end_ns if ending else None,
            ending=ending,
            facts=self.facts,
            clocks=self.clocks,
            collectors=[item.report() for item in self.driven],
            usage=usage,
            cgroup={"mode": self.cgroup.mode, "paths": self.cgroup.paths, "reason": self.cgroup.reason},
            helpers=[*self._helper_pids(), *([self.beside_process.pid] if self.beside_process else [])],
            notes=self.notes,
            conditions=self.conditions.facts() if self.conditions else {},
        )


def _safe_name(text: str) -> str:
    kept = "".join(char if char.isalnum() or char in "._" else "-" for char in text).strip("-.")
    return kept[:40] or "run"


def cpu_seconds() -> float:
    """User and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _is_zombie(pid: int) -> bool:
    stat = host.read_text("/proc/{}/stat".format(pid))
    return stat is None or stat[stat.rindex(")") + 2 :][:1] in ("Z", "X")


def _how_ended(ending: launch.Exit) -> str:
    if ending.signal is not None:
        return "signal {}".format(ending.signal)
    return "exit code {}".format(ending.exit_code)


def _reap_orphans(others: Set[int]) -> None:
    """Reap adopted descendants that have ended, but not ``others``: workload and helpers are waited for elsewhere."""
    children = host.read_text("/proc/self/task/{}/children".format(os.getpid())) or ""
    for child in map(int, children.split()):
        if child not in others and _is_zombie(child):
            os.waitpid(child, os.WNOHANG)


def _remove_tree(path: str) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
