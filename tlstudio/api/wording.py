"""Sentences that are said in many places: which name was meant, and why a value does not do."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# By the types of https://docs.pydantic.dev/latest/errors/validation_errors; others keep pydantic's own words.
_NEEDED = {
    "int_type": "a whole number is needed",
    "int_parsing": "a whole number is needed",
    "int_from_float": "a whole number is needed",
    "float_type": "a number is needed",
    "float_parsing": "a number is needed",
    "finite_number": "a finite number is needed",
    "bool_type": "true or false is needed",
    "bool_parsing": "true or false is needed",
    "string_type": "a text is needed",
    "list_type": "a list is needed",
    "tuple_type": "a list is needed",
    "dict_type": "a table of settings is needed",
    "model_type": "a table of settings is needed",
    "literal_error": "choose {expected}",
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be at most {le}",
}


def did_you_mean(name: str, known: Collection[str], title: str, most: int = 12) -> str:
    """Name what may have been meant by an unknown name, or what there is.

    Args:
        name: The unknown name.
        known: Those that there are.
        title: What they are, for the list of them: ``"Known options"``.
        most: How many of them are listed.
    """
    known = list(dict.fromkeys(known))  # two libraries can bring one name
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    listed = known[:most]
    return f"{title}: {', '.join(listed)}{', ...' if len(known) > most else '.'}" if listed else ""


def wrong_value(item: ErrorDetails) -> str:
    """Say what is wrong with a value, from one entry of pydantic's report."""
    if item["type"] == "value_error":
        why = str(item["ctx"]["error"])
    else:
        message, needed = item["msg"], _NEEDED.get(item["type"])
        why = needed.format_map(item.get("ctx", {})) if needed else f"{message[:1].lower()}{message[1:]}"
    return f"{item['input']!r} is not allowed: {why.rstrip('.')}."
