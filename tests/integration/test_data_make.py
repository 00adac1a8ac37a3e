"""Making data sets: whole or not at all, of the size asked for, the same bytes for the same seed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprof.workloads.data import make as making
from edgeprof.workloads.data.describe import DESCRIPTION, describe
from edgeprof.workloads.data.errors import DataError
from edgeprof.workloads.data.make import FEWEST_SAMPLES, make
from edgeprof.workloads.data.spec import KINDS, DataSpec
from edgeprof.workloads.spec import FORMATS
from tests.helpers import ROOT, Places, wait_until

SIZE = 400_000


def quiet(line: str) -> None:
    """Progress that nobody reads."""


def digest(folder: Path) -> dict[str, str]:
    """The content of every file, by its name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data_format", FORMATS)
def test_a_data_set_has_its_size_and_the_same_bytes_again(tmp_path: Path, kind: str, data_format: str) -> None:
    spec = DataSpec(kind, data_format, SIZE, side=64, seed=3)
    path = make(spec, tmp_path / "one", quiet)
    dataset = describe(path)
    assert (dataset.kind, dataset.format, dataset.seed) == (kind, data_format, 3)
    assert dataset.samples > FEWEST_SAMPLES
    data_files = [path / name for name in dataset.files]
    assert dataset.bytes == sum(file.stat().st_size for file in data_files)
    assert SIZE * 0.9 <= dataset.bytes <= SIZE * 1.1
    assert {file.relative_to(path) for file in path.rglob("*") if file.is_file()} == {
        *(file.relative_to(path) for file in data_files),
        Path(DESCRIPTION),
    }
    assert digest(path) == digest(make(spec, tmp_path / "two", quiet))


def test_processes_make_the_same_samples_as_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeprof.workloads.data import generate

    spec = DataSpec("steering", "folder", SIZE, side=64)
    alone = make(spec, tmp_path / "alone", quiet)
    monkeypatch.setattr(generate, "ALONE_BELOW", 0)
    monkeypatch.setattr(generate.os, "sched_getaffinity", lambda pid: {0, 1})
    assert digest(make(spec, tmp_path / "many", quiet)) == digest(alone)


def test_a_complete_one_is_taken_and_a_broken_one_made_anew(tmp_path: Path) -> None:
    spec = DataSpec("text", "tfrecord", SIZE)
    lines: list[str] = []
    path = make(spec, tmp_path, lines.append)
    before = digest(path)
    assert make(spec, tmp_path, lines.append) == path
    assert len(lines) == 1
    (path / describe(path).files[0]).write_bytes(b"cut")
    assert make(spec, tmp_path, lines.append) == path
    assert (len(lines), digest(path)) == (2, before)
    content = json.loads((path / DESCRIPTION).read_text())
    (path / DESCRIPTION).write_text(json.dumps({**content, "generator": 0}))
    make(spec, tmp_path, lines.append)
    assert (len(lines), digest(path)) == (3, before)


def test_a_file_that_was_removed_is_missed(tmp_path: Path) -> None:
    spec = DataSpec("images", "folder", SIZE, side=64)
    path = make(spec, tmp_path, quiet)
    before = digest(path)
    (path / describe(path).files[2]).unlink()
    make(spec, tmp_path, quiet)
    assert digest(path) == before


def test_however_small_there_are_some_samples(tmp_path: Path) -> None:
    assert describe(make(DataSpec("images", "folder", 1), tmp_path, quiet)).samples == FEWEST_SAMPLES


def test_a_killed_make_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from edgeprof.workloads.data.make import make; from edgeprof.workloads.data.spec import DataSpec\n"
        "if __name__ == '__main__': make(DataSpec('images', 'folder', 1 << 30), Path(sys.argv[1]), print)\n"
    )
    script = tmp_path / "make.py"
    script.write_text(code)
    folder = tmp_path / "data"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, script, folder], stdout=subprocess.DEVNULL, env=environment)
    try:
        wait_until(lambda: list(folder.glob(".*.partial/*/*.jpg")), "first file", 60)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert children
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(is_alive(int(child)) for child in children), "the pool's processes end")
    assert [path.name[0] for path in folder.iterdir()] == ["."]
    spec = DataSpec("images", "folder", 1 << 30)
    monkeypatch.setattr(making, "_write", full_disk)
    with pytest.raises(DataError, match="no room"):
        make(spec, folder, quiet)
    assert list(folder.iterdir()) == []


def full_disk(spec: DataSpec, partial: Path, say: object) -> None:
    partial.mkdir()
    raise OSError(28, "No space left on device")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    places = Places(tmp_path)
    folder = tmp_path / "data"
    command = places.command("data", "make", "images", "--size", "1G", "--folder", str(folder))
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=places.environment(), start_new_session=True
    )
    try:
        wait_until(lambda: list(folder.glob(".*.partial/*/*.jpg")), "first file", 60)
        os.killpg(process.pid, signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "edgeprof: interrupted"
    assert "Traceback" not in errors
    assert list(folder.iterdir()) == []


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    spec = DataSpec("text", "folder", SIZE)
    lines: list[str] = []
    threads = [threading.Thread(target=make, args=(spec, tmp_path, lines.append)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(line.startswith("making") for line in lines) == 1
    assert [path.name for path in tmp_path.iterdir()] == [f"text-folder-{SIZE}-0"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (DataSpec("sounds"), "there is no kind 'sounds'"),
        (DataSpec("text", "zip"), "there is no format 'zip'"),
        (DataSpec("text", bytes=0), "a size above 0"),
        (DataSpec("images", side=8), "images of 32 to 4320 pixels"),
        (DataSpec("images", bytes=1 << 60), "has no room for a data set of"),
    ],
)
def test_a_wrong_spec_is_a_sentence(tmp_path: Path, spec: DataSpec, words: str) -> None:
    with pytest.raises(DataError, match=words):
        make(spec, tmp_path / "data", quiet)


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be made in .*name a folder that you may write"):
        make(DataSpec("text"), tmp_path / "file" / "data", quiet)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "edgeprof-test", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here: run the tests in a privileged container")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.root
@pytest.mark.parametrize("data_format", FORMATS)
def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, data_format: str
) -> None:
    monkeypatch.setattr(making, "_check_room", lambda spec, folder: None)
    with pytest.raises(DataError, match=r"has no room for a data set of 8 MB \(.* MB are free\); make room"):
        make(DataSpec("images", data_format, 8_000_000, side=64), small_disk, quiet)
    assert list(small_disk.iterdir()) == []


def test_the_command_makes_and_describes(tmp_path: Path) -> None:
    places = Places(tmp_path)
    done = places.edgeprof("data", "make", "text", "--size", "200K", "--folder", "d", "--format", "parquet")
    assert (done.returncode, done.stdout) == (0, "d/text-parquet-204800-0\n")
    assert done.stderr == "edgeprof: making a data set: text as parquet, 0.2 MB\n"
    again = places.edgeprof("data", "make", "text", "--size", "200K", "--folder", "d", "--format", "parquet")
    assert (again.stdout, again.stderr) == (done.stdout, "")
    told = json.loads(places.edgeprof("data", "describe", "d/text-parquet-204800-0", "--json").stdout)
    assert (told["kind"], told["own"], told["vocabulary"]) == ("text", False, 30_000)
    shown = places.edgeprof("data", "describe", "d/text-parquet-204800-0").stdout
    assert f"samples:   {told['samples']} of 128 words\n" in shown
    (tmp_path / "empty").mkdir()
    refused = places.edgeprof("data", "describe", "empty")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (120, 1)
