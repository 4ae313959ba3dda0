"""The events of a run in plain words on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlstudio.cli.output import StatusLine, counted, cut, duration, visible

if TYPE_CHECKING:
    from tlstudio.engine.events import EpochEnded, RunEvent, RunStarted, StepLogged

EVERY_EPOCH = 30
"""Up to so many epochs each one gets a line; beyond, one now and then."""


class EventPrinter:
    """Prints what happens: one line that is overwritten for the progress, and a line for what stays worth reading."""

    def __init__(self) -> None:
        self._status = StatusLine()
        self._started: RunStarted | None = None
        self._shown_epoch = 0
        self._quantities: dict[str, float] = {}

    def show(self, event: RunEvent) -> None:
        """Print one event."""
        from tlstudio.engine import events

        match event:
            case events.RunStarted():
                self._start(event)
            case events.Progress():
                share = f"{event.done:,} of {event.total:,}" if event.total else ""
                self._status.update(event.what, share)
            case events.StepLogged():
                self._step(event)
            case events.EpochEnded():
                self._epoch(event)
            case events.TextsWritten() if event.epoch == self._shown_epoch:
                item, text, expected, written = event.samples[0]
                first = ("text", text) if text else ("item", item)
                for name, words in (first, ("expected", expected), ("written", written)):
                    self._status.line(f"  {name:<9}{cut(visible(words), 100)}")
            case events.Note():
                self._status.line(f"Warning: {event.text}" if event.level == "warning" else event.text)
            case events.RunEnded():
                self._status.clear()
            case events.Paused(why=str(why)) if why:
                self._status.line(f"Waiting: {why} Ctrl+C ends the run; it can go on later (tlstudio resume).")
            case events.Resumed():
                self._status.line("Going on.")
            case _:
                pass  # a saved checkpoint is no news

    def close(self) -> None:
        """Take the progress away."""
        self._status.clear()

    def _start(self, event: RunStarted) -> None:
        self._started, self._shown_epoch, self._quantities = event, 0, {}
        self._status.line(
            f"Run {event.run}: {event.trainable_parameters:,} of {event.total_parameters:,} parameters learn from "
            f"{counted(event.num_train, 'item')} on {event.device}, {counted(event.epochs, 'epoch')} of "
            f"{counted(event.steps_per_epoch, 'step')}."
        )

    def _step(self, event: StepLogged) -> None:
        epochs = self._started.epochs if self._started else 0
        self._quantities |= event.quantities
        loss = [f"loss {event.loss:.4f}"] if self._learns else []
        parts = [f"epoch {event.epoch:.1f} of {epochs}", *loss, pace(event.samples_per_second)]
        if event.seconds_left is not None:
            parts.append(f"{duration(event.seconds_left)} left")
        self._status.update("Training", "  ".join(parts))

    def _epoch(self, event: EpochEnded) -> None:
        epochs = self._started.epochs if self._started else event.epoch
        if epochs > EVERY_EPOCH and event.epoch not in (1, epochs) and not self._status.due():
            return
        self._shown_epoch = event.epoch
        monitor = self._started.monitor if self._started else "loss"
        names = dict.fromkeys([monitor, "accuracy", "loss"])
        metrics = [f"{name} {event.validation[name]:.4f}" for name in names if name in event.validation]
        loss = f"  train loss {event.train_loss:.4f}" if self._learns else ""
        self._status.line(
            f"Epoch {event.epoch:>{len(str(epochs))}} of {epochs}{loss}  "
            f"validation {'  '.join(metrics)}{'  (best so far)' if event.is_best else ''}"
        )
        if self._quantities:  # what strategy and methods have said last
            self._status.line("  " + "  ".join(f"{name} {value:.4g}" for name, value in self._quantities.items()))

    @property
    def _learns(self) -> bool:
        """Whether there is a loss: what is set at once, as the means of classes are, has none."""
        return self._started is None or self._started.trainable_parameters > 0


def pace(per_second: float) -> str:
    """Write how many samples are learned from in a second; with a large model, less than one."""
    return f"{per_second:.0f}/s" if per_second >= 10 else f"{per_second:.2g}/s"
