"""Finds power and energy sensors below /sys (capture set).

Sources: Documentation/hwmon/sysfs-interface.rst, Documentation/hwmon/ina3221.rst,
Documentation/power/powercap/powercap.rst and Documentation/ABI/testing/sysfs-class-power of the kernel;
NVIDIA Jetson Linux Developer Guide (JetPack 4: iio devices of the driver ina3221x).
"""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from edgeprof.collectors.sysfs import children, read_number, read_text

TOTALS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails of Jetson modules that supply all the others.  VIN_SYS_5V0 and SYS5V do not: they feed peripherals alone."""


class Rail(NamedTuple):
    """One rail: what it is called, and the files that hold it.

    ``quantity``: ``uW``, ``mW``, ``uJ`` (a counter that wraps at ``limit``), ``mV*mA`` (two files), or ``uW if
    discharging`` (two files: power, status).  ``total``: it contains other rails.  ``fast``: cheap to read.
    """

    name: str
    source: str
    quantity: str
    paths: Tuple[str, ...]
    total: bool = False
    limit: Optional[int] = None
    fast: bool = False

    def files(self) -> Dict[str, str]:
        """Name of the frame source -> path, of each of its files."""
        return {"{}:{}:{}".format(self.source, self.name, os.path.basename(path)): path for path in self.paths}

    def described(self) -> Dict[str, Any]:
        """What the parser must know of it."""
        return {
            "rail": self.name,
            "source": self.source,
            "quantity": self.quantity,
            "frames": list(self.files()),
            "total": self.total,
            "limit": self.limit,
        }


class Found(NamedTuple):
    """The rails that can be read; ``forbidden``: there are counters that only root may read.

    ``unread``: name and file of each sensor that is there but gives no value.
    """

    rails: List[Rail]
    forbidden: bool
    unread: List[Tuple[str, str]] = []  # noqa: RUF012  (a NamedTuple default; never changed in place)


def discover(sys: str, battery: bool = False) -> Found:
    """All rails below this /sys, with unique names."""
    unread: List[Tuple[str, str]] = []
    rapl, forbidden = _rapl(sys, unread)
    rails = _hwmon(sys, unread) + _iio(sys, unread) + rapl + (_batteries(sys) if battery else [])
    seen: Dict[str, int] = {}
    unique = []
    for rail in rails:
        seen[rail.name] = count = seen.get(rail.name, 0) + 1
        unique.append(rail if count == 1 else rail._replace(name="{}#{}".format(rail.name, count)))
    return Found(unique, forbidden, unread)


def _hwmon(sys: str, unread: List[Tuple[str, str]]) -> List[Rail]:
    """hwmon chips of the class folder, and INA3221 by their driver where the class folder is not there."""
    folders = children(os.path.join(sys, "class/hwmon"), "hwmon*")
    for device in children(os.path.join(sys, "bus/i2c/drivers/ina3221"), "*-*"):
        folders += children(os.path.join(device, "hwmon"), "hwmon*")
    rails: List[Rail] = []
    known = set()
    for folder in folders:
        place = os.path.realpath(folder)
        if place in known or "/power_supply/" in place:  # a battery's or charger's mirror: not a rail
            continue
        known.add(place)
        chip = read_text(os.path.join(folder, "name")) or os.path.basename(folder)
        rails += _ina3221(folder, unread) if chip == "ina3221" else _chip(folder, chip, unread)
    return rails


def _ina3221(folder: str, unread: List[Tuple[str, str]]) -> List[Rail]:
    """Channels 1 to 3; in4 to in7 are shunt voltages.  A disabled channel answers with an error."""
    rails = []
    for number in (1, 2, 3):
        label = read_text(os.path.join(folder, "in{}_label".format(number)))
        paths = tuple(os.path.join(folder, name.format(number)) for name in ("in{}_input", "curr{}_input"))
        if label == "NC":
            continue
        name = label or "{}-in{}".format(os.path.basename(folder), number)
        silent = [path for path in paths if read_number(path) is None]
        if silent:
            unread += [(name, path) for path in silent[:1] if os.path.exists(path)]
            continue
        rails.append(Rail(name, "ina3221", "mV*mA", paths, name in TOTALS))
    return rails


def _chip(folder: str, chip: str, unread: List[Tuple[str, str]]) -> List[Rail]:
    rails = []

    def named(number: str) -> str:
        return read_text(os.path.join(folder, number + "_label")) or "{}-{}".format(chip, number)

    for path in children(folder, "power*_input") + children(folder, "power*_average"):
        number = os.path.basename(path).split("_")[0]
        if path.endswith("_average") and os.path.exists(os.path.join(folder, number + "_input")):
            continue
        name = named(number)
        if read_number(path) is None:
            unread.append((name, path))
            continue
        rails.append(Rail(name, "hwmon", "uW", (path,), name in TOTALS))
    for path in children(folder, "energy*_input"):
        number = os.path.basename(path).split("_")[0]
        name = named(number)
        if read_number(path) is None:
            unread.append((name, path))
            continue
        rails.append(Rail(name, "hwmon", "uJ", (path,), name.startswith("Esocket")))  # amd_energy: holds its cores
    return rails


def _iio(sys: str, unread: List[Tuple[str, str]]) -> List[Rail]:
    """INA3221 under JetPack 4's own driver: power in mW."""
    rails = []
    for device in children(os.path.join(sys, "bus/i2c/drivers/ina3221x"), "*-*"):
        for folder in children(device, "iio:device*"):
            for number in (0, 1, 2):
                name = read_text(os.path.join(folder, "rail_name_{}".format(number)))
                path = os.path.join(folder, "in_power{}_input".format(number))
                if not name or name == "NC":
                    continue
                if read_number(path) is None:
                    unread += [(name, path)] if os.path.exists(path) else []
                    continue
                rails.append(Rail(name, "iio", "mW", (path,), name in TOTALS))
    return rails


def _rapl(sys: str, unread: List[Tuple[str, str]]) -> Tuple[List[Rail], bool]:
    """Zones of intel-rapl (AMD's too).  ``intel-rapl-mmio`` shows the package's counter once more: left out."""
    zones = children(os.path.join(sys, "class/powercap"), "intel-rapl:*")
    names = {os.path.basename(zone): read_text(os.path.join(zone, "name")) or "" for zone in zones}
    rails: List[Rail] = []
    forbidden = False
    for zone in zones:
        path = os.path.join(zone, "energy_uj")
        place = os.path.basename(zone)
        parent = names.get(place.rpartition(":")[0])
        name = "{}/{}".format(parent, names[place]) if parent else names[place] or place
        if read_number(path) is None:
            forbidden = forbidden or (os.path.exists(path) and not os.access(path, os.R_OK))
            unread += [(name, path)] if os.path.exists(path) else []
            continue
        inside = [label for other, label in names.items() if other.startswith(place + ":")]
        total = any(label in ("core", "uncore") for label in inside) or (name == "psys" and len(names) > 1)
        limit = read_number(os.path.join(zone, "max_energy_range_uj"))
        rails.append(Rail(name, "rapl", "uJ", (path,), total, limit, fast=True))
    return rails, forbidden


def _batteries(sys: str) -> List[Rail]:
    rails = []
    for folder in children(os.path.join(sys, "class/power_supply")):
        paths = (os.path.join(folder, "power_now"), os.path.join(folder, "status"))
        if read_text(os.path.join(folder, "type")) == "Battery" and read_number(paths[0]) is not None:
            rails.append(Rail(os.path.basename(folder), "battery", "uW if discharging", paths, True))
    return rails
