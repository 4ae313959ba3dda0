"""What is looked at before anything heavy is loaded: folders of the user, the network, the display."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

DEBIAN_PACKAGES = {
    "libegl1": "libEGL.so.1",
    "libgl1": "libGL.so.1",
    "libfontconfig1": "libfontconfig.so.1",
    "libglib2.0-0": "libglib-2.0.so.0",
    "libxkbcommon0": "libxkbcommon.so.0",
    "libx11-6": "libX11.so.6",
}
"""Debian package -> library that Qt needs on any display."""

DEBIAN_XCB_PACKAGES = {
    "libx11-xcb1": "libX11-xcb.so.1",
    "libxcb-cursor0": "libxcb-cursor.so.0",
    "libxcb-icccm4": "libxcb-icccm.so.4",
    "libxcb-image0": "libxcb-image.so.0",
    "libxcb-keysyms1": "libxcb-keysyms.so.1",
    "libxcb-randr0": "libxcb-randr.so.0",
    "libxcb-render-util0": "libxcb-render-util.so.0",
    "libxcb-render0": "libxcb-render.so.0",
    "libxcb-shape0": "libxcb-shape.so.0",
    "libxcb-shm0": "libxcb-shm.so.0",
    "libxcb-sync1": "libxcb-sync.so.1",
    "libxcb-util1": "libxcb-util.so.1",
    "libxcb-xfixes0": "libxcb-xfixes.so.0",
    "libxcb-xkb1": "libxcb-xkb.so.1",
    "libxkbcommon-x11-0": "libxkbcommon-x11.so.0",
}
"""Debian package -> library that Qt needs for a window of the X server; without one of them it aborts."""

NO_WINDOW = "The command line needs no display: tlstudio demo --headless, or tlstudio --help."


def stay_offline(environment: MutableMapping[str, str]) -> None:
    """Keep the libraries from asking a model hub, unless the user has said otherwise in the environment."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        environment.setdefault(name, "1")


def share_the_cores(environment: MutableMapping[str, str]) -> None:
    """Let torch's threads sleep while they wait for each other, unless the environment says otherwise.

    By default they spin. Where the window, a loader or another program wants the same cores, each step then waits for
    a thread that is not running: on two busy cores a step took three to six times as long.
    """
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("GOMP_SPINCOUNT", "0")


def trust_no_folder(environment: MutableMapping[str, str]) -> None:
    """Have the processes that this one starts import nothing from the folder in which the studio was started.

    A ``torch.py`` among a user's own scripts would be run instead of the library.
    """
    environment.setdefault("PYTHONSAFEPATH", "1")


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that are freed, up to 1 GB, instead of handing each back to the system.

    torch on the CPU allocates and frees the same large blocks in every layer; the page faults of getting them anew
    cost half of the throughput of a small convolutional network. Does nothing elsewhere than on Linux with glibc.
    """
    if sys.platform != "linux":
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD in malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**30)


def user_folder() -> Path:
    """Folder of the user's own things for the studio: ``TLSTUDIO_HOME``, or the usual place of the system."""
    if home := os.environ.get("TLSTUDIO_HOME"):
        return Path(home).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("tlstudio", appauthor=False))


def plugins_folder() -> Path:
    """Folder of drop-in plugins; it may be missing."""
    return user_folder() / "plugins"


def enter_safe_mode(environment: MutableMapping[str, str]) -> None:
    """Have this process, and those that it starts, load only the plugins that come with the studio."""
    environment["TLSTUDIO_SAFE_MODE"] = "1"


def is_safe_mode(environment: Mapping[str, str]) -> bool:
    """Whether only the plugins that come with the studio are to be loaded."""
    return environment.get("TLSTUDIO_SAFE_MODE", "") not in ("", "0")


def disabled_plugins(folder: Path | None = None) -> frozenset[str]:
    """Names of the plugins that the user has switched off; none if the file is missing or damaged.

    Args:
        folder: The user's folder; the usual one if `None`.
    """
    try:
        names = json.loads(_disabled_file(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return frozenset()
    return frozenset(str(name) for name in names) if isinstance(names, list) else frozenset()


def set_plugin_disabled(name: str, disabled: bool, folder: Path | None = None) -> None:
    """Switch a plugin off or on; it counts from the next start.

    Args:
        name: Its name.
        disabled: Whether it is off.
        folder: The user's folder; the usual one if `None`.

    Raises:
        OSError: The file cannot be written.
    """
    names = set(disabled_plugins(folder))
    (names.add if disabled else names.discard)(name)
    path = _disabled_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".new")
    staged.write_text(json.dumps(sorted(names), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    staged.replace(path)


def _disabled_file(folder: Path | None) -> Path:
    return (folder or user_folder()) / "disabled_plugins.json"


def why_no_window(
    environment: Mapping[str, str],
    *,
    platform: str = sys.platform,
    can_load: Callable[[str], bool] | None = None,
    answers: Callable[[str], bool] | None = None,
) -> str:
    """Say in a sentence why Qt could not show a window here, since Qt itself would only abort.

    Args:
        environment: The environment variables.
        platform: As in `sys.platform`; only Linux is looked at.
        can_load: Whether a shared library can be loaded.
        answers: Whether an X server answers at a display such as ``":0"``.

    Returns:
        The sentence, or ``""`` if nothing is in the way.
    """
    if not platform.startswith("linux"):
        return ""
    can_load, answers = can_load or can_load_library, answers or x_server_answers
    chosen = environment.get("QT_QPA_PLATFORM", "").split(":")[0].split(";")[0]
    display, wayland = environment.get("DISPLAY", ""), environment.get("WAYLAND_DISPLAY", "")
    if not (chosen or display or wayland):
        return f"There is no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set). {NO_WINDOW}"
    on_x = chosen == "xcb" or (not chosen and not wayland)
    wanted = DEBIAN_PACKAGES | (DEBIAN_XCB_PACKAGES if on_x else {})
    missing = [package for package, library in wanted.items() if not can_load(library)]
    if missing:
        return (
            f"The window needs system libraries that are missing here; on Debian and Ubuntu install them with: "
            f"sudo apt-get install {' '.join(missing)}. {NO_WINDOW}"
        )
    if on_x and not answers(display):
        return f"No X server answers at the display {display!r} (variable DISPLAY). {NO_WINDOW}"
    return ""


def can_load_library(name: str) -> bool:
    """Whether the system's loader finds a shared library and all that it needs."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def x_server_answers(display: str) -> bool:
    """Whether a connection to an X server can be made and is let in."""
    xcb = ctypes.CDLL("libxcb.so.1")
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connect.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    xcb.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
    xcb.xcb_disconnect.argtypes = [ctypes.c_void_p]
    connection = xcb.xcb_connect(os.fsencode(display), None)
    try:
        return bool(xcb.xcb_connection_has_error(connection) == 0)
    finally:
        xcb.xcb_disconnect(connection)
