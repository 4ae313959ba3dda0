"""Marking words, answering questions and comparing texts, from the files of other tools to predictions."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.cli.conftest import Tlstudio

PEOPLE = ["Anna", "Bela", "Carl", "Dora", "Emil", "Fritz"]
PLACES = ["Berlin", "Paris", "Rome", "Oslo", "Vienna", "Prague"]
VERBS = ["lives in", "went to", "came from", "loves"]
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *PEOPLE,
    *PLACES,
    "New",
    "York",
    *[
        "lives",
        "in",
        "went",
        "to",
        "came",
        "from",
        "loves",
        "who",
        "where",
        "is",
        "and",
        "the",
        "a",
        "sea",
        ",",
        ".",
        "?",
    ],
]
FACTS = list(itertools.product(PEOPLE, VERBS, [*PLACES, "New York"]))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT of random weights with a tokenizer that knows the words, as transformers writes them."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate([*MARKS, *WORDS])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    wrap: Any = PreTrainedTokenizerFast
    wrap(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(MARKS) + len(WORDS),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path, tlstudio: Tlstudio) -> Path:
    """An empty project."""
    folder = tmp_path / "project"
    assert tlstudio("new", folder).code == 0
    return folder


def trained(tlstudio: Tlstudio, project: Path, source: Path, encoder: Path, *, epochs: int, **columns: str) -> Any:
    """Import, train and export; returns what the training told."""
    words = [word for name, column in columns.items() for word in (f"--{name}-column", column)]
    imported = tlstudio("import", project, source, "--name", "texts", *words)
    assert imported.code == 0, imported.err
    values = {
        "backbone.weights": encoder,
        "training.epochs": epochs,
        "training.learning_rate": 0.003,
        "training.batch_size": 16,
        "training.threads": 1,
    }
    options = [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
    result = tlstudio("train", project, "--backbone", "auto_model", "--strategy", "full", *options, "--json")
    assert result.code == 0, result.err
    exported = tlstudio("export", project, "latest", project.parent / "model")
    assert exported.code == 0, exported.err
    return result.json


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_words_are_marked_from_a_conll_file_to_a_table(
    tlstudio: Tlstudio, project: Path, encoder: Path, tmp_path: Path
) -> None:
    lines = []
    for person, verb, place in FACTS:
        places = [f"{word} {'I' if number else 'B'}-PLACE" for number, word in enumerate(place.split())]
        lines += [f"{person} B-PERSON", *(f"{word} O" for word in verb.split()), *places, ". O", ""]
    source = tmp_path / "names.conll"
    source.write_text("\n".join(lines), encoding="utf-8")
    told = trained(tlstudio, project, source, encoder, epochs=6)
    assert told["metrics"]["test"]["f1_micro"] > 0.95
    shown = tlstudio("evaluate", project, "latest", "--json").json
    assert [row["name"] for row in shown["per_class"]] == ["PERSON", "PLACE"]
    assert shown["confusion"] is None
    text = "Dora went to New York and Emil loves Rome ."
    one = tlstudio("predict", tmp_path / "model", "--text", text, "--json").json["predictions"][0]
    assert [(part["text"], part["label"]) for part in one["prediction"]] == [
        ("Dora", "PERSON"),
        ("New York", "PLACE"),
        ("Emil", "PERSON"),
        ("Rome", "PLACE"),
    ]
    assert "New York (PLACE)" in tlstudio("predict", tmp_path / "model", "--text", text).out
    table = tmp_path / "new.csv"
    table.write_text(f"text\n{text}\nthe sea\n", encoding="utf-8")
    assert tlstudio("predict", tmp_path / "model", table, "--output", tmp_path / "out.csv").code == 0
    first, second = rows_of(tmp_path / "out.csv")
    assert [part["text"] for part in json.loads(first["prediction"])] == ["Dora", "New York", "Emil", "Rome"]
    assert isinstance(json.loads(second["prediction"]), list)
    again = tlstudio("predict", tmp_path / "model", source, "--json").json
    assert (len(again["predictions"]), again["rejected"]) == (len(FACTS), [])
    assert again["predictions"][0]["id"] == "line 1"


def test_questions_are_answered_from_a_squad_file_to_a_table(
    tlstudio: Tlstudio, project: Path, encoder: Path, tmp_path: Path
) -> None:
    paragraphs = []
    for person, verb, place in FACTS:
        text = f"{person} {verb} {place} ."
        where = {"question": "where ?", "answers": [{"text": place, "answer_start": text.index(place)}]}
        who = {"question": "who ?", "answers": [{"text": person, "answer_start": 0}]}
        nothing = {"question": "the sea ?", "answers": [], "is_impossible": True}
        paragraphs.append({"context": text, "qas": [who, where, nothing]})
    source = tmp_path / "facts.json"
    source.write_text(json.dumps({"data": [{"title": "facts", "paragraphs": paragraphs}]}), encoding="utf-8")
    told = trained(tlstudio, project, source, encoder, epochs=10)
    assert told["metrics"]["test"]["exact_match"] > 0.95
    imported = tlstudio("import", project, source).out
    assert "train " in imported
    assert "class" not in imported, "all answers are of one class, which is no name that anybody gave"
    text = "Anna came from Prague ."
    words = ("predict", tmp_path / "model", "--text", text, "--json")
    assert tlstudio(*words, "--pair", "where ?").json["predictions"][0]["prediction"][0]["text"] == "Prague"
    assert tlstudio(*words, "--pair", "the sea ?").json["predictions"][0]["prediction"] == []
    missing = tlstudio(*words)
    assert (missing.code, missing.json["predictions"]) == (2, [])
    assert missing.json["rejected"][0]["reason"].startswith("It has no question, and this model takes")
    again = tlstudio("predict", tmp_path / "model", source, "--json").json
    assert (len(again["predictions"]), again["rejected"]) == (3 * len(FACTS), [])
    assert all(0 < one["confidence"] <= 1 for one in again["predictions"])
    alone = tmp_path / "alone.csv"
    alone.write_text(f"text\n{text}\n{text}\n", encoding="utf-8")
    for more in ((), ("--output", tmp_path / "none.csv")):
        refused = tlstudio("predict", tmp_path / "model", alone, *more)
        assert refused.code == 2
        assert "None of the 2 items of" in refused.err
        assert refused.err.count("Each has no question") == 1
        assert "alone.csv, row 2, row 3: Each has no question" in refused.err
    assert not (tmp_path / "none.csv").exists()
    table = tmp_path / "new.csv"
    table.write_text(f"text,question\n{text},who ?\n{text},where ?\n", encoding="utf-8")
    for columns in (("--text-column", "text", "--pair-column", "question"), ()):  # so named, they need not be told
        assert tlstudio("predict", tmp_path / "model", table, "--output", tmp_path / "out.csv", *columns).code == 0
        assert [row["prediction"] for row in rows_of(tmp_path / "out.csv")] == ["Anna", "Prague"]


def test_two_texts_are_compared_from_a_table_to_a_table(
    tlstudio: Tlstudio, project: Path, encoder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "pairs.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["premise", "claim", "label"])
        for number, (person, verb, place) in enumerate(FACTS):
            other = place if number % 2 else PLACES[(number // 2) % len(PLACES)]
            writer.writerow([f"{person} {verb} {place}", f"is {other}", "yes" if other == place else "no"])
    told = trained(tlstudio, project, source, encoder, epochs=2, text="premise", pair="claim", label="label")
    assert set(told["metrics"]["test"]) >= {"accuracy", "f1_macro"}
    words = ("predict", tmp_path / "model", "--text", "Anna loves Rome", "--pair", "is Oslo", "--json")
    scores = tlstudio(*words).json["predictions"][0]["scores"]
    assert set(scores) == {"yes", "no"}
    again = tlstudio("predict", tmp_path / "model", source, "--json").json
    assert (len(again["predictions"]), again["rejected"]) == (len(FACTS), []), "by the columns of the training"
    swapped = ("predict", tmp_path / "model", "--text", "Anna loves Rome", "--pair", "is Rome", "--json")
    assert tlstudio(*swapped).json["predictions"][0]["scores"] != scores, "the second text matters"


def test_what_is_marked_inside_of_a_token_is_told_once_before_training(
    tlstudio: Tlstudio, project: Path, encoder: Path, tmp_path: Path
) -> None:
    records = [{"text": f"{who} loves {place}", "spans": [[0, len(who), "PERSON"]]} for who, _, place in FACTS[:40]]
    for record in records[:3]:
        record["spans"] = [[1, 3, "PERSON"]]
    source = tmp_path / "marked.jsonl"
    source.write_text("\n".join(json.dumps({**record, "split": "train"}) for record in records[:30]) + "\n")
    with source.open("a") as file:
        file.writelines(json.dumps({**record, "split": "test"}) + "\n" for record in records[30:])
    assert tlstudio("import", project, source, "--name", "texts").code == 0
    options = ("-o", f"backbone.weights={encoder}", "-o", "training.epochs=1", "-o", "training.threads=1")
    result = tlstudio("train", project, "--backbone", "auto_model", "--strategy", "linear_probe", *options)
    assert result.code == 0, result.err
    told = [line for line in result.out.splitlines() + result.err.splitlines() if "cannot be learned as they" in line]
    assert len(told) == 1
    assert 'The first: text 1: "nn" (PERSON) begins or ends inside the token "Anna", which is learned as' in told[0]
