"""The client of /dev/kml says what is wrong where there is none, and refuses what cannot be sent."""

from __future__ import annotations

import errno
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from edgeprof.kmodule import device
from edgeprof.kmodule.abi import Consumer, Function
from edgeprof.kmodule.device import Device
from edgeprof.kmodule.errors import DeviceRefused, ModuleRefused, NoDevice


@pytest.fixture
def not_kml(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A device that answers no request: /dev/null, and the version taken for right."""
    monkeypatch.setattr(Device, "_check_version", lambda self: None)
    return Device(Path("/dev/null"))


def test_without_the_module_it_says_how_to_load_it(tmp_path: Path) -> None:
    with pytest.raises(NoDevice, match="edgeprof kml load") as missing:
        Device(tmp_path / "kml")
    assert missing.value.number == errno.ENOENT


def test_another_device_is_not_taken_for_it() -> None:
    with pytest.raises(DeviceRefused, match="asking for the version"):
        Device(Path("/dev/null"))


def test_a_refusal_has_its_errno(not_kml: Device) -> None:
    with not_kml, pytest.raises(DeviceRefused, match="finding the predictor 'x'") as refused:
        not_kml.find("x")
    assert refused.value.number == errno.ENOTTY


def test_a_name_that_no_predictor_can_have_is_refused(not_kml: Device) -> None:
    with not_kml, pytest.raises(DeviceRefused, match="31 ASCII characters"):
        not_kml.create("n" * 32, 1, 1, consumer=Consumer.USER)


@pytest.mark.parametrize("values", [array("i", [1, 2, 3]), array("h", [1, 2])])
def test_numbers_that_are_no_whole_samples_are_not_sent(not_kml: Device, values: array[int]) -> None:
    with not_kml, pytest.raises(DeviceRefused, match="2 32-bit numbers"):
        not_kml.compute(Function.DIV, values)


def test_insmod_s_own_words_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "insmod"
    tool.write_text(
        "#!/bin/sh\necho 'insmod: ERROR: could not insert module kml.ko: Invalid module format' >&2\nexit 1\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ModuleRefused, match=r"loading kml\.ko failed: insmod: .* Invalid module format"):
        device.insert(Path("kml.ko"))


def test_without_kmod_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModuleRefused, match="apt-get install kmod"):
        device.remove()


def test_the_client_needs_the_standard_library_only() -> None:
    code = "import sys, edgeprof.kmodule.device; print('numpy' in sys.modules, 'click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
