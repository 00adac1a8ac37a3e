"""A real S3-compatible server on loopback: OpenStack Swift (proxy, account, container and object server) with s3api.

``with serving(folder) as s3`` starts it in a process of its own; it checks signatures, and keeps objects in ``folder``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

KEY, SECRET = "desk:runs", "a-secret-of-the-test"
REGION = "us-east-1"

_PROXY = """
[DEFAULT]
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors gatekeeper s3api tempauth bulk slo proxy-server
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:s3api]
use = egg:swift#s3api
location = {region}
[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret} .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
"""
_STORAGE = """
[DEFAULT]
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""


def missing_s3() -> str | None:
    """Why no server can be started here; None when one can."""
    absent = [name for name in ("swift", "s3fs", "distributed") if find_spec(name) is None]
    return f"no {', '.join(absent)} here: make install" if absent else None


@dataclass(frozen=True)
class S3:
    """A running server."""

    port: int
    folder: Path

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """What S3 clients need to use it, and nothing of the user's own settings."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def stored(self, size: int) -> list[Path]:
        """The files in which the server itself keeps objects of that size."""
        return [path for path in self.folder.rglob("*.data") if path.stat().st_size == size]


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[S3]:
    """A server that keeps its objects below ``folder``; it ends with the block, or with this process."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield S3(int(process.stdout.readline()), folder)
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _serve(folder: Path) -> None:
    import eventlet

    eventlet.monkey_patch(os=False, thread=False)
    from eventlet import tpool, wsgi
    from swift.common import utils
    from swift.common.ring import RingBuilder
    from swift.common.wsgi import loadapp

    utils.HASH_PATH_SUFFIX, utils.HASH_PATH_PREFIX = b"edgeprof", b""
    (folder / "devices" / "disk").mkdir(parents=True)
    quiet = logging.getLogger("quiet")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    listeners = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in ("account", "container", "object", "proxy")}
    for kind in ("account", "container", "object"):
        host, port = listeners[kind].getsockname()
        ring = RingBuilder(4, 1, 1)
        ring.add_dev({"region": 1, "zone": 1, "weight": 1.0, "ip": host, "port": port, "device": "disk"})
        ring.rebalance()
        ring.get_ring().save(str(folder / f"{kind}.ring.gz"))
        (folder / f"{kind}.conf").write_text(_STORAGE.format(folder=folder, kind=kind))
    user = KEY.replace(":", "_")
    (folder / "proxy.conf").write_text(_PROXY.format(folder=folder, user=user, secret=SECRET, region=REGION))
    for kind, listener in listeners.items():
        app = loadapp(str(folder / f"{kind}.conf"), global_conf={"log_name": kind})
        eventlet.spawn(wsgi.server, listener, app, quiet)
    print(listeners["proxy"].getsockname()[1], flush=True)
    tpool.execute(sys.stdin.buffer.read)  # until whoever started it closes it, or ends


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
