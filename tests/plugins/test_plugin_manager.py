"""Each plugin is loaded alone: a bad one is listed with its reason, and hurts nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tlstudio.api import API_VERSION, PluginError
from tlstudio.plugins import PluginManager, PluginRecord, Registry

GOOD = f'''
from tlstudio.api import FineTuningStrategy, hookimpl
TLSTUDIO_API = "{API_VERSION}"

class Frozen(FineTuningStrategy):
    name, title, description = "NAME", "Frozen", "Learns nothing but the head."
    def prepare(self, model, options):
        model.backbone.requires_grad_(False)
    def param_groups(self, model, options, *, learning_rate, weight_decay):
        return []

@hookimpl
def register_strategies():
    return [Frozen()]
'''

BAD = {
    "raises_at_import": ("raise ValueError('boom')", "ValueError: boom"),
    "syntax_error": ("def broken(:", "SyntaxError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "missing_module": ("import a_module_that_nobody_has", "ModuleNotFoundError"),
    "no_api": ("x = 1", "does not say which plugin interface"),
    "newer_api": ("TLSTUDIO_API = '2.0'", "was written for plugin interface 2.0"),
    "newer_minor": ("TLSTUDIO_API = '1.99'", "was written for plugin interface 1.99"),
    "odd_api": ("TLSTUDIO_API = 'new'", "is not of the form"),
    "taken_name": (GOOD.replace("NAME", "full"), "'full' is taken"),
    "no_list": (
        f"from tlstudio.api import hookimpl\nTLSTUDIO_API = '{API_VERSION}'\n"
        "@hookimpl\ndef register_backbones(): return 3",
        "must return a list",
    ),
    "no_component": (
        f"from tlstudio.api import hookimpl\nTLSTUDIO_API = '{API_VERSION}'\n"
        "@hookimpl\ndef register_task_heads(): return [object()]",
        "is no backbone, task head, strategy or data set format",
    ),
    "raises_at_register": (
        f"from tlstudio.api import hookimpl\nTLSTUDIO_API = '{API_VERSION}'\n"
        "@hookimpl\ndef register_task_heads(): raise OSError('no disk')",
        "OSError: no disk",
    ),
    "unknown_hook": (
        f"from tlstudio.api import hookimpl\nTLSTUDIO_API = '{API_VERSION}'\n"
        "@hookimpl\ndef register_everything(): return []",
        "register_everything",
    ),
}


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


@pytest.mark.parametrize("name", BAD)
def test_a_bad_plugin_is_named_with_its_reason_and_the_good_ones_still_work(name: str, tmp_path: Path) -> None:
    source, reason = BAD[name]
    (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    (tmp_path / "zz_good.py").write_text(GOOD.replace("NAME", "from_a_file"), encoding="utf-8")
    manager = discover(tmp_path)
    bad = record(manager, name)
    assert bad.state == "failed"
    assert reason in bad.error
    assert "Traceback" in bad.traceback
    assert bad.provides == ()
    assert record(manager, "zz_good").provides == ("strategy from_a_file",)
    assert manager.registry.strategy("full").title
    assert all(plugin.state == "ok" for plugin in manager.plugins if plugin.name != name)


def test_a_plugin_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    source = GOOD.replace("NAME", "half").replace("return [Frozen()]", "return [Frozen(), 7]")
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
    (tmp_path / "mine" / "__init__.py").write_text(GOOD.replace("NAME", "packaged"), encoding="utf-8")
    (tmp_path / ".hidden.py").write_text("raise ValueError", encoding="utf-8")
    (tmp_path / "_private.py").write_text("raise ValueError", encoding="utf-8")
    manager = discover(tmp_path)
    assert record(manager, "mine").provides == ("strategy packaged",)
    assert not {".hidden", "_private"} & {plugin.name for plugin in manager.plugins}


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
