"""Texts with marked parts, tagged words, questions with answers and pairs, in the files that tools write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tlstudio.api import DataError, Rejected, Sample, Span, Task
from tlstudio.data import import_dataset, plan_import
from tlstudio.plugins import Registry
from tlstudio_formats.marked_texts import MarkedTexts
from tlstudio_formats.questions import Questions
from tlstudio_formats.tagged_words import TaggedWords

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC
call NN I-NP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
BRUSSELS NNP B-NP B-LOC
"""


def read(format_: TaggedWords | MarkedTexts | Questions, path: Path, **options: object) -> list[Sample | Rejected]:
    return list(format_.read(path, format_.Options.model_validate(options), format_.tasks[0]))


def marked(sample: Sample | Rejected) -> list[tuple[str, str]]:
    assert isinstance(sample, Sample), sample
    assert sample.text is not None
    assert isinstance(sample.label, tuple)
    spans = [part for part in sample.label if isinstance(part, Span)]
    return [(sample.text[span.start : span.end], span.name) for span in spans]


def test_sentences_of_conll_become_texts_with_their_parts(tmp_path: Path) -> None:
    path = tmp_path / "eng.conll"
    path.write_text(CONLL, encoding="utf-8")
    assert TaggedWords().detect(path) > 0.9
    first, second = read(TaggedWords(), path)
    assert isinstance(first, Sample)
    assert first.text == "EU rejects German call"
    assert first.source == "eng.conll, line 3"
    assert marked(first) == [("EU", "ORG"), ("German", "MISC")]
    assert marked(second) == [("Peter Blackburn", "PER"), ("BRUSSELS", "LOC")]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-PER I-PER O", [("a b", "PER")]),  # IOB1
        ("B-PER B-PER O", [("a", "PER"), ("b", "PER")]),
        ("B-PER E-PER S-LOC", [("a b", "PER"), ("c", "LOC")]),  # IOBES
        ("U-PER B-LOC L-LOC", [("a", "PER"), ("b c", "LOC")]),  # BILOU
        ("I-PER I-LOC I-LOC", [("a", "PER"), ("b c", "LOC")]),
    ],
)
def test_each_scheme_of_tags_is_understood(tags: str, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    path = tmp_path / "x.bio"
    path.write_text("".join(f"{word}\t{tag}\n" for word, tag in zip("abc", tags.split(), strict=True)))
    assert marked(read(TaggedWords(), path)[0]) == expected


def test_a_folder_of_conll_files_says_itself_what_is_for_testing(tmp_path: Path, registry: Registry) -> None:
    folder = tmp_path / "ner"
    folder.mkdir()
    for name in ("train", "valid", "test"):
        (folder / f"{name}.txt").write_text(CONLL * 3, encoding="utf-8")
    (folder / "README.txt").write_text("About these files.\n", encoding="utf-8")
    request, _ = plan_import(registry.formats.values(), folder)
    assert (request.format.name, request.task) == ("tagged_words", "token_classification")
    revision = import_dataset(request, tmp_path / "datasets").revision
    assert revision.classes == ("LOC", "MISC", "ORG", "PER")
    assert {split: len(revision.indices(split)) for split in ("train", "validation", "test")} == {
        "train": 6,
        "validation": 6,
        "test": 6,
    }
    assert marked(revision.sample(1)) == [("Peter Blackburn", "PER"), ("BRUSSELS", "LOC")]
    assert revision.class_counts()["test"] == {"LOC": 3, "MISC": 3, "ORG": 3, "PER": 3}


def test_a_line_without_a_tag_costs_its_sentence_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.conll"
    path.write_text("a B-PER\nb\n\nc B-LOC\n\nd Person\n", encoding="utf-8")
    first, second, third = read(TaggedWords(), path)
    assert isinstance(first, Rejected)
    assert (first.source, first.reason) == ("x.conll, line 2", 'It has no tag: "b".')
    assert marked(second) == [("c", "LOC")]
    assert isinstance(third, Rejected)
    assert (third.source, third.reason) == ("x.conll, line 6", 'Its tag "Person" is neither O nor like B-PER.')


def test_one_spoilt_line_does_not_keep_a_file_from_being_recognised(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "x.txt"
    path.write_text(CONLL * 3 + "\nword\n\n", encoding="utf-8")
    assert TaggedWords().detect(path) > 0.9
    (tmp_path / "y.conll").write_text("word\n\nanother word\n", encoding="utf-8")
    with pytest.raises(DataError, match=r'y\.conll, line 1: It has no tag: "word"'):
        import_dataset(plan_import(registry.formats.values(), tmp_path / "y.conll")[0], tmp_path / "datasets")


def test_the_files_of_the_shared_task_are_told_with_their_splits(tmp_path: Path) -> None:
    for name in ("eng.train", "eng.testa", "eng.testb"):
        (tmp_path / name).write_text(CONLL, encoding="utf-8")
    preview = TaggedWords().preview(tmp_path)
    assert preview.count == 6
    assert preview.notes == ("Read are eng.testa (validation), eng.testb (test), eng.train (train).",)


def test_a_word_that_begins_like_a_remark_is_a_word(tmp_path: Path) -> None:
    path = tmp_path / "x.conll"
    path.write_text("# sent_id = 1\n#lab B-TAG\nis O\n", encoding="utf-8")
    assert TaggedWords().detect(path) > 0.9
    (sample,) = read(TaggedWords(), path)
    assert marked(sample) == [("#lab", "TAG")]


def test_a_line_or_file_that_would_fill_the_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlstudio_formats.lines.LONGEST", 100)
    lines = [json.dumps({"text": "some text", "spans": [[0, 4, "A"]], "more": "x" * size}) for size in (0, 300, 0)]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    first, second, third = read(MarkedTexts(), path)
    assert marked(first) == marked(third) == [("some", "A")]
    assert isinstance(second, Rejected)
    assert second.source == "x.jsonl, line 2"
    monkeypatch.setattr("tlstudio_formats.json_records.MOST_BYTES", 100)
    (tmp_path / "x.json").write_text(f"[{','.join(lines)}]", encoding="utf-8")
    assert MarkedTexts().detect(tmp_path / "x.json") == 0.0
    with pytest.raises(DataError, match=r"x\.json has 0 MiB, too much"):
        read(MarkedTexts(), tmp_path / "x.json")


@pytest.mark.parametrize(
    "record",
    [
        {"text": "I am in Berlin", "label": [[8, 14, "LOC"]]},  # doccano
        {"text": "I am in Berlin", "entities": [{"start_offset": 8, "end_offset": 14, "label": "LOC"}]},
        {"text": "I am in Berlin", "spans": [{"start": 8, "end": 14, "label": "LOC", "token_start": 3}]},  # Prodigy
        {"text": "I am in Berlin", "label": [{"start": 8, "end": 14, "text": "Berlin", "labels": ["LOC"]}]},
    ],
)
def test_marked_parts_are_read_as_each_tool_writes_them(record: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")
    assert MarkedTexts().detect(path) > 0.9
    assert marked(read(MarkedTexts(), path)[0]) == [("Berlin", "LOC")]


def test_parts_that_overlap_or_lie_outside_are_told_with_their_line(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "x.jsonl"
    rows = [
        [[0, 2, "A"]],
        [[0, 4, "A"], [3, 5, "B"]],
        [[3, 99, "A"]],
        [[2, 2, "A"]],
        [[0, 2, " "]],
        ["A"],
        [[4, 6, "B"]],
    ]
    lines = [json.dumps({"text": "some text", "spans": spans}) for spans in rows]
    path.write_text("\n".join([*lines, "{not json", '{"text": ""}']), encoding="utf-8")
    request, _ = plan_import(registry.formats.values(), path, format="marked_texts")
    report = import_dataset(request, tmp_path / "datasets")
    assert [(item.source, item.reason) for item in report.rejected] == [
        ("x.jsonl, line 2", 'The span "B" from 3 to 5 overlaps the one before it.'),
        ("x.jsonl, line 3", 'The span "A" from 3 to 99 is not inside the text, which has 9 characters.'),
        ("x.jsonl, line 4", 'The span "A" from 2 to 2 is not inside the text, which has 9 characters.'),
        ("x.jsonl, line 5", "The span from 0 to 2 has no name."),
        ("x.jsonl, line 6", "A is no marked part."),
        (
            "x.jsonl, line 8",
            "It is no valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1).",
        ),
        ("x.jsonl, line 9", "It has no text."),
    ]
    assert len(report.revision) == 2


SQUAD = {
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": "The cat sat on the mat. It was red.",
                    "qas": [
                        {
                            "question": "Where did the cat sit? ",
                            "answers": [
                                {"text": "on the mat", "answer_start": 12},
                                {"text": "the mat", "answer_start": 15},
                            ],
                        },
                        {"question": "Who was blue?", "answers": [], "is_impossible": True},
                        {"question": "Wrong?", "answers": [{"text": "dog", "answer_start": 4}]},
                    ],
                }
            ],
        }
    ]
}


def test_questions_of_squad_keep_all_answers_and_those_without_one(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(SQUAD), encoding="utf-8")
    request, preview = plan_import(registry.formats.values(), path)
    assert (request.format.name, request.task) == ("questions", "question_answering")
    assert preview.rows[0]["answer"] == "on the mat"
    report = import_dataset(request, tmp_path / "datasets")
    first, second = (report.revision.sample(row) for row in (0, 1))
    assert first.pair == "Where did the cat sit?"
    assert marked(first) == [("on the mat", "answer"), ("the mat", "answer")], "the first is the main one"
    assert second.label == ()
    assert first.split == second.split, "questions on one text stay together"
    assert [item.reason for item in report.rejected] == ['The answer "dog" is not at character 4 of its text.']


def test_a_second_column_makes_pairs_of_texts(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "pairs.csv"
    rows = [("a man eats", "someone eats", "yes"), ("a man eats", "nobody eats", "no"), ("it rains", "", "no")] * 3
    path.write_text("premise,hypothesis,label\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows), encoding="utf-8")
    options = {"text_column": "premise", "pair_column": "hypothesis", "label_column": "label"}
    request, _ = plan_import(registry.formats.values(), path, options=options)
    report = import_dataset(request, tmp_path / "datasets")
    sample = report.revision.sample(1)
    assert (sample.text, sample.pair, sample.label) == ("a man eats", "nobody eats", "no")
    assert {item.reason for item in report.rejected} == {"It has no second text."}
    splits = {(s.text, s.pair): s.split for s in map(report.revision.sample, range(len(report.revision)))}
    assert len(splits) == 2, "the same pair never lies in two splits"


@pytest.mark.parametrize(("task", "word"), [("regression", "regression"), ("question_answering", "question answering")])
def test_a_task_that_a_format_does_not_read_is_refused_with_those_that_it_does(
    task: Task, word: str, tmp_path: Path, registry: Registry
) -> None:
    path = tmp_path / "eng.conll"
    path.write_text(CONLL, encoding="utf-8")
    with pytest.raises(Exception, match=f"cannot be read for {word}.*token_classification"):
        plan_import(registry.formats.values(), path, task=task)
