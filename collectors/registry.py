"""The collectors there are, in the order in which they start."""

from importlib import import_module
from typing import Type, cast

from edgeprof.collectors.base import Collector

NAMES = (
    "procfs",
    "cgroup",
    "perf_stat",
    "block",
    "page_cache",
    "phases",
    "power",
    "thermal",
    "clocks",
    "gpu",
    "self",
)


def load(name: str) -> Type[Collector]:
    """The capture half of a collector.  Raises KeyError when there is none of that name."""
    if name not in NAMES:
        raise KeyError(name)
    return cast("Type[Collector]", import_module("edgeprof.collectors.{}.capture".format(name)).COLLECTOR)
