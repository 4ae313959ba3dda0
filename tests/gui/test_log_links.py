"""The log of a project that somebody sent goes nowhere else."""

from __future__ import annotations

import logging
from pathlib import Path

from tlstudio.gui.log_files import LOG_NAME, LogFiles


def test_a_link_in_the_place_of_the_log_is_not_written_through(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("somebody else's")
    (tmp_path / "project" / "logs").mkdir(parents=True)
    (tmp_path / "project" / "logs" / LOG_NAME).symlink_to(letter)
    logs = LogFiles(tmp_path / "home")
    logs.write_to(tmp_path / "project")
    try:
        logging.getLogger("test").warning("something happened")
        assert logs.folder is None
    finally:
        logs.close()
    assert letter.read_text() == "somebody else's"
