"""What is looked at before Qt starts, and what needs neither Qt nor torch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Tlstudio
from tlstudio import startup

NO_DISPLAY = {"DISPLAY": None, "WAYLAND_DISPLAY": None, "QT_QPA_PLATFORM": None}
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")

can_show_windows = pytest.mark.skipif(
    startup.why_no_window({"DISPLAY": ":0"}, answers=lambda _display: True) != "",
    reason="system libraries that a window needs are missing here, which is told before a display is asked",
)


@linux_only
@pytest.mark.parametrize("arguments", [[], ["."], ["demo"], ["--safe-mode", "."]])
def test_without_a_display_one_sentence_says_so(tlstudio_process: Tlstudio, arguments: list[str]) -> None:
    result = tlstudio_process(*arguments, environment=NO_DISPLAY)
    assert result.code == 2
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert "There is no display" in result.err
    assert "tlstudio demo --headless" in result.err


@linux_only
@can_show_windows
def test_a_window_on_a_display_that_does_not_answer_ends_with_its_name(tlstudio_process: Tlstudio) -> None:
    result = tlstudio_process(environment=NO_DISPLAY | {"DISPLAY": ":9876"})
    assert result.code == 2
    assert "No X server answers at the display ':9876'" in result.err
    assert "Traceback" not in result.err


@linux_only
def test_a_display_that_does_not_answer_is_named() -> None:
    assert not startup.x_server_answers(":9876")
    sentence = startup.why_no_window({"DISPLAY": ":9876"}, can_load=lambda _name: True)
    assert "No X server answers at the display ':9876'" in sentence


def test_missing_libraries_are_named_by_their_debian_packages() -> None:
    missing = {"libxcb-cursor.so.0", "libxcb-icccm.so.4", "libxkbcommon-x11.so.0", "libEGL.so.1"}
    sentence = startup.why_no_window(
        {"DISPLAY": ":0"}, platform="linux", can_load=lambda name: name not in missing, answers=lambda _display: True
    )
    assert "apt-get install libegl1 libxcb-cursor0 libxcb-icccm4 libxkbcommon-x11-0. " in sentence


def test_on_wayland_or_offscreen_the_libraries_of_x_are_not_asked_for() -> None:
    def can_load(name: str) -> bool:
        return "xcb" not in name and "x11" not in name

    for environment in (
        {"WAYLAND_DISPLAY": "wayland-0"},
        {"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"},
        {"QT_QPA_PLATFORM": "offscreen"},
        {"QT_QPA_PLATFORM": "offscreen:size=1x1", "DISPLAY": ":0"},
    ):
        assert startup.why_no_window(environment, platform="linux", can_load=can_load) == ""
    chosen = {"QT_QPA_PLATFORM": "xcb", "WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}
    assert "libxcb-cursor0" in startup.why_no_window(chosen, platform="linux", can_load=can_load)


def test_other_systems_are_not_asked() -> None:
    for platform in ("win32", "darwin"):
        assert startup.why_no_window({}, platform=platform, can_load=lambda _name: False) == ""


@linux_only
def test_the_loader_finds_what_is_there_and_nothing_else() -> None:
    assert startup.can_load_library("libc.so.6")
    assert not startup.can_load_library("libsurely-not-there.so.7")


def test_the_hub_is_left_alone_unless_the_user_wants_it() -> None:
    environment = {"HF_HUB_OFFLINE": "0"}
    startup.stay_offline(environment)
    assert environment == {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def test_the_user_folder_can_be_moved(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert startup.plugins_folder() == home / "plugins"
    monkeypatch.delenv("TLSTUDIO_HOME")
    assert startup.user_folder().name == "tlstudio"


def test_plugins_that_are_switched_off_are_read(home: Path) -> None:
    assert startup.disabled_plugins() == frozenset()
    home.mkdir()
    (home / "disabled_plugins.json").write_text('["text"]')
    assert startup.disabled_plugins() == {"text"}
    (home / "disabled_plugins.json").write_text("{")
    assert startup.disabled_plugins() == frozenset()


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], ["PySide6", "torch", "numpy", "pydantic", "pyarrow"]),
        (["train", "--help"], ["PySide6", "torch", "numpy", "pydantic", "pyarrow"]),
        (["new", "PROJECT"], ["PySide6", "torch", "numpy", "pyarrow", "transformers", "sklearn"]),
        (["runs", "PROJECT"], ["PySide6", "torch", "numpy", "pyarrow", "transformers", "sklearn"]),
        (["plugins"], ["PySide6", "torch", "timm", "transformers", "sklearn"]),
    ],
)
def test_a_command_loads_only_what_it_needs(
    tmp_path: Path, tlstudio_process: Tlstudio, arguments: list[str], heavy: list[str]
) -> None:
    code = (
        "import sys\nfrom tlstudio.__main__ import main\ncode = main(sys.argv[2:])\n"
        "loaded = [name for name in sys.argv[1].split(',') if name in sys.modules]\n"
        "print('loaded:', *loaded)\nsys.exit(code)"
    )
    project = tmp_path / "project"
    if arguments[0] == "runs":
        assert tlstudio_process("new", project).code == 0
    words = [str(project) if word == "PROJECT" else word for word in arguments]
    result = tlstudio_process(",".join(heavy), *words, command=(sys.executable, "-c", code))
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == "loaded:"


def test_the_installed_launcher_starts_it(tlstudio_process: Tlstudio) -> None:
    launcher = Path(sys.executable).with_name("tlstudio.exe" if os.name == "nt" else "tlstudio")
    result = tlstudio_process("--version", command=(str(launcher),))
    assert result.code == 0
    assert result.out.startswith("TL Studio ")


def test_waiting_threads_sleep_unless_the_user_has_said_otherwise() -> None:
    environment = {"OMP_WAIT_POLICY": "ACTIVE"}
    startup.share_the_cores(environment)
    assert environment == {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "0"}


def test_ctrl_c_while_the_commands_are_loaded_is_one_line_and_130(tlstudio_process: Tlstudio) -> None:
    code = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tlstudio.cli.main':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from tlstudio.__main__ import main\n"
        "sys.exit(main(['backbones']))\n"
    )
    result = tlstudio_process(command=(sys.executable, "-c", code))
    assert result.code == 130
    assert result.err == "Cancelled.\n"
