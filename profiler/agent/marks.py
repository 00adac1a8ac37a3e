"""What makes a run's figures doubtful, as sentences: an unsteady start, another power mode, too little voltage.

Throttling during the run is in its table ``thermal``; what is read here, at start and end, is what that table lacks.
"""

import os
import re
from typing import Any, Dict, List, Mapping, Optional

from edgeprof.collectors.base import Roots
from edgeprof.collectors.helper import ask, find_program
from edgeprof.collectors.sysfs import read_number, read_text
from edgeprof.collectors.thermal.capture import RASPBERRY_PI, voltage_alarms

ASK_SECONDS = 2.0
FLAGS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits of a Raspberry Pi's get_throttled; 16 higher, the same since boot (Raspberry Pi documentation, vcgencmd)."""
SINCE_BOOT = 16

_NUMBER = re.compile(r"(?:throttled=)?(?:0[xX])?([0-9a-fA-F]{1,8})")


def read(roots: Roots = Roots()) -> Dict[str, Any]:
    """What the firmware says of voltage and throttling now.

    Returns:
        ``throttled``: get_throttled's bit field; ``low_voltage``: whether the kernel's own alarm is on.  None where
        there is none.
    """
    alarms = [read_number(path) for path in voltage_alarms(roots.sys)]
    known = [bool(value) for value in alarms if value is not None]
    return {"throttled": _throttled(roots), "low_voltage": any(known) if known else None}


def _throttled(roots: Roots) -> Optional[int]:
    text = read_text(os.path.join(roots.sys, RASPBERRY_PI))
    if text is None and "Raspberry Pi" in (read_text(os.path.join(roots.proc, "device-tree/model")) or ""):
        program = find_program("vcgencmd")
        try:
            text = ask([program, "get_throttled"], ASK_SECONDS).stdout.strip() if program else None
        except OSError:
            text = None
    found = _NUMBER.fullmatch(text or "")
    return int(found[1], 16) if found else None


def marks(content: Mapping[str, Any]) -> List[str]:
    """The marks that a manifest's own facts give; parts that are missing or of a wrong kind give none."""
    return [*_start(_part(content, "steady")), *_mode(_part(content, "power_mode")), *_firmware(content)]


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = content.get(name)
    return part if isinstance(part, dict) else {}


def _start(steady: Mapping[str, Any]) -> List[str]:
    if steady.get("reached") is not False:
        return []
    unsteady = steady.get("unsteady")
    what = "; ".join(map(str, unsteady[:8])) if isinstance(unsteady, list) and unsteady else "not known why"
    waited = steady.get("waited")
    shown = " after {:.0f} s of waiting".format(waited) if isinstance(waited, (int, float)) else ""
    return ["the machine was not steady at the start{}: {}".format(shown, what)]


def _mode(mode: Mapping[str, Any]) -> List[str]:
    found = []
    start, end = mode.get("start"), mode.get("end")
    if isinstance(start, dict) and isinstance(end, dict) and start.get("name") and end.get("name"):
        differ = [key for key in ("kind", "name", "number", "governors") if start.get(key) != end.get(key)]
        if differ:
            found.append("the power mode changed during the run: from {} to {}".format(_named(start), _named(end)))
    if mode.get("restored") is False:
        found.append("the power mode could not be put back: {}".format(mode.get("problem")))
    return found


def _named(mode: Mapping[str, Any]) -> str:
    number = mode.get("number")
    return str(mode.get("name")) if number is None else "{} ({})".format(mode.get("name"), number)


def _firmware(content: Mapping[str, Any]) -> List[str]:
    firmware = _part(content, "firmware")
    start, end = _part(firmware, "start"), _part(firmware, "end")
    before, after = (item.get("throttled") for item in (start, end))
    before = before if isinstance(before, int) else None
    after = after if isinstance(after, int) else before
    seen = []
    if before is not None and after is not None:
        now = before | after | ((after & ~before) >> SINCE_BOOT)
        seen = [name for bit, name in FLAGS.items() if now >> bit & 1]
        earlier = [name for bit, name in FLAGS.items() if before >> (bit + SINCE_BOOT) & 1 and name not in seen]
    else:
        earlier = []
    if True in (start.get("low_voltage"), end.get("low_voltage")) and FLAGS[0] not in seen:
        seen.insert(0, FLAGS[0])
    found = ["the firmware reports for the run: {}".format(", ".join(seen))] if seen else []
    if earlier:
        found.append(
            "the firmware reports since boot, before the run: {}; it would not show again".format(", ".join(earlier))
        )
    return found
