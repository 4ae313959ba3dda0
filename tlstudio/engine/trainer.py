"""The one loop. It reads from top to bottom and says what it does in events."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor

from tlstudio.api import TASKS, Label, RunError
from tlstudio.api.data import label_text
from tlstudio.api.nn import HeadModule, set_train_mode
from tlstudio.engine.checkpoint import KINDS, SNAPSHOT, CheckpointState, Kind
from tlstudio.engine.checkpoint_reading import Resumption
from tlstudio.engine.control import Interrupted, RunControl
from tlstudio.engine.devices import memory_in_use
from tlstudio.engine.events import EpochEnded, Note, Paused, Resumed, RunEvent, StepLogged, TextsWritten
from tlstudio.engine.learning import BatchLearner
from tlstudio.engine.loading import TrainLoader, steps_in_epoch
from tlstudio.engine.measuring import Outputs, SplitData, monitored, run_split
from tlstudio.engine.optimization import gradient_norms, learning_rate_factor, learning_rates, make_optimizer
from tlstudio.engine.random_state import DRAWING
from tlstudio.engine.recipe import TrainingOptions
from tlstudio.engine.saving import Saver
from tlstudio.engine.training_state import BestEpoch, Clock, Learner, TrainingState

_LOGGED_STEPS = 600  # points of the training curves at most: all that a plot can show
_LOGGED_AFTER = 1.0  # seconds after which a step is logged all the same
_WORST_SHOWN = 8
_SHOWN_IDS = 8
_TEXTS_SHOWN = 8
_LETTERS_SHOWN = 1000


class Trainer:
    """Trains a model on batches.

    Args:
        fabric: Device and precision.
        options: How to train.
        on_event: Hears of every step that is logged, epoch and checkpoint.
        control: Pause, stop and cancel; looked at after each batch.
        saver: Keeps the best and the last.
        events_size: Gives the bytes of events that are safely on the disk.
        ids_of: Names the training samples at some positions.
    """

    def __init__(
        self,
        fabric: Fabric,
        options: TrainingOptions,
        *,
        on_event: Callable[[RunEvent], None],
        control: RunControl,
        saver: Saver,
        events_size: Callable[[], int],
        ids_of: Callable[[Tensor], Sequence[str]],
    ) -> None:
        self._fabric = fabric
        self._options = options
        self._on_event = on_event
        self._control = control
        self._saver = saver
        self._events_size = events_size
        self._ids_of = ids_of

    def fit(
        self,
        learner: Learner,
        train: TrainLoader,
        num_train: int,
        validation: SplitData,
        resumption: Resumption | None = None,
    ) -> int:
        """Train until the epochs are done, nothing improves any more, or stop or cancel is asked for.

        Args:
            learner: What is trained.
            train: Training batches.
            num_train: Number of training samples.
            validation: The validation split.
            resumption: Where to go on; the same numbers then come as if nothing had happened in between.

        Returns:
            The epoch of the best checkpoint, 0 if there is none.

        Raises:
            RunError: The loss is no longer a number, or the checkpoint does not fit.
        """
        options, model = self._options, learner.model
        optimizer = make_optimizer(learner.groups, options)
        network, fabric_optimizer = self._fabric.setup(learner.network, optimizer)
        steps = options.epochs * steps_in_epoch(num_train, options)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: learner.methods.learning_rate(
                min(1.0, step / max(1, steps)), learning_rate_factor(step, steps, options)
            ),
        )
        keep_last = options.keep == "last"
        best = BestEpoch(*monitored(model.head, options, validation.labels))
        state = TrainingState(learner, network, fabric_optimizer, scheduler, self._fabric, num_train, steps, best)
        batches = BatchLearner(learner, network, self._fabric, num_train=num_train, l1=options.l1)
        keep_start = learner.methods.keep_start
        if resumption is not None:
            state.load(resumption)
            keep_start = keep_start and not self._saver.has("start")
        else:
            with DRAWING:  # a head that is fitted first may have dropout
                learner.methods.begin()

        while state.epoch <= options.epochs and not state.finished:
            epoch = state.epoch
            state.begin_epoch()
            if keep_start and any(parameter.requires_grad for parameter in model.backbone.parameters()):
                self._save(state, ["start"])
                keep_start = False
            if learner.groups:
                self._train_epoch(state, train, batches)
            request = self._control.request
            if request == "cancel" or (request == "stop" and state.kept and not keep_last):
                break
            try:
                if state.ended < epoch and (state.batch == len(train) or not learner.groups):
                    learner.methods.on_epoch_end()
                    state.ended = epoch
                outputs = self._validate(state, validation)
                metrics = outputs.metrics
            except Interrupted:
                break
            # Behind the last step, nothing else would notice; NaN would also be no JSON.
            if not math.isfinite(metrics["loss"]):
                raise self._no_number(state, " It was seen in the validation.")
            best.see(epoch, metrics)
            train_loss, seconds = state.whole.value(), state.clock.seconds
            worst = _worst(model.head, outputs, validation)
            self._on_event(
                EpochEnded(
                    epoch, state.step, train_loss, metrics, best.improved == epoch, best.improved, seconds, worst
                )
            )
            if texts := _texts(model.head, outputs, validation):
                self._on_event(TextsWritten(epoch, texts))
            if best.improved == epoch and not keep_last:
                state.kept = epoch
            if request == "stop" and state.batch < len(train):
                # The rest of this epoch is still to be done if the run goes on one day.
                state.kept, state.metrics = epoch, metrics
                self._save(state, ["best"], validated=epoch)
                break
            state.start_next_epoch(metrics)
            if options.early_stopping and epoch - best.improved >= options.early_stopping:
                text = f"Stopped early: {best.monitor} has not improved for {options.early_stopping} epochs."
                self._on_event(Note(text))
                state.finished = True
            due = self._saver.due
            if keep_last and due:
                state.kept = epoch
            snapshots = [f"{SNAPSHOT}{number}" for number in learner.methods.snapshots()]
            # Before the checkpoint behind which a run that goes on would not come to this epoch again.
            regular = [kind for kind in KINDS if (state.kept == epoch if kind == "best" else due)]
            self._save(state, [*snapshots, *regular])
            if request == "stop":
                break
        if keep_last and state.epoch > 1 and state.batch == 0:  # no step beyond what was validated
            state.kept = state.epoch - 1
            self._save(state, ["best"])
        if state.between_steps and state.fault.look() is None:  # a checkpoint of no numbers would be no good one
            self._save(state, ["last"])
        self._saver.finish()
        return state.kept

    def _train_epoch(self, state: TrainingState, train: TrainLoader, learner: BatchLearner) -> None:
        """Go through what is left of the training data in this epoch, or until stop or cancel."""
        options = self._options
        set_train_mode(state.learner.network)
        log_every = math.ceil(state.steps / _LOGGED_STEPS)
        batches = len(train)
        logged_at, logged_count = state.clock.seconds, state.window.count
        for number, batch in enumerate(train.epoch(state.epoch - 1, state.batch), start=state.batch + 1):
            first_of_step = number - 1 - (number - 1) % options.accumulate
            in_step = min(options.accumulate, batches - first_of_step)
            is_step = number == first_of_step + in_step
            state.between_steps = False
            with DRAWING, self._fabric.no_backward_sync(state.network, enabled=not is_step):
                losses = learner.gradients(batch, in_step=in_step, progress=state.step / state.steps)
            state.whole.add(losses)
            state.window.add(losses)
            state.fault.add(losses, batch.positions)
            if is_step:
                regular = (state.step + 1) % log_every == 0 or state.step == 0 or number == batches
                # Where steps are slow and many, a person must not wait for minutes to see that it goes on.
                log = regular or state.clock.seconds - logged_at > _LOGGED_AFTER
                rates = learning_rates(state.optimizer) if log else {}
                norms = gradient_norms(state.optimizer, self._fabric) if log else {}
                self._step(state)
                state.batch, state.between_steps = number, True
                seconds, save = state.clock.seconds, self._saver.due and number < batches
                if log or save:
                    self._check_losses(state)  # before a checkpoint of it takes the place of a good one
                if log:
                    self._on_event(
                        StepLogged(
                            step=state.step,
                            epoch=state.epoch - 1 + number / batches,
                            loss=state.window.value(),
                            learning_rates=rates,
                            samples_per_second=(state.window.count - logged_count) / max(seconds - logged_at, 1e-9),
                            seconds=seconds,
                            seconds_left=seconds / state.step * (state.steps - state.step),
                            gpu_memory=memory_in_use(self._fabric.device),
                            interim=not regular,
                            gradient_norms=norms,
                            quantities=self._quantities(state.learner),
                        )
                    )
                    if regular:
                        state.window.clear()
                    logged_at, logged_count = seconds, state.window.count
                if save:  # at the end of an epoch, it is made behind the validation
                    self._save(state, ["last"])
            if self._control.paused:
                self._wait(state.clock)
                logged_at = max(logged_at, state.clock.seconds)
            # A stop waits for the step, so that its checkpoint is exact; a cancel in a long one leaves the one before.
            if self._control.request == "cancel" or (self._control.request == "stop" and is_step):
                break

    def _quantities(self, learner: Learner) -> dict[str, float]:
        """What strategy and methods have to say of now."""
        own = learner.strategy.quantities(learner.model, learner.options)
        return {name: float(value) for name, value in own.items()} | learner.methods.quantities()

    def _step(self, state: TrainingState) -> None:
        if self._options.clip_norm:
            self._fabric.clip_gradients(
                state.network, state.optimizer, max_norm=self._options.clip_norm, error_if_nonfinite=False
            )
        state.optimizer.step()
        state.scheduler.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.learner.methods.after_step()

    def _check_losses(self, state: TrainingState) -> None:
        """Stop where a loss is no longer a number, and name the samples behind it."""
        if (positions := state.fault.look()) is not None:
            ids = self._ids_of(positions)
            shown = ", ".join(ids[:_SHOWN_IDS]) + (
                f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else ""
            )
            raise self._no_number(state, f" The batch: {shown}.")

    def _no_number(self, state: TrainingState, what: str = "") -> RunError:
        return RunError(
            f"The loss is no longer a number at step {state.step} (epoch {state.epoch}).{what}",
            "Lower the learning rate, use precision 32 or bf16, or look for extreme labels or broken items.",
            field="training.learning_rate",
        )

    def _wait(self, clock: Clock) -> None:
        waited = self._control.wait_while_paused(lambda: self._on_event(Paused()), lambda: self._on_event(Resumed()))
        clock.leave_out(waited)

    def _save(self, state: TrainingState, kinds: list[Kind], *, validated: int | None = None) -> None:
        """Keep what there is, as of the last epoch that was finished or, where it was cut short, validated."""
        if kinds:
            epoch = state.epoch - 1 if validated is None else validated
            where = CheckpointState(epoch, state.step, state.metrics, self._events_size())
            learner = state.learner
            if learner.methods.swaps_weights and "best" in kinds:
                with learner.methods.evaluated():
                    self._saver.save(["best"], learner.model, where, {})
                kinds = [kind for kind in kinds if kind != "best"]
            if kinds:
                self._saver.save(kinds, learner.model, where, state.state())

    def _validate(self, state: TrainingState, split: SplitData) -> Outputs:
        """Measure the validation split."""
        device, model = self._fabric.device, state.learner.model

        def check(_done: int) -> None:
            self._control.check_cancelled()

        with state.learner.methods.evaluated():
            return run_split(state.network, model, split, device, check, live=True)


def _worst(head: HeadModule, outputs: Outputs, split: SplitData) -> tuple[tuple[str, str, float], ...]:
    """The samples that are most wrong, with what was predicted."""
    order = torch.argsort(outputs.losses, descending=True)[:_WORST_SHOWN]
    return tuple(
        (split.ids[int(position)], label_text(value), float(outputs.losses[position]))
        for position, (value, _) in zip(order, outputs.values(head, order), strict=True)
        if value is not None and not _same(value, split.labels[int(position)])
    )


def _texts(head: HeadModule, outputs: Outputs, split: SplitData) -> tuple[tuple[str, str, str, str], ...]:
    """What was written for a few samples, each with its text and what was expected."""
    if TASKS[head.target.task].label != "text":
        return ()
    written = [position for position, (value, _) in enumerate(outputs.decoded) if value is not None][:_TEXTS_SHOWN]
    samples = split.samples(torch.tensor(written, dtype=torch.int64))
    return tuple(
        (sample.id, _cut(sample.text or ""), _cut(str(split.labels[at])), _cut(str(outputs.decoded[at][0])))
        for sample, at in zip(samples, written, strict=True)
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS_SHOWN else f"{text[: _LETTERS_SHOWN - 1]}…"


def _same(one: Label, other: Label) -> bool:
    """Whether two labels say the same; the order of several names does not matter."""
    return set(one) == set(other) if isinstance(one, tuple) and isinstance(other, tuple) else one == other
