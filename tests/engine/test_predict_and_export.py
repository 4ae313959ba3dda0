"""Using what was trained: predictions from a run, tables of predictions, exports that stand alone."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.conftest import draw_folder
from tests.engine.conftest import TINY_VISION, Heard
from tlstudio.api import Prediction, Rejected, RunError, Sample
from tlstudio.engine.advise import complete
from tlstudio.engine.evaluate import read_evaluation
from tlstudio.engine.events import RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.export import export_run
from tlstudio.engine.predict import Predictor, load_predictor, predict_to_csv
from tlstudio.engine.run_queue import add_to_queue
from tlstudio.engine.spreadsheet import harmless
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run


def train(project: Project, registry: Registry, dataset: str, values: dict[str, Any]) -> Run:
    """Train one epoch or what `values` says."""
    heard = Heard()
    values = {**values, "training": {"epochs": 1, "batch_size": 8, **values.get("training", {})}}
    recipe = complete(values, project.dataset(dataset), registry)
    run = execute_run(recipe, project, registry, on_event=heard, control=heard.control)
    ended = heard.of(RunEnded)[0]
    assert ended.status == "done", ended.error or ended.traceback
    return run


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read a CSV file as a spreadsheet does."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_predicting_the_test_split_gives_what_the_evaluation_recorded(
    shapes_project: Project, registry: Registry
) -> None:
    run = train(shapes_project, registry, "shapes", {"backbone": TINY_VISION, "strategy": "full"})
    revision = shapes_project.dataset("shapes")
    recorded = {item.id: item for item in read_evaluation(run).items}
    predictor = Predictor.from_run(run, registry)
    samples = [revision.sample(int(index)) for index in revision.indices("test")]
    for sample, prediction in predictor.predict(samples):
        assert not isinstance(prediction, Rejected)
        assert prediction.value == recorded[sample.id].predicted
        assert prediction.confidence == pytest.approx(recorded[sample.id].confidence, abs=1e-4)
        assert sum(score for _, score in prediction.scores) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("strategy", ["linear_probe", "full", "lora", "partial"])
def test_an_export_gives_the_same_outputs_without_its_project(
    strategy: str, shapes_project: Project, shapes_folder: Path, registry: Registry, tmp_path: Path
) -> None:
    run = train(shapes_project, registry, "shapes", {"backbone": TINY_VISION, "strategy": strategy})
    samples = [Sample(id=path.name, image=path) for path in sorted((shapes_folder / "square").glob("*.png"))]
    before = Predictor.from_run(run, registry).outputs(samples)
    report = export_run(run, tmp_path / "model", registry, project=shapes_project)
    assert report.checked_samples > 0
    names = set(load_file(tmp_path / "model" / "model.safetensors"))
    assert not any("lora" in name for name in names)
    labels = json.loads((tmp_path / "model" / "labels.json").read_text(encoding="utf-8"))
    assert labels["classes"] == list(shapes_project.dataset("shapes").classes)
    shapes_project.close()
    shutil.rmtree(shapes_project.folder)
    after = load_predictor(tmp_path / "model").outputs(samples)
    assert float((after - before).abs().max()) < 1e-4


def test_an_export_takes_no_file_of_elsewhere_along(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    run = train(shapes_project, registry, "shapes", {"backbone": TINY_VISION, "strategy": "linear_probe"})
    (tmp_path / "id_rsa").write_text("not to be told")
    (run.assets / "more").mkdir()
    (run.assets / "more" / "tokenizer.json").symlink_to(tmp_path / "id_rsa")
    with pytest.raises(RunError, match=r"more.tokenizer\.json is a link or a pipe"):
        export_run(run, tmp_path / "model", registry, project=shapes_project)
    assert not (tmp_path / "model").exists()
    (run.assets / "more" / "tokenizer.json").unlink()
    export_run(run, tmp_path / "model", registry, project=shapes_project)
    run.assets.rename(tmp_path / "elsewhere")
    run.assets.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="assets is a link or a pipe"):
        export_run(run, tmp_path / "another", registry, project=shapes_project)


@pytest.mark.starter
def test_a_text_export_brings_its_tokenizer(reviews_project: Project, registry: Registry, tmp_path: Path) -> None:
    run = train(reviews_project, registry, "scores", {})
    export_run(run, tmp_path / "model", registry, project=reviews_project)
    predictor = load_predictor(tmp_path / "model")
    (_, prediction), *_ = predictor.predict([Sample(id="1", text="a wonderful film")])
    assert not isinstance(prediction, Rejected)
    assert isinstance(prediction.value, float)
    assert (tmp_path / "model" / "assets" / "tokenizer.json").is_file()


def test_an_export_does_not_tell_where_the_user_lives(
    shapes_project: Project, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    backbone = registry.backbone(TINY_VISION["name"])
    network = backbone.load(backbone.Options.model_validate(TINY_VISION["options"]))
    weights = {name.removeprefix("model."): tensor for name, tensor in network.state_dict().items()}
    save_file(weights, tmp_path / "mine.safetensors")
    options = {**TINY_VISION["options"], "weights": str(tmp_path / "mine.safetensors")}
    values = {"backbone": {**TINY_VISION, "options": options}, "strategy": "linear_probe"}
    run = train(shapes_project, registry, "shapes", values)
    export_run(run, tmp_path / "model", registry, project=shapes_project)
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "model").glob("*.[jm][sd]*")]
    assert len(texts) == 4
    assert not any(str(tmp_path) in text for text in texts)
    assert any('"~/mine.safetensors"' in text for text in texts)
    assert load_predictor(tmp_path / "model").classes == shapes_project.dataset("shapes").classes


def test_a_folder_is_predicted_into_a_table_and_what_cannot_be_read_is_listed(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    run = train(shapes_project, registry, "shapes", {"backbone": TINY_VISION, "strategy": "linear_probe"})
    folder = draw_folder(tmp_path / "new", 2, seed=5)
    (folder / "circle" / "broken.png").write_bytes(b"no image")
    (folder / "circle" / "empty.jpg").write_bytes(b"")
    predictor = Predictor.from_run(run, registry)
    report = predict_to_csv(predictor, folder, tmp_path / "out.csv", registry)
    assert report.rows == 6
    assert sorted(Path(item.source).name for item in report.rejected) == ["broken.png", "empty.jpg"]
    rows = rows_of(report.output)
    assert len(rows) == 6
    assert set(rows[0]) == {"id", "source", "prediction", "confidence", "p(circle)", "p(square)", "p(圆环)"}
    assert all(row["prediction"] in predictor.classes for row in rows)


@pytest.mark.starter
def test_a_table_is_predicted_and_no_cell_can_run_as_a_formula(
    reviews_project: Project, registry: Registry, tmp_path: Path
) -> None:
    run = train(reviews_project, registry, "reviews", {})
    table = tmp_path / "new.csv"
    table.write_text('text\n"=HYPERLINK(""http://x"")"\n"a dull film"\n', encoding="utf-8")
    report = predict_to_csv(Predictor.from_run(run, registry), table, tmp_path / "out.csv", registry)
    rows = rows_of(report.output)
    assert [row["text"] for row in rows] == ['\'=HYPERLINK("http://x")', "a dull film"]


def test_a_source_is_never_replaced_by_its_own_predictions(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    run = train(shapes_project, registry, "shapes", {"backbone": TINY_VISION, "strategy": "linear_probe"})
    image = next(shapes_project.folder.rglob("*.png"))
    content = image.read_bytes()
    predictor = Predictor.from_run(run, registry)
    with pytest.raises(RunError, match="it would be lost"):
        predict_to_csv(predictor, image, image, registry)
    assert image.read_bytes() == content
    with pytest.raises(RunError, match="is a folder"):
        predict_to_csv(predictor, image, tmp_path, registry)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(RunError, match="is a device"):
            predict_to_csv(predictor, image, tmp_path / "pipe", registry)
        assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-0.5", "-0.5"),
        ("+1e3", "+1e3"),
        ("-cmd", "'-cmd"),
        ("a=b", "a=b"),
    ],
)
def test_formulas_get_an_apostrophe_and_numbers_stay(cell: str, written: str) -> None:
    assert harmless(cell) == written


class TopOnly(Predictor):
    """A model whose head scores nothing but the class that it names."""

    def predict(
        self, samples: Iterable[Sample], *, batch_size: int = 32
    ) -> Iterator[tuple[Sample, Prediction | Rejected]]:
        for sample, prediction in super().predict(samples, batch_size=batch_size):
            assert isinstance(prediction, Prediction)
            yield sample, Prediction(prediction.value, prediction.scores[:1])


def test_a_class_without_a_score_gets_an_empty_cell(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    run = train(shapes_project, registry, "shapes", {"backbone": TINY_VISION, "strategy": "full"})
    source = draw_folder(tmp_path / "new", 1)
    predict_to_csv(TopOnly.from_run(run, registry), source, tmp_path / "p.csv", registry)
    for row in rows_of(tmp_path / "p.csv"):
        scores = {name: cell for name, cell in row.items() if name.startswith("p(")}
        assert len(scores) == 3
        assert {name for name, cell in scores.items() if cell} == {f"p({row['prediction']})"}


def test_cancelling_a_prediction_keeps_the_rows_so_far(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    run = train(shapes_project, registry, "shapes", {"backbone": TINY_VISION, "strategy": "linear_probe"})
    folder = draw_folder(tmp_path / "new", 2)
    seen: list[int] = []
    report = predict_to_csv(
        Predictor.from_run(run, registry),
        folder,
        tmp_path / "out.csv",
        registry,
        on_progress=lambda done, _total: seen.append(done),
        cancelled=lambda: len(seen) >= 2,
    )
    assert report.cancelled
    assert report.rows == len(rows_of(report.output)) == 2


def test_a_taken_folder_and_a_folder_that_is_no_export_are_refused(
    shapes_project: Project, registry: Registry, tmp_path: Path
) -> None:
    run = train(shapes_project, registry, "shapes", {"backbone": TINY_VISION, "strategy": "linear_probe"})
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="is not empty"):
        export_run(run, tmp_path / "taken", registry, project=shapes_project)
    assert (tmp_path / "taken" / "mine.txt").read_text(encoding="utf-8") == "mine"
    with pytest.raises(RunError, match="no exported model"):
        load_predictor(tmp_path / "taken")
    export_run(run, tmp_path / "model", registry, project=shapes_project)
    (tmp_path / "model" / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="is damaged"):
        load_predictor(tmp_path / "model")


def test_a_run_without_a_model_cannot_be_exported(shapes_project: Project, registry: Registry, tmp_path: Path) -> None:
    heard = Heard()
    heard.control.cancel()
    values = {"backbone": TINY_VISION, "strategy": "full", "training": {"epochs": 1}}
    recipe = complete(values, shapes_project.dataset("shapes"), registry)
    run = execute_run(recipe, shapes_project, registry, on_event=heard, control=heard.control)
    with pytest.raises(RunError, match=r"was not trained to its end.*tlstudio resume"):
        export_run(run, tmp_path / "model", registry, project=shapes_project)
    queued = add_to_queue(recipe, shapes_project)
    with pytest.raises(RunError, match=r"is queued and has not been trained yet.*tlstudio queue"):
        export_run(queued, tmp_path / "model", registry, project=shapes_project)
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))
