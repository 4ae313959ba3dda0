"""What a run says of itself that was not trained but made of other runs. Reading it needs no torch.

Such a run has the folder of any other: recipe, target and assets of the run that it was made of, a best checkpoint, its
own metrics and predictions. ``derived.json`` in it says what was done to which runs; these may be deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tlstudio.api import FineTuningStrategy, Options, RunError
from tlstudio.engine.source import Ancestor
from tlstudio.store.run import Run

if TYPE_CHECKING:
    from tlstudio.api.nn import ParamGroup, TransferModel

DERIVED_NAME = "derived.json"


class Derivation(BaseModel):
    """How a run was made of others.

    Attributes:
        format: Version of this layout.
        made_by: What was done: ``"wise_ft"``, ``"soup"``, ``"pruned"``.
        sentence: The same for people.
        parents: The runs that it was made of, with the hashes of what was read.
        options: How it was done, such as ``{"alpha": 0.5}``.
        curve: What was measured on the way to it, a row each.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    made_by: str
    sentence: str
    parents: tuple[Ancestor, ...]
    options: dict[str, Any] = Field(default_factory=dict)
    curve: tuple[dict[str, Any], ...] = ()


def read_derivation(run: Run) -> Derivation | None:
    """Read how a run was made of others; `None` of one that was trained.

    Raises:
        RunError: What it says cannot be read.
    """
    if not (run.folder / DERIVED_NAME).exists():
        return None
    try:
        return Derivation.model_validate(run.read_json(DERIVED_NAME))
    except ValidationError as error:
        path = run.folder / DERIVED_NAME
        raise RunError(f"{DERIVED_NAME} of run {run.id} is damaged.", "Make the run again.", path=path) from error


class AsItIs(FineTuningStrategy):
    """Stands for the strategy of a run that was made of others: whatever that has added is folded in already."""

    name = "as_it_is"
    title = "As it is"
    description = "Changes nothing."

    def prepare(self, model: TransferModel, options: Options) -> None:
        """Leave the model as it was built."""

    def param_groups(
        self, model: TransferModel, options: Options, *, learning_rate: float, weight_decay: float
    ) -> list[ParamGroup]:
        """Nothing learns."""
        return []
