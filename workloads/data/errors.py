"""What goes wrong with data sets: one sentence each."""

from __future__ import annotations

from edgeprof.workloads.errors import UnusableData


class DataError(UnusableData):
    """A data set that cannot be made or read; the message says what to do next."""
