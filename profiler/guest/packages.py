"""Debian's packages for guests: fetched by apt and unpacked into a cache folder, never installed."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeprof.profiler.guest.architecture import ARCHITECTURES, here
from edgeprof.profiler.guest.errors import NoGuest

_SECONDS = 300
"""That apt may take to fetch something."""

_FRESH_SECONDS = 86400
"""After which a list of packages is fetched anew: a mirror drops what it has newer ones of."""

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Of all of Debian's releases; where it lacks, apt's own trusted keys count."""

_CONFIGURATION = """\
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::State "{folder}/state";
Dir::State::Status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Architecture "{own}";
#clear APT::Architectures;
APT::Architectures {{ "{own}"; {others} }};
APT::Sandbox::User "root"; // apt's own user cannot enter a cache folder below somebody's home
Acquire::Languages "none";
Acquire::GzipIndexes "true";
#clear APT::Update::Post-Invoke; // of this machine: desktops index there what they would install
#clear APT::Update::Post-Invoke-Success;
"""


class Apt:
    """This machine's apt, or one with a configuration of its own."""

    def __init__(self, configuration: Path | None = None) -> None:
        self._words = [] if configuration is None else ["-c", str(configuration)]

    def depends(self, package: str) -> list[str]:
        """What a package depends on; nothing where apt does not know it.  Raises NoGuest where there is no apt."""
        answer = self._run("apt-cache", "depends", package)
        return re.findall(r"^ +Depends: <?([\w.+:-]+)", answer.stdout, re.MULTILINE)

    def unpack(
        self, packages: Sequence[str], target: Path, prepare: Callable[[Path], None] = lambda tree: None
    ) -> None:
        """Download packages and unpack them into ``target``, a new folder, which appears whole.

        Args:
            prepare: what to do to the tree before it appears.

        Raises:
            NoGuest: one cannot be had.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as name:
            folder = Path(name)
            folder.chmod(0o755)  # apt's own user writes here
            fetched = self._run("apt-get", "download", *packages, cwd=folder)
            files = list(folder.glob("*.deb"))
            if fetched.returncode or len(files) < len(packages):
                raise NoGuest(
                    f"apt-get could not download {' '.join(packages)} ({_reason(fetched)}):"
                    f" run apt-get update; if that does not help, remove {target.parent}, so that newer ones are taken"
                )
            tree = folder / "tree"
            for file in files:
                subprocess.run(["dpkg", "-x", file, tree], check=True)
            prepare(tree)
            try:
                tree.rename(target)
            except OSError:  # another edgeprof was faster
                if not target.is_dir():
                    raise

    def update(self) -> None:
        """Fetch the lists of packages.  Raises NoGuest."""
        done = self._run("apt-get", "update", "-q", "--error-on=any")
        if done.returncode:
            raise NoGuest(f"apt-get could not fetch the list of packages: {_reason(done)}")

    def own_mirror(self, codename: str) -> str | None:
        """Where a release's main packages come from; None: apt has no source of them."""
        words = ("--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
        for line in self._run("apt-get", "indextargets", *words).stdout.splitlines():
            uri, *rest = line.split()
            if rest == [codename, "main"]:
                return uri
        return None

    def _run(self, tool: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        if shutil.which(tool) is None:
            raise NoGuest("no apt here to fetch a guest's kernel: give a kernel image of your own")
        command = [tool, *self._words, *words]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, cwd=cwd, check=False)
        except subprocess.TimeoutExpired:
            raise NoGuest(f"{tool} {words[0]} did not end within {_SECONDS} s: try again") from None


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.strip().splitlines()
    return lines[0] if lines else "it gave no reason"


def suite_apt(suite: str, cache: Path) -> Apt:
    """An apt for one suite of Debian and all processors, from the mirror that this machine's own packages come from.

    The machine's packages and lists stay as they are.

    Args:
        suite: such as ``bullseye`` or ``bookworm-backports``.
        cache: its lists are kept there.

    Raises:
        NoGuest: this machine has no mirror of Debian, or the mirror does not have the suite.
    """
    folder = cache.resolve() / "apt" / suite
    apt = Apt(folder / "apt.conf")
    ready = folder / "ready"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another edgeprof may be at it
        if not ready.exists() or time.time() - ready.stat().st_mtime > _FRESH_SECONDS:
            mirror = Apt().own_mirror(codename())
            if mirror is None:
                raise NoGuest(
                    "kernels of other releases are Debian's, and this machine's apt has no source of Debian's packages:"
                    " add one, or give a kernel of your own"
                )
            for place in ("state/lists/partial", "cache/archives/partial"):
                (folder / place).mkdir(parents=True, exist_ok=True)
            (folder / "status").touch()
            keys = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
            (folder / "sources.list").write_text(f"deb {keys}{mirror} {suite} main\n")
            others = " ".join(f'"{one.debian}";' for one in ARCHITECTURES if not one.is_here)
            (folder / "apt.conf").write_text(_CONFIGURATION.format(folder=folder, own=here().debian, others=others))
            apt.update()
            ready.touch()
    return apt


def codename(release: Path = Path("/etc/os-release")) -> str:
    """Of this machine's Debian, such as ``bookworm``; empty: it is no Debian."""
    try:
        facts = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', release.read_text(), re.MULTILINE))
    except OSError:
        return ""
    return facts.get("VERSION_CODENAME", "") if facts.get("ID") == "debian" else ""
