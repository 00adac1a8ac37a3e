"""kml_readahead.ko in guests: each file gets the read-ahead of its pattern, harm is undone, all is restored."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edgeprof.kmodule import build
from edgeprof.kmodule.errors import ToolMissing
from edgeprof.kmodule.model import Feature
from edgeprof.kmodule.model_file import Node, tree_file
from edgeprof.kmodule.readahead import FEATURES
from edgeprof.profiler.guest.kernel import Kernel
from tests.guest.machine import BAD_NEWS, Guest, NoGuest, build_tree, debian_kernel, release_kernel
from tests.source_tree import ROOT

pytestmark = [pytest.mark.guest, pytest.mark.timeout(700)]

SECTORS_OF_128_KIB = 256
MODULES = ("kml", "kml_disk", "kml_readahead")
SCRIPT = """
dmesg -c >/dev/null
insmod /kml.ko
insmod /kml_disk.ko class=emmc size_mib=256 gc_kib=0
/programs/mke2fs -q -t ext4 -I 256 /dev/kml_disk
mkdir /data
mount -t ext4 /dev/kml_disk /data
for file in random advised; do dd if=/dev/zero of=/data/$file bs=1M count=48; done
dd if=/dev/zero of=/data/sequential bs=1M count=24
for number in $(seq 0 199); do dd if=/dev/zero of=/data/small-$number bs=4096 count=3; done 2>/dev/null
sync
PYTHONPATH=/project python3 /readers.py {parts} >seen
umount /data
rmmod kml_disk kml
dmesg >log
"""


def rule(small_if_short: float, random_kib_log2: float, sequential_kib_log2: float) -> bytes:
    """A model: where more than that share of the runs is short, the first of the two, else the second."""
    nodes = [Node(FEATURES.index("short"), 1, 2, small_if_short), Node(-1, 0, 0), Node(-1, 1, 0)]
    values = np.array([[sequential_kib_log2], [random_kib_log2]])
    return tree_file("kml-readahead", [Feature(name) for name in FEATURES], nodes, values)


MODELS = {
    "rule.kml": rule(0.75, 3, 10),
    "largest.kml": rule(0.75, 10, 10),
    "least.kml": rule(0.75, 3, 3),
    "other.kml": tree_file("other", [Feature("a")], [Node(-1, 0, 0)], np.array([[1.0]])),
}


def run(kernel: Kernel, parts: str) -> tuple[dict[str, Any], str]:
    """What the readers saw, and the kernel's log."""
    try:
        tree = build_tree(kernel)
        files = {f"{name}.ko": build.module(tree, name).read_bytes() for name in MODULES}
    except (NoGuest, ToolMissing) as reason:
        pytest.skip(str(reason))
    files["readers.py"] = (ROOT / "tests/guest/readahead_in_guest.py").read_bytes()
    guest = Guest(
        kernel,
        programs=["/sbin/mke2fs"],
        modules=["ext4"],
        files=files | MODELS,
        python=True,
        counted=True,
    )
    try:
        left = guest.run(SCRIPT.format(parts=parts), timeout=300)
    except NoGuest as reason:
        pytest.skip(str(reason))
    return json.loads(left["seen"]), left["log"].decode(errors="replace")


@pytest.fixture(scope="module")
def told() -> tuple[dict[str, Any], str]:
    """All parts, one after the other, in one guest whose time follows its instructions."""
    try:
        kernel = debian_kernel()
    except NoGuest as reason:
        pytest.skip(str(reason))
    return run(kernel, "without_model tuned harmful bounds under_load")


@pytest.fixture
def seen(told: tuple[dict[str, Any], str]) -> dict[str, Any]:
    return told[0]


def test_without_a_model_nothing_changes(seen: dict[str, Any]) -> None:
    found = seen["without_model"]
    assert found["without_model"] > 2
    assert (found["wanted"], found["files_changed"], found["devices_changed"]) == (0, 0, 0)
    assert found["read_ahead_kb"] == 128
    assert seen["refused_model"] == "EINVAL"


def test_it_observes_unless_told_otherwise(seen: dict[str, Any]) -> None:
    found = seen["observe"]
    assert seen["default_mode"] == "observe\n"
    assert found["wanted"] > 0
    assert (found["files_changed"], found["devices_changed"], found["read_ahead_kb"]) == (0, 0, 128)
    assert found["sectors"] > SECTORS_OF_128_KIB / 2


def test_random_mapped_reads_get_the_least(seen: dict[str, Any]) -> None:
    assert seen["random"]["adapted"]
    assert seen["random"]["sectors"] < SECTORS_OF_128_KIB / 10
    assert seen["act"]["files_changed"] >= 1


def test_who_opens_a_file_anew_soon_has_the_read_ahead_of_the_file(seen: dict[str, Any]) -> None:
    if seen["random"]["device_kb"] != 128:  # which it would be opened with
        pytest.skip("the disk's own read-ahead had changed, too, so this guest cannot tell whose a file got: run again")
    assert seen["reopened"] < SECTORS_OF_128_KIB / 4


def test_reading_on_gets_the_most_and_loses_nothing(seen: dict[str, Any]) -> None:
    found = seen["sequential"]
    assert found["adapted"]
    assert found["tuned_s"] < 1.02 * found["default_s"]


def test_who_has_chosen_by_itself_keeps_its_choice(seen: dict[str, Any]) -> None:
    assert seen["advised"] == pytest.approx(seen["advised_before"], rel=0.2)
    assert seen["advised"] > SECTORS_OF_128_KIB
    assert seen["act"]["files_left"] > 0


def test_all_is_restored_when_it_only_observes_again(seen: dict[str, Any]) -> None:
    found = seen["restored"]
    assert found["restored"] >= 1
    assert found["read_ahead_kb"] == 128
    assert found["sectors"] == pytest.approx(seen["observe"]["sectors"], rel=0.1)
    assert seen["random_again"] < SECTORS_OF_128_KIB / 10


def test_what_an_administrator_sets_is_what_is_restored(seen: dict[str, Any]) -> None:
    assert seen["random_after_choice"] < SECTORS_OF_128_KIB / 10
    assert seen["unloaded"]["read_ahead_kb"] == 64
    assert SECTORS_OF_128_KIB / 4 < seen["unloaded"]["sectors"] <= SECTORS_OF_128_KIB / 2


def test_a_change_that_does_harm_is_taken_back(seen: dict[str, Any]) -> None:
    found = seen["harmful"]
    assert found["taken_back"] >= 1
    assert found["files_changed"] >= 2  # to 1024 KiB, and back
    assert found["kib"] == 128
    assert found["sectors"] < SECTORS_OF_128_KIB


def test_no_more_files_are_remembered_than_asked_for(seen: dict[str, Any]) -> None:
    found = seen["many_files"]
    assert found["kept"] == 16
    assert int(found["evicted"]) >= 200 - 16


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("mode=fast", "EINVAL"),
        ("mode=", "EINVAL"),
        ("interval_ms=0", "ERANGE"),
        ("interval_ms=x", "EINVAL"),
        ("calm=101", "ERANGE"),
        ("devices=nothing", "ENOENT"),
        ("devices=null", "ENOTBLK"),
        ("devices=kml_disk,kml_disk", "EEXIST"),
        ("devices=../data", "EINVAL"),
        ("devices=" + "x" * 40, "ENAMETOOLONG"),
        ("devices=" + "x" * 300, "E2BIG"),
    ],
    ids=lambda value: value[:24],
)
def test_what_makes_no_sense_is_refused(seen: dict[str, Any], written: str, answer: str) -> None:
    assert seen["refused"][written] == answer


def test_a_refusal_leaves_the_devices_as_they_were(seen: dict[str, Any]) -> None:
    assert seen["devices_after"] == "kml_disk\n"
    assert seen["none"] == ["", "\n"]
    assert all(code != 0 for code in seen["insmod_refused"])


def test_it_comes_and_goes_under_load_and_the_disk_does(seen: dict[str, Any], told: tuple[dict[str, Any], str]) -> None:
    assert [seen[f"turn-{turn}"] for turn in range(2)] == [128] * 2
    assert seen["before_removal"]["files_changed"] > 0
    assert (seen["gone"], seen["gone_refused"]) == ("1", "ENOENT")
    assert not BAD_NEWS.search(told[1]), told[1]


@pytest.mark.parametrize("release", ["5.10", "6.12"])
def test_other_kernels_tune_and_restore_too(release: str) -> None:
    try:
        kernel = release_kernel(release)
    except NoGuest as reason:
        pytest.skip(str(reason))
    seen, log = run(kernel, "tuned under_load")
    assert seen["observe"]["sectors"] > SECTORS_OF_128_KIB / 2
    assert seen["random"]["sectors"] < SECTORS_OF_128_KIB / 10
    assert seen["sequential"]["adapted"]
    assert seen["restored"]["sectors"] > SECTORS_OF_128_KIB / 2
    assert (seen["restored"]["read_ahead_kb"], seen["unloaded"]["read_ahead_kb"]) == (128, 64)
    assert [seen[f"turn-{turn}"] for turn in range(2)] == [128] * 2
    assert seen["gone"] == "1"
    assert not BAD_NEWS.search(log), log
