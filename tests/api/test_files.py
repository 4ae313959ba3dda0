"""Files of others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tlstudio.api.files import MOST_BYTES, MOST_PRINTED, is_link, read_text, text_of


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a pipe or device"):
        read_text(tmp_path / "pipe")


def test_a_giant_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "giant.json"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(OSError, match="far more than such a file needs"):
        read_text(path)


def test_a_folder_and_nothing_are_told(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_text(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "nothing")


def test_a_link_is_known_wherever_it_leads(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    found = {name: is_link(tmp_path / name) for name in ("link", "dangling", "folder", "missing")}
    assert found == {"link": True, "dangling": True, "folder": False, "missing": False}


def test_of_what_a_process_has_printed_the_end_is_read_and_of_a_folder_nothing(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    assert text_of(log) == text_of(tmp_path) == ""
    log.write_bytes(b"\xe4 first\n")
    assert text_of(log) == "\ufffd first\n"
    log.write_bytes("ä".encode() * MOST_PRINTED + b"x\nthe end\n")
    assert len(text_of(log).encode()) <= MOST_PRINTED + 2, "it may begin in the middle of a sign"
    assert text_of(log).endswith("\nthe end\n")
