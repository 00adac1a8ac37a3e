"""What can go wrong in a built-in workload; each is one sentence for the user."""

from __future__ import annotations

from edgeprof.workloads.spec import WrongSpec

__all__ = ["MissingFramework", "UnusableData", "WorkloadError", "WrongSpec"]


class WorkloadError(Exception):
    """The workload cannot run, or cannot go on."""


class MissingFramework(WorkloadError):
    """A library that the workload needs is not installed.

    Args:
        name: the library, as people call it.
        extra: the extra of edgeprof that installs it.
    """

    def __init__(self, name: str, extra: str) -> None:
        self.name, self.extra = name, extra
        super().__init__(f"{name} is not installed here; install it with: pip install 'edgeprof[{extra}]'")


class UnusableData(WorkloadError):
    """The data set is empty, too small, damaged, or of another kind than the workload needs."""
