"""Questions on texts with their answers, in the layout of SQuAD (Rajpurkar et al. 2016 and 2018)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tlstudio import api
from tlstudio.api import DataError, DatasetFormat, Preview, Rejected, Sample, Span, Task, option
from tlstudio_formats.json_records import read_json

_ANSWER = "answer"


class QuestionsOptions(api.Options):
    """How questions are read."""

    labels: Literal["answers", "none"] = option(
        "answers", title="Labels", help="none: the questions alone, without their answers.", advanced=True
    )


class Questions(DatasetFormat):
    """SQuAD 1.1 and 2.0: paragraphs, each with questions and where in it their answers are."""

    name = "questions"
    title = "Questions with answers (SQuAD)"
    description = (
        "JSON with paragraphs, questions on each, and the answers as parts of the paragraph; a question may have none."
    )
    modality = "text"
    tasks: tuple[Task, ...] = ("question_answering",)
    Options = QuestionsOptions

    def detect(self, path: Path) -> float:
        """Look for paragraphs with questions."""
        if path.suffix.lower() != ".json" or not path.is_file():
            return 0.0
        try:
            with path.open("rb") as file:
                head = file.read(2**16)
            return 0.97 if b'"paragraphs"' in head and b'"context"' in head else 0.0
        except OSError:
            return 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first questions with their answers."""
        chosen = QuestionsOptions.model_validate(dict(options or {}))
        rows = []
        for sample in islice(self.read(path, chosen, "question_answering"), 20):
            if isinstance(sample, Sample) and sample.text is not None:
                label = sample.label if isinstance(sample.label, tuple) else ()
                spans = [part for part in label if isinstance(part, Span)]
                answer = sample.text[spans[0].start : spans[0].end] if spans else "(none)"
                rows.append({"question": sample.pair or "", "answer": answer, "text": sample.text[:300]})
        return Preview(
            ("question", "answer", "text"), tuple(rows), options=chosen.model_dump(), task="question_answering"
        )

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample a question; those on one paragraph stay in one split."""
        if not isinstance(options, QuestionsOptions):
            raise TypeError("options must be QuestionsOptions")
        content = read_json(path)
        articles = content.get("data") if isinstance(content, dict) else None
        if not isinstance(articles, list):
            raise DataError(f'{path.name} has no list "data" of articles.', "Export it as SQuAD JSON.", path=path)
        number = 0
        for article in articles:
            for paragraph in _list(article, "paragraphs"):
                text = paragraph.get("context") if isinstance(paragraph, dict) else None
                group = hashlib.sha256(str(text).encode("utf-8", "replace")).hexdigest()[:16]
                for question in _list(paragraph, "qas"):
                    number += 1
                    where = f"{path.name}, question {number}"
                    yield _sample(where, number, text, question, group, answered=options.labels == "answers")

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the answers out, right or wrong."""
        return {"labels": "none"}


def _list(value: object, name: str) -> list[Any]:
    listed = value.get(name) if isinstance(value, dict) else None
    return listed if isinstance(listed, list) else []


def _sample(
    where: str, number: int, text: object, question: object, group: str, *, answered: bool
) -> Sample | Rejected:
    asked = question.get("question") if isinstance(question, dict) else None
    if not isinstance(text, str) or not text.strip() or not isinstance(asked, str) or not asked.strip():
        return Rejected(where, "It has no question or no text.", 'Write "context" and "question", or leave it out.')
    name, asked = f"question {number}", asked.strip()
    if not answered:
        return Sample(name, text=text, pair=asked, group=group, source=where)
    spans: dict[Span, None] = {}
    for answer in [] if isinstance(question, dict) and question.get("is_impossible") else _list(question, "answers"):
        words = answer.get("text") if isinstance(answer, dict) else None
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not isinstance(words, str) or not words or type(start) is not int:
            return Rejected(where, "An answer has no text or no answer_start.", "Correct it, or leave it out.")
        if text[start : start + len(words)] != words or start < 0:
            shown = words if len(words) <= 60 else f"{words[:59]}…"
            return Rejected(
                where,
                f'The answer "{shown}" is not at character {start} of its text.',
                "Count characters from 0, as Python does.",
            )
        spans[Span(_ANSWER, start, start + len(words))] = None
    return Sample(name, text=text, pair=asked, label=tuple(spans), group=group, source=where)
