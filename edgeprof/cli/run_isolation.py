"""Options of ``edgeprof run`` that say where the workload lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from edgeprof.cli.quantities import SizeType, parse_size
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.isolation.spec import ISOLATIONS, IsolationSpec

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--isolation", type=click.Choice(ISOLATIONS), default="bare", show_default=True),
    click.option("--image", default="", metavar="NAME", help="Container image.  [default: the project's, built]"),
    click.option(
        "--volume", type=click.Choice(["bind", "volume"]), default="bind", help="A container's way to its data."
    ),
    click.option(
        "--device-limit",
        multiple=True,
        metavar="read=RATE",
        help="Bytes a second that a container may read (or write) on its data's device, such as read=10M.",
    ),
    click.option("--vm-kernel", default="", metavar="PATH", help="Guest kernel.  [default: the distribution's]"),
    click.option("--vm-memory", type=SizeType(), default="2G", show_default=True),
    click.option("--vm-cpus", type=click.IntRange(1), default=1, show_default=True),
    click.option("--vm-accel", type=click.Choice(["kvm", "tcg"]), help="[default: kvm where it boots]"),
    click.option(
        "--vm-share", type=click.Choice(["virtiofs", "9p", "disk"]), help="A virtual machine's way to its data."
    ),
    click.option("--vm-timeout", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds."),
)


def isolation_options(function: Function) -> Function:
    """Add them to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def isolation_of(options: dict[str, Any]) -> IsolationSpec:
    """What the options ask for.  Raises EdgeprofError."""
    limits = {}
    for pair in options["device_limit"]:
        way, equals, text = pair.partition("=")
        rate = parse_size(text, 1000) if equals else None
        if way not in ("read", "write") or not rate:
            raise EdgeprofError(f"{pair!r} is not a device limit; write it like read=10M")
        limits[way] = rate
    return IsolationSpec(
        kind=options["isolation"],
        image=options["image"],
        volume=options["volume"],
        device_limits=limits,
        kernel=options["vm_kernel"],
        memory=options["vm_memory"],
        cpus=options["vm_cpus"],
        accelerator=options["vm_accel"] or "",
        share=options["vm_share"] or "",
        timeout=options["vm_timeout"],
    )
