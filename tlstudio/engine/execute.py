"""One run from beginning to end: assemble, train, evaluate, record. It always ends with exactly one `RunEnded`."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from torch import nn

from tlstudio.api import SPLITS, Preprocessor, RunError, Split, TargetInfo, TLStudioError
from tlstudio.api.nn import BackboneModule, HeadModule, TransferModel, count_parameters
from tlstudio.data.revision import Revision
from tlstudio.engine.assemble import (
    CachedModel,
    Parts,
    build_model,
    caches_features,
    find_parts,
    learning_parameters,
    restore_model,
    split_data,
)
from tlstudio.engine.checkpoint import Checkpoints, Resumption, find_resumption, has_checkpoint, load_checkpoint
from tlstudio.engine.control import Interrupted, RunControl
from tlstudio.engine.devices import make_fabric, resolve_device, torch_settings
from tlstudio.engine.environment import environment
from tlstudio.engine.evaluate import write_predictions
from tlstudio.engine.events import (
    Note,
    Paused,
    Progress,
    Resumed,
    RunEnded,
    RunEvent,
    RunStarted,
    RunStatus,
    from_json,
    to_json,
)
from tlstudio.engine.feature_cache import CACHE_FOLDER, cache_path, compute_features, load_features
from tlstudio.engine.loading import EpochSampler, FeatureDataset, SampleDataset, TrainLoader, sample_lengths
from tlstudio.engine.measuring import SplitData, decode_values, monitored, run_split
from tlstudio.engine.memory import is_out_of_memory, largest_fitting_batch, out_of_memory_error
from tlstudio.engine.patience import until_written
from tlstudio.engine.recipe import Recipe
from tlstudio.engine.saving import Saver
from tlstudio.engine.target import read_target, write_target
from tlstudio.engine.trainer import Trainer
from tlstudio.engine.training_state import Learner
from tlstudio.plugins import Registry
from tlstudio.store.project import Project
from tlstudio.store.run import Run

EventListener = Callable[[RunEvent], None]


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
    run = project.resume_run(run_id)
    try:
        recipe = Recipe.model_validate(run.read_recipe())
    except ValidationError as error:
        raise RunError(f"The recipe of run {run_id} is damaged: {error}", path=run.recipe_path) from error
    carry_out(run, recipe, project, registry, on_event=on_event, control=control)
    return run


def new_run(recipe: Recipe, project: Project) -> Run:
    """Make the folder of a run that is about to start.

    Raises:
        ProjectError: It cannot be made.
    """
    return project.new_run(
        recipe.to_toml(),
        dataset=recipe.dataset.name,
        revision=recipe.dataset.revision,
        backbone=recipe.backbone.name,
        head=recipe.head.name,
        strategy=recipe.strategy.name,
    )


def carry_out(
    run: Run, recipe: Recipe, project: Project, registry: Registry, *, on_event: EventListener, control: RunControl
) -> None:
    """Begin a run, or go on where its last whole checkpoint is; for the other arguments see `execute_run`."""

    def say(event: RunEvent) -> None:
        line = to_json(event, time=time.time())
        until_written(lambda: run.append_event(line), control, on_event)
        on_event(event)

    start = time.monotonic()
    ended: RunEnded
    try:
        with contextlib.closing(run), torch_settings(recipe.training):
            ended = _Execution(recipe, project, registry, run, say, on_event, control).go()
    except Interrupted:
        ended = RunEnded(run.id, "cancelled", seconds=time.monotonic() - start)
    except TLStudioError as error:
        ended = RunEnded(run.id, "failed", seconds=time.monotonic() - start, error=str(error))
    except Exception as error:  # noqa: BLE001  a bug must still end the run and reach the user
        seconds = time.monotonic() - start
        if is_out_of_memory(error):  # while features were computed, say: there, no smaller batch was tried
            device = torch.device(resolve_device(recipe.training.device))
            sentence = str(out_of_memory_error(recipe.training.batch_size, None, device))
            ended = RunEnded(run.id, "failed", seconds=seconds, error=sentence)
        else:
            sentence = f"Something went wrong inside: {type(error).__name__}: {error}"
            ended = RunEnded(run.id, "failed", seconds=seconds, error=sentence, traceback=traceback.format_exc())
    try:
        run.append_event(to_json(ended, time=time.time()))
        run.finish(ended.status, ended.metrics, ended.best_epoch, ended.seconds, ended.error)
    except TLStudioError as error:
        ended = RunEnded(run.id, "failed", ended.metrics, ended.best_epoch, ended.seconds, error=str(error))
    on_event(ended)


class _Execution:
    """The steps of one run, with what they share."""

    def __init__(
        self,
        recipe: Recipe,
        project: Project,
        registry: Registry,
        run: Run,
        say: EventListener,
        repeat: EventListener,
        control: RunControl,
    ) -> None:
        self.recipe = recipe
        self.project = project
        self.registry = registry
        self.run = run
        self.say = say
        self.repeat = repeat
        self.control = control
        self.checkpoints_folder = run.folder / "checkpoints"

    def go(self) -> RunEnded:
        options = self.recipe.training
        resumption = self._go_back()
        self.say(Progress("Loading the backbone"))
        parts = find_parts(self.recipe, self.registry)
        revision = self.project.dataset(self.recipe.dataset.name, self.recipe.dataset.revision)
        if resumption is None:
            model, target = self._begin(parts, revision)
        else:
            target = read_target(self.run)
            model = restore_model(parts, target, self.run.assets)
        checkpoints = Checkpoints(self.checkpoints_folder, parts.strategy.updates(model, parts.strategy_options))
        if resumption is None:
            until_written(lambda: checkpoints.save_base(model), self.control, self.repeat)
        else:
            model.load_state_dict(resumption.model)
        fabric = make_fabric(resolve_device(options.device), options.precision)
        saver = Saver(checkpoints, options.checkpoint_every, self.control, self.say)
        try:
            return self._train_and_evaluate(parts, revision, model, saver, fabric, resumption)
        finally:
            saver.close()

    def _begin(self, parts: Parts, revision: Revision) -> tuple[TransferModel, TargetInfo]:
        """Build the model from pretrained weights, and keep what is needed to build it again without them."""
        self.run.write_json("environment.json", environment())
        target = revision.target_info()
        weights = parts.backbone.find_weights(parts.backbone_options)
        self.say(Note(f"Weights: {weights.origin}."))
        backbone = parts.backbone.load(parts.backbone_options)
        parts.backbone.save_assets(parts.backbone_options, self.run.assets)
        write_target(self.run, target)
        return build_model(parts, backbone, target), target

    def _go_back(self) -> Resumption | None:
        """Find where to go on, cut off what the run said after that, and say the rest again to the listener."""
        keeps_best = self.recipe.training.keep == "best"
        resumption, notes = find_resumption(self.checkpoints_folder, keeps_best=keeps_best)
        began_before = self.run.events_path.exists()
        self.run.cut_events(resumption.state.events if resumption else 0)
        paused = False
        for line in self.run.event_lines():
            with contextlib.suppress(ValueError):
                event, _ = from_json(line)
                paused = isinstance(event, Paused) or (paused and not isinstance(event, Resumed))
                self.repeat(event)
        if paused:
            self.say(Resumed())
        for note in notes:
            self.say(Note(note, "warning"))
        if resumption is None:
            if began_before:
                self.say(Note("There is no whole checkpoint to go on from: the run begins anew."))
            return None
        self.say(Note(f"The run goes on from step {resumption.state.step}."))
        recorded = self.run.read_json("environment.json").get("threads")
        if isinstance(recorded, int) and recorded > 0:
            torch.set_num_threads(recorded)  # sums over other numbers of threads differ in the last bits
        return resumption

    def _train_and_evaluate(
        self,
        parts: Parts,
        revision: Revision,
        model: TransferModel,
        saver: Saver,
        fabric: Fabric,
        resumption: Resumption | None,
    ) -> RunEnded:
        options = self.recipe.training
        cached = caches_features(parts)
        augmentation = "none" if cached else options.augmentation
        preprocessor = parts.backbone.preprocessor(
            parts.backbone_options, augmentation=augmentation, assets=self.run.assets
        )
        features = None
        network: nn.Module = model
        if cached and isinstance(model.backbone, BackboneModule):  # a strategy that caches has not wrapped it
            features = self._features(parts, revision, model.backbone, preprocessor, fabric.device)
            network = CachedModel(model.head)
            if not options.threads:
                # Steps of a head are so small that threads only wait for each other; on a busy machine, for long.
                torch.set_num_threads(1)

        def split(name: Split) -> SplitData:
            return split_data(
                revision,
                name,
                model.head,
                preprocessor,
                batch_size=options.batch_size,
                num_workers=options.num_workers,
                features=features,
            )

        indices = revision.indices("train")
        source: SampleDataset | FeatureDataset
        if features is not None:
            source, lengths = FeatureDataset(features, indices), indices * 0
        else:
            source = SampleDataset(revision, indices, preprocessor, options.seed)
            lengths = sample_lengths(revision, indices, preprocessor)
        train = TrainLoader(
            source, EpochSampler(lengths, options.batch_size, options.seed), num_workers=options.num_workers
        )
        validation = split("validation")
        monitor, mode = monitored(model.head, options)
        groups = parts.strategy.param_groups(
            model,
            parts.strategy_options,
            learning_rate=options.learning_rate,
            weight_decay=options.weight_decay,
        )
        parts.strategy.on_epoch_start(model, 0, parts.strategy_options)
        if resumption is None:
            self.say(
                RunStarted(
                    run=self.run.id,
                    epochs=options.epochs,
                    steps_per_epoch=-(-len(train) // options.accumulate),
                    num_train=len(indices),
                    num_validation=len(validation.ids),
                    trainable_parameters=learning_parameters(groups),
                    total_parameters=count_parameters(model)[1],
                    device=str(fabric.device),
                    monitor=monitor,
                    monitor_mode="max" if mode == "max" else "min",
                )
            )
        learner = Learner(model, network, parts.strategy, parts.strategy_options, groups)
        trainer = Trainer(
            fabric,
            options,
            on_event=self.say,
            control=self.control,
            saver=saver,
            events_size=lambda: until_written(self.run.sync_events, self.control, self.repeat),
        )
        train_targets = model.head.encode(revision.labels(indices))
        try:
            result = trainer.fit(learner, train, train_targets, validation, resumption)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # The frames of the failed step still hold its tensors, for which the trial needs the room.
            traceback.clear_frames(error.__traceback__)
            fitting = largest_fitting_batch(network, model.head, train, train_targets, options, fabric)
            raise out_of_memory_error(options.batch_size, fitting, fabric.device) from error
        if self.control.request == "cancel" or not has_checkpoint(self.checkpoints_folder, "best"):
            return RunEnded(self.run.id, "cancelled", best_epoch=result.best_epoch, seconds=result.seconds)

        load_checkpoint(self.checkpoints_folder, "best", model)
        metrics: dict[str, dict[str, float]] = {}
        try:
            for name in SPLITS[1:]:
                data = validation if name == "validation" else split(name)
                if data.ids:
                    metrics[name] = self._evaluate(name, data, network, model.head, fabric.device)
        except Interrupted:
            return RunEnded(self.run.id, "cancelled", best_epoch=result.best_epoch, seconds=result.seconds)
        status: RunStatus = "stopped" if self.control.request == "stop" else "done"
        return RunEnded(self.run.id, status, metrics, result.best_epoch, result.seconds)

    def _evaluate(
        self, name: Split, data: SplitData, network: nn.Module, head: HeadModule, device: torch.device
    ) -> dict[str, float]:
        """Measure one split and keep its predictions."""

        def progress(done: int) -> None:
            self.control.check_cancelled()
            self.say(Progress(f"Evaluating on the {name} split", done, len(data.ids)))

        outputs = run_split(network, head, data, device, progress)
        write_predictions(self.run, name, data.ids, data.labels, outputs, decode_values(head, outputs.output))
        return outputs.metrics

    def _features(
        self,
        parts: Parts,
        revision: Revision,
        backbone: BackboneModule,
        preprocessor: Preprocessor,
        device: torch.device,
    ) -> np.ndarray:
        """Open the cached features of the whole revision, or compute them."""
        options = self.recipe.training
        folder = self.project.folder / CACHE_FOLDER
        try:
            path = folder / Path(self.run.read_json("features.json")["file"]).name  # a run that goes on
        except RunError:
            path = cache_path(
                folder,
                revision,
                parts.backbone,
                parts.backbone_options,
                parts.backbone.find_weights(parts.backbone_options),
                preprocessor,
                options.seed,
            )
            self.run.write_json("features.json", {"file": path.name})
        found = load_features(path, len(revision), backbone.num_features)
        if found is not None:
            self.say(Note("The features of this backbone were computed by an earlier run and are used again."))
            return found
        return compute_features(
            path,
            revision,
            backbone,
            preprocessor,
            device=device,
            batch_size=min(options.batch_size, 16 if device.type == "cpu" else 128),  # on a CPU, small ones are faster
            num_workers=options.num_workers,
            control=self.control,
            on_progress=lambda done, total: self.say(Progress("Computing features", done, total)),
        )
