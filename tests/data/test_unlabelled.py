from __future__ import annotations

from pathlib import Path

import pytest

from tlstudio.api import DataError, Modality, Rejected, Sample
from tlstudio.data.unlabelled import samples_in
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
