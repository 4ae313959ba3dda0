"""What must stay small and quick however much data there is, and data that leaves little to learn."""

from __future__ import annotations

import csv
import pickle
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import FeatureShape, ProblemsError, RunError, TargetInfo
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.datasets import FeatureDataset
from tlstudio.engine.evaluate import evaluate_run, read_evaluation, write_predictions
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.feature_cache import compute_features
from tlstudio.engine.measuring import Outputs
from tlstudio.engine.target import write_target
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing.components import TinyConvNet


@pytest.mark.parametrize("dataset", ["reviews", "scores", "topics"])
def test_many_rows_at_once_are_the_same_as_one_by_one(dataset: str, reviews_project: Project) -> None:
    revision = reviews_project.dataset(dataset)
    rows = np.array([59, 3, 3, 20])
    assert list(revision.samples(rows)) == [revision.sample(row) for row in rows.tolist()]
    assert revision.labels(rows) == [revision.label(row) for row in rows.tolist()]
    assert revision.ids(rows) == [revision.sample(row).id for row in rows.tolist()]
    assert list(revision.samples(np.array([], dtype=np.int64))) == []


def test_a_revision_is_sent_to_loader_processes_without_its_table(reviews_project: Project) -> None:
    revision = reviews_project.dataset("reviews")
    before = len(pickle.dumps(revision))
    revision.sample(0)
    revision.index_of(revision.sample(1).id)
    sent = pickle.dumps(revision)
    assert len(sent) == before
    assert pickle.loads(sent).sample(5) == revision.sample(5)


def test_of_cached_features_only_a_batch_is_read_into_memory(tmp_path: Path) -> None:
    features = np.lib.format.open_memmap(tmp_path / "f.npy", mode="w+", dtype=np.float32, shape=(20_000, 128))
    features[:] = np.arange(20_000, dtype=np.float32)[:, None]
    indices = np.arange(0, 20_000, 2)
    tracemalloc.start()
    dataset = FeatureDataset(features, indices, torch.zeros(10_000))
    batch = dataset.batch(np.array([0, 7, 9_999]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert batch.inputs["pooled"][:, 0].tolist() == [0, 14, 19_998]
    assert len(dataset) == 10_000
    assert peak < 100_000


def test_decoding_many_samples_of_many_classes_keeps_the_scores_of_a_part_only(registry: Registry) -> None:
    classes = tuple(f"class {number}" for number in range(300))
    target = TargetInfo("classification", classes, (1,) * 300)
    chosen = registry.head("classification")
    head = chosen.build(FeatureShape(4), target, chosen.Options())
    output = torch.randn(2_000, 300)
    tracemalloc.start()
    values = Outputs(torch.zeros(2_000), {}, output).values(head)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [value for value, _ in values] == [classes[index] for index in output.argmax(dim=1).tolist()]
    assert peak < 30_000_000  # all scores as Python objects: some 80 MB


def test_several_labels_are_right_whatever_order_they_come_in(project: Project) -> None:
    run = project.new_run("", dataset="d", revision="r1", backbone="b", head="h", strategy="s")
    write_target(run, TargetInfo("multi_label", ("a", "b", "c"), (2, 2, 2)))
    outputs = Outputs(torch.tensor([0.1, 0.3, 0.2]), {"loss": 0.2}, torch.zeros(3, 3))
    labels = [("b", "a"), ("c",), ()]
    write_predictions(
        run, "test", ["1", "2", "3"], labels, outputs, [(("a", "b"), None), (("a", "c"), None), ((), None)]
    )
    run.record_metrics("test", outputs.metrics)
    result = read_evaluation(run)
    assert [(item.id, item.label == item.predicted) for item in result.items] == [
        ("2", False),
        ("3", True),
        ("1", True),
    ]
    counted = [(row.name, row.precision, row.recall, row.support) for row in result.per_class]
    assert counted == [("a", 0.5, 1.0, 1), ("b", 1.0, 1.0, 1), ("c", 1.0, 1.0, 1)]


def test_predictions_are_not_written_through_a_link_in_the_run(project: Project, tmp_path: Path) -> None:
    run = project.new_run("", dataset="d", revision="r1", backbone="b", head="h", strategy="s")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "test.part").write_text("somebody else's")
    (run.folder / "predictions").symlink_to(tmp_path / "others")
    outputs = Outputs(torch.tensor([0.1]), {"loss": 0.2}, torch.zeros(1, 3))
    with pytest.raises(RunError, match="predictions in it is a link"):
        write_predictions(run, "test", ["1"], ["a"], outputs, [("a", None)])
    assert [path.name for path in (tmp_path / "others").iterdir()] == ["test.part"]


def write_table(path: Path, rows: Sequence[tuple[str, object, str]]) -> Path:
    """Write texts with a label and the split that each belongs to."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label", "split"), *rows])
    return path


def import_table(project: Project, registry: Registry, path: Path, task: str) -> None:
    """Import it as the data set ``d``."""
    options = {"text_column": "text", "label_column": "label", "split_column": "split"}
    request, _ = plan_import(
        registry.formats.values(),
        path,
        name="d",
        format="text_table",
        options=options,
        task=task,  # type: ignore[arg-type]  # one of the tasks
    )
    import_dataset(request, project.datasets_folder)


SPLITS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2


def test_equal_training_values_are_told_and_never_divided_by_their_rounding(
    project: Project, registry: Registry, tmp_path: Path
) -> None:
    rows = [(f"text {i}", 0.1 if split == "train" else i, split) for i, split in enumerate(SPLITS)]
    import_table(project, registry, write_table(tmp_path / "t.csv", rows), "regression")
    revision = project.dataset("d")
    assert revision.target_info().std == 1.0
    with pytest.raises(ProblemsError, match=r"all values in the train split of 'd' are 0\.1"):
        complete({}, revision, registry)


def test_a_train_split_of_one_class_is_told(project: Project, registry: Registry, tmp_path: Path) -> None:
    rows = [(f"text {i}", "a" if split == "train" else "b", split) for i, split in enumerate(SPLITS)]
    import_table(project, registry, write_table(tmp_path / "t.csv", rows), "classification")
    with pytest.raises(ProblemsError, match="the train split of 'd' has only the class 'a'"):
        complete({}, project.dataset("d"), registry)


def test_a_data_set_without_test_split_trains_and_says_so_when_tested(
    project: Project, registry: Registry, shapes_folder: Path, heard: Heard
) -> None:
    request, _ = plan_import(registry.formats.values(), shapes_folder, name="shapes", fractions=(0.8, 0.2, 0.0))
    import_dataset(request, project.datasets_folder)
    values = {"backbone": TINY_VISION, "strategy": "full", "training": {"epochs": 1}}
    recipe = complete(values, project.dataset("shapes"), registry)
    run = execute_run(recipe, project, registry, on_event=heard, control=heard.control)
    ended = heard.of(RunEnded)[0]
    assert ended.status == "done", ended.error
    assert set(ended.metrics) == {"validation"}
    with pytest.raises(RunError, match="The test split of 'shapes' \\(r1\\) has no samples"):
        evaluate_run(run, project, registry)


def test_features_that_do_not_fit_on_the_disk_are_told_before_anything_is_written(
    shapes_project: Project, tmp_path: Path
) -> None:
    tiny = TinyConvNet()
    backbone = tiny.load(tiny.Options())
    backbone.num_features = 10**15
    with pytest.raises(RunError, match="GB are free"):
        compute_features(
            tmp_path / "features.npy",
            shapes_project.dataset("shapes"),
            backbone,
            tiny.preprocessor(tiny.Options()),
            device=torch.device("cpu"),
            batch_size=8,
            num_workers=0,
            on_progress=lambda _done, _total: None,
        )
    assert not any(path.is_file() for path in tmp_path.glob("*"))
