"""Tables with a column of paths to images and one of texts that belong to them."""

from __future__ import annotations

from tlstudio import api
from tlstudio.api import option
from tlstudio_formats.image_table import ImageColumn
from tlstudio_formats.media_table import MediaTable
from tlstudio_formats.sources import Table
from tlstudio_formats.table_options import TableOptions

_LESS = 0.05


class WordsColumn(api.Options):
    """Where the texts are."""

    text_column: str = option("", title="Text column", help="The column that holds the texts of the images.")


class ImageTextTableOptions(TableOptions, WordsColumn, ImageColumn):  # in this order the form begins with the images
    """How a table of images with texts is read."""


class ImageTextTable(MediaTable):
    """CSV, TSV, JSON lines or Parquet: the path of one image a row, and its text."""

    name = "image_text_table"
    title = "Table of images with texts"
    description = (
        "A CSV, TSV, JSONL or Parquet file with a column of image paths, one of texts and one of labels: products "
        "with their descriptions, posts, figures with captions. A model then learns from both."
    )
    modality = "image+text"
    role = "image"
    with_text = True
    Options = ImageTextTableOptions

    def fit(self, table: Table) -> float:
        """Look for columns of image paths and of texts; the image alone is thought to be what is meant."""
        return max(0.0, super().fit(table) - _LESS)
