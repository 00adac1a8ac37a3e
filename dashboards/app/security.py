"""Who may ask the server for what: the token, the names it answers to, where a POST may come from, and the headers.

The threats: another machine on the network; a page of another origin that the same browser has open and that sends
requests here (CSRF) or gives its own name this address (DNS rebinding); text in a run that gets into a page as script.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report.text import clean

if TYPE_CHECKING:
    from flask import Flask, Response

_log = logging.getLogger(__name__)

TOKEN = "token"  # noqa: S105  (the parameter's name)
MOST_BYTES = 1 << 20
"""Of a request's body: a callback's state is a few addresses."""

_DASH = ("/_dash-layout", "/_dash-dependencies", "/_dash-component-suites/", "/_dash-update-component", "/assets/")
_ANY = "/<path:path>"
"""Dash's answer to any other path is the page's frame."""
_SIGN_IN = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>edgeprof</title>
<h1>This dashboard asks for its token</h1><p>Open the address that <code>edgeprof dashboard</code> printed: its token
stands in it. If this browser has shown it before, <a href="">go on</a>.</p></html>"""
"""The link is for who follows one from another site: the browser keeps the cookie back then, but not from here."""


@dataclass(frozen=True)
class Access:
    """What the server asks of a request.

    Attributes:
        token: what a browser must have shown once, and other programs with each request; None for none, which is for
            a server that only this machine can reach.
    """

    token: str | None = None

    @property
    def cookie(self) -> str:
        """The cookie's name: of this token, since ports of one machine share their cookies."""
        return "edgeprof-" + hashlib.sha256((self.token or "").encode()).hexdigest()[:12]

    def is_token(self, text: str | None) -> bool:
        """Whether a text is the token, told in a time that does not depend on where they differ."""
        return self.token is not None and hmac.compare_digest((text or "").encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means this machine alone."""
    name = host.strip("[]").rstrip(".").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def protect(server: Flask, access: Access, pages: Collection[str], own: Sequence[str], hashes: Sequence[str]) -> None:
    """Let a server answer only what it should, and say in each answer what the browser may do with it.

    Args:
        pages: paths of pages.
        own: how other paths begin that the application serves.
        hashes: of the inline scripts that Dash's page needs (``Dash.csp_hashes``).
    """
    from flask import request
    from werkzeug.exceptions import HTTPException

    server.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    server.url_map.merge_slashes = False  # a redirect to //name would leave this server
    checks: Sequence[Callable[[Access], Any]] = (_name, _method, _origin, _identity)

    @server.before_request
    def check() -> Any:
        if request.path not in pages and (request.endpoint == _ANY or not request.path.startswith((*_DASH, *own))):
            return _refusal(404, "there is no such page")
        return next((answer for answer in (check(access) for check in checks) if answer is not None), None)

    @server.errorhandler(Exception)
    def tell(error: Exception) -> Any:
        if isinstance(error, HTTPException):
            return _refusal(error.code or 500, (error.name or "error").lower())
        _log.warning("a request was not answered (%s: %s)", type(error).__name__, clean(error)[:300])
        _log.debug("the reason", exc_info=error)
        return _refusal(400, "this request is not understood")

    policy = (
        f"default-src 'none'; script-src 'self' {' '.join(hashes)}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )

    @server.after_request
    def add_headers(response: Response) -> Response:
        headers = response.headers
        headers["Content-Security-Policy"] = policy
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "DENY"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cross-Origin-Opener-Policy"] = "same-origin"
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        if not request.path.startswith("/_dash-component-suites/"):
            headers["Cache-Control"] = "no-store"
        return response


def _name(access: Access) -> Any:
    """Without a token the server answers only to this machine's loopback names: a foreign name that leads here is an
    attack.  With one, the cookie is bound to the name that it was given under."""
    from flask import request

    host = urlsplit(f"//{request.host}").hostname or ""
    if access.token is None and not is_loopback(host):
        return _refusal(421, "this server answers to localhost only; start it with --host to reach it by another name")
    return None


def _method(access: Access) -> Any:
    from flask import request

    if request.method in ("GET", "HEAD") or (request.method == "POST" and request.path == "/_dash-update-component"):
        return None
    return _refusal(405, "this is asked for by GET")


def _origin(access: Access) -> Any:
    """A POST comes from a page of this server; browsers say where from, and other programs have no need to."""
    from flask import request

    if request.method != "POST":
        return None
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "same-origin")
    if origin != f"{request.scheme}://{request.host}" or site != "same-origin":
        return _refusal(403, "this request comes from another origin")
    if request.mimetype != "application/json":
        return _refusal(415, "this is asked for in JSON")
    return None


def _identity(access: Access) -> Any:
    """The token as a cookie; or in the address once, which sets the cookie; or as a bearer token, for programs."""
    from flask import make_response, redirect, request

    if access.token is None:
        return None
    if access.is_token(request.cookies.get(access.cookie)) or access.is_token(_bearer()):
        return None
    if request.method == "GET" and access.is_token(request.args.get(TOKEN)):
        parameters = [(name, value) for name, value in request.args.items(multi=True) if name != TOKEN]
        answer = make_response(redirect(View("/" + request.path.lstrip("/"), tuple(parameters)).href, 303))
        answer.set_cookie(access.cookie, access.token, httponly=True, samesite="Strict", path="/")
        return answer
    return make_response(_SIGN_IN, 401)


def _bearer() -> str | None:
    from flask import request

    kind, _, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if kind.lower() == "bearer" else None


def _refusal(status: int, sentence: str) -> Any:
    from flask import make_response

    answer = make_response(f"edgeprof: {sentence}\n", status)
    answer.mimetype = "text/plain"
    return answer
