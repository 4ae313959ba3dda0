"""A served model, asked over a real connection by friends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Tlstudio
from tests.cli.serving import Served, png, serving
from tests.conftest import import_reviews
from tests.gui.trained import QUICK
from tlstudio.cli.serve import until_stopped
from tlstudio.cli.web_model import ServedModel, model_facts
from tlstudio.cli.web_requests import read_texts
from tlstudio.cli.web_server import ModelServer
from tlstudio.engine.advise import complete
from tlstudio.engine.control import RunControl
from tlstudio.engine.execute import execute_run
from tlstudio.engine.predict import Predictor
from tlstudio.plugins import Registry
from tlstudio.selftest.material import write_encoder
from tlstudio.store.project import Project


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory, registry: Registry, reviews_csv: Path) -> Path:
    """A project with a run on texts for each task."""
    folder = tmp_path_factory.mktemp("texts")
    write_encoder(folder / "encoder")
    with Project.create(folder / "project", "Reviews") as project:
        import_reviews(project, reviews_csv, registry)
        for name in project.datasets():
            values = {
                "backbone": {"name": "auto_model", "options": {"weights": str(folder / "encoder")}},
                "strategy": "linear_probe",
                "training": QUICK,
            }
            recipe = complete(values, project.dataset(name), registry)
            execute_run(recipe, project, registry, on_event=lambda _event: None, control=RunControl())
    return folder / "project"


def files_in(folder: Path) -> dict[str, int]:
    """Everything in a folder, and when it was changed."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_an_image_gets_the_answer_of_the_predict_command(
    images: Served, made: Path, tlstudio: Tlstudio, tmp_path: Path
) -> None:
    (tmp_path / "image.png").write_bytes(png())
    told = tlstudio("predict", made / "model", tmp_path / "image.png", "--json").json
    for kind in ("image/png", "application/octet-stream", "image/jpeg; name=x"):
        status, answer = images.json("POST", "/predict", png(), Content_Type=kind)
        assert status == 200
        assert answer.keys() == told.keys()
        assert answer["predictions"][0].keys() == told["predictions"][0].keys()
        assert answer["predictions"][0]["prediction"] == told["predictions"][0]["prediction"]
        assert answer["predictions"][0]["scores"] == pytest.approx(told["predictions"][0]["scores"], abs=1e-4)
    assert list(images.temporary.glob("*/*")) == []


def test_top_tells_the_most_probable_classes_alone(images: Served) -> None:
    everything = images.json("POST", "/predict", png(), Content_Type="image/png")[1]["predictions"][0]
    two = images.json("POST", "/predict?top=2", png(), Content_Type="image/png")[1]["predictions"][0]
    assert list(two["scores"].items()) == list(everything["scores"].items())[:2]
    for wrong in ("top=0", "top=-1", "top=x", "top=1&top=2", "path=/etc/passwd", "top=1&url=http://x/", "top", "top=²"):
        status, answer = images.json(
            "POST", f"/predict?{wrong}".replace("²", "%C2%B2"), png(), Content_Type="image/png"
        )
        assert status == 400, wrong
        assert "top" in answer["error"]


def test_the_server_says_what_its_model_is(images: Served, made: Path) -> None:
    assert images.json("GET", "/health") == (200, {"status": "ok"})
    status, facts = images.json("GET", "/model")
    assert status == 200
    assert facts["task"] == "classification"
    assert facts["classes"] == ["circle", "square", "圆环"]
    assert (facts["modality"], facts["dataset"], facts["head"]) == ("image", "shapes", "classification")
    assert facts["metrics"]["test"].keys() >= {"accuracy", "loss"}
    assert str(made) not in json.dumps(facts)
    assert {**images.said, "address": "", "port": 0} == {**facts, "address": "", "port": 0}
    assert images.ask("HEAD", "/model")[2] == b""


def test_the_page_needs_nothing_from_elsewhere_and_may_load_nothing(images: Served) -> None:
    status, headers, content = images.ask("GET", "/")
    page = content.decode()
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert policy.count("'sha256-") == 2
    # Nothing that the policy would block, and no address but the name of a vocabulary.
    assert not re.search(r"\sstyle=|\son[a-z]+=|innerHTML|eval\(", page)
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme: dark" in page


def test_a_damaged_image_gets_a_sentence_and_the_next_one_an_answer(images: Served) -> None:
    whole = png(200)
    for damaged in (b"no image at all", whole[: len(whole) // 2], b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(64)):
        status, answer = images.json("POST", "/predict", damaged, Content_Type="image/png")
        assert status == 422
        assert answer["error"].startswith("The upload ")
        assert str(images.temporary) not in answer["error"]
        assert list(images.temporary.glob("*/*")) == []
    assert images.json("POST", "/predict", whole, Content_Type="image/png")[0] == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_the_example_in_the_readme_gets_answers(images: Served, tmp_path: Path) -> None:
    (tmp_path / "new.png").write_bytes(png())
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    example = re.search(r"<!-- example:serve -->\n```sh\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    asked = [line for line in example[1].splitlines() if line.startswith("curl ")]
    answers = []
    for line in asked:
        words = shlex.split(line.replace(":8765", f":{images.port}"))
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True, timeout=60)
        answers.append(json.loads(done.stdout))
    assert answers[0]["classes"] == ["circle", "square", "圆环"]
    assert len(answers[1]["predictions"][0]["scores"]) == 3


@pytest.mark.skipif(os.name == "nt", reason="there, a process cannot be sent these signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_reads_a_project_that_others_write_and_ends_without_a_trace(
    made: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder = Path(shutil.copytree(made / "project", tmp_path / "project"))
    with Project.open(folder) as project, serving(folder, "latest", home=tmp_path / "home") as served:
        assert served.said["run"] == project.runs()[0].id
        before = files_in(folder)
        assert served.json("POST", "/predict", png(), Content_Type="image/png")[0] == 200
        assert len(list(served.temporary.iterdir())) == 1
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as waiting:
            waiting.sendall(b"GET / HT")
            code, out, err = served.end(number)
        assert code == 0, err
        assert "Traceback" not in err
        assert files_in(folder) == before
        seen = out.splitlines()
        assert [line for line in seen if line.startswith("socket.")] == ["socket.bind 127.0.0.1"]
        uploads = [line for line in seen if line.startswith("written ") and str(tmp_path) in line]
        assert all(line.endswith("The upload") for line in uploads), uploads
        assert list(served.temporary.iterdir()) == []


def test_texts_are_answered_one_or_many_in_their_order(texts: Path, tlstudio: Tlstudio, tmp_path: Path) -> None:
    run = next(line["run"] for line in tlstudio("runs", texts, "--json").json["runs"] if line["dataset"] == "reviews")
    told = tlstudio("predict", texts, "--run", run, "--text", "a dull film", "--json").json["predictions"][0]
    with serving(texts, run, home=tmp_path / "home") as served:

        def ask(body: Any, path: str = "/predict") -> tuple[int, Any]:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            return served.json("POST", path, data, Content_Type="application/json; charset=utf-8")

        status, answer = ask({"text": "a dull film"})
        assert status == 200
        assert answer["predictions"][0]["scores"] == pytest.approx(told["scores"], abs=1e-4)
        status, many = ask({"texts": ["a dull film", "great acting 圆环", "", "\ud800"]}, "/predict?top=1")
        assert status == 200
        assert [item["id"] for item in many["predictions"]] == ["1", "2", "3", "4"]
        assert all(len(item["scores"]) == 1 for item in many["predictions"])
        assert many["predictions"][0]["prediction"] == told["prediction"]
        assert served.json("POST", "/predict", png(), Content_Type="image/png")[0] == 415
        wrong: list[tuple[Any, int]] = [
            ({}, 400),
            ([], 400),
            ({"text": 1}, 400),
            ({"text": None}, 400),
            ({"texts": []}, 400),
            ({"texts": "a"}, 400),
            ({"texts": ["a", 1]}, 400),
            ({"text": "a", "texts": ["b"]}, 400),
            ({"text": "a", "pair": 1}, 400),
            ({"text": "a", "pair": None}, 400),
            ({"text": "a", "pairs": ["b"]}, 400),
            ({"texts": ["a"], "pairs": ["b", "c"]}, 400),
            ({"text": "a", "pair": "b"}, 422),
            ({"path": "/etc/passwd"}, 400),
            ({"text": "a", "url": "http://x/"}, 400),
            (b"{", 400),
            (b"\xff\xfe{}", 400),
            (b"[" * 100_000, 400),
            ({"texts": ["a"] * 1001}, 413),
            ({"text": "a" * 1_000_001}, 413),
            (b" " * (2**23 + 1), 413),
        ]
        for body, expected in wrong:
            status, answer = ask(body)
            assert status == expected, (str(body)[:80], answer)
            assert "Traceback" not in answer["error"]
            assert answer["error"].endswith(".")
        assert ask({"text": "still there"})[0] == 200


def test_second_texts_stay_with_their_texts() -> None:
    assert read_texts(b'{"text": "a", "pair": "b"}') == (("a", "b"),)
    assert read_texts(b'{"texts": ["a", "b"], "pairs": ["c", "d"]}') == (("a", "c"), ("b", "d"))
    assert read_texts(b'{"texts": ["a", "b"]}') == (("a", None), ("b", None))


@pytest.mark.parametrize("task", ["regression", "multi_label"])
def test_numbers_and_sets_of_labels_are_answered_as_well(
    task: str, texts: Path, registry: Registry, tmp_path: Path
) -> None:
    with Project.open(texts, write=False) as project:
        run = next(project.run(line.id) for line in project.runs() if project.dataset(line.dataset).task == task)
        predictor = Predictor.from_run(run, registry, "cpu")
    answers: list[Any] = []
    with contextlib.closing(ModelServer(0)) as server, until_stopped():
        model = ServedModel(predictor, model_facts(predictor, run, texts), tmp_path)
        server.start(model)

        def ask() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            body = json.dumps({"text": "a dull film"})
            for request in (("GET", "/model"), ("POST", "/predict", body, {"Content-Type": "application/json"})):
                connection.request(*request)
                answers.append(json.loads(connection.getresponse().read()))
            connection.close()
            signal.raise_signal(signal.SIGINT)

        asking = threading.Thread(target=ask)
        asking.start()
        model.work()
    asking.join()
    facts, answer = answers
    assert facts["task"] == task
    said = answer["predictions"][0]
    if task == "regression":
        assert isinstance(said["prediction"], float)
        assert (said["confidence"], said["scores"], facts["classes"]) == (None, {}, [])
    else:
        assert isinstance(said["prediction"], list)
        assert said["scores"].keys() == set(facts["classes"]) == {"plot", "cast", "music"}


def test_what_cannot_be_served_is_told_in_a_sentence_before_the_model_is_loaded(
    tlstudio: Tlstudio, made: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = tlstudio("serve", tmp_path / "nothing", "--port", port, "--json")
        assert result.code == 2
        assert f"The port {port} cannot be used" in result.json["error"]
        assert "--port 0" in result.json["error"]
    for arguments, words in (
        ((tmp_path / "nothing",), "There is no folder"),
        ((made / "model", "best"), "is none"),
        ((made / "project", "no-such-run"), "no-such-run"),
        ((made / "images",), "is no exported model"),
        ((made / "model", "--port", "70000"), "70000"),
        ((made / "model", "--host", "0.0.0.0"), "No such option"),
    ):
        result = tlstudio("serve", *arguments, *(() if "--port" in arguments else ("--port", "0")))
        assert result.code == 2, result.err
        assert words in result.err
    assert not list(Path(tempfile.gettempdir()).glob("tlstudio-serve-*"))
