"""``train``."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlstudio.cli.common import command, find_registry, only_dataset, open_project, project_argument
from tlstudio.cli.following import Listen, events_option, listeners, run_json, say_ended, show_ended
from tlstudio.cli.interrupt import stop_gently
from tlstudio.cli.output import Output, StatusLine
from tlstudio.cli.plan import show_plan
from tlstudio.cli.run_names import find_run, is_word, taking

if TYPE_CHECKING:
    from tlstudio.api import Modality, Task
    from tlstudio.data.revision import Revision
    from tlstudio.engine.recipe import Recipe
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run import Run


@command(
    "train",
    example="tlstudio train birds --dataset photos\n"
    "tlstudio train birds --dataset photos --backbone tf_efficientnet_lite0 --strategy full -o training.epochs=5\n"
    "tlstudio train birds --recipe recipe.toml --json\n"
    "tlstudio train news --recipe summarisation --backbone language_model -o backbone.weights=FOLDER\n"
    "tlstudio train birds --dataset photos --strategy lora --queue\n"
    "tlstudio train birds --dataset moths --start-from best",
)
@project_argument
@click.option("--dataset", help="Data set to learn from; may be left out where there is only one.")
@click.option("--revision", help="Its revision; the latest if left out.")
@click.option("--backbone", help="Pretrained network, by its library's own name (tlstudio backbones lists them).")
@click.option(
    "--start-from",
    metavar="RUN",
    help="Take the backbone of a finished run of this project (its id, latest or best) or of an exported model (its "
    "folder) with all that it has learned, instead of a pretrained one.",
)
@click.option("--head", help="What is put on top of it; by the task if left out.")
@click.option("--strategy", help="What learns and how: linear_probe, full, gradual_unfreezing, lora ...")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="What the run does besides, such as mixup or l2_sp (tlstudio options methods lists them). May be repeated.",
)
@click.option("--shots", type=click.IntRange(min=1), help="Learn from so many samples of each class only.")
@click.option(
    "--folds",
    type=click.IntRange(min=2, max=100),
    help="Train a run for each of so many folds of the samples for training and validation (cross-validation).",
)
@click.option(
    "-o",
    "assignments",
    multiple=True,
    metavar="SECTION.OPTION=VALUE",
    help="Any option, such as training.epochs=5, strategy.rank=8, methods.mixup.alpha=0.4 or backbone.weights=FILE; "
    "one of a method chooses the method, too. tlstudio options lists them. May be repeated.",
)
@click.option(
    "--recipe",
    "recipe_path",
    type=click.Path(path_type=Path),
    help="Recipe file (TOML or JSON), or one that is ready: summarisation or translation; the options beside it go "
    "before it.",
)
@events_option
@click.option(
    "--detach", is_flag=True, help="Train in a process of its own and return at once; tlstudio attach follows it."
)
@click.option("--queue", is_flag=True, help="Let it wait for its turn and return at once; tlstudio queue works it off.")
@click.option("--dry-run", is_flag=True, help="Print the complete recipe and what would happen; train nothing.")
def train(
    output: Output,
    *,
    project: Path,
    assignments: Sequence[str],
    recipe_path: Path | None,
    events_path: str | None,
    detach: bool,
    queue: bool,
    dry_run: bool,
    methods: Sequence[str],
    shots: int | None,
    folds: int | None,
    **choices: str | None,
) -> int:
    """Train a model on a data set. What is left out gets what suits the data and this machine."""
    if queue and (detach or events_path is not None):
        raise click.UsageError("--queue trains nothing now: it goes with neither --detach nor --events.")
    if folds is not None:
        if detach:
            raise click.UsageError("--folds trains several runs: it does not go with --detach.")
        assignments = [*assignments, f"dataset.folds={folds}", "dataset.fold=1"]
    output.words_to_stderr |= events_path == "-"
    with open_project(project, output, program="tlstudio train", write=not dry_run) as opened:
        with StatusLine() as status:
            # The libraries that build the networks take seconds to load.
            status.update("Looking at the data and the model ...", "")
            from tlstudio.engine.advise import complete
            from tlstudio.engine.checking import check_folds
            from tlstudio.engine.preflight import preflight

            registry = find_registry(output)
            values, revision = recipe_values(
                output, opened, choices, assignments, recipe_path, registry, methods, shots
            )
            recipe = complete(values, revision, registry, build=not dry_run)
            lacking = check_folds(recipe, revision) if folds is not None else ()
            plan = preflight(recipe, revision, registry, project_folder=opened.folder) if dry_run else None
        for sentence in lacking:
            output.hint(f"Note: {sentence}")
        if plan is not None:
            return show_plan(output, recipe, plan)
        if folds is not None and not queue:
            return _train_folds(output, recipe, opened, registry, events_path)
        if queue:
            return _queue(output, recipe, opened, every_fold=folds is not None)
        if detach:
            return _detach(output, recipe, opened, registry)
        with listeners(events_path) as (listen, ended):
            run = _execute(recipe, opened, registry, listen)
        return show_ended(output, project, run, ended[-1])


def recipe_values(
    output: Output,
    project: Project,
    choices: dict[str, str | None],
    assignments: Sequence[str],
    recipe_path: Path | None,
    registry: Registry,
    methods: Sequence[str],
    shots: int | None,
) -> tuple[dict[str, Any], Revision]:
    """Join recipe file, choices and assignments, the later ones first, and open the data set."""
    from tlstudio.engine.advise import set_values

    values = _recipe(recipe_path, choices["backbone"], registry) if recipe_path is not None else {}
    for section in ("backbone", "head", "strategy"):
        if name := choices[section]:
            before = values.get(section)
            # The options in the file are those of the component that it names, not of another one.
            keep = before if isinstance(before, dict) and before.get("name") == name else {}
            values[section] = {**keep, "name": name}
    if start_from := choices["start_from"]:
        values["backbone"] = {"name": name} if (name := choices["backbone"]) else {}
        values["backbone"]["start_from"] = start_from
    before = values.get("methods") or {}
    if methods and isinstance(before, dict):  # else it is told with all that is wrong
        values["methods"] = {**before, **{name: before.get(name, {}) for name in methods}}
    values = set_values(values, assignments)
    listed = values.get("dataset")
    chosen = dict(listed) if isinstance(listed, dict) else {"name": listed} if isinstance(listed, str) else {}
    if choices["dataset"]:
        chosen["name"] = choices["dataset"]
        chosen.pop("revision", None)  # that in the file is of the data set that it names
    if shots is not None:
        chosen["shots"] = shots
    if choices["revision"]:
        chosen["revision"] = choices["revision"]
    if not chosen.get("name"):
        chosen["name"] = only_dataset(project)
    revision = project.dataset(str(chosen["name"]), str(chosen.get("revision", "")))
    values["dataset"] = {**chosen, "name": revision.dataset, "revision": revision.id}
    if start_from and not (Path(start_from).expanduser() / "config.json").is_file():
        alike = taking(registry, lambda modality, _: modality == revision.modality)
        values["backbone"]["start_from"] = find_run(project, start_from, output, alike).id
    _name_runs(values, project, revision, registry, output)
    return values, revision


def _name_runs(
    values: dict[str, Any], project: Project, revision: Revision, registry: Registry, output: Output
) -> None:
    """Replace ``latest`` and ``best`` in a recipe, wherever an option names a run, by the id of that run."""
    from tlstudio.api import describe

    def able(modality: Modality, task: Task) -> int:
        return (1 + (task == revision.task)) if modality == revision.modality else 0

    places = [(values.get("backbone"), "start_from")]
    listed = values.get("methods")
    for name, options in listed.items() if isinstance(listed, dict) else ():
        fields = describe(registry.methods[name].Options) if name in registry.methods else ()
        places += [(options, field.name) for field in fields if field.browse == "run"]
    for table, option in places:
        if isinstance(table, dict) and isinstance(named := table.get(option), str) and is_word(named):
            table[option] = find_run(project, named, output, taking(registry, able)).id


def _recipe(path: Path, backbone: str | None, registry: Registry) -> dict[str, Any]:
    """Read a recipe file, or take one that is ready for the backbone that was chosen beside it."""
    from tlstudio.api import TLStudioError
    from tlstudio.engine.recipe import read_recipe_file
    from tlstudio.plugins.ready_recipes import ready_recipes

    ready = {recipe.name: recipe for recipe in ready_recipes()}
    if str(path) not in ready or path.exists():
        return read_recipe_file(path)
    chosen = None
    with contextlib.suppress(TLStudioError):  # an unknown one is told with all else
        chosen = registry.backbone(backbone) if backbone else None
    return ready[str(path)].with_backbone(chosen)


def _execute(recipe: Recipe, project: Project, registry: Registry, listen: Listen) -> Run:
    from tlstudio.engine.control import RunControl
    from tlstudio.engine.execute import execute_run

    control = RunControl()
    with stop_gently(control.cancel):
        return execute_run(recipe, project, registry, on_event=listen, control=control)


def _train_folds(output: Output, recipe: Recipe, project: Project, registry: Registry, events_path: str | None) -> int:
    from tlstudio.cli.ensembles import train_folds

    with listeners(events_path) as (listen, ended):

        def train(one: Recipe) -> tuple[Run, int]:
            run = _execute(one, project, registry, listen)
            code = say_ended(output, run, ended[-1])
            if code:
                output.result(run_json(run, ended[-1]))
            return run, code

        return train_folds(output, recipe, project, registry, train)


def _queue(output: Output, recipe: Recipe, project: Project, *, every_fold: bool = False) -> int:
    from tlstudio.engine.recipe import fold_recipes
    from tlstudio.engine.run_queue import add_to_queue, is_worked_off

    queued = [add_to_queue(one, project) for one in (fold_recipes(recipe) if every_fold else [recipe])]
    for run in queued:
        output.say(f"Run {run.id} is queued.")
    if not is_worked_off(project):
        output.hint(f"Next: tlstudio queue {project.folder}")
    told = {"run": queued[0].id, "status": "queued", "folder": queued[0].folder}
    output.result({**told, **({"runs": [run.id for run in queued]} if every_fold else {})})
    return 0


def _detach(output: Output, recipe: Recipe, project: Project, registry: Registry) -> int:
    from tlstudio.engine.control import RunControl
    from tlstudio.engine.events import RunEnded, RunEvent
    from tlstudio.engine.executors import execute_in_process

    control, ended = RunControl(), list[RunEvent]()
    control.let_go()
    run = execute_in_process(recipe, project, registry, on_event=ended.append, control=control)
    if ended and isinstance(ended[-1], RunEnded):
        return show_ended(output, project.folder, run, ended[-1])
    output.say(f"Run {run.id} has started in a process of its own.")
    output.hint(f"Next: tlstudio attach {project.folder} {run.id}")
    output.result({"run": run.id, "status": "running", "folder": run.folder})
    return 0
