"""A served model, asked by web pages of others and by broken programs."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cli.serving import Served, png
from tlstudio.api import RunError
from tlstudio.cli.web_model import ServedModel
from tlstudio.cli.web_server import ModelServer


def test_a_request_that_names_a_file_or_an_address_opens_neither(images: Served, made: Path) -> None:
    image = next((made / "images" / "circle").iterdir())
    for body in ({"path": str(image)}, {"url": image.as_uri()}, {"text": str(image)}):
        status, answer = images.json("POST", "/predict", json.dumps(body), Content_Type="application/json")
        assert status == 415
        assert "send the image file itself" in answer["error"]
    for name in (str(image), image.as_uri(), "http://127.0.0.1/x.png"):
        assert images.json("POST", "/predict", name.encode(), Content_Type="image/png")[0] == 422
    for path in (f"/{image}", "/../../etc/passwd", "/..%2f..%2fetc/passwd", f"/model{image}", "/page.html"):
        assert images.json("GET", path)[0] == 404


def test_what_is_wrong_with_a_request_is_said_before_its_body_is_read(images: Served) -> None:
    cases: list[tuple[str, str, dict[str, str], int]] = [
        ("GET", "/nowhere", {}, 404),
        ("GET", "http://elsewhere.example/model", {}, 404),
        ("GET", "/predict", {}, 405),
        ("POST", "/model", {"Content-Length": "0"}, 405),
        ("OPTIONS", "/predict", {}, 405),
        ("TRACE", "/", {}, 405),
        ("INVENTED", "/", {}, 405),
        ("POST", "/predict", {"Content-Length": "9"}, 415),
        ("POST", "/predict", {"Content-Type": "text/html", "Content-Length": "9"}, 415),
        ("POST", "/predict", {"Content-Type": "image/png"}, 411),
        ("POST", "/predict", {"Content-Type": "image/png", "Transfer-Encoding": "chunked"}, 411),
        ("POST", "/predict", {"Content-Type": "image/png", "Content-Length": "0"}, 400),
        ("POST", "/predict", {"Content-Type": "image/png", "Content-Length": "-1"}, 400),
        ("POST", "/predict", {"Content-Type": "image/png", "Content-Length": "1_0"}, 400),
        ("POST", "/predict", {"Content-Type": "image/png", "Content-Length": str(2**26 + 1)}, 413),
        ("POST", "/predict", {"Content-Type": "image/png", "Content-Length": "9" * 5000}, 413),
    ]
    for method, path, headers, status in cases:
        lines = [f"{method} {path} HTTP/1.1", f"Host: localhost:{images.port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        answer = images.raw("\r\n".join([*lines, "", ""]).encode())
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), (method, path, headers, answer)
        sentence = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert sentence.endswith(".")
        assert (b"\r\nAllow: " in answer) == (status == 405)


def test_a_body_that_is_too_large_is_refused_and_the_client_hears_it(images: Served) -> None:
    status, answer = images.json("POST", "/predict", bytes(2**26 + 1), Content_Type="image/png")
    assert status == 413
    assert "64 MiB" in answer["error"]


def test_only_this_machine_by_its_own_name_and_no_foreign_page_gets_an_answer(images: Served) -> None:
    port = images.port
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", f"LOCALHOST:{port}"):
        assert images.json("GET", "/health", Host=host)[0] == 200
        assert images.json("GET", "/health", Host=host, Origin=f"http://{host}")[0] == 200
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "localhost",
        "localhost:1",
        f"127.0.0.1.evil.example:{port}",
        "",
    ):
        assert images.json("GET", "/model", Host=host)[0] == 403, host
    for origin in ("http://evil.example", "null", f"https://localhost:{port}", "http://localhost:1", ""):
        status, answer = images.json("POST", "/predict", png(), Content_Type="image/png", Origin=origin)
        assert status == 403, origin
        assert "other sites" in answer["error"]
    assert b" 400 " in images.raw(b"GET / HTTP/1.1\r\n\r\n")
    assert b" 400 " in images.raw(f"GET / HTTP/1.1\r\nHost: localhost:{port}\r\nHost: evil\r\n\r\n".encode())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_requests_at_the_same_time_are_all_answered_alike(images: Served) -> None:
    answers: list[tuple[int, Any]] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(images.json("POST", "/predict", png(), Content_Type="image/png"))
        )
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers] == [200] * 12
    assert all(answer == answers[0][1] for _, answer in answers)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\x00\xff\x16\x03\x01" * 50 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/x\r\n\r\n",
        b"GET / / / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 2**17 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 2**17 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 5000,
        b"GET / HTTP/1.1\r\nno colon at all\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost:PORT\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nshort",
    ],
)
def test_garbage_gets_a_sentence_at_most_and_the_server_goes_on(images: Served, data: bytes) -> None:
    answer = images.raw(data.replace(b"PORT", str(images.port).encode()))
    if data.startswith(b"GET /aaaa"):
        assert answer.startswith(b"HTTP/1.1 414 ")
    if answer:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505"))
        assert json.loads(body).keys() == {"error"}
    assert images.json("GET", "/health")[0] == 200


def test_slow_and_silent_clients_keep_nobody_waiting(images: Served) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: localhost:{images.port}\r\nContent-Type: image/png\r\n"
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", images.port), timeout=60)) for _ in range(6)]
        for connection, data in zip(slow, (b"", b"GET / HT", b"GET / HTTP/1.1\r\nX: ", b"", b"", b""), strict=True):
            connection.sendall(data)
        slow[5].sendall(f"{head}Content-Length: 99\r\n\r\nbegun".encode())
        assert images.json("POST", "/predict", png(), Content_Type="image/png")[0] == 200
        # The head has its time as a whole, however it is stretched: this one is sent on and on.
        answer = b""
        with contextlib.suppress(ConnectionError):
            slow[2].settimeout(0.5)
            while not answer:
                slow[2].sendall(b"a")
                with contextlib.suppress(TimeoutError):
                    answer = slow[2].recv(65536)
        assert b" 408 " in answer
        for silent in slow[:2]:
            assert b" 408 " in silent.recv(65536)


@pytest.mark.skipif(sys.platform == "win32", reason="there, a port is taken as soon as it is bound")
def test_a_port_that_another_program_takes_while_the_model_is_loaded_is_told_in_a_sentence() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with contextlib.closing(ModelServer(port)) as server:
            other.listen()
            with pytest.raises(RunError, match=rf"The port {port} cannot be used"):
                server.start(ServedModel.__new__(ServedModel))


def test_too_many_connections_are_told_so_and_leave_room_again(images: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(32):
            stack.enter_context(socket.create_connection(("127.0.0.1", images.port), timeout=60))
        assert b" 503 " in images.raw(b"")
    for _ in range(200):
        if images.ask("GET", "/health")[0] == 200:
            break
    else:
        pytest.fail("no room again")


def test_a_body_is_asked_for_only_when_it_will_be_taken(images: Served) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: localhost:{images.port}\r\nContent-Type: image/png\r\n"
    head += "Expect: 100-continue\r\n"
    image = png()
    with socket.create_connection(("127.0.0.1", images.port), timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: {len(image)}\r\n\r\n".encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(image)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert images.raw(f"{head}Content-Length: 999999999\r\n\r\n".encode()).startswith(b"HTTP/1.1 413 ")
