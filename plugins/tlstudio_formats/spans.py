"""Showing what is marked in texts."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from tlstudio.api import Preview, Rejected, Sample, Span

_SHOWN = 20
_LETTERS = 500


def marked_preview(items: Iterable[Sample | Rejected], options: dict[str, object]) -> Preview:
    """Show the first texts, each with the parts that are marked in it."""
    rows = []
    for item in islice(items, _SHOWN):
        if isinstance(item, Sample) and item.text is not None:
            label = item.label if isinstance(item.label, tuple) else ()
            spans = [part for part in label if isinstance(part, Span)]
            marked = "; ".join(f"{item.text[span.start : span.end]} ({span.name})" for span in spans)
            rows.append({"text": item.text[:_LETTERS], "marked": marked})
    return Preview(("text", "marked"), tuple(rows), options=options, task="token_classification")
