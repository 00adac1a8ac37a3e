"""Which board this is: model, processor, and the release of the system that its maker gives out.

Capture set.  Sources: NVIDIA's JetPack and Jetson Linux archives (which Jetson Linux belongs to which JetPack);
the Raspberry Pi documentation, "Raspberry Pi revision codes"; Documentation/ABI/testing/sysfs-devices-soc and
drivers/soc/tegra of the kernel.  `/proc/device-tree` leads to /sys/firmware, which Docker hides from its containers:
`/sys/devices/soc0` is left there, whose `machine` repeats the device tree's model.
"""

import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from edgeprof.collectors.base import Roots
from edgeprof.collectors.sysfs import read_text

JETPACK = {32: 4, 34: 5, 35: 5, 36: 6, 38: 7, 39: 7}
"""Major number of Jetson Linux (L4T) -> of JetPack.  34 are the developer previews of JetPack 5."""

_L4T = re.compile(r"# R(\d{1,3}) \(release\), REVISION: (\d{1,3}(?:\.\d{1,3})*)")
_PI_MEMORY_BYTES = 256 << 20
"""Memory of the Raspberry Pi whose revision code says 0; each number more doubles it."""
_PI_PROCESSORS = ("BCM2835", "BCM2836", "BCM2837", "BCM2711", "BCM2712")
_NO_NAME = re.compile(r"^(to be filled.*|default string|system product name|system manufacturer|not specified|none)?$")
"""What makers of PC mainboards leave in DMI."""


class Board(NamedTuple):
    """What a machine calls itself; None where it does not say.

    Attributes:
        kind: ``jetson``, ``raspberry-pi``, ``pc`` (it has DMI) or ``other`` (a device tree of another maker).
        model: of the device tree, as in `NVIDIA Jetson Orin NX`.
        compatible: the device tree's names of the board and its processor, most exact first.
        soc: the processor, as in ``tegra234`` or ``bcm2712``.
        release: first line of /etc/nv_tegra_release.
        l4t: its Jetson Linux, as in ``36.4.3``.
        jetpack: the JetPack (major number) that this Jetson Linux belongs to.
        revision: a Raspberry Pi's revision code, hexadecimal.
        revision_facts: what the code says: ``memory_bytes``, ``processor``, ``board_revision``.
        product: maker and product of a PC.
    """

    kind: Optional[str] = None
    model: Optional[str] = None
    compatible: Tuple[str, ...] = ()
    soc: Optional[str] = None
    release: Optional[str] = None
    l4t: Optional[str] = None
    jetpack: Optional[int] = None
    revision: Optional[str] = None
    revision_facts: Optional[Dict[str, Any]] = None
    product: Optional[str] = None

    def to_dict(self) -> Dict[str, Any]:
        """As plain JSON values."""
        return dict(self._asdict(), compatible=list(self.compatible))

    def name(self) -> Optional[str]:
        """The model, or the PC's product."""
        return self.model or self.product

    def system(self) -> Optional[str]:
        """The release for a person: ``JetPack 6 (Jetson Linux 36.4.3)``; None: nothing is known of any."""
        if self.l4t is not None:
            jetpack = "JetPack {}".format(self.jetpack) if self.jetpack else "JetPack not known"
            return "{} (Jetson Linux {})".format(jetpack, self.l4t)
        if self.kind == "jetson":
            return "JetPack not known: /etc/nv_tegra_release {}".format(
                "says something else" if self.release else "cannot be read"
            )
        return None


def identify(roots: Roots = Roots()) -> Board:
    """Read what the machine says of itself; nothing that is missing raises."""
    model = _tree(roots, "model") or read_text(roots.sys + "/devices/soc0/machine") or None
    compatible = tuple(name for name in (_tree(roots, "compatible") or "").split("\0") if name)
    release = (read_text(roots.etc + "/nv_tegra_release") or "").split("\n")[0].strip() or None
    l4t, jetpack = jetson_release(release)
    product = _product(roots)
    soc = _soc(roots, compatible)
    kind = _kind(model, compatible, soc, release, product)
    code = _revision(roots) if kind == "raspberry-pi" else None
    facts = revision_facts(code) if code is not None else None
    shown = None if code is None else "{:x}".format(code)
    return Board(kind, model, compatible, soc, release, l4t, jetpack, shown, facts, product)


def _tree(roots: Roots, name: str) -> Optional[str]:
    """A property of the device tree's root, without its last NUL."""
    for folder in (roots.proc + "/device-tree", roots.sys + "/firmware/devicetree/base"):
        text = read_text(os.path.join(folder, name))
        if text is not None:
            return text
    return None


def jetson_release(line: Optional[str]) -> Tuple[Optional[str], Optional[int]]:
    """Jetson Linux and JetPack of the first line of /etc/nv_tegra_release.

    >>> jetson_release("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic")
    ('36.4.3', 6)
    """
    found = _L4T.match(line or "")
    if found is None:
        return None, None
    return "{}.{}".format(found[1], found[2]), JETPACK.get(int(found[1]))


def _kind(
    model: Optional[str],
    compatible: Tuple[str, ...],
    soc: Optional[str],
    release: Optional[str],
    product: Optional[str],
) -> Optional[str]:
    if any(name.startswith("nvidia,tegra") for name in compatible) or release or (soc or "").startswith("tegra"):
        return "jetson"
    if any(name.startswith("raspberrypi,") for name in compatible) or (model or "").startswith("Raspberry Pi"):
        return "raspberry-pi"
    if model or compatible:
        return "other"
    return "pc" if product else None


def _soc(roots: Roots, compatible: Tuple[str, ...]) -> Optional[str]:
    """The last compatible name is the processor's by custom; else the soc bus tells (`family`, `soc_id`)."""
    if compatible:
        return compatible[-1].partition(",")[2] or compatible[-1]
    folder = roots.sys + "/devices/soc0/"
    family, number = read_text(folder + "family"), read_text(folder + "soc_id")
    if (family or "").lower() == "tegra" and (number or "").isdecimal():
        return "tegra{:x}".format(int(number or "0"))  # the chip's number, 0x23 of tegra234, stands there as 35
    return " ".join(filter(None, (family, number))) or None


def _revision(roots: Roots) -> Optional[int]:
    """Four bytes, big-endian, of the device tree; /proc/cpuinfo has them in hexadecimal."""
    for folder in (roots.proc + "/device-tree", roots.sys + "/firmware/devicetree/base"):
        try:
            with open(folder + "/system/linux,revision", "rb") as file:
                code = file.read(5)
        except OSError:
            continue
        if len(code) == 4:
            return int.from_bytes(code, "big")
    found = re.search(r"^Revision\s*:\s*([0-9a-fA-F]{1,8})\s*$", read_text(roots.proc + "/cpuinfo") or "", re.MULTILINE)
    return int(found[1], 16) if found else None


def revision_facts(code: int) -> Optional[Dict[str, Any]]:
    """What a Raspberry Pi's revision code says; None for the codes before the Raspberry Pi 2, which only number.

    >>> revision_facts(0xD04170)
    {'memory_bytes': 8589934592, 'processor': 'BCM2712', 'board_revision': '1.0'}
    """
    if not code >> 23 & 1:
        return None
    number = code >> 12 & 15
    return {
        "memory_bytes": _PI_MEMORY_BYTES << (code >> 20 & 7),
        "processor": _PI_PROCESSORS[number] if number < len(_PI_PROCESSORS) else None,
        "board_revision": "1.{}".format(code & 15),
    }


def _product(roots: Roots) -> Optional[str]:
    folder = roots.sys + "/class/dmi/id/"
    names: List[str] = []
    for file in ("sys_vendor", "product_name"):
        text = read_text(folder + file) or ""
        if not _NO_NAME.match(text.lower()):
            names.append(text)
    return " ".join(names) or None
