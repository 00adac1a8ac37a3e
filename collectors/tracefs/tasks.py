"""Tasks seen in a trace: their names, their processes, and whose they are.

A trace names a task (thread) by its id in the machine's first pid namespace.
Its events ``task:task_newtask`` and ``task:task_rename`` say who started whom
and under which name, so threads and children of the run are known even when
they lived too briefly to be seen in /proc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.tracefs.columns import EventColumns

OWNERS = ("run", "profiler", "kernel", "other")
"""Whose a task is; `Tasks.owners` gives indices into this."""

_CLONE_THREAD = 0x10000  # uapi/linux/sched.h


@dataclass(frozen=True)
class Tasks:
    """What a trace knows of tasks.

    Attributes:
        started: (parent task, new task, whether it is a thread of the parent's process), in the order of time.
        names: task -> its last known command name.
        kernel: the kernel's own tasks.
    """

    started: tuple[tuple[int, int, bool], ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    kernel: frozenset[int] = frozenset()

    def with_descendants(self, tasks: Iterable[int]) -> frozenset[int]:
        """The given tasks and all threads and processes that they started while tracing was on."""
        known = set(tasks)
        for parent, child, _ in self.started:
            if parent in known:
                known.add(child)
        return frozenset(known)

    def processes(self) -> dict[int, int]:
        """Task -> its process, for the tasks that were started while tracing was on."""
        processes: dict[int, int] = {}
        for parent, child, is_thread in self.started:
            processes[child] = processes.get(parent, parent) if is_thread else child
        return processes

    def owners(self, tasks: npt.NDArray[Any], facts: RunFacts) -> npt.NDArray[np.int8]:
        """Whose each of the given tasks is, as indices into `OWNERS`.

        The run's are its known processes and all they started; the profiler's likewise, without the run's, which
        the profiler started.  Task 0 is the idle task: the kernel's.
        """
        run = self.with_descendants({facts.main_pid, *facts.run_pids} - facts.profiler_pids - {0})
        profiler = self.with_descendants(facts.profiler_pids) - run
        kernel = self.with_descendants({0, 2, *self.kernel}) - {1} - run - profiler  # 2 is kthreadd
        distinct, inverse = np.unique(np.asarray(tasks), return_inverse=True)
        owner = np.full(len(distinct), OWNERS.index("other"), np.int8)
        for index, group in enumerate((run, profiler, kernel)):
            owner[np.isin(distinct, np.fromiter(group, np.int64, len(group)))] = index
        return owner[inverse]


def read_tasks(new: EventColumns, renamed: EventColumns, saved: Mapping[int, str], kernel: Iterable[int] = ()) -> Tasks:
    """Put together what the task events, saved_cmdlines and kernel_tasks say."""
    names: list[tuple[int, int, bytes]] = []
    for columns, name in ((new, "comm"), (renamed, "newcomm")):
        number = next((field for field in ("pid", "common_pid") if field in columns.names), None)
        if name in columns.names and number is not None:
            task = columns.field(number)
            names += zip(columns.time_ns.tolist(), task.tolist(), columns.text(name).tolist(), strict=True)
    known = dict(saved)
    known.update((task, text.decode("utf-8", "replace")) for _, task, text in sorted(names))
    return Tasks(_started(new), known, frozenset(kernel))


def _started(new: EventColumns) -> tuple[tuple[int, int, bool], ...]:
    if not {"pid", "clone_flags", "common_pid"} <= set(new.names):
        return ()
    order = np.argsort(new.time_ns, kind="stable")
    thread = (new.field("clone_flags")[order] & _CLONE_THREAD) != 0
    return tuple(zip(new.pid[order].tolist(), new.field("pid")[order].tolist(), thread.tolist(), strict=True))
