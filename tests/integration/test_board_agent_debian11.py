"""The agent in a Debian 11 root: nothing there but Python 3.9 and what that needs; this machine ingests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprof.collectors import registry
from edgeprof.profiler.guest.errors import NoGuest
from edgeprof.profiler.guest.kernel import cache_folder
from edgeprof.profiler.guest.packages import suite_apt
from edgeprof.profiler.ingest import ingest
from tests.board_agent import Agent, tar_of

PACKAGES = (
    "base-files",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi7",
    "liblzma5",
    "libmpdec3",
    "libpython3.9-minimal",
    "libpython3.9-stdlib",
    "libssl1.1",
    "libuuid1",
    "python3.9-minimal",
    "zlib1g",
)
MOUNTED = "/mnt"

ENTER = """
set -e
root=$1 base=$2; shift 2
for name in proc sys dev; do mount --rbind "/$name" "$root/$name"; done
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$base" "$root/mnt"
exec chroot "$root" "$@"
"""
"""Run by sh in a mount namespace of its own: the root's files stay as they are."""

WORKLOAD = """
import hashlib, os, time
with open("/mnt/written", "wb") as file:
    for _ in range(8):
        file.write(os.urandom(1 << 20))
    file.flush()
    os.fsync(file.fileno())
end = time.monotonic() + 1.0
while time.monotonic() < end:
    hashlib.sha256(bytes(1 << 16)).digest()
print(open("/etc/debian_version").read().strip())
"""


@pytest.fixture(scope="module")
def root() -> Path:
    """The unpacked root; made once, and kept beside what guests are made of."""
    if missing := [tool for tool in ("apt-get", "dpkg", "unshare", "chroot") if shutil.which(tool) is None]:
        pytest.skip(f"no {', '.join(missing)} here: the root is made of Debian's packages, on Debian or Ubuntu")
    try:
        target = cache_folder() / "root-bullseye-python3.9"
        if not target.is_dir():
            suite_apt("bullseye", cache_folder()).unpack(PACKAGES, target, prepare)
    except NoGuest as error:
        pytest.skip(f"Debian 11's packages cannot be had: {error}")
    return target


def prepare(tree: Path) -> None:
    for name in ("proc", "sys", "dev", "tmp", "mnt", "root"):
        (tree / name).mkdir(exist_ok=True)


@pytest.fixture
def agent(root: Path, tmp_path: Path) -> Iterator[Agent]:
    prefix = ["unshare", "-m", "--propagation", "private", "sh", "-c", ENTER, "sh", str(root), str(tmp_path)]
    variables = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    found = Agent(tmp_path, prefix, "/usr/bin/python3.9", MOUNTED, variables)
    yield found
    found.close()


@pytest.mark.root
def test_a_run_captured_in_debian_11_is_ingested_here(agent: Agent) -> None:
    home = f"{MOUNTED}/home"
    hello = agent.call("hello")
    assert hello["python"][:2] == [3, 9]
    assert hello["home"] == home
    assert agent.call("examine")["host"]["os"] == "Debian GNU/Linux 11 (bullseye)"

    program = {"work.py": WORKLOAD.encode()}
    assert agent.send_folder("app", program, tar_of(program))[1] == {"folder": f"{home}/sync/app"}
    over = agent.run("one", "/usr/bin/python3.9", "work.py", cwd="app", collect=list(registry.NAMES))
    assert (over["state"], over["exit_code"], over["error"]) == ("ended", 0, None)
    assert (agent.job("one") / "stdout").read_text().startswith("11.")

    run = ingest(agent.job("one") / "capture" / over["capture"])
    manifest = run.manifest
    assert manifest["host"]["os"] == "Debian GNU/Linux 11 (bullseye)"
    assert manifest["host"]["python"].startswith("3.9.")
    broken = [
        item for item in manifest["collectors"] if "cannot be loaded" in item["reason"] or "bug" in item["reason"]
    ]
    assert broken == []
    assert not [note for item in manifest["collectors"] for note in item["notes"] if "bug" in note]
    assert manifest["overhead"]["peak_rss_bytes"] < 40 << 20
    assert run.arrow("process").num_rows > 5
    metrics = run.metrics
    assert metrics["storage_write_bytes"]["value"] == pytest.approx(8 << 20, rel=0.1)
    assert 0.3 < metrics["cpu_time"]["value"] < 3
    assert agent.call("forget", "one") == {"forgotten": True}


@pytest.mark.root
def test_the_root_holds_nothing_of_edgeprof(root: Path) -> None:
    code = "import importlib.util; print(importlib.util.find_spec('edgeprof'))"
    argv = ["chroot", root, "/usr/bin/python3.9", "-I", "-B", "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.stdout == "None\n", done.stderr
    assert not (root / "usr/bin/python3").exists()
