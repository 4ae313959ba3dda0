"""Writing texts, from the files of other tools to predictions: with a decoder and with an encoder and a decoder."""

from __future__ import annotations

import csv
import itertools
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.cli.conftest import Tlstudio
from tlstudio.engine.events import TextsWritten, from_json

PEOPLE = ["Anna", "Bela", "Carl", "Dora", "Emil", "Fritz"]
PLACES = ["Berlin", "Paris", "Rome", "Oslo", "Vienna", "Prague"]
VERBS = ["lives in", "went to", "came from", "loves"]
MARKS = ["<pad>", "<unk>", "</s>"]
WORDS = [*PEOPLE, *PLACES, "lives", "in", "went", "to", "came", "from", "loves", "and", "the", "sea", "summarize", ":"]
FACTS = [
    (f"{person} {verb} {place}", f"{place} {person}")
    for person, verb, place in itertools.product(PEOPLE, VERBS, PLACES)
]


def write_tokenizer(folder: Path, *, marks: bool) -> None:
    """Write a tokenizer that knows the words; with marks, each text gets one at its end, as T5 has it."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate([*MARKS, *WORDS])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if marks:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    wrap: Any = PreTrainedTokenizerFast
    wrap(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>").save_pretrained(folder)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 of random weights, as transformers writes it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("gpt2")
    write_tokenizer(folder, marks=False)
    config = GPT2Config(
        vocab_size=len(MARKS) + len(WORDS),
        n_positions=32,
        n_embd=48,
        n_layer=2,
        n_head=4,
        bos_token_id=2,
        eos_token_id=2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.1,
    )
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small T5 of random weights, as transformers writes it."""
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("t5")
    write_tokenizer(folder, marks=True)
    config = T5Config(
        vocab_size=len(MARKS) + len(WORDS),
        d_model=48,
        d_kv=12,
        d_ff=96,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    config.update({"decoder_start_token_id": 0})
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path, tlstudio: Tlstudio) -> Path:
    """An empty project."""
    folder = tmp_path / "project"
    assert tlstudio("new", folder).code == 0
    return folder


def train(
    tlstudio: Tlstudio, project: Path, model: Path, *, strategy: str = "full", recipe: str = "", **more: Any
) -> Any:
    """Train with the data set ``texts``; returns what was told."""
    values = {
        "backbone.weights": model,
        "backbone.max_length": 12,
        "backbone.max_answer": 6,
        "head.max_new_tokens": 6,
        "training.learning_rate": 0.01,
        "training.batch_size": 16,
        "training.threads": 1,
        **{name.replace("__", "."): value for name, value in more.items()},
    }
    options = [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
    named = ("--recipe", recipe) if recipe else ("--backbone", "language_model")
    result = tlstudio("train", project, *named, "--strategy", strategy, *options, "--json")
    assert result.code == 0, result.err
    return {**result.json, "err": result.err}


def table(path: Path, first: str, second: str) -> Path:
    """Write the facts with these names of columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([(first, second), *FACTS])
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def predicted(tlstudio: Tlstudio, model: Path | str, *words: str | Path) -> list[str]:
    return [item["prediction"] for item in tlstudio("predict", model, *words, "--json").json["predictions"]]


def test_a_decoder_learns_to_answer_from_a_table_to_a_table(
    tlstudio: Tlstudio, project: Path, decoder: Path, tmp_path: Path
) -> None:
    source = table(tmp_path / "facts.csv", "prompt", "completion")
    imported = tlstudio("import", project, source, "--name", "texts", "--json")
    assert (imported.code, imported.json["task"]) == (0, "generation"), imported.err
    told = train(tlstudio, project, decoder, training__epochs=40)
    metrics = told["metrics"]["test"]
    assert metrics["perplexity"] < 1.3
    assert metrics["rougeL"] > 0.9
    assert metrics["token_accuracy"] > 0.9
    events = [from_json(line)[0] for line in (Path(told["folder"]) / "events.jsonl").read_text().splitlines()]
    live = [event for event in events if isinstance(event, TextsWritten)]
    assert [event.epoch for event in live] == list(range(1, 41))
    assert all(len(event.samples) == 4 for event in live)
    assert len({tuple(row[:3] for row in event.samples) for event in live}) == 1  # always the same ones
    assert sum(expected == written for _, _, expected, written in live[-1].samples) >= 3
    assert "written  " in told["err"]

    assert tlstudio("export", project, "latest", tmp_path / "model").code == 0
    text = "Dora went to Oslo"
    assert predicted(tlstudio, tmp_path / "model", "--text", text) == ["Oslo Dora"]
    new = tmp_path / "new.csv"
    new.write_text("prompt\n" + "\n".join(question for question, _ in FACTS[::7]), encoding="utf-8")
    columns = ("--text-column", "prompt")
    for model, output in (((tmp_path / "model",), "a.csv"), ((project, "--run", "latest"), "b.csv")):
        done = tlstudio("predict", *model, new, "--output", tmp_path / output, *columns)
        assert done.code == 0, done.err
    written = [row["prediction"] for row in rows_of(tmp_path / "a.csv")]
    assert written == [row["prediction"] for row in rows_of(tmp_path / "b.csv")]
    assert sum(one == other for one, (_, other) in zip(written, FACTS[::7], strict=True)) > 0.9 * len(written)
    shown = tlstudio("evaluate", project, "latest", "--json").json
    assert (shown["per_class"], shown["confusion"]) == ([], None)


def test_the_recipe_for_summaries_teaches_an_encoder_with_a_decoder_from_jsonl(
    tlstudio: Tlstudio, project: Path, pair: Path, tmp_path: Path
) -> None:
    source = tmp_path / "facts.jsonl"
    source.write_text("\n".join(json.dumps({"document": text, "summary": answer}) for text, answer in FACTS))
    assert tlstudio("import", project, source, "--name", "texts").code == 0
    told = train(tlstudio, project, pair, recipe="summarisation", training__epochs=40, head__beams=2, head__live=1)
    recipe = tomllib.loads((Path(told["folder"]) / "recipe.toml").read_text(encoding="utf-8"))
    assert recipe["backbone"]["options"]["prompt"] == "summarize: {text}"
    assert told["metrics"]["test"]["bleu"] >= 0
    assert told["metrics"]["test"]["rouge1"] > 0.9
    assert tlstudio("export", project, "latest", tmp_path / "model").code == 0
    assert predicted(tlstudio, tmp_path / "model", "--text", "Emil loves Rome") == ["Rome Emil"]


def test_the_recipe_for_translations_runs_from_columns_of_languages_to_predictions(
    tlstudio: Tlstudio, project: Path, pair: Path, tmp_path: Path
) -> None:
    assert tlstudio("import", project, table(tmp_path / "facts.csv", "en", "de"), "--name", "texts").code == 0
    told = train(
        tlstudio,
        project,
        pair,
        recipe="translation",
        training__epochs=1,
        head__beams=1,
        head__live=0,
        head__evaluated=4,
    )
    assert {"bleu", "chrf", "rougeL", "perplexity"} <= set(told["metrics"]["test"])
    recipe = tomllib.loads((Path(told["folder"]) / "recipe.toml").read_text(encoding="utf-8"))
    assert recipe["backbone"]["options"]["prompt"] == "translate English to German: {text}"
    assert len(predicted(tlstudio, project, "--run", "latest", "--text", "Emil loves Rome")) == 1
    planned = tlstudio(
        "train", project, "--recipe", "translation", "--backbone", "language_model", "-o", f"backbone.weights={pair}",
        "-o", "head.beams=2", "--dry-run", "--json",
    ).json["recipe"]  # fmt: skip
    assert planned["backbone"]["options"]["prompt"] == "translate English to German: {text}", "it stays with a backbone"
    assert planned["head"]["options"]["beams"] == 2
