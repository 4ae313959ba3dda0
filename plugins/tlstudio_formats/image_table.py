"""Tables with a column of paths to images."""

from __future__ import annotations

from tlstudio import api
from tlstudio.api import option
from tlstudio_formats.media_table import MediaTable
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
