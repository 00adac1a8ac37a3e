"""Options of ``edgeprof run`` that prepare the storage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from edgeprof.cli.quantities import SizeType
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.storage.spec import CACHES, FILE_SYSTEMS, StorageSpec

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--file-system",
        type=click.Choice(FILE_SYSTEMS),
        help="Make this file system for the run's data, on a loop device or --fs-device.",
    ),
    click.option("--fs-device", default="", metavar="PATH", help="Block device to make it on: its content is lost."),
    click.option("--erase", default="", metavar="PATH", help="Name that device again if it holds data to be erased."),
    click.option("--fs-size", type=SizeType(), help="Size of the loop device's file.  [default: as the data needs]"),
    click.option("--scheduler", default="", metavar="NAME", help="I/O scheduler of the device under the data."),
    click.option("--read-ahead", type=SizeType(zero=True), help="Read-ahead of that device, such as 128K or 0."),
    click.option("--queue", multiple=True, metavar="NAME=VALUE", help="Other setting of its queue, as nr_requests=32."),
    click.option(
        "--cache",
        type=click.Choice(CACHES),
        default="as-is",
        show_default=True,
        help="Page cache of the data set at the start; verified by what is resident.",
    ),
    click.option("--zram", type=SizeType(), help="Add a compressed swap device of this size for the run."),
)


def storage_options(function: Function) -> Function:
    """Add them to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def storage_of(options: dict[str, Any]) -> StorageSpec:
    """What the options ask for.  Raises EdgeprofError."""
    queue = {}
    for pair in options["queue"]:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise EdgeprofError(f"{pair!r} is not a queue setting; write it like nr_requests=32")
        queue[name] = value
    return StorageSpec(
        file_system=options["file_system"] or "",
        device=options["fs_device"],
        erase=options["erase"],
        size=options["fs_size"] or 0,
        scheduler=options["scheduler"],
        read_ahead=options["read_ahead"],
        queue=queue,
        cache=options["cache"],
        zram=options["zram"] or 0,
    )
