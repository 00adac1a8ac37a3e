"""The agent's zipapp as a desk calls it, but without a connection: each command is a process on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprof.profiler.agent.undo import clean
from edgeprof.profiler.board import zipapp

QUICK = ["procfs", "cgroup", "self"]


@dataclass
class Agent:
    """An agent with places of its own below ``base``; ``prefix`` and ``python`` say where and by what it runs."""

    base: Path
    prefix: Sequence[str] = ()
    python: str = sys.executable
    inside: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.zipapp = self.base / "agent.pyz"
        zipapp.write(self.zipapp)
        for name in ("locks", "state"):
            (self.base / name).mkdir(exist_ok=True)

    @property
    def home(self) -> Path:
        return self.base / "home"

    def job(self, name: str) -> Path:
        """A job's folder."""
        return self.home / "jobs" / name

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command; ``inside`` is where ``base`` is for it."""
        base = self.inside or str(self.base)
        places = {
            "EDGEPROF_BOARD_HOME": f"{base}/home",
            "EDGEPROF_BOARD_LOCKS": f"{base}/locks",
            "EDGEPROF_STATE": f"{base}/state",
        }
        command = [*self.prefix, self.python, "-I", "-B", f"{base}/agent.pyz", *words]
        environment = {**os.environ, **places, **self.variables}
        environment.pop("PYTHONPATH", None)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, **{**pipes, **options})

    def raw(self, *words: str, stdin: bytes = b"") -> bytes:
        """What a command prints; it must end well or with an error line, and say nothing else."""
        with self.popen(*words) as process:
            output, errors = process.communicate(stdin, timeout=60)
        assert process.returncode in (0, 3), errors.decode()
        assert errors == b"", errors.decode()
        return output

    def lines(self, *words: str, stdin: bytes = b"") -> list[Any]:
        """A command's answer, a value for each line."""
        return [json.loads(line) for line in self.raw(*words, stdin=stdin).splitlines()]

    def call(self, *words: str, request: object = None) -> dict[str, Any]:
        """A command's only line."""
        stdin = b"" if request is None else json.dumps(request).encode() + b"\n"
        (answer,) = self.lines(*words, stdin=stdin)
        assert isinstance(answer, dict)
        return answer

    def start(self, job: str, *command: str, wait: float = 0, cwd: str | None = None, **spec: Any) -> dict[str, Any]:
        """Start a job with the quick collectors."""
        return self.call("start", request=self.request(job, *command, wait=wait, cwd=cwd, **spec))

    def request(
        self, job: str, *command: str, wait: float = 0, cwd: str | None = None, **spec: Any
    ) -> dict[str, object]:
        """What `start` reads."""
        spec = {"collect": QUICK, **spec, "command": list(command)}
        return {"job": job, "spec": spec, "cwd": cwd, "owner": "tester@desk", "wait": wait}

    def run(self, job: str, *command: str, **spec: Any) -> dict[str, Any]:
        """Start a job and wait for its end; its state."""
        assert self.start(job, *command, **spec) == {"job": job}
        return self.call("wait", job)

    def fetch(self, job: str, *wanted: tuple[str, int]) -> list[tuple[dict[str, Any], bytes]]:
        """Parts of a job's files: path and offset -> the line that announces it, and its bytes."""
        requests = "".join(json.dumps({"path": path, "offset": offset}) + "\n" for path, offset in wanted)
        return parts(self.raw("send", job, stdin=requests.encode()))

    def send_folder(self, name: str, files: dict[str, bytes], stream: bytes | None = None) -> list[Any]:
        """Sync files; ``stream`` in the place of the right tar stream of them."""
        if stream is None:
            stream = tar_of(files)
        return self.lines("receive", name, stdin=json.dumps(announced(files)).encode() + b"\n" + stream)

    def close(self) -> None:
        """End what a failed test left."""
        clean(str(self.base / "state"), kill=True)


def announced(files: dict[str, bytes]) -> dict[str, Any]:
    """What `receive` reads first."""
    return {
        "files": [
            {
                "path": path,
                "size": len(content),
                "mode": 0o755 if path.endswith(".sh") else 0o644,
                "mtime_ns": 1_700_000_000_000_000_000 + len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for path, content in files.items()
        ]
    }


def tar_of(files: dict[str, bytes], **changes: Any) -> bytes:
    """A tar stream of files; ``changes`` are attributes of all its members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            for name, value in changes.items():
                setattr(member, name, value)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def parts(stream: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """What `send` and `follow` print, taken apart."""
    found = []
    while stream:
        line, _, stream = stream.partition(b"\n")
        head = json.loads(line)
        size = int(head.get("size", 0))
        assert len(stream) >= size
        found.append((head, stream[:size]))
        stream = stream[size:]
    return found
