"""The built-in workloads, by name; light: no framework is imported to list them."""

from __future__ import annotations

from typing import NamedTuple


class Workload(NamedTuple):
    """One entry.

    Attributes:
        name: as the user types it.
        kind: cnn, rnn, transformer or driving.
        data: one of `edgeprof.workloads.data.spec.KINDS`.
        frameworks: those that can run it.
    """

    name: str
    kind: str
    data: str
    frameworks: tuple[str, ...]


WORKLOADS: dict[str, Workload] = {}
