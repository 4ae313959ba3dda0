"""The start menu entry: valid, quoted right, and removed without a trace."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from tests.cli.conftest import Tlstudio
from tlstudio.cli import shortcut

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the entry of Linux desktops")


@pytest.fixture
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data of the user"
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    return folder


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@linux_only
def test_installing_writes_a_valid_entry_with_icons(tlstudio: Tlstudio, data_home: Path) -> None:
    result = tlstudio("install-shortcut", "--json")
    assert result.code == 0
    entry = data_home / "applications" / "tlstudio.desktop"
    assert str(entry) in result.json["installed"]
    command = next(line for line in entry.read_text().splitlines() if line.startswith("Exec="))
    assert command.removeprefix("Exec=").removesuffix(" %f").strip('"') == " ".join(shortcut.launcher())
    for size in (48, 128, 256):
        with Image.open(data_home / "icons" / "hicolor" / f"{size}x{size}" / "apps" / "tlstudio.png") as image:
            assert (image.size, image.mode) == ((size, size), "RGBA")
    assert (data_home / "icons" / "hicolor" / "scalable" / "apps" / "tlstudio.svg").is_file()


@linux_only
@pytest.mark.skipif(shutil.which("desktop-file-validate") is None, reason="desktop-file-validate is not installed")
@pytest.mark.parametrize(
    "command",
    [
        ["/usr/bin/tlstudio"],
        ["/home/Jörg Müller/my venv/bin/tlstudio"],
        ["/opt/100 %/bin/python", "-m", "tlstudio"],
        ['/opt/a "quoted" $HOME `x` \\ back/tlstudio'],
        ["/home/研究/bin/tlstudio"],
    ],
)
def test_the_entry_is_valid_for_any_path(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "tlstudio.desktop"
    path.write_text(shortcut.desktop_entry(command), encoding="utf-8")
    done = subprocess.run(["desktop-file-validate", str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def parse_exec(value: str) -> list[str]:
    """Read an Exec value as the specification says a desktop does."""
    value = value.replace("\\\\", "\\")
    arguments, current, quoted, begun = [], "", False, False
    index = 0
    while index < len(value):
        char = value[index]
        if char == '"':
            quoted, begun = not quoted, True
        elif char == "\\" and quoted:
            index += 1
            current += value[index]
        elif char == "%" and value[index + 1] == "%":
            index += 1
            current += "%"
        elif char == " " and not quoted:
            if current or begun:
                arguments.append(current)
            current, begun = "", False
        else:
            current += char
        index += 1
    return [*arguments, current] if current or begun else arguments


@pytest.mark.parametrize(
    "command",
    [["/a/b"], ["/a b/c"], ['/a"b', "-m", "x y"], ["/a$b`c\\d"], ["/100%f/x"], ["/a'b;c&d"], ["", "x"]],
)
def test_a_desktop_reads_the_command_as_it_was_meant(command: list[str]) -> None:
    assert parse_exec(shortcut.exec_value(command)) == command


@linux_only
def test_uninstalling_removes_exactly_what_was_installed(tlstudio: Tlstudio, data_home: Path, home: Path) -> None:
    kept = [
        data_home / "applications" / "other.desktop",
        data_home / "icons" / "hicolor" / "48x48" / "apps" / "other.png",
    ]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.write_text("kept")
    before = files_in(data_home)
    assert tlstudio("install-shortcut").code == 0
    first = files_in(data_home)
    assert len(first) > len(before)
    assert tlstudio("install-shortcut").code == 0
    assert files_in(data_home) == first
    assert tlstudio("uninstall-shortcut").code == 0
    assert files_in(data_home) == before
    assert list(home.iterdir()) == []
    result = tlstudio("uninstall-shortcut")
    assert result.code == 0
    assert "no shortcut" in result.out


@linux_only
def test_a_folder_that_cannot_be_written_gets_a_sentence_and_leaves_nothing(
    tlstudio: Tlstudio, data_home: Path
) -> None:
    data_home.mkdir()
    (data_home / "applications").write_text("a file where a folder should be")
    result = tlstudio("install-shortcut")
    assert result.code == 2
    assert "could not be written" in result.err
    assert files_in(data_home) == ["applications"]


def test_the_icon_is_there_in_all_forms() -> None:
    root = ElementTree.parse(shortcut.icon_path("tlstudio.svg")).getroot()
    assert root.tag.endswith("svg")
    for size in shortcut.ICON_SIZES:
        with Image.open(shortcut.icon_path(f"tlstudio-{size}.png")) as image:
            assert image.size == (size, size)
            assert image.getpixel((0, 0)) == (79, 138, 251, 0) or image.getpixel((0, 0))[3] < 128  # type: ignore[index]
    with Image.open(shortcut.icon_path("tlstudio.ico")) as image:
        assert {(16, 16), (32, 32), (48, 48), (256, 256)} <= image.info["sizes"]
    data = shortcut.icon_path("tlstudio.icns").read_bytes()
    assert data[:4] == b"icns"
    assert struct.unpack(">I", data[4:8])[0] == len(data)
