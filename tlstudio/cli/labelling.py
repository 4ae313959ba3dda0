"""``label-next`` and ``label``: which items to label next, and giving their labels back."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from tlstudio.cli.common import command, find_registry, open_project, project_argument, run_argument
from tlstudio.cli.output import Output, StatusLine, counted, cut
from tlstudio.cli.projects import rejected_json, show_rejected
from tlstudio.cli.run_names import find_run, taking, told_of

if TYPE_CHECKING:
    from tlstudio.api import Modality, Task
    from tlstudio.engine.active import Chooser, Suggestion
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project

_CHOOSERS = ("badge", "margin", "confidence", "entropy", "k_center", "random")


@command(
    "label-next",
    example="tlstudio label-next birds best unlabelled --count 20 --csv next.csv\n"
    "tlstudio label-next birds best ~/photos/2026 --by k_center",
)
@project_argument
@run_argument
@click.argument("pool")
@click.option(
    "--by",
    type=click.Choice(_CHOOSERS),
    default="badge",
    show_default=True,
    help="How items are chosen: unsure ones that differ (badge); those of which the run is least sure, by the lead of "
    "the likeliest class (margin), its probability or the entropy; those unlike all that is labelled (k_center).",
)
@click.option("--count", type=click.IntRange(1, 100_000), default=20, show_default=True, help="So many items.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write a table whose column label is to be filled in.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is drawn.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
def label_next(
    output: Output,
    *,
    project: Path,
    run_id: str,
    pool: str,
    by: str,
    count: int,
    csv: Path | None,
    seed: int,
    device: str,
) -> None:
    """Choose the unlabelled items whose labels would teach the most.

    RUN is the id of a run, latest or best. POOL is a data set of the project that was imported without labels, or a
    folder or table. Fill in the column label of the table that --csv writes, and give it to tlstudio label.
    """
    with open_project(project, output) as opened, StatusLine() as status:
        status.update("Loading the model", "")
        registry = find_registry(output)
        run = find_run(opened, run_id, output, taking(registry, functools.partial(_takes, opened, registry, pool)))
        from tlstudio.engine.active import next_to_label
        from tlstudio.engine.label_table import write_candidates

        def progress(done: int, total: int) -> None:
            status.update("Looking at the pool", f"{done:,} of {total:,}")

        with told_of(run, project, "as RUN"):
            found = next_to_label(
                run,
                pool,
                opened,
                registry,
                by=cast("Chooser", by),
                count=count,
                seed=seed,
                device=device,
                on_progress=progress,
            )
        if csv is not None:
            write_candidates(csv, found.candidates)
    _show(output, found)
    if csv is not None:
        back = f"tlstudio label {project} {run.summary().dataset} {csv}"
        output.hint(f"Next: fill in the column label of {csv}, and give it back: {back}")


def _takes(project: Project, registry: Registry, pool: str, modality: Modality, task: Task) -> bool:
    """Whether a model of this kind can choose from a pool; raises where the pool has nothing of the kind."""
    from tlstudio.data.unlabelled import reader_of

    name, _, revision = pool.partition("@")
    if name in project.datasets():
        held = project.dataset(name, revision).modality
    else:
        reader_of(Path(pool), registry.formats.values(), modality)
        held = modality
    return held == modality and task in ("classification", "multi_label", "regression")


def _show(output: Output, found: Suggestion) -> None:
    from tlstudio.api import label_text, label_values

    rows = [
        [cut(one.sample.text or one.id, 60), cut(label_text(one.predicted), 30), one.confidence, cut(one.why, 80)]
        for one in found.candidates
    ]
    output.table(["item", "predicted", "confidence", "why"], rows, left=2)
    told = f"{len(found.candidates):,} of {found.searched:,} unlabelled items"
    if found.known:
        told += f"; {found.known:,} more are labelled already or the same as others"
    output.say(f"{told}.")
    if found.rejected:
        show_rejected(output, list(found.rejected), "not looked at")
    output.result(
        {
            "candidates": [
                {
                    "id": one.id,
                    "pool": one.pool,
                    "source": str(one.sample.image or one.sample.audio or one.sample.source),
                    "predicted": label_values(one.predicted),
                    "confidence": one.confidence,
                    "score": one.score,
                    "why": one.why,
                }
                for one in found.candidates
            ],
            "searched": found.searched,
            "known": found.known,
            "rejected": rejected_json(list(found.rejected)),
        }
    )


@command(
    "label", example="tlstudio label birds photos next.csv\ntlstudio label birds photos more.csv --pool unlabelled"
)
@project_argument
@click.argument("dataset")
@click.argument("labels", metavar="LABELS.CSV", type=click.Path(path_type=Path))
@click.option("--pool", default="", help="Data set, folder or table of the items whose row names no pool.")
@click.option("--new-classes", is_flag=True, help="Allow classes that the data set does not have yet.")
def label(output: Output, *, project: Path, dataset: str, labels: Path, pool: str, new_classes: bool) -> None:
    """Give labels to items: a new revision of a data set.

    LABELS.CSV has the columns id and label, and pool for items that are not in the data set yet: those are added to its
    train split. Without a pool, the label of an item of the data set is corrected, wherever it is.
    """
    with open_project(project, output, program="tlstudio label", write=True) as opened:
        registry = find_registry(output)
        from tlstudio.data.labelling import with_labels
        from tlstudio.engine.label_table import read_labels

        revision = opened.dataset(dataset)
        table = read_labels(labels, revision, opened, registry, pool)
        report = with_labels(revision, table.given, new_classes=new_classes)
        for note in report.notes:
            output.say(note)
        if table.empty:
            rows = "row has" if table.empty == 1 else "rows have"
            output.hint(f"{table.empty:,} {rows} no label yet.")
        rejected = [*table.rejected, *report.rejected]
        if rejected:
            show_rejected(output, rejected, "left out")
        made = report.revision
        if not report.unchanged:
            output.say(f"{made.dataset} {made.id}: {counted(len(made), 'item')}.")
        output.result(
            {
                "dataset": made.dataset,
                "revision": made.id,
                "items": len(made),
                "unchanged": report.unchanged,
                "empty": table.empty,
                "notes": list(report.notes),
                "rejected": rejected_json(rejected),
            }
        )
