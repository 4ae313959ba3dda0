"""``tlstudio plugins`` and ``--safe-mode``, as the processes that a user starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import Tlstudio
from tlstudio import startup
from tlstudio.selftest.plugin_sources import BAD_PLUGINS
from tlstudio.store.project import Project


@pytest.fixture
def plugins_folder(home: Path) -> Path:
    folder = home / "plugins"
    folder.mkdir(parents=True)
    return folder


def write(names: set[str], folder: Path) -> None:
    for bad in BAD_PLUGINS:
        if bad.name in names:
            bad.write(folder)


def test_what_a_plugin_prints_does_not_spoil_the_output_and_one_that_ended_can_be_tried_again(
    plugins_folder: Path, tlstudio_process: Tlstudio
) -> None:
    write({"prints", "leaves_at_import"}, plugins_folder)
    listed = tlstudio_process("plugins", "--json")
    assert listed.code == 0
    assert len(listed.out.splitlines()) == 1
    assert listed.err.count("spoiled") == 2
    assert "tlstudio plugins --try-again leaves_at_import" in listed.err
    states = {plugin["name"]: plugin["state"] for plugin in listed.json["plugins"]}
    assert states["prints"] == "ok"
    assert states["leaves_at_import"] == "failed"


def test_in_safe_mode_a_command_loads_only_the_bundled_plugins(
    plugins_folder: Path, tlstudio_process: Tlstudio
) -> None:
    write({"raises_at_import", "prints"}, plugins_folder)
    listed = tlstudio_process("--safe-mode", "plugins", "--json")
    assert listed.code == 0
    assert listed.json["safe_mode"]
    assert {plugin["state"] for plugin in listed.json["plugins"] if not plugin["distribution"]} == {"disabled"}
    assert "Safe mode" in listed.err


def test_safe_mode_holds_for_the_processes_that_are_started() -> None:
    environment: dict[str, str] = {}
    assert not startup.is_safe_mode(environment)
    startup.enter_safe_mode(environment)
    assert startup.is_safe_mode(environment)


def test_a_plugin_is_tried_again_when_asked(plugins_folder: Path, tlstudio: Tlstudio) -> None:
    write({"leaves_at_import"}, plugins_folder)
    assert "ends the program" in tlstudio("plugins").out
    assert "leaves_at_import" in (plugins_folder / ".tried.json").read_text()
    (plugins_folder / ".tried.json").write_text(
        (plugins_folder / ".tried.json").read_text().replace("ends the program", "was bad once")
    )
    assert "was bad once" in tlstudio("plugins").out
    assert "ends the program" in tlstudio("plugins", "--try-again", "leaves_at_import").out


def test_of_a_run_whose_plugin_is_gone_the_missing_wheel_is_named(tmp_path: Path, tlstudio: Tlstudio) -> None:
    with Project.create(tmp_path / "birds", "Birds") as project:
        names: dict[str, Any] = {"backbone": "resnet18", "head": "classification", "strategy": "hatch"}
        recipe = "".join(f'[{section}]\nname = "{name}"\n' for section, name in names.items())
        run = project.new_run(recipe, dataset="photos", revision="r1", **names)
        plugin = {"plugin": "nests", "distribution": "tlstudio-birds", "version": "1.2", "file": "birds"}
        run.write_json("environment.json", {"plugins": {"strategy": plugin}})
        run.finish("done")
    shown = tlstudio("runs", tmp_path / "birds", run.id, "--json")
    assert shown.code == 0
    assert "the package tlstudio-birds 1.2, which is not loaded here" in shown.json["missing"][0]
    Image.new("RGB", (8, 8)).save(tmp_path / "bird.png")
    predicted = tlstudio("predict", tmp_path / "birds", tmp_path / "bird.png", "--run", run.id)
    assert predicted.code == 2
    assert "pip install tlstudio-birds==1.2" in predicted.err


def test_the_selftest_of_plugins_survives(tlstudio: Tlstudio) -> None:
    tried = tlstudio("selftest", "--only", "plugins", "--count", "2", "--seed", "37", "--json")
    assert tried.code == 0, tried.err
    assert [(row["check"], row["tried"], row["survived"]) for row in tried.json["checks"]] == [("plugins", 2, 2)]
