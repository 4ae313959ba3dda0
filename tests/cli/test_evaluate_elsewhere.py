"""A run is measured on another data set, and nothing of that is stored."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Tlstudio
from tests.conftest import draw_folder, import_reviews
from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import Registry
from tlstudio.store.project import Project


def test_a_run_is_measured_on_another_data_set_of_its_classes(
    two_projects: Project, registry: Registry, reviews_csv: Path, tmp_path: Path, tlstudio: Tlstudio
) -> None:
    folder = draw_folder(tmp_path / "strange", 4, seed=5)
    (folder / "circle").rename(folder / "ring")
    request, _ = plan_import(registry.formats.values(), folder, name="strange", task="classification")
    import_dataset(request, two_projects.datasets_folder)
    import_reviews(two_projects, reviews_csv, registry)
    recipe = {"backbone": TINY_VISION, "strategy": "full", "training": {"epochs": 1, "batch_size": 8}}
    heard = Heard()
    completed = complete(recipe, two_projects.dataset("shapes"), registry)
    run = execute_run(completed, two_projects, registry, on_event=heard, control=heard.control)
    before = sorted((path, path.stat().st_mtime_ns) for path in run.folder.rglob("*") if path.is_file())

    def evaluate(dataset: str) -> tuple[int, str]:
        result = tlstudio("evaluate", two_projects.folder, "latest", "--split", "train", "--dataset", dataset)
        return result.code, result.out + result.err

    told = tlstudio("evaluate", two_projects.folder, "latest", "--split", "train", "--dataset", "others", "--json").json
    others = two_projects.dataset("others")
    assert told["dataset"] == "others@r1"
    assert told["learned_from"] == 0
    request, _ = plan_import(
        registry.formats.values(), Path(two_projects.dataset("shapes").source), name="again", seed=9
    )
    import_dataset(request, two_projects.datasets_folder)
    _, text = evaluate("again")
    assert "The run has learned from " in text
    assert "and looks better than it is" in text
    assert told["items"] == len(others.indices("train"))
    assert {row["name"]: row["support"] for row in told["per_class"]} == others.class_counts()["train"]
    code, text = evaluate("others@r1")
    assert code == 0
    assert "on the train split of others@r1" in text
    assert sorted((path, path.stat().st_mtime_ns) for path in run.folder.rglob("*") if path.is_file()) == before

    for dataset, words in (
        ("strange", "does not know ring; its classes are"),
        ("reviews", "the model takes images, not texts"),
        ("others@r7", "no revision 'r7'"),
        ("nothing", "no data set 'nothing'"),
    ):
        code, text = evaluate(dataset)
        assert code != 0
        assert words in text
