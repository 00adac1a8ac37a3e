"""What one reading of a cgroup's I/O account tells: bytes to numbers.

Formats: io.stat of Documentation/admin-guide/cgroup-v2.rst; Documentation/admin-guide/cgroup-v1/blkio-controller.rst.
"""

from __future__ import annotations

from edgeprof.collectors.text import to_int

NO_LIMIT = 1 << 62
"""v1 writes "no limit" as the largest page-aligned number; anything this large is none."""

_IO_KEYS = {b"rbytes": "read_bytes", b"wbytes": "write_bytes", b"rios": "read_ios", b"wios": "write_ios"}


def io_stat(payload: bytes) -> dict[str, dict[str, int]]:
    """Device (``major:minor``) -> ``read_bytes``, ``write_bytes``, ``read_ios``, ``write_ios``, of v2's ``io.stat``."""
    devices: dict[str, dict[str, int]] = {}
    for line in payload.split(b"\n"):
        device, *pairs = line.split(None, 64) or [b""]
        for pair in pairs:
            key, _, text = pair.partition(b"=")
            number = to_int(text)
            if key in _IO_KEYS and number is not None:
                devices.setdefault(device.decode("ascii", "replace"), {})[_IO_KEYS[key]] = number
    return devices


def blkio(payload: bytes, what: str) -> dict[str, dict[str, int]]:
    """Device -> ``read_WHAT``, ``write_WHAT`` of a file of v1's blkio; ``what`` is bytes or ios."""
    devices: dict[str, dict[str, int]] = {}
    for line in payload.split(b"\n"):
        fields = line.split(None, 3)
        number = to_int(fields[2]) if len(fields) == 3 and fields[1] in (b"Read", b"Write") else None
        if number is not None:
            column = f"{fields[1].decode().lower()}_{what}"
            devices.setdefault(fields[0].decode("ascii", "replace"), {})[column] = number
    return devices
