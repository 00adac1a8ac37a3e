"""The power mode: read in its spellings, set and put back, refused with a sentence that names what there is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeprof.collectors.base import Roots
from edgeprof.profiler.agent import conditions, nvpmodel, undo
from edgeprof.profiler.agent.journal import UndoJournal, boot_id, folders, lasting_folder, read_journal
from edgeprof.profiler.agent.power_mode import Tools, available, change, read
from edgeprof.profiler.agent.spec import USAGE, CaptureError, RunSpec
from edgeprof.profiler.agent.undo import clean, undo_all
from tests import nvpmodel_stand_in
from tests.board_trees import plant
from tests.helpers import wait_until
from tests.nvpmodel_stand_in import DATA, StandIn

NO_TOOL = Tools("/nowhere/nvpmodel")


@pytest.fixture
def journal(tmp_path: Path) -> UndoJournal:
    (tmp_path / "state").mkdir()
    return UndoJournal(str(tmp_path / "state"), "run", str(tmp_path / "capture"))


@pytest.fixture
def jetson(tmp_path: Path) -> StandIn:
    return nvpmodel_stand_in.make(tmp_path / "jetson")


def put_back(journal: UndoJournal) -> list[str]:
    undone, failed = undo_all(list(journal.open_entries.values()))
    assert failed == []
    return undone


def roots_of(tool: StandIn) -> Roots:
    return Roots(etc=tool.etc)


class TestNvpmodel:
    @pytest.mark.parametrize(("wanted", "number"), [("MAXN", 0), ("maxn", 0), ("3", 3), ("25W", 3)])
    def test_a_mode_is_set_by_name_or_number_and_put_back(
        self, jetson: StandIn, journal: UndoJournal, wanted: str, number: int
    ) -> None:
        change(wanted, journal, roots_of(jetson), Tools(jetson.program))
        assert jetson.mode == number
        found = read(roots_of(jetson), Tools(jetson.program))
        assert found is not None
        assert (found.kind, found.number) == ("nvpmodel", number)
        assert put_back(journal) == ["set the power mode back to 15W"]
        assert jetson.mode == 2

    def test_the_mode_that_is_set_already_is_left_alone(self, jetson: StandIn, journal: UndoJournal) -> None:
        assert change("15W", journal, roots_of(jetson), Tools(jetson.program)) == []
        assert jetson.calls == []

    def test_an_unknown_mode_is_refused_with_those_there_are(self, jetson: StandIn, journal: UndoJournal) -> None:
        for wanted in ("40W", "4", "performance", ""):
            with pytest.raises(CaptureError, match=r"there are: MAXN \(0\), 10W \(1\), 15W \(2\), 25W \(3\)") as error:
                change(wanted, journal, roots_of(jetson), Tools(jetson.program))
            assert error.value.exit_code == USAGE
        assert jetson.calls == []

    def test_a_mode_that_wants_a_reboot_is_answered_no_and_refused(self, jetson: StandIn, journal: UndoJournal) -> None:
        with pytest.raises(CaptureError, match="only with a reboot; `sudo nvpmodel -m 1`, answered yes, does that"):
            change("10W", journal, roots_of(jetson), Tools(jetson.program))
        assert not (jetson.folder / "rebooted").exists()
        assert put_back(journal) == []
        assert (jetson.mode, jetson.calls) == (2, ["-m 1"])

    def test_a_tool_that_only_says_it_has_set_the_mode_is_found_out(
        self, jetson: StandIn, journal: UndoJournal
    ) -> None:
        jetson.put("lie")
        with pytest.raises(CaptureError, match="went well by its own account, but the mode is 2"):
            change("0", journal, roots_of(jetson), Tools(jetson.program))

    def test_a_mode_that_could_not_be_put_back_is_not_changed(self, jetson: StandIn, journal: UndoJournal) -> None:
        jetson.put("silent")
        with pytest.raises(CaptureError, match="could not be put back, since the present one cannot be read"):
            change("0", journal, roots_of(jetson), Tools(jetson.program))
        assert jetson.calls == []

    def test_without_a_configuration_a_number_does_but_no_name(self, jetson: StandIn, journal: UndoJournal) -> None:
        Path(jetson.etc, "nvpmodel.conf").unlink()
        with pytest.raises(CaptureError, match=r"nvpmodel.conf names no modes; give its number"):
            change("MAXN", journal, roots_of(jetson), Tools(jetson.program))
        change("0", journal, roots_of(jetson), Tools(jetson.program))
        assert jetson.mode == 0

    def test_a_way_back_that_wants_a_reboot_is_told_and_stays_in_the_journal(
        self, jetson: StandIn, journal: UndoJournal, tmp_path: Path
    ) -> None:
        change("0", journal, roots_of(jetson), Tools(jetson.program))
        jetson.put("reboot", "2")
        _, failed = undo_all(list(journal.open_entries.values()))
        assert "only with a reboot; `sudo nvpmodel -m 2`" in failed[0][1]
        journal.close()
        assert (tmp_path / "state/run.journal").exists()
        assert jetson.mode == 0

    def test_after_a_reboot_the_runs_own_mode_is_put_back_and_anothers_choice_stays(
        self, jetson: StandIn, tmp_path: Path
    ) -> None:
        entry = {"program": jetson.program, "number": 2, "name": "15W", "set": 0, "boot_id": "before"}
        jetson.put("mode", 3)
        assert nvpmodel.undo(entry) == ""
        assert jetson.mode == 3
        jetson.put("mode", 0)
        assert nvpmodel.undo(entry) == "set the power mode back to 15W"
        assert jetson.mode == 2
        jetson.put("mode", 3)  # in the same boot, the run's end restores whatever came in between
        assert nvpmodel.undo({**entry, "boot_id": boot_id()})
        assert jetson.mode == 2

    def test_what_users_of_boards_saw_is_read(self) -> None:
        assert [mode.name for mode in nvpmodel.modes(str(DATA))] == ["MAXN", "10W", "15W", "25W"]
        for name, expected in (("query-user", ("5W", 1)), ("query-root", ("MAXN", 0))):
            assert nvpmodel.query_text((DATA / f"{name}.txt").read_text()) == expected

    def test_an_entry_is_undone_after_a_reboot_too(self, jetson: StandIn, tmp_path: Path) -> None:
        (tmp_path / "state").mkdir()
        lines = [
            '{"owner": 999999999, "start_time": 1, "boot_id": "before", "capture": "/gone"}',
            '{"n": 1, "kind": "write", "path": "/nowhere", "old": "x"}',
            f'{{"n": 2, "kind": "power_mode", "program": "{jetson.program}", "number": 2, "set": 0, "boot_id": "b"}}',
        ]
        (tmp_path / "state/x.journal").write_text("\n".join(lines) + "\n")
        jetson.put("mode", 0)
        assert clean(str(tmp_path / "state")).undone == ["set the power mode back to 2"]
        assert jetson.mode == 2
        assert list((tmp_path / "state").iterdir()) == []


class TestGovernors:
    def governors(self, roots: Roots) -> list[str]:
        folder = Path(roots.sys, "devices/system/cpu/cpufreq")
        return [path.read_text().strip() for path in sorted(folder.glob("policy*/scaling_governor"))]

    def board(self, tmp_path: Path, *offered: str) -> Roots:
        roots = plant("orin-nx-jetpack5", tmp_path)
        policies = sorted(Path(roots.sys).glob("devices/system/cpu/cpufreq/policy*"))
        for folder, names in zip(policies, offered, strict=True):
            (folder / "scaling_available_governors").write_text(names + " \n")
        return roots

    def test_all_policies_get_the_governor_and_each_its_own_back(self, tmp_path: Path, journal: UndoJournal) -> None:
        roots = self.board(tmp_path, "ondemand userspace performance schedutil", "performance schedutil")
        Path(roots.sys, "devices/system/cpu/cpufreq/policy4/scaling_governor").write_text("performance\n")
        before = read(roots, NO_TOOL)
        assert before is not None
        assert (before.name, before.governors) == (
            "performance, schedutil",
            {"policy0": "schedutil", "policy4": "performance"},
        )
        assert available(roots, NO_TOOL) == ["performance", "schedutil"]
        assert len(change("performance", journal, roots, NO_TOOL)) == 1
        assert self.governors(roots) == ["performance", "performance"]
        put_back(journal)
        assert self.governors(roots) == ["schedutil", "performance"]

    def test_a_pinned_clock_is_put_back_after_its_governor(self, tmp_path: Path, journal: UndoJournal) -> None:
        roots = self.board(tmp_path, "userspace performance schedutil", "performance schedutil")
        policy = Path(roots.sys, "devices/system/cpu/cpufreq/policy0")
        (policy / "scaling_governor").write_text("userspace\n")
        (policy / "scaling_setspeed").write_text("1190400\n")
        spec = RunSpec(["true"], power_mode="performance", options={"power_mode": NO_TOOL._asdict()})
        run = conditions.Conditions(spec, journal, str(tmp_path / "capture"), roots)
        run.prepare(lambda line: None)
        assert self.governors(roots) == ["performance", "performance"]
        (policy / "scaling_setspeed").write_text("<unsupported>\n")  # as the kernel does under any other governor
        # Undone from the last to the first.
        order = [Path(entry["path"]).name for entry in journal.open_entries.values()]
        assert order == ["scaling_setspeed", "scaling_governor", "scaling_governor"]
        run.finish()
        assert self.governors(roots) == ["userspace", "schedutil"]
        assert (policy / "scaling_setspeed").read_text().strip() == "1190400"
        assert (run.facts()["power_mode"]["restored"], journal.open_entries) == (True, {})

    def test_a_governor_that_one_policy_lacks_is_none(self, tmp_path: Path, journal: UndoJournal) -> None:
        roots = self.board(tmp_path, "ondemand performance", "performance")
        with pytest.raises(CaptureError, match="no power mode 'ondemand' here; there are: performance"):
            change("ondemand", journal, roots, NO_TOOL)
        assert journal.open_entries == {}

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything: run the tests as an ordinary user")
    def test_what_only_root_may_set_is_said(self, tmp_path: Path, journal: UndoJournal) -> None:
        roots = self.board(tmp_path, "performance", "performance")
        Path(roots.sys, "devices/system/cpu/cpufreq/policy0/scaling_governor").chmod(0o444)
        with pytest.raises(CaptureError, match="run edgeprof with sudo"):
            change("performance", journal, roots, NO_TOOL)

    def test_a_platform_profile_serves_where_it_is_named(self, tmp_path: Path, journal: UndoJournal) -> None:
        folder = tmp_path / "sys/firmware/acpi"
        folder.mkdir(parents=True)
        (folder / "platform_profile").write_text("balanced\n")
        (folder / "platform_profile_choices").write_text("low-power balanced performance\n")
        roots = Roots(sys=str(tmp_path / "sys"))
        assert str(read(roots, NO_TOOL)) == "balanced"
        change("low-power", journal, roots, NO_TOOL)
        assert str(read(roots, NO_TOOL)) == "low-power"
        put_back(journal)
        assert str(read(roots, NO_TOOL)) == "balanced"

    def test_a_machine_without_any_says_so(self, tmp_path: Path, journal: UndoJournal) -> None:
        roots = plant("virtual-machine", tmp_path)
        assert read(roots, NO_TOOL) is None
        with pytest.raises(CaptureError, match=r"none to choose from .* leave --power-mode out"):
            change("performance", journal, roots, NO_TOOL)


def test_an_orphaned_nvpmodel_is_awaited_before_its_mode_is_undone(jetson: StandIn) -> None:
    import subprocess

    jetson.put("hold", "0.4")
    with subprocess.Popen([jetson.program, "-m", "0"]) as orphan:
        wait_until((jetson.folder / "changing").exists, "nvpmodel")
        (jetson.folder / "hold").unlink()
        entry = {"program": jetson.program, "number": 2, "name": "15W", "set": 0, "boot_id": boot_id()}
        assert undo.undo({**entry, "kind": "power_mode"}) == "set the power mode back to 15W"
        orphan.wait()
    assert jetson.mode == 2


def test_damaged_entries_are_told(jetson: StandIn) -> None:
    for wrong in ({}, {"program": jetson.program, "number": "x"}, {"program": 7, "number": [], "set": {}}):
        with pytest.raises(OSError, match="damaged journal entry"):
            undo.undo({"kind": "power_mode", **wrong})


def test_nvpmodels_entry_lies_where_a_reboot_leaves_it(
    jetson: StandIn, journal: UndoJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lasting = tmp_path / "lasting"
    lasting.mkdir()
    monkeypatch.setattr(conditions, "lasting_folder", lambda: str(lasting))
    spec = RunSpec(["true"], power_mode="MAXN", options={"power_mode": {"nvpmodel": jetson.program}})
    run = conditions.Conditions(spec, journal, str(tmp_path / "capture"), roots_of(jetson))
    said: list[str] = []
    run.prepare(said.append)
    assert (jetson.mode, said) == (0, ["power mode: MAXN (0), until the run's end"])
    assert journal.open_entries == {}
    saved = read_journal(str(lasting / "capture.journal"))
    assert saved is not None
    assert [(entry["kind"], entry["number"]) for entry in saved.entries] == [("power_mode", 2)]
    run.finish()
    assert (jetson.mode, run.facts()["power_mode"]["restored"]) == (2, True)
    assert run.close() == []
    assert list(lasting.iterdir()) == []


@pytest.mark.root
def test_root_keeps_lasting_journals_apart_and_cleans_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPROF_STATE", raising=False)
    monkeypatch.setattr("edgeprof.profiler.agent.journal.LASTING", str(tmp_path / "lasting"))
    assert folders() == ["/run/edgeprof"]
    assert lasting_folder() == str(tmp_path / "lasting")
    assert folders() == ["/run/edgeprof", str(tmp_path / "lasting")]
    (tmp_path / "lasting").chmod(0o777)
    with pytest.raises(PermissionError, match="it can be changed by others"):
        lasting_folder()


def test_state_of_a_users_own_choice_is_in_one_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEPROF_STATE", str(tmp_path / "state"))
    assert folders() == [lasting_folder()] == [str(tmp_path / "state")]
