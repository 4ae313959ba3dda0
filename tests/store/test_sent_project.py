"""A project that somebody sent may hold links, pipes and databases of any kind: nothing outside of it is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tlstudio.api import DataError, ProjectError, RunError
from tlstudio.data import import_dataset, plan_import
from tlstudio.plugins import Registry
from tlstudio.store import Project

CHOICE = {"dataset": "d", "revision": "r1", "backbone": "b", "head": "h", "strategy": "full"}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "proj") as made:
        yield made


def folder_of_others(folder: Path) -> Path:
    """A folder with what the studio would sweep in its own."""
    (folder / ".new-house-plans").mkdir(parents=True)
    (folder / ".new-house-plans" / "plan.txt").write_text("years of work")
    (folder / ".letter.tmp").write_text("not yet saved")
    (folder / "run.json").write_text("{}")
    os.utime(folder / ".letter.tmp", (0, 0))
    return folder


@pytest.mark.parametrize("name", ["datasets", "runs"])
def test_a_project_whose_folders_are_links_is_not_changed_nor_what_they_lead_to(project: Project, name: str) -> None:
    project.close()
    others = folder_of_others(project.folder.parent / "others")
    before = sorted(others.rglob("*"))
    (project.folder / name).rmdir()
    (project.folder / name).symlink_to(others)
    with pytest.raises(ProjectError, match=f"its folder {name} is a link.* Put the folder itself in the place"):
        Project.open(project.folder)
    assert sorted(others.rglob("*")) == before
    with Project.open(project.folder, write=False) as reader:
        assert reader.runs() == []


def test_a_run_or_data_set_that_is_a_link_is_none_of_the_projects(project: Project, registry: Registry) -> None:
    project.close()
    others = folder_of_others(project.folder.parent / "others")
    before = sorted(others.rglob("*"))
    table = project.folder.parent / "a.csv"
    table.write_text("text,label\n" + "".join(f"item {n},{'ab'[n % 2]}\n" for n in range(40)))
    (project.datasets_folder / "birds").symlink_to(others)
    for number in range(1, 4):
        (project.runs_folder / f"{datetime.now().astimezone():%Y-%m-%d}-{number:03d}-full").symlink_to(others)
    (project.runs_folder / ".new-1").symlink_to(others)
    with Project.open(project.folder) as opened:
        assert (opened.runs(), opened.datasets()) == ([], [])
        with pytest.raises(RunError, match="There is no run"):
            opened.run(f"{datetime.now().astimezone():%Y-%m-%d}-001-full")
        run = opened.new_run("", **CHOICE)
        assert [summary.id for summary in opened.runs()] == [run.id]
        request, _ = plan_import(registry.formats.values(), table, name="birds")
        with pytest.raises(DataError, match="birds is a link"):
            import_dataset(request, opened.datasets_folder)
    assert sorted(others.rglob("*")) == before
