"""Options of the formats for ratings."""

from __future__ import annotations

from typing import Literal

from tlstudio import api
from tlstudio.api import option
from tlstudio_formats.table_options import TableOptions


class RatingsOptions(TableOptions):
    """How a table of ratings is read."""

    user_column: str = option(
        "",
        title="User column",
        help="Who has rated or chosen. Empty: the table lists items alone.",
    )
    item_column: str = option("", title="Item column", help="What was rated or chosen: the name or number of the item.")
    time_column: str = option("", title="Time column", help="When: a date or a number. Only for splits by time.")
    items_table: str = option(
        "",
        title="Table of items",
        help="The file that says what each item is, beside the table of ratings. Empty: that is in the same table.",
        browse="file",
    )
    item_name_column: str = option(
        "", title="Item column there", help="The column of the table of items with their names or numbers."
    )
    negatives: int = option(
        4,
        title="Not chosen, for each choice",
        help="Without a label column each row is a choice (1), and so many items that the user has not chosen are "
        "drawn for it (0), so that there is something to tell apart.",
        ge=0,
        le=100,
    )
    split_by: Literal["rows", "item", "user", "time"] = option(
        "rows",
        title="Splits",
        help="Rows: at random. Item, user: none is in two splits, which measures new items or new users. Time: the "
        "newest 15 % are for test, the 15 % before them for validation.",
    )
    seed: int = option(0, title="Seed", help="Of what is drawn as not chosen.", ge=0, advanced=True)


class TextItems(api.Options):
    """Where the texts of the items are."""

    text_column: str = option("", title="Text column", help="The column with the text that says what the item is.")


class ImageItems(api.Options):
    """Where the images of the items are."""

    image_column: str = option("", title="Image column", help="The column with the path of the image of the item.")
    image_folder: str = option(
        "",
        title="Image folder",
        help="The folder that the paths start from. Empty: that of the table.",
        browse="folder",
    )


class TextRatingsOptions(RatingsOptions, TextItems):
    """How ratings of texts are read."""


class ImageRatingsOptions(RatingsOptions, ImageItems):
    """How ratings of images are read."""


class BothRatingsOptions(RatingsOptions, TextItems, ImageItems):
    """How ratings of images with texts are read."""
