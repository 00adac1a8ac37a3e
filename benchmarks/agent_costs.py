"""What the agent costs the machine it runs on, measured there: standard library only, Python 3.8.

``python3 -I -B agent_costs.py AGENT.pyz REPEATS SECONDS`` prints one line of JSON; `bench_agent` sends it to a board.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds_of(command):
    """Wall time and CPU time of a command, s."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def starts(agent, repeats):
    """Wall and CPU times of a Python that does nothing and of the agent's ``hello``, measured in turns."""
    python = [sys.executable, "-I", "-B"]
    commands = {"python": [*python, "-c", "pass"], "hello": [*python, agent, "hello"]}
    found = {name: [] for name in commands}
    for _ in range(repeats + 1):
        for name, command in commands.items():
            found[name].append(seconds_of(command))
    return {name: times[1:] for name, times in found.items()}  # the first one reads from disk


class Account:
    """A cgroup for the agent, which knows what it used; ``reason`` says why there is none."""

    def __init__(self):
        self.folder, self.usage_file, self.scale, self.reason = None, None, 1.0, ""
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, kind = line.partition(" - ")[0].split(), line.partition(" - ")[2].split()
            if kind[0] == "cgroup" and "cpuacct" in kind[2].split(","):
                self.usage_file, self.scale, mount = "cpuacct.usage", 1e-9, fields[4]
                break
            if kind[0] == "cgroup2":
                self.usage_file, self.scale, mount = "cpu.stat", 1e-6, fields[4]
        if self.usage_file is None:
            self.reason = "no cgroup file system tells CPU times here"
            return
        try:
            folder = Path(mount) / f"edgeprof-bench-{os.getpid()}"
            folder.mkdir()
            self.folder = folder
        except OSError as error:
            self.reason = f"no cgroup can be made: {error.strerror}"

    def enter(self):
        """Called in the process that is to be accounted for."""
        if self.folder is not None:
            (self.folder / "cgroup.procs").write_text("0")

    def seconds(self):
        """CPU time used in it so far, s; None: not known."""
        if self.folder is None:
            return None
        words = (self.folder / self.usage_file).read_text().split()
        return int(words[1 if self.usage_file == "cpu.stat" else 0]) * self.scale

    def close(self):
        """Remove it."""
        if self.folder is not None:
            self.folder.rmdir()


def capture(agent, seconds):
    """The agent's cost while it captures a sleeping workload at 10 Hz, by its manifest and by a cgroup of its own."""
    home = tempfile.mkdtemp(prefix="edgeprof-bench-")
    environment = dict(os.environ, EDGEPROF_BOARD_HOME=home)
    account = Account()

    def call(*words, **options):
        command = [sys.executable, "-I", "-B", agent, *words]
        done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=False, **options)
        answer = json.loads(done.stdout)
        if done.returncode:
            raise SystemExit("the agent refused: " + answer["error"])
        return answer

    try:
        begun = Path(home, "begun")
        command = ["sh", "-c", 'touch "$0"; exec sleep "$1"', str(begun), str(seconds + 5)]
        request = {"job": "bench", "spec": {"command": command, "rate": 10}, "wait": 60}
        first = {"job": "first", "spec": {"command": ["true"]}, "wait": 60}
        call("start", input=json.dumps(first).encode() + b"\n")  # it compiles, which each version does once
        call("wait", "first")
        began = time.perf_counter()
        call("start", input=json.dumps(request).encode() + b"\n", preexec_fn=account.enter)
        start_seconds = time.perf_counter() - began
        while not begun.exists():
            time.sleep(0.1)
        time.sleep(2)
        used, now = account.seconds(), time.perf_counter()
        time.sleep(seconds)
        if used is not None:
            used = (account.seconds() - used) / (time.perf_counter() - now)
        state = call("wait", "bench")
        manifest = json.loads(Path(home, "jobs/bench/capture", state["capture"], "manifest.json").read_text())
    finally:
        shutil.rmtree(home)
        account.close()
    overhead = manifest["overhead"]
    return {
        "start_seconds": start_seconds,
        "setup_cpu_seconds": overhead["setup_cpu_seconds"],
        "own_cpu_share": overhead["cpu_share"],
        "cgroup_cpu_share": used,
        "cgroup_reason": account.reason,
        "peak_rss_bytes": overhead["peak_rss_bytes"],
        "sampling_stretch": overhead["budget"]["sampling_stretch"],
        "collectors": [item["name"] for item in manifest["collectors"] if item["available"]],
    }


def main():
    """Measure and print."""
    agent, repeats, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    found = {"machine": os.uname().machine, "kernel": os.uname().release, "python": sys.version.split()[0]}
    found["cpus"] = os.cpu_count()
    found["starts"] = starts(agent, repeats)
    found["capture"] = capture(agent, seconds)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
