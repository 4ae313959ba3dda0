"""JSON of texts with marked parts, as doccano, Prodigy, Label Studio (in its short form) and spaCy's tools write it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tlstudio import api
from tlstudio.api import Preview, Rejected, Sample, Span, Task, option
from tlstudio_formats.json_records import RecordFormat, records
from tlstudio_formats.spans import marked_preview
from tlstudio_formats.values import parse_split

_LISTS = ("spans", "entities", "label", "labels", "annotations")
_NAMES = ("label", "labels", "name", "type", "tag", "entity")
_STARTS, _ENDS = ("start", "start_offset", "begin"), ("end", "end_offset")


class MarkedTextsOptions(api.Options):
    """How texts with marked parts are read."""

    labels: Literal["spans", "none"] = option(
        "spans", title="Labels", help="none: the texts alone, without what is marked in them.", advanced=True
    )


class MarkedTexts(RecordFormat):
    """JSONL or JSON: a text and the parts of it that are marked, by their characters."""

    name = "marked_texts"
    title = "Texts with marked parts (JSON)"
    description = (
        'JSONL or JSON with a "text" and a list of "spans" (also "entities" or "label"), each with start, end and '
        "label; characters are counted from 0."
    )
    modality = "text"
    tasks: tuple[Task, ...] = ("token_classification",)
    Options = MarkedTextsOptions

    def fit(self, first: Sequence[Mapping[str, Any]]) -> float:
        """Look for parts that are marked."""
        lists = [_list_of(record) for record in first if isinstance(record.get("text"), str)]
        # A list of names is several labels of the whole text; a table reads that.
        marked = [values for values in lists if values and not isinstance(values[0], str)]
        return 0.95 if marked else 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first texts with what is marked in them."""
        chosen = MarkedTextsOptions.model_validate(dict(options or {}))
        return marked_preview(self.read(path, chosen, "token_classification"), chosen.model_dump())

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample a record."""
        if not isinstance(options, MarkedTextsOptions):
            raise TypeError("options must be MarkedTextsOptions")
        for number, item in enumerate(records(path), start=1):
            yield item if isinstance(item, Rejected) else _sample(number, *item, marked=options.labels == "spans")

    def without_labels(self) -> Mapping[str, Any]:
        """Leave out what is marked, right or wrong."""
        return {"labels": "none"}


def _sample(number: int, where: str, record: Mapping[str, Any], *, marked: bool) -> Sample | Rejected:
    text = record.get("text")
    if not isinstance(text, str) or not text.strip():
        return Rejected(where, "It has no text.", 'Write it into the field "text", or leave it out.')
    listed = _list_of(record) if marked else []
    if listed is None:
        return Rejected(where, "It has no list of marked parts.", 'Write them into the field "spans"; none: [].')
    spans = []
    for part in listed:
        span = _span(part)
        if span is None:
            return Rejected(
                where, f"{str(part)[:100]} is no marked part.", 'Write it as {"start": 0, "end": 5, "label": "PER"}.'
            )
        spans.append(span)
    try:
        split = parse_split(record["split"]) if record.get("split") else None
    except ValueError as error:
        return Rejected(where, str(error), "Correct it, or leave it out.")
    group = str(record.get("group") or "")
    return Sample(
        f"text {number}", text=text, label=tuple(spans) if marked else None, group=group, split=split, source=where
    )


def _list_of(record: Mapping[str, Any]) -> list[Any] | None:
    return next((record[name] for name in _LISTS if isinstance(record.get(name), list)), None)


def _span(part: object) -> Span | None:
    if isinstance(part, dict):
        start, end, name = (next((part[key] for key in keys if key in part), None) for keys in (_STARTS, _ENDS, _NAMES))
        if isinstance(name, list) and len(name) == 1:  # as Label Studio has it
            name = name[0]
    elif isinstance(part, list) and len(part) == 3:
        start, end, name = part
    else:
        return None
    if type(start) is not int or type(end) is not int or not isinstance(name, str):
        return None
    return Span(name, start, end)
