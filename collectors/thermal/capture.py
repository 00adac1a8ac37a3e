"""Copies temperatures and the states of cooling devices once a second."""

import os
from typing import Any, Dict, List

from edgeprof.collectors.base import Context, Probe, SmallFiles, Status
from edgeprof.collectors.sysfs import children, read_number, read_text

RASPBERRY_PI = "devices/platform/soc/soc:firmware/get_throttled"


def voltage_alarms(sys: str) -> List[str]:
    """Files with the kernel's own alarm of too low a supply voltage (drivers/hwmon/raspberrypi-hwmon.c): 1 or 0."""
    chips = children(os.path.join(sys, "class/hwmon"), "hwmon*")
    chips = [folder for folder in chips if read_text(os.path.join(folder, "name")) == "rpi_volt"]
    return [os.path.join(folder, "in0_lcrit_alarm") for folder in chips]


class Thermal(SmallFiles):
    """Reads thermal_zone*/temp, cooling_device*/cur_state and a Raspberry Pi's get_throttled and voltage alarm.

    Zones and devices are told apart by number and type, since several may share a type: the source of a frame is
    ``zone:0:CPU-therm``, ``device:3:Processor``, ``raspberrypi`` or ``low_voltage``.
    (Documentation/driver-api/thermal/sysfs-api.rst of the kernel.)
    """

    name = "thermal"
    interval = 1.0

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        sys = context.roots.sys
        thermal = os.path.join(sys, "class/thermal")
        self._devices: List[Dict[str, Any]] = []
        for kind, folders, file in (
            ("zone", children(thermal, "thermal_zone*"), "temp"),
            ("device", children(thermal, "cooling_device*"), "cur_state"),
        ):
            for folder in folders:
                number = "".join(filter(str.isdigit, os.path.basename(folder)))
                what = read_text(os.path.join(folder, "type")) or "unknown"
                self._files["{}:{}:{}".format(kind, number, what)] = os.path.join(folder, file)
                if kind == "device":
                    most = read_number(os.path.join(folder, "max_state"))
                    self._devices.append({"device": number, "type": what, "max_state": most})
        for path in voltage_alarms(sys)[:1]:
            self._files["low_voltage"] = path
        if os.path.exists(os.path.join(sys, RASPBERRY_PI)):
            self._files["raspberrypi"] = os.path.join(sys, RASPBERRY_PI)

    def probe(self) -> Probe:
        """Whether there is anything to read."""
        if self._files:
            return Probe(True)
        return Probe(
            False,
            "this machine shows no thermal zone and no cooling device",
            "virtual machines have none; on a board build the kernel with its thermal driver (CONFIG_THERMAL)",
        )

    def stop(self) -> Status:
        """Close."""
        if self._writer is None or self._sampler is None:
            return Status(0, 0)
        self._sampler.close()
        self._writer.close()
        details = {"cooling_devices": self._devices, "unreadable": dict(self._sampler.missing)}
        written = self._writer
        return Status(written.records, written.bytes, written.lost, notes=tuple(written.notes()), details=details)


COLLECTOR = Thermal
