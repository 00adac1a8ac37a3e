"""What KMLib's C sources become here: when they are built, with which compilers, and what is said where one lacks."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import edgeprof
from edgeprof.cli.main import main
from edgeprof.kmodule import build, dkms
from edgeprof.kmodule.errors import CannotBuild
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.guest.architecture import ARM64, X86_64, Architecture, here
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.guest.headers import BuildTree, block_headers, given_tree, running_tree

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here: apt-get install gcc libc6-dev")

KERNEL = "6.1.0-test"
Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of a small core and a module, in place of KMLib's own, and a cache for what is built of them."""
    files = {
        "include/kml/answer.h": "int kml_answer(void);\n",
        "port/user/kml_deps.h": "#define ANSWER 42\n",
        "port/kernel/kml_deps.h": "#define ANSWER 43\n",
        "core/answer.c": '#include "kml_deps.h"\n#include "kml/answer.h"\nint kml_answer(void) { return ANSWER; }\n',
        "core/tables.py": "print('makes tables')\n",
        "driver/Kbuild": "obj-m := kml.o\n",
        "driver/kml.c": "int module;\n",
        "driver/kml.o": "left from another build\n",
        "elevator/Kbuild": "obj-m := mq_kmlib.o\n",
        "elevator/mq_kmlib.c": "int scheduler;\n",
    }
    for name, content in files.items():
        path = tmp_path / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(build, "SOURCES", tmp_path / "sources")
    monkeypatch.setenv("EDGEPROF_KML_CACHE", str(tmp_path / "cache"))
    return tmp_path / "sources"


def answer_of(library: Path) -> int:
    found: int = ctypes.CDLL(str(library)).kml_answer()
    return found


class TestLibrary:
    def test_it_is_built_once_for_the_same_sources(self, sources: Path) -> None:
        first = build.library()
        built_at = first.stat().st_mtime_ns
        assert answer_of(first) == 42
        assert build.library() == first
        assert first.stat().st_mtime_ns == built_at

    @pytest.mark.parametrize("name", ["core/answer.c", "include/kml/answer.h", "port/user/kml_deps.h"])
    def test_it_is_built_anew_when_a_source_or_header_changed(self, sources: Path, name: str) -> None:
        before = build.library()
        (sources / name).write_text((sources / name).read_text() + "\n#undef ANSWER\n#define ANSWER 7\n")
        after = build.library()
        assert after != before
        assert before.is_file()

    def test_the_kernels_side_is_no_part_of_it(self, sources: Path) -> None:
        before = build.library()
        (sources / "port/kernel/kml_deps.h").unlink()
        (sources / "driver/kml.c").unlink()
        assert build.library() == before

    def test_a_wrong_source_is_one_sentence_and_a_log(self, sources: Path, tmp_path: Path) -> None:
        (sources / "core/answer.c").write_text("int kml_answer(void) { return nothing; }\n")
        with pytest.raises(
            CannotBuild, match=r"^libkml.so cannot be built: .*answer\.c:1:.*nothing.*; \S+ has all of it$"
        ):
            build.library()
        (log,) = (tmp_path / "cache").rglob("build.log")
        assert "nothing" in log.read_text()
        assert list((tmp_path / "cache").rglob("*.so")) == []

    def test_a_missing_compiler_is_named_with_its_package(self, sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(sources))
        monkeypatch.delenv("CC", raising=False)
        with pytest.raises(CannotBuild, match=r"takes gcc, which is not here: apt-get install gcc libc6-dev$"):
            build.library()
        other = X86_64 if here() is ARM64 else ARM64
        with pytest.raises(CannotBuild, match=rf"takes {other.name}-linux-gnu-gcc, .* install gcc-.*-linux-gnu libc6"):
            build.library(other)
        monkeypatch.setenv("CC", "some-compiler")
        with pytest.raises(CannotBuild, match=r"takes some-compiler, which is not here"):
            build.library()


def test_the_real_library_loads() -> None:
    assert ctypes.CDLL(str(build.library())).kml_infer


class TestProgram:
    SOURCE = (
        '#include "kml/answer.h"\n#include "more.h"\n#include <stdio.h>\n'
        "int main(void) { return printf(MORE, kml_answer()) < 0; }\n"
    )

    @pytest.mark.parametrize("architecture", [X86_64, ARM64], ids=lambda architecture: architecture.kernel)
    def test_it_is_static_and_holds_the_core(self, sources: Path, tmp_path: Path, architecture: Architecture) -> None:
        if architecture.cross and shutil.which(f"{architecture.cross}gcc") is None:
            pytest.skip(f"no {architecture.cross}gcc here: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
        (tmp_path / "say.c").write_text(self.SOURCE)
        (tmp_path / "more.h").write_text('#define MORE "it is %d\\n"\n')
        program = build.program(tmp_path / "say.c", architecture)
        assert program.name == "say"
        header = program.read_bytes()[:20]
        assert int.from_bytes(header[18:20], "little") == {"x86_64": 62, "aarch64": 183}[architecture.name]  # elf.h
        assert "ld-linux" not in program.read_bytes().decode("latin-1").split("\0", 1)[0]
        if architecture.is_here:
            listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
            assert "not a dynamic executable" in listed.stderr + listed.stdout
            said = subprocess.run([program], capture_output=True, text=True, check=True)
            assert said.stdout == "it is 42\n"

    def test_it_is_built_anew_when_its_own_header_changed(self, sources: Path, tmp_path: Path) -> None:
        (tmp_path / "say.c").write_text(self.SOURCE)
        for greeting in ("one", "two"):
            (tmp_path / "more.h").write_text(f'#define MORE "{greeting} %d\\n"\n')
            said = subprocess.run([build.program(tmp_path / "say.c")], capture_output=True, text=True, check=True)
            assert said.stdout == f"{greeting} 42\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A kernel's build folder whose makefile says what it is called with, and makes any file a module."""
    folder = tmp_path / "kernel"
    (folder / "include/config").mkdir(parents=True)
    (folder / "include/config/kernel.release").write_text(f"{KERNEL}\n")
    (folder / ".config").write_text(f"CONFIG_MODULES=y\nCONFIG_{'X86_64' if here() is X86_64 else 'ARM64'}=y\n")
    (folder / "Module.symvers").write_text("")
    (folder / "Makefile").write_text(
        "modules:\n"
        "\t@echo $(ARCH) $(MAKELEVEL) >>$(dir $(abspath $(firstword $(MAKEFILE_LIST))))called\n"
        "\t@echo $(KBUILD_EXTRA_SYMBOLS) $(KML_BLOCK_HEADERS) >>$(dir $(abspath $(firstword $(MAKEFILE_LIST))))given\n"
        "\t@cd $(M) && test ! -e kml.o && for source in *.c; do $(CC) -g -c $$source -o $${source%.c}.ko; done"
        " && test -e $${source%.c}.ko && echo exported >Module.symvers\n"
    )
    return folder


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here: apt-get install make")
class TestModule:
    def test_it_is_built_by_the_kernels_makefiles_from_a_copy(self, sources: Path, tree: Path) -> None:
        before = sorted(sources.rglob("*"))
        found = build.module(given_tree(tree))
        assert found.name == "kml.ko"
        assert found.read_bytes()[:4] == b"\x7fELF"
        assert b".debug_info" not in found.read_bytes()
        assert found.with_name(build.SYMBOLS).read_text() == "exported\n"
        assert (tree / "called").read_text() == f"{here().kernel} 0\n"
        assert build.module(given_tree(tree)) == found
        assert (tree / "called").read_text().count("\n") == 1
        assert sorted(sources.rglob("*")) == before

    @pytest.mark.parametrize("changed", ["driver/kml.c", "driver/Kbuild", "core/answer.c", "port/kernel/kml_deps.h"])
    def test_it_is_built_anew_when_a_source_changed(self, sources: Path, tree: Path, changed: str) -> None:
        before = build.module(given_tree(tree))
        with (sources / changed).open("a") as file:
            file.write("\n\n")
        assert build.module(given_tree(tree)) != before

    def test_it_is_built_anew_for_another_configuration_of_the_same_kernel(self, sources: Path, tree: Path) -> None:
        before = build.module(given_tree(tree))
        with (tree / ".config").open("a") as file:
            file.write("CONFIG_PREEMPT=y\n")
        assert build.module(given_tree(tree)) != before

    def test_a_user_of_kml_is_built_with_its_symbols_and_the_block_layers_headers(
        self, sources: Path, tree: Path, tmp_path: Path
    ) -> None:
        header = tmp_path / "source" / "block" / "blk-mq-sched.h"
        header.parent.mkdir(parents=True)
        header.write_text("")
        found = build.module(given_tree(tree), "mq_kmlib", tmp_path / "source")
        assert found.name == "mq_kmlib.ko"
        symbols = build.module(given_tree(tree)).with_name(build.SYMBOLS)
        assert (tree / "given").read_text().split() == [str(symbols), str(header.parent)]
        assert build.module(given_tree(tree), "mq_kmlib", tmp_path / "source") == found
        header.write_text("/* changed */\n")
        assert build.module(given_tree(tree), "mq_kmlib", tmp_path / "source") != found

    def test_a_user_of_kml_is_built_anew_when_what_kml_exports_changed(
        self, sources: Path, tree: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "source/block").mkdir(parents=True)
        (tmp_path / "source/block/blk-mq-sched.h").write_text("")
        before = build.module(given_tree(tree), "mq_kmlib", tmp_path / "source")
        build.module(given_tree(tree)).with_name(build.SYMBOLS).write_text("more is exported\n")
        assert build.module(given_tree(tree), "mq_kmlib", tmp_path / "source") != before

    def test_what_make_said_is_kept_and_its_error_told(self, sources: Path, tree: Path) -> None:
        (sources / "driver/kml.c").write_text("no C at all\n")
        with pytest.raises(
            CannotBuild, match=rf"kml.ko cannot be built for {KERNEL}: kml.c:1:.*error.*; (\S+) has all"
        ) as r:
            build.module(given_tree(tree))
        log = Path(str(r.value).rpartition("; ")[2].split()[0])
        assert "no C at all" in log.read_text()


class TestTrees:
    def test_a_folder_tells_its_version_and_processor(self, tree: Path) -> None:
        assert given_tree(tree) == BuildTree(tree, KERNEL, here())
        (tree / ".config").write_text("CONFIG_ARM64=y\n")
        assert given_tree(tree).architecture == ARM64
        (tree / "include/config/kernel.release").unlink()
        (tree / "include/generated").mkdir()
        (tree / "include/generated/utsrelease.h").write_text('#define UTS_RELEASE "5.10.104-tegra"\n')
        assert given_tree(tree).version == "5.10.104-tegra"

    @pytest.mark.parametrize("missing", ["Makefile", ".config", "Module.symvers"])
    def test_what_a_folder_lacks_is_said(self, tree: Path, missing: str) -> None:
        (tree / missing).unlink()
        with pytest.raises(NoGuest, match=rf"{tree} is no folder .* it has no {missing}"):
            given_tree(tree)

    def test_a_kernel_that_was_not_prepared_or_has_another_processor_is_refused(self, tree: Path) -> None:
        (tree / "include/config/kernel.release").unlink()
        with pytest.raises(NoGuest, match="make modules_prepare"):
            given_tree(tree)
        (tree / ".config").write_text("CONFIG_RISCV=y\n")
        with pytest.raises(NoGuest, match="neither x86-64 nor arm64"):
            given_tree(tree)

    def test_missing_headers_of_the_running_kernel_are_named_with_their_packages(self) -> None:
        if Path("/lib/modules", os.uname().release, "build").is_dir():
            assert running_tree().version == os.uname().release
            return
        with pytest.raises(
            NoGuest, match=r"apt-get install linux-headers-\S+ .* nvidia-l4t-kernel-headers on a Jetson"
        ):
            running_tree()


class TestBlockHeaders:
    def test_they_are_found_in_a_folder_that_the_kernel_was_built_in(self, tree: Path) -> None:
        (tree / "block").mkdir()
        (tree / "block/blk-mq-sched.h").write_text("")
        assert block_headers(given_tree(tree)) == tree / "block"

    def test_they_are_found_where_the_build_folder_names_its_source(self, tree: Path, tmp_path: Path) -> None:
        (tmp_path / "elsewhere/block").mkdir(parents=True)
        (tmp_path / "elsewhere/block/blk-mq-sched.h").write_text("")
        (tree / "source").symlink_to(tmp_path / "elsewhere")
        assert block_headers(given_tree(tree)) == tmp_path / "elsewhere/block"

    def test_a_folder_without_them_is_refused(self, tree: Path, tmp_path: Path) -> None:
        with pytest.raises(NoGuest, match=rf"{tmp_path} has no block/blk-mq-sched.h"):
            block_headers(given_tree(tree), tmp_path)

    def test_for_a_kernel_that_nobody_packages_the_option_is_named(self, tree: Path) -> None:
        (tree / "include/config/kernel.release").write_text("4.19.1-mine\n")
        with pytest.raises(NoGuest, match="--kernel-source"):
            block_headers(given_tree(tree))


class TestDkms:
    def test_the_package_has_edgeprofs_version(self) -> None:
        assert dkms.version() == edgeprof.__version__

    def test_the_sources_are_copied_whole_and_nothing_else(self, sources: Path, tmp_path: Path) -> None:
        (tmp_path / "src" / f"kml-{dkms.version()}").mkdir(parents=True)
        (tmp_path / "src" / f"kml-{dkms.version()}" / "old.c").write_text("")
        copied = dkms.copy_sources(tmp_path / "src")
        assert sorted(str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()) == [
            "core/answer.c",
            "dkms.conf",
            "driver/Kbuild",
            "driver/kml.c",
            "include/kml/answer.h",
            "port/kernel/kml_deps.h",
        ]

    def test_without_dkms_it_says_how_to_get_it(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(CannotBuild, match="apt-get install dkms"):
            dkms.install(tmp_path)


class TestCommand:
    def said(self, capsys: Capsys, *words: str) -> tuple[int, str, str]:
        code = main(["kml", *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    def test_the_library_is_built_and_told(self, sources: Path, tmp_path: Path, capsys: Capsys) -> None:
        code, out, err = self.said(capsys, "build", "--only", "library", "-o", str(tmp_path / "here"), "--json")
        assert (code, err) == (0, "")
        path = tmp_path / "here" / "libkml.so"
        assert json.loads(out) == {"library": {"path": str(path), "bytes": path.stat().st_size}}
        assert answer_of(path) == 42

    def test_the_module_is_built_for_a_named_kernel(self, sources: Path, tree: Path, capsys: Capsys) -> None:
        code, out, err = self.said(capsys, "build", "--kernel-dir", str(tree))
        assert (code, err) == (0, "")
        assert [Path(line).name for line in out.splitlines()] == ["libkml.so", "kml.ko", "Module.symvers"]

    def test_only_what_is_named_is_built(self, sources: Path, tree: Path, tmp_path: Path, capsys: Capsys) -> None:
        (tmp_path / "source/block").mkdir(parents=True)
        (tmp_path / "source/block/blk-mq-sched.h").write_text("")
        words = ("build", "--kernel-dir", str(tree), "--kernel-source", str(tmp_path / "source"))
        code, out, err = self.said(capsys, *words, "--only", "kml", "--only", "mq_kmlib", "--json")
        assert (code, err) == (0, "")
        assert list(json.loads(out)) == ["kml", "symbols", "mq_kmlib"]

    @pytest.mark.parametrize(
        ("word", "told"),
        [("mq_none", "mq_none is neither a file nor one of kml, mq_kmlib"), ("share=1", "no module stands before")],
    )
    def test_what_is_no_module_is_not_loaded(self, word: str, told: str, capsys: Capsys) -> None:
        code, _, err = self.said(capsys, "load", word)
        assert (code, err.count("\n")) == (120, 1)
        assert told in err

    @pytest.mark.parametrize(("option", "word"), [("--module", "absent.ko"), ("--program", "./absent")])
    def test_a_guest_is_not_booted_without_a_file_that_is_named(
        self, tmp_path: Path, capsys: Capsys, option: str, word: str
    ) -> None:
        (tmp_path / "script").write_text("true\n")
        code, out, err = self.said(capsys, "guest", str(tmp_path / "script"), option, word)
        assert (code, out) == (EdgeprofError.exit_code, "")
        assert err.startswith(f"edgeprof: there is no file {word}")

    def test_a_kernel_for_another_processor_is_not_mistaken(self, sources: Path, tree: Path, capsys: Capsys) -> None:
        other = "arm64" if here() is X86_64 else "x86_64"
        code, out, err = self.said(capsys, "build", "--only", "kml", "--kernel-dir", str(tree), "--arch", other)
        assert (code, out) == (120, "")
        assert f"of an {here().kernel} kernel, and {other} was asked for" in err

    def test_two_kernels_at_once_are_refused(self, tree: Path, capsys: Capsys) -> None:
        code, _, err = self.said(capsys, "build", "--kernel-dir", str(tree), "--release", "5.10")
        assert (code, err.count("\n")) == (120, 1)
        assert "give one of them" in err

    @pytest.mark.skipif(Path("/dev/kml").exists(), reason="the module is loaded here")
    @pytest.mark.parametrize("words", [("status",), ("load", "--model", "x", "{file}"), ("unload", "--model", "x")])
    def test_without_the_module_it_says_how_to_load_it(
        self, words: tuple[str, ...], tmp_path: Path, capsys: Capsys
    ) -> None:
        (tmp_path / "model").write_bytes(b"")
        code, _, err = self.said(capsys, *(word.format(file=tmp_path / "model") for word in words))
        assert (code, err.count("\n")) == (120, 1)
        assert "load the module with `edgeprof kml load`" in err

    def test_a_model_that_cannot_be_read_is_told_before_the_device(self, tmp_path: Path, capsys: Capsys) -> None:
        code, _, err = self.said(capsys, "load", "--model", "x", str(tmp_path / "none"))
        assert code == 120
        assert f"cannot read {tmp_path / 'none'}: No such file" in err
