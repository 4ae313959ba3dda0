"""``wise-ft``, ``soup`` and ``prune``: new runs out of the weights of finished ones."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlstudio.cli.common import command, find_registry, open_project, project_argument
from tlstudio.cli.common import run_argument as one_run
from tlstudio.cli.interrupt import stop_gently
from tlstudio.cli.metrics import metrics_table
from tlstudio.cli.output import Output, StatusLine, size
from tlstudio.cli.run_names import find_run, find_runs

if TYPE_CHECKING:
    from tlstudio.engine.control import RunControl
    from tlstudio.engine.derived import Measured
    from tlstudio.plugins import Registry
    from tlstudio.store.project import Project
    from tlstudio.store.run import Run

several_runs = click.argument("run_ids", metavar="RUN RUN ...", nargs=-1, required=True)
Progress = Callable[[str, int, int], None]


@contextlib.contextmanager
def working(
    output: Output, folder: Path, program: str, *, write: bool = True
) -> Iterator[tuple[Project, Registry, RunControl, Progress]]:
    """Open a project, find the plugins and show how far the work is.

    The first Ctrl+C ends it behind a batch, and nothing is left of it.

    Args:
        output: Where to tell what is going on.
        folder: The project.
        program: What to call this program if others want to write, too.
        write: Whether something is to be written.
    """
    with open_project(folder, output, program=program, write=write) as project, StatusLine() as status:
        status.update("Loading the model", "")
        from tlstudio.engine.control import Interrupted, RunControl

        control = RunControl()
        try:
            with stop_gently(control.cancel, what="after this batch"):
                yield (
                    project,
                    find_registry(output),
                    control,
                    lambda what, done, total: status.update(what, f"{done:,} of {total:,}"),
                )
        except Interrupted:
            raise click.Abort from None


@command(
    "wise-ft",
    example="tlstudio train birds --strategy lp_ft --method wise_ft\n"
    "tlstudio wise-ft birds latest\n"
    "tlstudio wise-ft birds latest --curve\n"
    "tlstudio wise-ft birds latest --alpha 0.5 --json",
)
@project_argument
@one_run
@click.option("--alpha", type=float, help="Share of the fine-tuned weights; the best on validation if left out.")
@click.option("--curve", is_flag=True, help="Only measure; make no run. Goes while another writes to the project.")
def wise_ft(output: Output, *, project: Path, run_id: str, alpha: float | None, curve: bool) -> None:
    """Average the weights of a run with those that its fine-tuning began with (WiSE-FT), as a new run.

    Shares from 0 (the start) to 1 (the end) are measured, and the best on the validation split is taken, of equal ones
    that with the lower loss, else that nearest to 0.5; the test split chooses nothing. The run must have kept its
    start: --method wise_ft.
    """
    if curve and alpha is not None:
        raise click.UsageError("--curve measures many shares and makes no run: it does not go with --alpha.")
    with working(output, project, "tlstudio wise-ft", write=not curve) as (opened, registry, control, on_progress):
        from tlstudio.engine.averaging import WiseFT, check_alpha
        from tlstudio.engine.derived import Bench

        if alpha is not None:
            check_alpha(alpha)
        run = find_run(opened, run_id, output)
        wise = WiseFT(Bench(run, opened, registry, control=control, on_progress=on_progress))
        measured = wise.curve() if alpha is None else None
        if measured is not None:
            alpha = measured.points[measured.best].alpha
        made = None if curve or alpha is None else wise.save(alpha, measured)
    if measured is not None:
        rows = [(f"{p.alpha:g}", p.measured, n == measured.best) for n, p in enumerate(measured.points)]
        _table(output, "alpha", measured.monitor, rows)
        if measured.statistics:
            output.hint("Between the ends, running statistics of BatchNorm were measured anew on the train split.")
    points = [] if measured is None else measured.points
    _told(
        output,
        project,
        made,
        {
            "parent": run.id,
            "curve": [{"alpha": point.alpha, "metrics": point.measured.metrics} for point in points],
            "alpha": alpha,
        },
    )


@command(
    "soup",
    example="tlstudio soup birds 2026-11-22-001-full 2026-11-22-002-full 2026-11-22-003-full\n"
    "tlstudio soup birds 2026-11-22-001-full 2026-11-22-002-full --greedy --json",
)
@project_argument
@several_runs
@click.option("--greedy", is_flag=True, help="Take a run only where the soup does not become worse on validation.")
def soup(output: Output, *, project: Path, run_ids: Sequence[str], greedy: bool) -> None:
    """Average the weights of several runs of the same network on the same data (a model soup), as a new run.

    It costs no more to use than one of them. Runs that differ in seed, learning rate or augmentation, from the same
    pretrained weights, suit best.
    """
    with working(output, project, "tlstudio soup") as (opened, registry, control, on_progress):
        from tlstudio.engine.soups import Kettle, what_differs

        against = functools.partial(what_differs, registry=registry, same_weights=True)
        runs = find_runs(opened, run_ids, output, against)
        kettle = Kettle(runs, opened, registry, control=control, on_progress=on_progress)
        cooked = kettle.cook(greedy=greedy)
        made = kettle.save(cooked)
    rows = [(tasted.run, tasted.measured, tasted.taken) for tasted in cooked.tasted]
    _table(output, "run", cooked.monitor, [*rows, ("the soup", cooked.measured, False)], mark="in the soup")
    if cooked.statistics:
        output.hint("Running statistics of BatchNorm were measured anew on the train split.")
    tasted = [{"run": one.run, "taken": one.taken, "metrics": one.measured.metrics} for one in cooked.tasted]
    _told(output, project, made, {"greedy": greedy, "runs": tasted})


@command(
    "prune",
    example="tlstudio prune birds best --curve\ntlstudio prune birds best --sparsity 0.5 --json",
)
@project_argument
@one_run
@click.option("--sparsity", type=float, help="Share of these weights that become zero, such as 0.5.")
@click.option("--curve", is_flag=True, help="Measure several shares; makes no run by itself.")
def prune(output: Output, *, project: Path, run_id: str, sparsity: float | None, curve: bool) -> None:
    """Set the smallest weights of a run to zero, as a new run, or measure what that would cost.

    The weights of all linear layers and convolutions are compared by their size, and nothing is trained again. Zeros
    are stored like other numbers: the file stays as large on disk as it is, and is smaller once it is packed in a ZIP.
    The model is not faster.
    """
    if not curve and sparsity is None:
        raise click.UsageError("Give --sparsity, or --curve to see what each would cost.")
    with working(output, project, "tlstudio prune", write=sparsity is not None) as (
        opened,
        registry,
        control,
        on_progress,
    ):
        from tlstudio.engine.derived import Bench
        from tlstudio.engine.pruning import Pruning, check_sparsity, row

        if sparsity is not None:
            check_sparsity(sparsity)
        run = find_run(opened, run_id, output)
        pruning = Pruning(Bench(run, opened, registry, control=control, on_progress=on_progress))
        measured = pruning.curve() if curve else ()
        pruned = None if sparsity is None else pruning.prune(sparsity)
        made = None if pruned is None else pruning.save(pruned, measured)
        monitor = pruning.monitor
    shown = [
        *measured,
        *([pruned] if pruned is not None and pruned.sparsity not in [m.sparsity for m in measured] else []),
    ]
    splits = list(shown[0].measured.metrics)
    rows = [
        [
            f"{one.zeros / one.prunable:.1%}",
            *(one.measured.metrics[split].get(monitor) for split in splits),
            size(one.size),
            size(one.compressed),
            f"{one.milliseconds:.2f} ms",
        ]
        for one in shown
    ]
    output.table(["zeros", *(f"{split} {monitor}" for split in splits), "file on disk", "in a ZIP", "a sample"], rows)
    told = [row(one) for one in shown]
    _told(output, project, made, {"parent": run.id, "curve": told})


def _table(
    output: Output, first: str, monitor: str, rows: Sequence[tuple[str, Measured, bool]], *, mark: str = "best"
) -> None:
    """Print what was measured: the metric that chooses on validation, and on test."""
    splits = list(rows[0][1].metrics)
    cells = [
        [name, *(measured.metrics[split].get(monitor) for split in splits), mark if marked else ""]
        for name, measured, marked in rows
    ]
    output.table([first, *(f"{split} {monitor}" for split in splits), ""], cells)


def _told(output: Output, project: Path, made: Run | None, values: dict[str, Any]) -> None:
    """Tell which run was made, if any."""
    if made is None:
        output.result(values)
        return
    metrics = made.metrics()
    output.say()
    output.say(f"Made run {made.id}.")
    output.say()
    metrics_table(output, metrics)
    output.hint(f"\nNext: tlstudio evaluate {project} {made.id}")
    output.hint(f"      tlstudio export {project} {made.id} FOLDER")
    output.result({"run": made.id, "folder": made.folder, "metrics": metrics, **values})
