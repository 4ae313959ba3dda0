"""Projects of other formats: older ones are brought up to date after a backup, newer ones read where that is safe."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tlstudio.api import DataError, ProjectError
from tlstudio.data.own_folders import refuse_as_output
from tlstudio.store import Project
from tlstudio.store.format import MIGRATIONS, PROJECT_FORMAT, Migration, bring_up_to_date, read_facts

FORMAT_1 = {"format": 1, "name": "Birds", "created": "2026-01-02T03:04:05+00:00", "app_version": "0.1.0"}
INDEX_1 = """
CREATE TABLE run (id TEXT PRIMARY KEY, created TEXT NOT NULL, record TEXT NOT NULL, stamp TEXT NOT NULL);
CREATE INDEX run_created ON run (created DESC, id DESC);
INSERT INTO run VALUES ('2026-01-02-001-full', '2026-01-02T03:04:05+00:00', '{}', 'old');
PRAGMA user_version = 1;
"""
RUN_1 = {"format": 1, "app_version": "0.1.0", "created": "2026-01-02T03:04:05+00:00", "status": "done"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A project as format 1 has it: no ``min_reader``, an index without metric rows."""
    folder = tmp_path / "birds"
    run = folder / "runs" / "2026-01-02-001-full"
    run.mkdir(parents=True)
    (folder / "datasets").mkdir()
    (folder / "tlstudio.json").write_text(json.dumps(FORMAT_1))
    (run / "run.json").write_text(json.dumps({**RUN_1, "metrics": {"test": {"accuracy": 0.5}}}))
    (run / "recipe.toml").write_text("")
    connection = sqlite3.connect(folder / "project.db")
    connection.executescript(INDEX_1)
    connection.close()
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """All files of a project but those of the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_an_older_project_is_brought_up_to_date_and_what_it_was_is_kept(old: Path) -> None:
    before = content(old)
    with Project.open(old) as project:
        assert project.name == "Birds"
        assert project.notes == [
            "The project was brought from format 1 to 2; what was there before is kept in backup-format-1."
        ]
        assert [(run.status, run.metrics) for run in project.runs()] == [("done", {"test": {"accuracy": 0.5}})]
    assert json.loads((old / "tlstudio.json").read_text()) == {**FORMAT_1, "format": PROJECT_FORMAT, "min_reader": 1}
    for name in ("tlstudio.json", "project.db"):
        assert (old / "backup-format-1" / name).read_bytes() == before[name]
    with Project.open(old) as project:
        assert project.notes == []
        assert len(project.runs()) == 1


def test_the_backup_of_a_project_is_not_written_over(old: Path) -> None:
    Project.open(old).close()
    with pytest.raises(DataError, match="belongs to the project"):
        refuse_as_output(old / "backup-format-1" / "project.db")


def test_reading_an_older_project_changes_nothing(old: Path) -> None:
    before = content(old)
    with Project.open(old, write=False) as project:
        assert [run.status for run in project.runs()] == ["done"]
    assert content(old) == before


def test_a_project_that_was_brought_back_to_its_old_format_gets_a_second_backup(old: Path) -> None:
    Project.open(old).close()
    (old / "tlstudio.json").write_text(json.dumps(FORMAT_1))
    Project.open(old).close()
    assert (old / "backup-format-1-2" / "tlstudio.json").exists()


def spoil(folder: Path) -> None:
    """Change files and folders of a project, and fail then."""
    (folder / "datasets" / "new").mkdir()
    (folder / "datasets" / "old" / "file").write_text("changed")
    (folder / "made").mkdir()
    (folder / "tlstudio.json").write_text("{")
    (folder / "project.db").unlink()
    raise OSError(28, "No space left on device")


def test_a_migration_that_fails_leaves_the_project_as_it_was(old: Path) -> None:
    (old / "datasets" / "old").mkdir()
    (old / "datasets" / "old" / "file").write_text("old")
    before = content(old)
    with pytest.raises(ProjectError, match=r"from format 1 to 2: the disk is full.* nothing of it is lost.*Free"):
        bring_up_to_date(old, [Migration(1, spoil, ("datasets", "made"))])
    assert content(old) == before
    assert not (old / "made").exists()
    assert not (old / "datasets" / "new").exists()
    assert not list(old.glob(".*migrating*"))
    Project.open(old).close()


def test_several_migrations_are_done_one_after_the_other(old: Path) -> None:
    def second(folder: Path) -> None:
        (folder / "second").write_text(read_facts(folder)["name"])

    facts = json.loads((old / "tlstudio.json").read_text())
    bring_up_to_date(old, [*MIGRATIONS, Migration(2, second, ("second",))])
    assert (old / "second").read_text() == facts["name"]
    assert (old / "backup-format-1").is_dir()
    assert (old / "backup-format-2").is_dir()


KILLED = """
import json, os, signal, sys
from pathlib import Path
from tlstudio.store.format import Migration, bring_up_to_date, read_facts
from tlstudio.store import format as module

moment = sys.argv[2]

def die(folder):
    (folder / "tlstudio.json").write_text(json.dumps({**read_facts(folder), "new": True}))
    if moment == "within":
        os.kill(os.getpid(), signal.SIGKILL)

def keep(folder, under_way):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "after":
    module._keep = keep
bring_up_to_date(Path(sys.argv[1]), [Migration(1, die)])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("moment", ["within", "after"])
def test_a_migration_that_is_killed_is_put_back_or_finished_when_the_project_is_opened(old: Path, moment: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(old), moment], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (old / ".migrating-format-1").is_dir()
    with Project.open(old) as project:
        assert project.name == "Birds"
        assert any("interrupted" in note for note in project.notes) == (moment == "within")
        assert len(project.runs()) == 1
    assert ("new" in read_facts(old)) == (moment == "after")
    assert read_facts(old)["format"] == PROJECT_FORMAT
    assert (old / "backup-format-1" / "project.db").exists()
    assert not list(old.glob(".migrating*"))


def sent(folder: Path, contents: object, name: str = ".migrating-format-1") -> Path:
    """Put what looks like the backup of an interrupted update into a project; returns its folder."""
    under_way = folder / name
    under_way.mkdir()
    (under_way / "backup.json").write_text(json.dumps(contents))
    return under_way


@pytest.mark.parametrize("key", ["missing", "kept"])
@pytest.mark.parametrize("name", ["../Documents", "{}/Documents", "way/thesis.txt", "runs", "", ".", 3, ["runs"]])
def test_a_backup_that_names_what_no_update_changes_is_refused(old: Path, key: str, name: object) -> None:
    documents = old.parent / "Documents"
    documents.mkdir()
    (documents / "thesis.txt").write_text("years of work")
    (old / "way").symlink_to(documents)
    named = name.format(old.parent) if isinstance(name, str) else name
    under_way = sent(old, {"missing": [], "kept": []} | {key: [named]})
    (under_way / "way").mkdir()
    (under_way / "way" / "thesis.txt").write_text("replaced")
    before = content(old)
    with pytest.raises(ProjectError, match=r"backup\.json names .*, which no update changes"):
        Project.open(old)
    assert content(old) == before
    assert (documents / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("contents", [[], {}, "missing", {"missing": 1, "kept": []}, {"missing": None}])
def test_a_backup_that_is_damaged_is_refused_with_a_sentence(old: Path, contents: object) -> None:
    sent(old, contents)
    with pytest.raises(ProjectError, match=r"cannot be put back: backup\.json is damaged .*opens as it is"):
        Project.open(old)


@pytest.mark.parametrize("name", [".migrating-format-2", ".migrating-format-x", ".migrating-format-01"])
def test_an_update_that_this_version_does_not_make_is_not_put_back(old: Path, name: str) -> None:
    sent(old, {"missing": ["project.db"], "kept": []}, name)
    before = content(old)
    with pytest.raises(ProjectError, match="it is no update that this version makes"):
        Project.open(old)
    assert content(old) == before


def test_a_backup_that_is_reached_through_a_link_is_not_put_back(old: Path) -> None:
    sent(old.parent, {"missing": [], "kept": ["tlstudio.json"]}, "elsewhere")
    (old.parent / "elsewhere" / "tlstudio.json").write_text("somebody else's")
    (old / ".migrating-format-1").symlink_to(old.parent / "elsewhere")
    with pytest.raises(ProjectError, match="it is no update that this version makes"):
        Project.open(old)
    assert (old.parent / "elsewhere" / "tlstudio.json").read_text() == "somebody else's"


def test_what_a_link_leads_to_is_neither_copied_nor_removed_by_an_update(old: Path) -> None:
    def change(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    outside = old.parent / "outside"
    outside.mkdir()
    (outside / "letter.txt").write_text("somebody else's")
    (old / "made").symlink_to(outside)
    (old / "project.db-wal").symlink_to(outside / "letter.txt")
    with pytest.raises(ProjectError, match="from format 1 to 2: the disk is full"):
        bring_up_to_date(old, [Migration(1, change, ("made",))])
    assert (old / "made").readlink() == outside
    bring_up_to_date(old, [Migration(1, lambda _folder: None, ("made",))])
    assert (old / "backup-format-1" / "made").is_symlink()
    assert (old / "backup-format-1" / "project.db-wal").is_symlink()
    assert (outside / "letter.txt").read_text() == "somebody else's"


def test_a_newer_project_that_this_version_can_read_opens_for_reading_only(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p") as project:
        run = project.new_run("", dataset="d", revision="r1", backbone="b", head="h", strategy="full")
        run.finish("done")
    newer = {"format": 7, "min_reader": 2, "name": "x", "app_version": "3.2.1", "something": "new"}
    (project.folder / "tlstudio.json").write_text(json.dumps(newer))
    before = content(project.folder)
    with pytest.raises(
        ProjectError,
        match=r"TL Studio 3\.2\.1 \(project format 7\).* can be read here, but not changed\. Open it for rea",
    ):
        Project.open(project.folder)
    with Project.open(project.folder, write=False) as reader:
        assert [summary.status for summary in reader.runs()] == ["done"]
        with pytest.raises(ProjectError, match="reading only"):
            reader.set_note(run.id, "x")
    assert content(project.folder) == before


@pytest.mark.parametrize("min_reader", [{}, {"min_reader": 3}, {"min_reader": "2"}, {"min_reader": True}])
def test_a_newer_project_that_does_not_say_that_it_can_be_read_is_not(
    tmp_path: Path, min_reader: dict[str, object]
) -> None:
    Project.create(tmp_path / "p").close()
    (tmp_path / "p" / "tlstudio.json").write_text(json.dumps({"format": 7, **min_reader}))
    for write in (True, False):
        with pytest.raises(ProjectError, match="Update TL Studio to open it"):
            Project.open(tmp_path / "p", write=write)
