"""Secrets, the user's name and home stay out of logs, reports, run folders and bug messages."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.cli.main import run as run_command
from tlstudio.engine.advise import complete
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.executors import execute_in_process
from tlstudio.plugins import PluginManager
from tlstudio.privacy import CleanStream, without_secrets
from tlstudio.store.project import Project

# Put together here, so that no scanner takes the tests for a leak.
HF = "hf_" + "AbCdEfGhIjKlMnOpQrSt"
GITHUB = "ghp_" + "A1b2C3d4E5f6G7h8I9j0"
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0" + ".c2lnbmF0dXJl"
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\nABCD\n-----END RSA " + "PRIVATE KEY-----"

LEAKS = [
    (f"hub said 401 to {HF}", HF),
    (f"remote {GITHUB}!", GITHUB),
    (f"aws_access_key_id = {AWS}", AWS),
    (f"a bare {AWS}, in passing", AWS),
    (f"cookie set: {JWT}", JWT),
    (f"key file:\n{PEM}\nend", "MIIEow"),
    (PEM.partition("-----END")[0], "ABCD"),
    ("cannot reach https://ada:hunter2@hub.example/models?x=1", "hunter2"),
    ("cannot reach https://ada:hun%40ter2@hub.example", "ter2"),
    ("postgresql+psycopg://ada:hunter2@db/x", "hunter2"),
    ("GET https://hub.example/m?rev=1&token=abc123def&x=2 failed", "abc123def"),
    ("https://s3.example/m?X-Amz-Signature=0a1b2c3d&X-Amz-Credential=abcd%2F2026", "0a1b2c3d"),
    ("https://s3.example/m?X-Amz-Signature=0a1b2c3d&X-Amz-Credential=abcd%2F2026", "abcd%2F2026"),
    ("https://hub.example/back#access_token=abc123def", "abc123def"),
    ("https://hub.example/back?api-key=abc123def", "abc123def"),
    ("https://hub.example/back?key=abc123def", "abc123def"),
    ("{'Authorization': 'Bearer abc.def-123456'}", "abc.def-123456"),
    ("Authorization: Basic YWRhOmh1bnRlcjI=", "YWRhOmh1bnRlcjI="),
    ("sent with bearer abcdef123456789", "abcdef123456789"),
    ("Cookie: session=abc123; x=1", "abc123"),
    ("HF_TOKEN=abc123def456", "abc123def456"),
    ("aws_secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
    ('login(token="correct horse")', "correct horse"),
    ("{'password': 'hunter2 and more'}", "hunter2"),
    ('"api_key": "correct horse"', "correct horse"),
    ("MY_API_KEY is plain-value-7 here", "plain-value-7"),
    ("escaped as plain%2Dvalue%2F8 in an address", "plain%2Dvalue%2F8"),
    ("the cookie of-the-session", "of-the-session"),
    ("as Python writes it: 'pa\"ss\\\\wo\\nrd1'", "wo"),
    ('as JSON writes it: "pa\\"ss\\\\wo\\nrd1"', "wo"),
    ("Basic YWRhOmh1bnRlcjI=", "YWRhOmh1bnRlcjI="),
    ("curl -u ada:hunter22 https://hub.example", "hunter22"),
    ("tool --password hunter2hunter --verbose", "hunter2hunter"),
    ("tool --api-key=abcdefgh", "abcdefgh"),
    ("password=correcthorse", "correcthorse"),
    ("password = p@ss!word1234", "word1234"),
    ("password=$ecret123!", "ecret123"),
    ('{"password": "ab\\"cd123ef"}', "cd123ef"),
    ("{'password': b'hunter22222'}", "hunter22222"),
    ("postgres://ada:pa/ss1234@host/db", "ss1234"),
    ("https://ada:pa#ss1234@host/db", "ss1234"),
    ("AIza" + "SyA1234567890abcdefghijklmnopqrstuv", "SyA123"),
    ("npm_" + "abcdefghijklmnopqrstuvwxyz0123456789", "abcdefgh"),
    ("pypi-" + "AgEIcHlwaS5vcmcCJGFiY2RlZg0000000000000", "AgEIcH"),
    ("sk_live_" + "abcdefghijklmnop1234", "abcdefgh"),
    ("AccountKey=abcdefghijklmnop1234567890==;EndpointSuffix", "abcdefgh"),
    ("https://hooks.slack.com" + "/services/T00/B00/XXXXXXXXXXXX1", "XXXXXX"),
    ("/data/ada_2026/x.png", "ada"),
    ("C:\\Users\\Ada\\x.png", "Ada"),
    ("/home/ada/birds/a.png", "ada"),
    ("file:///home/ada/birds/a.png", "ada"),
    ("opened by ada on monday", "ada"),
]
ENVIRONMENT = {
    "MY_API_KEY": "plain-value-7",
    "OTHER_SECRET": "plain%2Dvalue/8".replace("%2D", "-"),
    "SESSION_COOKIE": "of-the-session",
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "ODD_PASSWORD": 'pa"ss\\wo\nrd1',
    "GIT_AUTHOR_PASS": "true",
}
KEPT = [
    "pad_token_id = self.tokenizer.pad_token_id if pad is None else pad",
    "max_tokens: 128, num_tokens=2048, tokens = batch['tokens']",
    "token = tokenizer.convert_ids_to_tokens(ids[0])",
    'File "/usr/lib/python3/site-packages/torch/nn/modules/module.py", line 1553, in _call_impl',
    "https://pytorch.org/docs/stable/notes/cuda.html#memory-management?x=1&size=3",
    "RuntimeError: mat1 and mat2 shapes cannot be multiplied (8x512 and 256x3)",
    "KeyError: 'backbone.layer4.1.conv2.weight'",
    "the basic probability of true and false, C.UTF-8 in /usr/bin:/bin",
    "/home/adamant/birds, adam and adagio, the armada",
    "basic configuration; --tokenizer fast; password: none; http://127.0.0.1:8765/predict and me@example.org",
    "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
]


@pytest.fixture
def ada(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be somebody with a home and secrets."""
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USERPROFILE", "/home/ada")
    monkeypatch.setattr("getpass.getuser", lambda: "ada")


@pytest.mark.parametrize(("text", "secret"), LEAKS)
def test_a_secret_is_left_out(ada: None, text: str, secret: str) -> None:
    clean = without_secrets(text, {**ENVIRONMENT, "OTHER_SECRET": "plain%2Dvalue%2F8"})
    assert secret not in clean
    assert "<secret>" in clean or "~" in clean or "<user>" in clean
    assert without_secrets(clean, ENVIRONMENT) == clean


@pytest.mark.parametrize("text", KEPT)
def test_what_is_needed_to_mend_a_bug_is_kept(ada: None, text: str) -> None:
    assert without_secrets(text, ENVIRONMENT) == text


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece", ["a", "a.", "token=", "https://", "a@", "?key=", "a:", "=1", "'", "bearer ", "-eyJaaaaaaaa", "token  \n"]
)
def test_a_long_text_takes_no_time_on_end(ada: None, piece: str) -> None:
    without_secrets(piece * (100_000 // len(piece)), ENVIRONMENT)


def test_the_log_keeps_secrets_out_of_tracebacks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from tlstudio.gui.log_files import FORMAT, CleanFormatter

    monkeypatch.setenv("HF_TOKEN", "not-to-be-told")
    try:
        raise ValueError("the hub refuses not-to-be-told")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "sent %s", (HF,), sys.exc_info())
    line = CleanFormatter(FORMAT).format(record)
    assert "Traceback" in line
    assert "not-to-be-told" not in line
    assert HF not in line


def test_what_is_printed_in_pieces_is_known_as_a_line() -> None:
    raw = io.BytesIO()
    plain = io.TextIOWrapper(raw, encoding="utf-8")
    stream = CleanStream(plain)
    print("password:", "'hunter2 and more'", file=stream)
    print("half done", end="\r", file=stream)
    assert raw.getvalue().decode().splitlines() == ["password: <secret>", "half done"]
    print("token =", "abc123def456", end="", file=stream)
    stream.flush()
    assert b"token" not in raw.getvalue()
    print(file=stream)
    assert raw.getvalue().decode().splitlines()[-1] == "token = <secret>"


def test_a_private_key_is_left_out_although_it_is_printed_line_by_line() -> None:
    raw = io.BytesIO()
    plain = io.TextIOWrapper(raw, encoding="utf-8")
    stream = CleanStream(plain)
    for line in ("before", *PEM.splitlines(), "behind"):
        print(line, file=stream, flush=True)
    assert raw.getvalue().decode().splitlines() == ["before", "<secret>", "behind"]


def test_what_has_no_line_end_is_written_when_the_program_ends(tmp_path: Path) -> None:
    setup = "import sys; from tlstudio.privacy import CleanStream; sys.stdout = CleanStream(sys.stdout)"
    code = f"{setup}; print('x' * 9, end='')"
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "x" * 9


@pytest.mark.timeout(60)
def test_many_pieces_without_a_line_end_take_no_time_on_end_and_little_memory() -> None:
    raw = io.BytesIO()
    plain = io.TextIOWrapper(raw, encoding="utf-8")
    stream = CleanStream(plain)
    for _ in range(300_000):
        stream.write(".")
    assert 200_000 < len(raw.getvalue()) < 300_000


@pytest.fixture
def leaking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PluginManager:
    """A strategy that says a secret wherever it can."""
    monkeypatch.setenv("HF_TOKEN", "not-to-be-told")
    monkeypatch.setenv("TLSTUDIO_HOME", str(tmp_path / "home"))
    plugins = tmp_path / "home" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "leaking.py").write_text(
        """
import os
from tlstudio.api import FineTuningStrategy, hookimpl
TLSTUDIO_API = "1.0"

class Leaking(FineTuningStrategy):
    name, title, description = "leaking", "Leaking", "Says what it should not."
    def prepare(self, model, options):
        if model.head.training and os.environ.get("LEAK"):
            print("printed", os.environ["HF_TOKEN"])
            raise ValueError(f"the hub refuses {os.environ['HF_TOKEN']} at https://ada:hunter2@hub.example")
    def param_groups(self, model, options, *, learning_rate, weight_decay):
        from tlstudio.api.nn import ParamGroup
        return [ParamGroup("all", list(model.parameters()), learning_rate, weight_decay)]

@hookimpl
def register_strategies():
    return [Leaking()]
""",
        encoding="utf-8",
    )
    manager = PluginManager(plugins)
    manager.discover()
    return manager


@pytest.mark.parametrize("executor", [execute_run, execute_in_process], ids=["thread", "process"])
def test_no_file_of_a_run_tells_a_secret(
    executor: object, shapes_project: Project, leaking: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"backbone": TINY_VISION, "strategy": "leaking", "training": {"epochs": 1, "threads": 1}}
    recipe = complete(values, shapes_project.dataset("shapes"), leaking.registry)
    monkeypatch.setenv("LEAK", "1")
    heard = Heard()
    run = executor(recipe, shapes_project, leaking.registry, on_event=heard, control=heard.control)  # type: ignore[operator]
    ended = heard.of(RunEnded)[-1]
    assert ended.status == "failed"
    assert "the hub refuses <secret>" in ended.error
    assert "leaking.py" in ended.traceback
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert {"environment.json", "events.jsonl", "run.json"} <= {path.name for path in files}
    for path in files:
        data = path.read_bytes()
        assert b"not-to-be-told" not in data, path
        assert b"hunter2" not in data, path
    if executor is execute_in_process:
        assert "printed <secret>" in (run.folder / "output.log").read_text(encoding="utf-8")


def test_a_bug_on_the_command_line_tells_no_secret(
    leaking: PluginManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home" / "plugins" / "buggy.py").write_text(
        """
import os
from tlstudio.api import DatasetFormat, Options, hookimpl
TLSTUDIO_API = "1.0"

class Buggy(DatasetFormat):
    name, title, description, modality = "buggy", "Buggy", "Says what it should not.", "text"
    def detect(self, path):
        return 1.0
    def preview(self, path, options):
        raise ValueError(f"no {os.environ['HF_TOKEN']}")
    def read(self, path, options, task):
        raise ValueError(f"no {os.environ['HF_TOKEN']}")

@hookimpl
def register_dataset_formats():
    return [Buggy()]
""",
        encoding="utf-8",
    )
    assert run_command(["new", str(tmp_path / "project")]).code == 0
    capfd.readouterr()
    outcome = run_command(["import", str(tmp_path / "project"), str(tmp_path), "--format", "buggy", "--json"])
    said = capfd.readouterr()
    assert outcome.code == 1
    assert "no <secret>" in said.err
    assert "no <secret>" in said.out
    assert "not-to-be-told" not in said.err + said.out


def test_the_page_of_plugins_shows_no_secret_of_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "not-to-be-told")
    (tmp_path / "failing.py").write_text("import os\nraise ValueError('no ' + os.environ['HF_TOKEN'])\n")
    manager = PluginManager(tmp_path)
    manager.discover()
    record = next(plugin for plugin in manager.plugins if plugin.state == "failed")
    assert "no <secret>" in record.error
    assert "no <secret>" in record.traceback
