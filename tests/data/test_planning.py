"""Finding the format of a source, also beside one that fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tlstudio.api import DataError, DatasetFormat, Options, Preview, Rejected, Sample, Source, Task
from tlstudio.data.planning import detect_all, plan_import
from tlstudio.data.unlabelled import samples_in
from tlstudio.plugins import PluginManager, Registry


class Failing(DatasetFormat):
    """A format whose author has forgotten something."""

    name, title, description, modality = "failing", "Failing format", "Divides by zero.", "image"

    def detect(self, path: Path) -> float:
        """Fail."""
        return 1 / 0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Fail, too."""
        raise NotImplementedError

    def read(self, path: Path, options: Options, task: Task) -> Iterator[Sample | Rejected]:
        """Give nothing."""
        return iter(())

    def without_labels(self) -> Mapping[str, Any]:
        """Say that it could be used for predictions."""
        return {}


def test_a_format_that_fails_is_named_and_hurts_no_other(shapes_folder: Path, tmp_path: Path) -> None:
    manager = PluginManager()
    manager.discover()
    registry = manager.registry
    registry.add(Failing())
    formats = registry.formats.values()
    request, preview = plan_import(formats, shapes_folder)
    assert request.format.name == "image_folder"
    assert any('"Failing format" (failing) was left out' in note for note in preview.notes)
    assert any("ZeroDivisionError" in note for note in preview.notes)
    assert [item.name for _, item in registry.detect_format(shapes_folder)] == ["image_folder"]
    assert len(samples_in(shapes_folder, formats, "image")) == 48
    (tmp_path / "a.bin").write_bytes(b"\0")
    with pytest.raises(DataError, match=r"No data format fits .*\(failing\) was left out"):
        plan_import(formats, tmp_path / "a.bin")


@pytest.mark.parametrize("name", ["conversations", "marked_texts", "questions"])
def test_a_folder_where_a_format_reads_a_file_is_told(shapes_folder: Path, registry: Registry, name: str) -> None:
    with pytest.raises(DataError, match="cannot be read as"):
        plan_import(registry.formats.values(), shapes_folder, format=name)


def test_what_one_format_has_read_the_next_does_not_read_again(tmp_path: Path) -> None:
    read: list[Path] = []

    def length(path: Path) -> int:
        read.append(path)
        return len(path.read_bytes())

    class Looking(Failing):
        def look(self, source: Source) -> float:
            return source.once(length) / 10

    first, second = Looking(), Looking()
    first.name, second.name = "first", "second"
    path = tmp_path / "a.bin"
    path.write_bytes(b"12345")
    ranked, failed = detect_all([first, second, Failing()], path)
    assert [(score, item.name) for score, item in ranked] == [(0.5, "first"), (0.5, "second")]
    assert len(failed) == 1  # which knows nothing of it and is asked as ever
    assert read == [path]
    ranked, failed = detect_all([first, second], tmp_path / "nothing")
    assert ranked == []
    assert ["FileNotFoundError" in sentence for sentence in failed] == [True, True]
    assert read == [path, tmp_path / "nothing"]
