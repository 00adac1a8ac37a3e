"""Guests that differ from this machine: other processors, other releases, and what a script's guest brings back."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from edgeprof.profiler.guest import accelerator, architecture, packages, script
from edgeprof.profiler.guest.architecture import ARM64, X86_64, here
from edgeprof.profiler.guest.errors import GuestFailed, NoGuest
from edgeprof.profiler.guest.kernel import Kernel
from edgeprof.profiler.guest.packages import Apt, codename, suite_apt
from edgeprof.profiler.guest.qemu import KVM, TCG, Machine
from edgeprof.profiler.guest.releases import apt_for, release_kernel

FOREIGN = ARM64 if here() is X86_64 else X86_64


@pytest.fixture
def foreign(tmp_path: Path) -> Kernel:
    """A kernel for another processor than this machine's."""
    return Kernel(tmp_path / "vmlinuz", None, "6.1.0-test", FOREIGN)


@pytest.mark.parametrize("name", ["aarch64", "arm64"])
def test_an_architecture_is_found_by_any_of_its_names(name: str) -> None:
    assert architecture.find(name) is ARM64
    with pytest.raises(NoGuest, match="no guest with a processor 'riscv64'; there are: x86_64, arm64"):
        architecture.find("riscv64")


def test_only_a_foreign_processor_takes_cross_tools() -> None:
    assert here().cross == ""
    assert FOREIGN.cross == f"{FOREIGN.name}-linux-gnu-"


class TestMachine:
    @pytest.fixture(autouse=True)
    def emulators(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As if QEMU were here for all processors."""
        monkeypatch.setattr("edgeprof.profiler.guest.tools.program", Path)

    def words(self, machine: Machine) -> str:
        return " ".join(machine.command())

    def test_an_arm64_guest_has_the_boards_own_console(self, tmp_path: Path) -> None:
        words = self.words(Machine(Kernel(tmp_path / "Image", None, "", ARM64), tmp_path / "initramfs"))
        assert words.startswith("qemu-system-aarch64 ")
        assert "-machine virt,gic-version=max -accel tcg -cpu cortex-a57 " in words
        assert "console=ttyAMA0 " in words

    def test_a_foreign_guest_is_emulated_in_software(self, foreign: Kernel, tmp_path: Path) -> None:
        with pytest.raises(NoGuest, match=f"emulates {FOREIGN.kernel} in software only"):
            Machine(foreign, tmp_path / "initramfs", accelerator=KVM).command()
        assert accelerator.choose("", foreign, tmp_path, pytest.fail) == TCG
        with pytest.raises(NoGuest, match="KVM cannot be used"):
            accelerator.choose(KVM, foreign, tmp_path, pytest.fail)

    def test_counted_instructions_take_one_emulated_processor(self, tmp_path: Path) -> None:
        kernel = Kernel(tmp_path / "vmlinuz", None, "")
        assert " -icount shift=3,sleep=off " in self.words(Machine(kernel, tmp_path / "i", counted=True))
        assert "-icount" not in self.words(Machine(kernel, tmp_path / "i"))
        for wrong in (
            Machine(kernel, tmp_path / "i", counted=True, cpus=2),
            Machine(kernel, tmp_path / "i", counted=True, accelerator=KVM),
        ):
            with pytest.raises(NoGuest, match="software emulation of one processor only"):
                wrong.command()


def test_files_of_modules_load_after_what_they_need(tmp_path: Path) -> None:
    folder = tmp_path / "lib/modules/6.1.0-test/kernel"
    folder.mkdir(parents=True)
    (folder / "crc64.ko").write_bytes(b"\x7fELF\0depends=\0")
    (tmp_path / "kml.ko").write_bytes(b"\x7fELF\0depends=crc64\0")
    (tmp_path / "mq-user.ko").write_bytes(b"\x7fELF\0depends=kml\0")
    kernel = Kernel(tmp_path / "vmlinuz", tmp_path, "6.1.0-test")
    found = kernel.modules([tmp_path / "mq-user.ko", tmp_path / "kml.ko"])
    assert [path.name for path in found] == ["crc64.ko", "kml.ko", "mq-user.ko"]
    without_tree = Kernel(tmp_path / "vmlinuz", None, "")
    assert without_tree.modules([tmp_path / "kml.ko"]) == [tmp_path / "kml.ko"]


def test_modules_are_also_found_below_usr(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/modules/6.12.1/kernel"
    folder.mkdir(parents=True)
    (folder / "crc64.ko").write_bytes(b"\x7fELF\0depends=\0")
    assert Kernel(tmp_path / "vmlinuz", tmp_path, "6.12.1").has("crc64")


class TestReleases:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ('ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n', "bookworm"),
            ('ID=debian\nVERSION_CODENAME="trixie"\n', "trixie"),
            ("ID=ubuntu\nVERSION_CODENAME=noble\nID_LIKE=debian\n", ""),
            ("", ""),
        ],
    )
    def test_the_codename_is_debians_own(self, text: str, expected: str, tmp_path: Path) -> None:
        (tmp_path / "os-release").write_text(text)
        assert codename(tmp_path / "os-release") == expected
        assert codename(tmp_path / "nowhere") == ""

    def test_an_unknown_release_is_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(NoGuest, match=r"no kernel 4\.19 to fetch; there are: 5\.10, 6\.1, 6\.12"):
            release_kernel("4.19", cache=tmp_path)
        with pytest.raises(NoGuest, match=r"packages of kernels 7\.0"):
            apt_for("7.0", here(), tmp_path)

    @pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt here")
    def test_without_a_mirror_of_debian_it_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(packages, "codename", lambda: "no-such-release")
        with pytest.raises(NoGuest, match="this machine's apt has no source of Debian's packages"):
            suite_apt("bullseye", tmp_path)

    def test_without_apt_it_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(NoGuest, match="no apt here"):
            Apt().depends("anything")


class TestOutcome:
    def read(self, tmp_path: Path, files: dict[str, bytes]) -> script.Outcome:
        """What is read from a result disk with these files."""
        disk = tmp_path / "disk"
        with tarfile.open(disk, "w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return script._outcome(disk, "the console")

    def test_code_output_and_files_come_back(self, tmp_path: Path) -> None:
        told = {"code": b"3\n", "output": b"said \xff\n", "out/a": b"1", "out/b/output": b"2"}
        outcome = self.read(tmp_path, told)
        assert outcome == script.Outcome(3, "said \ufffd\n", {"a": b"1", "b/output": b"2"}, "the console")

    @pytest.mark.parametrize("name", ["out/../../etc/passwd", "/etc/passwd", "etc/passwd", "code"])
    def test_a_hostile_guest_writes_nowhere_else(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(GuestFailed, match="what the guest left cannot be read"):
            self.read(tmp_path, {name: b"mine"})

    def test_a_disk_that_was_not_written_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "disk").write_bytes(bytes(1024))
        with pytest.raises(GuestFailed, match="what the guest left cannot be read"):
            script._outcome(tmp_path / "disk", "its words")


def test_programs_of_this_machine_are_refused_in_a_foreign_guest(foreign: Kernel, tmp_path: Path) -> None:
    (tmp_path / f"busybox-{FOREIGN.debian}" / "bin").mkdir(parents=True)
    (tmp_path / f"busybox-{FOREIGN.debian}" / "bin" / "busybox").write_bytes(b"\x7fELF")
    for guest in (
        script.Guest(foreign, programs=["fio"], cache=tmp_path),
        script.Guest(foreign, python=True, cache=tmp_path),
    ):
        with pytest.raises(NoGuest, match=rf"does not run on {FOREIGN.kernel}: give a static program"):
            guest.execute("true", timeout=1)
