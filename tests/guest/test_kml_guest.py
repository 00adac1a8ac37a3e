"""kml.ko in a booted kernel: it learns, swaps models, counts every sample, refuses bad input, and can always go.

`kmodule/tests/guest/kml_check.c` does the work inside; here its verdicts and the kernel's log are judged.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeprof.kmodule import build
from edgeprof.kmodule.errors import CannotBuild, ToolMissing
from edgeprof.profiler.guest.headers import BuildTree
from tests.guest.machine import Guest, NoGuest, build_tree, debian_kernel
from tests.source_tree import ROOT

pytestmark = [pytest.mark.guest, pytest.mark.timeout(240)]

FOLDER = ROOT / "kmodule/tests/guest"
CHECKS = (
    "rights",
    "bad_calls",
    "bad_maps",
    "two_loaders",
    "drift_fixed",
    "drift_float",
    "adaptation",
    "user_train",
    "swap",
    "overload_dropping",
    "overload_blocking",
    "overload_blocking_without_waiting",
    "overload_learner",
    "sampled",
    "bad_tails",
    "limits",
    "destroyed_during_a_call",
    "module_in_use",
    "closed_with_mapped_rings",
    "killed_with_mapped_rings",
    "ended_while_waiting",
    "closed_while_it_trains",
    "watched_while_it_ends",
    "bad_pointers",
    "bad_files",
    "random_files",
    "random_calls",
    "bench",
)
"""Of kml_check, in the order in which they run: those that fill the log with refusals come last."""

SCRIPT = """
dmesg -c >/out/boot.log
for check in {checks}; do
  timeout 60 kml_check $check >$check.txt 2>&1 || echo "exit code $?" >>$check.txt
  dmesg -c >$check.log
done
insmod /kml_ipi.ko
kml_check kernel_user >kernel_user.txt 2>&1 || echo "exit code $?" >>kernel_user.txt
rmmod kml && exit 1
rmmod kml_ipi
dmesg -c >kernel_user.log
for round in 1 2 3 4 5; do
  rmmod kml
  ls -d /dev/kml /sys/kernel/debug/kml /sys/module/kml 2>/dev/null && exit 1
  grep kml /proc/vmallocinfo /proc/kallsyms && exit 1
  insmod /lib/kml.ko
done
rmmod kml
dmesg -c >unload.log
cat /proc/sys/kernel/tainted >tainted
"""

BAD_NEWS = re.compile(r"WARNING|BUG|Oops|KASAN|UBSAN|lockdep|possible recursive|leak|Call Trace|hung|stall|suspicious")
TAINTS = {"forced unload": 3, "machine check": 4, "bad page": 5, "died": 7, "warned": 9, "lockup": 14}
"""Bits of /proc/sys/kernel/tainted (Documentation/admin-guide/tainted-kernels.rst)."""


@dataclass(frozen=True)
class Seen:
    """What a guest told.

    Attributes:
        printed: check -> what it printed.
        logs: check -> the kernel's log of that time; also "unload".
        tainted: the kernel's taints.
    """

    printed: dict[str, str]
    logs: dict[str, str]
    tainted: int

    def figures(self, check: str) -> dict[str, int]:
        """What a check found out."""
        lines = (line.split("\t") for line in self.printed[check].splitlines())
        return {words[1]: int(words[2]) for words in lines if len(words) == 3 and words[0] == check}


def modules(tree: BuildTree, folder: Path) -> list[Path]:
    """kml.ko, and kml_ipi.ko built beside it: another module that uses it."""
    build.copy_module_sources(folder)
    shutil.copy(FOLDER / "kml_ipi.c", folder / "driver")
    with (folder / "driver/Kbuild").open("a") as kbuild:
        kbuild.write("obj-m += kml_ipi.o\n")
    words = ["make", "-C", str(tree.path), f"M={folder / 'driver'}", "CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return [folder / "driver/kml.ko", folder / "driver/kml_ipi.ko"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """All checks, one after the other, in one guest of two processors."""
    try:
        kernel = debian_kernel()
        build.module(build_tree(kernel))  # tells what is missing
        kml, kml_ipi = modules(build_tree(kernel), tmp_path_factory.mktemp("kml"))
        check = build.program(FOLDER / "kml_check.c")
    except (NoGuest, CannotBuild, ToolMissing) as reason:
        pytest.skip(str(reason))
    files = {"kml_ipi.ko": kml_ipi.read_bytes()}
    guest = Guest(kernel, programs=[check], modules=[kml], files=files, cpus=2)
    left = guest.run(SCRIPT.format(checks=" ".join(CHECKS)), timeout=110)
    texts = {name: content.decode(errors="replace") for name, content in left.items()}
    return Seen(
        {name: texts[f"{name}.txt"] for name in (*CHECKS, "kernel_user")},
        {name: texts[f"{name}.log"] for name in (*CHECKS, "kernel_user", "unload")},
        int(texts["tainted"]),
    )


@pytest.mark.parametrize("check", [*CHECKS, "kernel_user"])
def test_the_check_holds_and_the_kernel_says_nothing_bad(seen: Seen, check: str) -> None:
    verdict = re.search(r"^(\d+) checks, 0 failed$", seen.printed[check], re.MULTILINE)
    assert verdict and int(verdict[1]) > 0, seen.printed[check]
    assert not BAD_NEWS.search(seen.logs[check]), seen.logs[check]


def test_the_module_can_be_unloaded_and_leaves_nothing(seen: Seen) -> None:
    assert not BAD_NEWS.search(seen.logs["unload"]), seen.logs["unload"]
    assert {name for name, bit in TAINTS.items() if seen.tainted >> bit & 1} == set()


@pytest.mark.parametrize("check", ["drift_fixed", "drift_float"])
def test_the_error_rises_with_the_change_and_falls_again(seen: Seen, check: str) -> None:
    figures = seen.figures(check)
    assert figures["error_after_change_1e-6"] > 10 * figures["error_recovered_1e-6"]


@pytest.mark.parametrize("check", ["overload_dropping", "overload_blocking", "overload_learner"])
def test_what_was_pushed_was_popped_or_dropped(seen: Seen, check: str) -> None:
    figures = seen.figures(check)
    assert figures["pushed"] == figures.get("popped", figures.get("trained", 0)) + figures["dropped"]
    assert (figures["dropped"] == 0) == (check == "overload_blocking")


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        ("rights", "opening refused: it takes CAP_SYS_ADMIN (-1)"),
        ("two_loaders", "KML_LOAD refused: another process is loading a model (-16)"),
        ("bad_calls", "a call refused: its code is unknown (-25)"),
        ("bad_calls", "KML_CREATE refused: there is a predictor of this name (-17)"),
        ("bad_calls", "KML_CREATE refused: rings may take an eighth of memory (-12)"),
        ("bad_calls", "KML_INFER refused: no predictor has this id (-2)"),
        ("bad_calls", "KML_TRAIN refused: it trains already (-16)"),
        ("bad_calls", "KML_LOAD refused: the present model is being trained (-16)"),
        ("bad_maps", "mapping refused: its offset or its length is not an area's (-22)"),
        ("bad_maps", "mapping refused: only the reader's word may be written (-1)"),
        ("bad_pointers", "KML_INFER refused: it points to memory that cannot be used (-14)"),
        ("limits", "KML_CREATE refused: there are KML_MAX_PREDICTORS predictors (-28)"),
    ],
)
def test_a_refusal_is_one_line_of_the_log(seen: Seen, check: str, reason: str) -> None:
    lines = [line for line in seen.logs[check].splitlines() if reason in line]
    assert lines
    assert all(re.fullmatch(r"\[ *[\d.]+\] kml: process \d+: " + re.escape(reason), line) for line in lines)
