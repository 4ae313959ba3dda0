"""Tables of images with texts, and what an import makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tlstudio.api import DataError, Rejected, Sample
from tlstudio.data.importing import import_dataset
from tlstudio.data.planning import choose_format, plan_import
from tlstudio.data.revision import Revision
from tlstudio.data.statistics import image_sizes, text_lengths
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.testing import check_format
from tlstudio_formats import register_dataset_formats

FORMATS = {item.name: item for item in register_dataset_formats()}
ROWS = (
    "1.png,a dog runs over the meadow,good",
    "2.png,a cat sleeps on the old sofa,bad",
    "1.png,a cat sleeps on the old sofa,bad",
    "2.png,,good",
    "3.png,nobody is here at all,good",
    "1.png,a dog runs over the meadow,good",
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Rows with the same images and the same texts, and some that cannot be used."""
    for number in (1, 2):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (8, 6), (80 * number, 0, 0)).save(tmp_path / "photos" / f"{number}.png")
    path = tmp_path / "posts.csv"
    path.write_text("\n".join(("picture,caption,label", *ROWS)), encoding="utf-8")
    return path


def imported(source: Path, project: Project, registry: Registry, **options: Any) -> tuple[Revision, dict[str, str]]:
    request, _ = plan_import(registry.formats.values(), source, name="posts", format="image_text_table", **options)
    report = import_dataset(request, project.datasets_folder)
    return report.revision, {item.source: item.reason for item in report.rejected}


def test_it_keeps_the_contract(source: Path) -> None:
    samples = check_format(FORMATS["image_text_table"], source, "classification")
    assert [(sample.id, sample.text) for sample in samples][:2] == [
        ("1.png", "a dog runs over the meadow"),
        ("2.png", "a cat sleeps on the old sofa"),
    ]


def test_images_alone_are_what_is_usually_meant_unless_a_text_column_is_named(source: Path) -> None:
    assert choose_format(FORMATS.values(), source)[0].name == "image_table"
    notes = FORMATS["image_table"].preview(source).notes
    assert any('--format image_text_table -o "format.text_column=caption"' in note for note in notes)
    request, _ = plan_import(FORMATS.values(), source, options={"image_column": "picture", "text_column": "caption"})
    assert request.format.name == "image_text_table"
    request, _ = plan_import(FORMATS.values(), source, options={"text_column": "caption"})
    assert request.format.modality == "image+text"


def test_rows_without_image_or_text_are_rejected_with_a_sentence(source: Path) -> None:
    chosen = FORMATS["image_text_table"]
    options = chosen.Options.model_validate(chosen.preview(source).options)
    found = list(chosen.read(source, options, "classification"))
    assert [(item.source, item.reason) for item in found if isinstance(item, Rejected)] == [
        ("posts.csv, row 5", "It has no text."),
        ("posts.csv, row 6", f"There is no image 3.png in {source.parent / 'photos'}."),
    ]
    assert len([item for item in found if isinstance(item, Sample)]) == 4


def test_a_table_without_a_text_column_says_so(source: Path) -> None:
    chosen = FORMATS["image_text_table"]
    options = chosen.Options.model_validate({"image_column": "picture", "label_column": "label"})
    with pytest.raises(DataError, match="No text column is chosen") as told:
        list(chosen.read(source, options, "classification"))
    assert told.value.field == "text_column"


@pytest.mark.parametrize("copied", [True, False])
def test_an_import_keeps_both_and_tells_contents_apart_by_both(
    *, copied: bool, source: Path, project: Project, registry: Registry
) -> None:
    revision, rejected = imported(source, project, registry, copy_files=copied)
    assert set(rejected) == {"posts.csv, row 5", "posts.csv, row 6"}
    first, second, third, fourth = (revision.sample(row) for row in range(4))
    assert (first.text, third.text) == ("a dog runs over the meadow", "a cat sleeps on the old sofa")
    assert first.image == third.image
    assert first.image is not None
    assert first.image.is_file()
    hashes = revision.table.column("hash").to_pylist()
    assert len(set(hashes)) == 3, "the same image with another text is another content"
    assert hashes[0] == hashes[3]
    assert revision.split(0) == revision.split(3)
    assert (second.label, fourth.label) == ("bad", "good")
    assert text_lengths(revision).tolist()[:2] == [26, 28]
    assert image_sizes(revision)[0].tolist() == [8, 8, 8, 8]


def test_an_image_that_is_damaged_is_left_out(source: Path, project: Project, registry: Registry) -> None:
    (source.parent / "photos" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    _, rejected = imported(source, project, registry)
    assert "posts.csv, row 3" in rejected
