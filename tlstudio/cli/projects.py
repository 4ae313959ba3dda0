"""``new`` and ``import``: making a project and bringing data into it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlstudio.cli.common import command, find_registry, open_project, project_argument
from tlstudio.cli.interrupt import stop_gently
from tlstudio.cli.output import Output, StatusLine, counted

if TYPE_CHECKING:
    from tlstudio.api import Preview, Rejected
    from tlstudio.data.importing import ImportReport, ImportRequest

LISTED = 10


@command("new", example='tlstudio new birds --name "Birds of the valley"')
@project_argument
@click.option("--name", default="", help="What to call it; the folder's name if left out.")
def new(output: Output, *, project: Path, name: str) -> None:
    """Make a project: a new folder that will hold data sets and runs."""
    from tlstudio.store.project import Project

    with Project.create(project, name, program="tlstudio new") as made:
        output.say(f"Made the project {made.name} in {made.folder}.")
        output.hint(f"Next: tlstudio import {project} PATH --name NAME")
        output.result({"project": made.folder, "name": made.name})


def _fractions(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[float, float, float]:
    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) != 3 or min(parts) < 0 or not (total := sum(parts)) > 0:
        raise click.BadParameter("give three shares for train, validation and test, such as 70,15,15.")
    train, validation, test = (part / total for part in parts)
    return train, validation, test


class _TaskName(click.ParamType[Any]):
    """A task, looked up when it is given: the help of all commands is there without the libraries."""

    name = "task"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Check that there is such a task."""
        from tlstudio.api import TASKS

        return click.Choice(tuple(TASKS)).convert(str(value).replace("-", "_"), param, ctx)


@command(
    "import",
    example="tlstudio import birds ~/photos --name photos\n"
    "tlstudio import mails mails.csv --name mails --text-column body --label-column folder",
)
@project_argument
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", default="", help="Name of the data set; a name that is there gets a new revision.")
@click.option("--format", "format_name", default="", help="Format of the data; detected if left out.")
@click.option("--text-column", default="", help="Column with the texts.")
@click.option("--pair-column", default="", help="Column with the second texts, for pairs of texts.")
@click.option("--image-column", default="", help="Column with the paths of the images.")
@click.option("--audio-column", default="", help="Column with the paths of the recordings.")
@click.option("--label-column", default="", help="Column with the labels, or with what is said.")
@click.option("--group-column", default="", help="Column whose equal values stay in one split: patient, plate, author.")
@click.option("--split-column", default="", help="Column that says train, validation or test.")
@click.option("--task", type=_TaskName(), help="What the labels are for; suggested if left out.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random split.")
@click.option(
    "--splits", default="70,15,15", show_default=True, callback=_fractions, help="Shares of train, validation and test."
)
@click.option("--reference", is_flag=True, help="Leave images and recordings where they are instead of copying them.")
@click.option(
    "-o",
    "assignments",
    multiple=True,
    metavar="format.OPTION=VALUE",
    help="Any other option of the format (tlstudio options NAME lists them).",
)
@click.option("--dry-run", is_flag=True, help="Show the detected format and columns, and import nothing.")
def import_data(
    output: Output,
    *,
    project: Path,
    path: Path,
    name: str,
    format_name: str,
    task: Any,  # noqa: ANN401  a task or None: it was checked
    seed: int,
    splits: tuple[float, float, float],
    reference: bool,
    assignments: Sequence[str],
    dry_run: bool,
    **columns: str,
) -> None:
    """Import a folder of images, texts or recordings, or a table, as a data set with frozen splits."""
    options: dict[str, Any] = {key: value for key, value in columns.items() if value}
    options |= _options(assignments)
    with open_project(project, output, program="tlstudio import", write=not dry_run) as opened:
        from tlstudio.data.importing import import_dataset, plan_import

        registry = find_registry(output)
        request, preview = plan_import(
            registry.formats.values(),
            path,
            name=name,
            format=format_name,
            options=options,
            task=task,
            copy_files=not reference,
            fractions=splits,
            seed=seed,
        )
        if dry_run:
            _show_preview(output, request, preview)
            return
        asked: list[bool] = []
        with StatusLine() as status, stop_gently(lambda: asked.append(True), what="without importing anything"):
            report = import_dataset(
                request,
                opened.datasets_folder,
                on_progress=lambda done, total: status.update(
                    f"Importing {request.name}", f"{done:,} of {total:,} items" if total else f"{done:,} items"
                ),
                cancelled=lambda: bool(asked),
            )
        chosen = request.options.model_dump()
        roles = [f"{key.removesuffix('_column')} from '{chosen[key]}'" for key in COLUMNS if chosen.get(key)]
        if roles:
            output.hint(f"Columns: {', '.join(roles)}.")
        _show_report(output, report, (*preview.notes, *report.notes), project)


_ROLES = ("user", "item", "text", "pair", "image", "audio", "label", "group", "split")
COLUMNS = tuple(f"{role}_column" for role in _ROLES)


def _options(assignments: Sequence[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip().removeprefix("format.")
        if not equals or not key:
            raise click.BadParameter(f"'{assignment}' is not of the form format.OPTION=VALUE.", param_hint="-o")
        try:
            options[key] = json.loads(text)  # numbers, true and false, lists
        except (ValueError, RecursionError):
            options[key] = text
    return options


def _show_preview(output: Output, request: ImportRequest, preview: Preview) -> None:
    from tlstudio.api import SPLITS

    options = {key: value for key, value in request.options.model_dump(mode="json").items() if value not in ("", None)}
    usual = type(request.options)().model_dump(mode="json")
    shares = ", ".join(f"{share:.0%} {split}" for share, split in zip(request.fractions, SPLITS, strict=True))
    columns = [column for column in preview.columns if any(row.get(column) for row in preview.rows)]
    output.facts(
        [
            ("Format", request.format.title),
            ("Data set", request.name),
            ("Task", request.task),
            ("Items", preview.count if preview.count is not None else "not counted yet"),
            ("Splits", request.format.splits_told(request.options) or f"{shares}; what the source says itself is kept"),
            *(
                (key.replace("_", " ").capitalize(), _option_text(value))
                for key, value in options.items()
                if value != usual[key]
            ),
        ]
    )
    for note in preview.notes:
        output.say(f"Note: {note}")
    output.say()
    rows = [[_short(row.get(column, "")) for column in columns] for row in preview.rows[:LISTED]]
    output.table(columns, rows, left=len(columns))
    output.hint("\nNothing was imported: this was --dry-run.")
    output.result(
        {
            "format": request.format.name,
            "name": request.name,
            "task": request.task,
            "options": options,
            "count": preview.count,
            "columns": preview.columns,
            "rows": preview.rows,
            "notes": preview.notes,
        }
    )


def _option_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else str(value)


def _short(text: str, width: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."


def _show_report(output: Output, report: ImportReport, notes: Sequence[str], project: Path) -> None:
    from tlstudio.api import SPLITS, item_words

    revision = report.revision
    splits = {split: len(revision.indices(split)) for split in SPLITS}
    known = item_words(revision.modality, revision.task)
    kind = counted(len(revision), known.item, known.items)
    if report.unchanged:
        output.say(f"The {kind} are those of {revision.dataset}, revision {revision.id}.")
    else:
        output.say(f"Imported {kind} as {revision.dataset}, revision {revision.id}.")
    output.say(", ".join(f"{split} {count:,}" for split, count in splits.items()) + ".")
    if revision.has_class_names:
        counts = revision.class_counts()
        output.say()
        rows = [(name, [counts.get(split, {}).get(name, 0) for split in SPLITS]) for name in revision.classes]
        rows.sort(key=lambda row: -sum(row[1]))
        output.table(["class", *SPLITS], [[name, *numbers] for name, numbers in rows[:30]])
        if len(rows) > 30:
            output.say(f"and {len(rows) - 30} classes more")
    _show_rejected(output, report.rejected)
    for note in notes:
        output.hint(f"Note: {note}")
    output.hint(f"Next: tlstudio train {project} --dataset {revision.dataset}")
    output.result(
        {
            "dataset": revision.dataset,
            "revision": revision.id,
            "unchanged": report.unchanged,
            "folder": revision.folder,
            "modality": revision.modality,
            "task": revision.task,
            "items": len(revision),
            "classes": revision.classes,
            "splits": splits,
            "rejected": rejected_json(report.rejected),
            "notes": notes,
        }
    )


def _show_rejected(output: Output, rejected: Sequence[Rejected]) -> None:
    if rejected:
        show_rejected(output, rejected, "left out")


def show_rejected(output: Output, rejected: Sequence[Rejected], what: str) -> None:
    """Say why items could not be used: each reason once, with the first items that it is true of."""
    from tlstudio.data.rejections import causes_of

    noun = "item was" if len(rejected) == 1 else "items were"
    output.hint(f"\n{len(rejected):,} {noun} {what}:")
    causes = causes_of(rejected)
    for cause in causes[:LISTED]:
        output.hint(f"  {cause}")
    if more := sum(len(cause.sources) for cause in causes[LISTED:]):
        output.hint(f"  and {more:,} more for other reasons; --json lists all")


def rejected_json(rejected: Sequence[Rejected]) -> list[dict[str, str]]:
    """Items that could not be used, for programs."""
    return [{"source": item.source, "reason": item.reason, "remedy": item.remedy} for item in rejected]
