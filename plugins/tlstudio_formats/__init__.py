"""Data set formats that come with TL Studio: folders by class, tables, texts with marked parts, transcripts."""

from __future__ import annotations

from collections.abc import Sequence

from tlstudio.api import DatasetFormat, hookimpl

TLSTUDIO_API = "1.0"


@hookimpl
def register_dataset_formats() -> Sequence[DatasetFormat]:
    """Return the formats."""
    from tlstudio_formats.coco import CocoBoxes
    from tlstudio_formats.conversations import Conversations
    from tlstudio_formats.image_folder import ImageFolder
    from tlstudio_formats.image_table import ImageTable
    from tlstudio_formats.image_text_table import ImageTextTable
    from tlstudio_formats.marked_texts import MarkedTexts
    from tlstudio_formats.mask_folder import MaskFolder
    from tlstudio_formats.prompt_table import PromptTable
    from tlstudio_formats.questions import Questions
    from tlstudio_formats.ratings import BothRatings, ImageRatings, TextRatings
    from tlstudio_formats.running_text import RunningText
    from tlstudio_formats.series import SeriesTable
    from tlstudio_formats.sound_folder import SoundFolder
    from tlstudio_formats.sound_table import SoundTable
    from tlstudio_formats.tagged_words import TaggedWords
    from tlstudio_formats.text_folder import TextFolder
    from tlstudio_formats.text_table import TextTable
    from tlstudio_formats.transcribed_folder import TranscribedFolder
    from tlstudio_formats.ts_files import TsFiles
    from tlstudio_formats.value_table import ValueTable
    from tlstudio_formats.voc import VocBoxes
    from tlstudio_formats.yolo import YoloBoxes

    return [
        ImageFolder(),
        ImageTable(),
        ImageTextTable(),
        TextFolder(),
        TextTable(),
        TaggedWords(),
        MarkedTexts(),
        Questions(),
        PromptTable(),
        Conversations(),
        RunningText(),
        MaskFolder(),
        CocoBoxes(),
        YoloBoxes(),
        VocBoxes(),
        SoundFolder(),
        SoundTable(),
        TranscribedFolder(),
        ValueTable(),
        SeriesTable(),
        TsFiles(),
        TextRatings(),
        ImageRatings(),
        BothRatings(),
    ]
