"""The data of a scenario: a data set for each kind that its models read, and the map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgeprof.workloads.catalog import WORKLOADS
from edgeprof.workloads.data.spec import DataSpec
from edgeprof.workloads.scenarios.spec import Role, ScenarioSpec
from edgeprof.workloads.scenarios.streams import make_map


def need(spec: ScenarioSpec) -> int:
    """Bytes that a scenario's data and what its roles write will take, about."""
    sets = {_data_of(role, spec) for role in spec.roles if role.workload}
    streams = sum(role.total for role in spec.roles if role.kind in ("recorder", "tiles"))
    checkpoints = sum(200 << 20 for role in spec.roles if role.workload and role.workload.lifecycle == "train")
    return sum(item.bytes for item in sets if item) + streams + checkpoints


def with_data(spec: ScenarioSpec, folder: Path, make: Callable[[DataSpec, Path], Path]) -> ScenarioSpec:
    """Make what is missing in ``folder`` and return the scenario that reads it there, and writes there.

    Args:
        spec: the scenario.
        folder: for the data sets, the map and what the roles write.
        make: makes a data set in a folder, unless it is there, and returns its path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    roles = []
    for role in spec.roles:
        wanted = _data_of(role, spec)
        if role.workload is not None and wanted is not None:
            role = replace(role, workload=replace(role.workload, data=str(make(wanted, folder))))
        elif role.kind == "tiles" and not role.data:
            path = folder / f"map-{role.total}-{spec.seed}.bin"
            make_map(path, role.total, spec.seed)
            role = replace(role, data=str(path))
        roles.append(role)
    return replace(spec, roles=tuple(roles), folder=str(folder))


def _data_of(role: Role, spec: ScenarioSpec) -> DataSpec | None:
    """The data set that a role reads; None: none, or the user's own."""
    if role.workload is None or role.workload.data:
        return None
    kind = WORKLOADS[role.workload.workload].data
    return DataSpec(kind, role.workload.format, spec.data_bytes, seed=spec.seed)
