"""What the processes of the self-test of resuming print is told only where one of them did not end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlstudio.api import TLStudioError
from tlstudio.engine.processes import quick_processes
from tlstudio.selftest.resume import SETTINGS, _attempt
from tlstudio.store.project import Project


def test_what_a_run_prints_that_did_not_end_is_told_and_nothing_is_printed_beside_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Project.create(tmp_path / "trial").close()  # there is nothing in it to learn from
    context = quick_processes("tlstudio.selftest.resume")
    with pytest.raises(TLStudioError, match="did not end") as told:
        _attempt(context, tmp_path, tmp_path / "trial", SETTINGS[0], None)
    assert "There is no data set 'images'" in str(told.value)
    said = capfd.readouterr()
    assert said.out + said.err == ""
