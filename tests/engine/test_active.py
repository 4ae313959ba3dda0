"""From a finished run to the next labels, and from labels to the next revision."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import draw_folder
from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import DataError, RunError, Sample
from tlstudio.data.importing import import_dataset
from tlstudio.data.labelling import GivenLabel, with_labels
from tlstudio.data.planning import plan_import
from tlstudio.data.revision import Revision
from tlstudio.engine.active import CHOOSERS, next_to_label, open_pool
from tlstudio.engine.advise import complete
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.label_table import read_labels, write_candidates
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run


@pytest.fixture
def pool_folder(tmp_path: Path) -> Path:
    """Twelve images, without saying of what."""
    folder = tmp_path / "unlabelled"
    folder.mkdir()
    for number, image in enumerate(sorted(draw_folder(tmp_path / "drawn", 4, seed=7).glob("*/*.png"))):
        image.rename(folder / f"{number:02}.png")
    return folder


@pytest.fixture
def with_pool(shapes_project: Project, pool_folder: Path, registry: Registry) -> Project:
    """Shapes, and unlabelled ones as the data set ``pool``."""
    request, _ = plan_import(registry.formats.values(), pool_folder, name="pool", task="pretraining")
    import_dataset(request, shapes_project.datasets_folder)
    return shapes_project


def train(project: Project, registry: Registry, name: str = "shapes") -> Run:
    heard = Heard()
    recipe = complete({"backbone": TINY_VISION, "strategy": "nearest_mean"}, project.dataset(name), registry)
    run = execute_run(recipe, project, registry, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
    return run


def state(revision: Revision) -> list[tuple[object, ...]]:
    names = ("id", "label", "split", "hash", "image")
    return list(zip(*(revision.table.column(name).to_pylist() for name in names), strict=True))


def test_each_way_to_choose_gives_items_of_the_pool_and_the_labels_make_a_revision(
    with_pool: Project, registry: Registry, tmp_path: Path
) -> None:
    run, table = train(with_pool, registry), tmp_path / "next.csv"
    for by in CHOOSERS:
        found = next_to_label(run, "pool", with_pool, registry, by=by, count=5)
        assert len({one.id for one in found.candidates}) == 5
        assert (found.searched, found.known) == (12, 0)
        assert all(one.pool == "pool@r1" and one.why and one.sample.label is None for one in found.candidates)
        assert [one.score for one in found.candidates] == pytest.approx(
            sorted((one.score for one in found.candidates), reverse=True)
        ) or by == "badge"

    write_candidates(table, found.candidates)
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["label"] = ["circle", "square", "圆环", "", "circle"][number]
    with table.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")  # as some spreadsheets save
        writer.writeheader()
        writer.writerows(rows)
    old = with_pool.dataset("shapes")
    given = read_labels(table, old, with_pool, registry)
    assert (len(given.given), given.empty, given.rejected) == (4, 1, ())
    report = with_labels(old, given.given)
    new = with_pool.dataset("shapes")
    assert new.id == "r2" == report.revision.id
    assert state(new)[: len(old)] == state(old)
    assert [(row["label"], "train") for row in rows if row["label"]] == [
        (label, split) for _, label, split, _, _ in state(new)[len(old) :]
    ]
    assert (new.classes, new.seed, new.format) == (old.classes, old.seed, old.format)
    assert "4 items were labelled and added to train" in new.report()[1][0]
    assert all(sample.image is not None and sample.image.exists() for sample in new.samples(np.arange(len(new))))
    again = next_to_label(run, "pool", with_pool, registry, count=20)
    assert len(again.candidates) == 12  # the run has learned from r1, which does not have them
    assert len(next_to_label(train(with_pool, registry), "pool", with_pool, registry, count=20).candidates) == 8


def test_a_folder_is_a_pool_whose_items_are_found_again(
    shapes_project: Project, pool_folder: Path, registry: Registry, tmp_path: Path
) -> None:
    old = shapes_project.dataset("shapes")
    found = next_to_label(train(shapes_project, registry), str(pool_folder), shapes_project, registry, count=2)
    table = tmp_path / "labels.csv"
    table.write_text(
        "id,pool,label\n" + "".join(f"{one.id},{one.pool},circle\n" for one in found.candidates) + "99.png,,circle\n"
    )
    given = read_labels(table, old, shapes_project, registry)
    report = with_labels(old, given.given)
    assert len(report.revision) == len(old) + 2
    assert "no item '99.png'" in report.rejected[0].reason


def test_a_label_of_an_item_of_the_data_set_is_corrected_where_it_is(shapes_project: Project) -> None:
    old = shapes_project.dataset("shapes")
    row = int(old.indices("test")[0])
    name, wrong = old.ids(np.array([row]))[0], next(one for one in old.classes if one != old.label(row))
    new = with_labels(old, [GivenLabel(name, wrong)]).revision
    assert (new.label(row), new.split(row), len(new)) == (wrong, "test", len(old))
    assert sum(one != other for one, other in zip(state(old), state(new), strict=True)) == 1
    again = with_labels(new, [GivenLabel(name, wrong)])
    assert again.unchanged
    assert again.revision.id == "r2"


def test_what_is_held_out_or_unknown_is_not_added(with_pool: Project, registry: Registry) -> None:
    old = with_pool.dataset("shapes")
    sample = next(one for one in open_pool(with_pool, registry, "pool", old).samples if isinstance(one, Sample))
    name = sample.id
    held_out = next(iter(old.samples(old.indices("test")[:1])))
    with pytest.raises(DataError, match=r"no class 'sqare'.*square"):
        with_labels(old, [GivenLabel(name, "sqare", sample)])
    with pytest.raises(DataError, match="already, as"):
        with_labels(old, [GivenLabel("copy", "circle", held_out)])
    with pytest.raises(DataError, match="No label was given"):
        with_labels(old, [])
    with pytest.raises(DataError, match="not a class or a number"):
        with_labels(with_pool.dataset("pool"), [GivenLabel(name, "circle")])
    assert with_pool.revisions("shapes") == ["r1"]
    assert [path.name for path in with_pool.datasets_folder.iterdir() if path.name.startswith(".")] == []
    added = with_labels(old, [GivenLabel(name, "triangle", sample)], new_classes=True).revision
    assert "triangle" in added.classes


def test_texts_with_several_labels_and_numbers_are_labelled(
    reviews_project: Project, registry: Registry, tmp_path: Path
) -> None:
    pool, table = tmp_path / "more.csv", tmp_path / "labels.csv"
    pool.write_text("text\nA fine cast.\nLoud music.\n", encoding="utf-8")
    for name, label, expected in (("topics", "cast; music", ("cast", "music")), ("scores", "1.5", 1.5)):
        old = reviews_project.dataset(name)
        items = open_pool(reviews_project, registry, str(pool), old).samples
        first = next(one for one in items if isinstance(one, Sample))
        table.write_text(f'id,label\n"{first.id}","{label}"\n', encoding="utf-8")
        given = read_labels(table, old, reviews_project, registry, str(pool))
        new = with_labels(old, given.given).revision
        assert new.label(len(old)) == expected
        assert next(iter(new.samples(np.array([len(old)])))).text == "A fine cast."
        table.write_text(f'id,label\n"{first.id}","much"\n', encoding="utf-8")
    with pytest.raises(DataError, match="not a number"):
        with_labels(old, read_labels(table, old, reviews_project, registry, str(pool)).given)


def test_a_pool_that_is_not_there_and_a_table_without_labels_are_told(
    with_pool: Project, registry: Registry, tmp_path: Path
) -> None:
    run = train(with_pool, registry)
    with pytest.raises(DataError, match=r"neither a data set of this project nor a path.*pool"):
        next_to_label(run, "poool", with_pool, registry)
    with pytest.raises(DataError, match="nothing to label in shapes@r1"):
        next_to_label(run, "shapes", with_pool, registry)
    table = tmp_path / "labels.csv"
    table.write_text("id,lable\n1,circle\n")
    with pytest.raises(DataError, match=r"no column 'label'.*lable"):
        read_labels(table, with_pool.dataset("shapes"), with_pool, registry)


def test_a_number_has_no_certainty_to_choose_by(project: Project, registry: Registry, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, header, columns in (("prices", "a,b,price", 3), ("pool", "a,b", 2)):
        np.savetxt(tmp_path / f"{name}.csv", rng.normal(size=(30, columns)), "%.3f", ",", header=header, comments="")
    options = {"label_column": "price"}
    request, _ = plan_import(
        registry.formats.values(), tmp_path / "prices.csv", name="prices", task="regression", options=options
    )
    import_dataset(request, project.datasets_folder)
    heard = Heard()
    recipe = complete({"strategy": "full", "training": {"epochs": 1}}, project.dataset("prices"), registry)
    run = execute_run(recipe, project, registry, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
    pool = str(tmp_path / "pool.csv")
    with pytest.raises(RunError, match="does not say how sure it is"):
        next_to_label(run, pool, project, registry)
    found = next_to_label(run, pool, project, registry, by="k_center", count=2)
    assert [isinstance(one.predicted, float) for one in found.candidates] == [True, True]
    new = with_labels(project.dataset("prices"), [GivenLabel(one.id, 7, one.sample) for one in found.candidates])
    assert new.revision.values()[30:].tolist() == [7, 7]
