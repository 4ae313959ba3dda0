from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.scenes import compose, write_coco, write_yolo
from tlstudio.api import DataError, Modality, Rejected, Sample, Task
from tlstudio.data.unlabelled import readers_of, samples_in
from tlstudio.plugins import Registry


def read(
    source: Path, registry: Registry, modality: Modality, text_column: str = "", image_column: str = ""
) -> list[Sample]:
    columns = {"text_column": text_column, "image_column": image_column}
    found = samples_in(source, registry.formats.values(), modality, columns)
    assert not [item for item in found if isinstance(item, Rejected)]
    samples = [item for item in found if isinstance(item, Sample)]
    assert all(sample.label is None for sample in samples)
    return samples


def test_one_image_a_flat_folder_and_a_nested_folder_are_read(shapes_folder: Path, registry: Registry) -> None:
    one = read(shapes_folder / "circle" / "circle_00.png", registry, "image")
    assert [sample.id for sample in one] == ["circle_00.png"]
    assert len(read(shapes_folder / "circle", registry, "image")) == 16
    assert len(read(shapes_folder, registry, "image")) == 48


def test_one_text_a_folder_of_texts_and_a_table_are_read(tmp_path: Path, registry: Registry, reviews_csv: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("one text\nof two lines")
    (tmp_path / "deep" / "b.txt").write_text("another")
    assert [sample.text for sample in read(tmp_path / "a.txt", registry, "text")] == ["one text\nof two lines"]
    assert [sample.id for sample in read(tmp_path, registry, "text")] == ["a.txt", "deep/b.txt"]
    assert len(read(reviews_csv, registry, "text")) == 60


def test_a_table_without_labels_and_with_odd_names_is_read(tmp_path: Path, registry: Registry) -> None:
    source = tmp_path / "a.csv"
    source.write_text("a,b\nsome words of a text,1\nother words of a text,2\n")
    assert [sample.text for sample in read(source, registry, "text")][1] == "other words of a text"
    assert [sample.text for sample in read(source, registry, "text", text_column="b")] == ["1", "2"]
    with pytest.raises(DataError, match='no column "c"'):
        read(source, registry, "text", text_column="c")


def test_columns_of_the_training_are_taken_where_a_table_has_them(tmp_path: Path, registry: Registry) -> None:
    source = tmp_path / "a.csv"
    source.write_text("text,body,asked\nsome words of a text,b,c\nother words of a text,d,e\n")
    formats = registry.formats.values()

    def texts(usual: Mapping[str, str], **columns: str) -> list[tuple[str | None, str | None]]:
        found = samples_in(source, formats, "text", columns, usual=usual)
        return [(item.text, item.pair) for item in found if isinstance(item, Sample)]

    usual = {"text_column": "body", "pair_column": "asked", "label_column": "text"}
    assert texts(usual) == [("b", "c"), ("d", "e")]
    assert texts(usual, text_column="text")[0] == ("some words of a text", "c")
    assert texts({"text_column": "gone"})[0] == ("some words of a text", None)


def test_a_table_of_images_is_read_with_the_missing_ones_in_their_place(
    tmp_path: Path, registry: Registry, shapes_folder: Path
) -> None:
    source = tmp_path / "a.csv"
    paths = [shapes_folder / "circle" / "circle_00.png", tmp_path / "gone.png", shapes_folder / "圆环" / "圆环_01.png"]
    source.write_text("\n".join(["picture", *map(str, paths)]), encoding="utf-8")
    found = samples_in(source, registry.formats.values(), "image")
    assert [type(item) for item in found] == [Sample, Rejected, Sample]
    named = samples_in(source, registry.formats.values(), "image", {"image_column": "picture"})
    assert named == found


@pytest.mark.parametrize(
    ("name", "modality", "says"),
    [
        ("nothing.png", "image", "no file or folder"),
        ("empty", "image", "no images to predict"),
        ("a.txt", "image", "no images to predict"),
        ("empty", "text", "no texts to predict"),
    ],
)
def test_a_source_without_anything_to_predict_is_a_sentence(
    tmp_path: Path, registry: Registry, name: str, modality: Modality, says: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(DataError, match=says):
        samples_in(tmp_path / name, registry.formats.values(), modality)


def test_a_first_row_that_is_spoilt_does_not_choose_another_format(tmp_path: Path, registry: Registry) -> None:
    source = tmp_path / "a.csv"
    source.write_text("age,job,pay\nold,a,5\n10,b,7\n12,a,9\n")

    def takes(sample: Sample) -> bool:
        return sample.values is not None and sample.values.get("age") in ("10", "12", 10.0, 12.0)

    found = samples_in(source, registry.formats.values(), "table", takes=takes)
    assert [item.id for item in found if isinstance(item, Sample)] == ["row 2", "row 3", "row 4"]


def _lines(records: Sequence[Mapping[str, object]]) -> str:
    return "\n".join(map(json.dumps, records))


QUESTIONS = [
    {"question": "Who?", "answers": [{"text": "Anna", "answer_start": 0}]},
    {"question": "Wrong?", "answers": [{"text": "Anna", "answer_start": 3}]},
    {"question": "New?"},
]
TURNS = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]


@pytest.mark.parametrize(
    ("name", "content", "task", "texts"),
    [
        ("a.conll", "EU B-ORG\nrejects O\n\nword\n", "token_classification", ["EU rejects", "word"]),
        ("a.conll", "EU\nrejects\n\nword\n", "token_classification", ["EU rejects", "word"]),
        ("a.txt", "EU B-ORG\nrejects O\n\nit O\n", "token_classification", ["EU rejects", "it"]),
        ("a.txt", "EU B-ORG\nrejects O\n\nit O\n", "classification", ["EU B-ORG\nrejects O\n\nit O"]),
        (
            "a.jsonl",
            _lines([{"text": "Anna", "spans": [[0, 4, "PER"]]}, {"text": "wrong", "spans": [1]}, {"text": "new"}]),
            "token_classification",
            ["Anna", "wrong", "new"],
        ),
        (
            "a.json",
            json.dumps({"data": [{"paragraphs": [{"context": "Anna", "qas": QUESTIONS}]}]}),
            "question_answering",
            [("Anna", "Who?"), ("Anna", "Wrong?"), ("Anna", "New?")],
        ),
        (
            "a.jsonl",
            _lines([{"messages": TURNS}, {"messages": [*TURNS, {"role": "user", "content": "Go on"}]}]),
            "generation",
            ["Hello", "user: Hello\nassistant: Hi\nuser: Go on"],
        ),
        ("a.csv", "prompt,completion,label\nsay a,a,1\nsay b,b,2\n", "generation", ["say a", "say b"]),
    ],
)
def test_a_file_that_import_reads_is_predicted_whatever_labels_are_in_it(
    name: str, content: str, task: Task, texts: list[object], tmp_path: Path, registry: Registry
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    found = samples_in(tmp_path / name, registry.formats.values(), "text", task=task)
    samples = [item for item in found if isinstance(item, Sample)]
    assert len(samples) == len(found)
    assert all(sample.label is None for sample in samples)
    assert [sample.text if sample.pair is None else (sample.text, sample.pair) for sample in samples] == texts


def test_images_of_boxes_are_found_from_their_folder_and_its_description(tmp_path: Path, registry: Registry) -> None:
    splits = {"train": compose(3, seed=1, size=(64, 48), sides=(8, 20))}
    coco, yolo = tmp_path / "coco", tmp_path / "yolo"
    coco.mkdir()
    yolo.mkdir()
    write_coco(coco, splits)
    write_yolo(yolo, splits)
    (coco / "new.jpg").write_bytes(next(coco.rglob("*.jpg")).read_bytes())
    sources = {coco: 4, next(coco.rglob("*.json")): 3, yolo: 3, yolo / "data.yaml": 3}
    formats = registry.formats.values()
    for source, count in sources.items():
        found = samples_in(source, formats, "image", task="detection")
        assert len(found) == count
        assert all(isinstance(item, Sample) and item.label is None for item in found), source
    assert readers_of(coco, formats, "image", task="classification")[0][0].name == "image_folder"
