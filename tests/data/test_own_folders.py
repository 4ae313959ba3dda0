"""Folders of the studio's own: never taken for data, never written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlstudio.api import DataError
from tlstudio.data.own_folders import EXPORT_PARTS, refuse_as_output
from tlstudio.data.planning import plan_import
from tlstudio.plugins import Registry
from tlstudio.store import Project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a run."""
    with Project.create(tmp_path / "birds") as made:
        made.new_run("", dataset="d", revision="r1", backbone="b", head="h", strategy="full")
    return tmp_path / "birds"


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder with the files of an exported model."""
    folder = tmp_path / "model"
    (folder / "assets").mkdir(parents=True)
    for name in EXPORT_PARTS - {"assets"}:
        (folder / name).write_text("{}")
    return folder


def test_a_folder_of_the_studio_is_named_and_not_imported(registry: Registry, project: Path, export: Path) -> None:
    (run,) = (project / "runs").iterdir()
    for source, is_a, command in (
        (project, "is a project", f"tlstudio {project}"),
        (export, "is an exported model", f"tlstudio predict {export}"),
        (project / "datasets", "is kept by the project", "Import the folder or table that it came from"),
        (run, "is a run of a project", f"tlstudio runs {project} {run.name}"),
    ):
        with pytest.raises(DataError, match=is_a) as caught:
            plan_import(registry.formats.values(), source)
        assert command in str(caught.value)


def test_nothing_is_written_over_a_projects_or_a_models_own_files(project: Path, export: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project / "tlstudio.json")
    own = [*project.iterdir(), *export.iterdir(), tmp_path / "link"]
    inside = [project / folder / "new.csv" for folder in ("datasets", "runs", "cache", "logs")]
    cases = [project / "RUNS" / "a.toml", project / "TLStudio.json", export / "Labels.json", export / "readme.MD"]
    backups = [project / name / "a.csv" for name in (".migrating-format-1", "Backup-Format-1", ".backup-staged")]
    for path in (*own, *inside, *cases, *backups, project / ".queue.log", export / "assets" / "new.csv"):
        with pytest.raises(DataError, match="which would be damaged"):
            refuse_as_output(path)
    for path in (project / "predictions.csv", export / "predictions.csv", tmp_path / "exports" / "new"):
        refuse_as_output(path)


def test_a_file_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not to be lost")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "old.CSV").write_text("")
    (tmp_path / "link.csv").symlink_to(tmp_path / "notes.txt")
    lost = "is no .csv file; it would be lost"
    for name, words in (("notes.txt", lost), ("link.csv", lost), ("folder.csv", "is a folder or a device")):
        with pytest.raises(DataError, match=words):
            refuse_as_output(tmp_path / name, suffix=".csv")
    for name in ("old.CSV", "new.csv", "new.txt"):
        refuse_as_output(tmp_path / name, suffix=".csv")
