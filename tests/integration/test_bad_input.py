"""Full disks, cut and damaged captures, foreign folders: a sentence, nothing lost, the machine restored."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from edgeprof.profiler.agent.journal import boot_id
from edgeprof.profiler.errors import DamagedManifest, EdgeprofError, NewerSchema, NotARun
from edgeprof.profiler.ingest import NothingCaptured, StillRunning, ingest
from tests.helpers import QUICK, Places, cgroups_left, end, wait_until

WORK = "import os, time\nend = time.monotonic() + 0.35\nwhile time.monotonic() < end: os.urandom(1 << 16)"


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real capture, not ingested; tests work on copies of it."""
    made = Places(tmp_path_factory.mktemp("captured"))
    done = made.edgeprof(
        *("run", "--collect", f"{QUICK},phases", "--rate", "50", "--no-ingest", "--", sys.executable, "-c", WORK)
    )
    assert done.returncode == 0, done.stderr
    return made.only()


@pytest.fixture
def copy(captured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPROF_STATE", str(tmp_path / "state"))
    return Path(shutil.copytree(captured, tmp_path / captured.name))


def tables(path: Path) -> dict[str, list[dict[str, Any]]]:
    """All tables of a run as plain rows."""
    return {item.stem: pq.read_table(item).to_pylist() for item in sorted((path / "tables").glob("*.parquet"))}


def one_sentence(error: pytest.ExceptionInfo[EdgeprofError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# -- a full disk ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(places: Places) -> Iterator[Callable[[int], None]]:
    """Puts a small file system under the folder of runs."""
    mounted: list[Path] = []

    def mount(megabytes: int) -> None:
        places.runs.mkdir()
        made = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(places.runs)]
        if subprocess.run(made, capture_output=True).returncode:
            pytest.skip("cannot mount here: run the tests in a privileged container")
        mounted.append(places.runs)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


FILLER = """
import os, sys, time
def fill():
    try:
        with open(sys.argv[1], 'ab') as file:
            while True: file.write(bytes(int(sys.argv[2]))); file.flush()
    except OSError as error:
        return error.errno
time.sleep(0.3)
print(fill())
time.sleep(float(sys.argv[3]))
"""


@pytest.mark.root
def test_sampling_stops_before_the_disk_is_full(places: Places, small_disk: Callable[[int], None]) -> None:
    small_disk(48)
    script = "import os, sys, time; open(sys.argv[1], 'wb').write(bytes(20 << 20)); time.sleep(1.5)"
    done = places.run("--", sys.executable, "-c", script, str(places.runs / "ballast"))
    assert done.returncode == 0, done.stderr
    (path,) = [path for path in places.directories() if path.is_dir()]
    content = json.loads((path / "manifest.json").read_text())
    assert any("sampling stopped at" in note and "32 MiB" in note for note in content["notes"])
    assert content["ingest"]["tables"]["process"] >= 1
    assert content["run"]["status"] == "finished"
    assert places.journals() == []


@pytest.mark.root
def test_a_disk_that_fills_up_at_once_costs_neither_workload_nor_manifest(
    places: Places, small_disk: Callable[[int], None]
) -> None:
    small_disk(40)
    ballast = places.runs / "ballast"
    done = places.run("--rate", "200", "--", sys.executable, "-c", FILLER, str(ballast), "1048576", "0.3")
    assert done.stdout.strip() == "28"  # the workload met the full disk, which it filled; it went on
    (path,) = [path for path in places.directories() if path.is_dir()]
    content = json.loads((path / "manifest.json").read_text())
    assert content["run"]["status"] == "finished"
    assert content["run"]["exit_code"] == 0
    told = [note for item in content["collectors"] for note in item["notes"]] + content["notes"]
    assert any("samples could not be written: No space left" in note or "sampling stopped" in note for note in told)
    assert all(item["available"] for item in content["collectors"]), "what was captured before is there"
    assert content["overhead"]["lost_records"] >= 0
    assert places.journals() == []
    assert cgroups_left(places) == []
    # The room that was set aside may or may not do for the tables.
    assert done.returncode == 0 or f"free some space, then `edgeprof ingest {path}` reads it" in done.stderr
    ballast.unlink()
    assert ingest(path).manifest["ingest"]["tables"]["process"] >= 1


@pytest.mark.root
def test_ingest_on_a_full_disk_is_one_sentence_and_may_be_repeated(
    places: Places, small_disk: Callable[[int], None]
) -> None:
    small_disk(40)
    assert places.run("--no-ingest", "--", "sleep", "0.3").returncode == 0
    path = places.only()
    ballast = places.runs / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 20)):
            pass
    done = places.edgeprof("ingest", str(path))
    assert done.returncode == 120
    (line,) = done.stderr.splitlines()
    assert line.startswith("edgeprof: cannot ingest: ")
    assert line.endswith(f"free some space, then `edgeprof ingest {path}` reads it")
    ballast.unlink()
    assert ingest(path).manifest["ingest"]["tables"]["process"] >= 1


@pytest.mark.root
def test_a_collector_that_meets_the_full_disk_says_so(places: Places, small_disk: Callable[[int], None]) -> None:
    small_disk(3)  # below the space at which sampling stops: the first sample is all there is
    done = places.run("--", "sleep", "0.2")
    assert done.returncode in (0, 120, 122)
    (path,) = [path for path in places.directories() if path.is_dir()]
    content = json.loads((path / "manifest.json").read_text())
    assert any("sampling stopped" in note for note in content["notes"])
    assert places.journals() == []


@pytest.mark.root
def test_a_disk_without_room_at_the_start_runs_nothing(places: Places, small_disk: Callable[[int], None]) -> None:
    small_disk(1)
    (places.runs / "ballast").write_bytes(bytes(700 << 10))
    done = places.run("--", "touch", str(places.base / "it-ran"))
    assert done.returncode == 122
    assert done.stderr.startswith("edgeprof: cannot prepare the capture: No space left on device")
    assert not (places.base / "it-ran").exists()
    assert places.journals() == []
    assert [path.name for path in places.runs.iterdir()] == ["ballast"]


@pytest.mark.root
def test_a_folder_that_vanishes_during_the_run_does_not_cost_the_workload(places: Places) -> None:
    script = f"import shutil, time; shutil.rmtree({str(places.runs)!r}); time.sleep(1.3); print('done')"
    done = places.run("--", sys.executable, "-c", script)
    assert done.stdout == "done\n"
    assert done.returncode == 122
    assert "the workload ended (exit code 0), but the manifest could not be written" in done.stderr
    assert places.journals() == []


# -- damaged captures ----------------------------------------------------------------------------------------


def test_ingesting_twice_gives_the_same_tables(copy: Path) -> None:
    ingest(copy)
    first = tables(copy)
    assert first["process"]
    ingest(copy)
    assert tables(copy) == first


@pytest.mark.parametrize("lost", ["manifest.json", "everything"])
def test_ingesting_an_interrupted_run_twice_gives_the_same_tables(copy: Path, lost: str) -> None:
    final = copy / "manifest.json"
    if lost == "manifest.json":
        partial = json.loads(final.read_text())
        partial["run"] |= {"status": "interrupted", "end_ns": None, "exit_code": None, "wall_time": None}
        partial["processes"]["agent_start"] = 1  # the one that made it has ended
        (copy / "manifest.partial.json").write_text(json.dumps(partial))
    final.unlink()
    run = ingest(copy)
    assert run.manifest["run"]["status"] == "interrupted"
    assert run.manifest["run"]["end_ns"] > run.manifest["run"]["start_ns"] > 0
    assert any("ended before the run" in note or "manifest was lost" in note for note in run.manifest["notes"])
    first = tables(copy)
    assert first["process"]
    again = ingest(copy)
    assert tables(copy) == first
    assert again.manifest["notes"] == run.manifest["notes"]


def test_a_cut_file_is_read_up_to_its_last_whole_frame(copy: Path) -> None:
    whole = ingest(Path(shutil.copytree(copy, copy.with_name("whole")))).arrow("process").num_rows
    frames = copy / "raw/procfs/samples.frames"
    data = frames.read_bytes()
    moments = random.Random(38)
    rows = []
    for cut in sorted(moments.randrange(len(data)) for _ in range(12)):
        target = Path(shutil.copytree(copy, copy.with_name(f"cut-{cut}")))
        (target / "raw/procfs/samples.frames").write_bytes(data[:cut])
        run = ingest(target)
        rows.append(run.arrow("process").num_rows)
        assert any("procfs: cut inside a frame" in note for note in run.manifest["ingest"]["notes"])
        assert run.arrow("cgroup").num_rows > 0 or not run.manifest["cgroup"]["paths"]
    assert rows == sorted(rows)
    assert 0 <= rows[0] < rows[-1] <= whole


@pytest.mark.parametrize("seed", range(6))
def test_random_bytes_in_raw_files_never_end_ingest(copy: Path, seed: int) -> None:
    chance = random.Random(seed)
    for path in (copy / "raw").rglob("*"):
        if path.is_file() and path.stat().st_size:
            data = bytearray(path.read_bytes())
            for _ in range(max(4, len(data) // 500)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            path.write_bytes(data)
    run = ingest(copy)
    assert "verdict" in run.manifest
    assert not [note for note in run.manifest["ingest"]["notes"] if "could not be read" in note]


@pytest.mark.parametrize("kind", ["empty", "noise", "folder", "link", "device", "pipe"])
def test_a_raw_file_that_is_something_else_costs_only_its_collector(copy: Path, kind: str) -> None:
    frames = copy / "raw/procfs/samples.frames"
    frames.unlink()
    if kind == "empty":
        frames.touch()
    elif kind == "noise":
        frames.write_bytes(random.Random(1).randbytes(100_000))
    elif kind == "folder":
        frames.mkdir()
    elif kind == "link":
        frames.symlink_to("/dev/zero")
    elif kind == "device":
        try:
            os.mknod(frames, 0o020644, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("needs root to make a device file")
    else:
        os.mkfifo(frames)
    run = ingest(copy)
    notes = [note for note in run.manifest["ingest"]["notes"] if note.startswith("procfs")]
    assert notes or kind == "empty"
    assert run.arrow("self").num_rows > 0


def test_a_damaged_compressed_file_costs_only_its_collector(copy: Path) -> None:
    ingest(copy)
    packed = copy / "raw/procfs/samples.frames.zst"
    data = packed.read_bytes()
    packed.write_bytes(data[: len(data) // 2])
    notes = ingest(copy).manifest["ingest"]["notes"]
    assert any(note.startswith("procfs: its raw data could not be read") for note in notes)


def test_a_newer_schema_is_refused(copy: Path) -> None:
    for name in ("manifest.json", "manifest.partial.json"):
        content = json.loads((copy / "manifest.json").read_text())
        (copy / "manifest.json").unlink()
        content["schema"] = 99
        (copy / name).write_text(json.dumps(content))
        with pytest.raises(NewerSchema, match=r"schema version 99.*upgrade it") as error:
            ingest(copy)
        one_sentence(error)
        (copy / "manifest.json").write_text(json.dumps(content))
    assert not (copy / "tables").exists()


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no schema": lambda content: content.pop("schema"),
    "schema is a text": lambda content: content.update(schema="1"),
    "no run": lambda content: content.pop("run"),
    "run is a list": lambda content: content.update(run=[]),
    "pid is a text": lambda content: content["run"].update(pid="x"),
    "start is enormous": lambda content: content["run"].update(start_ns=1 << 90),
    "wall time is a text": lambda content: content["run"].update(wall_time="long"),
    "command is a text": lambda content: content["run"].update(command="true"),
    "collectors hold numbers": lambda content: content.update(collectors=[1, 2]),
    "lost is a text": lambda content: content["collectors"][0].update(lost="many"),
    "clocks hold nothing": lambda content: content.update(clocks=[{}]),
    "notes hold numbers": lambda content: content.update(notes=[1]),
    "processes is a list": lambda content: content.update(processes=[]),
    "helpers hold texts": lambda content: content["processes"].update(helpers=["x"]),
    "host is a number": lambda content: content.update(host=3),
    "overhead is null": lambda content: content.update(overhead=None),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_manifest_of_another_shape_is_refused(copy: Path, damage: str) -> None:
    content = json.loads((copy / "manifest.json").read_text())
    DAMAGE[damage](content)
    (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(DamagedManifest, match="remove the manifest and run `edgeprof ingest`") as error:
        ingest(copy)
    one_sentence(error)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1}'])
def test_a_manifest_that_is_no_json_of_ours_is_refused_and_may_be_removed(copy: Path, text: bytes) -> None:
    (copy / "manifest.json").write_bytes(text)
    with pytest.raises(DamagedManifest) as error:
        ingest(copy)
    one_sentence(error)
    (copy / "manifest.json").unlink()
    (copy / "manifest.partial.json").write_bytes(text)
    assert ingest(copy).arrow("process").num_rows > 0


# -- folders that are no captures ----------------------------------------------------------------------------


def test_folders_that_are_no_captures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROF_STATE", str(tmp_path / "state"))
    empty = tmp_path / "empty"
    empty.mkdir()
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("Dear reader")
    for path in (empty, full, tmp_path / "missing"):
        with pytest.raises(NotARun, match="is not a capture directory") as error:
            ingest(path)
        one_sentence(error)
    assert (full / "letter.txt").exists()
    begun = tmp_path / "begun"
    (begun / "raw/procfs").mkdir(parents=True)
    (begun / "raw/procfs/samples.frames").touch()
    with pytest.raises(NothingCaptured, match="interrupted before its first sample"):
        ingest(begun)


def test_tables_survive_where_the_raw_data_is_gone(copy: Path) -> None:
    ingest(copy)
    before = tables(copy)
    shutil.rmtree(copy / "raw")
    with pytest.raises(EdgeprofError, match="no raw data"):
        ingest(copy)
    assert tables(copy) == before


@pytest.mark.parametrize("name", ["raw", "tables"])
def test_links_in_place_of_folders_are_not_followed(copy: Path, tmp_path: Path, name: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "data.parquet").write_bytes(bytes(10_000))
    shutil.rmtree(copy / name, ignore_errors=True)
    (copy / name).symlink_to(precious)
    with pytest.raises(EdgeprofError, match="is a symbolic link"):
        ingest(copy)
    assert (precious / "data.parquet").read_bytes() == bytes(10_000)


def test_links_in_place_of_what_ingest_writes_are_not_followed(copy: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("as it was")
    (copy / "tables").mkdir()
    for name in (
        *(".manifest.json.tmp", ".metrics.parquet.tmp", "tables/.process.tmp", "tables/process.parquet"),
        *("raw/procfs/samples.frames.zst.tmp", "raw/procfs/samples.frames.zst", "raw/cgroup/more"),
    ):
        (copy / name).unlink(missing_ok=True)
        (copy / name).symlink_to(precious)
    assert ingest(copy).arrow("process").num_rows > 0
    assert precious.read_text() == "as it was"


def test_a_folder_of_tables_that_cannot_be_written_is_one_sentence(copy: Path) -> None:
    (copy / "tables").write_text("a file")
    with pytest.raises(EdgeprofError, match=r"cannot ingest: File exists.*nothing that was captured is lost") as error:
        ingest(copy)
    one_sentence(error)


# -- a run that is not over ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["journal", "manifest", "link"])
def test_a_run_being_captured_is_refused(places: Places, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    running = places.start("run", "--collect", QUICK, "--no-ingest", "--", "sleep", "600")
    try:
        path = wait_until(
            lambda: next((item for item in places.directories() if (item / "manifest.partial.json").exists()), None),
            "the partial manifest",
        )
        # Another user does not see the journal.
        monkeypatch.setenv("EDGEPROF_STATE", str(places.base / "other" if how == "manifest" else places.state))
        if how == "link":
            (places.base / "link").symlink_to(places.runs)
            path = places.base / "link" / path.name
        with pytest.raises(StillRunning, match=f"still being captured by process {running.pid}"):
            ingest(path)
        done = places.edgeprof("ingest", str(path))
        assert done.returncode == 120
        assert "still being captured" in done.stderr
    finally:
        running.terminate()
        running.communicate(timeout=30)
        end([running.pid])
    assert places.manifest()["processes"]["boot_id"] == boot_id()
