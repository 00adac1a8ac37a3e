"""Storage prepared on the running kernel: it is what was asked for, and nothing of it is left."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from edgeprof.profiler.agent.host import mount_of
from edgeprof.profiler.agent.undo import clean
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.storage.cache import WARM
from edgeprof.profiler.storage.disk import chosen, disk_of
from edgeprof.profiler.storage.file_system import kernel_has
from edgeprof.profiler.storage.prepare import prepared, tuned
from edgeprof.profiler.storage.residency import files_below, residency
from edgeprof.profiler.storage.spec import FILE_SYSTEMS, Place, StorageSpec
from edgeprof.profiler.storage.tools import find_tool

pytestmark = pytest.mark.root
NEED = 8 << 20
NOBODY = 65534


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache and a state folder of the test's own, which are empty at its end."""
    monkeypatch.setenv("EDGEPROF_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("EDGEPROF_DATA_CACHE", str(tmp_path / "cache"))
    yield tmp_path
    if (tmp_path / "state").is_dir():
        clean(str(tmp_path / "state"))
    assert left(tmp_path) == []


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    """A block device of the test's own, all zero."""
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(400 << 20)
    found = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"no loop device here: {found.stderr.strip()}")
    path = found.stdout.strip()
    yield path
    subprocess.run(["umount", "--quiet", path], capture_output=True)
    subprocess.run(["losetup", "--detach", path], check=True)
    image.unlink()


def left(folder: Path) -> list[str]:
    """What a test's storage has left: mounts, loop devices, files, journals."""
    found = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line]
    for item in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found += [str(item)] if str(folder) in item.read_text() else []
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
                raise
    return found + [str(item) for name in ("state", "cache") for item in (folder / name).rglob("*")]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Read a file and keep it in memory, which the kernel (DAMON) and other tests' cold starts empty at any time."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ) as view:
        if libc.mlockall(1) != 0:
            pytest.fail(f"mlockall: {os.strerror(ctypes.get_errno())}")
        try:
            assert view[0] >= 0
            yield
        finally:
            libc.munlockall()


def need_kind(kind: str) -> None:
    if not kernel_has(kind):
        pytest.skip(f"this kernel has no {kind}: run the tests on one that has it")
    if find_tool(f"mkfs.{kind}") is None:
        pytest.skip(f"no mkfs.{kind} here: make test installs it")


@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_a_file_system_is_made_tuned_and_removed(kind: str) -> None:
    need_kind(kind)
    said: list[str] = []
    spec = StorageSpec(file_system=kind, scheduler="mq-deadline", read_ahead=64 << 10, cache="cold")
    with prepared(spec, NEED, said.append) as place:
        assert place.folder is not None
        assert place.image is not None
        assert mount_of(str(place.folder))["file_system"] == kind
        assert list(place.folder.iterdir()) == []
        data = place.folder / "data"
        data.mkdir()
        (data / "file").write_bytes(os.urandom(NEED))
        queue = Path("/sys/block") / place.device / "queue"
        before = (queue / "scheduler").read_text(), (queue / "read_ahead_kb").read_text()
        with ExitStack() as kept, tuned(spec, place, data, said.append):
            assert "[mq-deadline]" in (queue / "scheduler").read_text()
            assert [path.read_text() for path in disk_of(data).read_ahead] == ["64\n"] * (2 if kind == "btrfs" else 1)
            assert place.factors == {
                "storage.file_system": kind,
                "storage.device": "loop",
                "storage.scheduler": "mq-deadline",
                "storage.read_ahead": 64 << 10,
                "storage.cache": "cold",
            }
            assert place.facts["residency_before"]["share"] == 0
            kept.enter_context(locked(data / "file"))  # reads all of it
        assert place.facts["residency_after"] == {
            **place.facts["residency_before"],
            "share": 1.0,
            "bytes": place.facts["residency_before"]["total"],
        }
        assert ((queue / "scheduler").read_text(), (queue / "read_ahead_kb").read_text()) == before
        facts = place.facts["file_system"]
        assert facts["disk_below"]["name"] not in (None, place.device)
        # With direct I/O the image's own pages stay out of memory, else the data would be there twice.
        if facts["direct_io"]:
            assert residency([place.image]).bytes == 0
    assert [sentence for sentence in said if "undo" in sentence] == []


def test_a_file_system_on_a_given_device(device: str) -> None:
    spec = StorageSpec(file_system="ext4", device=device)
    with prepared(spec, NEED, print) as place:
        assert place.folder is not None
        assert (place.device, place.image) == (Path(device).name, None)
        assert mount_of(str(place.folder))["source"] == device
        with (
            pytest.raises(EdgeprofError, match=r"is in use \(loop\d+ is mounted on .*never formatted"),
            prepared(StorageSpec(file_system="ext4", device=device, erase=device), NEED, print),
        ):
            pass
    # It holds a file system now.
    with pytest.raises(EdgeprofError, match=rf"holds data \(ext4\); .* --erase {device}"), prepared(spec, NEED, print):
        pass
    with prepared(StorageSpec(file_system="ext4", device=device, erase=device), NEED, print) as place:
        assert place.folder is not None


def test_any_byte_at_the_start_or_the_end_is_data(device: str) -> None:
    spec = StorageSpec(file_system="ext4", device=device)
    for at in (1 << 19, (400 << 20) - 4096):
        with Path(device).open("r+b") as file:
            file.seek(at)
            file.write(b"x")
        with pytest.raises(EdgeprofError, match="not all zero"), prepared(spec, NEED, print):
            pass
        with Path(device).open("r+b") as file:
            file.seek(at)
            file.write(b"\0")


def test_a_device_that_something_holds_is_never_formatted(device: str) -> None:
    holder = os.open(device, os.O_RDWR | os.O_EXCL)
    try:
        spec = StorageSpec(file_system="ext4", device=device, erase=device)
        with pytest.raises(EdgeprofError, match="in use and is never formatted"), prepared(spec, NEED, print):
            pass
    finally:
        os.close(holder)
    subprocess.run([str(find_tool("mkswap")), device], check=True, capture_output=True)
    with (
        pytest.raises(EdgeprofError, match=r"holds data \(swap\)"),
        prepared(StorageSpec(file_system="ext4", device=device), NEED, print),
    ):
        pass
    subprocess.run([str(find_tool("swapon")), device], check=True, capture_output=True)
    try:
        with pytest.raises(EdgeprofError, match="the machine swaps to"), prepared(spec, NEED, print):
            pass
    finally:
        subprocess.run([str(find_tool("swapoff")), device], check=True)


def test_the_disk_of_data_on_an_existing_file_system_is_set_and_restored(device: str, tmp_path: Path) -> None:
    subprocess.run([str(find_tool("mkfs.ext4")), "-q", device], check=True)
    target = tmp_path / "mounted"
    target.mkdir()
    subprocess.run(["mount", device, target], check=True)
    try:
        (target / "file").write_bytes(bytes(NEED))
        queue = Path("/sys/block") / Path(device).name / "queue"

        def state() -> list[str]:
            return [
                chosen((queue / name).read_text().strip()) for name in ("scheduler", "nr_requests", "read_ahead_kb")
            ]

        said: list[str] = []
        before = state()
        spec = StorageSpec(scheduler="kyber", read_ahead=5000, queue={"nr_requests": "37"})
        with prepared(spec, 0, said.append) as place, tuned(spec, place, target, said.append):
            assert state() == ["kyber", "37", "4"]
            assert place.device == Path(device).name
            assert place.factors["storage.read_ahead"] == 4096
            assert place.facts["set"] == {"scheduler": "kyber", "nr_requests": "37", "read_ahead_kb": "4"}
            other = StorageSpec(read_ahead=0)
            with (
                pytest.raises(EdgeprofError, match="another run has changed"),
                prepared(other, 0, said.append) as second,
                tuned(other, second, target, said.append),
            ):
                pass
        assert state() == before
        refused = {
            "nr_requests": r"the kernel refuses '9999999' for .*nr_requests: Invalid argument",
            "no_such": "has no queue setting 'no_such' that can be changed; it has: .*nr_requests",
            "scheduler": "use --scheduler",
        }
        for name, sentence in refused.items():
            spec = StorageSpec(scheduler="bfq", queue={name: "9999999"})
            with (
                pytest.raises(EdgeprofError, match=sentence),
                prepared(spec, 0, print) as place,
                tuned(spec, place, target, print),
            ):
                pass
            assert state() == before
    finally:
        subprocess.run(["umount", target], check=True)


def test_a_busy_file_system_is_named_and_cleaned_later(tmp_path: Path) -> None:
    said: list[str] = []
    with ExitStack() as stack:
        place = stack.enter_context(prepared(StorageSpec(file_system="ext4"), NEED, said.append))
        sleeper = subprocess.Popen(["sleep", "600"], cwd=place.folder)
        begun = time.monotonic()
    try:
        assert time.monotonic() - begun < 60
        assert any(f"in use by sleep {sleeper.pid}" in sentence for sentence in said)
        assert "`edgeprof clean`" in said[-1]
    finally:
        sleeper.kill()
        sleeper.wait()
    # Its owner is this process, which lives; a journal of a dead one is cleaned.
    (journal,) = (tmp_path / "state").iterdir()
    journal.write_text(journal.read_text().replace('"start_time": ', '"start_time": 1', 1))
    assert clean(str(tmp_path / "state")).failed == []


def test_swap_on_zram() -> None:
    if not Path("/sys/class/zram-control/hot_add").exists():
        pytest.skip("this kernel has no zram: modprobe zram")
    before = Path("/proc/swaps").read_text(), sorted(Path("/sys/block").glob("zram*"))
    spec = StorageSpec(zram=(32 << 20) - 1)
    with prepared(spec, 0, print) as place, tuned(spec, place, None, print):
        device = place.facts["zram"]["device"]
        assert place.factors == {"storage.zram": 32 << 20}
        fields = next(line.split() for line in Path("/proc/swaps").read_text().splitlines() if device in line)
        assert (fields[1], fields[4]) == ("partition", "32767")
    after = Path("/proc/swaps").read_text(), sorted(Path("/sys/block").glob("zram*"))
    assert after == before


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(EdgeprofError, match=r"no file system image of 1126 TB can be made in .*--fs-size"),
        prepared(StorageSpec(file_system="ext4", size=1 << 50), NEED, print),
    ):
        pass
    small = tmp_path / "cache"
    small.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], check=True)
    try:
        with (
            pytest.raises(EdgeprofError, match="No space left on device; make room"),
            prepared(StorageSpec(file_system="ext4"), NEED, print),
        ):
            pass
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_an_image_too_small_for_its_file_system_is_said() -> None:
    need_kind("btrfs")
    spec = StorageSpec(file_system="btrfs", size=1 << 20)
    with (
        pytest.raises(EdgeprofError, match=r"btrfs could not be made on /dev/loop.*larger --fs-size"),
        prepared(spec, NEED, print),
    ):
        pass


def test_data_without_a_disk_has_no_settings() -> None:
    spec = StorageSpec(read_ahead=0, scheduler="none")
    shared = Path("/dev/shm")
    if mount_of(str(shared))["file_system"] != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs here")
    with (
        prepared(spec, 0, print) as place,
        pytest.raises(EdgeprofError, match="no disk of this machine"),
        tuned(spec, place, shared, print),
    ):
        pass


def test_cold_and_warm_are_what_they_say(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(20):
        (data / str(number)).write_bytes(os.urandom(100_000))  # dirty: cold has to write them first
    (data / "empty").touch()
    (data / "link").symlink_to("0")
    (data / "nowhere").symlink_to("missing")
    said: list[str] = []
    if mount_of(str(data))["file_system"] == "tmpfs":
        pytest.skip("files of a tmpfs are always in memory")
    place = Place()
    with tuned(StorageSpec(cache="cold"), place, data, said.append):
        found = place.facts["residency_before"]
        assert (found["share"], found["files"]) == (0, 21)
    with tuned(StorageSpec(), place, data, said.append):
        assert place.factors["storage.cache"] == "as-is"
        assert place.facts["residency_before"]["share"] == 0
    with tuned(StorageSpec(cache="warm"), place, data, said.append, memory_limit=1 << 20):
        assert place.facts["residency_before"]["share"] >= WARM
    assert len(said) == 1
    assert "larger than the memory limit" in said[0]


def test_an_ordinary_user_drops_files_and_learns_of_own_ones_only() -> None:
    """A child of this process takes the user's rights for good."""
    with tempfile.TemporaryDirectory(prefix="edgeprof-user-") as name:  # pytest's own folders are root's alone
        folder = Path(name)
        folder.chmod(0o755)
        if mount_of(name)["file_system"] == "tmpfs":
            pytest.skip("files of a tmpfs are always in memory")
        for owner in (NOBODY, 0):
            (folder / str(owner)).write_bytes(os.urandom(1 << 20))
            os.chown(folder / str(owner), owner, owner)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                said: list[str] = []
                places = [Place(), Place()]
                for place, owner in zip(places, (NOBODY, 0), strict=True):
                    with tuned(StorageSpec(cache="cold"), place, folder / str(owner), said.append):
                        pass
                own, others = (place.facts["residency_before"] for place in places)
                assert own["share"] == 0
                assert said[0].startswith("only root can drop all of the page cache")
                if others["share"] is None:  # kernels before 6.15 tell everybody by cachestat
                    assert "tells only the file's owner" in others["reason"]
                    assert "could not be verified" in said[2]
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_stays_in_memory_is_not_called_cold(tmp_path: Path) -> None:
    """Pages of a file that a program has mapped and locked cannot be dropped."""
    path = tmp_path / "locked"
    path.write_bytes(os.urandom(1 << 20))
    said: list[str] = []
    place = Place()
    with locked(path), tuned(StorageSpec(cache="cold"), place, path, said.append):
        pass
    assert place.facts["residency_before"]["share"] == 1
    assert "100 % of the data set (1.05 MB) stays in memory" in said[0]
    assert files_below(path) == [path]


def test_missing_parts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernel_has("f2fs"):
        with (
            pytest.raises(EdgeprofError, match="this kernel has no f2fs"),
            prepared(StorageSpec(file_system="f2fs"), NEED, print),
        ):
            pass
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("edgeprof.profiler.storage.tools.ADMIN_FOLDERS", ())
    assert shutil.which("mkfs.xfs") is None
    with (
        pytest.raises(EdgeprofError, match=r"mkfs.ext4 is not installed; it is in the package e2fsprogs"),
        prepared(StorageSpec(file_system="ext4"), NEED, print),
    ):
        pass
