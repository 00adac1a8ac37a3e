"""Talks to a container engine over its Unix socket (the Docker Engine API), with the standard library alone."""

import errno
import http.client
import json
import socket
from typing import Any, Optional
from urllib.parse import quote, urlencode

LABEL = "edgeprof"
"""Label of every container and volume that edgeprof makes; its value names the one who made it."""
DEFAULT_HOST = "unix:///var/run/docker.sock"


class EngineError(OSError):
    """The engine said no; ``status`` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(errno.ENOENT if status == 404 else errno.EREMOTEIO, message)
        self.status = status


def socket_of(host: str) -> str:
    """The path in an address such as ``unix:///var/run/docker.sock``.  Raises ValueError: it is no Unix socket."""
    scheme, found, path = host.partition("://")
    if scheme != "unix" or not found or not path:
        raise ValueError(host)
    return path


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket; raises OSError when nobody listens there."""

    def __init__(self, path: str, timeout: Optional[float] = 30.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError as error:
            self.close()
            reason = "the container engine at {} cannot be reached: {}".format(self._path, error.strerror or error)
            raise OSError(error.errno or errno.EIO, reason) from None


class Engine:
    """An engine behind a Unix socket; ``timeout`` bounds every answer, in seconds."""

    def __init__(self, path: str, timeout: float = 30.0) -> None:
        self.path = path
        self.timeout = timeout

    def call(self, method: str, target: str, body: Any = None, **query: str) -> Any:
        """One request with the words of its query; the answer's JSON, None where it has none.

        Raises:
            EngineError: it was refused.
            OSError: the engine cannot be reached, or does not answer in time.
        """
        connection = Connection(self.path, self.timeout)
        try:
            answer = send(connection, method, target, body, **query)
            return _content(answer.read())
        finally:
            connection.close()

    def container(self, name: str) -> Any:
        """What the engine knows of a container; None: there is none.  Raises OSError."""
        try:
            return self.call("GET", "/containers/" + quote(name) + "/json")
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    def remove_container(self, name: str) -> None:
        """Kill and remove a container with its anonymous volumes; one that is gone is removed.  Raises OSError."""
        try:
            self.call("DELETE", "/containers/" + quote(name), force="true", v="true")
        except EngineError as error:
            if error.status not in (404, 409):  # 409: its removal is under way
                raise


def send(connection: Connection, method: str, target: str, body: Any = None, **query: str) -> http.client.HTTPResponse:
    """Send a request and return the answer, not yet read.  Raises EngineError, OSError."""
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if target.endswith("/attach"):
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
    address = target + ("?" + urlencode(query) if query else "")
    try:
        connection.request(method, address, None if body is None else json.dumps(body).encode(), headers)
        answer = connection.getresponse()
    except http.client.HTTPException as error:
        raise OSError(errno.EPROTO, "the container engine's answer cannot be understood: {!r}".format(error)) from None
    if answer.status >= 400:
        found = _content(answer.read())
        message = found.get("message") if isinstance(found, dict) else None
        raise EngineError(answer.status, str(message or answer.reason))
    return answer


def _content(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8", "replace")) if raw.strip() else None
    except ValueError:
        return None
