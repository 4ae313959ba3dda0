"""Tables of prompts with what is to be answered: summaries, translations, replies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlstudio import api
from tlstudio.api import Preview, Rejected, Sample, Task, option
from tlstudio_formats.sources import Table
from tlstudio_formats.table_format import TableFormat
from tlstudio_formats.table_options import RowReader, TableOptions, open_as_given, open_with, preview_table
from tlstudio_formats.values import as_text

USUAL = (
    ("prompt", ("completion", "response", "answer", "chosen")),
    ("instruction", ("response", "output", "answer")),
    ("input", ("output", "target", "response")),
    ("source", ("target", "translation")),
    ("src", ("tgt", "trg")),
    ("question", ("answer", "response")),
    ("document", ("summary",)),
    ("article", ("highlights", "summary", "abstract")),
    ("dialogue", ("summary",)),
    ("text", ("summary", "translation", "completion", "target_text", "headline")),
    ("input_text", ("target_text",)),
)
"""Names of columns under which prompts and answers are usually published."""

LANGUAGES = re.compile(
    "ar|bg|cs|da|de|el|en|es|et|fa|fi|fr|hi|hr|hu|it|ja|ko|lt|lv|nl|pl|pt|ro|ru|sk|sl|sr|sv|sw|ta|th|tr|uk|ur|vi|zh|"
    "arabic|chinese|czech|dutch|english|finnish|french|german|greek|hindi|hungarian|italian|japanese|korean|polish|"
    "portuguese|romanian|russian|spanish|swedish|turkish|ukrainian|vietnamese"
)
"""Names of columns of which two are a text and its translation; not "id" and "no", which are mostly something else."""


class PromptColumns(api.Options):
    """Where prompts are."""

    text_column: str = option("", title="Prompt column", help="The column that holds what the model is given.")
    context_column: str = option(
        "",
        title="More of the prompt",
        help="A second column, put under the first after a blank line where it is filled: the input that an "
        "instruction is about.",
    )


class PromptTableOptions(TableOptions, PromptColumns):  # in this order the form begins with the prompts
    """How a table of prompts is read."""

    label_column: str = option(
        "",
        title="Answer column",
        help="The column that holds what the model is to write. Empty: the prompts are read without answers.",
    )


class PromptTable(TableFormat):
    """CSV, TSV, JSON lines or Parquet: a prompt and its answer in each row."""

    name = "prompt_table"
    title = "Table of prompts and answers"
    description = (
        "A CSV, TSV, JSONL or Parquet file with a column of texts and one of what is to be written of them, such as "
        "prompt and completion, source and target, article and summary."
    )
    modality = "text"
    tasks: tuple[Task, ...] = ("generation",)
    Options = PromptTableOptions
    unreadable = 0.01

    def fit(self, table: Table) -> float:
        """Look for columns that are named as prompts and answers are."""
        text, answer, _ = _usual(table.columns)
        if not text or "context" in (name.casefold() for name in table.columns):  # questions on texts: another task
            return 0.05 if len(table.columns) > 1 else 0.0
        return 0.93 if answer else 0.05

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first rows and guess the columns."""
        given = dict(options or {})
        context = given.pop("context_column", None)
        table = open_as_given(path, given)
        text, answer, more = _usual(table.columns)
        for column, found in (("text_column", text), ("label_column", answer)):
            if found and found not in given.values():
                given.setdefault(column, found)
        preview, table, _ = preview_table(path, given, "text")
        context = (more if more not in given.values() else "") if context is None else context
        table.check_columns({"context_column": context})
        notes = [note for note in preview.notes if "label column" not in note]
        if not preview.options.get("label_column") and "label_column" not in (options or {}):
            notes.append("No column of answers was found: choose one.")
        return replace(
            preview, options={**preview.options, "context_column": context}, task="generation", notes=tuple(notes)
        )

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample a row; its id tells the row."""
        if not isinstance(options, PromptTableOptions):
            raise TypeError("options must be PromptTableOptions")
        table = open_with(path, options)
        if not options.text_column:
            remedy = "Choose the column that holds what the model is given."
            raise table.without_column("prompt", remedy, "text_column")
        columns = {"text_column": options.text_column, "context_column": options.context_column}
        yield from _samples(table, options, columns)

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the columns for learning empty."""
        return {"label_column": "", "group_column": "", "split_column": ""}


def _samples(table: Table, options: PromptTableOptions, columns: dict[str, str]) -> Iterator[Sample | Rejected]:
    reader = RowReader(table, options, "generation", columns)
    for row in reader.rows():
        if isinstance(row, Rejected):
            yield row
            continue
        number, cells, read = row
        parts = [as_text(reader.cell(cells, name)).replace("\0", "").strip() for name in columns.values() if name]
        text = "\n\n".join(part for part in parts if part)
        if not text:
            yield Rejected(read.source, "It has no prompt.", "Write it, or leave the row out.")
            continue
        yield Sample(
            id=f"row {number}", text=text, label=read.label, group=read.group, split=read.split, source=read.source
        )


def _usual(columns: tuple[str, ...]) -> tuple[str, str, str]:
    """The columns of prompts, answers and what instructions are about, by their names; ``""`` where there is none."""
    names = {name.casefold().strip(): name for name in columns}
    for text, answers in USUAL:
        if text in names:
            answer = next((names[answer] for answer in answers if answer in names), "")
            if answer:
                more = names.get("input", "") if text == "instruction" else ""
                return names[text], answer, more
    languages = [name for name in columns if LANGUAGES.fullmatch(name.casefold().strip())]
    return (languages[0], languages[1], "") if len(languages) == 2 else ("", "", "")
