"""One run from beginning to end, in the calling thread. It always ends with exactly one `RunEnded`."""

from __future__ import annotations

import contextlib
import functools
import shutil
import time
import traceback
from dataclasses import replace

import torch

from tlstudio.api import RunError, TLStudioError
from tlstudio.engine.begin import new_run, recipe_to_resume
from tlstudio.engine.control import Interrupted, RunControl
from tlstudio.engine.devices import resolve_device, torch_settings
from tlstudio.engine.events import RunEnded, RunEvent, to_json
from tlstudio.engine.execution import EventListener, Execution
from tlstudio.engine.memory import OutOfMemoryError, is_out_of_memory
from tlstudio.engine.patience import until_written
from tlstudio.engine.recipe import Recipe, TrainingOptions
from tlstudio.engine.training_state import Clock
from tlstudio.engine.used_plugins import plugin_to_blame
from tlstudio.plugins import Registry
from tlstudio.privacy import without_secrets
from tlstudio.store.project import Project
from tlstudio.store.run import Run


def execute_run(
    recipe: Recipe, project: Project, registry: Registry, *, on_event: EventListener, control: RunControl
) -> Run:
    """Do what a recipe says, in the calling thread, and record all of it in a new run folder.

    Whatever goes wrong after the run folder is made ends in a `RunEnded` with status ``"failed"``, not in an exception.

    Args:
        recipe: A complete recipe, as `tlstudio.engine.advise.complete` gives it.
        project: The project, open for writing.
        registry: The components.
        on_event: Hears every event, in this thread.
        control: Pause, stop and cancel.

    Returns:
        The run.

    Raises:
        ProjectError: The run folder cannot be made.
    """
    run = new_run(recipe, project)
    carry_out(run, recipe, project, registry, on_event=on_event, control=control)
    return run


def resume_run(
    run_id: str, project: Project, registry: Registry, *, on_event: EventListener, control: RunControl
) -> Run:
    """Go on with a run that was cancelled, has failed or was interrupted, from its last checkpoint.

    What follows is bit for bit what would have followed then: parameters, optimizer and metrics. Without a whole
    checkpoint the run begins anew.

    Args:
        run_id: The run.
        project: Its project, open for writing.
        registry: The components.
        on_event: Hears every event, those from before the checkpoint first.
        control: Pause, stop and cancel.

    Raises:
        RunError: There is no such run, it is done or still running, or its recipe no longer works here.
    """
    recipe = recipe_to_resume(project.run(run_id), registry)
    run = project.resume_run(run_id)
    carry_out(run, recipe, project, registry, on_event=on_event, control=control)
    return run


def carry_out(
    run: Run, recipe: Recipe, project: Project, registry: Registry, *, on_event: EventListener, control: RunControl
) -> None:
    """Begin a run, or go on where its last whole checkpoint is; for the other arguments see `execute_run`.

    Raises:
        RunError: Another process carries it out.
    """
    with run.carrying_out():
        _carry_out(run, recipe, project, registry, on_event, control)


def _carry_out(
    run: Run, recipe: Recipe, project: Project, registry: Registry, on_event: EventListener, control: RunControl
) -> None:

    def say(event: RunEvent) -> None:
        line = to_json(event, time=time.time())
        until_written(lambda: run.append_event(line), control, on_event)
        on_event(event)

    clock, waited = Clock(), control.waited
    ended: RunEnded
    try:
        with contextlib.closing(run):
            ended = _until_it_fits(run, recipe, project, registry, say, on_event, control, clock)
    except Interrupted:
        ended = RunEnded(run.id, "cancelled")
    except OutOfMemoryError as error:
        suggestion = {f"training.{name}": value for name, value in error.suggestion.items()}
        ended = RunEnded(run.id, "failed", error=str(error), suggestion=suggestion)
    except TLStudioError as error:
        ended = RunEnded(run.id, "failed", error=str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001  a bug must still end the run and reach the user
        if isinstance(error, Exception) and (known := _known(error, recipe.training)) is not None:
            ended = RunEnded(run.id, "failed", error=str(known))
        else:
            trace = traceback.format_exc()
            plugin = plugin_to_blame(run, trace)
            place = f" the plugin '{plugin}'" if plugin else ""
            sentence = f"Something went wrong inside{place}: {type(error).__name__}: {error}"
            ended = RunEnded(run.id, "failed", error=sentence, traceback=trace)
    seconds = clock.seconds - (control.waited - waited)
    # The run's folder is handed on as a whole.
    sentence, trace = without_secrets(ended.error), without_secrets(ended.traceback)
    ended = replace(ended, seconds=seconds, error=sentence, traceback=trace)
    line = to_json(ended, time=time.time())
    try:
        # The record first: who follows the events takes the last of them for the end of it all.
        until_written(
            lambda: run.finish(ended.status, ended.metrics, ended.best_epoch, ended.seconds, ended.error),
            control,
            on_event,
        )
        until_written(lambda: run.append_event(line), control, on_event)
        run.close()
    except Interrupted:
        pass  # cancelled while the disk is full: the folder says no end, and the run can go on later
    except TLStudioError as error:
        ended = RunEnded(run.id, "failed", ended.metrics, ended.best_epoch, ended.seconds, error=str(error))
    on_event(ended)


def _until_it_fits(
    run: Run,
    recipe: Recipe,
    project: Project,
    registry: Registry,
    say: EventListener,
    repeat: EventListener,
    control: RunControl,
    clock: Clock,
) -> RunEnded:
    """Do the steps of a run; where the user wants it, again with a smaller batch if memory runs out."""
    note = ""
    while True:
        try:
            with torch_settings(recipe.training):
                return Execution(recipe, project, registry, run, say, repeat, control, clock, note).go()
        except OutOfMemoryError as error:
            if not (recipe.training.smaller_batch and error.suggestion):
                raise
            training = recipe.training.model_copy(update=error.suggestion)
            recipe = recipe.model_copy(update={"training": training})
            note = f"{error.what} The run begins anew with a batch size of {training.batch_size}, "
            note += f"{training.accumulate} batches to a step: it learns as it would have."
        # The order of other batches is another one: none of the checkpoints fits any more.
        shutil.rmtree(run.folder / "checkpoints")
        until_written(functools.partial(run.write_recipe, recipe.to_toml()), control, repeat)


def _known(error: Exception, options: TrainingOptions) -> TLStudioError | None:
    """What torch refuses for a reason that the user can do something about."""
    if is_out_of_memory(error):  # while features were computed, say: there, no smaller batch was tried
        return OutOfMemoryError(options, None, torch.device(resolve_device(options.device)))
    if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
        what = str(error).partition("\n")[0]
        return RunError(
            f"The GPU has failed or was lost during the run: {what}.",
            "Restart the studio, then go on with the run: its last checkpoint is kept.",
        )
    if options.deterministic and "use_deterministic_algorithms" in str(error):
        operation = str(error).partition(" does not have")[0].partition("\n")[0].rstrip(".")
        return RunError(
            f"This model needs an operation that is not deterministic on this device: {operation}.",
            "Switch 'deterministic' off.",
            field="training.deterministic",
        )
    return None
