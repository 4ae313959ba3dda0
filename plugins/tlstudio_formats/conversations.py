"""Conversations of which the last reply is to be learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tlstudio import api
from tlstudio.api import Preview, Rejected, Sample, Task, option
from tlstudio_formats.json_records import RecordFormat, records

_LISTS = ("messages", "conversations", "conversation")
_ROLES, _CONTENTS = ("role", "from"), ("content", "value")
_REPLIES = {"assistant", "gpt", "model", "bot"}


class ConversationsOptions(api.Options):
    """How conversations are read."""

    labels: Literal["replies", "none"] = option(
        "replies",
        title="Labels",
        help="none: what comes before the last reply, or the whole of a conversation that still waits for one.",
        advanced=True,
    )


class Conversations(RecordFormat):
    """JSONL or JSON with lists of messages, as chat models are fine-tuned with."""

    name = "conversations"
    title = "Conversations (JSON)"
    description = (
        'JSONL or JSON in which each record has a list of "messages", each with role and content (also '
        '"conversations", with from and value). The last reply is learned, all before it is the prompt.'
    )
    modality = "text"
    tasks: tuple[Task, ...] = ("generation",)
    Options = ConversationsOptions

    def fit(self, first: Sequence[Mapping[str, Any]]) -> float:
        """Look for messages."""
        return 0.96 if any(map(_messages, first)) else 0.0

    def preview(self, path: Path, options: Mapping[str, Any] | None = None) -> Preview:
        """Show the first prompts with their replies."""
        chosen = ConversationsOptions.model_validate(dict(options or {}))
        rows = [
            {"prompt": (item.text or "")[:300], "reply": str(item.label or "")[:300]}
            for item in islice(self.read(path, chosen, "generation"), 20)
            if isinstance(item, Sample)
        ]
        return Preview(("prompt", "reply"), tuple(rows), options=chosen.model_dump(), task="generation")

    def read(self, path: Path, options: api.Options, task: Task) -> Iterator[Sample | Rejected]:
        """Yield one sample a conversation."""
        if not isinstance(options, ConversationsOptions):
            raise TypeError("options must be ConversationsOptions")
        for number, item in enumerate(records(path), start=1):
            yield item if isinstance(item, Rejected) else _sample(number, *item, replied=options.labels == "replies")

    def without_labels(self) -> Mapping[str, Any]:
        """Leave the last reply out, where there is one."""
        return {"labels": "none"}


def _messages(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Who says what; nothing where it is no conversation."""
    listed: list[Any] = next((record[name] for name in _LISTS if isinstance(record.get(name), list)), [])
    turns = []
    for message in listed:
        if not isinstance(message, dict):
            return []
        role, content = (next((message[k] for k in keys if k in message), None) for keys in (_ROLES, _CONTENTS))
        if not isinstance(role, str) or not isinstance(content, str):
            return []
        turns.append((role.casefold(), content.replace("\0", "").strip()))
    return turns


def _sample(number: int, where: str, record: Mapping[str, Any], *, replied: bool) -> Sample | Rejected:
    turns = _messages(record)
    last = max((place for place, (role, _) in enumerate(turns) if role in _REPLIES), default=0)
    if not replied and turns and turns[-1][0] not in _REPLIES:
        last = len(turns)
    before = [(role, content) for role, content in turns[:last] if content]
    if not before:
        return Rejected(
            where,
            "It has no message before a reply of the assistant.",
            'Write it as {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}.',
        )
    # A single question stands for itself; where several speak, it is told who.
    alone = len(before) == 1
    text = before[0][1] if alone else "\n".join(f"{role}: {content}" for role, content in before)
    reply = turns[last][1] or None if replied else None
    return Sample(f"conversation {number}", text=text, label=reply, source=where)
