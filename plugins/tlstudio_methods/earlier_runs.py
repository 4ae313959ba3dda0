"""What methods have in common that keep what an earlier run could do."""

from __future__ import annotations

from typing import Any

from tlstudio.api import Problem, Setting, option


def earlier_run_option() -> Any:  # noqa: ANN401  a pydantic field, as `option` returns
    """Declare the option that names the run."""
    return option(
        ...,
        title="Earlier run",
        help="The run whose task must not be forgotten: the one that this run starts from.",
        browse="run",
    )


def forgetting_problems(setting: Setting, run: str, where: str) -> list[Problem]:
    """Say why there is nothing of an earlier run that could be forgotten.

    Args:
        setting: The run.
        run: Id of the earlier run.
        where: Name of the option that names it.
    """
    found = []
    if setting.starts_from != run:
        what = "the run does not start from this one: it has nothing of it to forget."
        found.append(Problem(where, what, "Set backbone.start_from to the same run."))
    if setting.strategy.keeps_backbone(setting.strategy_options):
        what = f"{setting.strategy.title} leaves the backbone as it is: nothing is forgotten."
        found.append(Problem("", what, "Choose a strategy under which the backbone learns."))
    return found
