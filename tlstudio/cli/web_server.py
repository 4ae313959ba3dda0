"""The server of one model for the programs on this machine.

It is made of the standard library's `socketserver` and `http.server`, weighed against starlette on uvicorn. Those are
made for many clients and bring four more packages; but the limits that matter here - a deadline for a slow request,
a body that is refused before it is read, few bodies in memory at a time - would have to be written on top of them just
as well, and an event loop would have to share the one thread in which the model may work. Each connection carries one
request, so there is nothing to confuse between two.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import click

from tlstudio import __version__
from tlstudio.api import RunError
from tlstudio.cli.output import plain
from tlstudio.cli.web_model import ServedModel
from tlstudio.cli.web_requests import Question, RequestError, body_size, check_caller, read_texts, read_top
from tlstudio.privacy import without_secrets

ADDRESS = "127.0.0.1"
HEAD_SECONDS = 5.0
"""In this time a request's head must have come."""
BODY_SECONDS = 30.0
"""In this time its body must have come, and a place for it be free."""
SEND_SECONDS = 10.0
"""In this time a client must have taken its answer."""
_REST_SECONDS = 2.0  # so long, what a client still sends is thrown away: closing earlier could lose it the answer
_MOST_CONNECTIONS = 32
_MOST_BODIES = 4  # in memory at a time
_MOST_LINE = 2**16

_SENTENCES = {
    HTTPStatus.BAD_REQUEST: "This is no HTTP request that can be understood.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The address of the request is too long.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The headers of the request are too long or too many.",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
}
_ALWAYS = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    b'{"error": "Too many requests are under way; try again in a moment."}'
)


class ModelServer(socketserver.ThreadingTCPServer):
    """Listens on this machine alone, from `start` on.

    The port is taken at once, so that one on which a program listens is told before a model is loaded. `socketserver`
    is used rather than `http.server.HTTPServer` because the latter looks its own name up in the network.

    Args:
        port: The port; 0: a free one.

    Raises:
        RunError: The port cannot be had.
    """

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"  # there, two programs could then listen on one port
    request_queue_size = _MOST_CONNECTIONS
    model: ServedModel

    def __init__(self, port: int) -> None:
        super().__init__((ADDRESS, port), _Request, bind_and_activate=False)
        self._connections = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self.bodies = threading.BoundedSemaphore(_MOST_BODIES)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="server", daemon=True)
        try:
            self.server_bind()
        except OSError as error:
            self.server_close()
            raise _no_port(port, error) from error

    @property
    def port(self) -> int:
        """The port."""
        return int(self.socket.getsockname()[1])

    @property
    def address(self) -> str:
        """What to type into a browser."""
        return f"http://{ADDRESS}:{self.port}"

    @cached_property
    def page(self) -> bytes:
        """The page for a browser."""
        return (resources.files("tlstudio_resources") / "serve" / "page.html").read_bytes()

    @cached_property
    def page_policy(self) -> str:
        """Let the page run its own script and style and ask this server; nothing else."""
        own = {}
        for tag in ("script", "style"):
            found = re.search(f"<{tag}>(.*?)</{tag}>".encode(), self.page, re.DOTALL)
            digest = hashlib.sha256(found[1] if found else b"").digest()
            own[tag] = f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'"
        return f"{_NOTHING}; {own['script']}; {own['style']}; connect-src 'self'; img-src blob:; media-src blob:"

    def start(self, model: ServedModel) -> None:
        """Listen, in threads of its own.

        Raises:
            RunError: Another program has begun to listen on the port in the meantime.
        """
        self.model = model
        try:
            self.server_activate()
        except OSError as error:
            raise _no_port(self.port, error) from error
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        if self._thread.is_alive():
            self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as it is declared
        """Give a connection a thread, unless there are too many."""
        if not self._connections.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.send(_BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # there was no thread to be had
            self._connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as it is declared
        """Answer it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  as it is declared
        """Say what went wrong where the server was started; a client that has gone is nothing to tell."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            _tell()


def _tell() -> None:
    """Say where the server was started what has gone wrong."""
    click.echo(without_secrets(traceback.format_exc()), err=True)


def _no_port(port: int, error: OSError) -> RunError:
    return RunError(
        f"The port {port} cannot be used: {(error.strerror or str(error)).rstrip('.').lower()}.",
        "Give another one with --port, or --port 0 to take a free one.",
        field="port",
    )


class _Incoming(io.RawIOBase):
    """What a client sends, up to a deadline: a timeout for each piece could be stretched without end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = time.monotonic() + HEAD_SECONDS

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  any writable buffer
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Request(BaseHTTPRequestHandler):
    """One request on a connection of its own."""

    server: ModelServer
    server_version = f"TLStudio/{__version__}"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # an answer always has a status line

    def setup(self) -> None:
        super().setup()
        self._incoming = _Incoming(self.connection)
        self.rfile = io.BufferedReader(self._incoming)
        self._all_read = False
        # The standard library sets these when it has read the first line, and asks for them in every answer.
        self.command, self.requestline, self.request_version = "", "", self.protocol_version

    def handle(self) -> None:
        """Answer it, with a sentence if it cannot be."""
        try:
            self._handle()
        except RequestError as refusal:
            self._send_json(refusal.status, {"error": refusal.sentence}, refusal.headers)
        except TimeoutError:
            self._send_json(HTTPStatus.REQUEST_TIMEOUT, {"error": "The request took too long to arrive."})
        except ConnectionError:
            return
        except Exception:  # noqa: BLE001  a bug, in a plugin perhaps; the server goes on
            _tell()
            sentence = "The model failed on this; the terminal in which tlstudio serve runs says more."
            self._send_json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": sentence})
        if not self._all_read:
            self._take_the_rest()

    def _handle(self) -> None:
        self.raw_requestline = self.rfile.readline(_MOST_LINE + 1)
        if len(self.raw_requestline) > _MOST_LINE:
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
        elif self.raw_requestline and self.parse_request():
            self._all_read = not any(name in self.headers for name in ("Content-Length", "Transfer-Encoding"))
            check_caller(self.headers, self.server.port)
            self._find_route()()

    def _find_route(self) -> Callable[[], None]:
        routes = {
            "/": {"GET": self._page},
            "/health": {"GET": lambda: self._send_json(HTTPStatus.OK, {"status": "ok"})},
            "/model": {"GET": lambda: self._send_json(HTTPStatus.OK, self.server.model.facts)},
            "/predict": {"POST": self._predict},
        }
        methods = routes.get(self.path.partition("?")[0])
        if methods is None:
            raise RequestError(HTTPStatus.NOT_FOUND, f"There is nothing here; there are: {', '.join(routes)}.")
        route = methods.get("GET" if self.command == "HEAD" else self.command)
        if route is None:
            allowed = " or ".join(methods)
            raise RequestError(
                HTTPStatus.METHOD_NOT_ALLOWED, f"This address takes {allowed} alone.", {"Allow": allowed}
            )
        return route

    def _page(self) -> None:
        page = self.server.page
        self._send(
            HTTPStatus.OK, page, "text/html; charset=utf-8", {"Content-Security-Policy": self.server.page_policy}
        )

    def _predict(self) -> None:
        model, query = self.server.model, urlsplit(self.path).query
        top = read_top(query)
        size = body_size(self.headers, model.modality)
        self._incoming.deadline = time.monotonic() + BODY_SECONDS
        if not self.server.bodies.acquire(timeout=BODY_SECONDS):
            sentence = "Too many requests are under way; try again in a moment."
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, sentence, {"Retry-After": "1"})
        try:
            body = self._read_body(size)
            if model.modality in ("image", "audio"):
                question = Question(file=body, top=top)
            else:
                question = Question(texts=read_texts(body), top=top)
            answer = model.ask(question)
        finally:
            self.server.bodies.release()
        self._send_json(HTTPStatus.OK, answer)

    def _read_body(self, size: int) -> bytes:
        self._incoming.deadline = time.monotonic() + BODY_SECONDS
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.connection.settimeout(SEND_SECONDS)
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
        body = self.rfile.read(size)
        if len(body) < size:
            raise RequestError(HTTPStatus.BAD_REQUEST, "The body ended before it had the length that was announced.")
        self._all_read = True
        return body

    def handle_expect_100(self) -> bool:
        """Ask for the body only when it is clear that it will be taken."""
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the standard library finds wrong, in our form; its own words would repeat the request."""
        status = HTTPStatus(code)
        self._send_json(status, {"error": _SENTENCES.get(status, _SENTENCES[HTTPStatus.BAD_REQUEST])})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401  as it is declared
        """Keep no record of requests."""

    def _send_json(
        self, status: HTTPStatus, values: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        text = json.dumps(plain(values), ensure_ascii=False, allow_nan=False)
        policy = {"Content-Security-Policy": _NOTHING}
        self._send(status, text.encode("utf-8", "replace"), "application/json", {**policy, **(headers or {})})

    def _send(self, status: HTTPStatus, body: bytes, kind: str, headers: Mapping[str, str]) -> None:
        with contextlib.suppress(OSError):  # the client has gone, or takes nothing
            self.connection.settimeout(SEND_SECONDS)
            self.send_response(status)
            length = str(len(body))
            for name, value in {"Content-Type": kind, "Content-Length": length, **_ALWAYS, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def _take_the_rest(self) -> None:
        """Throw away what a refused client still sends: closing on it would reset the connection and the answer."""
        self._incoming.deadline = time.monotonic() + _REST_SECONDS
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while self.rfile.read1(_MOST_LINE):
                pass
