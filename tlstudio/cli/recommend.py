"""``recommend``: what a user will like best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlstudio.cli.common import command, find_registry, open_project, project_argument
from tlstudio.cli.output import Output, StatusLine, cut
from tlstudio.cli.projects import rejected_json, show_rejected
from tlstudio.cli.run_names import find_run, taking

if TYPE_CHECKING:
    from tlstudio.api import Rejected, Sample
    from tlstudio.engine.recommend import Recommender


@command(
    "recommend",
    example="tlstudio recommend films --user 12\n"
    "tlstudio recommend films --user 12 --items new_films.csv -k 5\n"
    "tlstudio recommend films --measure",
)
@project_argument
@click.option("--user", help="Who is to be recommended something, as the data set names them.")
@click.option(
    "--items",
    "table",
    type=click.Path(path_type=Path),
    help="A table of more items, such as new ones; columns as in the table of items of the data set.",
)
@click.option("--run", "run_id", default="", help="The run: its id, latest or best.  [default: best]")
@click.option("-k", type=click.IntRange(1, 10_000), default=10, show_default=True, help="So many items.")
@click.option("--measure", is_flag=True, help="Say how well what users like in the test split is found.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
def recommend(
    output: Output,
    *,
    project: Path,
    user: str | None,
    table: Path | None,
    run_id: str,
    k: int,
    measure: bool,
    device: str,
) -> None:
    """Show what a user will like best of what they have not rated yet.

    Looked at are all items of the data set that the run has learned from, those of its table of items that nobody
    has rated, if that table is still there, and those of --items.
    """
    if (user is None) == (not measure):
        raise click.UsageError("Give either --user or --measure.")
    if measure and table is not None:
        raise click.UsageError("--items goes with --user.")
    with (
        open_project(project, output) as opened,
        StatusLine() as status,
    ):
        status.update("Loading the model", "")
        registry = find_registry(output)
        from tlstudio.api import Rejected
        from tlstudio.engine.recommend import Recommender, items_of, listed_items
        from tlstudio.engine.used_data import revision_of

        run = find_run(opened, run_id or "best", output, taking(registry, lambda _, task: task == "recommendation"))
        revision = revision_of(run, opened)
        more: list[Sample] = [] if measure or revision.task != "recommendation" else listed_items(revision, registry)
        rejected: list[Rejected] = []
        if table is not None and revision.task == "recommendation":
            for item in items_of(table, revision, registry):
                if isinstance(item, Rejected):
                    rejected.append(item)
                else:
                    more.append(item)
        recommender = Recommender.of_run(
            run,
            opened,
            registry,
            more,
            device=device,
            on_progress=lambda done, total: status.update("Looking at items", f"{min(done, total):,} of {total:,}"),
        )
        output.hint(f"Model: {recommender.title}")
        if user is None:
            _measure(output, recommender, k)
        else:
            _show(output, recommender, user, k, rejected)


def _measure(output: Output, recommender: Recommender, k: int) -> None:
    report = recommender.measure(k)
    output.say(f"{report.users:,} users of the test split, {report.items:,} items, the first {report.k} for each:")
    rows = [["users with at least one item that they like (hit rate)", report.hit_rate], ["NDCG", report.ndcg]]
    output.table(["", "value"], rows)
    values = {"hit_rate": report.hit_rate, "ndcg": report.ndcg}
    output.result({**values, "users": report.users, "items": report.items, "k": report.k})


def _show(output: Output, recommender: Recommender, user: str, k: int, rejected: list[Rejected]) -> None:
    found = recommender.best(user, k)
    known = recommender.knows(user)
    if not known:
        output.say(f"{user} has rated nothing that was learned from: this is what most people like.")
    rows = []
    for one in found:
        content = one.sample.text or str(one.sample.image or "")
        said = cut(" ".join(content.split()), 60)
        rows.append([cut(one.sample.id, 30), said, one.value, "others" if one.rated else "nobody yet"])
    output.table(["item", "what it is", "value", "rated by"], rows, left=2)
    if rejected:
        show_rejected(output, rejected, "not looked at")
    output.result(
        {
            "user": user,
            "known": known,
            "items": [{"id": one.sample.id, "value": one.value, "rated": one.rated} for one in found],
            "rejected": rejected_json(rejected),
        }
    )
