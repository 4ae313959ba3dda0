"""Turning cells of any table into text, labels and splits."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tlstudio.api import TASKS, Label, Split, Task

MISSING = frozenset({"", "nan", "null", "n/a", "#n/a"})
"""What stands for 'nothing' in tables, in small letters. Not "NA" and "None", which are labels somewhere."""

SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn", "entraînement", "entrenamiento", "训练", "训练集", "学習"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "验证", "验证集", "検証"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "测试", "测试集", "テスト"), "test"),
}  # fmt: skip
"""Names of splits in tables and folders, in small letters."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_FEW = 20


def as_text(value: Any) -> str:  # noqa: ANN401  a cell of any table
    """Return a cell as text: whole numbers without a fraction, lists and objects as JSON, nothing as ``""``."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def is_missing(value: Any) -> bool:  # noqa: ANN401  a cell of any table
    """Whether a cell holds nothing."""
    return as_text(value).strip().casefold() in MISSING


def parse_label(value: Any, task: Task, separator: str, *, decimal_comma: bool) -> Label:  # noqa: ANN401  a cell
    """Turn a cell into a label.

    Args:
        value: The cell.
        task: What the label is for.
        separator: What separates several labels; ``""``: ``;`` or ``|``.
        decimal_comma: Whether ``3,5`` is a number.

    Raises:
        ValueError: With a sentence that says what is wrong with it.
    """
    if task == "multi_label":
        if value is None:
            raise ValueError("It has no label.")
        return tuple(split_labels(value, separator))
    if is_missing(value):
        raise ValueError("It has no label.")
    if TASKS[task].label in ("name", "text"):
        return as_text(value).strip()
    number = parse_number(value, decimal_comma=decimal_comma)
    if number is None:
        raise ValueError(f'Its label "{as_text(value).strip()[:60]}" is not a number.')
    return number


def parse_number(value: Any, *, decimal_comma: bool) -> float | None:  # noqa: ANN401  a cell of any table
    """Return a cell as a finite number, or `None` if it is none."""
    if isinstance(value, (bool, int, float)):
        try:
            number = float(value)
        except OverflowError:  # JSON has whole numbers of any length
            return None
    else:
        text = as_text(value).strip()
        if decimal_comma and _DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        try:
            number = float(text)
        except ValueError:
            return None
    return number if math.isfinite(number) else None


def split_labels(value: Any, separator: str = "") -> list[str]:  # noqa: ANN401  a cell of any table
    """Return the labels of a cell: of a list, of a list written as JSON, or of words with a separator between."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("[") and text.endswith("]"):
            try:
                listed = json.loads(text)
            except (ValueError, RecursionError):
                listed = None
            if isinstance(listed, list):
                return _clean(listed)
        parts = text.split(separator) if separator else re.split(r"[;|]", text)
        return _clean(parts)
    return _clean(value if isinstance(value, list) else [value])


def _clean(parts: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(as_text(part).strip() for part in parts if not is_missing(part)))


def parse_split(value: Any) -> Split | None:  # noqa: ANN401  a cell of any table
    """Return the split that a cell names, `None` if it names none.

    Raises:
        ValueError: With a sentence, where it says something else.
    """
    if is_missing(value):
        return None
    text = as_text(value).strip()
    try:
        return SPLIT_WORDS[text.casefold()]
    except KeyError:
        raise ValueError(f'Its split "{text[:60]}" is none of train, validation and test.') from None


def suggest_task(values: Sequence[Any], *, decimal_comma: bool) -> tuple[Task | None, str]:
    """Suggest the task that a column of labels is for.

    Args:
        values: Labels of the first rows.
        decimal_comma: Whether ``3,5`` is a number.

    Returns:
        The task, `None` if there are no labels; and a sentence where it is not evident.
    """
    known = [value for value in values if not is_missing(value)]
    if not known:
        return None, ""
    if _several_labels(known):
        return "multi_label", "The labels look like several at once: the multi-label task is suggested."
    numbers = [parse_number(value, decimal_comma=decimal_comma) for value in known if not isinstance(value, bool)]
    found = [number for number in numbers if number is not None]
    if len(found) < max(1, 0.95 * len(known)):
        return "classification", ""
    distinct = set(found)
    if all(number.is_integer() for number in distinct) and len(distinct) <= min(_FEW, max(2, len(found) // 2)):
        return (
            "classification",
            f"The labels are {len(distinct)} different whole numbers: classification is suggested. "
            "Choose regression if they are amounts.",
        )
    return (
        "regression",
        f"The labels are {len(distinct)} different numbers: regression is suggested.",
    )


def _several_labels(values: Sequence[Any]) -> bool:
    if any(isinstance(value, list) for value in values):
        return True
    texts = [as_text(value) for value in values]
    several = [text for text in texts if len(split_labels(text)) > 1]
    if len(several) < max(1, 0.03 * len(texts)):
        return False
    # Labels recur, on their own too; words of free text with a semicolon in it do not.
    words = Counter(word for text in texts for word in split_labels(text))
    recurring = sum(count for count in words.values() if count > 1)
    return recurring >= 0.6 * sum(words.values()) and all(len(word) <= 60 for word in words)
