"""What users have rated or chosen: a table of that, with the content of the items in it or in a table beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tlstudio import api
from tlstudio.api import DataError, Preview, Rejected, Sample, Split, Task
from tlstudio_formats.column_names import ITEM_NAMES, TIME_NAMES, USER_NAMES
from tlstudio_formats.columns import guess_columns, named
from tlstudio_formats.media_table import find_folder, folder_of, is_file, resolved
from tlstudio_formats.ratings_options import BothRatingsOptions, ImageRatingsOptions, RatingsOptions, TextRatingsOptions
from tlstudio_formats.sources import TABLE_SUFFIXES, Table, open_table
from tlstudio_formats.table_format import TableFormat
from tlstudio_formats.table_options import Cells, RowReader, open_as_given, open_with, preview_table
from tlstudio_formats.values import as_text

_OLDEST, _NEWEST = 0.70, 0.85
_MOST_FILES = 50


@dataclass(frozen=True, slots=True)
class _Content:
    """What an item is; `wrong` says why it cannot be used."""

    text: str | None = None
    image: Path | None = None
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the table of ratings."""

    number: int
    user: str | None
    item: str
    cells: Cells
    time: float


class RatingsTable(TableFormat):
    """Base of ratings of texts, images or both.

    Attributes:
        roles: The columns that say what an item is.
    """

    tasks: tuple[Task, ...] = ("recommendation",)
    roles: ClassVar[tuple[str, ...]]
    Options: ClassVar[type[RatingsOptions]] = RatingsOptions

    def fit(self, table: Table) -> float:
        """Look for columns of users and items, and for what the items are."""
        if not (_by_name(table, USER_NAMES) and _by_name(table, ITEM_NAMES)):
            return 0.0
        if self._beside(table.path, table, _by_name(table, ITEM_NAMES)) is not None:
            return 0.97 + 0.005 * len(self.roles)
        found = guess_columns(table.columns, table.head(100), (*self.roles, "label"))
        # A table of reviews has users and items, too: what is usually meant is the review.
        if all(found[role] for role in self.roles):
            return 0.3
        # Ratings alone are of no other kind, and the user is told what they lack.
        return 0.15 if self.roles == ("text",) and found["label"] else 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first rows, guess the columns and find the table of items."""
        given = dict(options or {})
        table = open_as_given(path, given)
        names = {"user_column": USER_NAMES, "item_column": ITEM_NAMES, "time_column": TIME_NAMES}
        suggested = {key: str(given[key]) if key in given else _by_name(table, known) for key, known in names.items()}
        table.check_columns(suggested)
        notes = []
        items = given.get("items_table")
        if items is None:
            items = self._beside(path, table, suggested["item_column"]) if suggested["item_column"] else None
        content = table
        if items:
            suggested["items_table"] = str(items)
            content = open_table(folder_of(path, "") / str(items))
            key = str(given.get("item_name_column", ""))
            if not key and (item := suggested["item_column"]):
                key = _key_column(content, {as_text(row[table.columns.index(item)]) for row in table.head(100)})
            suggested["item_name_column"] = key
        taken = {*suggested.values(), str(given.get("label_column", ""))}
        free = [name for name in content.columns if name not in taken or content is not table]
        free = [name for name in free if name != suggested.get("item_name_column")]
        rows = content.head(100)
        places = [content.columns.index(name) for name in free]
        wanted = [role for role in self.roles if f"{role}_column" not in given]
        found = guess_columns(free, [[row[place] for place in places] for row in rows], wanted)
        suggested |= {f"{role}_column": column for role, column in found.items()}
        suggested |= {f"{role}_column": str(given[f"{role}_column"]) for role in self.roles if role not in wanted}
        for role in self.roles:
            if not (column := suggested[f"{role}_column"]):
                notes.append(f"No {role} column was found: choose one.")
            elif role == "image" and "image_folder" not in given:
                paths = [as_text(row[content.columns.index(column)]).strip() for row in rows[:20]]
                suggested["image_folder"] = find_folder(content.path, paths)
        missing = (role for role in ("user", "item") if not suggested[f"{role}_column"])
        notes += [f"No {role} column was found: choose one." for role in missing]
        plain = {key: value for key, value in given.items() if key not in suggested}
        used = [suggested[key] for key in (*names, "text_column", "image_column") if suggested.get(key)]
        label = str(given["label_column"]) if "label_column" in given else self._rating(table, used)
        preview, _, _ = preview_table(path, {**plain, "label_column": label, "group_column": "", "split_column": ""})
        if not label and "label_column" not in given:
            drawn = RatingsOptions().negatives
            notes.append(f"There are no ratings: each row counts as a choice, and {drawn} not chosen are drawn for it.")
        told_notes = (*(note for note in preview.notes if "label" not in note), *notes)
        return Preview(
            preview.columns, preview.rows, {**preview.options, **suggested}, "recommendation", preview.count, told_notes
        )

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield a sample for each rating, or for each choice and what is drawn as not chosen for it."""
        if not isinstance(options, self.Options):
            raise TypeError(f"options must be {self.Options.__name__}")
        chosen = options.model_dump()
        for role in ("item", *self.roles):
            if not chosen[f"{role}_column"]:
                what, remedy = f"No {role} column is chosen for {path.name}.", "Choose one."
                if role in self.roles:
                    remedy = (
                        f"Choose the {role}_column that says what each item is, or as items_table a file beside it "
                        "that has one."
                    )
                if role == "text":
                    remedy = f"{remedy} Where there is none, the names of the items may do."
                raise DataError(what, remedy, path=path, field=f"{role}_column")
        table = open_with(path, options)
        contents = self._items(path, table, options)
        rows, rejected = self._ratings(path, table, options)
        yield from rejected
        splits = _by_time([row.time for row in rows]) if options.split_by == "time" else [None] * len(rows)
        draw = _Draw(rows, [name for name, content in contents.items() if not content.wrong], options.seed)
        negatives = 0 if options.label_column or not options.user_column else options.negatives
        seen: set[str] = set()
        for row, by_time in zip(rows, splits, strict=True):
            content = contents.get(row.item, _Content(wrong=f"There is no item {row.item} in {options.items_table}."))
            if content.wrong:
                yield Rejected(row.cells.source, content.wrong, "Mend the table of items, or leave the row out.")
                continue
            split = by_time or row.cells.split
            label = 1.0 if negatives else row.cells.label
            yield self._sample(row, row.item, content, label, split, options, seen)
            for name in draw.not_chosen(row.user, negatives):
                yield self._sample(row, name, contents[name], 0.0, split, options, seen)

    def splits_told(self, options: api.Options) -> str:
        """Say where time is cut."""
        if getattr(options, "split_by", "") != "time":
            return ""
        return (
            f"Train, validation and test are cut by time: the oldest {_OLDEST:.0%} of the ratings, the next "
            f"{_NEWEST - _OLDEST:.0%} and the newest {1 - _NEWEST:.0%}."
        )

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the columns for learning empty."""
        return {"label_column": "", "group_column": "", "split_column": "", "split_by": "rows", "negatives": 0}

    def _rating(self, table: Table, used: list[str]) -> str:
        """The column of ratings: one of numbers that is named like one."""
        free = [name for name in table.columns if name not in used]
        places = [table.columns.index(name) for name in free]
        return guess_columns(free, [[row[place] for place in places] for row in table.head(100)], ("label",))["label"]

    def _beside(self, path: Path, table: Table, item_column: str) -> str | None:
        """Find the table in the same folder that has the items, and what they are."""
        place = table.columns.index(item_column)
        keys = {as_text(row[place]) for row in table.head(100)}
        try:
            beside = sorted(path.parent.iterdir())
        except OSError:
            return None
        for other in islice(beside, _MOST_FILES):
            if other == path or other.suffix.lower() not in TABLE_SUFFIXES or not other.is_file():
                continue
            try:
                items = open_table(other)
                found = guess_columns(items.columns, items.head(100), self.roles)
                if all(found[role] for role in self.roles) and _key_column(items, keys):
                    return other.name
            except (DataError, OSError, ValueError):
                continue
        return None

    def _items(self, path: Path, table: Table, options: RatingsOptions) -> dict[str, _Content]:
        """Read what each item is, by its name."""
        chosen = options.model_dump()
        name_column = options.item_column
        if options.items_table:
            table, name_column = open_table(path.parent / options.items_table), options.item_name_column
            if not name_column:
                what = f"No column with the names of the items is chosen for {table.path.name}."
                raise DataError(what, "Choose it.", path=table.path, field="item_name_column")
        columns = {"item_name_column" if options.items_table else "item_column": name_column}
        columns |= {f"{role}_column": str(chosen[f"{role}_column"]) for role in self.roles}
        table.check_columns(columns)
        wanted = list(dict.fromkeys(columns.values()))
        base = folder_of(table.path, str(chosen.get("image_folder", "")))
        contents: dict[str, _Content] = {}
        for row in table.rows(wanted):
            if isinstance(row, Rejected):
                continue  # those who have rated it are told that it is not there
            cells = dict(zip(wanted, row[1], strict=True))
            name = as_text(cells[name_column]).strip()
            contents.setdefault(name, self._content(cells, columns, base))
        return contents

    def _content(self, cells: Mapping[str, Any], columns: Mapping[str, str], base: Path) -> _Content:
        text, image = None, None
        if "text" in self.roles:
            text = as_text(cells[columns["text_column"]]).replace("\0", "").strip()
            if not text:
                return _Content(wrong="Its item has no text.")
        if "image" in self.roles:
            said = as_text(cells[columns["image_column"]]).strip()
            if not said or not is_file(base, said):
                return _Content(wrong=f"There is no image {said} of its item in {base}.")
            image = resolved(base, said)
        return _Content(text, image)

    def _ratings(self, path: Path, table: Table, options: RatingsOptions) -> tuple[list[_Row], list[Rejected]]:
        extra = {"item_column": options.item_column, "user_column": options.user_column}
        if options.split_by == "time":
            if not options.time_column:
                raise DataError(f"No time column is chosen for {path.name}.", "Choose one.", field="time_column")
            extra["time_column"] = options.time_column
        reader = RowReader(table, options, "regression", extra)
        rows: list[_Row] = []
        rejected: list[Rejected] = []
        for row in reader.rows():
            if isinstance(row, Rejected):
                rejected.append(row)
                continue
            number, cells, read = row
            item = as_text(reader.cell(cells, options.item_column)).strip()
            user = as_text(reader.cell(cells, options.user_column)).strip() if options.user_column else None
            time = _time(reader.cell(cells, options.time_column)) if "time_column" in extra else 0.0
            missing = "item" if not item else "user" if user == "" else "time that can be read" if time is None else ""
            if missing or time is None:
                rejected.append(Rejected(read.source, f"It has no {missing}.", "Correct the row, or leave it out."))
                continue
            rows.append(_Row(number, user, item, read, time))
        return rows, rejected

    def _sample(
        self,
        row: _Row,
        item: str,
        content: _Content,
        label: api.Label,
        split: Split | None,
        options: RatingsOptions,
        seen: set[str],
    ) -> Sample:
        name = item if row.user is None else f"{row.user} / {item}"
        name = name if name not in seen else f"{name} (row {row.number})"
        seen.add(name)
        group = {"item": item, "user": row.user or ""}.get(options.split_by, row.cells.group)
        return Sample(
            id=name,
            image=content.image,
            text=content.text,
            user=row.user,
            item=item,
            label=label,
            group=group,
            split=split,
            source=row.cells.source,
        )


class _Draw:
    """Draws items that a user has not chosen, the same ones from the same seed."""

    def __init__(self, rows: list[_Row], items: list[str], seed: int) -> None:
        self._items = sorted(items)
        self._rng = np.random.default_rng(seed)
        self._taken: dict[str | None, set[str]] = {}
        for row in rows:
            self._taken.setdefault(row.user, set()).add(row.item)

    def not_chosen(self, user: str | None, count: int) -> list[str]:
        """Draw so many; fewer where there are no more. None is drawn twice for a user."""
        taken = self._taken[user]
        drawn: list[str] = []
        for _ in range(count):
            if len(taken) >= len(self._items):
                break
            while (name := self._items[int(self._rng.integers(len(self._items)))]) in taken:
                pass
            taken.add(name)
            drawn.append(name)
        return drawn


class TextRatings(RatingsTable):
    """Ratings of what a text describes: films by their plots, articles by their abstracts."""

    name = "text_ratings"
    title = "Ratings of texts"
    description = (
        "A table of who has rated or chosen which item, and a text for each item in it or in a table beside it: films "
        "with plots, products with descriptions. For recommendations."
    )
    modality = "text"
    roles = ("text",)
    Options = TextRatingsOptions


class ImageRatings(RatingsTable):
    """Ratings of what an image shows: clothes, dishes, flats."""

    name = "image_ratings"
    title = "Ratings of images"
    description = (
        "A table of who has rated or chosen which item, and an image of each item, in it or in a table beside it: "
        "clothes, dishes, flats. For recommendations."
    )
    modality = "image"
    roles = ("image",)
    Options = ImageRatingsOptions


class BothRatings(RatingsTable):
    """Ratings of what an image shows and a text describes."""

    name = "image_text_ratings"
    title = "Ratings of images with texts"
    description = (
        "A table of who has rated or chosen which item, and an image and a text of each item, in it or in a table "
        "beside it. For recommendations."
    )
    modality = "image+text"
    roles = ("image", "text")
    Options = BothRatingsOptions


def _by_name(table: Table, names: frozenset[str]) -> str:
    return next((name for name in table.columns if named(name, names) == 1), "")


def _key_column(items: Table, keys: set[str]) -> str:
    """The column of a table of items in which the names of items are, or ``""``."""
    rows = list(items.head(20_000))
    for place, name in enumerate(items.columns):
        if len(keys & {as_text(row[place]) for row in rows}) >= 0.5 * len(keys):
            return name
    return ""


def _time(cell: Any) -> float | None:  # noqa: ANN401  a cell of any column
    if isinstance(cell, datetime):
        return cell.timestamp()
    text = as_text(cell).strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _by_time(times: list[float]) -> list[Split | None]:
    """Give the oldest to train and the newest to test; what has the same time is in the same split."""
    if not times:
        return []
    first, second = np.quantile(np.array(times), (_OLDEST, _NEWEST), method="higher")
    return ["train" if time < first else "validation" if time < second else "test" for time in times]
