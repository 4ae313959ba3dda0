"""What all commands share: how one is declared, how a project is opened, where plugins come from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlstudio.cli.output import Output

if TYPE_CHECKING:
    from tlstudio.plugins import PluginManager, Registry
    from tlstudio.store.project import Project

FAILED, WRONG_USE, CANCELLED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: Exit code: 0 done, 1 failed, 2 wrong use or bad input, 130 cancelled.
        open_project: A project that the window shall be opened on now.
    """

    code: int = 0
    open_project: Path | None = None


CommandFunction = Callable[..., Outcome | int | None]


def command(name: str, *, example: str) -> Callable[[CommandFunction], click.Command]:
    """Declare a command: it gets ``--json``, an example in its help, and an `Output` as first argument.

    Args:
        name: Its name.
        example: One or more command lines, shown in its help.
    """
    lines = "\n".join(f"  {line}" for line in example.splitlines())

    def decorate(function: CommandFunction) -> click.Command:
        @functools.wraps(function)
        def call(*, as_json: bool, **values: Any) -> Outcome | int | None:  # noqa: ANN401  what click has parsed
            return function(Output(as_json=as_json), **values)

        with_json = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object, last.")
        summary = (function.__doc__ or "").strip().split("\n\n")[0].split(". ")[0].rstrip(".") + "."
        made = click.command(name, short_help=summary, epilog=f"\b\nExample:\n{lines}")(with_json(call))
        made.params.sort(key=lambda param: isinstance(param, click.Option) and param.name == "as_json")
        return made

    return decorate


project_argument = click.argument("project", type=click.Path(path_type=Path))
run_argument = click.argument("run_id", metavar="RUN")


def find_plugins(output: Output) -> PluginManager:
    """Load all plugins; one that fails is told in a line and left out."""
    from tlstudio.plugins import PluginManager

    manager = PluginManager.of_user()
    if manager.safe_mode:
        output.hint("Safe mode: only the plugins that come with TL Studio are loaded.")
    for record in manager.plugins:
        if record.state in ("failed", "skipped"):
            output.hint(f"Warning: the plugin {record.name} is left out: {record.error} (tlstudio plugins says more.)")
    return manager


def find_registry(output: Output) -> Registry:
    """Load all plugins and return what they bring."""
    return find_plugins(output).registry


def open_project(folder: Path, output: Output, *, program: str = "", write: bool = False) -> Project:
    """Open a project and tell what was mended.

    Args:
        folder: Its folder.
        output: Where to tell it.
        program: What to call this program if others want to write, too.
        write: Whether to take the right to write.
    """
    from tlstudio.store.project import Project

    project = Project.open(folder, write=write, program=program) if write else Project.open(folder, write=False)
    for note in project.notes:
        output.hint(note)
    return project


def only_dataset(project: Project) -> str:
    """Name the data set of a project that has one.

    Raises:
        DataError: It has none, or several.
    """
    from tlstudio.api import DataError

    names = project.datasets()
    if len(names) != 1:
        remedy = f"Choose one: --dataset {' or '.join(names)}." if names else "Import one: tlstudio import --help."
        count = "several data sets" if names else "no data set yet"
        raise DataError(f"The project {project.name} has {count}.", remedy, field="dataset.name")
    return names[0]
