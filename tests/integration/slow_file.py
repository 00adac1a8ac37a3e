"""A file whose reads and writes take a known time: a small FUSE server, for a disk that is slow on purpose.

    python tests/integration/slow_file.py FOLDER BYTES

serves FOLDER/slow, as root, until it is killed or FOLDER is unmounted.  An operation at
an offset takes 4 to 40 ms, most of them less than 10, as `seconds_of` says; the
content is nothing but zeros.

Source of the protocol: include/uapi/linux/fuse.h of the kernel, version 7.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

NAME = b"slow"
_ROOT, _FILE = 1, 2
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _WRITE = 1, 2, 3, 14, 15, 16
_RELEASE, _FSYNC, _FLUSH, _INIT, _INTERRUPT, _BATCH_FORGET = 18, 20, 25, 26, 36, 42
_HEADER = struct.Struct("=IIQQIIII")  # fuse_in_header: length, opcode, unique, node, ...
_ATTRIBUTES = struct.Struct("=QQQQQQIIIIIIIIII")  # fuse_attr
_DIRECT_IO = 1
_ANSWERED_BY_NOTHING = (_FORGET, _INTERRUPT, _BATCH_FORGET)


def seconds_of(offset: int) -> float:
    """How long an operation at an offset takes."""
    share = (offset // 4096 * 2654435761 & 0xFFFFFFFF) / (1 << 32)
    return 0.004 + 0.036 * share**3


def _attributes(node: int, size: int) -> bytes:
    mode, length = (0o040755, 0) if node == _ROOT else (0o100644, size)
    return _ATTRIBUTES.pack(node, length, length // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _answer(opcode: int, node: int, body: bytes, size: int) -> bytes:
    """The answer to a request.  Raises OSError for what this file system does not have."""
    if opcode == _INIT:
        _, minor, readahead, _ = struct.unpack_from("=IIII", body)
        return struct.pack("=IIIIHHIIHHIIIIII", 7, min(minor, 31), readahead, 0, 16, 12, 1 << 17, 1, *[0] * 8)
    if opcode == _LOOKUP:
        if body.rstrip(b"\0") != NAME:
            raise OSError(errno.ENOENT, "no such file")
        return struct.pack("=QQQQII", _FILE, 0, 3600, 3600, 0, 0) + _attributes(_FILE, size)
    if opcode == _GETATTR:
        return struct.pack("=QII", 3600, 0, 0) + _attributes(node, size)
    if opcode == _OPEN:
        return struct.pack("=QII", 0, _DIRECT_IO, 0)
    if opcode in (_READ, _WRITE):
        _, offset, length = struct.unpack_from("=QQI", body)
        time.sleep(seconds_of(offset))
        if opcode == _WRITE:
            return struct.pack("=II", length, 0)
        return bytes(max(0, min(length, size - offset)))
    if opcode in (_RELEASE, _FSYNC, _FLUSH):
        return b""
    raise OSError(errno.ENOSYS, "not there")


def serve(folder: str, size: int) -> None:
    """Mount and serve until unmounted.  Raises OSError when it cannot be mounted."""
    device = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if libc.mount(b"slow_file", os.fsencode(folder), b"fuse", 0, options) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), folder)

    def handle(request: bytes) -> None:
        _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
        if opcode in _ANSWERED_BY_NOTHING:
            return
        code, body = 0, b""
        try:
            body = _answer(opcode, node, request[_HEADER.size :], size)
        except OSError as error:
            code = -(error.errno or errno.EIO)
        os.write(device, struct.pack("=IiQ", 16 + len(body), code, unique) + body)

    with ThreadPoolExecutor(16) as pool:
        while True:
            try:
                request = os.read(device, (1 << 17) + 8192)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                raise
            pool.submit(handle, request)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
