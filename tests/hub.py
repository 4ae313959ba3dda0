"""A model hub on this machine: the part of its interface that a download needs, over folders of files."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves the folder ``root/ORG/NAME`` as the repository ``ORG/NAME``.

    Attributes:
        root: The repositories.
        asked: Path and ``Range`` of each request.
        claimed: Sizes that the hub tells of files, where they are not the real ones.
        claimed_hash: Hash that it tells of weights, if it is not the real one.
        tokens: What has come with each request to show who asks.
        hold_at: Byte of the weights at which it waits until `go_on` is set.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.asked: list[tuple[str, str]] = []
        self.claimed: dict[str, int] = {}
        self.claimed_hash = ""
        self.tokens: list[str] = []
        self.hold_at: int | None = None
        self.go_on = threading.Event()

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def files(self) -> list[str]:
        """Names of the files that were asked for."""
        return [path.rpartition("/")[2] for path, _ in self.asked if "/resolve/" in path]

    def handle_error(self, request: object, client_address: object) -> None:
        """A download that was cancelled is no error of the hub's."""


@contextmanager
def running_hub(root: Path) -> Iterator[Hub]:
    """Serve repositories while the block runs."""
    with Hub(root) as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hub
        finally:
            hub.go_on.set()
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((path, self.headers.get("Range", "")))
        self.server.tokens.append(self.headers.get("Authorization", ""))
        if path.startswith("/api/models/"):
            name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            self._tell(name, revision)
        else:
            name, _, file = path[1:].partition(f"/resolve/{COMMIT}/")
            self._send_file(self.server.root / name / file)

    def _tell(self, name: str, revision: str) -> None:
        folder = self.server.root / name
        if name.startswith("private/"):
            self._refuse(401, "")
        elif name.startswith("gated/"):
            self._refuse(403, "GatedRepo")
        elif not folder.is_dir():
            self._refuse(404, "RepoNotFound")
        elif revision not in ("", "main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        else:
            files = [self._told(file, folder) for file in sorted(folder.rglob("*")) if file.is_file()]
            told = {"id": name, "sha": COMMIT, "private": False, "siblings": files}
            self._send(json.dumps(told).encode(), 200, {"Content-Type": "application/json"})

    def _told(self, file: Path, folder: Path) -> dict[str, object]:
        data, name = file.read_bytes(), file.relative_to(folder).as_posix()
        size = self.server.claimed.get(name, len(data))
        told: dict[str, object] = {"rfilename": name, "size": size, "blobId": hashlib.sha1(data).hexdigest()}
        if file.suffix == ".safetensors":
            told["lfs"] = {
                "size": size,
                "sha256": self.server.claimed_hash or hashlib.sha256(data).hexdigest(),
                "pointerSize": 130,
            }
        return told

    def _send_file(self, file: Path) -> None:
        if not file.is_file():
            self._refuse(404, "EntryNotFound")
            return
        data = file.read_bytes()
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        self._send(data[begin:], 206 if begin else 200, headers, held=file.suffix == ".safetensors")

    def _refuse(self, status: int, code: str) -> None:
        self._send(b'{"error": "no"}', status, {"X-Error-Code": code} if code else {})

    def _send(self, data: bytes, status: int, headers: dict[str, str], *, held: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        at = self.server.hold_at if held else None
        if at is not None and not self.server.go_on.is_set():
            self.wfile.write(data[:at])
            self.wfile.flush()
            self.server.go_on.wait()
            data = data[at:]
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  named so by the library
        """Keep quiet."""
