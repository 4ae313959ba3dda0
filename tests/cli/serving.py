"""A model served by a real process, for the tests of ``tlstudio serve``."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import draw_folder
from tests.gui.trained import import_shapes, tiny_recipe
from tlstudio.engine.control import RunControl
from tlstudio.engine.execute import execute_run
from tlstudio.engine.export import export_run
from tlstudio.plugins import Registry
from tlstudio.store.project import Project

SERVE = """
import sys

seen = []


def look(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        seen.append(f"{event} {arguments[1:]}")
    if event == "socket.bind":
        seen.append(f"{event} {arguments[1][0]}")
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append(f"written {arguments[0]}")


sys.addaudithook(look)
from tlstudio.__main__ import main

seen.clear()
code = main(["serve", *sys.argv[1:]])
assert not [name for name in sys.modules if name.startswith(("PySide6", "shiboken6", "pyqtgraph"))]
print("\\n".join(sorted(set(seen))))
sys.exit(code)
"""


@dataclass(frozen=True)
class Served:
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    said: dict[str, Any]
    temporary: Path

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.said["port"])

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Send a request as a client library does; ``_`` in a header's name stands for ``-``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): said for name, said in headers.items()})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def json(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Send a request and read the JSON that comes back."""
        status, answered, content = self.ask(method, path, body, **headers)
        assert answered["Content-Type"] == "application/json"
        assert not [name for name in answered if name.startswith("Access-Control")]
        return status, json.loads(content)

    def raw(self, data: bytes) -> bytes:
        """Send bytes and read all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            with contextlib.suppress(ConnectionError):  # it need not take everything
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(65536):
                    answer += piece
            return answer

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """End it as a user does."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err


@contextlib.contextmanager
def serving(*arguments: str | Path, home: Path) -> Iterator[Served]:
    """Serve a model while the block runs."""
    temporary = home / "temporary"
    temporary.mkdir(parents=True)
    variables = {**os.environ, "TLSTUDIO_HOME": str(home), "TMPDIR": str(temporary), "TEMP": str(temporary)}
    command = [sys.executable, "-c", SERVE, *map(str, arguments), "--port", "0", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables, encoding="utf-8"
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first, process.communicate()[1]
            yield Served(process, json.loads(first), temporary)
        finally:
            process.kill()


def png(size: int = 48) -> bytes:
    """A small image."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), "teal").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    """A project with a run on images, and its model exported beside it."""
    folder = tmp_path_factory.mktemp("served")
    images = draw_folder(folder / "images", 12)
    with Project.create(folder / "project", "Shapes") as project:
        import_shapes(project, images, registry)
        recipe = tiny_recipe(project, registry)
        run = execute_run(recipe, project, registry, on_event=lambda _event: None, control=RunControl())
        export_run(run, folder / "model", registry, project=project)
    return folder


@pytest.fixture(scope="session")
def images(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The exported image model, served for all tests that do not end it."""
    with serving(made / "model", home=tmp_path_factory.mktemp("home")) as served:
        yield served
