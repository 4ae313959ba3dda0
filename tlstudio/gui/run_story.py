"""What has happened in a run so far, told by its events: no widgets, so that it is cheap and can be tested alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PySide6.QtCore import QCoreApplication

from tlstudio.engine.events import (
    CheckpointSaved,
    EpochEnded,
    Note,
    Paused,
    Progress,
    Resumed,
    RunEnded,
    RunEvent,
    RunStarted,
    StepLogged,
    TextsWritten,
)
from tlstudio.gui.state import RunPhase, RunState
from tlstudio.gui.widgets.figures import count_text, number_text

_SHARE_OF_EPOCHS = 0.96
"""Part of the progress bar that training takes; evaluating and saving take the rest."""


class RunStory:
    """Keeps the last event of each kind, the phase, and the lines of the log that were not shown yet.

    Attributes:
        run: Id of the run; ``""`` before it has started.
        part: Which one of a sequence of runs it is, as ``"2 of 3"``; ``""``: of none.
        started: How it started.
        step: The last logged step.
        epoch: The last epoch that ended.
        best: The best epoch so far, which is the one that is kept.
        progress: What takes long now, outside the epochs.
        ended: How it ended.
        phase: What it is doing.
        waits_for: What a run that pauses by itself waits for, such as room on the disk; ``""`` otherwise.
        log: Lines that are to be shown; the reader empties it.
    """

    def __init__(self) -> None:
        self.run = ""
        self.part = ""
        self.started: RunStarted | None = None
        self.step: StepLogged | None = None
        self.epoch: EpochEnded | None = None
        self.best: EpochEnded | None = None
        self.progress: Progress | None = None
        self.ended: RunEnded | None = None
        self.phase: RunPhase = "preparing"
        self.waits_for = ""
        self.log: list[str] = []
        self._handlers: dict[type, Callable[..., None]] = {
            RunStarted: self._on_started,
            Progress: self._on_progress,
            StepLogged: self._on_step,
            EpochEnded: self._on_epoch,
            CheckpointSaved: self._on_checkpoint,
            Paused: self._on_paused,
            Resumed: self._on_resumed,
            Note: self._on_note,
            RunEnded: self._on_ended,
            TextsWritten: lambda _event: None,  # shown, not told
        }

    def take(self, events: Iterable[RunEvent]) -> None:
        """Take in events in their order."""
        for event in events:
            self._handlers[type(event)](event)

    @property
    def fraction(self) -> float | None:
        """Part done in 0..1, `None` while unknown."""
        if self.ended is not None:
            return 1.0
        if self.started is None or (self.step is None and self.progress is not None):
            if self.progress is not None and self.progress.total:
                return min(1.0, self.progress.done / self.progress.total)
            return None
        reached = max(self.step.epoch if self.step else 0.0, float(self.epoch.epoch if self.epoch else 0))
        return min(1.0, reached / max(1, self.started.epochs)) * _SHARE_OF_EPOCHS

    @property
    def epoch_now(self) -> int:
        """The epoch that is under way, from 1; 0 before the first."""
        if self.started is None:
            return 0
        begun = int(self.step.epoch) + (self.step.epoch % 1 > 0) if self.step else 0
        return max(min(self.started.epochs, begun), self.epoch.epoch if self.epoch else 0, 1 if self.step else 0)

    @property
    def seconds(self) -> float:
        """Seconds since the start, pauses left out, as far as the events tell."""
        if self.ended is not None:
            return self.ended.seconds
        return max(self.step.seconds if self.step else 0.0, self.epoch.seconds if self.epoch else 0.0)

    def nutshell(self) -> RunState:
        """The run in one line, for the top bar and the status bar."""
        fraction = self.fraction
        if self.ended is not None:
            return RunState("ended", end_words(self.ended), fraction, None, self.ended.status)
        words = {
            "preparing": self.progress.what if self.progress else _tr("Getting ready"),
            "training": _tr("Training"),
            "paused": _tr("Waiting") if self.waits_for else _tr("Paused"),
            "evaluating": _tr("Evaluating"),
            "stopping": _tr("Stopping"),
        }
        text = words.get(self.phase, "")
        if self.phase in ("training", "paused") and fraction is not None:
            text = f"{text} {round(fraction * 100)} %"
        text = f"{self.part} · {text}" if self.part else text
        return RunState(self.phase, text, fraction, self.step.seconds_left if self.step else None)

    # -- one method for each event --------------------------------------------------------------------------

    def _on_started(self, event: RunStarted) -> None:
        self.started, self.run = event, event.run
        self.progress = None  # what came before the first epoch is done
        self.phase = "training" if self.phase != "stopping" else self.phase
        self.log.append(
            _tr("Learns {0} of {1} parameters from {2} items on {3}.").format(
                count_text(event.trainable_parameters),
                count_text(event.total_parameters),
                f"{event.num_train:,}",
                event.device,
            )
        )

    def _on_progress(self, event: Progress) -> None:
        if self.progress is None or self.progress.what != event.what:
            self.log.append(f"{event.what}…")
        self.progress = event
        over = self.epoch is not None and self.started is not None and self.epoch.epoch >= self.started.epochs
        if self.phase == "training" and over:
            self.phase = "evaluating"

    def _on_step(self, event: StepLogged) -> None:
        self.step, self.progress = event, None

    def _on_epoch(self, event: EpochEnded) -> None:
        self.epoch, self.progress = event, None
        self.best = event if event.is_best else self.best
        values = "  ".join(f"{name} {number_text(value)}" for name, value in event.validation.items())
        best = _tr("  best so far") if event.is_best else ""
        if self.started is not None and not self.started.trainable_parameters:
            # There is no loss where all is set at once, as the means of classes are.
            self.log.append(_tr("Epoch {0}: validation {1}{2}").format(event.epoch, values, best))
            return
        text = _tr("Epoch {0}: train loss {1}; validation {2}{3}")
        self.log.append(text.format(event.epoch, number_text(event.train_loss), values, best))

    def _on_checkpoint(self, event: CheckpointSaved) -> None:
        kinds = {"best": _tr("Best"), "last": _tr("Last"), "start": _tr("First")}
        kind = kinds.get(event.kind) or event.kind.replace("-", " ").capitalize()
        text = _tr("{0} checkpoint saved after epoch {1} ({2:.1f} s).")
        self.log.append(text.format(kind, event.epoch, event.seconds))

    def _on_paused(self, event: Paused) -> None:
        self.phase = "paused" if self.phase != "stopping" else self.phase
        self.waits_for = event.why
        self.log.append(_tr("Waits: {0}").format(event.why) if event.why else _tr("Paused."))

    def _on_resumed(self, _event: Resumed) -> None:
        self.waits_for = ""
        if self.phase == "paused":
            self.phase = "training" if self.started is not None else "preparing"  # while features are computed
        self.log.append(_tr("Goes on."))

    def _on_note(self, event: Note) -> None:
        self.log.append((_tr("Note: ") if event.level == "warning" else "") + event.text)

    def _on_ended(self, event: RunEnded) -> None:
        self.ended, self.phase, self.waits_for = event, "ended", ""
        self.run = event.run or self.run
        self.log.append(end_words(event) + ".")


def end_words(ended: RunEnded) -> str:
    """Say in a word or two how a run ended."""
    return {
        "done": _tr("Trained"),
        "stopped": _tr("Stopped, best kept"),
        "cancelled": _tr("Cancelled"),
        "failed": _tr("Failed"),
    }.get(ended.status, ended.status)


def _tr(text: str) -> str:
    return QCoreApplication.translate("RunStory", text)
