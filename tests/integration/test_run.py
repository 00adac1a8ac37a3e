"""`edgeprof run` with real workloads: codes, streams, limits, children, and a machine left as it was."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler.agent.cgroups import hierarchies
from edgeprof.profiler.ingest import ingest
from tests.helpers import QUICK, Places, alive, cgroups_left, end

root = pytest.mark.root


def controllers() -> set[str]:
    """Cgroup controllers that a run can have here."""
    found: set[str] = set()
    for item in hierarchies():
        if item.version == 2:
            found.update(Path(item.mount, "cgroup.controllers").read_text().split())
        found.update(item.controllers)
    return found


def needs(controller: str) -> pytest.MarkDecorator:
    reason = f"no {controller} controller here: boot with systemd.unified_cgroup_hierarchy=1, or enable it"
    return pytest.mark.skipif(controller not in controllers(), reason=reason)


def is_clean(places: Places) -> bool:
    """No journal and no cgroup is left of any run."""
    return not places.journals() and not cgroups_left(places)


# -- how it ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 3, 120, 255])
def test_it_exits_with_the_workloads_code(places: Places, code: int) -> None:
    done = places.run("--no-ingest", "--", "sh", "-c", f"exit {code}")
    assert done.returncode == code
    run = places.manifest()["run"]
    assert (run["status"], run["exit_code"], run["signal"]) == ("finished", code, None)
    assert is_clean(places)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_workload_that_dies_by_a_signal_is_told_by_128_and_the_signal(places: Places, number: signal.Signals) -> None:
    done = places.run("--", "sh", "-c", f"kill -{number.value} $$")
    assert done.returncode == 128 + number
    assert f"the workload was ended by signal {number.value}" in done.stderr
    content = places.manifest()
    assert (content["run"]["exit_code"], content["run"]["signal"]) == (None, number)
    assert content["ingest"]["tables"]["process"] >= 1
    assert is_clean(places)


def test_the_workloads_streams_are_its_own(places: Places) -> None:
    script = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data); sys.stderr.write('own words')"
    data = bytes(range(256)) * 1000
    done = places.run("-q", "--no-ingest", "--", sys.executable, "-c", script, input=data, text=False)
    assert done.returncode == 0
    assert done.stdout == data
    assert done.stderr == b"own words"


def test_the_workload_gets_what_it_would_have_without_edgeprof(places: Places) -> None:
    script = (
        "import json, os, resource\n"
        "status = dict(line.split(':\\t') for line in open('/proc/self/status') if ':\\t' in line)\n"
        "print(json.dumps({'cwd': os.getcwd(), 'environment': dict(os.environ), 'mask': status['SigBlk'],"
        " 'ignored': status['SigIgn'], 'files': resource.getrlimit(resource.RLIMIT_NOFILE),"
        " 'descriptors': sorted(os.listdir('/proc/self/fd'))}))"
    )
    argv = [sys.executable, "-S", "-c", script]
    mine = places.environment(ODD="a=b\nc")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))

    with_it = places.run("-q", "--no-ingest", "--", *argv, env=mine, preexec_fn=few_files)
    seen = json.loads(with_it.stdout)
    assert seen["cwd"] == str(places.base)
    assert seen["files"] == [300, limits[1]]
    assert {name: seen["environment"].get(name) for name in mine} == mine
    added = set(seen["environment"]) - set(mine) - {"LC_CTYPE"}
    assert all(name.startswith("EDGEPROF") for name in added)
    assert int(seen["mask"], 16) == 0
    assert int(seen["ignored"], 16) & 1 << signal.SIGCHLD - 1 == 0
    assert seen["descriptors"] == ["0", "1", "2", "3"]  # 3: the folder that it lists


def test_a_caller_that_ignores_the_end_of_children_still_gets_the_code(places: Places) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    done = places.run("--no-ingest", "--", "sh", "-c", "exit 7", preexec_fn=ignore)
    assert done.returncode == 7


def test_standard_output_holds_nothing_but_json(places: Places) -> None:
    done = places.run("--json", "--", "true")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["metrics"]["wall_time"]["value"] > 0
    assert told["run"]["exit_code"] == 0


# -- what is refused -----------------------------------------------------------------------------------------


def refused(places: Places, *words: str) -> str:
    """The one sentence with which a call is refused; nothing was made and nothing is left."""
    done = places.edgeprof("run", "--collect", QUICK, *words)
    assert 120 <= done.returncode <= 125
    assert done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("edgeprof: ")
    assert "Traceback" not in done.stderr
    assert "bug" not in line
    assert places.directories() == []
    assert places.journals() == []
    return line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "nothing to run; give a command after --"),
        (["--"], "nothing to run; give a command after --"),
        (["--", ""], "nothing to run"),
        (["--", "no-such-program-anywhere"], "no such program on PATH or at that path"),
        (["--", "./missing/program"], "no such program on PATH or at that path"),
        (["--", "/etc"], "it is a folder"),
        (["--", "/etc/passwd"], "it is not executable; make it executable with chmod +x"),
        (
            ["train"],
            "no built-in workload 'train' (`edgeprof workloads` lists them); to capture a command, put it",
        ),
        (["train", "--", "x"], "there is no built-in workload 'train'"),
        (["--rate", "0", "--", "true"], "range"),
        (["--collect", "nothing", "--", "true"], "there is no collector 'nothing'; there are:"),
        (["--factor", "framework=torch", "--", "true"], "the factor framework has parts"),
        (["--factor", "model.size=3", "--", "true"], "there is no factor model.size"),
        (["--factor", "nonsense", "--", "true"], "write it like storage.format=folder"),
        (["--memory-limit", "lots", "--", "true"], "write it like 512M or 2G"),
    ],
)
def test_a_wrong_call_is_one_sentence(places: Places, words: list[str], expected: str) -> None:
    assert expected in refused(places, *words)


def test_a_program_that_cannot_be_executed_is_one_sentence(places: Places) -> None:
    program = places.base / "script"
    program.write_text("echo no first line\n")
    program.chmod(0o755)
    assert "Exec format error; name its interpreter first" in refused(places, "--", str(program))
    program.write_text("#!/no/such/interpreter\n")
    assert "the interpreter that its first line names is missing" in refused(places, "--", str(program))


def test_a_folder_that_cannot_be_made_is_one_sentence(places: Places) -> None:
    (places.base / "runs").write_text("a file")
    done = places.run("--", "true")
    assert done.returncode == 120 or done.returncode == 122
    assert len(done.stderr.splitlines()[-1]) > 0
    assert "--output" in done.stderr or "file" in done.stderr
    assert places.journals() == []


def test_a_place_for_journals_that_cannot_be_made_is_one_sentence(places: Places) -> None:
    places.state.write_text("a file")
    done = places.run("--", "true")
    assert done.returncode == 122
    assert done.stderr.startswith("edgeprof: cannot keep an undo journal: ")
    assert "set EDGEPROF_STATE to a folder of yours" in done.stderr
    assert places.directories() == []


# -- limits --------------------------------------------------------------------------------------------------


@root
@needs("memory")
def test_a_memory_limit_kills_what_takes_more(places: Places) -> None:
    script = "data = bytearray(); \nwhile True: data += b'x' * (4 << 20)"
    done = places.run("--memory-limit", "96M", "--", sys.executable, "-c", script)
    assert done.returncode == 128 + signal.SIGKILL
    assert places.manifest()["spec"]["memory_limit"] == 96 << 20
    table = ingest(places.only()).table("cgroup")
    killed = [name for name in ("events_oom_kill", "oom_oom_kill") if name in table]
    assert table[killed].max().max() >= 1
    assert table["memory_limit"].dropna().unique().tolist() == [96 << 20]
    assert table["memory_peak"].max() <= 96 << 20
    assert is_clean(places)


@root
@needs("cpu")
def test_a_cpu_limit_throttles_what_takes_more(places: Places) -> None:
    script = "import time\nwhile time.process_time() < 0.15: pass"
    done = places.run("--cpus", "0.25", "--", sys.executable, "-c", script)
    assert done.returncode == 0
    table = ingest(places.only()).table("cgroup")
    assert table["cpu_limit"].dropna().unique().tolist() == [0.25]
    assert table["cpu_nr_throttled"].max() >= 1
    assert table["cpu_throttled"].max() > 0


# -- children ------------------------------------------------------------------------------------------------


def test_a_workload_that_ends_before_the_first_tick_has_a_whole_capture(places: Places) -> None:
    assert places.run("--", "true").returncode == 0
    run = ingest(places.only())
    assert run.manifest["run"]["status"] == "finished"
    process = run.table("process")
    assert process["pid"].unique().tolist() == [run.manifest["run"]["pid"]]
    assert len(process) >= 2  # before its exec, and as a zombie
    assert process["rss"].isna().all()  # neither edgeprof's own image nor a zombie's zeros
    assert run.metrics["rss_peak"]["value"] is None
    assert run.metrics["rss_peak"]["reason"]


def test_sixty_short_children_are_no_trouble(places: Places) -> None:
    script = "import os\nfor _ in range(60):\n os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)"
    done = places.run("--rate", "100", "--", sys.executable, "-c", script)
    assert done.returncode == 0
    content = places.manifest()
    notes = [note for item in content["collectors"] for note in item["notes"]]
    assert not [note for note in notes if "No such" in note or "stopped" in note]
    assert content["processes"]["left_running"] == []
    assert is_clean(places)


@root
def test_children_and_their_children_are_counted(places: Places) -> None:
    pids = places.base / "pids"
    script = (
        "import os, time\n"
        "for depth in range(3):\n"
        "    if os.fork(): break\n"
        f"open({str(pids)!r}, 'a').write('%d ' % os.getpid())\n"
        "data = b'x' * (1 << 20)\n"
        "end = time.monotonic() + 0.6\n"
        "while time.monotonic() < end: sum(data)\n"
        "try: os.wait()\n"
        "except ChildProcessError: pass\n"
    )
    assert places.run("--", sys.executable, "-c", script).returncode == 0
    expected = {int(text) for text in pids.read_text().split()}
    assert len(expected) == 4
    assert set(ingest(places.only()).table("process")["pid"]) >= expected


@root
def test_hundreds_of_processes_do_not_run_out_of_files(places: Places) -> None:
    script = (
        "import os, signal, subprocess, time\n"
        "sleepers = [subprocess.Popen(['sleep', '60']) for _ in range(260)]\n"
        "time.sleep(0.7)\n"
        "for item in sleepers: item.kill()\n"
        "for item in sleepers: item.wait()\n"
    )
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def usual_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, limits[1]))

    done = places.run("--budget", "100%", "--", sys.executable, "-c", script, preexec_fn=usual_files)
    assert done.returncode == 0
    content = places.manifest()
    assert "Too many open files" not in json.dumps(content)
    assert len(set(ingest(places.only()).table("process")["pid"])) == 261


DAEMON = """
import os, sys
if os.fork():
    os.wait()
    while not os.path.exists(sys.argv[1]):
        pass
    sys.exit(0)
os.setsid()
if os.fork():
    os._exit(0)
for descriptor in range(3):
    os.dup2(os.open('/dev/null', os.O_RDWR), descriptor)
with open(sys.argv[1] + '.part', 'w') as file:
    file.write(str(os.getpid()))
os.rename(sys.argv[1] + '.part', sys.argv[1])
os.execvp('sleep', ['sleep', '600'])
"""


@root
def test_a_daemon_is_named_and_goes_on_outside_the_cgroup(places: Places) -> None:
    told = places.base / "pid"
    content = places.capture(sys.executable, "-c", DAEMON, str(told))
    daemon = int(told.read_text())
    try:
        (left,) = content["processes"]["left_running"]
        assert left["pid"] == daemon
        assert any("still alive at its end" in note for note in content["notes"])
        assert alive(daemon)
        assert "edgeprof" not in Path(f"/proc/{daemon}/cgroup").read_text()
        assert is_clean(places)
    finally:
        end([daemon])


@root
def test_cgroups_that_the_workload_makes_are_counted_and_removed(places: Places) -> None:
    script = (
        "import os, subprocess, sys, time\n"
        "own = [line.split(':', 2) for line in open('/proc/self/cgroup').read().splitlines() if 'edgeprof-' in line]\n"
        "made = []\n"
        "for line in open('/proc/self/mountinfo'):\n"
        "    before, after = line.split(' - ')\n"
        "    kind, options = after.split()[0], after.split()[2].split(',')\n"
        "    for _, names, path in own:\n"
        "        right = kind == 'cgroup2' if not names else kind == 'cgroup' and names.split(',')[0] in options\n"
        "        folder = before.split()[4] + path\n"
        "        if right and os.path.isdir(folder) and not os.path.isdir(folder + '/inner'):\n"
        "            os.makedirs(folder + '/inner/most'); made.append(folder + '/inner/most')\n"
        "child = subprocess.Popen(['sleep', '0.7'])\n"
        "for folder in made: open(folder + '/cgroup.procs', 'w').write(str(child.pid))\n"
        "open(sys.argv[1], 'w').write('%d %d' % (child.pid, len(made)))\n"
        "child.wait()\n"
    )
    told = places.base / "told"
    done = places.run("--", sys.executable, "-c", script, str(told))
    assert done.returncode == 0, done.stderr
    child, made = map(int, told.read_text().split())
    assert made >= 1
    assert child in set(ingest(places.only()).table("process")["pid"])
    assert is_clean(places)


def test_two_runs_at_once_do_not_disturb_each_other(places: Places) -> None:
    running = [places.start("run", "--collect", QUICK, "--no-ingest", "--", "sleep", "0.5") for _ in range(3)]
    for item in running:
        _, errors = item.communicate(timeout=60)
        assert item.returncode == 0, errors
    assert len(places.directories()) == 3
    assert is_clean(places)


def test_words_that_are_no_utf_8_reach_the_workload_and_the_manifest(places: Places) -> None:
    odd = os.fsdecode(b"a\xffb")
    done = places.run("--", "printf", "%s", odd, text=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"a\xffb"
    assert places.manifest()["run"]["command"][-1] == "a\\xffb"


def test_the_account_of_its_own_cost_is_whole(places: Places) -> None:
    content = places.capture("sleep", "0.3")
    overhead: dict[str, Any] = content["overhead"]
    assert 0 < overhead["cpu_seconds"] < 10
    assert overhead["lost_records"] == 0
    assert overhead["bytes_written"] == sum(item["bytes"] for item in content["collectors"])
    assert 0 < overhead["peak_rss_bytes"] < 40 << 20
    assert overhead["wall_added_seconds"] > 0
    raw = sum(path.stat().st_size for path in (places.only() / "raw").rglob("*.frames"))
    assert overhead["bytes_written"] == raw


def test_the_kernel_adds_a_childs_io_to_its_parents_once_it_is_waited_for(tmp_path: Path) -> None:
    """Kernel: exit.c adds a reaped child's task_io_accounting to its parent's signal struct, and /proc/PID/io
    shows the sum; so adding up the processes of a run counts such a child twice."""
    amount = 3 << 20
    script = f"open({str(tmp_path / 'file')!r}, 'wb').write(bytes({amount}))"

    def written() -> int:
        lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(lines["wchar"])

    child = os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", script], dict(os.environ))
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    ended = written()
    os.waitpid(child, 0)
    assert amount <= written() - ended < amount + (1 << 20)
