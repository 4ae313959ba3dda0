"""The head that lets the backbone write: its loss, its metrics against the reference ones, and its formats."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tlstudio.api import (
    TARGETS,
    DataError,
    DatasetFormat,
    Features,
    FeatureShape,
    Prediction,
    Rejected,
    Sample,
    TargetInfo,
    TLStudioError,
)
from tlstudio.api.nn import Generation, HeadModule
from tlstudio_formats.conversations import Conversations
from tlstudio_formats.prompt_table import PromptTable
from tlstudio_formats.questions import Questions
from tlstudio_formats.running_text import RunningText, RunningTextOptions
from tlstudio_formats.text_table import TextTable
from tlstudio_heads.generation_heads import TextGeneration, WritingOptions
from tlstudio_heads.generation_modules import Perplexity
from tlstudio_heads.text_metrics import OverlapMetrics, words
from tlstudio_strategies.gradual import GradualUnfreezing
from tlstudio_strategies.probe import LinearProbe
from tlstudio_text.writing_backbones import LanguageModel

TARGET = TargetInfo("generation")
VOCABULARY = ["the", "The", "cat", "sat", "on", "mat", ",", ".", "don't", "re-do", "3.5", "a", "ÄRGER", "naïve"]


def built(**options: Any) -> HeadModule:
    chosen = WritingOptions.model_validate(options)
    return TextGeneration().build(FeatureShape(8, vocabulary=11), TARGET, chosen)


def test_the_loss_is_the_mean_over_the_tokens_to_be_written() -> None:
    torch.manual_seed(0)
    head = built()
    logits = torch.randn(3, 5, 11)
    targets = torch.tensor([[-100, 2, 3, 4, -100], [1, 2, 3, 4, 5], [-100] * 5])
    losses = head.loss(head(Features(logits=logits)), targets)
    expected = [F.cross_entropy(logits[0, 1:4], targets[0, 1:4]), F.cross_entropy(logits[1], targets[1])]
    assert losses.tolist() == pytest.approx([*map(float, expected), 0.0])
    metrics = head.metrics()
    metrics.update(logits, targets)
    values = metrics.compute()
    every = F.cross_entropy(torch.cat([logits[0, 1:4], logits[1]]), torch.cat([targets[0, 1:4], targets[1]]))
    assert float(values["perplexity"]) == pytest.approx(math.exp(every), rel=1e-6)
    right = (logits.argmax(2) == targets)[targets >= 0].float().mean()
    assert float(values["token_accuracy"]) == pytest.approx(float(right))


def test_a_perplexity_beyond_all_bounds_is_still_a_number() -> None:
    perplexity = Perplexity()
    perplexity.update(torch.tensor([[[0.0, 1e6]]]), torch.tensor([[0]]))
    assert float(perplexity.compute()) == pytest.approx(1e30)
    perplexity.reset()
    perplexity.update(torch.zeros(1, 1, 2), torch.tensor([[-100]]))
    assert float(perplexity.compute()) == 1.0  # of no tokens


def test_targets_are_those_of_the_preprocessor() -> None:
    encoder = built().encoder()
    targets = encoder(["one", "two"], [{TARGETS: [-100, 3, 4]}, {TARGETS: [5]}])
    assert targets.tolist() == [[-100, 3, 4], [5, -100, -100]]
    with pytest.raises(DataError, match="no text that is to be written"):
        encoder([None], [{TARGETS: [-100]}])


def test_options_tell_how_texts_are_written() -> None:
    head = built(max_new_tokens=7, beams=3, live=2, evaluated=None)
    assert head.generation() == Generation(7, 3, 2, None)
    head.texts = lambda tokens: [f"{len(row)} tokens" for row in tokens]
    assert head.decode(torch.zeros(2, 4)) == [Prediction("4 tokens"), Prediction("4 tokens")]


def _sentence(made: random.Random) -> str:
    return " ".join(made.choices(VOCABULARY, k=made.randrange(0, 14)))


@pytest.mark.parametrize("seed", range(5))
def test_overlap_is_counted_as_the_reference_tools_count_it(seed: int) -> None:
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    made = random.Random(seed)
    expected = [_sentence(made) for _ in range(20)]
    written = [text if made.random() < 0.2 else _sentence(made) for text in expected]
    metrics = OverlapMetrics()
    for start in (0, 7):
        part = slice(start, 7 if start == 0 else None)
        samples = [Sample(str(number), label=text) for number, text in enumerate(expected[part])]
        metrics.update([Prediction(text) for text in written[part]], samples)
    values = metrics.compute()
    assert values["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, [expected]).score, abs=1e-6)
    assert values["chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, [expected]).score, abs=1e-6)

    # rouge-score knows the letters a to z alone.
    plain = [[text.replace("Ä", "A").replace("ï", "i") for text in texts] for texts in (written, expected)]
    metrics = OverlapMetrics()
    metrics.update([Prediction(text) for text in plain[0]], [Sample("x", label=text) for text in plain[1]])
    values = metrics.compute()
    names = ["rouge1", "rouge2", "rougeL"]
    make: Any = RougeScorer
    scorer = make(names)
    for name in names:
        scores = [scorer.score(other, one)[name].fmeasure for one, other in zip(*plain, strict=True)]
        assert values[name] == pytest.approx(sum(scores) / len(scores), abs=1e-6)


def test_scripts_without_spaces_are_compared_by_their_signs() -> None:
    assert words("Die Äpfel, 2 км") == ["die", "äpfel", "2", "км"]
    assert words("我爱北京 ok") == ["我", "爱", "北", "京", "ok"]
    metrics = OverlapMetrics()
    metrics.update([Prediction("我爱北京天安门")], [Sample("1", label="我爱上海天安门")])
    values = metrics.compute()
    assert values["rouge1"] == pytest.approx(5 / 7)
    assert values["bleu"] > 10  # as one word, nothing of it would be right
    assert OverlapMetrics().compute() == {}


def test_a_head_without_layers_of_its_own_needs_a_backbone_that_learns() -> None:
    info = LanguageModel().info()
    assert "no layer of its own" in (LinearProbe().why_not(info, TextGeneration()) or "")
    assert GradualUnfreezing().why_not(info, TextGeneration()) is None


# Formats


def read(form: DatasetFormat, path: Path, **options: Any) -> list[Sample | Rejected]:
    preview = form.preview(path, options)
    assert preview.task == "generation"
    return list(form.read(path, form.Options.model_validate({**preview.options, **options}), "generation"))


def write_csv(path: Path, *rows: tuple[str, ...]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("prompt", "completion"),
        ("input", "output"),
        ("Instruction", "Response"),
        ("text", "summary"),
        ("source", "target"),
        ("article", "highlights"),
    ],
)
def test_columns_of_prompts_and_answers_are_found_by_their_names(prompt: str, answer: str, tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "data.csv", (answer, "id", prompt), ("Good.", "1", "How are you?"), ("Yes.", "2", "So?")
    )
    assert PromptTable().detect(path) > TextTable().detect(path)
    first, second = read(PromptTable(), path)
    assert isinstance(first, Sample)
    assert isinstance(second, Sample)
    assert (first.text, first.label) == ("How are you?", "Good.")
    assert (second.id, second.source) == ("row 3", "data.csv, row 3")


@pytest.mark.parametrize(("names", "found"), [(("en", "de"), 0.93), (("German", "French"), 0.93), (("en", "id"), 0.05)])
def test_two_columns_named_by_languages_are_a_text_and_its_translation(
    names: tuple[str, str], found: float, tmp_path: Path
) -> None:
    path = write_csv(tmp_path / "data.csv", names, ("one", "eins"))
    assert PromptTable().detect(path) == found
    if found > 0.1:
        (sample,) = read(PromptTable(), path)
        assert isinstance(sample, Sample)
        assert (sample.text, sample.label) == ("one", "eins")


def test_what_an_instruction_is_about_stands_under_it(tmp_path: Path) -> None:
    path = tmp_path / "alpaca.jsonl"
    records = [
        {"instruction": "Translate.", "input": "Hallo", "output": "Hello"},
        {"instruction": "Say yes.", "input": "", "output": "Yes"},
        {"instruction": "", "input": "", "output": "Nothing"},
        {"instruction": "Say nothing.", "input": "", "output": None},
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    one, two, three, four = read(PromptTable(), path)
    assert isinstance(one, Sample)
    assert isinstance(two, Sample)
    assert (one.text, one.label) == ("Translate.\n\nHallo", "Hello")
    assert (two.text, two.label) == ("Say yes.", "Yes")
    assert isinstance(three, Rejected)
    assert three.reason == "It has no prompt."
    assert isinstance(four, Rejected)


def test_other_columns_are_chosen_by_the_user(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "data.csv", ("frage", "antwort"), ("Wie geht es dir heute?", "Gut."))
    assert 0 < PromptTable().detect(path) < 0.1
    (sample,) = read(PromptTable(), path, text_column="frage", label_column="antwort")
    assert isinstance(sample, Sample)
    assert (sample.text, sample.label) == ("Wie geht es dir heute?", "Gut.")
    with pytest.raises(DataError, match='no column "fragen"'):
        PromptTable().preview(path, {"text_column": "fragen"})
    plain = {**PromptTable().preview(path).options, **PromptTable().without_labels(), "text_column": "frage"}
    (sample,) = PromptTable().read(path, PromptTable.Options.model_validate(plain), "generation")
    assert isinstance(sample, Sample)
    assert sample.label is None


def test_questions_on_texts_are_left_to_their_own_format(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "squad.csv", ("question", "context", "answer"), ("Who?", "Anna sings.", "Anna"))
    assert PromptTable().detect(path) < 0.1
    assert Questions().detect(path) == 0


def test_the_last_reply_of_a_conversation_is_learned(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    records = [
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]},
        {
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Yes?"},
                {"from": "human", "value": "2 + 2?"},
                {"from": "gpt", "value": "4"},
                {"from": "human", "value": "Thanks"},
            ]
        },
        {"messages": [{"role": "assistant", "content": "Hello!"}]},
        {"messages": [{"role": "user", "content": ["an image"]}]},
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    assert Conversations().detect(path) > PromptTable().detect(path)
    one, two, three, four = read(Conversations(), path)
    assert isinstance(one, Sample)
    assert isinstance(two, Sample)
    assert (one.text, one.label) == ("Hi", "Hello!")
    assert (two.text, two.label) == ("system: Be brief.\nhuman: Hi\ngpt: Yes?\nhuman: 2 + 2?", "4")
    assert isinstance(three, Rejected)
    assert isinstance(four, Rejected)
    assert three.source == "chat.jsonl, line 3"


def test_running_text_is_cut_into_pieces_that_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    text = "\n\n".join(" ".join(f"w{10 * line + place}" for place in range(10)) for line in range(5)) + " end."
    (tmp_path / "books" / "one.txt").write_text(text)
    (tmp_path / "books" / "two.txt").write_text("很好的电影" * 10)
    (tmp_path / "books" / "three.txt").write_text("too short")
    form = RunningText()
    assert 0 < form.detect(tmp_path / "books") < 0.3
    found = read(form, tmp_path / "books", words=20, given=5)
    samples = [item for item in found if isinstance(item, Sample)]
    one = [sample for sample in samples if sample.group == "one.txt"]
    joined = " ".join(f"{sample.text} {sample.label}" for sample in one)
    assert joined.split() == text.split()
    assert [len((sample.text or "").split()) for sample in one] == [5, 5, 5]
    two = [sample for sample in samples if sample.group == "two.txt"]
    assert [len(sample.text or "") for sample in two] == [5, 5, 5]
    (rejected,) = (item for item in found if isinstance(item, Rejected))
    assert (rejected.source, rejected.reason) == ("three.txt", "It has only 2 words.")
    assert {sample.split for sample in samples} == {None}
    alone = read(form, tmp_path / "books" / "one.txt", words=20, given=5)
    assert {sample.group for sample in alone if isinstance(sample, Sample)} == {""}
    with pytest.raises(TLStudioError, match="30 words of each piece are given"):
        list(form.read(tmp_path / "books", RunningTextOptions(words=10, given=30), "generation"))


@pytest.mark.parametrize(("count", "train", "validation"), [(2, 0, 0), (3, 1, 1), (20, 14, 3)])
def test_a_single_text_is_cut_into_splits_where_it_goes_on(
    tmp_path: Path, count: int, train: int, validation: int
) -> None:
    path = tmp_path / "book.txt"
    path.write_text(" ".join(f"w{place}" for place in range(20 * count + 5)))  # the last five are no piece
    found = read(RunningText(), path, words=20, given=5)
    splits = [item.split for item in found if isinstance(item, Sample)]
    test = count - train - validation
    expected = ["train"] * train + ["validation"] * validation + ["test"] * test
    assert splits == (expected if train else [None] * count)
