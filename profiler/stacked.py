"""Which block devices pass requests on to another one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

STACKED = re.compile(r"(loop|dm-|md|bcache)\d")
"""Names of devices that pass requests on to a device below, which then counts the same bytes again."""
STACKED_MAJORS = {"7": "loop0", "9": "md0"}
"""Their fixed major numbers (Documentation/admin-guide/devices.txt), for devices made during the run."""


def is_stacked(host: Mapping[str, Any], device: str) -> bool:
    """Whether ``device`` (``major:minor`` or a name) passes requests on; ``host`` is that part of the manifest."""
    devices = host.get("devices")
    known = devices.get(device) if isinstance(devices, dict) else None
    known = known if isinstance(known, dict) else {}
    if isinstance(known.get("stacked"), bool):
        return bool(known["stacked"])
    name = known.get("name") or STACKED_MAJORS.get(device.split(":")[0], device)
    return bool(STACKED.match(str(name)))
