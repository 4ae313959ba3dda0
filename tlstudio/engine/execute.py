"""One run from beginning to end: assemble, train, evaluate, record. It always ends with exactly one `RunEnded`."""

from __future__ import annotations

import platform
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from tlstudio.api import SPLITS, Preprocessor, RunError, Split, TLStudioError, WeightsInfo
from tlstudio.api.nn import BackboneModule, HeadModule, TransferModel, count_parameters
from tlstudio.data.revision import Revision
from tlstudio.engine.assemble import (
    CachedModel,
    Parts,
    build_model,
    caches_features,
    find_parts,
    learning_parameters,
    split_data,
)
from tlstudio.engine.checkpoint import Checkpoints, has_checkpoint, load_checkpoint
from tlstudio.engine.control import Interrupted, RunControl
from tlstudio.engine.devices import make_fabric, resolve_device, torch_settings
from tlstudio.engine.evaluate import write_predictions
from tlstudio.engine.events import Note, Paused, Progress, Resumed, RunEnded, RunEvent, RunStarted, RunStatus, to_json
from tlstudio.engine.feature_cache import CACHE_FOLDER, cache_path, compute_features, load_features, mark_used
from tlstudio.engine.loading import EpochSampler, FeatureDataset, SampleDataset, TrainLoader, sample_lengths
from tlstudio.engine.measuring import SplitData, decode_values, monitored, run_split
from tlstudio.engine.memory import is_out_of_memory, largest_fitting_batch, out_of_memory_error
from tlstudio.engine.random_state import DRAWING
from tlstudio.engine.recipe import Recipe, TrainingOptions
from tlstudio.engine.target import write_target
from tlstudio.engine.trainer import Learner, Trainer
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
    run = project.new_run(
        recipe.to_toml(),
        dataset=recipe.dataset.name,
        revision=recipe.dataset.revision,
        backbone=recipe.backbone.name,
        head=recipe.head.name,
        strategy=recipe.strategy.name,
    )

    def say(event: RunEvent) -> None:
        run.append_event(to_json(event, time=time.time()))
        on_event(event)

    start, waited = time.monotonic(), control.waited
    execution = _Execution(recipe, project, registry, run, say, control)
    ended: RunEnded
    try:
        with torch_settings(recipe.training):
            ended = execution.go()
    except Interrupted:
        ended = RunEnded(run.id, "cancelled")
    except TLStudioError as error:
        ended = RunEnded(run.id, "failed", error=str(error))
    except Exception as error:  # noqa: BLE001  a bug must still end the run and reach the user
        if (known := _known(error, recipe.training)) is not None:
            ended = RunEnded(run.id, "failed", error=str(known))
        else:
            sentence = f"Something went wrong inside: {type(error).__name__}: {error}"
            ended = RunEnded(run.id, "failed", error=sentence, traceback=traceback.format_exc())
    ended = replace(ended, seconds=time.monotonic() - start - (control.waited - waited))
    try:
        run.append_event(to_json(ended, time=time.time()))
        run.finish(ended.status, ended.metrics, ended.best_epoch, ended.seconds, ended.error)
    except TLStudioError as error:
        ended = RunEnded(run.id, "failed", ended.metrics, ended.best_epoch, ended.seconds, error=str(error))
    on_event(ended)
    return run


def _known(error: Exception, options: TrainingOptions) -> TLStudioError | None:
    """What torch refuses for a reason that the user can do something about."""
    if is_out_of_memory(error):  # while features were computed, say: there, no smaller batch was tried
        return out_of_memory_error(options.batch_size, None, torch.device(resolve_device(options.device)))
    if options.deterministic and "use_deterministic_algorithms" in str(error):
        operation = str(error).partition(" does not have")[0].partition("\n")[0].rstrip(".")
        return RunError(
            f"This model needs an operation that is not deterministic on this device: {operation}.",
            "Switch 'deterministic' off.",
            field="training.deterministic",
        )
    return None


class _Execution:
    """The steps of one run, with what they share."""

    def __init__(
        self,
        recipe: Recipe,
        project: Project,
        registry: Registry,
        run: Run,
        say: EventListener,
        control: RunControl,
    ) -> None:
        self.recipe = recipe
        self.project = project
        self.registry = registry
        self.run = run
        self.say = say
        self.control = control

    def go(self) -> RunEnded:
        options = self.recipe.training
        self.run.write_json("environment.json", environment())

        self.say(Progress("Loading the backbone"))
        parts = find_parts(self.recipe, self.registry)
        revision = self.project.dataset(self.recipe.dataset.name, self.recipe.dataset.revision)
        target = revision.target_info()
        weights = parts.backbone.find_weights(parts.backbone_options)
        self.say(Note(f"Weights: {weights.origin}."))
        with DRAWING:
            backbone = parts.backbone.load(parts.backbone_options)
            model = build_model(parts, backbone, target)
        parts.backbone.save_assets(parts.backbone_options, self.run.assets)
        write_target(self.run, target)
        checkpoints = Checkpoints(
            self.run.folder / "checkpoints", parts.strategy.updates(model, parts.strategy_options)
        )
        checkpoints.save_base(model)

        fabric = make_fabric(resolve_device(options.device), options.precision)
        return self._train_and_evaluate(parts, revision, weights, backbone, model, checkpoints, fabric)

    def _train_and_evaluate(
        self,
        parts: Parts,
        revision: Revision,
        weights: WeightsInfo,
        backbone: BackboneModule,
        model: TransferModel,
        checkpoints: Checkpoints,
        fabric: Fabric,
    ) -> RunEnded:
        options = self.recipe.training
        cached = caches_features(parts)
        augmentation = "none" if cached else options.augmentation
        preprocessor = parts.backbone.preprocessor(
            parts.backbone_options, augmentation=augmentation, assets=self.run.assets
        )
        features = None
        network: nn.Module = model
        if cached:
            features = self._features(parts, revision, weights, backbone, preprocessor, fabric.device)
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
        trainer = Trainer(fabric, options, on_event=self.say, control=self.control, checkpoints=checkpoints)
        train_targets = model.head.encode(revision.labels(indices))
        try:
            best_epoch = trainer.fit(learner, train, train_targets, validation)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # The frames of the failed step still hold its tensors, for which the trial needs the room.
            traceback.clear_frames(error.__traceback__)
            fitting = largest_fitting_batch(network, model.head, train, train_targets, options, fabric)
            raise out_of_memory_error(options.batch_size, fitting, fabric.device) from error
        if self.control.request == "cancel" or not has_checkpoint(self.run.folder / "checkpoints", "best"):
            return RunEnded(self.run.id, "cancelled", best_epoch=best_epoch)

        load_checkpoint(self.run.folder / "checkpoints", "best", model)
        metrics: dict[str, dict[str, float]] = {}
        try:
            for name in SPLITS[1:]:
                data = validation if name == "validation" else split(name)
                if data.ids:
                    metrics[name] = self._evaluate(name, data, network, model.head, fabric.device)
        except Interrupted:
            return RunEnded(self.run.id, "cancelled", best_epoch=best_epoch)
        status: RunStatus = "stopped" if self.control.request == "stop" else "done"
        return RunEnded(self.run.id, status, metrics, best_epoch)

    def _evaluate(
        self, name: Split, data: SplitData, network: nn.Module, head: HeadModule, device: torch.device
    ) -> dict[str, float]:
        """Measure one split and keep its predictions."""

        def progress(done: int) -> None:
            self._wait()
            self.control.check_cancelled()
            self.say(Progress(f"Evaluating on the {name} split", done, len(data.ids)))

        outputs = run_split(network, head, data, device, progress)
        write_predictions(self.run, name, data.ids, data.labels, outputs, decode_values(head, outputs.output))
        return outputs.metrics

    def _features(
        self,
        parts: Parts,
        revision: Revision,
        weights: WeightsInfo,
        backbone: BackboneModule,
        preprocessor: Preprocessor,
        device: torch.device,
    ) -> np.ndarray:
        """Open the cached features of the whole revision, or compute them."""
        options = self.recipe.training
        path = cache_path(
            self.project.folder / CACHE_FOLDER,
            revision,
            parts.backbone,
            parts.backbone_options,
            weights,
            preprocessor,
            options.seed,
        )
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

        return compute_features(
            path,
            revision,
            backbone,
            preprocessor,
            device=device,
            batch_size=min(options.batch_size, 16 if device.type == "cpu" else 128),  # on a CPU, small ones are faster
            num_workers=options.num_workers,
            on_progress=progress,
        )

    def _wait(self) -> None:
        self.control.wait_while_paused(lambda: self.say(Paused()), lambda: self.say(Resumed()))


def environment() -> dict[str, object]:
    """Versions of everything that can change a result."""
    names = ["tlstudio", "torch", "torchvision", "timm", "transformers", "peft", "lightning-fabric", "torchmetrics"]
    versions = {name: metadata.version(name) for name in [*names, "numpy", "pillow", "pyarrow", "safetensors"]}
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "packages": versions,
    }
