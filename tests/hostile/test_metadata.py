"""What an installed distribution says of its plugins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlstudio.plugins import PluginManager


@pytest.mark.parametrize("value", ["os; import sys:exit()", "..outside:payload", "no such module", "!"])
def test_an_entry_point_that_is_none_is_listed_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    folder = tmp_path / "evil-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n", encoding="utf-8")
    (folder / "entry_points.txt").write_text(f"[tlstudio]\nevil = {value}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    manager = PluginManager(tmp_path / "plugins")
    manager.discover()
    states = {plugin.name: plugin.state for plugin in manager.plugins}
    assert states.pop("evil") == "failed"
    assert set(states.values()) == {"ok"}
