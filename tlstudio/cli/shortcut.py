"""An entry in the start menu: written here for Linux, through pyshortcuts for Windows and macOS."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tlstudio.api import TLStudioError
from tlstudio.startup import user_folder

NAME = "TL Studio"
COMMENT = "Transfer learning on your own images and texts"
ICON_SIZES = (16, 32, 48, 64, 128, 256, 512)
RECORD_NAME = "shortcut.json"


def install() -> list[Path]:
    """Put the studio of this environment into the start menu; an entry that is there is replaced.

    Returns:
        What was written.

    Raises:
        TLStudioError: A folder cannot be written, or the system offers no such thing.
    """
    uninstall()
    created: list[Path] = []
    try:
        if sys.platform.startswith("linux"):
            _install_linux(_data_home(os.environ), launcher(), created)
        else:
            created += _install_elsewhere()
    except OSError as error:
        _remove(created)
        raise TLStudioError(
            f"The shortcut could not be written: {error.strerror or error} ({error.filename}).", path=error.filename
        ) from error
    record = user_folder() / RECORD_NAME
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps([str(path) for path in created], indent=2), encoding="utf-8")
    return [path for path in created if path.is_file() or path.suffix == ".app"]


def uninstall() -> list[Path]:
    """Remove exactly what `install` has written, folders that it made and that are empty now included.

    Returns:
        What was removed; empty if nothing was installed.
    """
    record = user_folder() / RECORD_NAME
    try:
        written = [Path(text) for text in json.loads(record.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []
    removed = _remove(written)
    record.unlink()
    return removed


def launcher() -> list[str]:
    """The command that starts the studio of this environment."""
    script = Path(sysconfig.get_path("scripts")) / "tlstudio"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "tlstudio"]


def icon_path(name: str) -> Path:
    """An icon that comes with the studio, such as ``"tlstudio.svg"``."""
    return Path(str(resources.files("tlstudio_resources"))) / "icons" / name


def desktop_entry(command: Sequence[str]) -> str:
    """Write a desktop entry (freedesktop.org Desktop Entry Specification).

    Args:
        command: The program and its arguments; a project folder that is dropped on the icon is added.
    """
    return "\n".join(
        [
            "[Desktop Entry]",
            "Type=Application",
            "Version=1.0",
            f"Name={NAME}",
            "GenericName=Transfer Learning",
            "GenericName[de]=Transferlernen",
            "GenericName[zh_CN]=迁移学习",
            f"Comment={COMMENT}",
            "Comment[de]=Modelle mit eigenen Bildern und Texten trainieren",
            "Comment[zh_CN]=用您自己的图像和文本训练模型",
            f"Exec={exec_value([*command])} %f",
            "Icon=tlstudio",
            "Terminal=false",
            "StartupNotify=true",
            "StartupWMClass=tlstudio",
            "Categories=Science;ArtificialIntelligence;",
            "Keywords=machine learning;deep learning;classification;fine-tuning;neural network;",
            "",
        ]
    )


def exec_value(command: Sequence[str]) -> str:
    r"""Quote a command for the Exec key.

    Each argument is quoted where it has to be, with ``" ` $ \`` escaped inside; then backslashes are doubled once more,
    as in every value of a desktop entry, and ``%``, which would begin a field code, is doubled.
    """
    quoted = []
    for argument in command:
        escaped = "".join(f"\\{char}" if char in '"`$\\' else char for char in argument)
        plain = argument and not any(char in " \t\n\"'\\><~|&;$*?#()`" for char in argument)
        quoted.append((argument if plain else f'"{escaped}"').replace("\\", "\\\\").replace("%", "%%"))
    return " ".join(quoted)


def _data_home(environment: Mapping[str, str]) -> Path:
    """``$XDG_DATA_HOME``, which counts only if it is absolute (XDG Base Directory Specification)."""
    path = Path(environment.get("XDG_DATA_HOME", ""))
    return path if path.is_absolute() else Path.home() / ".local" / "share"


def _install_linux(data_home: Path, command: Sequence[str], created: list[Path]) -> None:
    icons = data_home / "icons" / "hicolor"
    for size in ICON_SIZES:
        target = icons / f"{size}x{size}" / "apps" / "tlstudio.png"
        _write(target, icon_path(f"tlstudio-{size}.png").read_bytes(), created)
    _write(icons / "scalable" / "apps" / "tlstudio.svg", icon_path("tlstudio.svg").read_bytes(), created)
    os.utime(icons)  # tells a desktop that caches icons to look again (Icon Theme Specification)
    entry = desktop_entry(command).encode("utf-8", "surrogateescape")
    _write(data_home / "applications" / "tlstudio.desktop", entry, created)


def _write(path: Path, data: bytes, created: list[Path]) -> None:
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir()
        created.append(folder)
    path.write_bytes(data)
    created.append(path)


def _install_elsewhere() -> list[Path]:
    """Windows: start menu and desktop. macOS: Applications, or the desktop where that may not be written."""
    import pyshortcuts

    make: Callable[..., Any] | None = pyshortcuts.make_shortcut
    if make is None:
        raise TLStudioError(f"Shortcuts cannot be made on {sys.platform}.", "Start the studio with: tlstudio.")
    common: dict[str, Any] = {"name": NAME, "description": COMMENT, "terminal": False}
    if sys.platform == "win32":
        # The windowed Python, so that no console opens; "-m tlstudio" has no path in which a space could be split.
        python = Path(sys.executable).with_name("pythonw.exe")
        made = make("-m tlstudio", executable=str(python), icon=str(icon_path("tlstudio.ico")), **common)
        return [Path(folder) / made.target for folder in (made.desktop_dir, made.startmenu_dir)]
    python_in_shell = shlex.quote(sys.executable)
    icon = str(icon_path("tlstudio.icns"))
    try:
        made = make("-m tlstudio", executable=python_in_shell, icon=icon, desktop=False, macos_app=True, **common)
        return [Path("/Applications") / made.target]
    except PermissionError:
        made = make("-m tlstudio", executable=python_in_shell, icon=icon, **common)
        return [Path(made.desktop_dir) / made.target]


def _remove(paths: Sequence[Path]) -> list[Path]:
    import shutil

    removed = []
    for path in reversed(paths):  # files before the folders that were made for them
        with contextlib.suppress(OSError):
            if path.suffix == ".app":
                shutil.rmtree(path)
            elif path.is_dir():
                path.rmdir()
            else:
                path.unlink()
            removed.append(path)
    return removed
