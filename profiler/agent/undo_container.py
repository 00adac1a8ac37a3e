"""Undoes what a container engine was asked to make: containers and volumes that still bear the run's label."""

import errno
from typing import Any, Dict
from urllib.parse import quote

from edgeprof.profiler.agent.engine import LABEL, Engine, EngineError


def goes_on(entry: Dict[str, Any]) -> str:
    """A sentence when the entry is a container that still runs, and that nobody asked to kill; else nothing.

    Raises:
        OSError: the engine cannot be asked.
    """
    if entry["kind"] != "container" or entry.get("kill"):
        return ""
    found = _ours(entry, Engine(entry["socket"]).container(entry["name"]))
    if not (found and (found.get("State") or {}).get("Running")):
        return ""
    return "the container {} goes on; `edgeprof clean --kill` ends it".format(entry["name"])


def undo_container(entry: Dict[str, Any]) -> str:
    """Remove a container, also a running one.  Raises OSError."""
    engine = Engine(entry["socket"])
    if not _ours(entry, engine.container(entry["name"])):
        return ""
    engine.remove_container(entry["name"])
    return "removed container {}".format(entry["name"])


def undo_volume(entry: Dict[str, Any]) -> str:
    """Remove a volume and what is in it.  Raises OSError."""
    engine = Engine(entry["socket"])
    path = "/volumes/" + quote(entry["name"])
    try:
        if not _ours(entry, {"Config": engine.call("GET", path)}):
            return ""
        engine.call("DELETE", path, force="true")
    except EngineError as error:
        if error.status == 404:
            return ""
        raise
    return "removed volume {}".format(entry["name"])


def _ours(entry: Dict[str, Any], found: Any) -> Any:
    """What the engine found under the entry's name, if edgeprof made it; None otherwise."""
    if not isinstance(found, dict):
        return None
    labels = (found.get("Config") or {}).get("Labels") or {}
    if labels.get(LABEL) != entry["label"]:
        raise OSError(errno.EEXIST, "{} {} is not the one that edgeprof made".format(entry["kind"], entry["name"]))
    return found
