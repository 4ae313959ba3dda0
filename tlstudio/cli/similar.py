"""``similar``: what in a data set is most like an image or a text."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlstudio.cli.common import (
    WRONG_USE,
    command,
    find_registry,
    only_dataset,
    open_project,
    project_argument,
)
from tlstudio.cli.output import Output, StatusLine, cut
from tlstudio.cli.projects import rejected_json, show_rejected
from tlstudio.cli.run_names import find_run, taking, told_of

if TYPE_CHECKING:
    from tlstudio.api import Backbone, Modality, Options, Rejected, Sample, Task
    from tlstudio.engine.similar import Neighbour, SimilarItems
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run import Run


@command(
    "similar",
    example="tlstudio similar birds new.jpg\n"
    "tlstudio similar birds new.jpg --dataset photos --backbone tf_efficientnet_lite0\n"
    'tlstudio similar mails --text "Where is my parcel?" -k 3\n'
    "tlstudio similar birds --measure",
)
@project_argument
@click.argument("source", type=click.Path(path_type=Path), required=False)
@click.option("--text", help="Look for this text instead of a SOURCE.")
@click.option(
    "--run", "run_id", default="", help="With the features of this run: its id, latest, best or best:DATASET."
)
@click.option("--backbone", default="", help="With the features of this pretrained backbone, without any training.")
@click.option("--dataset", default="", help="Data set that is searched with a --backbone, if there are several.")
@click.option("--revision", default="", help="Its revision; the latest if left out.")
@click.option("-k", type=click.IntRange(1, 1000), default=10, show_default=True, help="So many items for each.")
@click.option("--measure", is_flag=True, help="Say how often what is near is alike: test items among training items.")
@click.option("-o", "assignments", multiple=True, metavar="backbone.OPTION=VALUE", help="An option of the backbone.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
def similar(
    output: Output,
    *,
    project: Path,
    source: Path | None,
    text: str | None,
    run_id: str,
    backbone: str,
    dataset: str,
    revision: str,
    k: int,
    measure: bool,
    assignments: tuple[str, ...],
    device: str,
) -> int:
    """Show the items of a data set that are most like a sample.

    SOURCE is an image, a folder, a table or a text file. Near is what has like features: those of the best run, if
    nothing else is said, or of a pretrained backbone, for which nothing has to be trained.
    """
    if [source is not None, text is not None, measure].count(True) != 1:
        raise click.UsageError("Give either a SOURCE, --text or --measure.")
    if run_id and backbone:
        raise click.UsageError("Give either --run or --backbone.")
    if (dataset or revision or assignments) and not backbone:
        raise click.UsageError("--dataset, --revision and -o go with --backbone; of a run, give --run best:DATASET.")
    with _opened(project, output) as opened, StatusLine() as status:
        status.update("Loading the model", "")
        registry = find_registry(output)
        from tlstudio.engine.similar import SimilarItems

        def progress(done: int, total: int) -> None:
            status.update("Computing features", f"{done:,} of {total:,}")

        run = None
        if not backbone:
            fits = taking(registry, functools.partial(_takes, registry, source, text))
            run = find_run(opened, run_id or "best", output, fits, functools.partial(_reads, registry, source))
        with told_of(run, project, "with --run"):
            if run is None:
                component = registry.backbone(backbone)
                data = opened.dataset(dataset or only_dataset(opened), revision)
                options = _options(component, assignments)
                items = SimilarItems.of_backbone(component, options, data, opened, device=device, on_progress=progress)
            else:
                items = SimilarItems.of_run(run, opened, registry, device=device, on_progress=progress)
            output.hint(f"Features: {items.title}")
            if measure:
                _measure(output, items, k)
                return 0
            from tlstudio.api import Sample
            from tlstudio.engine.predict import samples_in

            wanted: list[Sample | Rejected] = [Sample(id="text", text=text, source="--text")]
            if source is not None:
                wanted = samples_in(source, items.modality, registry, task=items.revision.task)
            return _show(output, items, wanted, k)


def _takes(registry: Registry, source: Path | None, text: str | None, modality: Modality, _task: Task) -> bool:
    """Whether what is looked for can be like the items of a run; raises where a source has nothing of the kind."""
    from tlstudio.data.unlabelled import reader_of

    if source is not None:
        reader_of(source, registry.formats.values(), modality)
    return text is None or modality == "text"


def _reads(registry: Registry, source: Path | None, run: Run) -> bool:
    """Whether a run can read what is looked for."""
    from tlstudio.engine.asking import can_read

    return source is None or can_read(run, registry, source)


def _opened(folder: Path, output: Output) -> Project:
    """Open a project for writing, as features are kept in it, or where that cannot be for reading."""
    from tlstudio.api import ProjectError

    try:
        return open_project(folder, output, program="tlstudio similar", write=True)
    except ProjectError as error:
        opened = open_project(folder, output)
        output.hint(f"{error.what} Features that it has not kept are computed again.")
        return opened


def _options(component: Backbone, assignments: Sequence[str]) -> Options:
    """Read and check the options of a backbone; all that is wrong is told at once."""
    from pydantic import ValidationError

    from tlstudio.api import ProblemsError, problems_of
    from tlstudio.engine.advise import set_values
    from tlstudio.engine.recipe import mistakes

    values = set_values({"backbone": {"name": component.name}}, assignments)
    try:
        return component.Options.model_validate(values["backbone"].get("options", {}))
    except ValidationError as error:
        problems = problems_of(error, component.Options, "backbone.")
        raise ProblemsError(mistakes(len(problems)), problems) from error


def _measure(output: Output, items: SimilarItems, k: int) -> None:
    report = items.measure(k)
    searched = f"the training items of '{items.revision.dataset}'"
    output.say(f"{report.items:,} test items among {searched}, {report.k} for each:")
    output.table(
        ["", "share"],
        [
            ["found at least one of its own class", report.hits],
            ["of all that was found, of its own class", report.precision],
        ],
    )
    output.result({"items": report.items, "k": report.k, "hits": report.hits, "precision": report.precision})


def _show(output: Output, items: SimilarItems, wanted: list[Sample | Rejected], k: int) -> int:
    from tlstudio.api import Rejected, label_text, label_values

    rejected = [item for item in wanted if isinstance(item, Rejected)]
    done: list[tuple[Sample, tuple[Neighbour, ...]]] = []
    for sample, found in items.nearest((item for item in wanted if not isinstance(item, Rejected)), k):
        if isinstance(found, Rejected):
            rejected.append(found)
        else:
            done.append((sample, found))
    for sample, found in done:
        output.say(f"Most like {cut(sample.id, 60)}:", bold=True)
        rows = [
            [cut(items.revision.sample_text(n.index), 60), cut(label_text(n.label), 30), n.split, n.similarity]
            for n in found
        ]
        output.table(["item", "label", "split", "similarity"], rows, left=3)
    if rejected:
        show_rejected(output, rejected, "not looked for")
    output.result(
        {
            "features": items.title,
            "found": [
                {
                    "id": sample.id,
                    "similar": [
                        {"id": n.id, "label": label_values(n.label), "split": n.split, "similarity": n.similarity}
                        for n in found
                    ],
                }
                for sample, found in done
            ],
            "rejected": rejected_json(rejected),
        }
    )
    return 0 if done else WRONG_USE
