"""The README's examples are run, not trusted."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.engine.advise import complete
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.export import export_run
from tlstudio.plugins import PluginManager, Registry
from tlstudio.store.project import Project

README = Path(__file__).parents[2] / "README.md"


def block(name: str) -> str:
    """Return the code block behind a marker."""
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_first_plugin_trains_biases_and_head_alone(shapes_project: Project, tmp_path: Path) -> None:
    source = block("example:plugin")
    assert len([line for line in source.splitlines() if line.strip()]) <= 20
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "my_bitfit.py").write_text(source, encoding="utf-8")
    manager = PluginManager(folder)
    manager.discover()
    assert manager.plugins[-1].provides == ("strategy my_bitfit",)
    values: dict[str, Any] = {
        "backbone": TINY_VISION,
        "strategy": "my_bitfit",
        "training": {"epochs": 1, "batch_size": 8},
    }
    heard = Heard()
    recipe = complete(values, shapes_project.dataset("shapes"), manager.registry)
    execute_run(recipe, shapes_project, manager.registry, on_event=heard, control=heard.control)
    ended = heard.of(RunEnded)[0]
    assert ended.status == "done", ended.error or ended.traceback


def test_the_export_example_prints_a_prediction_for_each_image(
    shapes_project: Project,
    shapes_folder: Path,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    heard = Heard()
    values = {"backbone": TINY_VISION, "strategy": "linear_probe", "training": {"epochs": 2}}
    recipe = complete(values, shapes_project.dataset("shapes"), registry)
    run = execute_run(recipe, shapes_project, registry, on_event=heard, control=heard.control)
    report = export_run(run, tmp_path / "my-model", registry, project=shapes_project)
    assert report.max_difference <= 1e-4
    shutil.copytree(shapes_folder / "circle", tmp_path / "new-photos")
    (tmp_path / "new-photos" / "broken.png").write_bytes(b"no image")
    shapes_project.close()
    monkeypatch.chdir(tmp_path)
    exec(compile(block("example:export"), "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 17
    assert printed[0].startswith("broken.png cannot be read")
    assert all(line.split()[1] in {"circle", "square", "圆环"} for line in printed[1:])
