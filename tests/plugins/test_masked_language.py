"""Masked language modelling: what is hidden, how it is scored, and runs that learn by it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import import_reviews
from tests.engine.conftest import Heard
from tests.plugins.test_text import KINDS, WORDS, check_groups, write_model, write_tokenizer
from tlstudio.api import TARGETS, Prediction, RunError, Sample, TargetInfo, WeightsError
from tlstudio.api.nn import TransferModel
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import plan_import
from tlstudio.engine.advise import complete
from tlstudio.engine.assemble import load_run_model
from tlstudio.engine.events import EpochEnded, RunEnded
from tlstudio.engine.execute import execute_run
from tlstudio.engine.predict import Predictor
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run
from tlstudio_heads.masked_heads import MaskedLanguageModel
from tlstudio_text.backbones import AutoModelBackbone
from tlstudio_text.masking import PLACES, MaskingPreprocessor
from tlstudio_text.options import AutoModelOptions

TEXTS = ("the film was great and I loved it", "电影 很 好", "the story was very bad", "loved")
MADE_FOR_IT = [kind for kind in KINDS if kind not in ("t5", "canine", "gpt2", "llama")]


@pytest.fixture
def bert(tmp_path: Path) -> AutoModelOptions:
    """A small BERT that was saved as an encoder alone."""
    folder = tmp_path / "bert"
    folder.mkdir()
    write_model(folder, "bert")
    return AutoModelOptions(weights=str(folder))


def _masking(options: AutoModelOptions) -> MaskingPreprocessor:
    made = AutoModelBackbone().preprocessor(options, wanted="masked")
    assert isinstance(made, MaskingPreprocessor)
    return made


def test_15_percent_are_hidden_of_which_80_are_masked_and_10_are_others(bert: AutoModelOptions) -> None:
    prepare, plain = _masking(bert), AutoModelBackbone().preprocessor(bert)
    sample = Sample(id="1", text=" ".join(WORDS[number % len(WORDS)] for number in range(60)))
    before = plain(sample)["input_ids"]
    special = set(prepare.tokenizer.all_special_ids)
    mask = prepare.tokenizer.mask_token_id
    kinds: Counter[str] = Counter()
    for seed in range(300):
        item = prepare(sample, seed)
        hidden = dict(zip(item[PLACES], item[TARGETS], strict=True))
        assert len(hidden) == round(0.15 * sum(token not in special for token in before))
        for place, (token, own) in enumerate(zip(item["input_ids"], before, strict=True)):
            if place not in hidden:
                assert token == own
                continue
            assert own not in special
            assert hidden[place] == own
            assert token == mask or token not in special
            kinds["masked" if token == mask else "left" if token == own else "replaced"] += 1
    total = sum(kinds.values())
    assert kinds["masked"] / total == pytest.approx(0.8, abs=0.03)
    # One in so many words is replaced by itself.
    assert kinds["replaced"] / total == pytest.approx(0.1 * (1 - 1 / len(WORDS)), abs=0.03)
    assert kinds["left"] / total == pytest.approx(0.1 * (1 + 1 / len(WORDS)), abs=0.03)


def test_what_is_hidden_follows_the_seed_and_without_one_the_sample(bert: AutoModelOptions) -> None:
    prepare = _masking(bert)
    text = " ".join(WORDS)
    assert prepare(Sample("1", text=text), 5) == prepare(Sample("2", text=text), 5)
    assert prepare(Sample("1", text=text), 5) != prepare(Sample("1", text=text), 6)
    assert prepare(Sample("1", text=text)) == prepare(Sample("1", text=text))
    assert len({str(prepare(Sample(str(number), text=text))) for number in range(5)}) > 1
    assert len(prepare(Sample("1", text=WORDS[0]))[PLACES]) == 1  # one at least
    nothing, one = prepare(Sample("1", text="")), prepare(Sample("1", text=WORDS[0]))
    assert nothing[PLACES] == []
    assert prepare.collate([nothing, one])[TARGETS].tolist() == [[-100], one[TARGETS]]


@pytest.mark.parametrize("kind", MADE_FOR_IT)
def test_scores_and_loss_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM

    write_model(tmp_path, kind)
    torch.manual_seed(1)
    make: Any = AutoModelForMaskedLM
    original = make.from_config(AutoConfig.from_pretrained(tmp_path))
    original.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    options = AutoModelOptions(weights=str(tmp_path))
    backbone = AutoModelBackbone()
    network = backbone.load(options)
    network.wanted = "masked"
    head = MaskedLanguageModel().build(network.shape, TargetInfo("pretraining"), MaskedLanguageModel().Options())
    model = TransferModel(network, head, network.layer_groups()).double().eval()
    check_groups(network, network.layer_groups())
    prepare = _masking(options)
    items = [prepare(Sample(str(number), text=text)) for number, text in enumerate(TEXTS)]
    inputs = prepare.collate(items)
    labels = torch.full_like(inputs["input_ids"], -100)
    for row, item in zip(labels, items, strict=True):
        row[item[PLACES]] = torch.tensor(item[TARGETS])
    with torch.no_grad():
        output = model(inputs)
        expected = original.double().eval()(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels
        )
    targets = head.encoder()([None] * len(items), items)
    losses, counts = head.loss(output, targets), (targets != -100).sum(dim=1)
    assert float((losses * counts).sum() / counts.sum()) == pytest.approx(float(expected.loss), abs=1e-6)
    metrics = head.metrics()
    metrics.update(output, targets)
    told = metrics.compute()
    assert float(told["perplexity"]) == pytest.approx(float(expected.loss.exp()), rel=1e-5)
    found = (expected.logits.argmax(dim=-1) == labels)[labels != -100].double().mean()
    assert float(told["masked_accuracy"]) == pytest.approx(float(found))


def test_the_weights_of_the_embeddings_score_as_well_and_move_with_them(bert: AutoModelOptions) -> None:
    backbone = AutoModelBackbone()
    network: Any = backbone.load(bert)
    network.wanted = "masked"
    embeddings = network.model.get_input_embeddings().weight
    assert network.scores.get_output_embeddings().weight is embeddings
    prepare = _masking(bert)
    inputs = prepare.collate([prepare(Sample("1", text=TEXTS[0]))])
    network(inputs).require("masked").square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.scores.parameters())
    assets = Path(bert.weights).parent / "assets"
    assets.mkdir()
    backbone.save_assets(bert, assets)
    restored: Any = backbone.restore(bert, assets)
    restored.wanted = "masked"
    restored.load_state_dict(network.state_dict())
    with torch.no_grad():
        pair = [one.eval()(inputs).require("masked") for one in (network, restored)]
    assert torch.equal(*pair)
    restored.wanted = "pooled"
    assert not any(name.startswith("scores") for name in restored.state_dict())


def test_a_model_that_was_not_made_for_it_says_so(tmp_path: Path) -> None:
    write_model(tmp_path, "t5")
    network = AutoModelBackbone().load(AutoModelOptions(weights=str(tmp_path)))
    with pytest.raises(WeightsError, match="was not made to find hidden words"):
        network.wanted = "masked"


def _train(project: Project, registry: Registry, dataset: str, values: dict[str, Any]) -> tuple[Run, Heard]:
    heard = Heard()
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 0.003, **values.pop("training", {})}
    recipe = complete({**values, "training": training}, project.dataset(dataset), registry)
    run = execute_run(recipe, project, registry, on_event=heard, control=heard.control)
    assert heard.of(RunEnded)[0].status == "done", heard.of(RunEnded)[0]
    return run, heard


@pytest.fixture
def texts(project: Project, registry: Registry, reviews_csv: Path) -> Project:
    """Reviews, ``plain`` without labels and ``reviews`` with them."""
    import_reviews(project, reviews_csv, registry)
    request, _ = plan_import(registry.formats.values(), reviews_csv, name="plain", task="pretraining")
    import_dataset(request, project.datasets_folder)
    return project


@pytest.mark.parametrize("strategy", ["full", "lora", "partial"])
def test_a_run_finds_hidden_words_and_others_start_from_it(
    strategy: str, texts: Project, registry: Registry, bert: AutoModelOptions
) -> None:
    values = {"backbone": {"name": "auto_model", "options": {"weights": bert.weights}}, "strategy": strategy}
    run, heard = _train(texts, registry, "plain", values)
    assert run.read_recipe()["head"]["name"] == "masked_language_model"
    for event in heard.of(EpochEnded):
        assert event.validation.keys() == {"loss", "perplexity", "masked_accuracy"}
    with pytest.raises(RunError, match="learned without labels"):
        Predictor.from_run(run, registry)
    start = {"backbone": {"start_from": run.id}}
    labelled, _ = _train(texts, registry, "reviews", {**start, "strategy": "linear_probe"})
    before, after = (load_run_model(one, registry)[1] for one in (run, labelled))
    load_parts = load_run_model(run, registry)[0]
    load_parts.strategy.merge(before)
    learned = before.backbone.state_dict()
    assert all(torch.equal(value, learned[name]) for name, value in after.backbone.state_dict().items())
    ((_, prediction),) = Predictor.from_run(labelled, registry).predict([Sample("1", text="the film was great")])
    assert isinstance(prediction, Prediction)
    assert prediction.value in ("good", "bad")
    if strategy == "full":  # on other texts, it goes on with what scores words, too
        again, _ = _train(texts, registry, "plain", {**start, "training": {"epochs": 1, "learning_rate": 1e-30}})
        same = load_run_model(again, registry)[1].backbone.state_dict()
        assert all(torch.allclose(value, learned[name], atol=1e-6) for name, value in same.items())
