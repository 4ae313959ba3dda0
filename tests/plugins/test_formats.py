"""Folders of images and texts and tables of images, read by the bundled formats."""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tlstudio.api import DataError, DatasetFormat, Rejected, Sample, Task
from tlstudio.data.planning import choose_format, suggest_options
from tlstudio.plugins import Registry
from tlstudio_formats import register_dataset_formats

FORMATS = {item.name: item for item in register_dataset_formats()}


def picture(path: Path, colour: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (colour, 0, 0)).save(path, format="PNG")
    return path


def read(
    format: str | DatasetFormat,  # noqa: A002
    path: Path,
    task: Task = "classification",
    **options: Any,
) -> list[Sample | Rejected]:
    chosen = FORMATS[format] if isinstance(format, str) else format
    filled, _ = suggest_options(chosen, path, options)
    return list(chosen.read(path, filled, task))


def labels(found: list[Sample | Rejected]) -> dict[str, Any]:
    return {item.id: item.label for item in found if isinstance(item, Sample)}


def rejected(found: list[Sample | Rejected]) -> dict[str, str]:
    return {item.source: item.reason for item in found if isinstance(item, Rejected)}


def test_the_bundled_formats_come_through_the_plugin_manager(registry: Registry) -> None:
    assert set(registry.formats) >= {
        *("image_folder", "image_table", "text_folder", "text_table"),
        *("tagged_words", "marked_texts", "questions"),
        *("audio_folder", "audio_table", "transcribed_folder"),
    }


def test_class_folders_in_any_script_are_read_in_order(tmp_path: Path) -> None:
    for name in ("猫", "собака", "Vögel mit Leerzeichen", "🙂"):
        picture(tmp_path / name / "день 1.png")
    found = read("image_folder", tmp_path)
    assert [item.id for item in found if isinstance(item, Sample)] == sorted(
        f"{name}/день 1.png" for name in ("猫", "собака", "Vögel mit Leerzeichen", "🙂")
    )
    assert set(labels(found).values()) == {"猫", "собака", "Vögel mit Leerzeichen", "🙂"}


def test_nested_folders_belong_to_their_class_and_may_be_groups(tmp_path: Path) -> None:
    for path in ("cat/p1/a.png", "cat/p1/deep/b.png", "cat/c.png", "dog/p1/a.png"):
        picture(tmp_path / path)
    assert labels(read("image_folder", tmp_path)) == {
        "cat/c.png": "cat",
        "cat/p1/a.png": "cat",
        "cat/p1/deep/b.png": "cat",
        "dog/p1/a.png": "dog",
    }
    grouped = read("image_folder", tmp_path, groups="subfolders")
    groups = {item.id: item.group for item in grouped if isinstance(item, Sample)}
    assert groups == {
        "cat/c.png": "",
        "cat/p1/a.png": "cat/p1",
        "cat/p1/deep/b.png": "cat/p1",
        "dog/p1/a.png": "dog/p1",
    }


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "dev", "TEST"), ("训练", "验证", "测试")])
def test_split_folders_prescribe_the_splits(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for name in names:
        for label in ("a", "b"):
            picture(tmp_path / name / label / "1.png")
    found = read("image_folder", tmp_path)
    splits = {item.id: item.split for item in found if isinstance(item, Sample)}
    assert splits[f"{names[1]}/a/1.png"] == "validation"
    assert Counter(splits.values()) == {"train": 2, "validation": 2, "test": 2}
    assert set(labels(found).values()) == {"a", "b"}
    again = read("image_folder", tmp_path, splits="ignore")
    assert set(labels(again).values()) == set(names)


def test_a_class_called_test_is_no_split(tmp_path: Path) -> None:
    for name in ("train", "car", "test"):
        picture(tmp_path / name / "sub" / "1.png")
    found = read("image_folder", tmp_path)
    assert set(labels(found).values()) == {"train", "car", "test"}
    assert all(item.split is None for item in found if isinstance(item, Sample))


def test_a_single_folder_around_the_classes_is_stepped_into(tmp_path: Path) -> None:
    for label in ("a", "b"):
        picture(tmp_path / "unpacked" / "images" / label / "1.png")
    assert labels(read("image_folder", tmp_path)) == {"unpacked/images/a/1.png": "a", "unpacked/images/b/1.png": "b"}
    assert any("unpacked/images" in note for note in FORMATS["image_folder"].preview(tmp_path).notes)


def test_what_systems_leave_behind_is_ignored_and_strangers_are_told(tmp_path: Path) -> None:
    for label in ("a", "b"):
        picture(tmp_path / label / "1.png")
    for junk in (
        "a/.DS_Store",
        "a/Thumbs.db",
        "a/._1.png",
        "__MACOSX/a/1.png",
        ".git/x.png",
        "a/notes.txt",
        "desktop.ini",
    ):
        (tmp_path / junk).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / junk).write_bytes(b"x")
    picture(tmp_path / "beside.png")
    (tmp_path / "a" / "phone.HEIC").write_bytes(b"x")
    found = read("image_folder", tmp_path)
    assert set(labels(found)) == {"a/1.png", "b/1.png"}
    assert set(rejected(found)) == {"a/phone.HEIC", "beside.png"}
    (beside,) = [item for item in found if item.source == "beside.png"]
    assert isinstance(beside, Rejected)
    assert "outside the class folders" in beside.remedy
    assert any("notes.txt" in note for note in FORMATS["image_folder"].preview(tmp_path).notes)


def test_an_image_without_suffix_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "one")
    picture(tmp_path / "b" / "TWO.PNG")
    (tmp_path / "b" / "README").write_text("no image")
    assert set(labels(read("image_folder", tmp_path))) == {"a/one", "b/TWO.PNG"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_links_to_files_count_and_links_to_folders_are_told_and_not_followed(tmp_path: Path) -> None:
    source, outside = tmp_path / "source", tmp_path / "outside"
    picture(outside / "secret.png")
    for label in ("a", "b"):
        picture(source / label / "1.png")
    (source / "a" / "link.png").symlink_to(outside / "secret.png")
    (source / "b" / "loop").symlink_to(source)
    (source / "b" / "self").symlink_to(source / "b" / "self")
    (source / "b" / "gone.png").symlink_to(tmp_path / "nothing.png")
    (source / "c").symlink_to(outside)
    found = read("image_folder", source)
    assert set(labels(found)) == {"a/1.png", "a/link.png", "b/1.png"}
    assert rejected(found) == {
        "b/loop": "It is a link to a folder, and such links are not followed.",
        "b/self": "It is a link that leads in a circle.",
        "b/gone.png": "It is a link that leads nowhere.",
        "c": "It is a link to a folder, and such links are not followed.",
    }
    assert any("not followed: c" in note for note in FORMATS["image_folder"].preview(source).notes)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are a matter of POSIX")
def test_pipes_and_sockets_do_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label in ("a", "b"):
        picture(tmp_path / label / "1.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("a/socket.png")  # relative: a socket's path may not be long
        assert set(labels(read("image_folder", tmp_path))) == {"a/1.png", "b/1.png"}


@pytest.mark.parametrize("name", ["image_folder", "text_folder"])
def test_an_empty_folder_gets_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"is empty\. Put each class into a subfolder"):
        FORMATS[name].preview(tmp_path)
    with pytest.raises(DataError, match=r"No data format fits .*: the folder is empty"):
        choose_format(FORMATS.values(), tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="There are no "):
        FORMATS[name].preview(tmp_path)


def test_a_flat_folder_says_what_is_missing_and_can_be_read_without_labels(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"{number}.png")
    preview = FORMATS["image_folder"].preview(tmp_path)
    assert preview.task is None
    assert any("There are no subfolders" in note for note in preview.notes)
    assert labels(read("image_folder", tmp_path, **(FORMATS["image_folder"].without_labels() or {}))) == {
        "0.png": None,
        "1.png": None,
        "2.png": None,
    }


def test_the_preview_of_a_folder_shows_the_classes_by_turns(tmp_path: Path) -> None:
    for label in ("a", "b", "c"):
        for number in range(15):
            picture(tmp_path / label / f"{number:02}.png")
    preview = FORMATS["image_folder"].preview(tmp_path)
    assert [row["label"] for row in preview.rows[:4]] == ["a", "b", "c", "a"]
    assert (len(preview.rows), preview.count, preview.task) == (20, 45, "classification")


def test_folders_cannot_be_regressed(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match="regression needs a number"):
        read("image_folder", tmp_path, task="regression")


def test_text_folders_are_read_in_any_encoding(tmp_path: Path) -> None:
    texts = {"a/1.txt": ("Größe", "utf-8"), "a/2.txt": ("Größe und Öl", "cp1252"), "b/1.txt": ("Größe", "utf-16")}
    for name, (text, encoding) in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(f"  {text}\n".encode(encoding))
    (tmp_path / "b" / "2.txt").write_bytes(b" \n")
    assert choose_format(FORMATS.values(), tmp_path)[0].name == "text_folder"
    found = read("text_folder", tmp_path)
    assert {item.id: item.text for item in found if isinstance(item, Sample)} == {
        name: text for name, (text, _) in texts.items()
    }
    assert rejected(found) == {"b/2.txt": "It has no text."}


def table(path: Path, rows: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def test_a_table_of_images_finds_them_beside_it_or_in_a_folder_beside_it(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "photos" / f"{number}.png", number)
    source = table(tmp_path / "labels.csv", ["file,species", *(f"{n}.png,{'ab'[n % 2]}" for n in range(4))])
    assert choose_format(FORMATS.values(), source)[0].name == "image_table"
    preview = FORMATS["image_table"].preview(source)
    assert preview.options["image_folder"] == "photos"
    assert (preview.options["image_column"], preview.options["label_column"]) == ("file", "species")
    found = read("image_table", source)
    assert labels(found) == {"0.png": "a", "1.png": "b", "2.png": "a", "3.png": "b"}
    assert isinstance(found[0], Sample)
    assert found[0].image == tmp_path / "photos" / "0.png"


def test_images_that_cannot_be_found_are_rejected_by_row(tmp_path: Path) -> None:
    picture(tmp_path / "sub" / "1.png")
    rows = ["image,label", "sub\\1.png,a", "2.png,b", "https://example.org/3.png,a", ",b", f"{tmp_path}/sub/1.png,b"]
    found = read("image_table", table(tmp_path / "labels.csv", rows), image_folder="")
    assert list(labels(found).values()) == ["a", "b"]
    assert list(rejected(found)) == ["labels.csv, row 3", "labels.csv, row 4", "labels.csv, row 5"]
    reasons = list(rejected(found).values())
    assert "There is no image 2.png" in reasons[0]
    assert "nothing is fetched" in reasons[1]
    assert "names no image" in reasons[2]


def test_an_image_folder_that_does_not_exist_is_told(tmp_path: Path) -> None:
    source = table(tmp_path / "labels.csv", ["image,label", "1.png,a", "2.png,b"])
    with pytest.raises(DataError) as caught:
        read("image_table", source, image_folder="nowhere")
    assert caught.value.field == "image_folder"


def test_the_form_of_a_table_begins_with_its_item(registry: Registry) -> None:
    assert next(iter(registry.formats["text_table"].Options.model_fields)) == "text_column"
    assert next(iter(registry.formats["image_table"].Options.model_fields)) == "image_column"


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_detection_never_raises(tmp_path: Path, name: str) -> None:
    odd = [tmp_path / "missing", tmp_path / "a.csv", tmp_path / "b.png", tmp_path / "c.jsonl", tmp_path / "d.parquet"]
    for path in odd[1:]:
        path.write_bytes(b"\xff\xfe\x00\x01\x9d\x8f")
    for path in [*odd, tmp_path, Path("/dev/null")]:
        assert 0 <= FORMATS[name].detect(path) <= 1
