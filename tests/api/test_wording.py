"""Mistakes are told in the words of the user, with what was meant."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, field_validator

from tlstudio.api import Options, option, problems_of
from tlstudio.api.wording import did_you_mean


class Some(Options):
    epochs: Annotated[int, Field(ge=1, le=10)] = 3
    rate: Annotated[float, Field(gt=0)] = 0.1
    mode: Literal["fast", "slow"] = "fast"
    deep: bool = False
    most: float | None = option(None, title="Most", help="A bound.", ge=0, le=1)
    beside: str = option("", title="Beside", help="Another data set.", browse="dataset")
    code: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] = "ab"

    @field_validator("deep")
    @classmethod
    def _never(cls, value: bool) -> bool:
        if value:
            raise ValueError("This machine cannot.")
        return value


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("epochs", "many", "epochs: 'many' is not allowed: a whole number is needed."),
        ("epochs", 1.5, "epochs: 1.5 is not allowed: a whole number is needed."),
        ("epochs", 0, "epochs: 0 is not allowed: it must be at least 1."),
        ("epochs", 11, "epochs: 11 is not allowed: it must be at most 10."),
        ("rate", 0, "rate: 0 is not allowed: it must be more than 0.0."),
        ("rate", [], "rate: [] is not allowed: a number is needed."),
        ("epochs", True, "epochs: 'true' is not allowed: a whole number is needed."),
        ("rate", False, "rate: 'false' is not allowed: a number is needed."),
        ("most", True, "most: 'true' is not allowed: a number is needed."),
        ("most", math.nan, "most: nan is not allowed: a finite number is needed."),
        ("rate", math.inf, "rate: inf is not allowed: a finite number is needed."),
        ("beside", ["others"], "beside: ['others'] is not allowed: the name of a data set is needed."),
        ("mode", "quick", "mode: 'quick' is not allowed: choose 'fast' or 'slow'."),
        ("deep", "perhaps", "deep: 'perhaps' is not allowed: true or false is needed."),
        ("deep", True, "deep: True is not allowed: This machine cannot."),
        ("code", "A", "code: 'A' is not allowed: string should match pattern '^[a-z]{2,3}$'."),
        ("epoch", 3, "epoch: there is no such option. Did you mean epochs?"),
        ("colour", 3, "colour: there is no such option. Known options: epochs, rate, mode, deep, most, beside, code."),
    ],
)
def test_a_wrong_option_is_told_without_jargon(name: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Some.model_validate({name: value})
    assert [str(problem) for problem in problems_of(caught.value, Some)] == [sentence]


def test_numbers_may_be_written_as_words_of_the_command_line() -> None:
    some = Some.model_validate({"epochs": "8", "rate": "1e-3", "most": "none", "beside": 2024})
    assert (some.epochs, some.rate, some.most, some.beside) == (8, 1e-3, None, "2024")


def test_a_long_list_of_what_there_is_is_cut() -> None:
    known = [f"class-{number}" for number in range(20)]
    assert did_you_mean("zebra", known, "Classes", most=2) == "Classes: class-0, class-1, ..."
    assert did_you_mean("zebra", [], "Classes") == ""
