"""What a guest is made of: kernels with their modules, shares, disks, accelerators; and what is said where it lacks."""

from __future__ import annotations

import json
import lzma
import os
import stat
import subprocess
from pathlib import Path

import pytest

from edgeprof.profiler.agent import undo
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.guest import accelerator, qemu, share, tools
from edgeprof.profiler.guest.archive import Archive
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.guest.kernel import CLOUD, GENERIC, Kernel, distribution_kernel, given_kernel
from edgeprof.profiler.guest.mounts import mount_at
from edgeprof.profiler.guest.qemu import KVM, TCG, Disk, Machine, last_words
from edgeprof.profiler.isolation import vm_data
from edgeprof.profiler.isolation.vm_data import prepared_data
from edgeprof.profiler.storage.spec import Place

VERSION = "6.9.0-test"


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A kernel whose virtiofs needs fuse, and whose overlay is built in."""
    folder = tmp_path / "tree" / "lib" / "modules" / VERSION
    (folder / "kernel").mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/fs/overlayfs/overlay.ko\n")
    (folder / "kernel" / "virtiofs.ko").write_bytes(b"\x7fELF\0depends=fuse,virtio-ring\0more")
    (folder / "kernel" / "fuse.ko.xz").write_bytes(lzma.compress(b"\x7fELF\0depends=\0"))
    (folder / "kernel" / "virtio_ring.ko").write_bytes(b"\x7fELF\0depends=fuse\0")
    return Kernel(tmp_path / "vmlinuz", tmp_path / "tree", VERSION)


def test_modules_come_with_what_they_need_in_the_order_of_loading(kernel: Kernel) -> None:
    names = [path.name for path in kernel.modules(["overlay", "virtiofs", "fuse"])]
    assert names == ["fuse.ko.xz", "virtio_ring.ko", "virtiofs.ko"]
    assert kernel.has("virtio-ring")
    assert kernel.has("overlay")
    with pytest.raises(NoGuest, match=f"the kernel {VERSION} has no module 9p"):
        kernel.modules(["9p"])


def test_a_kernel_without_a_tree_is_taken_to_have_all_built_in(tmp_path: Path) -> None:
    bare = Kernel(tmp_path / "vmlinuz", None, "")
    assert bare.modules(["virtiofs"]) == []
    assert bare.has("virtiofs")


def test_a_given_kernel_finds_the_modules_beside_it(kernel: Kernel) -> None:
    assert kernel.tree is not None
    image = kernel.tree / "boot" / f"vmlinuz-{VERSION}"
    image.parent.mkdir()
    image.write_bytes(b"anything")
    assert given_kernel(image) == Kernel(image, kernel.tree, VERSION)


def test_a_given_kernel_tells_its_version_itself(tmp_path: Path) -> None:
    image = tmp_path / "kernel"
    head = bytearray(0x1000)
    head[0x202:0x206], head[0x20E:0x210] = b"HdrS", (0x300).to_bytes(2, "little")
    head[0x500:0x520] = b"5.10.7-board (me@here) #1 SMP\0\0\0"
    image.write_bytes(head)
    assert given_kernel(image) == Kernel(image, None, "5.10.7-board")
    image.write_bytes(bytes(0x1000))
    assert given_kernel(image) == Kernel(image, None, "")
    with pytest.raises(NoGuest, match="there is no kernel image"):
        given_kernel(tmp_path / "nowhere")


@pytest.mark.parametrize(("package", "suffix"), [(CLOUD, "-cloud"), (GENERIC, "")])
def test_the_newest_kernel_of_the_cache_is_taken(tmp_path: Path, package: str, suffix: str) -> None:
    machine = package.rpartition("-")[2]
    for name in ("6.1.0-9", "6.1.0-56", "6.1.0-7"):
        for kind in ("-cloud", ""):
            (tmp_path / f"linux-image-{name}{kind}-{machine}").mkdir()
    found = distribution_kernel(tmp_path, package)
    assert found.version == f"6.1.0-56{suffix}-{machine}"
    assert found.image == tmp_path / f"linux-image-{found.version}" / "boot" / f"vmlinuz-{found.version}"


@pytest.mark.skipif(tools.find_tool("cpio") is None, reason="no cpio here: apt-get install cpio")
def test_an_initramfs_is_one_that_cpio_reads(kernel: Kernel, tmp_path: Path) -> None:
    with (tmp_path / "initramfs").open("wb") as file:
        archive = Archive(file)
        archive.folder("a/b")
        archive.file("a/b/c", b"content", 0o755)
        archive.file("a/b/c", b"another")
        archive.link("d", "a/b/c")
        archive.modules(kernel, ["virtiofs"])
        archive.close()
    out = tmp_path / "out"
    out.mkdir()
    with (tmp_path / "initramfs").open("rb") as file:
        subprocess.run(["cpio", "-idm", "--quiet"], cwd=out, stdin=file, check=True)
    assert (out / "d").read_bytes() == b"content"
    assert stat.S_IMODE((out / "a/b/c").stat().st_mode) == 0o755
    assert (out / "modules").read_text().split() == ["/lib/fuse.ko", "/lib/virtio_ring.ko", "/lib/virtiofs.ko"]
    assert (out / "lib" / "fuse.ko").read_bytes().startswith(b"\x7fELF")


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find_tool", lambda name: None)
    with pytest.raises(NoGuest, match=r"apt-get install qemu-system-x86$"):
        tools.program("qemu-system-x86_64")


def test_virtiofs_is_chosen_before_9p_and_what_lacks_is_said(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "find_daemon", lambda: Path("/usr/libexec/virtiofsd"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert share.choose("", kernel) == "virtiofs"
    bare = Kernel(tmp_path / "vmlinuz", None, "")
    assert share.choose("9p", bare) == "9p"
    monkeypatch.setattr(share, "find_daemon", lambda: None)
    assert share.choose("", bare) == "9p"
    with pytest.raises(NoGuest, match=r"no virtiofsd \(apt-get .*no module 9p"):
        share.choose("", kernel)


@pytest.mark.parametrize(
    ("told", "root", "back"),
    [
        (
            "    -o source=PATH             shared directory tree",
            ["-o", r"source=/a\,b,cache=always,sandbox=chroot,no_posix_lock,no_flock,log_level=err"],
            ["-o", r"source=/a\,b,cache=auto,sandbox=chroot,no_posix_lock,no_flock,log_level=err"],
        ),
        (
            "      --shared-dir <SHARED_DIR>\n      --readonly",
            ["--shared-dir=/a,b", "--cache=always", "--sandbox=chroot", "--readonly"],
            ["--shared-dir=/a,b", "--cache=auto", "--sandbox=chroot"],
        ),
    ],
    ids=["C", "Rust"],
)
def test_either_virtiofsd_is_spoken_to_in_its_own_words(
    told: str, root: list[str], back: list[str], tmp_path: Path
) -> None:
    daemon = tmp_path / "virtiofsd"
    daemon.write_text(f"#!/bin/sh\ncat <<'END'\n{told}\nEND\n")
    daemon.chmod(0o755)
    folder = Path("/a,b")
    for item, words in ((share.Share("x", folder), root), (share.Share("x", folder, writable=True), back)):
        assert share._daemon_words(daemon, 7, item) == [str(daemon), "--fd=7", *words]


def test_a_disk_that_is_compared_passes_the_hosts_cache_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find_tool", lambda name: Path("/usr/bin") / name)
    disks = [Disk(Path("/a,b/c.img"), "serial", direct=True), Disk(Path("/d"))]
    words = Machine(Kernel(Path("/k"), None, ""), Path("/i"), disks=disks, shared_memory=True).command()
    text = " ".join(words)
    assert "file=/a,,b/c.img,format=raw,if=none,id=disk0,cache=none,aio=threads" in text
    assert "virtio-blk-pci,drive=disk0,serial=serial,request-merging=off" in text
    assert "file=/d,format=raw,if=none,id=disk1,cache=unsafe,discard=unmap" in text
    assert "memory-backend-memfd,id=memory,size=1024M,share=on" in text


def test_what_kvm_did_is_asked_once(kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def boots(which: Kernel) -> bool:
        tried.append(which.version)
        return False

    monkeypatch.setattr(accelerator, "_cannot_open", lambda: "")
    monkeypatch.setattr(accelerator, "_boots", boots)
    said: list[str] = []
    assert [accelerator.choose("", kernel, tmp_path / "cache", said.append) for _ in range(3)] == [TCG] * 3
    assert tried == [VERSION]
    assert len(said) == 1
    assert accelerator.choose(KVM, kernel, tmp_path / "cache", said.append) == KVM  # the user knows better
    (tmp_path / "cache" / "accelerators.json").write_text("[damaged")
    monkeypatch.setattr(accelerator, "_boots", lambda which: True)
    assert accelerator.choose("", kernel, tmp_path / "cache", said.append) == KVM
    assert list(json.loads((tmp_path / "cache" / "accelerators.json").read_text()).values()) == [True]
    monkeypatch.setattr(accelerator, "_cannot_open", lambda: "/dev/kvm: Permission denied")
    assert accelerator.choose("", kernel, tmp_path / "cache", said.append) == TCG
    with pytest.raises(NoGuest, match="KVM cannot be used: /dev/kvm: Permission denied; leave"):
        accelerator.choose(KVM, kernel, tmp_path / "cache", said.append)


def test_a_consoles_last_words_are_readable() -> None:
    assert last_words("x" * qemu._CONSOLE_BYTES + "\x1bc\x1b[?7l\x1b[2JBooting\r\npanic\r\n") == (
        "x" * (qemu._CONSOLE_BYTES - len("\x1bc\x1b[?7l\x1b[2JBooting\r\npanic\r\n")) + "Booting\npanic"
    )


def test_what_is_mounted_is_found() -> None:
    found = mount_at(Path("/proc"))
    assert found is not None
    assert found.file_system == "proc"
    assert mount_at(Path("/nowhere")) is None


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of files, one of them not small."""
    folder = tmp_path / "data"
    (folder / "inside").mkdir(parents=True)
    for number in range(200):
        (folder / "inside" / f"{number}.bin").write_bytes(os.urandom(5000))
    (folder / "large.bin").write_bytes(os.urandom(3 << 20))
    return folder


@pytest.mark.skipif(tools.find_tool("debugfs") is None, reason="no debugfs here: apt-get install e2fsprogs")
def test_an_image_holds_the_data_and_all_its_blocks_have_a_place(data: Path, tmp_path: Path) -> None:
    there = prepared_data("", "virtiofs", Place(), data, tmp_path, lambda line: None)
    assert (there.share, there.mount, there.file_system, there.mounted) == ("disk", data, "ext4", None)
    assert there.modules == ("ext4",)
    assert there.image is not None
    assert there.image.stat().st_blocks * 512 >= there.image.stat().st_size > 4 << 20
    debugfs = str(tools.program("debugfs"))
    (tmp_path / "out").mkdir()
    subprocess.run([debugfs, "-R", f"rdump / {tmp_path / 'out'}", there.image], capture_output=True, check=True)
    for path in data.rglob("*.bin"):
        assert (tmp_path / "out" / path.relative_to(data)).read_bytes() == path.read_bytes()


def test_large_data_come_through_the_share_unless_a_disk_is_wanted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm_data, "MOST_BYTES", 1 << 20)
    assert prepared_data("", "virtiofs", Place(), data, tmp_path, lambda line: None) == vm_data.Data("virtiofs")
    assert prepared_data("9p", "9p", Place(), data, tmp_path, lambda line: None).image is None
    assert prepared_data("disk", "virtiofs", Place(), data, tmp_path, lambda line: None).share == "disk"
    assert prepared_data("disk", "virtiofs", Place(), None, tmp_path, lambda line: None) == vm_data.Data("virtiofs")


def test_an_image_that_cannot_be_made_is_one_sentence(data: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeprofError, match=r"no disk image of .* could be made \(.+\); try --vm-share virtiofs"):
        prepared_data("disk", "virtiofs", Place(), data, tmp_path / "nowhere", lambda line: None)


def test_a_scratch_folder_is_undone_with_all_in_it_and_no_other(tmp_path: Path) -> None:
    for name in (".edgeprof-vm-1", "mine"):
        (tmp_path / name / "place").mkdir(parents=True)
        (tmp_path / name / "place" / "file").write_text("x")
    assert undo.undo({"n": 1, "kind": "scratch", "path": str(tmp_path / ".edgeprof-vm-1")}).startswith("removed")
    assert undo.undo({"n": 1, "kind": "scratch", "path": str(tmp_path / ".edgeprof-vm-1")}) == ""
    with pytest.raises(OSError, match="damaged journal entry"):
        undo.undo({"n": 1, "kind": "scratch", "path": str(tmp_path / "mine")})
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
