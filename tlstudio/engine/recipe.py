"""A recipe: one file that says everything about one run, and is checked whole before anything is loaded."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from tlstudio.api import Augmentation, Options, Problem, ProblemsError, TargetInfo, TLStudioError, option, problems_of
from tlstudio.api.files import read_text
from tlstudio.api.wording import wrong_value

if TYPE_CHECKING:
    from tlstudio.data.revision import Revision


class TrainingOptions(Options):
    """How the loop trains, whatever is trained."""

    epochs: int = option(10, title="Epochs", help="How often the training data is gone through.", ge=1, le=100_000)
    batch_size: int = option(
        32,
        title="Batch size",
        help="Samples that are learned from at once. Smaller needs less memory.",
        ge=1,
        le=65_536,
    )
    learning_rate: float = option(
        1e-3, title="Learning rate", help="Size of a step. Smaller is slower and safer.", gt=0, le=10
    )
    augmentation: Augmentation = option(
        "light",
        title="Augmentation",
        help="Varies training samples so that the model learns what matters: images by crops, flips and colours, "
        "recordings by loudness and noise, texts by leaving out and swapping words. RandAugment and TrivialAugment are "
        "policies for images; contrastive is for learning without labels from two views of each item: far stronger.",
    )
    early_stopping: int = option(
        0,
        title="Early stopping",
        help="Stops when the chosen metric has not improved for this many epochs; 0 never does.",
        ge=0,
        unit="epochs",
    )
    precision: Literal["32", "bf16", "fp16"] = option(
        "32", title="Precision", help="bf16 and fp16 are faster and smaller on a GPU that has them."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = option(
        "auto", title="Device", help="Auto takes the GPU if there is one."
    )
    seed: int = option(
        0, title="Seed", help="The same seed gives the same run on the same machine.", ge=0, le=2**32 - 1
    )
    optimizer: Literal["adamw", "sgd"] = option(
        "adamw", title="Optimizer", help="AdamW suits nearly everything; SGD has momentum 0.9.", advanced=True
    )
    weight_decay: float = option(
        0.01, title="Weight decay (L2)", help="Pulls weights towards zero.", ge=0, le=10, advanced=True
    )
    l1: float = option(
        0.0,
        title="L1",
        help="Adds this times the sum of absolute values of the learning weights to the loss.",
        ge=0,
        le=10,
        advanced=True,
    )
    schedule: Literal["cosine", "linear", "constant"] = option(
        "cosine", title="Schedule", help="How the learning rate falls after the warm-up.", advanced=True
    )
    warmup: float = option(
        0.1, title="Warm-up", help="Share of all steps in which the rate rises.", ge=0, le=1, advanced=True
    )
    accumulate: int = option(
        1,
        title="Accumulation",
        help="Batches that make one step: a large batch in little memory.",
        ge=1,
        le=4096,
        unit="batches",
        advanced=True,
    )
    recompute: bool = option(
        False,
        title="Recompute activations",
        help="Needs much less memory and about a third more time; learns the same (gradient checkpointing).",
        advanced=True,
    )
    smaller_batch: bool = option(
        False,
        title="Smaller batch if need be",
        help="If memory runs out, begins anew with the largest batch that fits and as much more accumulation.",
        advanced=True,
    )
    clip_norm: float = option(
        1.0, title="Gradient clipping", help="Largest norm of a gradient; 0 is off.", ge=0, advanced=True
    )
    monitor: str = option(
        "",
        title="Metric to watch",
        help="Chooses the best epoch and early stopping; empty takes the usual one of the task.",
        advanced=True,
    )
    keep: Literal["best", "last"] = option(
        "best",
        title="Keep",
        help="The model of the best epoch by the metric to watch, or that of the last one, where training converges.",
        advanced=True,
    )
    num_workers: int = option(
        0,
        title="Loader processes",
        help="Extra processes that read and augment; 0 reads in the training thread.",
        ge=0,
        le=64,
        advanced=True,
    )
    checkpoint_every: float = option(
        30.0,
        title="Checkpoint every",
        help="Shortest time between two checkpoints from which the run can go on; longer where writing one is slow.",
        ge=0,
        le=86_400,
        unit="s",
        advanced=True,
    )
    threads: int = option(0, title="CPU threads", help="0 takes what torch chooses.", ge=0, le=1024, advanced=True)
    deterministic: bool = option(
        False,
        title="Deterministic",
        help="Refuses operations that differ from run to run on a GPU; slower.",
        advanced=True,
    )

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_as_text(cls, value: object) -> object:
        # On the command line and in TOML, precision = 32 is as natural as "32".
        return str(value) if isinstance(value, int) else value


class Choice(BaseModel):
    """A component by name, with its options as written in the recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class BackboneChoice(Choice):
    """A backbone, with its own pretrained weights or with those that an earlier run has given it.

    Attributes:
        start_from: Id of a run of the same project, or the folder of an exported model; name and options are then
            those of its backbone. Empty: the pretrained weights that the options say.
    """

    start_from: str = ""

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        if not self.start_from:
            values.pop("start_from", None)
        return values


class HeadChoice(Choice):
    """A task head, fresh or with what an earlier run has taught it.

    Attributes:
        take_over: Whether it begins with what the head of the run has learned that the backbone starts from.
        classes: Classes that it has besides those of the data, as where these come later in a sequence of data sets.
    """

    take_over: bool = False
    classes: tuple[str, ...] = ()

    @field_validator("classes")
    @classmethod
    def _with_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(name.strip() for name in names):
            raise ValueError("each class needs a name")
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise ValueError(f"{' and '.join(map(repr, twice))} is there more than once")
        return names

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        return {name: value for name, value in values.items() if value or name not in ("take_over", "classes")}


class DatasetChoice(Options):
    """A frozen revision of a data set of the project.

    Attributes:
        name: Name of the data set.
        revision: The revision.
        shots: Learn from so many samples of each class of the train split, drawn by the seed of the training; 0: all.
        folds: Divide train and validation split together into so many folds, by the seed of the training; 0: leave
            them as they were imported.
        fold: Which fold is the validation split, from 1.
    """

    name: str
    revision: str
    shots: int = option(
        0,
        title="Samples per class",
        help="Learns from so many training samples of each class alone, drawn by the seed; 0 takes all.",
        ge=0,
    )
    folds: int = option(
        0,
        title="Folds",
        help="Cross-validation: divides the samples for training and validation into so many folds, by the seed, and "
        "each run holds another one out; 0 leaves both as they were imported.",
        ge=0,
        le=100,
    )
    fold: int = option(0, title="Fold", help="The fold that is held out for validation, from 1.", ge=0, le=100)

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        return {name: value for name, value in values.items() if value or name not in ("shots", "folds", "fold")}

    @property
    def reference(self) -> str:
        """The revision by one name, see `Revision.reference`."""
        return f"{self.name}@{self.revision}"


class Recipe(BaseModel):
    """One run, in full. ``recipe.toml`` in a run folder is exactly this.

    Attributes:
        format: Version of this layout.
        dataset: What is learned from.
        backbone: The pretrained network.
        head: What is put on it.
        strategy: What learns, and how fast.
        training: How the loop trains.
        methods: Options of the methods by their names, in the order in which they work.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    dataset: DatasetChoice
    backbone: BackboneChoice
    head: HeadChoice
    strategy: Choice
    training: TrainingOptions = TrainingOptions()
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        if not self.methods:
            values.pop("methods", None)
        return values

    def to_toml(self) -> str:
        """Write the recipe as TOML, every training option spelled out; an option without a value as ``"none"``."""
        import tomli_w

        return tomli_w.dumps(_none_in_words(self.model_dump(mode="json")))


def _none_in_words(value: Any) -> Any:  # noqa: ANN401  whatever a recipe can hold
    """TOML has no null; `Options` reads the word back."""
    if isinstance(value, dict):
        return {name: _none_in_words(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_none_in_words(inner) for inner in value]
    return "none" if value is None else value


def learned_from(recipe: Recipe, revision: Revision) -> Revision:
    """The data of a recipe with the train split that is really learned from.

    Raises:
        DataError: There are not so many samples of each class, or not so many folds, as the recipe wants.
    """
    shots = recipe.dataset.shots
    revision = divided(recipe, revision)
    return revision.few(shots, recipe.training.seed) if shots else revision


def divided(recipe: Recipe, revision: Revision) -> Revision:
    """The data of a recipe with its own train and validation splits, whole.

    Raises:
        DataError: There are not so many folds as the recipe wants.
    """
    data = recipe.dataset
    return revision.fold(data.fold, data.folds, recipe.training.seed) if data.folds or data.fold else revision


def fold_recipes(recipe: Recipe) -> list[Recipe]:
    """A recipe for each fold of one that has folds."""
    return [
        recipe.model_copy(update={"dataset": recipe.dataset.model_copy(update={"fold": number})})
        for number in range(1, recipe.dataset.folds + 1)
    ]


def target_of(recipe: Recipe, revision: Revision) -> TargetInfo:
    """What the head of a recipe learns from its data."""
    return with_classes(revision.target_info(), recipe.head.classes)


def with_classes(target: TargetInfo, classes: Iterable[str]) -> TargetInfo:
    """A target with more classes, of which there are no samples yet."""
    more = tuple(name for name in dict.fromkeys(classes) if name not in target.classes)
    if not more:
        return target
    return replace(target, classes=target.classes + more, class_counts=target.class_counts + (0,) * len(more))


def parse_recipe(values: Mapping[str, Any]) -> Recipe:
    """Check the shape of a recipe (not yet its components).

    Raises:
        ProblemsError: With every mistake found.
    """
    problems: list[Problem] = []
    training = values.get("training", {})
    try:
        TrainingOptions.model_validate(training)
    except ValidationError as error:
        problems += problems_of(error, TrainingOptions, "training.")
    try:
        recipe = Recipe.model_validate({**values, "training": {}})
    except ValidationError as error:
        for item in error.errors():
            where = ".".join(str(part) for part in item["loc"])
            what = {"missing": "is missing.", "extra_forbidden": "is not a part of a recipe."}.get(item["type"])
            problems.append(Problem(where, what or wrong_value(item)))
    if problems:
        raise ProblemsError(mistakes(len(problems)), problems)
    return recipe.model_copy(update={"training": TrainingOptions.model_validate(training)})


def mistakes(count: int) -> str:
    """Return the heading of a list of mistakes."""
    return "The recipe has 1 mistake." if count == 1 else f"The recipe has {count} mistakes."


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON recipe file without checking it; parts may be left out.

    Raises:
        TLStudioError: No such file, or not TOML or JSON; with line and column.
    """
    try:
        text = read_text(path, encoding="utf-8-sig")
        values = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
        deepcopy(values)  # nested too deeply for this, it is so for all that follows
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TLStudioError(f"The recipe {path} cannot be read: {reason}.", path=path) from error
    except (ValueError, RecursionError) as error:  # not of the form, too deep, or a number of thousands of digits
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise TLStudioError(f"The recipe {path.name} is not valid {kind}: {error}.", path=path) from error
    if not isinstance(values, dict):
        raise TLStudioError(f"The recipe {path.name} must be a table of settings.", path=path)
    return values
