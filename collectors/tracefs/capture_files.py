"""Moving bytes out of trace_pipe_raw, and the small file work around it (capture set)."""

import errno
import os
from typing import Any, Callable, Dict, List, Optional, Tuple

from edgeprof.collectors.base import Journal

_F_SETPIPE_SZ, _F_GETPIPE_SZ = 1031, 1032  # linux/fcntl.h; named in fcntl since Python 3.10
_PIPE_BYTES = 1 << 20  # the kernel's default limit for those without CAP_SYS_RESOURCE
_SPLICE_F_NONBLOCK = 2  # linux/splice.h
_MNT_DETACH = 2  # linux/fs.h

Splice = Callable[[int, int, int, int], int]
"""(source, target, bytes, flags) -> bytes moved."""


class Undo:
    """What has to be put back: journalled before it is changed, undone newest first."""

    def __init__(self, journal: Optional[Journal]) -> None:
        self._journal = journal
        self._entries: List[Tuple[Callable[[], None], int]] = []

    def add(self, kind: str, action: Callable[[], None], **details: Any) -> None:
        """Write a change down; make it after this returns.  ``action`` undoes it, and may raise OSError."""
        number = self._journal.record(kind, **details) if self._journal is not None else 0
        self._entries.append((action, number))

    def all(self) -> List[str]:
        """Undo everything; what cannot be undone stays in the journal and comes back as a sentence."""
        failed = []
        while self._entries:
            action, number = self._entries.pop()
            try:
                action()
            except OSError as error:
                failed.append("could not be restored, run `edgeprof clean`: {}".format(error))
                continue
            if self._journal is not None:
                self._journal.done(number)
        return failed


class CpuFiles:
    """The trace_pipe_raw and the raw file of each CPU, and the pipe between them.

    ``page`` is the sub-buffer's size; ``most`` bounds what one call moves from one CPU, so that a writer that
    outruns the reader cannot hold it.  Raises OSError when a file cannot be opened.
    """

    def __init__(self, instance: str, folder: str, cpus: List[int], page: int, most: int) -> None:
        self._page = page
        self._most = most
        self._open: List[int] = []
        self._files: List[Tuple[int, int]] = []
        try:
            for cpu in cpus:
                pipe = os.path.join(instance, "per_cpu", "cpu{}".format(cpu), "trace_pipe_raw")
                source = self._keep(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
                self._files.append((source, self._keep(create(os.path.join(folder, "cpu{}.raw".format(cpu))))))
            self._splice = find_splice()
            self._pipe_out, self._pipe_in = os.pipe2(os.O_CLOEXEC)
            self._open += (self._pipe_out, self._pipe_in)
            self._capacity = _widen_pipe(self._pipe_in) * page
        except OSError:
            self.close()
            raise

    def move(self) -> int:
        """Splice the full sub-buffers of all CPUs to their files; returns the bytes.  Raises OSError when it cannot."""
        if self._splice is None:
            return self.take_rest()
        moved = 0
        for source, target in self._files:
            moved += self._move_one(self._splice, source, target)
        return moved

    def _move_one(self, splice: Splice, source: int, target: int) -> int:
        moved = 0
        while moved < self._most:
            try:
                count = splice(source, self._pipe_in, self._capacity, _SPLICE_F_NONBLOCK)
            except BlockingIOError:
                break
            left = count
            while left:
                left -= splice(self._pipe_out, target, left, 0)
            moved += count
            if count < self._capacity:
                break
        return moved

    def take_rest(self) -> int:
        """Read what splice leaves, the sub-buffers that are being filled; returns the bytes."""
        moved = 0
        for source, target in self._files:
            limit = moved + self._most
            while moved < limit:
                page = self._read_page(source)
                if not page:
                    break
                while page:
                    count = os.write(target, page)
                    moved += count
                    page = page[count:]
        return moved

    def _read_page(self, source: int) -> bytes:
        try:
            page = os.read(source, self._page)
        except BlockingIOError:
            return b""
        except OSError as error:
            if error.errno == errno.ENODEV:  # the CPU was never online: it has no buffer
                return b""
            raise
        return page.ljust(self._page, b"\0") if page else b""

    def cut_to_pages(self) -> None:
        """Drop half-written sub-buffers, which would shift all that follows."""
        for _, target in self._files:
            os.ftruncate(target, os.lseek(target, 0, os.SEEK_CUR) // self._page * self._page)

    def close(self) -> None:
        """Close everything; the instance cannot be removed before."""
        for descriptor in self._open:
            os.close(descriptor)
        self._open, self._files = [], []

    def _keep(self, descriptor: int) -> int:
        self._open.append(descriptor)
        return descriptor


def find_splice() -> Optional[Splice]:
    """Python's own splice (3.10 and later), the C library's, or None."""
    native = getattr(os, "splice", None)
    if native is not None:
        return lambda source, target, count, flags: int(native(source, target, count, flags=flags))
    return library_splice()


def library_splice() -> Optional[Splice]:
    """splice(2) through the C library; None where it has none."""
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).splice
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_ssize_t
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)

    def splice(source: int, target: int, count: int, flags: int) -> int:
        moved = int(function(source, None, target, None, count, flags))
        if moved < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return moved

    return splice


def _widen_pipe(pipe: int) -> int:
    """Make a pipe as wide as it may be; returns its slots, each of which holds one sub-buffer."""
    import fcntl

    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:  # the user's pipes are at their limit: more calls, of fewer bytes
        return max(1, fcntl.fcntl(pipe, _F_GETPIPE_SZ) // os.sysconf("SC_PAGE_SIZE"))
    return max(1, fcntl.fcntl(pipe, _F_GETPIPE_SZ) // os.sysconf("SC_PAGE_SIZE"))


def mount(kind: str, undo: Undo) -> str:
    """Mount tracefs or debugfs in a new folder, both undone at the end; returns the folder.

    Not where it belongs: a second run would use it there too, and lose it when the first one ends.

    Raises:
        OSError: it cannot be mounted.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    path = _new_folder(kind, undo)

    def unmount() -> None:
        libc.umount2(os.fsencode(path), _MNT_DETACH)

    undo.add("mount", unmount, target=path)
    if libc.mount(kind.encode(), os.fsencode(path), kind.encode(), 0, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "{} cannot be mounted: {}".format(kind, os.strerror(number)), path)
    return path


def _new_folder(kind: str, undo: Undo) -> str:
    place = "/run" if os.access("/run", os.W_OK) else "/tmp"  # noqa: S108  (its last part is random)
    path = "{}/edgeprof-{}-{}-{}".format(place, kind, os.getpid(), os.urandom(4).hex())

    def remove() -> None:
        if os.path.isdir(path):
            os.rmdir(path)

    undo.add("file", remove, path=path)
    os.mkdir(path, 0o700)
    return path


def kernel_tasks(proc: str) -> List[int]:
    """The kernel's own tasks now (flag PF_KTHREAD in field 9 of /proc/PID/stat)."""
    tasks = []
    for name in os.listdir(proc):
        if name.isdigit():
            try:
                stat = read(os.path.join(proc, name, "stat"))
                if int(stat[stat.rindex(b")") + 2 :].split()[6]) & 0x00200000:
                    tasks.append(int(name))
            except (OSError, ValueError, IndexError):  # it has ended meanwhile
                continue
    return sorted(tasks)


def parse_stats(text: bytes) -> Dict[str, int]:
    """The whole-number lines of a per_cpu/cpuN/stats file."""
    counts = {}
    for line in text.decode("ascii", "replace").splitlines():
        name, _, value = line.partition(": ")
        if value.isdigit() and len(value) < 20:
            counts[name] = int(value)
    return counts


def read(path: str) -> bytes:
    """A file's bytes.  Raises OSError."""
    with open(path, "rb") as file:
        return file.read()


def write(path: str, content: bytes) -> None:
    """Write to a file of tracefs, in one call.  Raises OSError."""
    with open(path, "wb", buffering=0) as file:
        file.write(content)


def create(path: str) -> int:
    """A new, empty file to write to; not for appending, which splice refuses.  Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
