"""Each plugin is loaded alone: a bad one is listed with its reason, and hurts nothing else."""

from __future__ import annotations

import builtins
import importlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tlstudio.api import PluginError
from tlstudio.plugins import PluginManager, PluginRecord, Registry
from tlstudio.plugins.loading import load_plugin
from tlstudio.plugins.sources import find_sources
from tlstudio.selftest.plugin_sources import BAD_PLUGINS, BadPlugin, strategy

DEADLY = {
    "loops_at_import",
    "segfault_at_import",
    "leaves_at_import",
    "kills_itself",
    "ten_gigabytes",
    "starts_a_thread",
}
DOUBLES = {"sleeps_at_import", "vision"}  # as long as a loop; seen by the manager alone


def discover(folder: Path, disabled: tuple[str, ...] = ()) -> PluginManager:
    """Load the bundled plugins and those of a folder."""
    manager = PluginManager(folder, disabled)
    manager.discover()
    return manager


def record(manager: PluginManager, name: str) -> PluginRecord:
    """Find what became of a plugin."""
    return next(plugin for plugin in manager.plugins if plugin.name == name)


def test_the_bundled_plugins_come_through_the_entry_points_and_all_work(registry: Registry) -> None:
    assert {"image_folder", "text_table"} <= set(registry.formats)
    assert {"classification", "multi_label", "regression"} <= set(registry.heads)
    assert {"linear_probe", "partial", "gradual_unfreezing", "full", "lora"} <= set(registry.strategies)
    assert {"tf_efficientnet_lite0", "all-MiniLM-L6-v2", "resnet18"} <= set(registry.backbones)


@pytest.mark.parametrize(
    "bad",
    [bad for bad in BAD_PLUGINS if not (bad.name in DEADLY or bad.name in DOUBLES or bad.trains)],
    ids=lambda bad: bad.name,
)
def test_a_bad_plugin_is_named_with_its_reason_and_leaves_nothing_behind(bad: BadPlugin, tmp_path: Path) -> None:
    importlib.import_module("torch")  # as where the plugin is tried, if it names it
    registry = discover(tmp_path).registry
    (tmp_path / "a_good_one.py").write_text(strategy("good"), encoding="utf-8")
    bad.write(tmp_path)
    good, source = (source for source in find_sources(tmp_path) if not source.bundled)
    assert load_plugin(good, registry).provides == ("strategy good",)
    before = set(registry.strategies), Path.cwd(), builtins.open, sys.stdout, signal.getsignal(signal.SIGTERM)
    loaded = load_plugin(source, registry)
    if not bad.reason:
        assert loaded.state == "ok", loaded.error
        return
    assert loaded.state == "failed"
    assert bad.reason in loaded.error
    assert "Traceback" in loaded.traceback
    assert loaded.provides == ()
    after = set(registry.strategies), Path.cwd(), builtins.open, sys.stdout, signal.getsignal(signal.SIGTERM)
    assert after == before


def test_plugins_that_end_the_program_or_never_come_back_stop_nothing(tmp_path: Path) -> None:
    deadly = {bad.name: bad for bad in BAD_PLUGINS if bad.name in DEADLY}
    for bad in deadly.values():
        bad.write(tmp_path)
    (tmp_path / "zz_good.py").write_text(strategy("good"), encoding="utf-8")
    manager = discover(tmp_path)
    records = {plugin.name: plugin for plugin in manager.plugins}
    for name, bad in deadly.items():
        assert records[name].state == "failed"
        assert bad.reason in records[name].error
    assert records["zz_good"].provides == ("strategy good",)
    assert {plugin.state for plugin in manager.plugins if plugin.distribution} == {"ok"}
    # What ended its process, or never came back, is not tried again by itself; what merely failed is.
    assert {name for name in deadly if not records[name].remembered} == {"ten_gigabytes", "starts_a_thread"}


def test_a_plugin_of_a_bundled_ones_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vision.py").write_text(strategy("other_vision"), encoding="utf-8")
    manager = discover(tmp_path)
    bundled, other = (plugin for plugin in manager.plugins if plugin.name == "vision")
    assert bundled.state == "ok"
    assert other.state == "failed"
    assert "The plugin name 'vision' is taken" in other.error
    assert manager.registry.backbone("resnet18").title


def test_a_plugin_that_was_tried_costs_no_process_until_it_changes(tmp_path: Path) -> None:
    tally = tmp_path / "tally.txt"
    counting = f"\nwith open({str(tally)!r}, 'a') as file:\n    file.write('x')\n"
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "mine.py").write_text(strategy("mine", first=counting), encoding="utf-8")
    imports = []
    for change in ("", "", "# changed"):
        with (folder / "mine.py").open("a", encoding="utf-8") as file:
            file.write(change)
        assert record(discover(folder), "mine").state == "ok"
        imports.append(len(tally.read_text()))
    assert imports == [2, 3, 5]  # in a process and here, here, in a process and here


def test_a_plugin_that_ended_the_last_start_is_skipped_until_it_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    # Once the file is there, it ends the program: it has been tried before.
    ending = f"\nimport os\nif os.path.exists({str(tmp_path / 'now')!r}):\n    os._exit(7)\n"
    (folder / "mine.py").write_text(strategy("mine", first=ending), encoding="utf-8")
    assert record(discover(folder), "mine").state == "ok"
    (tmp_path / "now").touch()
    program = "from pathlib import Path; from tlstudio.plugins import PluginManager; "
    program += f"PluginManager(Path({str(folder)!r})).discover()"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 7
    (tmp_path / "now").unlink()
    manager = discover(folder)
    skipped = record(manager, "mine")
    assert skipped.state == "skipped"
    assert skipped.remembered
    assert "the last start ended while it was loaded" in skipped.error
    assert "mine" not in manager.registry.strategies
    assert record(discover(folder), "mine").state == "skipped"
    manager.try_again("mine")
    assert record(discover(folder), "mine").state == "ok"
    assert [path.name for path in folder.glob(".*")] == [".tried.json"]


def test_in_safe_mode_only_the_bundled_plugins_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('must not run')", encoding="utf-8")
    manager = PluginManager(tmp_path, safe_mode=True)
    manager.discover()
    assert record(manager, "mine").state == "disabled"
    assert {plugin.state for plugin in manager.plugins if plugin.distribution} == {"ok"}


def test_a_plugin_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(strategy("mine"), encoding="utf-8")
    (tmp_path / ".tried.json").mkdir()  # also refused where the tests are run by root
    assert record(discover(tmp_path), "mine").state == "ok"


def test_a_plugin_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    source = strategy("half").replace("return [Head()]", "return [Head(), 7]")
    (tmp_path / "half.py").write_text(source, encoding="utf-8")
    manager = discover(tmp_path)
    assert record(manager, "half").state == "failed"
    assert "half" not in manager.registry.strategies


def test_a_disabled_plugin_is_listed_and_not_imported(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text("raise SystemExit('must not run')", encoding="utf-8")
    manager = discover(tmp_path, disabled=("noisy",))
    assert record(manager, "noisy").state == "disabled"


def test_a_package_in_the_folder_is_a_plugin_and_hidden_files_are_not(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text(strategy("packaged"), encoding="utf-8")
    (tmp_path / ".hidden.py").write_text("raise ValueError", encoding="utf-8")
    (tmp_path / "_private.py").write_text("raise ValueError", encoding="utf-8")
    manager = discover(tmp_path)
    assert record(manager, "mine").provides == ("strategy packaged",)
    assert not {".hidden", "_private"} & {plugin.name for plugin in manager.plugins}


def test_a_family_that_fails_when_it_is_asked_hurts_no_other(tmp_path: Path) -> None:
    source = """
from tlstudio.api import BackboneFamily, hookimpl
TLSTUDIO_API = "1.0"

class Broken(BackboneFamily):
    name, title, modality = "aa_broken", "Broken", "image"
    def names(self):
        raise RuntimeError("no names")
    def get(self, name):
        raise RuntimeError("no member")

@hookimpl
def register_backbones():
    return [Broken()]
"""
    (tmp_path / "broken.py").write_text(source, encoding="utf-8")
    registry = discover(tmp_path).registry
    family = registry.families["aa_broken"]
    assert registry.members(family) == ()
    registry.remove("family timm")
    with pytest.raises(PluginError, match=r"Did you mean .*resnet18"):
        registry.backbone("resnet-18")


def test_an_unknown_name_is_answered_with_the_nearest(registry: Registry) -> None:
    with pytest.raises(PluginError, match=r"Did you mean .*linear_probe"):
        registry.strategy("linearprobe")
    with pytest.raises(PluginError, match=r"Did you mean .*resnet18"):
        registry.backbone("resnet-18")


def test_misfits_are_explained_in_sentences(registry: Registry) -> None:
    sentences = registry.why_not(
        registry.backbone("all-MiniLM-L6-v2"),
        registry.head("regression"),
        None,
        modality="image",
        task="classification",
    )
    assert sentences == [
        "all-MiniLM-L6-v2 takes texts, the data set has images.",
        "Regression solves regression, the data set is for classification.",
    ]


def test_discovering_plugins_imports_neither_torch_nor_qt() -> None:
    program = (
        "import sys; from tlstudio.plugins import PluginManager; m = PluginManager(); m.discover(); "
        "print(sorted({'torch', 'transformers', 'timm', 'torchvision', 'PySide6', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
