"""Runs whose model writes: what they show meanwhile, how much they write, and that they go on bit for bit."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.conftest import Heard
from tests.engine.resuming import at_step, gone_on_with
from tests.plugins.writing_helpers import WORDS, write_language_model
from tlstudio.api import FeatureShape, ProblemsError, RunError, TargetInfo
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import split_data
from tlstudio.engine.evaluate import read_evaluation
from tlstudio.engine.events import EpochEnded, Note, TextsWritten
from tlstudio.engine.execute import execute_run
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 with dropout, so that a step draws random numbers."""
    changes: dict[str, Any] = {"resid_pdrop": 0.1, "attn_pdrop": 0.1, "embd_pdrop": 0.1}
    return write_language_model(tmp_path_factory.mktemp("gpt2"), "gpt2", **changes)


@pytest.fixture
def texts(project: Project, registry: Registry, tmp_path: Path) -> Project:
    """A project with the data set ``texts``: sentences, and their words the other way round."""
    path = tmp_path / "texts.csv"
    words = WORDS[:9]
    rows = [(f"{a} {b} {c}", f"{c} {b}") for a in words[:5] for b in words for c in words[5:]]
    rows += [(f"{word} " * 50, "very") for word in words]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("prompt", "completion"), *rows])
    request, _ = plan_import(registry.formats.values(), path, name="texts")
    import_dataset(request, project.datasets_folder)
    return project


def recipe(model: Path, *, strategy: str = "lora", **head: Any) -> dict[str, Any]:
    return {
        "backbone": {"name": "language_model", "options": {"weights": str(model), "max_length": 12, "max_answer": 4}},
        "head": {"name": "generation", "options": {"max_new_tokens": 4, **head}},
        "strategy": strategy,
        "training": {"epochs": 2, "batch_size": 16, "checkpoint_every": 0, "learning_rate": 0.01, "seed": 3},
    }


def train(project: Project, registry: Registry, heard: Heard, values: dict[str, Any]) -> Run:
    completed = complete(values, project.dataset("texts"), registry)
    run = execute_run(completed, project, registry, on_event=heard, control=heard.control)
    assert run.status == "done", heard.events[-1]
    return run


def test_a_run_that_writes_goes_on_bit_for_bit(texts: Project, registry: Registry, model: Path) -> None:
    values = {"dataset": {"name": "texts"}, **recipe(model)}
    whole, (cut,) = gone_on_with(texts, registry, values, at_step(11))
    assert cut.step == 10  # in the second epoch
    assert cut.heard.of(TextsWritten) == whole.of(TextsWritten)
    assert [event.epoch for event in whole.of(TextsWritten)] == [1, 2]


def test_what_is_written_between_the_epochs_changes_nothing(texts: Project, registry: Registry, model: Path) -> None:
    outcomes = []
    for live in (0, 5):
        heard = Heard()
        run = train(texts, registry, heard, recipe(model, live=live, evaluated=3))
        assert [len(event.samples) for event in heard.of(TextsWritten)] == ([5, 5] if live else [])
        assert all("rougeL" not in event.validation for event in heard.of(EpochEnded))  # of five texts, no metric
        outcomes.append([event.validation for event in heard.of(EpochEnded)])
        assert run.metrics()["test"].keys() >= {"perplexity", "rougeL", "bleu", "chrf"}
    assert outcomes[0] == outcomes[1]


def test_what_is_read_to_measure_a_split_waits_for_its_disk(texts: Project, registry: Registry, model: Path) -> None:
    revision, backbone = texts.dataset("texts"), registry.backbone("language_model")
    options = backbone.Options.model_validate({"weights": str(model), "max_length": 12, "max_answer": 4})
    component = registry.head("generation")
    head = component.build(FeatureShape(8, vocabulary=11), TargetInfo("generation"), component.Options())
    away = revision.folder.with_name("away")
    told: list[RunError] = []

    def patience(read: Callable[[], Any], /) -> Any:
        try:
            return read()
        except RunError as error:
            told.append(error)
            away.rename(revision.folder)
            return read()

    preprocessor = backbone.preprocessor(options, wanted="logits")
    data = split_data(revision, "validation", head, preprocessor, batch_size=4, patience=patience)
    expected = data.samples(torch.arange(3))
    assert not told
    vars(revision).pop("annotations")  # as if others had taken their place in memory
    revision.folder.rename(away)
    assert list(data.samples(torch.arange(3))) == list(expected)
    assert [error.remedy for error in told] == ["Bring the disk back."]


def test_only_so_many_texts_are_written_in_an_evaluation(
    texts: Project, registry: Registry, model: Path, heard: Heard
) -> None:
    run = train(texts, registry, heard, recipe(model, strategy="full", evaluated=5))
    items = read_evaluation(run, "test").items
    assert len(items) > 20
    assert sum(item.predicted is not None for item in items) == 5
    assert all(item.loss > 0 and isinstance(item.label, str) for item in items)


def test_texts_that_are_too_long_are_told_once_with_their_number(
    texts: Project, registry: Registry, model: Path, heard: Heard
) -> None:
    train(texts, registry, heard, recipe(model, evaluated=1))
    told = [note.text for note in heard.of(Note) if "longer than" in note.text]
    (sentence,) = told
    assert re.match(r"\d of the \d+ texts in train are longer than the 12 tokens \(of an answer, 4\) that", sentence)


def test_what_suits_a_task_that_writes_is_chosen(texts: Project, registry: Registry, model: Path) -> None:
    values = {"backbone": recipe(model)["backbone"]}
    chosen = complete(values, texts.dataset("texts"), registry)
    assert (chosen.head.name, chosen.strategy.name) == ("generation", "lora")  # a probe would have nothing to learn
    with pytest.raises(ProblemsError, match=r"No pretrained backbone .* Give the folder of the model"):
        complete({}, texts.dataset("texts"), registry)
    with pytest.raises(ProblemsError, match="no layer of its own"):
        complete({**values, "strategy": "linear_probe"}, texts.dataset("texts"), registry)
