"""The catalogue of tasks, components and methods is what the plugins say, in the README and in the help."""

from __future__ import annotations

from tests.catalogue import README, generated, in_readme
from tlstudio.api import TASKS
from tlstudio.plugins import Registry
from tlstudio.plugins.catalogue import as_markdown, catalogue


def test_the_catalogue_in_the_readme_is_what_the_plugins_bring() -> None:
    found = in_readme(README.read_text(encoding="utf-8")).strip()
    assert found == generated().strip(), "write it anew: python -m tests.catalogue"


def test_everything_that_is_registered_is_in_the_catalogue(registry: Registry) -> None:
    text = as_markdown(catalogue(registry))
    named = [*registry.heads, *registry.formats, *registry.strategies, *registry.methods, *registry.backbones]
    assert [name for name in named if f" {name} |" not in text and f" {name}," not in text] == []
    tasks = {head.task for head in registry.heads.values()}
    assert [task for task in tasks if TASKS[task].title not in text] == []


def test_a_task_is_only_listed_where_data_can_be_read_for_it(registry: Registry) -> None:
    tasks = next(table for table in catalogue(registry) if table.title == "Tasks")
    rows = {(row[0], row[1]): row for row in tasks.rows}
    assert ("texts", "Object detection") not in rows
    assert rows["images", "Object detection"][4].split(", ") == ["coco_boxes", "yolo_boxes", "voc_boxes"]
    assert "gated_fusion" not in rows["images", "Classification"][3]
