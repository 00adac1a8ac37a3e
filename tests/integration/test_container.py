"""Runs in real containers: codes, streams, signals, limits, whose processes and requests they are, and nothing left."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler.agent.engine import LABEL, Engine, socket_of
from edgeprof.profiler.ingest import ingest
from tests.conftest import find_tool
from tests.helpers import QUICK, Places, alive, cgroups_left, children_of, lines_of, wait_until
from tests.integration.test_signals import NAMES, WORKLOAD

pytestmark = pytest.mark.root

INSIDE = ("--isolation", "container", "--image", "host")
COLLECT = ("--collect", f"{QUICK},phases,block")


@pytest.fixture
def engine(docker_host: str, places: Places) -> Iterator[Engine]:
    """The engine; afterwards nothing is left of the test's run, neither there nor here."""
    found = Engine(socket_of(docker_host))
    before = {*made(found, "containers"), *made(found, "volumes")}
    yield found
    left = {*made(found, "containers"), *made(found, "volumes")} - before
    for name in left:
        found.remove_container(name)
    assert left == set()
    assert cgroups_left(places) == []
    assert places.journals() == []


def made(engine: Engine, kind: str) -> list[str]:
    """Names of the containers or volumes that edgeprof made."""
    filters = json.dumps({"label": [LABEL]})
    if kind == "volumes":
        return [item["Name"] for item in engine.call("GET", "/volumes", filters=filters)["Volumes"] or []]
    return [item["Names"][0].strip("/") for item in engine.call("GET", "/containers/json", all="1", filters=filters)]


def setup(places: Places) -> dict[str, Any]:
    """What the manifest tells of the container."""
    found: dict[str, Any] = places.manifest()["setup"]["isolation"]
    return found


# -- as the workload would do it without -----------------------------------------------------------------------


def test_it_runs_as_the_workload_would(engine: Engine, places: Places) -> None:
    script = (
        "import os, sys; print(sys.stdin.read(), os.getcwd(), os.environ['MINE'], os.getppid() < 10, end='');"
        "print('to error', file=sys.stderr); open('written', 'w').write('yes'); sys.exit(7)"
    )
    command = ["run", *INSIDE, "-q", "--no-report", *COLLECT, "--", sys.executable, "-c", script]
    done = places.edgeprof(*command, input="from outside", env=places.environment(MINE="mine"))
    assert done.returncode == 7, done.stderr
    assert done.stdout == f"from outside {places.base} mine True"
    assert done.stderr == "to error\n"
    assert (places.base / "written").read_text() == "yes"
    manifest = places.manifest()
    assert manifest["run"]["command"] == command[command.index("--") + 1 :]
    assert manifest["run"]["name"] == Path(sys.executable).name
    assert manifest["factors"]["isolation"] == "container"
    assert manifest["factors"]["container"]["image"] == "host"
    assert manifest["factors"]["container"]["storage_driver"] == engine.call("GET", "/info")["Driver"]
    facts = manifest["setup"]["isolation"]
    assert (facts["exit_code"], facts["cgroup"]) == (7, "below")
    assert facts["image_id"].startswith("sha256:")
    assert facts["pid"] not in manifest["processes"]["helpers"]
    assert manifest["run"]["pid"] in manifest["processes"]["helpers"]


def test_much_output_comes_through_whole_and_a_reader_that_goes_ends_it(engine: Engine, places: Places) -> None:
    script = "import sys\nfor number in range(300000): print(number)\nsys.stdout.flush()"
    running = places.start("run", *INSIDE, "-q", "--no-ingest", "--collect", "self", "--", sys.executable, "-c", script)
    out, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert out.split() == [str(number) for number in range(300000)]
    endless = places.start("run", *INSIDE, "-q", "--no-ingest", "--collect", "self", "--", "yes")
    assert endless.stdout is not None
    assert endless.stdout.readline() == "y\n"
    endless.stdout.close()
    assert endless.wait(60) == 128 + signal.SIGPIPE


def logging_workload(places: Places, *names: str) -> list[str]:
    return [sys.executable, "-S", "-c", WORKLOAD, str(places.base / "log"), *names]


def received(places: Places) -> Counter[str]:
    return Counter(line for line in lines_of(places.base / "log") if line.startswith("SIG"))


def test_signals_reach_the_process_inside_once(engine: Engine, places: Places) -> None:
    words = ["run", *INSIDE, "--collect", QUICK, "--no-ingest", "--", *logging_workload(places, *NAMES)]
    running = places.start(*words)
    wait_until(lambda: any(lines_of(places.base / "log")), "the workload", seconds=60)
    for name in NAMES:
        running.send_signal(getattr(signal, name))
        wait_until(lambda name=name: received(places)[name], name, seconds=60)  # type: ignore[misc]
    (places.base / "log.stop").touch()
    running.communicate(timeout=60)
    assert running.returncode == 5
    assert received(places) == dict.fromkeys(NAMES, 1)


def test_ctrl_c_at_a_terminal_reaches_the_process_inside_once(engine: Engine, places: Places) -> None:
    words = ["run", *INSIDE, "--collect", QUICK, "--no-ingest", "--", *logging_workload(places, "SIGINT")]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(places.base)
        os.execve(sys.executable, places.command(*words), places.environment())
    try:
        wait_until(lambda: any(lines_of(places.base / "log")), "the workload", seconds=60)
        os.write(terminal, b"\x03")
        wait_until(lambda: received(places)["SIGINT"], "SIGINT")
        (places.base / "log.stop").touch()
        with contextlib.suppress(OSError):  # EIO: the other side has closed
            while os.read(terminal, 4096):
                pass
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    finally:
        os.close(terminal)
    assert received(places)["SIGINT"] == 1


def test_a_signal_that_ends_it_is_told_by_the_exit_code(engine: Engine, places: Places) -> None:
    done = places.run(*INSIDE, "--no-ingest", "-q", "--", "sh", "-c", "kill -TERM $$")
    assert done.returncode == 128 + signal.SIGTERM


# -- what is captured --------------------------------------------------------------------------------------------

WORKERS = """
import os, time, edgeprof
def work():
    for _ in range(8):
        with edgeprof.phase("load"):
            time.sleep(0.05)
        edgeprof.step(samples=2)
children = []
for _ in range(2):
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    children.append(child)
with edgeprof.phase("forward"):
    for child in children:
        os.waitpid(child, 0)
edgeprof.step(samples=1)
print(os.getpid())
"""


def test_phases_steps_and_processes_bear_the_ids_of_the_host(engine: Engine, places: Places) -> None:
    done = places.edgeprof("run", *INSIDE, "-q", "--no-report", *COLLECT, "--", sys.executable, "-c", WORKERS)
    assert done.returncode == 0, done.stderr
    run = ingest(places.only())
    process, phases, steps = run.table("process"), run.table("phases"), run.table("steps")
    main = process[process["inner_pid"] == int(done.stdout)]["pid"].unique().tolist()
    workers = process[process["ppid"].isin(main)]["pid"].unique().tolist()
    assert len(main) == 1 and len(workers) == 2
    assert main != [int(done.stdout)]
    assert set(phases[phases["name"] == "forward"]["pid"]) == set(main)
    assert set(phases[phases["name"] == "load"]["pid"]) == set(workers)
    assert set(phases[phases["main"]]["pid"]) == set(phases[phases["main"]]["tid"]) == set(main)
    assert steps.groupby("pid")["samples"].sum().to_dict() == {main[0]: 1, workers[0]: 16, workers[1]: 16}
    assert not any("never seen" in note for note in run.manifest["ingest"]["notes"])


READ = """
import mmap, os, sys, time
file = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
memory, done, begun = mmap.mmap(-1, 1 << 20), 0, time.monotonic()
while count := os.preadv(file, [memory], done):
    done += count
print(done, done / (time.monotonic() - begun))
"""


@pytest.mark.skipif(find_tool("mkfs.ext4") is None, reason="no mkfs.ext4 here: apt-get install e2fsprogs")
def test_a_device_limit_binds_and_the_requests_are_the_runs(engine: Engine, places: Places) -> None:
    limit, size = 8_000_000, 32 << 20
    data = places.base / "data"
    data.mkdir()
    (data / "file").write_bytes(os.urandom(size))
    done = places.edgeprof(
        *("run", *INSIDE, "-q", "--no-report", *COLLECT, "--data", str(data), "--file-system", "ext4"),
        *("--cache", "cold", "--device-limit", "read=8M", "--", sys.executable, "-c", READ, "{data}/file"),
    )
    assert done.returncode == 0, done.stderr
    count, rate = done.stdout.split()
    assert int(count) == size
    assert float(rate) == pytest.approx(limit, rel=0.25)
    facts = setup(places)
    assert facts["limits"] == {"read": limit}
    assert facts["limited_device"].startswith("loop")
    run = ingest(places.only())
    requests = run.table("block_io")
    mine = requests[(requests["owner"] == "run") & (requests["op"] == "read")]
    below = mine[mine["device"] == facts["limited_device"]]
    assert size <= below["bytes"].sum() <= size * 1.05
    assert run.manifest["factors"]["container"]["read_limit"] == limit
    if "blkio" in facts["path"] or "unified" in facts["path"]:
        table = run.table("cgroup_io")
        assert table[table["device"] == facts["limited_number"]]["read_bytes"].max() >= size


def test_reads_are_the_runs_without_a_limit_too_and_a_volume_holds_the_data(engine: Engine, places: Places) -> None:
    size = 4 << 20
    data = places.base / "data"
    (data / "below").mkdir(parents=True)
    (data / "below/file").write_bytes(os.urandom(size))
    done = places.edgeprof(
        *("run", *INSIDE, "-q", "--no-report", *COLLECT, "--data", str(data), "--volume", "volume"),
        *("--", sys.executable, "-c", READ, "{data}/below/file"),
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) == size
    manifest = places.manifest()
    assert manifest["factors"]["container"]["volume"] == "volume"
    requests = ingest(places.only()).table("block_io")
    assert requests[(requests["owner"] == "run") & (requests["op"] == "read")]["bytes"].sum() >= size


def test_a_memory_limit_holds_inside(engine: Engine, places: Places) -> None:
    script = "data = bytearray()\nwhile True: data += b'x' * (4 << 20)"
    done = places.run(*INSIDE, "-q", "--memory-limit", "96M", "--", sys.executable, "-c", script)
    assert done.returncode == 128 + signal.SIGKILL
    assert setup(places)["exit_code"] == 128 + signal.SIGKILL
    table = ingest(places.only()).table("cgroup")
    assert table["memory_limit"].dropna().unique().tolist() == [96 << 20]
    assert 64 << 20 <= table["memory_peak"].max() <= 96 << 20


def test_an_engine_that_leaves_cgroups_to_another_is_captured_all_the_same(engine: Engine, places: Places) -> None:
    pretend = (
        "import edgeprof.profiler.isolation.container_engine as engine; engine.Found.below = False\n"
        "import sys; from edgeprof.cli.main import main; sys.exit(main())"
    )
    script = "import time\nwhile time.process_time() < 0.6: pass"
    words = ["run", *INSIDE, "-q", "--no-report", *COLLECT, "--", sys.executable, "-c", script]
    done = subprocess.run(
        [sys.executable, "-c", pretend, *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=places.base,
        env=places.environment(),
    )
    assert done.returncode == 0, done.stderr
    run = ingest(places.only())
    assert setup(places)["cgroup"] == "moved"
    assert any("moved to the run's cgroup" in note for note in run.manifest["notes"])
    process = run.table("process")
    assert process[process["pid"] == setup(places)["pid"]].shape[0] > 0
    assert run.table("cgroup")["cpu_usage"].max() > 0.3


# -- killed ------------------------------------------------------------------------------------------------------


def killed(places: Places) -> list[int]:
    """Start a run, kill its edgeprof, and return the processes that it leaves."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = places.start("run", *INSIDE, "--collect", QUICK, "--", *logging_workload(places), **quiet)
    wait_until(lambda: any(lines_of(places.base / "log")), "the workload", seconds=60)
    client = children_of(running.pid)
    running.kill()
    running.wait(20)
    return client


def test_it_outlives_a_killed_edgeprof_and_clean_ends_it_when_asked(engine: Engine, places: Places) -> None:
    client = killed(places)
    (name,) = made(engine, "containers")
    told = places.edgeprof("clean")
    assert told.returncode == 0, told.stderr
    assert f"the container {name} goes on" in told.stdout
    assert engine.container(name)["State"]["Running"]
    done = places.edgeprof("clean", "--kill")
    assert done.returncode == 0, done.stderr
    assert f"removed container {name}" in done.stdout
    wait_until(lambda: not any(map(alive, client)), "the client's end")
    assert engine.container(name) is None


def test_it_finishes_undisturbed_when_edgeprof_is_killed(engine: Engine, places: Places) -> None:
    client = killed(places)
    (places.base / "log.stop").touch()
    wait_until(lambda: made(engine, "containers") == [], "the container's removal")
    wait_until(lambda: not any(map(alive, client)), "the client's end")
    done = places.edgeprof("clean")
    assert done.returncode == 0, done.stderr


# -- refused -----------------------------------------------------------------------------------------------------


def refused(places: Places, *words: str, code: int = 120, **variables: str) -> str:
    """The one sentence with which edgeprof refuses; nothing is captured and nothing is left."""
    done = places.edgeprof("run", "--isolation", "container", "-q", *words, env=places.environment(**variables))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert places.directories() == []
    (line,) = done.stderr.splitlines()
    assert line.startswith("edgeprof: ")
    return line


def test_without_an_engine_it_says_so(places: Places) -> None:
    place = f"unix://{places.base}/nothing"
    assert "there is no container engine at" in refused(places, "--", "true", DOCKER_HOST=place)
    (places.base / "nothing").touch()
    assert "cannot be reached: Connection refused" in refused(places, "--", "true", DOCKER_HOST=place)
    assert "this machine's own engine" in refused(places, "--", "true", DOCKER_HOST="tcp://192.0.2.1:2375")


def test_an_image_that_cannot_be_had_is_one_sentence(engine: Engine, places: Places) -> None:
    said = refused(places, "--image", "127.0.0.1:1/nowhere:1", "--", "true")
    assert "the image 127.0.0.1:1/nowhere:1 is not here and cannot be pulled" in said
    assert "does not take 'Not A Name' for an image" in refused(places, "--image", "Not A Name", "--", "true")


@pytest.fixture
def busybox(engine: Engine, docker_host: str, tmp_path: Path) -> Iterator[str]:
    """An image of one static program: no Python."""
    program = find_tool("busybox")
    if program is None:
        pytest.skip("no busybox here: apt-get install busybox-static")
    import docker

    folder = tmp_path / "image"
    (folder / "bin").mkdir(parents=True)
    for name in ("busybox", "sh", "echo"):
        shutil.copy(program, folder / "bin" / name)
    archive = subprocess.run(["tar", "-C", str(folder), "-c", "."], capture_output=True, check=True).stdout
    client = docker.from_env()
    name = f"edgeprof-test-{os.getpid()}:1"
    client.api.import_image_from_data(archive, repository=name.partition(":")[0], tag="1")
    yield name
    client.images.remove(name, force=True)
    client.close()


def test_an_image_of_its_own_runs_its_own_programs_and_python_must_be_in_it(busybox: str, places: Places) -> None:
    assert "no such program" in refused(places, "--image", busybox, "--", "nothing-like-it", code=121)
    missing = refused(places, "--image", busybox, "--", sys.executable, "-c", "pass", code=121)
    assert f"the image {busybox} has no Python" in missing
    done = places.run("--isolation", "container", "--image", busybox, "-q", "--", "echo", "from inside")
    assert (done.returncode, done.stdout) == (0, "from inside\n"), done.stderr
    assert setup(places)["image"] == busybox


def test_a_device_limit_needs_a_disk(engine: Engine, places: Places) -> None:
    memory = Path("/dev/shm")
    if not memory.is_mount():
        pytest.skip("no /dev/shm here: mount a tmpfs there")
    folder = memory / f"edgeprof-test-{os.getpid()}"
    folder.mkdir()
    try:
        said = refused(places, "--image", "host", "--data", str(folder), "--device-limit", "read=8M", "--", "true")
    finally:
        folder.rmdir()
    assert "on no disk whose speed could be limited" in said


def test_a_program_that_the_host_lacks_is_told_before_anything_is_made(engine: Engine, places: Places) -> None:
    assert "no such program on PATH" in refused(places, "--image", "host", "--", "no-such-program", code=121)
