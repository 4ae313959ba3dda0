"""Which run is meant by its name: the best, the latest, of which data set; and the metric that each is known by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import Tlstudio
from tlstudio.cli.metrics import shown_metric
from tlstudio.cli.output import Output
from tlstudio.cli.run_names import best_of, find_run
from tlstudio.engine.adapter_facts import has_adapter
from tlstudio.plugins import Registry
from tlstudio.store import Project
from tlstudio.store.run_record import RunSummary


def run(name: str, metrics: dict[str, float]) -> RunSummary:
    return RunSummary(name, "", "done", dataset="d", metrics={"validation": metrics})


@pytest.mark.parametrize(
    ("better", "worse", "shown"),
    [
        ({"loss": 2.0, "wer": 0.1}, {"loss": 0.5, "wer": 0.4}, "wer"),  # losses of two heads are no rivals
        ({"loss": 2.0, "f1_micro": 0.9}, {"loss": 0.5, "f1_micro": 0.4}, "f1_micro"),
        ({"loss": 2.0, "exact_match": 0.1, "f1": 0.9}, {"loss": 0.5, "exact_match": 0.1, "f1": 0.4}, "exact_match"),
        ({"loss": 2.0, "roc_auc": 0.9}, {"loss": 0.5, "roc_auc": 0.4}, "roc_auc"),
        ({"loss": 2.0, "accuracy": 0.5, "f1_macro": 0.9}, {"loss": 0.5, "accuracy": 0.9, "f1_macro": 0.4}, "accuracy"),
        ({"loss": 0.5, "perplexity": 2.0}, {"loss": 2.0, "perplexity": 9.0}, "perplexity"),
    ],
)
def test_runs_are_judged_by_what_their_task_is_about(
    better: dict[str, float], worse: dict[str, float], shown: str
) -> None:
    for runs in ([run("better", better), run("worse", worse)], [run("worse", worse), run("better", better)]):
        assert best_of(runs).id == "better"
        assert shown_metric(runs[0], "validation")[0] == shown


def test_a_run_is_known_and_judged_by_the_metric_that_has_chosen_its_best_epoch() -> None:
    metrics = ({"loss": 1.0, "accuracy": 0.5, "perplexity": 2.0}, {"loss": 0.5, "accuracy": 0.4, "perplexity": 3.0})
    for monitor, best in (("accuracy", "0"), ("loss", "1"), ("perplexity", "0"), ("of a plugin", "0")):
        runs = [replace(run(str(place), values), monitor=monitor) for place, values in enumerate(metrics)]
        assert best_of(runs).id == best
        assert shown_metric(runs[0], "validation")[0] == (monitor if monitor in metrics[0] else "accuracy")


@pytest.fixture
def several(tmp_path: Path) -> dict[str, str]:
    """Ids of runs by their data sets, of a project in which something else was trained last."""
    with Project.create(tmp_path / "project") as project:
        ids = {}
        for dataset, backbone, head in (
            ("mails", "all-MiniLM-L6-v2", "classification"),
            ("names", "all-MiniLM-L6-v2", "token_classification"),
            ("photos", "tf_efficientnet_lite0", "classification"),
            ("prices", "table_mlp", "regression"),
        ):
            names: dict[str, Any] = {"backbone": backbone, "head": head, "strategy": "full"}
            recipe = f'[dataset]\nname = "{dataset}"\nrevision = "r1"\n'
            recipe += "".join(f'[{section}]\nname = "{name}"\n' for section, name in names.items())
            made = project.new_run(recipe, dataset=dataset, revision="r1", **names)
            made.finish("done", {"validation": {"loss": 1.0}})
            ids[dataset] = made.id
    return ids


def test_best_is_of_what_was_trained_last_or_of_the_data_set_that_is_named(
    tlstudio: Tlstudio, several: dict[str, str], tmp_path: Path
) -> None:
    for name, dataset in (("best", "prices"), ("latest:names", "names"), ("best:photos", "photos")):
        shown = tlstudio("runs", tmp_path / "project", name, "--json")
        assert shown.json["run"] == several[dataset]
        assert f"Taken as {name}: run {several[dataset]} of the data set '{dataset}'." in shown.err
        assert ("'prices'. Of others: best:photos, best:names," in shown.err) == (name == "best")
    missed = tlstudio("runs", tmp_path / "project", "best:potos")
    assert missed.code == 2
    assert "has learned the data set 'potos'. Did you mean photos?" in missed.err


def test_a_run_is_taken_that_what_it_is_asked_about_fits(
    tlstudio: Tlstudio, several: dict[str, str], tmp_path: Path
) -> None:
    project, image = tmp_path / "project", tmp_path / "new.png"
    Image.new("RGB", (8, 8)).save(image)
    mails, rows, tags = (tmp_path / name for name in ("mails.csv", "rows.csv", "tags.conll"))
    mails.write_text("text,answer\nwhere is my parcel now,1\nwhat does a new one cost,2\n")
    rows.write_text("area,rooms\n1.5,2\n2.5,3\n")
    tags.write_text("Anna B-PER\nsays O\n\n")
    for arguments, dataset in (
        (("predict", project, image), "photos"),
        (("predict", project, "--text", "a mail"), "names"),
        (("predict", project, mails), "names"),  # although its rows could be read as those of a table of prices
        (("predict", project, rows), "prices"),
        (("predict", project, tags), "names"),
        (("similar", project, image), "photos"),
        (("label-next", project, "best", image), "photos"),
        (("label-next", project, "best:photos", image), "photos"),
    ):
        # Its data set or model is gone, which is said of the run that was taken.
        asked = tlstudio(*arguments)
        assert asked.code == 2
        assert several[dataset] in asked.err
        assert not [name for name, run in several.items() if name != dataset and f"run {run}" in asked.err]


def test_an_error_says_how_another_run_is_given(tlstudio: Tlstudio, several: dict[str, str], tmp_path: Path) -> None:
    project, note = tmp_path / "project", tmp_path / "note.txt"
    note.write_text("a text")
    for arguments, how in (
        (("similar", project, note, "--run", several["photos"]), "with --run"),
        (("label-next", project, several["photos"], note), "as RUN"),
        (("predict", project, note, "--run", several["photos"]), "with --run"),
    ):
        assert f"Or choose another run {how}: tlstudio runs {project} lists them." in tlstudio(*arguments).err


def test_of_runs_of_several_tables_the_one_is_taken_that_can_read_the_columns(
    tlstudio: Tlstudio, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    assert tlstudio("new", project).code == 0
    tiny = ("--backbone", "table_mlp", "-o", "backbone.width=8", "-o", "training.epochs=1")
    runs = {}
    for name, columns in (("houses", "size,rooms,price"), ("cars", "miles,seats,price")):
        table = tmp_path / f"{name}.csv"
        table.write_text("\n".join([columns, *(f"{n * 1.5},{n % 3},{n * 10.5}" for n in range(40))]))
        assert tlstudio("import", project, table, "--label-column", "price").code == 0
        runs[name] = tlstudio("train", project, "--dataset", name, *tiny, "--json").json["run"]
    asked = tlstudio("predict", project, tmp_path / "houses.csv")
    assert asked.code == 0, asked.err
    assert f"Taken as best: run {runs['houses']} of the data set 'houses'. Of others: best:cars" in asked.err
    latest = tlstudio("similar", project, tmp_path / "houses.csv", "--run", "latest", "-k", "1")
    assert f"Features: {runs['houses']}" in latest.err, latest.err


def test_the_best_run_for_an_adapter_is_one_that_has_one(registry: Registry) -> None:
    assert [has_adapter(name, registry) for name in ("lora", "linear_probe", "gone")] == [True, False, False]


def test_of_the_runs_of_a_data_set_the_best_that_fits_is_taken(several: dict[str, str], tmp_path: Path) -> None:
    with Project.open(tmp_path / "project", write=True) as project:
        names: dict[str, Any] = {"backbone": "tf_efficientnet_lite0", "head": "classification", "strategy": "lora"}
        recipe = '[dataset]\nname = "photos"\nrevision = "r1"\n'
        recipe += "".join(f'[{section}]\nname = "{name}"\n' for section, name in names.items())
        made = project.new_run(recipe, dataset="photos", revision="r1", **names)
        made.finish("done", {"validation": {"loss": 0.5}})
        said = Output(as_json=False)
        assert find_run(project, "best:photos", said).id == made.id
        assert find_run(project, "best:photos", said, lambda one: one.strategy == "full").id == several["photos"]
