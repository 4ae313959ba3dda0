"""Options of components: one pydantic model gives validation, help, the command line and the form."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from tlstudio.api.errors import Problem
from tlstudio.api.wording import did_you_mean, wrong_value

Browse = Literal["", "file", "folder", "any", "dataset", "datasets", "run"]
"""What a form offers to choose a text from: a dialog for files or folders, the data sets or the runs of the project.

Several data sets stand in a text with commas between them; `tlstudio.api.methods.dataset_names` reads it.
"""

_NAMED: Mapping[Browse, str] = {
    "dataset": "the name of a data set is needed",
    "datasets": "names of data sets are needed, in one text with commas between them",
    "run": "the id of a run is needed",
}

T = TypeVar("T", bound="Options")


class Options(BaseModel):
    """Base of every component's options. Immutable; unknown names are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        protected_namespaces=(),
        coerce_numbers_to_str=True,  # a folder may be called 2024
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, values: Any) -> Any:  # noqa: ANN401  whatever a recipe holds
        """TOML has no null: an option that is left empty on purpose stands there as ``"none"``. True is no number."""
        if not isinstance(values, dict):
            return values
        fields = {field.name: field for field in describe(cls)}
        return {name: _as_meant(value, fields[name]) if name in fields else value for name, value in values.items()}


def options_as(model: type[T], options: Options) -> T:
    """Return options as the model that a component declared, so that its fields have their types.

    Raises:
        TypeError: They belong to another component.
    """
    if not isinstance(options, model):
        raise TypeError(f"expected {model.__name__}, got {type(options).__name__}")
    return options


def option(
    default: Any,  # noqa: ANN401  the type is that of the field it is assigned to
    *,
    title: str,
    help: str,  # noqa: A002  the word that a plugin author looks for
    advanced: bool = False,
    unit: str = "",
    browse: Browse = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Any:  # noqa: ANN401  a pydantic field, whatever its type
    """Declare one option of an `Options` model.

    Args:
        default: Its default value; ``...`` makes it required.
        title: The label in the form, in plain words.
        help: One or two sentences shown beside the field and in ``--help``.
        advanced: Whether the form folds it away.
        unit: Shown after the field, such as ``"px"``.
        browse: What the form offers to choose from.
        ge: Lowest allowed value.
        gt: Value that must be exceeded.
        le: Highest allowed value.
        lt: Value that must not be reached.
    """
    extra: dict[str, Any] = {"advanced": advanced, "unit": unit, "browse": browse}
    return Field(default, title=title, description=help, json_schema_extra=extra, ge=ge, gt=gt, le=le, lt=lt)


@dataclass(frozen=True, slots=True)
class OptionField:
    """What a form or a help page needs to know of one option.

    Attributes:
        name: Its name in the recipe.
        title: Its label.
        help: Its help text.
        kind: ``"bool"``, ``"int"``, ``"float"``, ``"choice"`` or ``"text"``.
        default: Its default value, `None` where it is required or optional.
        required: Whether a value must be given.
        nullable: Whether it may be left empty (`None`).
        choices: The allowed values of a ``"choice"``.
        minimum: Lowest allowed value, or `None`.
        maximum: Highest allowed value, or `None`.
        limits: What a number must be, by ``"ge"``, ``"gt"``, ``"le"`` and ``"lt"``; of `minimum` and `maximum`, those
            by ``"gt"`` and ``"lt"`` are not allowed themselves.
        advanced: Whether the form folds it away.
        unit: Shown after the field.
        browse: What the form offers to choose from.
    """

    name: str
    title: str
    help: str
    kind: Literal["bool", "int", "float", "choice", "text"]
    default: Any
    required: bool
    nullable: bool
    choices: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    limits: Mapping[str, float]
    advanced: bool
    unit: str
    browse: Browse


def describe(model: type[BaseModel]) -> tuple[OptionField, ...]:
    """List the options of a model in the order of their declaration."""
    return tuple(_describe_field(name, info) for name, info in model.model_fields.items())


def _describe_field(name: str, info: FieldInfo) -> OptionField:
    annotation, nullable = _strip_none(info.annotation)
    choices: tuple[str, ...] = ()
    if typing.get_origin(annotation) is Literal:
        kind: Literal["bool", "int", "float", "choice", "text"] = "choice"
        choices = tuple(str(value) for value in typing.get_args(annotation))
    elif annotation is bool:
        kind = "bool"
    elif annotation is int:
        kind = "int"
    elif annotation is float:
        kind = "float"
    else:
        kind = "text"
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    bounds = {
        key: float(getattr(item, key))
        for item in info.metadata
        for key in ("ge", "gt", "le", "lt")
        if getattr(item, key, None) is not None
    }
    return OptionField(
        name=name,
        title=info.title or name.replace("_", " ").capitalize(),
        help=info.description or "",
        kind=kind,
        default=None if info.is_required() else info.default,
        required=info.is_required(),
        nullable=nullable,
        choices=choices,
        minimum=bounds.get("ge", bounds.get("gt")),
        maximum=bounds.get("le", bounds.get("lt")),
        limits=bounds,
        advanced=bool(extra.get("advanced", False)),
        unit=str(extra.get("unit", "")),
        browse=typing.cast(Browse, extra.get("browse", "")),
    )


def _as_meant(value: Any, field: OptionField) -> Any:  # noqa: ANN401  whatever a recipe holds
    """Read a value that says that there is none; where this is one of the choices, by its name.

    For a number, true and false are left as words, which none is read from: pydantic would take them for 1 and 0.
    """
    if isinstance(value, bool) and field.kind in ("int", "float"):
        return str(value).lower()
    if value is None and "none" in field.choices:
        return "none"
    return None if value == "none" and _may_say_none(field) else value


def _may_say_none(field: OptionField) -> bool:
    """Whether ``"none"`` cannot be meant as a text."""
    return field.nullable and field.kind != "text" and "none" not in field.choices


def _strip_none(annotation: Any) -> tuple[Any, bool]:  # noqa: ANN401  annotations have no common type
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
        if len(rest) < len(typing.get_args(annotation)):
            return (rest[0] if len(rest) == 1 else typing.Union[tuple(rest)]), True  # noqa: UP007  built at run time
    return annotation, False


def problems_of(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[Problem]:
    """Turn pydantic's report into sentences that name the field, the value and what is allowed.

    Args:
        error: What pydantic raised.
        model: The model that was being filled.
        prefix: Put before the field's name, such as ``"training."``.
    """
    fields = {field.name: field for field in describe(model)}
    problems = []
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else ""
        where = f"{prefix}{name}".rstrip(".")
        if item["type"] == "extra_forbidden":
            remedy = did_you_mean(name, fields, "Known options", most=40)
            problems.append(Problem(where, "there is no such option.", remedy))
        elif item["type"] == "missing":
            problems.append(Problem(where, "a value is required.", fields[name].help if name in fields else ""))
        elif item["type"] == "string_type" and name in fields and fields[name].browse in _NAMED:
            problems.append(Problem(where, f"{item['input']!r} is not allowed: {_NAMED[fields[name].browse]}."))
        else:
            problems.append(Problem(where, wrong_value(item)))
    return problems
