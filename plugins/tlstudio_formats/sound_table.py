"""Tables with a column of paths to recordings, with labels or with what is said in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlstudio import api
from tlstudio.api import Preview, Task, option
from tlstudio_formats.columns import is_label_name, is_transcript
from tlstudio_formats.media_table import MediaTable
from tlstudio_formats.sources import Table
from tlstudio_formats.table_options import TableOptions, preview_of, preview_table


class SoundColumn(api.Options):
    """Where the recordings are."""

    audio_column: str = option("", title="Audio column", help="The column that holds the paths of the recordings.")
    audio_folder: str = option(
        "",
        title="Audio folder",
        help="The folder that the paths start from. Empty: the folder of the table.",
        browse="folder",
    )


class SoundTableOptions(TableOptions, SoundColumn):  # in this order the form begins with the audio column
    """How a table of recordings is read."""


class SoundTable(MediaTable):
    """CSV, TSV, JSON lines or Parquet: the path of one recording a row."""

    name = "audio_table"
    title = "Table of recordings"
    description = (
        "A CSV, TSV, JSONL or Parquet file with a column of paths to recordings and one of labels, or of what is said "
        "(as Common Voice has it)."
    )
    modality = "audio"
    tasks: tuple[Task, ...] = ("classification", "multi_label", "regression", "speech_recognition", "anomaly_detection")
    role = "audio"
    Options = SoundTableOptions

    def fit(self, table: Table) -> float:
        """Look for a column of such paths; with one of transcripts it is as good as with one of labels."""
        score = super().fit(table)
        if not 0 < score < 0.95:
            return score
        return 0.95 if _transcript(preview_of(table, {}, self.role), table, table.head()) else score

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first rows and guess the columns; transcripts are taken where no column is named as a label."""
        given = dict(options or {})
        first, table, rows = preview_table(path, given, self.role)
        if "label_column" not in given and (column := _transcript(first, table, rows)):
            given["label_column"] = column
        preview = super().preview(path, given)
        label = preview.options["label_column"]
        if label and is_transcript(label, _cells(table, rows, label)):
            return replace(preview, task="speech_recognition")
        return preview


def _cells(table: Table, rows: list[tuple[Any, ...]], column: str) -> list[Any]:
    place = table.columns.index(column)
    return [row[place] for row in rows]


def _transcript(preview: Preview, table: Table, rows: list[tuple[Any, ...]]) -> str:
    """Name the column with what is said; ``""``: there is none, or another one is named as that of the labels."""
    taken = {str(preview.options[f"{role}_column"]) for role in ("audio", "group", "split")}
    free = [name for name in table.columns if name not in taken]
    label = str(preview.options["label_column"])
    if label and is_label_name(label):
        return ""
    return next((name for name in free if is_transcript(name, _cells(table, rows, name))), "")
