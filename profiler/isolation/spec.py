"""Where a run's workload lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ISOLATIONS = ("bare", "container", "vm")


@dataclass(frozen=True)
class IsolationSpec:
    """What surrounds the workload.

    Attributes:
        kind: one of `ISOLATIONS`.
        image: container image; empty: the project's own, built where it is missing.
        volume: how a container gets its data: ``bind`` (the host's folder) or ``volume`` (the engine's own).
        device_limits: of a container, such as ``{"read": 10e6, "write": 5e6}`` (bytes a second of the data's device).
        kernel: of a virtual machine: path of a kernel image; empty: the distribution's.
        memory: bytes of the virtual machine.
        cpus: processors of the virtual machine.
        accelerator: ``kvm``, ``tcg``, or empty: KVM where it boots.
        share: how a virtual machine gets its data: ``virtiofs``, ``9p``, or ``disk`` (an image of its own).
        timeout: seconds that a virtual machine may take to boot and run.
    """

    kind: str = "bare"
    image: str = ""
    volume: str = "bind"
    device_limits: Mapping[str, float] = field(default_factory=dict)
    kernel: str = ""
    memory: int = 2 << 30
    cpus: int = 1
    accelerator: str = ""
    share: str = ""
    timeout: float = 600.0
