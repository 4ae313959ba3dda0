"""Tables with a column of paths to images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlstudio import api
from tlstudio.api import Preview, option
from tlstudio_formats.columns import guess_columns
from tlstudio_formats.media_table import MediaTable
from tlstudio_formats.table_notes import who_rated_what
from tlstudio_formats.table_options import TableOptions


class ImageColumn(api.Options):
    """Where the images are."""

    image_column: str = option("", title="Image column", help="The column that holds the paths of the images.")
    image_folder: str = option(
        "",
        title="Image folder",
        help="The folder that the paths start from. Empty: the folder of the table.",
        browse="folder",
    )


class ImageTableOptions(TableOptions, ImageColumn):  # in this order the form begins with the image column
    """How a table of images is read."""


class ImageTable(MediaTable):
    """CSV, TSV, JSON lines or Parquet: the path of one image a row."""

    name = "image_table"
    title = "Table of images"
    description = "A CSV, TSV, JSONL or Parquet file with a column of image paths and one of labels."
    modality = "image"
    role = "image"
    Options = ImageTableOptions

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Do the same, and say where there are texts that a model could learn from as well."""
        preview = super().preview(path, options)
        taken = {str(preview.options[f"{role}_column"]) for role in ("image", "label", "group", "split")}
        free = [name for name in preview.columns if name not in taken]
        text = guess_columns(free, [[row.get(name, "") for name in free] for row in preview.rows], ("text",))["text"]
        notes = who_rated_what(preview.columns, options or {})
        if text:
            notes.append(
                f'The column "{text}" seems to hold texts. The format Table of images with texts learns from both (on '
                f'the command line: --format image_text_table -o "format.text_column={text}").'
            )
        return replace(preview, notes=(*preview.notes, *notes))
