"""Data set formats that come with TL Studio: folders by class, tables, and texts with marked parts."""

from __future__ import annotations

from collections.abc import Sequence

from tlstudio.api import DatasetFormat, hookimpl

TLSTUDIO_API = "1.0"


@hookimpl
def register_dataset_formats() -> Sequence[DatasetFormat]:
    """Return the formats."""
    from tlstudio_formats.image_folder import ImageFolder
    from tlstudio_formats.image_table import ImageTable
    from tlstudio_formats.marked_texts import MarkedTexts
    from tlstudio_formats.questions import Questions
    from tlstudio_formats.series import SeriesTable
    from tlstudio_formats.tagged_words import TaggedWords
    from tlstudio_formats.text_folder import TextFolder
    from tlstudio_formats.text_table import TextTable
    from tlstudio_formats.ts_files import TsFiles
    from tlstudio_formats.value_table import ValueTable

    texts = [TextFolder(), TextTable(), TaggedWords(), MarkedTexts(), Questions()]
    return [ImageFolder(), ImageTable(), *texts, ValueTable(), SeriesTable(), TsFiles()]
