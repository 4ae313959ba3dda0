"""What was predicted, in words. Light: no torch."""

from __future__ import annotations

from typing import Any

from tlstudio.api import Box, Label, Mask, Sample, Span, label_text
from tlstudio.api.masks import pixel_shares


def told(value: Label, sample: Sample) -> Any:  # noqa: ANN401  whatever JSON can hold
    """What was predicted, for programs: marked parts with the words that they mark, boxes with their edges in pixels.

    Of a mask it is the share of the pixels that each class has. All else is as it is.
    """
    if isinstance(value, Mask):
        return {name: round(share, 6) for name, share in pixel_shares(value).items()}
    boxes = [part for part in value if isinstance(part, Box)] if isinstance(value, tuple) else []
    if boxes:
        return [
            {
                "left": round(box.left, 2),
                "top": round(box.top, 2),
                "right": round(box.right, 2),
                "bottom": round(box.bottom, 2),
                "label": box.name,
                "score": round(box.score, 6),
            }
            for box in boxes
        ]
    spans = [part for part in value if isinstance(part, Span)] if isinstance(value, tuple) else []
    text = sample.text or ""
    parts = [{"start": s.start, "end": s.end, "label": s.name, "text": text[s.start : s.end]} for s in spans]
    return parts or value


def words(value: Label, sample: Sample) -> str:
    """What was predicted, for people: the answer to a question, marked parts with their names, all else as a label.

    Of a mask it is how much of the image each class has.
    """
    if isinstance(value, Mask):
        return ", ".join(f"{name} {share:.1%}" for name, share in pixel_shares(value).items())
    spans = [part for part in value if isinstance(part, Span)] if isinstance(value, tuple) else []
    text = sample.text or ""
    if sample.pair is not None and spans:
        return text[spans[0].start : spans[0].end]
    return "; ".join(f"{text[span.start : span.end]} ({span.name})" for span in spans) or label_text(value)
