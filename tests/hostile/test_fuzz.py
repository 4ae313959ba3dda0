"""A short while of fuzzing; ``tests/hostile/fuzz.py`` says how to do it for long."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = 1000
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="The fuzzer is for Linux.")
@pytest.mark.parametrize("target", ["recipe.toml", "recipe.json", "tlstudio.json", "run.json", "target.json", "event"])
def test_nothing_but_sentences_comes_out_of_a_reader(target: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.hostile.fuzz", target, str(tmp_path), f"-runs={RUNS}", "-seed=1"]
    # A process takes over the highest memory of the one that starts it, and libFuzzer has a limit: a shell between
    # the two, which forks, has little of it.
    shell = ["sh", "-c", '"$@" & wait $!', "sh"]
    result = subprocess.run([*shell, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    done = re.search(r"number_of_executed_units: (\d+)", result.stderr)
    assert done is not None
    assert int(done[1]) >= RUNS
