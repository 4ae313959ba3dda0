"""Running the command line: in this process, where output and exit code are all that counts, or as a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.serving import images, made

__all__ = ["TINY", "Result", "Tlstudio", "folder", "home", "images", "made", "tlstudio", "tlstudio_process"]

TINY = ("--backbone", "test_resnet", "-o", "backbone.weights=random", "-o", "backbone.image_size=32")


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of standard output."""
        return json.loads(self.out.splitlines()[-1])


Tlstudio = Callable[..., Result]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder of its own for each test."""
    folder = tmp_path / "home of the user"
    monkeypatch.setenv("TLSTUDIO_HOME", str(folder))
    return folder


@pytest.fixture
def tlstudio(capfd: pytest.CaptureFixture[str]) -> Tlstudio:
    """Run a command in this process."""
    from tlstudio.cli.main import run

    def call(*arguments: str | Path) -> Result:
        capfd.readouterr()
        outcome = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Result(outcome.code, captured.out, captured.err)

    return call


@pytest.fixture
def tlstudio_process() -> Tlstudio:
    """Run a command as its own process, as a user does; `environment` replaces variables, `None` removes one."""

    def call(
        *arguments: str | Path, environment: dict[str, str | None] | None = None, command: tuple[str, ...] = ()
    ) -> Result:
        variables = {**os.environ, **(environment or {})}
        kept = {name: value for name, value in variables.items() if value is not None}
        words = [*(command or (sys.executable, "-m", "tlstudio")), *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, env=kept, check=False, timeout=240)
        return Result(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def folder(tmp_path: Path, tlstudio: Tlstudio, shapes_folder: Path) -> Path:
    """A project with the data set ``shapes``."""
    folder = tmp_path / "my project"
    assert tlstudio("new", folder).code == 0
    assert tlstudio("import", folder, shapes_folder, "--name", "shapes").code == 0
    return folder
