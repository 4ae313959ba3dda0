"""The steps of a run: assemble, train, evaluate, record."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from tlstudio.api import SPLITS, Preprocessor, ProblemsError, RunError, Split, TargetInfo, WeightsInfo
from tlstudio.api.nn import BackboneModule, TransferModel
from tlstudio.data.revision import Revision
from tlstudio.engine.activations import recompute_activations
from tlstudio.engine.assemble import (
    CachedModel,
    all_parameters,
    as_recorded,
    build_model,
    caches_features,
    fitted,
    learning_parameters,
    preprocessor_of,
    restore_model,
)
from tlstudio.engine.checkpoint import Checkpoints, has_checkpoint
from tlstudio.engine.checkpoint_reading import Resumption, find_resumption, load_checkpoint
from tlstudio.engine.control import Interrupted, RunControl
from tlstudio.engine.devices import make_fabric, resolve_device
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
)
from tlstudio.engine.feature_cache import (
    CACHE_FOLDER,
    cache_path,
    compute_features,
    features_at_once,
    load_features,
    mark_used,
)
from tlstudio.engine.loading import TrainLoader, steps_in_epoch
from tlstudio.engine.looking import notes_on_data, notes_on_fold
from tlstudio.engine.measuring import SplitData, monitored, run_split
from tlstudio.engine.memory import BatchTrial, OutOfMemoryError, is_out_of_memory
from tlstudio.engine.method_building import Workshop, used_data
from tlstudio.engine.method_checks import what_is_gone
from tlstudio.engine.overlaps import notes_on_overlaps
from tlstudio.engine.parts import Parts
from tlstudio.engine.patience import until_written
from tlstudio.engine.random_state import DRAWING
from tlstudio.engine.recipe import Recipe, learned_from, target_of
from tlstudio.engine.run_data import RunData
from tlstudio.engine.saving import Saver
from tlstudio.engine.source import LINEAGE_NAME, find_source
from tlstudio.engine.start_from import ContinuedBackbone, starting_parts
from tlstudio.engine.target import read_target, write_target
from tlstudio.engine.trainer import Trainer
from tlstudio.engine.training_state import Clock, Learner, load_model
from tlstudio.engine.used_data import check_unchanged, recorded_data
from tlstudio.engine.used_plugins import ENVIRONMENT_NAME, used_plugins
from tlstudio.plugins import Registry
from tlstudio.store.process import ProcessMark
from tlstudio.store.project import Project
from tlstudio.store.run import Run

EventListener = Callable[[RunEvent], None]
FEATURES_NAME = "features.json"
T = TypeVar("T")


class Execution:
    """The steps of one run, with what they share.

    Args:
        recipe: What to do.
        project: Whose data set it is.
        registry: The components.
        run: Where it is recorded.
        say: Records an event and tells the listener.
        repeat: Tells the listener alone.
        control: Pause, stop and cancel.
        clock: Of the whole run; gets the time before the checkpoint where the run goes on.
        note: Why the run begins anew, if it does.
    """

    def __init__(
        self,
        recipe: Recipe,
        project: Project,
        registry: Registry,
        run: Run,
        say: EventListener,
        repeat: EventListener,
        control: RunControl,
        clock: Clock,
        note: str = "",
    ) -> None:
        self.recipe = recipe
        self.project = project
        self.registry = registry
        self.run = run
        self.say = say
        self.repeat = repeat
        self.control = control
        self.clock = clock
        self.note = note
        self.checkpoints_folder = run.folder / "checkpoints"
        self.weights: WeightsInfo | None = None  # where a run begins: to look them up reads them whole

    def go(self) -> RunEnded:
        """Begin, or go on where the last whole checkpoint is; see `tlstudio.engine.execute.execute_run`."""
        options = self.recipe.training
        # Before anything of the past is cut off.
        parts = starting_parts(self.recipe, self.registry, self.project.runs_folder)
        resumption, damaged = find_resumption(self.checkpoints_folder)
        began_with = recorded_data(self.run) if resumption is not None else {}
        revision = self.project.dataset(self.recipe.dataset.name, self.recipe.dataset.revision)
        check_unchanged(revision, began_with)
        revision = learned_from(self.recipe, revision)
        if gone := what_is_gone(self.recipe, parts, revision, self.registry, began_with):
            what = "What a method of this run needs is gone."
            raise ProblemsError(f"{what} Once it is back, the run can go on: nothing of it is lost.", gone)
        self._go_back(resumption, damaged)
        self.say(Progress("Loading the backbone"))
        if resumption is None:
            model, target = self._begin(parts, revision)
        else:
            target = read_target(self.run)
            parts = as_recorded(parts, {name: tensor.shape for name, tensor in resumption.model.items()})
            model = restore_model(parts, target, self.run.assets)
        checkpoints = Checkpoints(self.checkpoints_folder, parts.strategy.updates(model, parts.strategy_options))
        if resumption is None:
            self._write(lambda: checkpoints.save_base(model))
        else:
            load_model(resumption, model)
        fabric = make_fabric(resolve_device(options.device), options.precision)
        saver = Saver(checkpoints, options.checkpoint_every, self.control, self.say)
        try:
            return self._train_and_evaluate(parts, revision, model, saver, fabric, resumption)
        finally:
            saver.close()

    def _begin(self, parts: Parts, revision: Revision) -> tuple[TransferModel, TargetInfo]:
        """Build the model from pretrained weights, and keep what is needed to build it again without them."""
        made_with = environment(used_plugins(self.recipe, self.registry), used_data(parts.methods, revision))
        self._write(lambda: self.run.write_json(ENVIRONMENT_NAME, made_with))
        # Features that it may have had before are of the data of that time.
        self._write(lambda: (self.run.folder / FEATURES_NAME).unlink(missing_ok=True))
        target = target_of(self.recipe, revision)
        parts = fitted(parts, revision)
        self.weights = parts.backbone.find_weights(parts.backbone_options)
        self.say(Note(f"Weights: {self.weights.origin}."))
        with DRAWING:
            backbone = parts.backbone.load(parts.backbone_options)
            model = build_model(parts, backbone, target)
        self._record_choices(parts, model)
        if self.recipe.head.take_over:
            source = find_source(self.recipe.backbone.start_from, self.project.runs_folder)
            for sentence in model.head.take_over(*source.head(self.registry)):
                self.say(Note(sentence))
        if isinstance(parts.backbone, ContinuedBackbone):
            for sentence in parts.backbone.notes:
                self.say(Note(sentence))
            sources = [one.model_dump(mode="json") for one in parts.backbone.lineage()]
            self._write(lambda: self.run.write_json(LINEAGE_NAME, {"format": 1, "sources": sources}))
        self._write(lambda: parts.backbone.save_assets(parts.backbone_options, self.run.assets))
        target = model.head.target  # it may see in the labels less than the data has
        self._write(lambda: write_target(self.run, target))
        return model, target

    def _record_choices(self, parts: Parts, model: TransferModel) -> None:
        """Put into the recipe what the strategy has chosen by itself, so that it says what was trained."""
        settled = parts.strategy.settled(model, parts.strategy_options)
        if settled == parts.strategy_options:
            return
        before = parts.strategy_options.model_dump()
        chosen = {name: value for name, value in settled.model_dump().items() if value != before[name]}
        strategy = self.recipe.strategy
        strategy = strategy.model_copy(update={"options": {**strategy.options, **chosen}})
        self.recipe = self.recipe.model_copy(update={"strategy": strategy})
        self._write(lambda: self.run.write_recipe(self.recipe.to_toml()))

    def _go_back(self, resumption: Resumption | None, damaged: list[str]) -> None:
        """Cut off what the run said after the checkpoint where it goes on, and say the rest again to the listener.

        Args:
            resumption: Where to go on; `None`: it begins anew.
            damaged: A sentence for each newer checkpoint that is damaged.
        """
        began_before = self.run.events_path.exists()
        self._write(lambda: self.run.cut_events(resumption.state.events if resumption else 0))
        # From here on, who follows the events hears those of this process.
        self._write(lambda: self.run.claim(ProcessMark.here(), begun=True, own_process=self.control.own_process))
        paused = False
        for line in self.run.event_lines():
            with contextlib.suppress(ValueError):
                event, _ = from_json(line)
                paused = isinstance(event, Paused) or (paused and not isinstance(event, Resumed))
                self.repeat(event)
        if paused:
            self.say(Resumed())
        for sentence in damaged:
            self.say(Note(sentence, "warning"))
        if resumption is None:
            if self.note or began_before:
                text = self.note or "There is no whole checkpoint to go on from: the run begins anew."
                self.say(Note(text, "warning"))
            return
        self.say(Note(f"The run goes on from step {resumption.state.step}."))
        self.clock.leave_out(-float(resumption.training.get("seconds", 0.0)))
        recorded = self.run.read_json(ENVIRONMENT_NAME).get("threads")
        if isinstance(recorded, int) and recorded > 0:
            torch.set_num_threads(recorded)  # sums over other numbers of threads differ in the last bits

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
        data = self._data(parts, revision, model, fabric.device)
        network: nn.Module = model if data.features is None else CachedModel(model.head)
        workshop = Workshop(
            parts,
            revision,
            model,
            network,
            self.registry,
            options,
            self.run.assets,
            fabric,
            self.control,
            self._write,
            lambda: data.split("train").loader,
            data.steps,
            lambda what, done, total: self.say(Progress(what, done, total)),
            self.recipe.head.take_over,
        )
        with DRAWING:
            methods = workshop.build()
        train = data.train(workshop.views(), workshop.streams(methods))
        validation = data.split("validation")
        rates = {"learning_rate": options.learning_rate, "weight_decay": options.weight_decay}
        groups = parts.strategy.param_groups(model, parts.strategy_options, **rates)
        groups = methods.with_own(groups, model.head, **rates)
        parts.strategy.on_epoch_start(model, 0, parts.strategy_options)
        learner = Learner(model, network, parts.strategy, parts.strategy_options, groups, methods)
        if resumption is None:
            self._tell_beginning(parts, data, learner, validation, str(fabric.device))
        if options.recompute:
            recompute_activations(model.layer_groups())
        best_epoch = self._fit(data, learner, train, validation, saver, fabric, resumption)
        if self.control.request == "cancel" or not has_checkpoint(self.checkpoints_folder, "best"):
            return RunEnded(self.run.id, "cancelled", best_epoch=best_epoch)
        # After a kill, it can be of an epoch that this part of the run has not come to again.
        best_epoch = load_checkpoint(self.checkpoints_folder, "best", model).epoch or best_epoch
        metrics: dict[str, dict[str, float]] = {}
        try:
            for name in SPLITS[1:]:
                measured = validation if name == "validation" else data.split(name)
                if measured.ids:
                    metrics[name] = self._evaluate(name, measured, network, model, fabric.device)
        except Interrupted:
            return RunEnded(self.run.id, "cancelled", best_epoch=best_epoch)
        status: RunStatus = "stopped" if self.control.request == "stop" else "done"
        return RunEnded(self.run.id, status, metrics, best_epoch)

    def _data(self, parts: Parts, revision: Revision, model: TransferModel, device: torch.device) -> RunData:
        """Prepare to read the samples, or compute the features of all of them where these stay as they are."""
        options = self.recipe.training
        cached = caches_features(parts)
        augmentation = "none" if cached else options.augmentation
        preprocessor = preprocessor_of(parts, augmentation=augmentation, assets=self.run.assets)
        features = None
        if cached and isinstance(model.backbone, BackboneModule):  # a strategy that caches has not wrapped it
            features = self._features(parts, revision, model.backbone, preprocessor, device)
            if not options.threads:
                # Steps of a head are so small that threads only wait for each other; on a busy machine, for long.
                torch.set_num_threads(1)
        return RunData(revision, model.head, preprocessor, options, features, self._write)

    def _tell_beginning(
        self, parts: Parts, data: RunData, learner: Learner, validation: SplitData, device: str
    ) -> None:
        """Say what is about to be learned, and what is remarkable about it."""
        options, model, revision = self.recipe.training, learner.model, data.revision
        blocks = parts.strategy.alternatives(model, parts.strategy_options)
        monitor, mode = monitored(model.head, options, validation.labels)
        self.say(
            RunStarted(
                run=self.run.id,
                epochs=options.epochs,
                steps_per_epoch=steps_in_epoch(len(data.indices), options),
                num_train=len(data.indices),
                num_validation=len(validation.ids),
                trainable_parameters=learning_parameters(learner.groups, blocks),
                total_parameters=all_parameters(model, learner.groups),
                device=device,
                monitor=monitor,
                monitor_mode="max" if mode == "max" else "min",
            )
        )
        self._write(lambda: self.run.record_monitor(monitor))
        for note in (
            *notes_on_fold(self.recipe, revision),
            *notes_on_data(revision, data.indices, data.preprocessor, model.head.encoder()),
            *notes_on_overlaps(self.recipe, parts.methods, revision),
            *map(Note, parts.strategy.notes(model, parts.strategy_options, options.epochs)),
        ):
            self.say(note)

    def _fit(
        self,
        data: RunData,
        learner: Learner,
        train: TrainLoader,
        validation: SplitData,
        saver: Saver,
        fabric: Fabric,
        resumption: Resumption | None,
    ) -> int:
        """Train; returns the epoch of the best checkpoint.

        Raises:
            OutOfMemoryError: With the batch size that would fit.
        """
        options = self.recipe.training
        trainer = Trainer(
            fabric,
            options,
            on_event=self.say,
            control=self.control,
            saver=saver,
            events_size=lambda: self._write(self.run.sync_events),
            ids_of=data.train_ids,
        )
        try:
            return trainer.fit(learner, train, len(data.indices), validation, resumption)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # The frames of the failed step still hold its tensors, for which the trial needs the room.
            traceback.clear_frames(error.__traceback__)
            trial = BatchTrial(learner, train, options, fabric)
            fitting, recomputed = trial.largest_fitting(), False
            if data.features is None and not options.recompute:
                recompute_activations(learner.model.layer_groups())
                recomputed = trial.fits(options.batch_size)
            raise OutOfMemoryError(options, fitting, fabric.device, recomputed=recomputed) from error

    def _evaluate(
        self, name: Split, data: SplitData, network: nn.Module, model: TransferModel, device: torch.device
    ) -> dict[str, float]:
        """Measure one split and keep its predictions."""

        def progress(done: int) -> None:
            self._wait()
            self.control.check_cancelled()
            self.say(Progress(f"Evaluating on the {name} split", done, len(data.ids)))

        outputs = run_split(network, model, data, device, progress)
        values = outputs.values(model.head)
        self._write(lambda: write_predictions(self.run, name, data.ids, data.labels, outputs, values))
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
            path = folder / Path(self.run.read_json(FEATURES_NAME)["file"]).name  # a run that goes on
        except RunError:
            path = cache_path(
                folder,
                revision,
                parts.backbone,
                parts.backbone_options,
                self.weights or parts.backbone.find_weights(parts.backbone_options),
                preprocessor,
                options.seed,
            )
            self._write(lambda: self.run.write_json(FEATURES_NAME, {"file": path.name}))
        found = load_features(path, len(revision), backbone.num_features)
        if found is not None:
            mark_used(path)
            self.say(Note("The features of this backbone were computed by an earlier run and are used again."))
            return found

        def progress(done: int, total: int) -> None:
            self.say(Progress("Computing features", done, total))
            self._wait()
            if self.control.request != "go_on":
                raise Interrupted

        return self._write(
            lambda: compute_features(
                path,
                revision,
                backbone,
                preprocessor,
                device=device,
                batch_size=features_at_once(options.batch_size, device),
                num_workers=options.num_workers,
                on_progress=progress,
            )
        )

    def _write(self, write: Callable[[], T]) -> T:
        """Write or read something; a full or vanished disk makes the run wait."""
        return until_written(write, self.control, self.repeat)

    def _wait(self) -> None:
        self.control.wait_while_paused(lambda: self.say(Paused()), lambda: self.say(Resumed()))
