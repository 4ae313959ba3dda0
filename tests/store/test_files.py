"""Files of the studio's own: written as a whole, and never through what leads out of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tlstudio.store.files import open_own


def test_a_file_of_the_studio_is_opened_to_be_read_written_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "own.log"
    for mode, text in (("wb", b"one"), ("ab+", b" two"), ("ab", b" three")):
        with open_own(path, mode) as file:
            file.write(text)
    with open_own(path) as file:
        assert file.read() == b"one two three"


@pytest.mark.parametrize("mode", ["rb", "rb+", "wb", "ab", "ab+"])
def test_a_link_a_pipe_and_a_folder_are_not_opened_as_files_of_the_studio(tmp_path: Path, mode: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not to be touched")
    (tmp_path / "link").symlink_to(secret)
    (tmp_path / "dangling").symlink_to(tmp_path / "made")
    (tmp_path / "folder").mkdir()
    names = ["link", "dangling", "folder"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        names.append("pipe")
    for name in names:
        with pytest.raises(OSError, match="it is a link, a folder or a pipe"):
            open_own(tmp_path / name, mode)
    assert secret.read_text() == "not to be touched"
    assert not (tmp_path / "made").exists()
