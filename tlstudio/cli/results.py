"""``runs``, ``evaluate`` and ``export``: what came out, and taking it along."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tlstudio.cli.common import (
    command,
    find_registry,
    open_project,
    project_argument,
    run_argument,
)
from tlstudio.cli.metrics import LESS_IS_BETTER, metrics_table, shown_metric
from tlstudio.cli.output import Output, StatusLine, counted, cut, duration, size
from tlstudio.cli.run_names import Fits, any_run, find_run, taking

if TYPE_CHECKING:
    from tlstudio.engine.evaluate import Evaluation
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run import Run
    from tlstudio.store.run_record import RunSummary

MATRIX_CLASSES = 12
"""Up to so many classes the confusion matrix is printed; beyond, the most frequent confusions."""
LAST_EPOCHS = 10
"""So many epochs of a run are printed, and the kept one."""
_WHAT = ("run", "status", "data set", "backbone", "strategy")


@command("runs", example="tlstudio runs birds\ntlstudio runs birds best --json\ntlstudio runs birds --sort f1_macro")
@project_argument
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--limit", type=click.IntRange(min=1), help="List only so many.")
@click.option("--sort", metavar="METRIC", help="By this validation metric of the best epoch, the best run first.")
def runs(output: Output, *, project: Path, run_id: str | None, limit: int | None, sort: str | None) -> None:
    """List the runs of a project, newest first, or all about one: its id, latest or best."""
    with open_project(project, output) as opened:
        if run_id is not None:
            _show_run(output, opened, find_run(opened, run_id, output), find_registry(output))
            return
        if sort is not None:
            _show_sorted(output, opened, sort, limit)
            return
        summaries = opened.runs()[:limit]
    if summaries:
        headers = [*_WHAT, "metric", "validation", "test", "epoch", "time", "note"]
        output.table(headers, [_row(run) for run in summaries], left=len(_WHAT) + 1)
    else:
        output.say(f"No run yet. Train one: tlstudio train {project}")
    output.result({"project": project, "runs": [run_json(run) for run in summaries]})


def _show_sorted(output: Output, project: Project, metric: str, limit: int | None) -> None:
    """List the runs by what their best epoch so far gave, those that still run or were interrupted among them."""
    runs = project.runs()
    # The last such row of each run; a run that was made of others has no epochs.
    best: dict[str, dict[str, Any]] = {row.run: row.to_json() for row in project.metric_rows() if row.is_best}
    best |= {run.id: {"validation": run.metrics.get("validation", {})} for run in runs if run.made_by}
    known = sorted({name for row in best.values() for name in row["validation"]})
    if metric not in known:
        raise click.BadParameter(
            f"No run has a validation metric {metric!r}; there are {', '.join(known) or 'none'}.", param_hint="--sort"
        )
    sign = 1 if metric in LESS_IS_BETTER else -1
    pairs = [(run, best[run.id]) for run in runs if run.id in best and metric in best[run.id]["validation"]]
    pairs.sort(key=lambda pair: (math.isnan(pair[1]["validation"][metric]), sign * pair[1]["validation"][metric]))
    rows = [[*_what(run), row["validation"][metric], row.get("epoch")] for run, row in pairs[:limit]]
    output.table([*_WHAT, metric, "epoch"], rows, left=len(_WHAT))
    listed = [{**run_json(run), "best": row} for run, row in pairs[:limit]]
    output.result({"project": project.folder, "sort": metric, "runs": listed})


def _what(run: RunSummary) -> list[object]:
    """What a run is, by the columns that each list of runs begins with."""
    how = run.made_by or " + ".join([run.strategy, *run.methods])
    return [run.id, run.status, f"{run.dataset} {run.revision}".strip(), run.backbone, cut(how, 40)]


def _row(run: RunSummary) -> list[object]:
    metric, test = shown_metric(run, "test")
    validation_metric, validation = shown_metric(run, "validation")
    labels = " ".join([*(f"#{tag}" for tag in run.tags), run.note])
    return [
        *_what(run),
        metric or validation_metric,
        validation,
        test,
        run.best_epoch or None,
        duration(run.seconds) if run.seconds else None,
        cut(labels, 30),
    ]


def run_json(run: RunSummary) -> dict[str, Any]:
    """A run for programs; ``run`` is its id, as everywhere."""
    values = dataclasses.asdict(run)
    return {"run": values.pop("id"), **values}


def _show_run(output: Output, project: Project, run: Run, registry: Registry) -> None:
    from tlstudio.engine.derivation import read_derivation
    from tlstudio.engine.source import lineage_of
    from tlstudio.engine.used_plugins import missing_plugins

    missing, ancestors, derivation = missing_plugins(run, registry), lineage_of(run), read_derivation(run)
    # From the project's list, not from the folder alone: it knows whether a run that says so can still be running.
    summary = next((one for one in project.runs() if one.id == run.id), run.summary())
    created = ""
    with contextlib.suppress(ValueError):  # a damaged record may lack it
        created = f"{datetime.fromisoformat(summary.created).astimezone():%Y-%m-%d %H:%M:%S}"
    output.facts(
        [
            ("Run", summary.id),
            ("Status", summary.status),
            ("Error", summary.error),
            ("Missing", " ".join(missing)),
            ("Queued" if summary.status == "queued" else "Started", created),
            ("Data set", f"{summary.dataset}, revision {summary.revision}" if summary.dataset else ""),
            ("Backbone", summary.backbone),
            ("Made as", derivation.sentence if derivation else ""),
            ("Lineage", " -> ".join([*(one.run for one in ancestors), run.id]) if ancestors else ""),
            ("Head", summary.head),
            ("Strategy", summary.strategy),
            ("Methods", ", ".join(summary.methods)),
            ("Samples per class", summary.shots or None),
            ("Kept epoch", summary.best_epoch or None),
            ("Time", duration(summary.seconds) if summary.seconds else ""),
            ("Note", summary.note),
            ("Tags", ", ".join(summary.tags)),
            ("Folder", run.folder),
        ]
    )
    if summary.metrics:
        output.say()
        metrics_table(output, summary.metrics)
    epochs = project.metric_rows(run.id)
    if epochs:
        output.say()
        names = list(dict.fromkeys(name for row in epochs for name in row.validation))
        kept = max((row.epoch for row in epochs if row.is_best), default=0)
        rows = [
            [row.epoch, "kept" if row.epoch == kept else "", row.train_loss, *(row.validation.get(n) for n in names)]
            for row in epochs
            if row.epoch == kept or row.epoch > epochs[-1].epoch - LAST_EPOCHS
        ]
        output.table(["epoch", "", "training loss", *names], rows)
    recipe: dict[str, Any] = {}
    if summary.status != "damaged":
        recipe = run.read_recipe()
        output.say()
        output.say("Recipe", bold=True)
        output.say(run.recipe_path.read_text(encoding="utf-8").rstrip())
    told = {"folder": run.folder, "recipe": recipe, "missing": missing, "epochs": [row.to_json() for row in epochs]}
    told["lineage"] = [one.model_dump(mode="json") for one in ancestors]
    told["derivation"] = derivation.model_dump(mode="json") if derivation else None
    output.result({**run_json(summary), **told})


@command(
    "evaluate",
    example="tlstudio evaluate birds latest\ntlstudio evaluate birds best --split validation --json\n"
    "tlstudio evaluate birds best --dataset sketches",
)
@project_argument
@run_argument
@click.option("--split", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True)
@click.option("--again", is_flag=True, help="Compute it again from the best checkpoint although it is stored.")
@click.option(
    "--dataset",
    default="",
    metavar="NAME[@rN]",
    help="Measure it on another data set of the project, which has no class that it does not know; nothing is stored.",
)
def evaluate(
    output: Output,
    *,
    project: Path,
    run_id: str,
    split: Literal["train", "validation", "test"],
    again: bool,
    dataset: str,
) -> None:
    """Show how good a run is: metrics, every class, and what it confuses. RUN is an id, latest or best."""
    from tlstudio.engine.evaluate import predictions_path, read_evaluation

    with open_project(project, output) as opened:
        fits: Fits = any_run
        if dataset:
            data = opened.dataset(*dataset.partition("@")[::2])
            fits = taking(find_registry(output), lambda *kind: kind == (data.modality, data.task))
        run = find_run(opened, run_id, output, fits)
        stored = split in run.metrics() and predictions_path(run, split).is_file()
        if stored and not again and not dataset:
            _show_evaluation(output, read_evaluation(run, split))
            return
    with open_project(project, output, program="tlstudio evaluate", write=not dataset) as opened:
        from tlstudio.engine.evaluate import evaluate_run

        registry = find_registry(output)
        with StatusLine() as status:
            status.update("Loading the model", "")
            evaluation = evaluate_run(
                run,
                opened,
                registry,
                split=split,
                dataset=dataset,
                on_progress=lambda done, total: status.update("Evaluating", f"{done:,} of {total:,}"),
            )
        _show_evaluation(output, evaluation)


def _show_evaluation(output: Output, result: Evaluation) -> None:
    of = f" of {result.dataset}" if result.dataset else ""
    output.say(f"Run {result.run} on the {result.split} split{of} ({counted(len(result.items), 'item')})")
    if result.learned:
        output.say(f"The run has learned from {result.learned:,} of them, and looks better than it is.")
    if result.learned is None:
        output.say("Whether it has learned from some of them cannot be told: its own data are gone or others now.")
    output.say()
    metrics_table(output, {result.split: result.metrics})
    if result.per_class:
        output.say()
        masks = result.label_kind == "mask"
        rows = [
            [row.name, row.precision, row.recall, row.f1, *([row.iou] if masks else []), row.support]
            for row in result.per_class
        ]
        output.table(["class", "precision", "recall", "f1", *(["iou"] if masks else []), "support"], rows)
    if result.confusion is not None:
        output.say()
        _show_confusion(output, result.classes, result.confusion.tolist())
    output.result(
        {
            "run": result.run,
            "split": result.split,
            **({"dataset": result.dataset, "learned_from": result.learned} if result.dataset else {}),
            "task": result.task,
            "metrics": result.metrics,
            "classes": result.classes,
            "per_class": [dataclasses.asdict(row) for row in result.per_class],
            "confusion": result.confusion,
            "items": len(result.items),
        }
    )


def _show_confusion(output: Output, classes: tuple[str, ...], counts: list[list[int]]) -> None:
    if len(classes) <= MATRIX_CLASSES:
        output.say("Confusion: a row is what it is, a column what it was taken for", bold=True)
        rows = [[name, *(count or "." for count in line)] for name, line in zip(classes, counts, strict=True)]
        output.table(["", *(cut(name, 12) for name in classes)], rows)
        return
    pairs = [
        (count, classes[true], classes[taken])
        for true, line in enumerate(counts)
        for taken, count in enumerate(line)
        if count and true != taken
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    output.say("Most frequent confusions" if pairs else "Nothing was confused.", bold=bool(pairs))
    output.table(["is", "taken for", "times"], [[true, taken, count] for count, true, taken in pairs[:15]], left=2)


@command("export", example="tlstudio export birds best bird-model")
@project_argument
@run_argument
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--adapter", is_flag=True, help="Write what LoRA and its kin have learned alone, in the format of PEFT.")
def export(output: Output, *, project: Path, run_id: str, folder: Path, adapter: bool) -> None:
    """Write a run's best model into a folder that stands alone. RUN is an id, latest or best.

    It is only called done after the exported model was loaded and gave the same outputs.
    """
    if adapter:
        _export_adapter(output, project=project, run_id=run_id, folder=folder)
        return
    with open_project(project, output) as opened:
        from tlstudio.data.own_folders import refuse_as_output

        run = find_run(opened, run_id, output)
        refuse_as_output(folder)
        with StatusLine() as status:
            status.update("Loading the model", "")
            from tlstudio.engine.export import export_run

            registry = find_registry(output)
            report = export_run(
                run,
                folder,
                registry,
                project=opened,
                on_progress=lambda done, total: status.update("Exporting", f"step {done} of {total}"),
            )
    output.say(f"Exported run {run.id} to {report.folder} ({size(report.size_bytes)}).")
    output.say(
        f"Loaded again and compared on {report.checked_samples} samples: "
        f"largest difference of any output {report.max_difference:.1e}."
    )
    output.hint(f"Next: tlstudio predict {folder} SOURCE --output predictions.csv")
    output.result(
        {
            "run": run.id,
            "folder": report.folder,
            "size_bytes": report.size_bytes,
            "checked_samples": report.checked_samples,
            "max_difference": report.max_difference,
        }
    )


def _export_adapter(output: Output, *, project: Path, run_id: str, folder: Path) -> None:
    with open_project(project, output) as opened, StatusLine() as status:
        status.update("Loading the model", "")
        from tlstudio.engine.adapter_facts import has_adapter
        from tlstudio.engine.export_adapter import export_adapter

        registry = find_registry(output)
        run = find_run(opened, run_id, output, lambda one: has_adapter(one.strategy, registry))
        report = export_adapter(run, folder, registry)
    share = report.size_bytes / report.model_bytes
    output.say(
        f"Exported the adapter of run {run.id} to {report.folder}: {size(report.size_bytes)}, {share:.2%} of the "
        f"backbone ({size(report.model_bytes)})."
    )
    output.hint(f"PEFT reads it alone: see {report.folder / 'README.md'}")
    output.result(
        {
            "run": run.id,
            "folder": report.folder,
            "size_bytes": report.size_bytes,
            "backbone_bytes": report.model_bytes,
        }
    )
