"""Which plugins the user has switched off: a small file, read before plugins are looked for."""

from __future__ import annotations

import json
from pathlib import Path

from tlstudio.startup import user_folder


def _file(folder: Path | None) -> Path:
    return (folder or user_folder()) / "disabled_plugins.json"


def disabled_plugins(folder: Path | None = None) -> frozenset[str]:
    """Return the names of plugins that are not to be loaded; none if the file is missing or damaged.

    Args:
        folder: The user's folder for the studio.
    """
    try:
        names = json.loads(_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return frozenset()
    return frozenset(str(name) for name in names) if isinstance(names, list) else frozenset()


def set_plugin_disabled(name: str, disabled: bool, folder: Path | None = None) -> None:
    """Switch a plugin off or on; it counts from the next start.

    Args:
        name: Its name.
        disabled: Whether it is off.
        folder: The user's folder for the studio.
    """
    names = set(disabled_plugins(folder))
    (names.add if disabled else names.discard)(name)
    path = _file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".new")
    staged.write_text(json.dumps(sorted(names), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    staged.replace(path)
